//! Halts that the two logs cause together: starts, ends, tails, lost and foreign records.
//!
//! It never asserts more of a spoilt destination than can be held: what was there stays.

use isolog::flow::producer_id;
use isolog::ids::ClusterId;
use isolog::ids::LinkName;
use isolog::link::Overtook;
use isolog::link::Policy;
use kafka_protocol::messages::ApiKey;
use protocol_tests::broker::batch::Build;
use protocol_tests::broker::cluster::TestCluster;
use protocol_tests::broker::spec::Spec;
use protocol_tests::broker::spec::Version;
use protocol_tests::broker::takeover::Act;
use protocol_tests::check::assert_copied;
use protocol_tests::heard::Heard;
use protocol_tests::net::Rule;
use protocol_tests::world::CLIENT;
use tokio::time::Duration;
use tokio::time::sleep;

use super::lab::BAD;
use super::lab::END;
use super::lab::Lab;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_log_start_above_the_end_halts_with_the_lost_range() {
    let mut lab = Lab::single(Version::V4_3);
    lab.begin().await;
    lab.world.stop().await;
    lab.append(BAD, 5);
    lab.append(BAD, 5);
    lab.source().retain_from(BAD.0, BAD.1, 15);
    lab.world.start();
    let words = ["starts at 15", "ends at 10"];
    lab.halts(BAD, "LOG_START_ABOVE_DESTINATION_END", &words).await;
    assert_eq!(lab.copy(BAD).end, END);
}

#[tokio::test(start_paused = true)]
async fn retention_that_overtakes_a_running_copy_halts_and_jumps_nothing() {
    let mut lab = Lab::single(Version::V4_3);
    lab.begin().await;
    let host = lab.source().host(1);
    lab.world.net.set_rule(CLIENT, &host, Rule { black_hole: true, ..Rule::default() });
    lab.world.net.cut(CLIENT, &host);
    lab.append(BAD, 5);
    lab.append(BAD, 5);
    lab.source().retain_from(BAD.0, BAD.1, 20);
    sleep(SECOND).await;
    lab.world.net.clear_rule(CLIENT, &host);
    let words = ["starts at 20", "ends at 10"];
    lab.halts(BAD, "LOG_START_ABOVE_DESTINATION_END", &words).await;
    assert_eq!(lab.copy(BAD).end, END);
}

/// A log that holds nothing more says nothing of what was copied, and what is lost behind it is
/// lost as much: the source's log start was followed before.
#[tokio::test(start_paused = true)]
async fn a_log_start_above_the_end_of_an_empty_copy_halts_as_well() {
    let mut lab = Lab::single(Version::V4_3);
    lab.begin().await;
    lab.source().retain_from(BAD.0, BAD.1, END);
    lab.wait("the start follows", |lab| lab.copy(BAD).start == END).await;
    lab.world.stop().await;
    lab.append(BAD, 5);
    lab.append(BAD, 5);
    lab.source().retain_from(BAD.0, BAD.1, END + 5);
    lab.world.start();
    let words = ["starts at 15", "ends at 10"];
    lab.halts(BAD, "LOG_START_ABOVE_DESTINATION_END", &words).await;
    assert_eq!(lab.copy(BAD).end, END);
    // and is counted where it is to go on
    lab.world.stop().await;
    lab.world.policy = Policy { overtook: Overtook::Fill, ..lab.world.policy };
    lab.world.start();
    lab.wait("the end", |lab| lab.copy(BAD).end == END + 10).await;
    assert_eq!(lab.seen(BAD).unwrap().copied.overtaken, 5);
}

