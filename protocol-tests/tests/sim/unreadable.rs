//! Rows of the journal that no isolog of this version can read: what they are about stands still,
//! says why, and is not written over; everything else goes on. Rows that a broker does not take,
//! and a source topic that lost partitions, stop as little.
//!
//! It never waits for real time.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::sync::Arc;

use isolog::cluster::Cluster;
use isolog::control::journal::WriterTag;
use isolog::control::link::LinkState;
use isolog::control::order::MirrorVerb;
use isolog::control::order::Verb;
use isolog::control::topic::How;
use isolog::control::topic::Status;
use isolog::flow::Wall;
use isolog::ids::Side;
use isolog::ids::TimestampMs;
use isolog::link::log;
use isolog::link::log::Log;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::ProduceRequest;
use kafka_protocol::messages::ProduceResponse;
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::produce_response::TopicProduceResponse;
use kafka_protocol::protocol::Decodable;
use protocol_tests::broker::cluster::TestCluster;
use protocol_tests::broker::spec::Spec;
use protocol_tests::broker::spec::Version;
use protocol_tests::broker::takeover::Act;
use protocol_tests::instance::Instance;
use protocol_tests::net_dial::NetDial;
use protocol_tests::world::instance::options;
use tokio::time::Instant;
use tokio::time::sleep;

use crate::operated::Lab;
use crate::operated::SECOND;
use crate::operated::link;
use crate::operated::mirror;
use crate::operated::of_mirror;

/// What a later isolog may write, and what none does.
const NEWER: &str = r#"{"v":2,"new":"words"}"#;
const BROKEN: &str = r#"{"v":1,"#;

/// Who writes rows besides: a person, by `isolog journal`, which isolog does not take for a rival.
pub(crate) async fn other(lab: &Lab) -> Instance {
    let to = &lab.destination;
    let dial = NetDial { net: to.net().clone(), client: String::new(), timeout: SECOND * 5 };
    let cluster = Cluster::connect(options(Side::Destination, to), Arc::new(dial), 9).await;
    let now_ms = to.look(|state| state.now_ms());
    let opened = log::Options { replicas: None, wall: Wall::new(TimestampMs(now_ms)) };
    let log = Log::open(cluster.unwrap(), opened).await.unwrap();
    let mut other = Instance::new(log, WriterTag::of_editor(9).0);
    other.level().await;
    other
}

async fn two_links() -> Lab {
    let lab = Lab::start(&[]).await;
    lab.source.create_topic("orders", 1, &[]);
    lab.append("orders", 0);
    let prefixed: &[(&str, &str)] = &[("cluster.link.prefix", "w.")];
    for (of, configs, here) in [("dr", &[][..], "orders"), ("west", prefixed, "w.orders")] {
        lab.create_link(of, configs).await;
        lab.obeyed(of, mirror("orders")).await;
        lab.copied("orders", here, 0).await;
    }
    lab
}

/// A cleaner leaves nothing of what the rows were, and isolog starts again.
async fn start_cleaned(lab: &mut Lab) {
    lab.kill().await;
    lab.destination.compact_keys("__isolog", 0, i64::MAX);
    lab.start_again();
}

/// The other link goes on, and nothing of this one comes.
async fn one_stands(lab: &Lab) {
    let before = lab.destination.dump("orders", 0).end;
    for _ in 0..5 {
        lab.append("orders", 0);
        lab.copied("orders", "w.orders", 0).await;
    }
    assert_eq!(lab.destination.dump("orders", 0).end, before);
}

fn failed(lab: &Lab) -> Option<String> {
    match &lab.driver.registry.seen().links.get(&link("dr"))?.state {
        LinkState::Failed(fault) if fault.code == "JOURNAL_ROW_UNREADABLE" => {
            Some(fault.text.clone())
        }
        _ => None,
    }
}

