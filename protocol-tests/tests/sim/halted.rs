//! Halts from outside of the logs, of a link that is ordered: each partition is shown as halted,
//! with the label, the ids and the reason that a link of the config file shows.
//!
//! It never waits for real time.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use isolog::control::link::LinkState;
use isolog::control::order::MirrorVerb;
use isolog::control::topic::How;
use isolog::control::topic::Status;
use isolog::sync::trouble::Kind;
use protocol_tests::broker::cluster::TestCluster;
use protocol_tests::broker::rights::Right;
use protocol_tests::broker::spec::Spec;
use protocol_tests::world::CLIENT;
use tokio::time::sleep;

use crate::operated::Lab;
use crate::operated::SECOND;
use crate::operated::link;
use crate::operated::mirror;
use crate::operated::of_mirror;

const PARTITIONS: i32 = 3;

/// Partition, state, label and text.
type Row = (i32, &'static str, &'static str, String);

/// What is shown of the link's only mirror.
fn rows(lab: &Lab) -> Vec<Row> {
    let links = lab.driver.links();
    let all = links.iter().flat_map(|one| one.partitions());
    let row = |(name, seen): (isolog::ids::MirrorPartition, isolog::mirror::lag::Snapshot)| {
        let (label, text) = seen.reason.unwrap_or_default();
        (name.partition.0, seen.state, label, text)
    };
    all.map(row).collect()
}

/// A link `west` with a mirror `w.orders` of as many partitions, all of them copied.
async fn begun() -> Lab {
    let lab = Lab::start(&[]).await;
    lab.source.create_topic("orders", PARTITIONS, &[]);
    lab.create_link("west", &[("cluster.link.prefix", "w.")]).await;
    lab.obeyed("west", mirror("orders")).await;
    for partition in 0..PARTITIONS {
        lab.append("orders", partition);
        lab.copied("orders", "w.orders", partition).await;
    }
    lab
}

/// Waits until all partitions are halted for that reason, and holds that they stay so, one row
/// each, over a while and an order to go on.
async fn stays_halted(lab: &Lab, label: &str, words: &[&str]) {
    let is_so = |lab: &Lab| {
        let rows = rows(lab);
        let all = rows.len() == usize::try_from(PARTITIONS).unwrap();
        (all && rows.iter().all(|row| row.1 == "Halted" && row.2 == label)).then_some(())
    };
    lab.wait(&format!("{label} of each partition"), is_so).await;
    for (_, _, _, text) in rows(lab) {
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    }
    lab.obeyed("west", of_mirror("w.orders", MirrorVerb::Resume)).await;
    for _ in 0..120 {
        sleep(SECOND / 2).await;
        assert!(is_so(lab).is_some(), "{:?}", rows(lab));
    }
}

/// What the mirror topic as a whole says: its state, its code, and all partitions in error.
async fn fails_with(lab: &Lab, code: &str) {
    lab.wait_status("west", "w.orders", Status::Failed).await;
    let seen = lab.seen("west", "w.orders").unwrap();
    assert_eq!(seen.reason.map(|reason| reason.code), Some(code.to_owned()));
    let counts = lab.driver.registry.seen().counts(&link("west"));
    assert_eq!((counts.active, counts.in_error), (0, 3));
}

fn end(lab: &Lab) -> i64 {
    let ends = (0..PARTITIONS).map(|partition| lab.destination.dump("w.orders", partition).end);
    ends.sum()
}

