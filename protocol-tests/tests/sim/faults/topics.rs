//! Halts of whole topics and links: recreated, deleted, grown, reconfigured, another cluster.
//!
//! It never lets two incarnations of a topic mix where the versions can tell them apart.

use isolog::link::status::LinkState;
use isolog::sync::trouble::Trouble;
use protocol_tests::broker::cluster::TestCluster;
use protocol_tests::broker::rights::Right;
use protocol_tests::broker::spec::Spec;
use protocol_tests::broker::spec::Version;
use protocol_tests::world::CLIENT;
use protocol_tests::world::World;
use tokio::time::Duration;
use tokio::time::sleep;

use super::lab::BAD;
use super::lab::END;
use super::lab::GOOD;
use super::lab::Lab;

const SECOND: Duration = Duration::from_secs(1);
const VERSIONS: [Version; 3] = [Version::V2_8, Version::V3_9, Version::V4_3];

/// Deletes the bad topic and makes it anew under another id, `between` apart.
async fn recreate(cluster: &TestCluster, between: Duration) {
    if between.is_zero() {
        cluster.recreate_topic(BAD.0);
        return;
    }
    cluster.change(|state| state.delete_topic(BAD.0)).expect("it was there");
    sleep(between).await;
    cluster.create_topic(BAD.0, 1, &[]);
}

