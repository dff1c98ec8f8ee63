//! The way back by one order, between two simulated clusters with the real driver on both sides: a
//! topic that was failed over becomes a mirror of what was its mirror.
//!
//! It never waits for real time; what real brokers say of the same is in `real/failback`.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use isolog::control::order::MirrorVerb;
use isolog::control::order::Verb;
use isolog::control::topic::How;
use isolog::control::topic::Status;
use isolog::ids::Offset;
use isolog::ids::PartitionId;
use isolog::link::restore::Parted;
use isolog::link::restore::RestoreFrom;
use kafka_protocol::messages::ApiKey;
use protocol_tests::broker::batch::Build;
use protocol_tests::broker::cluster::TestCluster;
use protocol_tests::broker::takeover::Act;

use crate::loops::Hop;
use crate::loops::append;
use crate::loops::clusters;
use crate::operated::link;
use crate::operated::mirror;
use crate::operated::name;
use crate::operated::of_mirror;

fn at(raw: i64) -> Offset {
    Offset::new(raw).unwrap()
}

/// A and B after a failover from A to B, where five records more were written; and the way back.
async fn failed_over() -> ([TestCluster; 2], Hop, Hop) {
    let [a, b, _] = clusters();
    a.create_topic("orders", 1, &[]);
    append(&a, "orders");
    append(&a, "orders");
    let ab = Hop::start("ab", (&a, &b), &[]).await;
    ab.order(mirror("orders")).await.result.unwrap();
    ab.copied("orders", "orders").await;
    let stop = MirrorVerb::Stop { how: How::Failover, deadline_ms: None };
    ab.order(of_mirror("orders", stop)).await.result.unwrap();
    ab.wait_status("orders", Status::Stopped).await;
    append(&b, "orders");
    let ba = Hop::start("ba", (&b, &a), &[]).await;
    ([a, b], ab, ba)
}

async fn parted(ba: &Hop) -> Parted {
    ba.driver.parted(&link("ba")).await.unwrap().remove(&name("orders")).unwrap()
}

fn restore(of: &Parted, is_replaced: bool) -> Verb {
    match is_replaced {
        true => of.order_anew(&name("orders"), RestoreFrom::Earliest),
        false => of.order(&name("orders"), None),
    }
}

fn id(cluster: &TestCluster) -> Vec<u8> {
    cluster.look(|state| state.meta.topics()["orders"].id.as_bytes().to_vec())
}

#[tokio::test(start_paused = true)]
async fn without_a_tail_it_is_gone_on_with_and_nothing_is_copied_again() {
    let ([a, _], ab, ba) = failed_over().await;
    let (before, of) = (id(&a), parted(&ba).await);
    let one = of.partitions[&PartitionId(0)];
    assert_eq!((one.next, one.end, of.all_beyond()), (at(10), at(10), 0));
    assert!(of.blockers.is_empty(), "{of:?}");
    ba.order(restore(&of, false)).await.result.unwrap();
    ba.copied("orders", "orders").await;
    assert_eq!(id(&a), before);
    ab.end().await;
    ba.end().await;
}

/// What was told is what is lost; what came since the order was looked at is not.
#[tokio::test(start_paused = true)]
async fn with_a_tail_it_is_made_anew_but_never_with_more_than_was_told() {
    let ([a, _], ab, ba) = failed_over().await;
    append(&a, "orders");
    let (before, of) = (id(&a), parted(&ba).await);
    let one = of.partitions[&PartitionId(0)];
    assert_eq!((one.next, one.end, of.all_beyond()), (at(10), at(15), 5));
    // by itself it is no prefix
    let told = ba.order(restore(&of, false)).await.result.unwrap_err();
    assert!(told.text.contains("partition 0"), "{}", told.text);
    append(&a, "orders");
    let told = ba.order(restore(&of, true)).await.result.unwrap_err();
    assert!(told.text.contains("orders-0 ends at 20 by now, and at 15"), "{}", told.text);
    assert_eq!((id(&a), a.dump("orders", 0).end), (before.clone(), 20));
    let of = parted(&ba).await;
    assert_eq!(of.all_beyond(), 10);
    ba.order(restore(&of, true)).await.result.unwrap();
    ba.copied("orders", "orders").await;
    assert_ne!(id(&a), before);
    // its former self is nobody's any more
    assert!(ba.driver.parted(&link("ba")).await.unwrap().is_empty());
    let told = ba.order(restore(&of, true)).await.result.unwrap_err();
    assert!(told.text.contains("already"), "{}", told.text);
    ab.end().await;
    ba.end().await;
}

