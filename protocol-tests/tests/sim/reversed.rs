//! Planned swaps of roles between two simulated clusters, with the real driver beside each: nothing
//! is lost, doubled or copied again, whoever writes, dies or gives up on the way.
//!
//! It never waits for real time; the same of real brokers is in `real/reversed`.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use isolog::control::order::MirrorVerb;
use isolog::control::order::Verb;
use isolog::control::topic::How;
use isolog::control::topic::Status;
use protocol_tests::broker::cluster::TestCluster;
use tokio::time::sleep;

use crate::loops::Hop;
use crate::loops::append;
use crate::loops::clusters;
use crate::operated::SECOND;
use crate::operated::mirror;
use crate::operated::of_mirror;

/// Two clusters that mirror from each other, and the topic from A.
async fn both_ways() -> ([TestCluster; 2], [Hop; 2]) {
    let [a, b, _] = clusters();
    a.create_topic("orders", 1, &[("max.message.bytes", "5000")]);
    append(&a, "orders");
    let ab = Hop::start("ab", (&a, &b), &[]).await;
    let ba = Hop::start("ba", (&b, &a), &[]).await;
    ab.order(mirror("orders")).await.result.unwrap();
    ab.copied("orders", "orders").await;
    ([a, b], [ab, ba])
}

fn reverse(is_paused: bool, deadline_ms: Option<i64>) -> Verb {
    of_mirror("orders", MirrorVerb::Reverse { is_paused, deadline_ms })
}

fn limit(cluster: &TestCluster) -> Option<String> {
    cluster.look(|state| state.meta.topics()["orders"].configs.get("max.message.bytes").cloned())
}

fn id(cluster: &TestCluster) -> Vec<u8> {
    cluster.look(|state| state.meta.topics()["orders"].id.as_bytes().to_vec())
}