/// Whoever tells the link to go on hears of each loss once, with its offsets.
#[tokio::test(start_paused = true)]
async fn what_retention_took_is_filled_and_told_once() {
    let (heard, _listening) = Heard::begin();
    let mut lab = Lab::single(Version::V4_3);
    lab.world.policy = Policy { overtook: Overtook::Fill, ..lab.world.policy };
    lab.begin().await;
    lab.world.stop().await;
    lab.append(BAD, 5);
    lab.append(BAD, 5);
    lab.source().retain_from(BAD.0, BAD.1, 15);
    lab.world.start();
    lab.wait("the end", |lab| lab.copy(BAD).end == 20).await;
    let told = || heard.lines("deleted at the source before they were copied");
    let lines = told();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    for part in ["WARN ", "link=dr ", "partition=bad-0 ", "from=10 ", "to=15 ", "offsets=5 "] {
        assert!(lines[0].contains(part), "{part}: {}", lines[0]);
    }
    // a lane that ends, and what is copied on, tell nothing again
    let host = lab.source().host(1);
    for _ in 0..5 {
        lab.world.net.cut(CLIENT, &host);
        let end = lab.append(BAD, 5) + 5;
        lab.wait("the end", |lab| lab.copy(BAD).end == end).await;
    }
    assert_eq!(lab.seen(BAD).unwrap().copied.overtaken, 5);
    assert_eq!(told().len(), 1, "{:#?}", told());
}

#[tokio::test(start_paused = true)]
async fn delete_records_below_the_end_is_no_trouble() {
    let mut lab = Lab::single(Version::V4_3);
    lab.begin().await;
    lab.source().delete_records(BAD.0, BAD.1, 6); // inside the second batch
    lab.append(BAD, 5);
    lab.level(BAD).await;
    lab.world.stop().await;
    lab.append(BAD, 5);
    lab.world.start();
    lab.level(BAD).await;
}

/// The same batches on both sides, before isolog ever runs; the destination lacks the tail.
fn copy_by_hand(lab: &Lab, batches: &[Build]) {
    lab.destination().create_topic(BAD.0, 1, &[]);
    for build in batches {
        lab.destination().append(BAD.0, BAD.1, build);
    }
}

/// A lab whose bad topic was deleted again, to be filled by the test.
fn blank() -> Lab {
    let lab = Lab::single(Version::V4_3);
    lab.source().recreate_topic(BAD.0);
    lab
}