/// All of the source, what it got since the two parted, or what it has from a time on.
#[tokio::test(start_paused = true)]
async fn what_is_made_anew_begins_where_the_order_says() {
    for (from, start) in [("earliest", 0), ("divergence", 10), ("1971-01-01T00:00:00Z", 0)] {
        let ([a, b], ab, ba) = failed_over().await;
        append(&a, "orders");
        let (before, of) = (id(&a), parted(&ba).await);
        let from = RestoreFrom::parse(from).unwrap();
        ba.order(of.order_anew(&name("orders"), from)).await.result.unwrap();
        let reaches = || {
            let (copy, source) = (a.dump("orders", 0), b.dump("orders", 0));
            id(&a) != before && (copy.start, copy.end) == (start, source.end)
        };
        for second in 0.. {
            assert!(second < 120, "{from:?}: {:?}", a.dump("orders", 0));
            if reaches() {
                break;
            }
            tokio::time::sleep(crate::operated::SECOND).await;
        }
        ab.end().await;
        ba.end().await;
    }
    // what nobody has yet is nothing to begin with
    assert_eq!(RestoreFrom::parse("latest"), None);
    assert_eq!(RestoreFrom::parse("yesterday"), None);
}

/// What a producer that runs does while its topic is being made anew.
async fn makes_it_again(a: &TestCluster, is_written: bool) {
    a.wait_for(|state| !state.meta.topics().contains_key("orders")).await;
    a.create_topic("orders", 3, &[]);
    if is_written {
        append(a, "orders");
    }
}

/// Where topics are made by whoever names them: what nobody has written into is in the way of
/// nobody, and of what somebody has written nothing is lost.
#[tokio::test(start_paused = true)]
async fn what_a_client_makes_in_its_place_gives_way_while_it_is_empty() {
    for is_written in [false, true] {
        let ([a, _], ab, ba) = failed_over().await;
        append(&a, "orders");
        let of = parted(&ba).await;
        let mut tries = 0;
        let late = a.control_key(ApiKey::CreateTopics, move |_| {
            tries += 1;
            (tries == 1).then_some(Act::Delay(crate::operated::SECOND))
        });
        let order = ba.order(restore(&of, true));
        let (told, ()) = tokio::join!(order, makes_it_again(&a, is_written));
        a.drop_control(late);
        if is_written {
            let told = told.result.unwrap_err();
            assert!(told.text.contains("holds records"), "{}", told.text);
            assert_eq!(a.dump("orders", 0).end, 5);
        } else {
            told.result.unwrap();
            ba.copied("orders", "orders").await;
            assert_eq!(a.look(|state| state.meta.topics()["orders"].partitions.len()), 1);
        }
        ab.end().await;
        ba.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_in_the_way_is_named() {
    let ([a, _], ab, ba) = failed_over().await;
    let now = a.look(|state| state.now_ms());
    a.append_txn("orders", 0, (7, 0, 0), Build::plain(now, "open", 3));
    let blockers = parted(&ba).await.blockers;
    assert_eq!(blockers, ["an open transaction holds orders-0: end it"]);
    a.end_txn("orders", 0, (7, 0), false);
    let writing = async {
        tokio::time::sleep(crate::operated::SECOND).await;
        append(&a, "orders");
    };
    let (of, ()) = tokio::join!(parted(&ba), writing);
    assert_eq!(of.blockers, ["orders-0 is being written: stop its producers"]);
    ab.end().await;
    ba.end().await;
}

/// What has only the name of the former mirror is none, whatever the journal there still says.
#[tokio::test(start_paused = true)]
async fn a_former_mirror_that_was_made_anew_is_none() {
    let ([_, b], ab, ba) = failed_over().await;
    ab.end().await;
    assert_eq!(ba.driver.parted(&link("ba")).await.unwrap().len(), 1);
    b.recreate_topic("orders");
    assert!(ba.driver.parted(&link("ba")).await.unwrap().is_empty());
    ba.end().await;
}

/// A stopped mirror of the way back is restored again: there and back as often as one likes.
#[tokio::test(start_paused = true)]
async fn there_and_back_again() {
    let ([a, b], ab, ba) = failed_over().await;
    for round in 0..3 {
        ba.order(restore(&parted(&ba).await, false)).await.result.unwrap();
        ba.copied("orders", "orders").await;
        let stop = MirrorVerb::Stop { how: How::Promote, deadline_ms: None };
        ba.order(of_mirror("orders", stop)).await.result.unwrap();
        ba.wait_status("orders", Status::Stopped).await;
        append(&a, "orders");
        let of = ab.driver.parted(&link("ab")).await.unwrap().remove(&name("orders")).unwrap();
        assert_eq!(of.all_beyond(), 0, "round {round}: {of:?}");
        ab.order(restore(&of, false)).await.result.unwrap();
        ab.copied("orders", "orders").await;
        ab.order(of_mirror("orders", stop)).await.result.unwrap();
        ab.wait_status("orders", Status::Stopped).await;
        append(&b, "orders");
    }
    ab.end().await;
    ba.end().await;
}