/// A mirror topic's row: whichever way it cannot be read, while isolog runs and after a start.
#[tokio::test(start_paused = true)]
async fn a_mirror_topics_row_stops_its_link_alone_until_it_is_gone() {
    for (value, cure) in [(NEWER, "start that one"), (BROKEN, "`isolog journal delete mirror/dr/")]
    {
        let mut lab = two_links().await;
        let mut other = other(&lab).await;
        let key = "mirror/dr/orders";
        let was = other.fold.get(key).unwrap().to_owned();
        other.write(&[(key, Some(value))]).await.unwrap();
        for is_restarted in [false, true] {
            if is_restarted {
                start_cleaned(&mut lab).await;
            }
            let text = lab.wait("the link says so", failed).await;
            assert!(text.contains(&format!("row {key} ")) && text.contains(cure), "{text}");
            one_stands(&lab).await;
            // no order is decided on what the row was
            for verb in [
                of_mirror("orders", MirrorVerb::Pause),
                of_mirror("orders", MirrorVerb::Stop { how: How::Failover, deadline_ms: None }),
                of_mirror("orders", MirrorVerb::Delete { topic: true }),
                mirror("orders"),
            ] {
                lab.refused("dr", verb, key).await;
            }
            lab.obeyed("west", of_mirror("w.orders", MirrorVerb::Pause)).await;
            lab.obeyed("west", of_mirror("w.orders", MirrorVerb::Resume)).await;
        }
        other.until(|one| one.fold.get(key) == Some(value)).await;
        // what `isolog journal delete` writes
        other.write(&[(key, None)]).await.unwrap();
        let is_well = |lab: &Lab| failed(lab).is_none().then_some(());
        lab.wait("the link goes on", is_well).await;
        // what it forgot is taken up by an order, or put back from an export
        match value == NEWER {
            true => lab.obeyed("dr", mirror("orders")).await,
            false => other.write(&[(key, Some(&was))]).await.unwrap(),
        }
        lab.copied("orders", "orders", 0).await;
        lab.end().await;
    }
}

/// The link's own row: after a start no row stands for it, and it is told all the same.
#[tokio::test(start_paused = true)]
async fn a_links_own_row_is_told_and_not_written_over() {
    let mut lab = two_links().await;
    let mut other = other(&lab).await;
    let key = "link/dr";
    let was = other.fold.get(key).unwrap().to_owned();
    other.write(&[(key, Some(NEWER))]).await.unwrap();
    lab.wait("the link says so", failed).await;
    one_stands(&lab).await;
    lab.refused("dr", Verb::PauseLink(true), key).await;
    lab.refused("dr", Verb::DeleteLink { is_forced: true }, key).await;
    start_cleaned(&mut lab).await;
    let told = |lab: &Lab| lab.driver.trouble().filter(|text| text.contains("row link/dr "));
    lab.wait("it is told", told).await;
    one_stands(&lab).await;
    let new = protocol_tests::orders::exact_link("source:9092", &[]);
    lab.refused("dr", Verb::CreateLink(new), key).await;
    lab.refused("dr", Verb::DeleteLink { is_forced: true }, key).await;
    lab.refused("dr", of_mirror("orders", MirrorVerb::Pause), key).await;
    other.until(|one| one.fold.get(key) == Some(NEWER)).await;
    other.write(&[(key, Some(&was))]).await.unwrap();
    lab.copied("orders", "orders", 0).await;
    assert_eq!(lab.driver.trouble(), None);
    lab.end().await;
}

/// A link of the file is shown before it has a row, and says why it gets none.
#[tokio::test(start_paused = true)]
async fn a_link_of_the_file_says_that_its_row_cannot_be_read() {
    let mut lab = Lab::start(&[("dr", "orders"), ("west", "w*")]).await;
    for topic in ["orders", "west"] {
        lab.source.create_topic(topic, 1, &[]);
        lab.append(topic, 0);
        lab.copied(topic, topic, 0).await;
    }
    let mut other = other(&lab).await;
    let was = other.fold.get("link/dr").unwrap().to_owned();
    other.write(&[("link/dr", Some(BROKEN))]).await.unwrap();
    start_cleaned(&mut lab).await;
    let told = |lab: &Lab| {
        let links = lab.driver.links();
        let state = links.iter().find(|one| one.name == link("dr"))?.status().state;
        format!("{state:?}").contains("row link/dr ").then_some(())
    };
    lab.wait("it is shown", told).await;
    let end = lab.destination.dump("orders", 0).end;
    lab.append("orders", 0);
    lab.append("west", 0);
    lab.copied("west", "west", 0).await;
    assert_eq!(lab.destination.dump("orders", 0).end, end);
    other.until(|one| one.fold.get("link/dr") == Some(BROKEN)).await;
    other.write(&[("link/dr", Some(&was))]).await.unwrap();
    lab.copied("orders", "orders", 0).await;
    lab.end().await;
}