#[tokio::test(start_paused = true)]
async fn a_source_topic_made_anew_halts_and_never_mixes() {
    for version in VERSIONS {
        for between in [Duration::ZERO, SECOND / 5, SECOND * 7] {
            let mut lab = Lab::single(version);
            lab.begin().await;
            let source = lab.source().clone();
            recreate(&source, between).await;
            // the new topic soon reaches beyond the old one's end
            for _ in 0..10 {
                sleep(SECOND).await;
                lab.append(BAD, 3);
            }
            lab.wait("a halt", |lab| lab.is_halted(BAD)).await;
            let label = lab.seen(BAD).and_then(|seen| seen.reason).unwrap().0;
            // the ends may tell before the ids do
            let known =
                ["SOURCE_TOPIC_ID_CHANGED", "SOURCE_TRUNCATED", "DESTINATION_AHEAD", "DIVERGED"];
            assert!(known.contains(&label), "{version:?} {between:?}: {label}");
            lab.halts(BAD, label, &[]).await;
            assert_eq!(lab.copy(BAD).end, END, "{version:?} {between:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_topic_made_anew_and_full_at_once_is_not_mixed_where_ids_are_spoken() {
    for version in [Version::V3_9, Version::V4_3] {
        let mut lab = Lab::single(version);
        lab.begin().await;
        lab.source().recreate_topic(BAD.0);
        for _ in 0..10 {
            lab.append(BAD, 3);
        }
        lab.halts(BAD, "SOURCE_TOPIC_ID_CHANGED", &["had id", "has"]).await;
        assert_eq!(lab.copy(BAD).end, END, "{version:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_topic_made_anew_while_isolog_is_down_is_told_by_the_journal() {
    for version in VERSIONS {
        for batches in [1, 10] {
            let mut lab = Lab::single(version);
            lab.begin().await;
            lab.world.stop().await;
            lab.source().recreate_topic(BAD.0);
            for _ in 0..batches {
                lab.append(BAD, 3);
            }
            lab.world.start();
            lab.halts(BAD, "SOURCE_TOPIC_ID_CHANGED", &["had id", "has"]).await;
            assert_eq!(lab.copy(BAD).end, END);
        }
    }
}

/// docs/OPERATING.md, "Begin a topic anew": the mirror topic is deleted and the source topic made
/// anew, while isolog runs. What the old topic confirmed says nothing of the new one.
#[tokio::test(start_paused = true)]
async fn a_topic_begun_anew_while_isolog_runs_is_copied_from_its_beginning() {
    for version in VERSIONS {
        for batches in [1, 20] {
            let mut lab = Lab::single(version);
            lab.begin().await;
            lab.destination().change(|state| state.delete_topic(BAD.0)).expect("it was there");
            lab.source().recreate_topic(BAD.0);
            for _ in 0..batches {
                lab.append(BAD, 1);
            }
            lab.level(BAD).await;
            lab.append(BAD, 3);
            lab.level(BAD).await;
            assert!(!lab.is_halted(BAD), "{version:?}: {:?}", lab.seen(BAD));
            lab.others_go_on().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_destination_topic_made_anew_halts() {
    for version in VERSIONS {
        for between in [Duration::ZERO, SECOND / 5, SECOND * 7] {
            let mut lab = Lab::single(version);
            lab.begin().await;
            let destination = lab.destination().clone();
            recreate(&destination, between).await;
            sleep(SECOND * 7).await; // a look at the topics
            lab.append(BAD, 3);
            lab.halts(BAD, "DESTINATION_TOPIC_ID_CHANGED", &["had id", "has"]).await;
            assert_eq!(lab.copy(BAD).end, 0, "{version:?} {between:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_destination_topic_made_anew_takes_nothing_where_ids_are_spoken() {
    let mut lab = Lab::single(Version::V4_3);
    lab.begin().await;
    lab.destination().recreate_topic(BAD.0);
    lab.append(BAD, 3);
    lab.wait("a halt", |lab| lab.is_halted(BAD)).await;
    let label = lab.seen(BAD).and_then(|seen| seen.reason).unwrap().0;
    assert!(["DESTINATION_TOPIC_ID_CHANGED", "DESTINATION_BEHIND"].contains(&label), "{label}");
    lab.halts(BAD, label, &[]).await;
    assert_eq!(lab.copy(BAD).end, 0);
}

#[tokio::test(start_paused = true)]
async fn a_destination_topic_made_anew_is_noticed_by_the_first_batch_where_no_ids_are_spoken() {
    for version in [Version::V2_8, Version::V3_9] {
        let mut lab = Lab::single(version);
        lab.begin().await;
        lab.destination().recreate_topic(BAD.0);
        for _ in 0..10 {
            lab.append(BAD, 3);
        }
        lab.halts(BAD, "UNEXPECTED_WRITER", &["offset 10 was due", "at 0"]).await;
        // by name nobody can tell them apart: what was in flight has landed, and no more
        assert!(lab.copy(BAD).end <= 5 * 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_deleted_source_topic_halts_and_the_copy_is_kept() {
    for version in VERSIONS {
        let mut lab = Lab::single(version);
        lab.begin().await;
        lab.source().change(|state| state.delete_topic(BAD.0)).unwrap();
        lab.halts(BAD, "SOURCE_TOPIC_DELETED", &["source topic is gone"]).await;
        assert_eq!(lab.copy(BAD).end, END);
    }
}

#[tokio::test(start_paused = true)]
async fn a_deleted_destination_topic_halts_and_is_not_made_again() {
    for version in VERSIONS {
        let mut lab = Lab::single(version);
        lab.begin().await;
        lab.destination().change(|state| state.delete_topic(BAD.0)).unwrap();
        lab.append(BAD, 3);
        lab.halts(BAD, "DESTINATION_TOPIC_DELETED", &["destination topic is gone"]).await;
        assert!(lab.destination().look(|state| !state.meta.topics().contains_key(BAD.0)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_destination_with_more_partitions_is_told_and_what_both_have_is_copied() {
    for is_known in [true, false] {
        let mut lab = Lab::single(Version::V4_3);
        match is_known {
            true => {
                lab.begin().await;
                lab.destination().change(|state| state.grow_topic(BAD.0, 3)).unwrap();
            }
            false => {
                lab.destination().create_topic(BAD.0, 3, &[]);
                lab.begin().await;
            }
        }
        let is_surplus = |one: &Trouble| {
            let says = one.text.contains("has 3 partitions of it, the source 1");
            one.subject == BAD.0 && one.kind.label() == "DESTINATION_PARTITIONS_SURPLUS" && says
        };
        lab.wait("the trouble", |lab| lab.troubles().iter().any(is_surplus)).await;
        lab.append(BAD, 3);
        lab.level(BAD).await;
        assert!(lab.seen((BAD.0, 1)).is_none(), "what only the copy has is no mirror");
        assert_eq!(lab.unready(), [], "what is asked for is copied");
    }
}

#[tokio::test(start_paused = true)]
async fn a_config_that_breaks_the_copy_halts_until_it_is_set_back() {
    for (key, is) in [("compression.type", "zstd"), ("message.timestamp.type", "LogAppendTime")] {
        let mut lab = Lab::single(Version::V4_3);
        lab.begin().await;
        lab.destination().configure(BAD.0, &[(key, Some(is))]);
        let words = [format!("{key}={is}"), format!("needs {key}=")];
        lab.halts(BAD, "DESTINATION_CONFIG", &[&words[0], &words[1]]).await;
        lab.append(BAD, 3);
        sleep(SECOND * 20).await;
        assert_eq!(lab.copy(BAD).end, END);
        let back = if key == "compression.type" { "producer" } else { "CreateTime" };
        lab.destination().configure(BAD.0, &[(key, Some(back))]);
        let took = lab.level(BAD).await;
        assert!(took < SECOND * 30, "{took:?}");
    }
}

/// Configs that nobody tells are known to the partitions' rules, and are no reason to stand still.
#[tokio::test(start_paused = true)]
async fn a_topic_whose_configs_are_not_told_is_copied() {
    let mut lab = Lab::triple(Version::V4_3);
    lab.destination().deny(BAD.0, Right::DescribeConfigs);
    lab.begin().await;
    lab.append(BAD, 3);
    lab.level(BAD).await;
}

/// What is sent before isolog has read of the change has the broker's time: that is told as what it
/// is, and nothing is appended behind it.
#[tokio::test(start_paused = true)]
async fn a_batch_that_a_broker_stamped_is_told_with_its_cause() {
    let mut lab = Lab::single(Version::V4_3);
    lab.begin().await;
    lab.destination().configure(BAD.0, &[("message.timestamp.type", Some("LogAppendTime"))]);
    lab.append(BAD, 3);
    let words = ["the batch at 10 its own time", "set message.timestamp.type=CreateTime"];
    lab.halts(BAD, "DIVERGED", &words).await;
    lab.append(BAD, 3);
    sleep(SECOND * 20).await;
    assert_eq!(lab.copy(BAD).end, END + 3);
}

/// Each broker applies a change when it hears of it: a leader that has not would stamp what comes.
#[tokio::test(start_paused = true)]
async fn a_change_that_is_answered_counts_when_the_leader_shows_it() {
    let mut lab = Lab::triple(Version::V4_3);
    lab.begin().await;
    let key = "message.timestamp.type";
    lab.destination().configure(BAD.0, &[(key, Some("LogAppendTime"))]);
    lab.halts(BAD, "DESTINATION_CONFIG", &["LogAppendTime"]).await;
    lab.append(BAD, 3);
    let leader = lab.destination().leader(BAD.0, BAD.1);
    let own = lab.destination().look(|state| state.meta.topics()[BAD.0].configs.clone());
    lab.destination().change(|state| state.behind.insert((leader, BAD.0.to_owned()), own));
    lab.destination().configure(BAD.0, &[(key, Some("CreateTime"))]);
    sleep(SECOND * 60).await;
    assert_eq!(lab.copy(BAD).end, END, "nothing is sent to a leader that would stamp it");
    assert!(lab.is_halted(BAD));
    lab.destination().change(|state| state.behind.clear());
    lab.level(BAD).await;
}

#[tokio::test(start_paused = true)]
async fn another_cluster_under_the_same_address_halts_the_link() {
    for at_source in [true, false] {
        let mut lab = Lab::single(Version::V4_3);
        lab.begin().await;
        let other = TestCluster::start(&lab.world.net, Spec::single("other", 9));
        other.create_topic(BAD.0, 1, &[]);
        let cluster = if at_source { lab.source() } else { lab.destination() };
        let host = cluster.host(1);
        lab.world.net.alias(&host, &other.host(1));
        lab.world.net.cut(CLIENT, &host);
        lab.append(BAD, 3);
        lab.wait("a halted link", |lab| matches!(lab.link_state(), LinkState::Halted(_))).await;
        let LinkState::Halted(text) = lab.link_state() else { unreachable!() };
        assert!(text.contains("and now as other"), "{text}");
        for place in [BAD, GOOD[0], GOOD[1]] {
            lab.wait("a halt", |lab| lab.is_halted(place)).await;
            let (label, text) = lab.seen(place).and_then(|seen| seen.reason).unwrap();
            assert_eq!(label, "CLUSTER_ID_CHANGED");
            assert!(text.contains("and now as other"), "{text}");
        }
        sleep(SECOND * 60).await;
        assert_eq!(lab.copy(BAD).end, END);
        assert_eq!(other.dump(BAD.0, BAD.1).end, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cluster_is_not_mirrored_into_itself() {
    let mut world = World::between(Spec::single("source", 1), Spec::single("destination", 2));
    world.topic("good", 1);
    world.destination = world.source.clone();
    world.start();
    sleep(SECOND * 60).await;
    let LinkState::Halted(text) = world.isolog().link().status().state else {
        panic!("{:?}", world.isolog().link().status());
    };
    assert!(text.contains("the same cluster (source)"), "{text}");
    assert!(world.isolog().link().partitions().is_empty());
}

#[tokio::test(start_paused = true)]
async fn new_partitions_and_topics_appear_by_themselves() {
    let mut lab = Lab::triple(Version::V4_3);
    lab.begin().await;
    lab.source().change(|state| state.grow_topic(BAD.0, 3)).unwrap();
    lab.source().create_topic("late", 2, &[]);
    for place in [(BAD.0, 2), ("late", 1)] {
        lab.append(place, 3);
        let took = lab.level(place).await;
        assert!(took < SECOND * 15, "{took:?}");
    }
}

/// A list of all topics leaves out what may not be described: that is no deletion, whatever time
/// it takes, and a grant is enough.
#[tokio::test(start_paused = true)]
async fn a_topic_that_is_hidden_from_us_is_not_gone() {
    for version in VERSIONS {
        for at_source in [true, false] {
            let mut lab = Lab::single(version);
            lab.begin().await;
            let side = if at_source { lab.source() } else { lab.destination() }.clone();
            let rights = [Right::Describe, Right::Read, Right::Write];
            rights.iter().for_each(|right| side.deny(BAD.0, *right));
            for _ in 0..30 {
                sleep(SECOND).await;
                lab.append(BAD, 1);
                assert!(!lab.is_halted(BAD), "{version:?}: {:?}", lab.seen(BAD));
            }
            lab.others_go_on().await;
            lab.exact_to(BAD, END);
            let told = lab.world.isolog().link().status().troubles;
            let word = if at_source { "source" } else { "destination" };
            let is_told = |one: &Trouble| one.text.contains(word) && one.subject == BAD.0;
            assert!(told.iter().any(is_told), "{version:?}: {told:?}");
            rights.iter().for_each(|right| side.grant(BAD.0, *right));
            lab.level(BAD).await;
        }
    }
}