async fn end(hops: [Hop; 2]) {
    for hop in hops {
        hop.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn there_and_back_nothing_is_copied_again() {
    let ([a, b], hops) = both_ways().await;
    let ids = [id(&a), id(&b)];
    for turn in 0..4 {
        let (from, to) = (&hops[turn % 2], &hops[(turn + 1) % 2]);
        let before = from.source.dump("orders", 0).end;
        from.order(reverse(false, None)).await.result.unwrap();
        from.wait_status("orders", Status::Stopped).await;
        // its seal has the next offset, and the former source is a mirror of it
        to.wait_status("orders", Status::Active).await;
        to.copied("orders", "orders").await;
        assert_eq!(to.destination.dump("orders", 0).end, before + 1);
        append(&to.source, "orders");
        to.copied("orders", "orders").await;
        assert_eq!(limit(&to.source).as_deref(), Some("5000"), "as the first source had it");
        assert_eq!(limit(&to.destination).as_deref(), Some("52428800"), "as a mirror has it");
    }
    assert_eq!([id(&a), id(&b)], ids);
    end(hops).await;
}

#[tokio::test(start_paused = true)]
async fn what_becomes_the_mirror_may_be_paused() {
    let (_, hops) = both_ways().await;
    hops[0].order(reverse(true, None)).await.result.unwrap();
    hops[0].wait_status("orders", Status::Stopped).await;
    hops[1].wait_status("orders", Status::Paused).await;
    append(&hops[1].source, "orders");
    sleep(SECOND * 30).await;
    assert_eq!(limit(&hops[1].destination).as_deref(), Some("78"), "closed until it is copied");
    hops[1].order(of_mirror("orders", MirrorVerb::Resume)).await.result.unwrap();
    hops[1].copied("orders", "orders").await;
    end(hops).await;
}

/// A transaction that has only named the topic ends with a marker in it: it is waited for.
#[tokio::test(start_paused = true)]
async fn a_transaction_that_has_named_the_topic_is_waited_for() {
    let ([a, b], hops) = both_ways().await;
    a.begin_transaction("payments", &[("orders", 0)]);
    hops[0].order(reverse(false, None)).await.result.unwrap();
    let told = hops[0].wait("it says what for", |hop| {
        let reason = hop.seen("orders")?.reason?.text;
        reason.contains("transaction").then_some(reason)
    });
    assert!(told.await.contains("transaction payments of the source has orders-0"));
    sleep(SECOND * 30).await;
    assert_eq!(b.dump("orders", 0).end, 5, "nothing is sealed");
    assert_eq!(limit(&a).as_deref(), Some("78"), "who writes is stopped");
    a.forget_transaction("payments");
    hops[1].wait_status("orders", Status::Active).await;
    hops[1].copied("orders", "orders").await;
    end(hops).await;
}

/// It mirrors on when its time is over, and who was stopped may write as before.
#[tokio::test(start_paused = true)]
async fn one_that_is_given_up_lets_writers_go_on() {
    let ([a, _], hops) = both_ways().await;
    a.begin_transaction("payments", &[("orders", 0)]);
    let deadline = a.look(|state| state.now_ms()) + 20_000;
    hops[0].order(reverse(false, Some(deadline))).await.result.unwrap();
    hops[0]
        .wait("writers are stopped", |hop| {
            (limit(&hop.source).as_deref() == Some("78")).then_some(())
        })
        .await;
    hops[0].wait_status("orders", Status::Active).await;
    hops[0]
        .wait("they may write", |hop| (limit(&hop.source).as_deref() == Some("5000")).then_some(()))
        .await;
    append(&a, "orders");
    hops[0].copied("orders", "orders").await;
    assert!(hops[0].seen("orders").unwrap().row.reversal.is_none());
    end(hops).await;
}

/// With another link from the same source, older by name: who mirrored it before takes it, with
/// what that one syncs, and the other one has nothing to say of it.
#[tokio::test(start_paused = true)]
async fn of_several_links_the_one_that_had_it_takes_it() {
    let ([a, b], hops) = both_ways().await;
    let older = hops[0].with_link("aa", &[]).await;
    for turn in 0..2 {
        hops[turn].order(reverse(false, None)).await.result.unwrap();
        hops[turn].wait_status("orders", Status::Stopped).await;
        hops[1 - turn].wait_status("orders", Status::Active).await;
        append(&hops[1 - turn].source, "orders");
        hops[1 - turn].copied("orders", "orders").await;
    }
    assert_eq!(a.dump("orders", 0).end, b.dump("orders", 0).end);
    let seen = hops[0].driver.registry.seen();
    assert!(seen.mirrors.keys().all(|(of, _)| *of != older), "{:?}", seen.mirrors.keys());
    end(hops).await;
}

/// Where nobody had it, the link of the same name takes it: it is the other direction of one link.
#[tokio::test(start_paused = true)]
async fn of_strangers_the_link_of_the_same_name_takes_it() {
    let (_, hops) = both_ways().await;
    let same = hops[1].with_link("ab", &[]).await;
    hops[0].order(reverse(false, None)).await.result.unwrap();
    hops[0].wait_status("orders", Status::Stopped).await;
    let key = (same, crate::operated::name("orders"));
    let is_active = |hop: &Hop| {
        let seen = hop.driver.registry.seen();
        seen.mirrors.get(&key).filter(|one| one.status == Status::Active).map(|_| ())
    };
    hops[1].wait("it is mirrored by that link", is_active).await;
    assert!(hops[1].seen("orders").is_none(), "and by no other one");
    end(hops).await;
}

/// Where nobody would make a mirror of the topic there, nobody is stopped, and it is said.
#[tokio::test(start_paused = true)]
async fn without_a_link_back_nobody_is_stopped() {
    let [a, b, _] = clusters();
    a.create_topic("orders", 1, &[("max.message.bytes", "5000")]);
    append(&a, "orders");
    let ab = Hop::start("ab", (&a, &b), &[]).await;
    ab.order(mirror("orders")).await.result.unwrap();
    ab.copied("orders", "orders").await;
    ab.order(reverse(false, None)).await.result.unwrap();
    ab.wait("it says why", |hop| {
        let reason = hop.seen("orders")?.reason?.text;
        reason.contains("no link at the source mirrors from here").then_some(())
    })
    .await;
    sleep(SECOND * 60).await;
    assert_eq!((limit(&a).as_deref(), b.dump("orders", 0).end), (Some("5000"), 5));
    let ba = Hop::start("ba", (&b, &a), &[]).await;
    ba.wait_status("orders", Status::Active).await;
    ba.copied("orders", "orders").await;
    end([ab, ba]).await;
}

/// A producer that was not stopped aborts its transaction after the seal: its marker stands where
/// that does, and no reader sees either.
#[tokio::test(start_paused = true)]
async fn the_marker_of_a_late_abort_stands_where_the_seal_does() {
    let ([a, b], hops) = both_ways().await;
    hops[0].order(reverse(false, None)).await.result.unwrap();
    hops[0].wait_status("orders", Status::Stopped).await;
    a.end_txn("orders", 0, (7, 0), false);
    assert_eq!((a.dump("orders", 0).end, b.dump("orders", 0).end), (6, 6));
    hops[1].wait_status("orders", Status::Active).await;
    append(&b, "orders");
    hops[1].wait("it is level", |_| (a.dump("orders", 0).end == 11).then_some(())).await;
    // two more stand where records do
    hops[1].order(reverse(false, None)).await.result.unwrap();
    hops[1].wait_status("orders", Status::Stopped).await;
    b.end_txn("orders", 0, (7, 0), false);
    b.end_txn("orders", 0, (7, 0), false);
    sleep(SECOND * 180).await;
    assert!(hops[0].seen("orders").is_some_and(|one| one.status == Status::Stopped));
    end(hops).await;
}

/// A link back would give a mirror of another name yet another one.
#[tokio::test(start_paused = true)]
async fn a_mirror_of_another_name_is_not_reversed() {
    let [a, b, _] = clusters();
    a.create_topic("orders", 1, &[]);
    append(&a, "orders");
    let ab = Hop::start("ab", (&a, &b), &[("cluster.link.prefix", "w.")]).await;
    ab.order(mirror("orders")).await.result.unwrap();
    ab.copied("orders", "w.orders").await;
    let verb = MirrorVerb::Reverse { is_paused: false, deadline_ms: None };
    let refused = ab.order(of_mirror("w.orders", verb)).await.result.unwrap_err();
    assert!(refused.text.contains("is called 'orders' at its source"), "{}", refused.text);
    ab.end().await;
}

/// What has more than its former mirror got stays closed, and the link says so.
#[tokio::test(start_paused = true)]
async fn what_is_not_taken_stays_closed_and_is_told() {
    let ([a, _], hops) = both_ways().await;
    hops[0].order(reverse(false, None)).await.result.unwrap();
    hops[0].wait_status("orders", Status::Stopped).await;
    // as one that was not stopped, with records that are small enough
    append(&a, "orders");
    let told = hops[1].wait("it is told", |hop| {
        let status = hop.driver.links().first()?.status();
        let trouble = status.all_troubles().find(|one| one.kind.label() == "REVERSED_NOT_TAKEN")?;
        Some(trouble.text.clone())
    });
    assert!(told.await.contains("has 5 offsets that its former mirror never got"));
    sleep(SECOND * 120).await;
    assert_eq!(limit(&a).as_deref(), Some("78"));
    end(hops).await;
}

/// A later stop of what became the mirror is not undone by the row that invited it.
#[tokio::test(start_paused = true)]
async fn what_was_failed_over_since_is_not_taken_again() {
    let (_, hops) = both_ways().await;
    hops[0].order(reverse(true, None)).await.result.unwrap();
    hops[1].wait_status("orders", Status::Paused).await;
    let stop = MirrorVerb::Stop { how: How::Failover, deadline_ms: None };
    hops[1].order(of_mirror("orders", stop)).await.result.unwrap();
    hops[1].wait_status("orders", Status::Stopped).await;
    sleep(SECOND * 180).await;
    assert_eq!(hops[1].seen("orders").unwrap().status, Status::Stopped);
    let status = hops[1].driver.links()[0].status();
    assert_eq!(status.all_troubles().count(), 0, "{status:?}");
    end(hops).await;
}

/// Paused and closed, it is copied again when it is to be the source once more.
#[tokio::test(start_paused = true)]
async fn one_that_is_paused_is_swapped_back() {
    let ([a, b], hops) = both_ways().await;
    hops[0].order(reverse(true, None)).await.result.unwrap();
    hops[1].wait_status("orders", Status::Paused).await;
    append(&b, "orders");
    sleep(SECOND * 60).await;
    hops[1].order(reverse(false, None)).await.result.unwrap();
    hops[1].wait_status("orders", Status::Stopped).await;
    hops[0].wait_status("orders", Status::Active).await;
    append(&a, "orders");
    hops[0].copied("orders", "orders").await;
    assert_eq!(limit(&a).as_deref(), Some("5000"));
    end(hops).await;
}