/// KAFKA_STORAGE_ERROR to all that is appended to the journal, until the disk has room again.
#[tokio::test(start_paused = true)]
async fn a_disk_that_takes_no_row_is_told_and_nothing_is_half_done() {
    let lab = two_links().await;
    let journal = lab.destination.key("__isolog", 0).0;
    let full = lab.destination.control_key(ApiKey::Produce, move |call| {
        let asked = ProduceRequest::decode(&mut call.body.clone(), call.version).unwrap();
        let topic = asked.topic_data.first()?;
        if topic.topic_id != journal && topic.name.as_str() != "__isolog" {
            return None;
        }
        let part = PartitionProduceResponse::default().with_error_code(56).with_base_offset(-1);
        let parts = TopicProduceResponse::default().with_name(topic.name.clone());
        let parts = parts.with_topic_id(topic.topic_id).with_partition_responses(vec![part]);
        Some(Act::answer(&ProduceResponse::default().with_responses(vec![parts]), call.version))
    });
    lab.source.create_topic("late", 1, &[]);
    lab.append("late", 0);
    let end = lab.destination.dump("__isolog", 0).end;
    // ordered, and not answered as long as nobody can know
    let outcomes = lab.order("dr", mirror("late")).await;
    let refusal = outcomes[0].result.clone().unwrap_err();
    assert_eq!(refusal.status, 504, "{refusal:?}");
    let told = |lab: &Lab| lab.driver.trouble().filter(|text| text.contains("KAFKA_STORAGE_ERROR"));
    let text = lab.wait("it is told", told).await;
    assert!(text.contains("takes no row") && text.contains("free space there"), "{text}");
    assert_eq!(lab.destination.dump("__isolog", 0).end, end);
    assert!(!lab.has("late") && lab.seen("dr", "late").is_none(), "nothing is half done");
    // what is copied already goes on
    for _ in 0..5 {
        lab.append("orders", 0);
        lab.copied("orders", "orders", 0).await;
    }
    lab.destination.drop_control(full);
    lab.copied("late", "late", 0).await;
    lab.wait("nothing is told", |lab| lab.driver.trouble().is_none().then_some(())).await;
    lab.end().await;
}

/// Gone or frozen, with no mirror topic that would tell it: the journal says so soon.
#[tokio::test(start_paused = true)]
async fn a_destination_that_is_away_is_told_without_mirror_topics() {
    type Change = fn(&TestCluster, i32);
    let ways: [(Change, Change); 2] =
        [(TestCluster::kill, TestCluster::restart), (TestCluster::freeze, TestCluster::thaw)];
    for (goes, comes) in ways {
        let lab = Lab::start(&[]).await;
        lab.create_link("dr", &[]).await;
        // what readiness and the journal's metric are made of
        let is_away = |lab: &Lab| {
            let told = lab.driver.trouble_beside_links()?;
            (told.contains("__isolog") && lab.driver.journal().2).then_some(())
        };
        sleep(SECOND * 60).await;
        assert_eq!(is_away(&lab), None);
        let began = Instant::now();
        goes(&lab.destination, 1);
        lab.wait("it is told", is_away).await;
        assert!(began.elapsed() <= SECOND * 60, "{:?}", began.elapsed());
        comes(&lab.destination, 1);
        lab.wait("all is well", |lab| is_away(lab).is_none().then_some(())).await;
        lab.end().await;
    }
}

/// A source topic cannot lose partitions, but under an old broker's name there may be another one:
/// its mirror stands still, says both numbers, and goes on when there are as many again.
#[tokio::test(start_paused = true)]
async fn a_source_topic_with_fewer_partitions_fails_its_mirror_alone() {
    let old = Spec { version: Version::V2_8, ..Spec::single("source", 1) };
    let lab = Lab::start_on((old, Spec::single("destination", 2)), &[("dr", "*")]).await;
    for topic in ["fewer", "orders"] {
        lab.source.create_topic(topic, 2, &[]);
        for partition in 0..2 {
            lab.append(topic, partition);
            lab.copied(topic, topic, partition).await;
        }
    }
    // its id is what no such broker tells
    let gone = lab.source.change(|state| {
        let topic = state.meta.topic_mut("fewer").unwrap();
        let gone = topic.partitions.pop().unwrap();
        state.publish();
        gone
    });
    lab.wait_status("dr", "fewer", Status::Failed).await;
    let reason = lab.seen("dr", "fewer").unwrap().reason.unwrap();
    assert_eq!(reason.code, "SOURCE_PARTITIONS_DECREASED");
    assert!(reason.text.contains('1') && reason.text.contains('2'), "{}", reason.text);
    let ends = [0, 1].map(|at| lab.destination.dump("fewer", at).end);
    lab.append("fewer", 0);
    for partition in 0..2 {
        lab.append("orders", partition);
        lab.copied("orders", "orders", partition).await;
    }
    assert_eq!([0, 1].map(|at| lab.destination.dump("fewer", at).end), ends);
    lab.source.change(|state| {
        let topic = state.meta.topic_mut("fewer").unwrap();
        topic.partitions.push(gone);
        state.publish();
    });
    lab.wait_status("dr", "fewer", Status::Active).await;
    lab.copied("fewer", "fewer", 0).await;
    lab.end().await;
}