#[tokio::test(start_paused = true)]
async fn a_source_topic_that_is_deleted_halts_each_partition() {
    let mut lab = begun().await;
    let before = end(&lab);
    lab.source.change(|state| state.delete_topic("orders")).unwrap();
    let missing = |lab: &Lab| {
        let troubles = lab.driver.links()[0].status().troubles;
        let kinds = troubles.iter().map(|one| one.kind);
        kinds.into_iter().any(|kind| kind.label() == "SOURCE_TOPIC_MISSING").then_some(())
    };
    lab.wait("it is missing at first", missing).await;
    for _ in 0..2 {
        stays_halted(&lab, "SOURCE_TOPIC_DELETED", &["the source topic is gone"]).await;
        fails_with(&lab, "SOURCE_TOPIC_MAY_BE_DELETED").await;
        let troubles = lab.driver.links()[0].status().troubles;
        let kinds = troubles.iter().map(|one| one.kind);
        let kinds: Vec<Kind> = kinds.filter(|kind| kind.stops_copying()).collect();
        assert_eq!(kinds, [Kind::Halted("SOURCE_TOPIC_DELETED")], "told once");
        lab.kill_and_start().await;
    }
    // the order for it: the copy becomes an ordinary topic
    let stop = MirrorVerb::Stop { how: How::Failover, deadline_ms: None };
    lab.obeyed("west", of_mirror("w.orders", stop)).await;
    lab.wait_status("west", "w.orders", Status::Stopped).await;
    assert_eq!(end(&lab), before + i64::from(PARTITIONS), "a seal each and nothing else");
    lab.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_source_topic_made_anew_halts_each_partition_and_is_not_mixed_in() {
    let mut lab = begun().await;
    let before = end(&lab);
    lab.source.recreate_topic("orders");
    for partition in 0..PARTITIONS {
        (0..4).for_each(|_| lab.append("orders", partition));
    }
    for _ in 0..2 {
        stays_halted(&lab, "SOURCE_TOPIC_ID_CHANGED", &["it had id ", " and has "]).await;
        fails_with(&lab, "SOURCE_TOPIC_ID_CHANGED").await;
        assert_eq!(end(&lab), before);
        lab.kill_and_start().await;
    }
    // as its text says: the mirror goes with its topic, and is created again
    lab.obeyed("west", of_mirror("w.orders", MirrorVerb::Delete { topic: true })).await;
    lab.wait("it is forgotten", |lab| lab.seen("west", "w.orders").is_none().then_some(())).await;
    lab.obeyed("west", mirror("orders")).await;
    for partition in 0..PARTITIONS {
        lab.copied("orders", "w.orders", partition).await;
    }
    lab.wait_status("west", "w.orders", Status::Active).await;
    lab.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_mirror_topic_made_anew_or_deleted_halts_each_partition_and_is_left_alone() {
    for is_deleted in [false, true] {
        let mut lab = begun().await;
        match is_deleted {
            false => drop(lab.destination.recreate_topic("w.orders")),
            true => {
                lab.destination.change(|state| state.delete_topic("w.orders")).unwrap();
            }
        }
        let (label, words) = match is_deleted {
            false => ("DESTINATION_TOPIC_ID_CHANGED", ["it had id ", " and has "]),
            true => ("DESTINATION_TOPIC_DELETED", ["destination topic is gone", "copied"]),
        };
        for _ in 0..2 {
            stays_halted(&lab, label, &words).await;
            fails_with(&lab, label).await;
            lab.append("orders", 0);
            match is_deleted {
                false => assert_eq!(end(&lab), 0, "nothing is written into the other one"),
                true => assert!(!lab.has("w.orders"), "it is not made again"),
            }
            lab.kill_and_start().await;
        }
        lab.end().await;
    }
}

/// The link has failed, and each partition says why, whether a manager is there or never was one.
#[tokio::test(start_paused = true)]
async fn another_cluster_under_the_sources_address_halts_each_partition() {
    let mut lab = begun().await;
    let net = lab.source.net().clone();
    let other = TestCluster::start(&net, Spec::single("other", 9));
    other.create_topic("orders", PARTITIONS, &[]);
    let (host, before) = (lab.source.host(1), end(&lab));
    net.alias(&host, &other.host(1));
    net.cut(CLIENT, &host);
    for _ in 0..2 {
        let words = ["the source's address", "cluster source and now as other"];
        stays_halted(&lab, "CLUSTER_ID_CHANGED", &words).await;
        lab.wait_status("west", "w.orders", Status::LinkFailed).await;
        let seen = lab.driver.registry.seen();
        let LinkState::Failed(fault) = &seen.links[&link("west")].state else {
            panic!("{:?}", seen.links)
        };
        assert_eq!(fault.code, "CLUSTER_ID_CHANGED");
        assert_eq!(end(&lab), before);
        lab.kill_and_start().await;
    }
    // the link's own cluster is back
    net.alias(&host, &host);
    net.cut(CLIENT, &host);
    lab.append("orders", 1);
    lab.copied("orders", "w.orders", 1).await;
    lab.wait_status("west", "w.orders", Status::Active).await;
    let is_mirroring = |lab: &Lab| rows(lab).iter().all(|row| row.1 == "Mirroring").then_some(());
    lab.wait("all are mirrored again", is_mirroring).await;
    lab.end().await;
}

#[tokio::test(start_paused = true)]
async fn another_cluster_under_the_destinations_address_halts_each_partition() {
    let lab = begun().await;
    let net = lab.destination.net().clone();
    let other = TestCluster::start(&net, Spec::single("other", 9));
    other.create_topic("w.orders", PARTITIONS, &[]);
    let host = lab.destination.host(1);
    net.alias(&host, &other.host(1));
    net.cut(CLIENT, &host);
    lab.append("orders", 0);
    let words = ["the destination's address", "cluster destination and now as other"];
    stays_halted(&lab, "CLUSTER_ID_CHANGED", &words).await;
    lab.wait_status("west", "w.orders", Status::LinkFailed).await;
    assert_eq!(other.dump("w.orders", 0).end, 0);
    lab.end().await;
}

/// Whatever time it takes: it is no deletion, and a grant is enough.
#[tokio::test(start_paused = true)]
async fn a_topic_that_is_hidden_from_us_is_not_let_go() {
    for at_source in [true, false] {
        let lab = begun().await;
        let (side, topic) = match at_source {
            true => (&lab.source, "orders"),
            false => (&lab.destination, "w.orders"),
        };
        let rights = [Right::Describe, Right::Read, Right::Write];
        rights.iter().for_each(|right| side.deny(topic, *right));
        lab.wait_status("west", "w.orders", Status::Failed).await;
        for _ in 0..60 {
            sleep(SECOND / 2).await;
            lab.append("orders", 0);
            let rows = rows(&lab);
            assert_eq!(rows.len(), 3, "{rows:?}");
            assert!(rows.iter().all(|row| row.1 != "Halted"), "{rows:?}");
        }
        let seen = lab.seen("west", "w.orders").unwrap();
        assert_eq!(seen.reason.map(|reason| reason.code).as_deref(), Some("AUTHORIZATION_ERROR"));
        rights.iter().for_each(|right| side.grant(topic, *right));
        lab.copied("orders", "w.orders", 0).await;
        lab.wait_status("west", "w.orders", Status::Active).await;
        lab.end().await;
    }
}
