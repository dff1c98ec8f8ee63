//! Configs of topics that follow their sources, and topics that were there and are adopted; with
//! the real driver between two simulated clusters.
//!
//! It never waits for real time; what real brokers say of the same is in `real/followed`.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeMap;

use isolog::control::order::MirrorVerb;
use isolog::control::order::Verb;
use isolog::control::task::TaskName;
use isolog::control::topic::Fault;
use isolog::control::topic::How;
use isolog::control::topic::Status;
use isolog::link::registry::TaskSeen;
use isolog::wire::rewrite::WRITER_ID_MIN;
use kafka_protocol::messages::ApiKey;
use protocol_tests::broker::TestCluster;
use protocol_tests::broker::batch::Build;
use protocol_tests::broker::rights::Right;
use protocol_tests::broker::takeover::Act;
use protocol_tests::check::visible;
use tokio::time::sleep;

use crate::operated::Lab;
use crate::operated::SECOND;
use crate::operated::link;
use crate::operated::mirror;
use crate::operated::of_mirror;

fn configs(lab: &Lab, topic: &str) -> BTreeMap<String, String> {
    lab.destination.look(|state| state.meta.topics()[topic].configs.clone())
}

fn task(lab: &Lab, of: &str, name: TaskName) -> TaskSeen {
    let seen = lab.driver.registry.seen();
    seen.links[&link(of)].tasks.iter().find(|task| task.name == name).unwrap().clone()
}

fn is(text: &str) -> Option<&str> {
    Some(text)
}

/// The source tells its configs when a mirror topic is made, and never again.
#[tokio::test(start_paused = true)]
async fn a_topic_that_is_failed_over_at_once_has_its_sources_configs() {
    let lab = Lab::start(&[]).await;
    let stamped = [("message.timestamp.type", "LogAppendTime"), ("max.message.bytes", "2000000")];
    lab.source.create_topic("orders", 1, &stamped);
    lab.create_link("dr", &[]).await;
    let mut is_told = false;
    lab.source.control_key(ApiKey::DescribeConfigs, move |_| {
        std::mem::replace(&mut is_told, true).then_some(Act::Close)
    });
    lab.obeyed("dr", mirror("orders")).await;
    let now = configs(&lab, "orders");
    assert_eq!(now["message.timestamp.type"], "CreateTime", "it is a mirror");
    let (how, deadline_ms) = (How::Failover, None);
    lab.obeyed("dr", of_mirror("orders", MirrorVerb::Stop { how, deadline_ms })).await;
    lab.wait_status("dr", "orders", Status::Stopped).await;
    let now = configs(&lab, "orders");
    for (key, value) in stamped {
        assert_eq!(now[key], value, "{key}");
    }
    lab.end().await;
}