#[tokio::test(start_paused = true)]
async fn an_end_inside_a_thinned_batch_goes_on_with_its_rest() {
    let mut lab = blank();
    let (first, second) = (lab.batch(10), lab.batch(5));
    // the link's own: somebody else's would be a divergence
    let link = producer_id::of(
        &ClusterId("source".into()),
        &ClusterId("destination".into()),
        &LinkName("dr".into()),
    );
    let half = Build::new(second.base_timestamp, second.records[..2].to_vec());
    copy_by_hand(&lab, &[first.clone(), half.producer(link.id.0, link.epoch, 10)]);
    lab.append_bad(&first);
    lab.append_bad(&second);
    lab.source().compact(BAD.0, BAD.1, false, |offset, _| offset != 13);
    lab.world.start();
    lab.level(BAD).await;
    let copied = lab.seen(BAD).unwrap().copied;
    assert_eq!((copied.filled, copied.reencoded), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_destination_with_other_content_is_refused_before_the_first_byte() {
    let mut lab = blank();
    let (first, theirs, ours) = (lab.batch(10), lab.batch(3), lab.batch(3));
    copy_by_hand(&lab, &[first.clone(), theirs]);
    for build in [&first, &ours, &ours] {
        lab.append_bad(build);
    }
    lab.world.start();
    lab.refused(BAD, "DIVERGED", &["differs at offset 10", "is no copy"]).await;
    assert_eq!(lab.copy(BAD).end, 13);
}

#[tokio::test(start_paused = true)]
async fn what_was_copied_by_another_hand_is_taken_over() {
    let mut lab = blank();
    let (first, second) = (lab.batch(10), lab.batch(3));
    copy_by_hand(&lab, std::slice::from_ref(&first));
    lab.append_bad(&first);
    lab.append_bad(&second);
    lab.world.start();
    lab.level(BAD).await;
}

#[tokio::test(start_paused = true)]
async fn a_destination_ahead_of_the_source_halts_with_both_ends() {
    let mut lab = Lab::single(Version::V4_3);
    lab.begin().await;
    lab.world.stop().await;
    let foreign = lab.batch(3);
    lab.destination().append(BAD.0, BAD.1, &foreign);
    lab.world.start();
    let words = ["destination ends at 13", "source at 10"];
    lab.halts(BAD, "DESTINATION_AHEAD", &words).await;
    assert_eq!(lab.copy(BAD).end, 13);
}

/// Nothing of ours can be on its way where nothing may be appended: the doubt is not waited for.
#[tokio::test(start_paused = true)]
async fn a_longer_log_of_somebody_else_is_refused_soon() {
    let mut lab = blank();
    let (first, second) = (lab.batch(10), lab.batch(3));
    copy_by_hand(&lab, &[first, second.clone()]);
    lab.append_bad(&second);
    lab.world.start();
    let is_known = |lab: &Lab| {
        lab.seen(BAD)
            .is_some_and(|seen| seen.reason.is_some_and(|why| why.0 == "DESTINATION_AHEAD"))
    };
    let took = lab.wait("the reason", is_known).await;
    assert!(took < SECOND * 10, "{took:?}");
    let words = ["ends at 13 at the destination", "at 3 at the source"];
    lab.refused(BAD, "DESTINATION_AHEAD", &words).await;
}

#[tokio::test(start_paused = true)]
async fn a_foreign_record_while_isolog_is_down_is_a_divergence() {
    let mut lab = Lab::single(Version::V4_3);
    lab.begin().await;
    lab.world.stop().await;
    let foreign = lab.batch(3);
    lab.destination().append(BAD.0, BAD.1, &foreign);
    for _ in 0..3 {
        lab.append(BAD, 3);
    }
    lab.world.start();
    lab.halts(BAD, "DIVERGED", &["differ at offset 10"]).await;
    assert_eq!(lab.copy(BAD).end, 13);
}

#[tokio::test(start_paused = true)]
async fn a_foreign_record_while_isolog_runs_is_named_with_its_offset() {
    let mut lab = Lab::single(Version::V4_3);
    lab.begin().await;
    let before = lab.source_dump(BAD);
    let foreign = lab.batch(1);
    lab.destination().append(BAD.0, BAD.1, &foreign);
    for _ in 0..20 {
        lab.append(BAD, 3);
    }
    lab.halts(BAD, "UNEXPECTED_WRITER", &["offset 10 was due", "at 11"]).await;
    let copy = lab.copy(BAD);
    assert_copied(&before, &protocol_tests::broker::direct::Dump { end: END, ..copy.clone() }, END);
    // a sequence does not tell of foreigners: what was in flight has landed, and no more
    assert!(copy.end <= END + 1 + 5 * 3, "{}", copy.end);
}

/// Kills a follower of the bad partition, appends, and makes the follower the leader: what was
/// appended meanwhile is lost at `cluster`.
async fn lose_tail(lab: &mut Lab, at_source: bool) -> i64 {
    let cluster: TestCluster = if at_source { lab.source() } else { lab.destination() }.clone();
    let leader = cluster.leader(BAD.0, BAD.1);
    let follower = leader % 3 + 1;
    cluster.kill(follower);
    sleep(SECOND * 15).await; // it is fenced, the others go on without it
    lab.append(BAD, 3);
    let end = lab.append(BAD, 4) + 4;
    lab.level(BAD).await;
    cluster.restart(follower);
    cluster.elect_unclean(BAD.0, BAD.1, follower);
    end
}

#[tokio::test(start_paused = true)]
async fn a_source_that_lost_copied_records_halts_and_keeps_the_copy() {
    for version in [Version::V2_8, Version::V4_3] {
        for is_down in [false, true] {
            let mut lab = Lab::triple(version);
            lab.begin().await;
            let end = lose_tail(&mut lab, true).await;
            if is_down {
                lab.world.kill().await;
                lab.world.start();
            }
            sleep(SECOND * 5).await;
            for _ in 0..10 {
                lab.append(BAD, 3);
            }
            lab.wait("a halt", |lab| lab.is_halted(BAD)).await;
            let label = lab.seen(BAD).and_then(|seen| seen.reason).unwrap().0;
            // who asks the source first decides the word; the numbers say where
            let words: &[&str] = match label {
                "SOURCE_TRUNCATED" => &["from 10 on", "up to 17"],
                "DESTINATION_AHEAD" => &["destination ends at 17"],
                "DIVERGED" => &["differ at offset 1"],
                other => panic!("{other}"),
            };
            lab.halts(BAD, label, words).await;
            assert_eq!(lab.copy(BAD).end, end);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn records_lost_before_anybody_saw_them_have_no_effect() {
    for version in [Version::V2_8, Version::V4_3] {
        let mut lab = Lab::triple(version);
        lab.begin().await;
        let leader = lab.source().leader(BAD.0, BAD.1);
        lab.append(BAD, 3);
        // no follower has them yet, so that no consumer sees them
        lab.source().elect_unclean(BAD.0, BAD.1, leader % 3 + 1);
        lab.append(BAD, 5);
        let took = lab.level(BAD).await;
        assert!(took < SECOND * 10, "{took:?}");
        lab.exact_to(BAD, END + 5);
        lab.others_go_on().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_lost_confirmed_records_halts_with_both_ends() {
    for version in [Version::V2_8, Version::V4_3] {
        let mut lab = Lab::triple(version);
        lab.begin().await;
        lose_tail(&mut lab, false).await;
        sleep(SECOND * 5).await;
        lab.append(BAD, 3);
        let words = ["below 17", "ends at 10"];
        lab.halts(BAD, "DESTINATION_BEHIND", &words).await;
        lab.exact_to(BAD, END);
        // a new process knows nothing of what was confirmed: the copy is made whole again
        lab.world.kill().await;
        lab.world.start();
        lab.level(BAD).await;
    }
}

/// The mirror of a topic whose records were all deleted is there, and nothing but its front:
/// DeleteRecords at the destination fails as long as this goes on.
async fn all_front(lab: &mut Lab) {
    lab.destination().control_key(ApiKey::DeleteRecords, |_| Some(Act::Close));
    lab.source().delete_records(BAD.0, BAD.1, END);
    lab.world.start();
    let is_there =
        |lab: &Lab| lab.destination().look(|state| state.meta.topics().contains_key(BAD.0));
    lab.wait("the front is there", |lab| is_there(lab) && lab.copy(BAD).end == END).await;
    lab.world.stop().await;
    assert_eq!(lab.copy(BAD).start, 0);
}

/// A6: a broker that crashes forgets a log start that it has not written down.
#[tokio::test(start_paused = true)]
async fn a_source_that_forgets_where_it_starts_is_mirrored_on() {
    let mut lab = Lab::single(Version::V4_3);
    all_front(&mut lab).await;
    let key = lab.source().key(BAD.0, BAD.1);
    lab.source().change(|state| state.replica_mut(key, 1).log.lower_start(0));
    lab.append(BAD, 5);
    lab.world.start();
    lab.wait("it is mirrored on", |lab| lab.copy(BAD).end == END + 5).await;
    let seen = lab.seen(BAD).unwrap();
    assert_eq!((seen.state, seen.reason), ("Mirroring", None));
}

/// How long a compacted topic whose source begins at 7 stays without its real policy, on brokers
/// that write log starts down so often, the first time so long after their start.
async fn on_the_stage(checkpoint_ms: &str, delay_ms: &str) -> Duration {
    let mut destination = Spec::single("destination", 2);
    for (key, value) in [
        ("log.flush.start.offset.checkpoint.interval.ms", checkpoint_ms),
        ("log.initial.task.delay.ms", delay_ms),
    ] {
        destination.configs.insert(key.to_owned(), value.to_owned());
    }
    let mut lab = Lab::of(Spec::single("source", 1), destination);
    lab.source().configure(BAD.0, &[("cleanup.policy", Some("compact"))]);
    lab.source().retain_from(BAD.0, BAD.1, 7);
    lab.world.start();
    let policy = |lab: &Lab| {
        lab.destination().look(|state| {
            let topic = state.meta.topics().get(BAD.0)?;
            topic.configs.get("cleanup.policy").cloned()
        })
    };
    lab.wait("it is on the stage", |lab| policy(lab).as_deref() == Some("delete")).await;
    lab.wait("it has left it", |lab| policy(lab).as_deref() == Some("compact")).await
}

#[tokio::test(start_paused = true)]
async fn a_front_is_held_as_long_as_the_broker_takes_to_write_it_down() {
    let soon = on_the_stage("2000", "500").await;
    assert!(soon < Duration::from_secs(30), "{soon:?}");
    let late = on_the_stage("60000", "500").await;
    assert!(late >= Duration::from_secs(75), "{late:?}");
    // a broker that was just started has written nothing down yet
    let late = on_the_stage("2000", "30000").await;
    assert!(late >= Duration::from_secs(37), "{late:?}");
}