#[tokio::test(start_paused = true)]
async fn configs_follow_the_source_and_an_admins_own_stay() {
    let lab = Lab::start(&[]).await;
    lab.source.create_topic("orders", 1, &[("segment.ms", "7777")]);
    lab.create_link("west", &[("cluster.link.prefix", "w."), ("topic.config.sync.ms", "1000")])
        .await;
    lab.obeyed("west", mirror("orders")).await;
    lab.append("orders", 0);
    lab.copied("orders", "w.orders", 0).await;
    assert_eq!(configs(&lab, "w.orders")["segment.ms"], "7777");
    // a key of no list, an admin's own
    lab.destination.configure("w.orders", &[("min.insync.replicas", is("1"))]);
    lab.source.configure(
        "orders",
        &[
            ("segment.ms", None),
            ("retention.ms", is("12345678")),
            ("min.insync.replicas", is("1")),
            ("message.timestamp.type", is("LogAppendTime")),
            ("max.message.bytes", is("1000000")),
            ("flush.messages", is("5")),
        ],
    );
    lab.wait("what is on the list follows", |lab| {
        let now = configs(lab, "w.orders");
        let is_there = now.get("retention.ms").is_some_and(|value| value == "12345678");
        (is_there && !now.contains_key("segment.ms")).then_some(())
    })
    .await;
    let back = lab
        .wait("what it gets when it stops is written down", |lab| {
            let row = lab.seen("west", "w.orders")?.row;
            let limit = row.at_stop.get("max.message.bytes")?.clone();
            (limit.as_deref() == Some("1000000")).then_some(row.at_stop)
        })
        .await;
    assert_eq!(back["message.timestamp.type"], Some("LogAppendTime".into()));
    assert_eq!(back["compression.type"], None);
    let now = configs(&lab, "w.orders");
    assert_eq!(now["message.timestamp.type"], "CreateTime");
    assert_eq!(now["max.message.bytes"], (50 << 20).to_string());
    assert_eq!((now["min.insync.replicas"].as_str(), now.get("flush.messages")), ("1", None));
    // the list changes, and the interval with it
    let checked = lab.driver.registry.seen().links[&link("west")].row.generation;
    let more = [("topic.config.sync.include", "flush.messages"), ("topic.config.sync.ms", "2000")];
    let configs_of = more.map(|(key, value)| (key.to_owned(), Some(value.to_owned())));
    lab.obeyed("west", Verb::AlterLink { configs: configs_of.into(), checked }).await;
    lab.wait("another list", |lab| {
        (configs(lab, "w.orders").get("flush.messages")? == "5").then_some(())
    })
    .await;
    lab.source.configure("orders", &[("retention.ms", is("1"))]);
    sleep(SECOND * 60).await;
    assert_eq!(configs(&lab, "w.orders")["retention.ms"], "12345678", "it is on the list no more");
    assert!(task(&lab, "west", TaskName::TopicConfigsSync).succeeded.is_some());
    lab.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_topic_whose_configs_are_refused_is_named_and_holds_up_no_other() {
    let lab = Lab::start(&[]).await;
    for topic in ["barred", "free", "hidden"] {
        lab.source.create_topic(topic, 1, &[]);
    }
    lab.create_link("dr", &[("mirror.topics", "*"), ("topic.config.sync.ms", "1000")]).await;
    for topic in ["barred", "free", "hidden"] {
        lab.wait_status("dr", topic, Status::Active).await;
    }
    lab.wait("a good turn", |lab| task(lab, "dr", TaskName::TopicConfigsSync).succeeded).await;
    lab.destination.deny("barred", Right::AlterConfigs);
    lab.source.deny("hidden", Right::DescribeConfigs);
    for topic in ["barred", "free", "hidden"] {
        lab.source.configure(topic, &[("retention.ms", is("777")), ("segment.ms", is("888"))]);
    }
    let of = |lab: &Lab, topic: &str| {
        let errors = task(lab, "dr", TaskName::TopicConfigsSync).errors;
        errors.into_iter().find_map(|(name, fault)| (name == topic).then_some(fault))
    };
    let both =
        lab.wait("both are named", |lab| Some((of(lab, "barred")?, of(lab, "hidden")?))).await;
    let told = |fault: &Fault, words: &str| {
        assert_eq!(fault.code, "AUTHORIZATION_ERROR");
        assert!(fault.text.contains(words), "{fault:?}");
    };
    told(&both.0, "AlterConfigs");
    told(&both.1, "DescribeConfigs");
    lab.wait("the other one follows", |lab| {
        (configs(lab, "free").get("retention.ms")? == "777").then_some(())
    })
    .await;
    assert_eq!(task(&lab, "dr", TaskName::TopicConfigsSync).state, "IN_ERROR");
    let troubles = lab.driver.links()[0].status().troubles;
    let named = troubles.iter().filter(|one| one.kind.label() == "TOPIC_CONFIGS_NOT_SYNCED");
    assert_eq!(named.count(), 2, "{troubles:?}");
    // records go on
    lab.append("barred", 0);
    lab.copied("barred", "barred", 0).await;
    lab.destination.grant("barred", Right::AlterConfigs);
    lab.source.grant("hidden", Right::DescribeConfigs);
    lab.wait("all follow", |lab| {
        let all = ["barred", "free", "hidden"];
        let has = |topic: &&str| configs(lab, topic).get("segment.ms").is_some_and(|v| v == "888");
        (all.iter().all(has) && task(lab, "dr", TaskName::TopicConfigsSync).state == "ACTIVE")
            .then_some(())
    })
    .await;
    lab.end().await;
}

/// A topic that is compacted refuses records without a key, which the source may have had before.
#[tokio::test(start_paused = true)]
async fn a_topic_becomes_a_compacted_one_when_the_copy_is_there() {
    let lab = Lab::start(&[]).await;
    lab.source.create_topic("orders", 1, &[]);
    lab.create_link("dr", &[("topic.config.sync.ms", "1000")]).await;
    lab.obeyed("dr", mirror("orders")).await;
    lab.append("orders", 0);
    lab.copied("orders", "orders", 0).await;
    lab.obeyed("dr", of_mirror("orders", MirrorVerb::Pause)).await;
    lab.append("orders", 0);
    lab.source.configure("orders", &[("cleanup.policy", is("compact")), ("retention.ms", is("9"))]);
    lab.wait("the others follow", |lab| {
        (configs(lab, "orders").get("retention.ms")? == "9").then_some(())
    })
    .await;
    sleep(SECOND * 60).await;
    assert_eq!(configs(&lab, "orders")["cleanup.policy"], "delete");
    lab.obeyed("dr", of_mirror("orders", MirrorVerb::Resume)).await;
    lab.wait("it is a compacted one", |lab| {
        (configs(lab, "orders").get("cleanup.policy")? == "compact").then_some(())
    })
    .await;
    lab.copied("orders", "orders", 0).await;
    lab.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_a_copy_is_adopted_and_gone_on_with() {
    let mut lab = Lab::start(&[]).await;
    for topic in ["orders", "named"] {
        lab.source.create_topic(topic, 2, &[]);
        for _ in 0..20 {
            lab.append(topic, 0);
        }
    }
    lab.create_link("one", &[]).await;
    for topic in ["orders", "named"] {
        lab.obeyed("one", mirror(topic)).await;
        lab.copied(topic, topic, 0).await;
        lab.obeyed("one", of_mirror(topic, MirrorVerb::Delete { topic: false })).await;
    }
    let both = |lab: &Lab| lab.driver.registry.seen().mirrors.is_empty().then_some(());
    lab.wait("both are let go", both).await;
    for topic in ["orders", "named"] {
        lab.append(topic, 0);
        lab.append(topic, 1);
    }
    // by an order, and by its name in the settings
    lab.create_link("two", &[("mirror.topics", "named")]).await;
    lab.obeyed("two", mirror("orders")).await;
    for topic in ["orders", "named"] {
        lab.copied(topic, topic, 0).await;
        lab.copied(topic, topic, 1).await;
    }
    lab.kill_and_start().await;
    lab.append("orders", 0);
    lab.copied("orders", "orders", 0).await;
    lab.end().await;
}

/// A mirror that was let go before its first record has left the part below the source's log start
/// behind: whoever wrote that, there is no record in it, so it is gone on with.
#[tokio::test(start_paused = true)]
async fn a_front_without_a_record_is_gone_on_with_and_no_more_than_that() {
    let lab = Lab::start(&[]).await;
    let now = lab.source.look(|state| state.now_ms());
    let front = || Build::fillers(-1, 20, None).producer(WRITER_ID_MIN + 7, 0, 0);
    for topic in ["front", "foreign"] {
        lab.source.create_topic(topic, 1, &[]);
        lab.destination.create_topic(topic, 1, &[]);
        (0..6).for_each(|_| _ = lab.source.append(topic, 0, &Build::plain(now, "a", 5)));
        lab.source.delete_records(topic, 0, 22);
    }
    lab.destination.append("front", 0, &front());
    (0..4).for_each(|_| _ = lab.destination.append("foreign", 0, &Build::plain(now, "b", 5)));
    lab.create_link("dr", &[]).await;
    lab.obeyed("dr", mirror("front")).await;
    lab.copied("front", "front", 0).await;
    lab.append("front", 0);
    lab.copied("front", "front", 0).await;
    let words = "ends at 20 at the destination, and the source begins at 22";
    lab.refused("dr", mirror("foreign"), words).await;
    lab.end().await;
}

/// Both logs have transactions and markers of their own, of producers that have nothing to do with
/// each other: what readers of committed records see is compared.
#[tokio::test(start_paused = true)]
async fn a_copy_with_transactions_of_its_own_is_adopted_and_one_that_ended_otherwise_is_not() {
    let lab = Lab::start(&[]).await;
    let now = lab.source.look(|state| state.now_ms());
    let write = |cluster: &TestCluster, topic: &str, id: i64, second: bool| {
        cluster.create_topic(topic, 1, &[]);
        for (text, sequence, commit) in [("kept", 0, true), ("second", 3, second)] {
            cluster.append_txn(topic, 0, (id, 0, sequence), Build::plain(now, text, 3));
            cluster.end_txn(topic, 0, (id, 0), commit);
        }
        cluster.append(topic, 0, &Build::plain(now, "plain", 2));
    };
    for (topic, both) in [("aborted", (false, false)), ("other", (true, false))] {
        write(&lab.source, topic, 7, both.0);
        write(&lab.destination, topic, 8, both.1);
    }
    lab.create_link("dr", &[]).await;
    lab.refused("dr", mirror("other"), "partition 0 differs at offset 4").await;
    lab.obeyed("dr", mirror("aborted")).await;
    lab.source.append("aborted", 0, &Build::plain(now, "behind", 4));
    let level = |lab: &Lab| {
        let ends = [&lab.source, &lab.destination].map(|one| one.dump("aborted", 0).end);
        (ends == [14, 14]).then_some(())
    };
    lab.wait("what came since is copied", level).await;
    let logs = [&lab.source, &lab.destination].map(|one| visible(&one.dump("aborted", 0), 14));
    assert_eq!(logs[0], logs[1]);
    assert_eq!(logs[0].len(), 3 + 2 + 4, "what was aborted is seen by nobody");
    lab.end().await;
}

/// Equal batches at the end prove nothing: each record is compared before the first append.
#[tokio::test(start_paused = true)]
async fn a_topic_that_differs_anywhere_is_refused_with_its_offset() {
    let lab = Lab::start(&[]).await;
    let now = lab.source.look(|state| state.now_ms());
    let both = |topic: &str, batches: &[(&str, &str)]| {
        lab.source.create_topic(topic, 1, &[]);
        lab.destination.create_topic(topic, 1, &[]);
        for (ours, theirs) in batches {
            lab.source.append(topic, 0, &Build::plain(now, ours, 5));
            if !theirs.is_empty() {
                lab.destination.append(topic, 0, &Build::plain(now, theirs, 5));
            }
        }
    };
    both("early", &[("a", "b"), ("c", "c"), ("d", "d"), ("e", "e"), ("f", "")]);
    both("middle", &[("a", "a"), ("c", "x"), ("d", "d"), ("e", "e"), ("f", "")]);
    both("filtered", &[("a", "a"), ("b", "")]);
    both("longer", &[("a", "a")]);
    lab.destination.append("longer", 0, &Build::plain(now, "more", 5));
    lab.create_link("dr", &[]).await;
    let ends = |lab: &Lab, topic: &str| lab.destination.dump(topic, 0).end;
    for (topic, words) in [
        ("early", "partition 0 differs at offset 0"),
        ("middle", "partition 0 differs at offset 5"),
        ("longer", "partition 0 ends at 10 at the destination and at 5 at the source"),
    ] {
        let before = ends(&lab, topic);
        lab.refused("dr", mirror(topic), words).await;
        assert_eq!(ends(&lab, topic), before);
        assert!(lab.seen("dr", topic).is_none(), "{topic} is no mirror");
    }
    // a filter adopts nothing that holds records, copy or not
    lab.create_link("all", &[("mirror.topics", "filt*")]).await;
    let told = lab
        .wait("it is told", |lab| {
            let errors = task(lab, "all", TaskName::AutoCreateMirror).errors;
            errors.into_iter().find(|(name, _)| name == "filtered")
        })
        .await;
    assert_eq!(told.1.code, "TOPIC_EXISTS_ERROR");
    assert_eq!(ends(&lab, "filtered"), 5);
    lab.end().await;
}
