//! Promote and failover between two simulated clusters, with the real driver: what is sealed, where
//! it ends, what is refused behind it, and what a kill, a dead source or another writer change.
//!
//! It never waits for real time; what real brokers say of the same is in `real/stopped`.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::time::Duration;

use isolog::control::order::MirrorVerb;
use isolog::control::order::Verb;
use isolog::control::row::Sealed;
use isolog::control::topic::How;
use isolog::control::topic::Stage;
use isolog::control::topic::Status;
use isolog::flow::producer_id;
use isolog::ids::ClusterId;
use isolog::ids::Offset;
use isolog::ids::PartitionId;
use isolog::tail;
use kafka_protocol::error::ResponseError;
use protocol_tests::broker::batch::Build;
use protocol_tests::broker::batch::Header;
use protocol_tests::broker::cluster::TestCluster;
use protocol_tests::broker::rights::Right;
use protocol_tests::broker::spec::Spec;
use protocol_tests::broker::state::State;
use protocol_tests::check::assert_copied;
use protocol_tests::check::visible;
use protocol_tests::net::Rule as NetRule;
use protocol_tests::world::CLIENT;
use tokio::time::Instant;
use tokio::time::sleep;

use crate::operated::Lab;
use crate::operated::SECOND;
use crate::operated::link;
use crate::operated::mirror;
use crate::operated::of_mirror;
use crate::tails::held;
use crate::tails::told;

const DAY_MS: i64 = 86_400_000;

fn stop(how: How) -> MirrorVerb {
    MirrorVerb::Stop { how, deadline_ms: None }
}

impl Lab {
    /// A link and one mirror topic that has copied five records.
    pub(crate) async fn copying(partitions: i32) -> Lab {
        let lab = Lab::start(&[]).await;
        lab.source.create_topic("orders", partitions, &[]);
        lab.create_link("dr", &[]).await;
        lab.obeyed("dr", mirror("orders")).await;
        lab.append("orders", 0);
        lab.copied("orders", "orders", 0).await;
        lab
    }

    pub(crate) async fn stop(&self, how: How) {
        self.obeyed("dr", of_mirror("orders", stop(how))).await;
    }

    pub(crate) async fn stopped(&self) {
        self.wait_status("dr", "orders", Status::Stopped).await;
    }

    fn sealed(&self, partition: i32) -> Option<Sealed> {
        self.seen("dr", "orders")?.row.sealed.get(&PartitionId(partition)).copied()
    }

    /// The header of the batch at that offset.
    fn header(&self, partition: i32, base: i64) -> Header {
        let log = self.destination.dump("orders", partition);
        let found = log.batches.into_iter().find(|batch| batch.base == base);
        found.unwrap_or_else(|| panic!("no batch at {base}")).header.unwrap()
    }

    fn writer(&self) -> i64 {
        let id = |cluster: &TestCluster| {
            ClusterId(cluster.look(|state| state.spec.cluster_id.clone()).into())
        };
        producer_id::of(&id(&self.source), &id(&self.destination), &link("dr")).id.0
    }

    /// The partition is sealed at `end`, behind all that the source had below it.
    fn assert_sealed(&self, partition: i32, end: i64) {
        let header = self.header(partition, end);
        assert_eq!((header.producer_id, header.producer_epoch), (self.writer(), 1));
        assert_eq!((header.base_sequence, header.last_offset_delta), (0, 0));
        let (source, copy) =
            (self.source.dump("orders", partition), self.destination.dump("orders", partition));
        assert_copied(&source, &copy, end);
        let seen = visible(&copy, copy.end);
        assert!(!seen.contains_key(&end), "nobody sees the seal");
        let sealed = self.sealed(partition).unwrap();
        assert_eq!((sealed.end, sealed.source_next), (at(end), Some(at(end))));
    }

    /// What a client's append is answered, as the broker judges it.
    fn append_as(&self, producer: (i64, i16, i32), time_ms: i64) -> Result<i64, ResponseError> {
        let (id, epoch, sequence) = producer;
        let bytes = Build::plain(time_ms, "late", 5).producer(id, epoch, sequence).bytes();
        let (key, leader) =
            (self.destination.key("orders", 0), self.destination.leader("orders", 0));
        self.destination.change(|state| {
            let led = state.led(leader, key, -1)?;
            state.append_entry(leader, &led, &bytes, -1).map(|appended| appended.base)
        })
    }

    fn now_ms(&self) -> i64 {
        self.source.look(|state| state.now_ms())
    }

    /// Its hosts have no addresses any more, and what was connected to them is cut off.
    fn unname_source(&self) {
        for (host, _) in self.source.bootstrap() {
            self.source.net().alias(&host, "nowhere");
            self.source.net().cut(CLIENT, &host);
        }
    }

    /// Nothing comes back from the source any more.
    fn swallow_source(&self) {
        for (host, _) in self.source.bootstrap() {
            let rule = NetRule { black_hole: true, ..NetRule::default() };
            self.source.net().set_rule(CLIENT, &host, rule);
            self.source.net().hold(CLIENT, &host);
        }
    }
}

fn at(raw: i64) -> Offset {
    Offset::new(raw).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_promote_waits_until_the_source_rests_and_loses_nothing() {
    let lab = Lab::copying(2).await;
    lab.stop(How::Promote).await;
    for n in 0..40 {
        lab.append("orders", n % 2);
        sleep(SECOND / 4).await;
        let seen = lab.seen("dr", "orders").unwrap();
        assert_eq!(seen.status, Status::PendingStopped, "it is written all the time");
        assert!(seen.row.sealed.is_empty());
    }
    lab.stopped().await;
    for partition in 0..2 {
        let end = lab.source.dump("orders", partition).end;
        lab.assert_sealed(partition, end);
        assert_eq!(lab.sealed(partition).unwrap().source_end, Some(at(end)), "no tail");
    }
    // an ordinary topic: the next record goes behind the seal, whoever writes it
    let end = lab.source.dump("orders", 0).end;
    assert_eq!(lab.append_as((7, 0, 0), lab.now_ms()), Ok(end + 1));
    lab.refused("dr", of_mirror("orders", stop(How::Promote)), "already stopped its mirror").await;
    lab.refused("dr", of_mirror("orders", stop(How::Failover)), "already stopped").await;
    // what the source gets now is not copied
    lab.append("orders", 0);
    sleep(SECOND * 60).await;
    assert_eq!(lab.destination.dump("orders", 0).end, end + 6);
    lab.end().await;
}

/// A record that comes between the last look at the source and the seal is on no side that is read:
/// it is told, at once and later.
#[tokio::test(start_paused = true)]
async fn what_comes_between_the_last_look_and_the_seal_is_told() {
    let lab = Lab::copying(1).await;
    lab.stop(How::Promote).await;
    let (key, leader) = (lab.destination.key("orders", 0), lab.destination.leader("orders", 0));
    // the seal stands, and its answer is on its way
    let has_seal = move |state: &State| state.replica(key, leader).log.end() == 6;
    lab.destination.wait_for(has_seal).await;
    lab.append("orders", 0);
    lab.stopped().await;
    let sealed = lab.sealed(0).unwrap();
    assert_eq!((sealed.source_next, sealed.source_end), (Some(at(5)), Some(at(10))));
    let held = held(&lab, None).await;
    assert_eq!(told(&held), [(tail::list::State::Tail, Some(5), Some(0))], "{held:?}");
    lab.end().await;
}

/// Metadata is read every 30 seconds: what a topic got since is copied as well, and what it gets
/// while a promote waits.
#[tokio::test(start_paused = true)]
async fn a_promote_counts_the_partitions_once_more() {
    let lab = Lab::copying(1).await;
    let grow = |count| lab.source.change(|state| state.grow_topic("orders", count)).unwrap();
    grow(2);
    lab.append("orders", 1);
    lab.stop(How::Promote).await;
    for _ in 0..20 {
        lab.append("orders", 0);
        sleep(SECOND / 4).await;
    }
    grow(3);
    lab.append("orders", 2);
    lab.stopped().await;
    for partition in 0..3 {
        lab.assert_sealed(partition, lab.source.dump("orders", partition).end);
    }
    lab.end().await;
}

/// What the dead cannot answer must not be waited for: the world's own time is measured.
#[tokio::test(start_paused = true)]
async fn a_failover_needs_no_source() {
    let ways = ["killed", "stopped", "frozen", "silent", "without a name"];
    let all = ways.into_iter().flat_map(|way| [way.to_owned(), format!("{way}, isolog too")]);
    for way in all {
        let mut lab = Lab::copying(3).await;
        match way.split(',').next() {
            Some("killed") => lab.source.kill(1),
            Some("stopped") => lab.source.stop(1),
            Some("frozen") => lab.source.freeze(1),
            Some("silent") => lab.swallow_source(),
            _ => lab.unname_source(),
        }
        // whatever hangs is under way by then
        sleep(SECOND).await;
        if way.ends_with("too") {
            lab.kill_and_start().await;
        }
        let began = Instant::now();
        lab.stop(How::Failover).await;
        lab.stopped().await;
        assert!(began.elapsed() < SECOND * 8, "{way}: {:?}", began.elapsed());
        lab.assert_sealed(0, 5);
        for partition in 1..3 {
            lab.assert_sealed(partition, 0);
        }
        assert_eq!(lab.sealed(0).unwrap().source_end, None, "nobody asked");
        assert_eq!(lab.append_as((7, 0, 0), lab.now_ms()), Ok(6));
        lab.end().await;
    }
}

/// What it would wait for does not come; one that waits already goes on waiting.
#[tokio::test(start_paused = true)]
async fn a_promote_is_refused_at_once_while_its_source_is_away() {
    let lab = Lab::copying(1).await;
    lab.source.freeze(1);
    lab.wait_status("dr", "orders", Status::SourceUnavailable).await;
    let words = "cannot be promoted while its source is away";
    lab.refused("dr", of_mirror("orders", stop(How::Promote)), words).await;
    assert_eq!(lab.seen("dr", "orders").unwrap().row.stage, Stage::Mirroring);
    lab.source.thaw(1);
    lab.wait_status("dr", "orders", Status::Active).await;
    lab.stop(How::Promote).await;
    lab.source.freeze(1);
    sleep(SECOND * 60).await;
    assert_eq!(lab.seen("dr", "orders").unwrap().status, Status::PendingStopped);
    lab.stop(How::Promote).await;
    lab.source.thaw(1);
    lab.stopped().await;
    lab.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_failover_overtakes_a_promote_that_waits() {
    let lab = Lab::copying(1).await;
    let now = lab.now_ms();
    lab.source.append_txn("orders", 0, (7, 0, 0), Build::plain(now, "open", 3));
    lab.append("orders", 0);
    lab.stop(How::Promote).await;
    sleep(SECOND * 60).await;
    assert_eq!(lab.seen("dr", "orders").unwrap().status, Status::PendingStopped);
    lab.refused("dr", of_mirror("orders", MirrorVerb::Pause), "stopping its mirror").await;
    lab.stop(How::Promote).await;
    lab.stop(How::Failover).await;
    lab.stopped().await;
    // on the boundary of the transaction
    lab.assert_sealed(0, 5);
    lab.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_promote_that_is_not_level_in_time_mirrors_on() {
    let lab = Lab::copying(1).await;
    let now = lab.now_ms();
    lab.source.append_txn("orders", 0, (7, 0, 0), Build::plain(now, "open", 3));
    let deadline_ms = Some(now + 20_000);
    let promote = MirrorVerb::Stop { how: How::Promote, deadline_ms };
    lab.obeyed("dr", of_mirror("orders", promote)).await;
    lab.wait_status("dr", "orders", Status::PendingStopped).await;
    lab.wait_status("dr", "orders", Status::Active).await;
    lab.source.end_txn("orders", 0, (7, 0), true);
    lab.append("orders", 0);
    lab.copied("orders", "orders", 0).await;
    lab.end().await;
}

/// One that waits already is told to wait no more, and ends where the first one begins; what
/// others wrote behind it is left behind with it, and told.
#[tokio::test(start_paused = true)]
async fn a_promote_leaves_behind_what_an_open_transaction_holds_back_when_it_is_told_to() {
    let lab = Lab::copying(2).await;
    lab.append("orders", 1);
    lab.source.append_txn("orders", 0, (7, 0, 0), Build::plain(lab.now_ms(), "open", 3));
    lab.append("orders", 0);
    lab.stop(How::Promote).await;
    sleep(SECOND * 60).await;
    assert_eq!(lab.seen("dr", "orders").unwrap().status, Status::PendingStopped);
    // a timeout of an order before is not forgotten by one without
    let deadline_ms = Some(lab.now_ms() + 60_000);
    let timed = MirrorVerb::Stop { how: How::Promote, deadline_ms };
    lab.obeyed("dr", of_mirror("orders", timed)).await;
    let abandon = MirrorVerb::Abandon { deadline_ms: None };
    lab.obeyed("dr", of_mirror("orders", abandon)).await;
    let row = lab.seen("dr", "orders").unwrap().row.clone();
    assert_eq!((row.abandons_open, row.deadline.map(|at| at.0)), (true, deadline_ms));
    lab.stopped().await;
    lab.assert_sealed(0, 5);
    lab.assert_sealed(1, 5);
    let left = |partition| lab.sealed(partition).unwrap().source_end;
    assert_eq!((left(0), left(1)), (Some(at(13)), Some(at(5))), "3 of it and 5 behind");
    lab.end().await;
}

/// It waits all the same for what nothing holds back; given up, it has been no promote at all.
#[tokio::test(start_paused = true)]
async fn a_promote_that_leaves_transactions_behind_waits_for_all_else() {
    let lab = Lab::copying(1).await;
    lab.source.append_txn("orders", 0, (7, 0, 0), Build::plain(lab.now_ms(), "open", 3));
    lab.obeyed("dr", of_mirror("orders", MirrorVerb::Pause)).await;
    lab.wait_status("dr", "orders", Status::Paused).await;
    lab.source.end_txn("orders", 0, (7, 0), true);
    lab.append("orders", 0);
    lab.source.append_txn("orders", 0, (8, 0, 0), Build::plain(lab.now_ms(), "open", 3));
    let deadline_ms = Some(lab.now_ms() + 600_000);
    lab.obeyed("dr", of_mirror("orders", MirrorVerb::Abandon { deadline_ms })).await;
    lab.stopped().await;
    lab.assert_sealed(0, 14);
    lab.end().await;

    let lab = Lab::copying(1).await;
    lab.destination.append("orders", 0, &Build::plain(lab.now_ms(), "foreign", 3));
    lab.append("orders", 0);
    lab.wait_status("dr", "orders", Status::Failed).await;
    let deadline_ms = Some(lab.now_ms() + 20_000);
    lab.obeyed("dr", of_mirror("orders", MirrorVerb::Abandon { deadline_ms })).await;
    lab.wait_status("dr", "orders", Status::PendingStopped).await;
    lab.wait_status("dr", "orders", Status::Failed).await;
    assert!(!lab.seen("dr", "orders").unwrap().row.abandons_open);
    lab.end().await;
}

/// The timeout that was said last counts, and a mirror that was paused is paused again.
#[tokio::test(start_paused = true)]
async fn a_promote_that_is_given_up_leaves_all_as_it_was() {
    let lab = Lab::copying(1).await;
    lab.source.append_txn("orders", 0, (7, 0, 0), Build::plain(lab.now_ms(), "open", 3));
    lab.obeyed("dr", of_mirror("orders", MirrorVerb::Pause)).await;
    lab.wait_status("dr", "orders", Status::Paused).await;
    lab.stop(How::Promote).await;
    lab.wait_status("dr", "orders", Status::PendingStopped).await;
    let deadline_ms = Some(lab.now_ms() + 20_000);
    let verb = MirrorVerb::Stop { how: How::Promote, deadline_ms };
    lab.obeyed("dr", of_mirror("orders", verb)).await;
    lab.wait_status("dr", "orders", Status::Paused).await;
    lab.end().await;
}

/// What a rule had stopped is as stopped as before, and says so.
#[tokio::test(start_paused = true)]
async fn a_promote_that_is_given_up_says_again_what_is_halted() {
    let lab = Lab::copying(2).await;
    lab.destination.append("orders", 0, &Build::plain(lab.now_ms(), "foreign", 3));
    lab.append("orders", 0);
    lab.wait_status("dr", "orders", Status::Failed).await;
    let why = || lab.seen("dr", "orders").unwrap().reason.unwrap().code;
    assert_eq!(why(), "UNEXPECTED_WRITER");
    let deadline_ms = Some(lab.now_ms() + 20_000);
    let verb = MirrorVerb::Stop { how: How::Promote, deadline_ms };
    lab.obeyed("dr", of_mirror("orders", verb)).await;
    lab.wait_status("dr", "orders", Status::PendingStopped).await;
    let now = || lab.seen("dr", "orders").unwrap().status;
    while now() == Status::PendingStopped {
        sleep(SECOND / 100).await;
    }
    // it is looked at again meanwhile, and nobody may take it for well
    let mut codes = vec![];
    for _ in 0..1_000 {
        assert_eq!(now(), Status::Failed);
        if codes.last() != Some(&why()) {
            codes.push(why());
        }
        sleep(SECOND / 100).await;
    }
    assert_eq!(codes, ["UNEXPECTED_WRITER", "DESTINATION_AHEAD"]);
    lab.end().await;
}

/// What is still on its way is refused behind the seal, on old data too, whatever the broker has
/// forgotten since.
#[tokio::test(start_paused = true)]
async fn nothing_of_the_link_lands_behind_its_seal() {
    let lab = Lab::start(&[]).await;
    lab.source.create_topic("orders", 1, &[]);
    lab.create_link("dr", &[]).await;
    lab.obeyed("dr", mirror("orders")).await;
    let old = lab.now_ms() - 2 * DAY_MS;
    for n in 0..3 {
        lab.source.append("orders", 0, &Build::plain(old, &format!("b{n}"), 5));
    }
    lab.copied("orders", "orders", 0).await;
    lab.stop(How::Failover).await;
    lab.stopped().await;
    lab.assert_sealed(0, 15);
    let time = lab.header(0, 15).max_timestamp;
    assert!(time > lab.now_ms() - DAY_MS * 3 / 4, "young enough to be remembered: {time}");
    for _ in 0..2 {
        for sequence in [15, 16, 10, 0] {
            let late = lab.append_as((lab.writer(), 0, sequence), old);
            assert_eq!(late, Err(ResponseError::InvalidProducerEpoch), "{sequence}");
        }
        lab.destination.expire_producers_now("orders", 0);
        lab.destination.kill(1);
        lab.destination.restart(1);
        sleep(SECOND * 30).await;
    }
    assert_eq!(lab.destination.dump("orders", 0).end, 16);
    lab.end().await;
}

/// Killed between the seal and its row: the fold asks for the seal again and gets the one that
/// stands, also when others have written behind it, and when the broker has forgotten the writer.
#[tokio::test(start_paused = true)]
async fn a_seal_that_stands_is_found_again_and_not_repeated() {
    for forgotten in [false, true] {
        let mut lab = Lab::copying(1).await;
        lab.source.kill(1);
        lab.stop(How::Failover).await;
        let (key, leader) = (lab.destination.key("orders", 0), lab.destination.leader("orders", 0));
        let ends = |end| {
            let log_end = move |state: &State| state.replica(key, leader).log.end() == end;
            lab.destination.wait_for(log_end)
        };
        ends(6).await;
        // its row cannot be there yet: nobody was told
        lab.kill().await;
        for n in 0..3 {
            let end = lab.append_as((7, 0, 5 * n), lab.now_ms());
            assert_eq!(end, Ok(6 + 5 * i64::from(n)));
        }
        if forgotten {
            sleep(Duration::from_secs(86_400)).await;
            lab.destination.expire_producers_now("orders", 0);
        }
        lab.start_again();
        lab.stopped().await;
        lab.assert_sealed(0, 5);
        let log = lab.destination.dump("orders", 0);
        assert_eq!(log.end, 21, "one seal: {forgotten}");
        lab.end().await;
    }
}

/// A topic that cannot get its configs is writable all the same, says so, and gets them later.
#[tokio::test(start_paused = true)]
async fn configs_that_are_refused_do_not_hold_a_failover_up() {
    let lab = Lab::start(&[]).await;
    lab.source.create_topic("orders", 1, &[("compression.type", "zstd")]);
    lab.create_link("dr", &[("topic.config.sync.ms", "1000")]).await;
    lab.obeyed("dr", mirror("orders")).await;
    lab.append("orders", 0);
    lab.copied("orders", "orders", 0).await;
    let owes = |lab: &Lab, key: &str| {
        lab.seen("dr", "orders").is_some_and(|seen| seen.row.at_stop.contains_key(key))
    };
    lab.wait("what it is to get", |lab| owes(lab, "compression.type").then_some(())).await;
    let codec = |lab: &Lab| {
        let configs =
            |topic: &str| lab.destination.look(|state| state.meta.topics()[topic].configs.clone());
        configs("orders").get("compression.type").cloned()
    };
    assert_eq!(codec(&lab).as_deref(), Some("producer"), "while it is mirrored");
    lab.destination.deny("orders", Right::AlterConfigs);
    lab.stop(How::Failover).await;
    lab.stopped().await;
    lab.assert_sealed(0, 5);
    lab.wait("it is named", |lab| {
        let reason = lab.seen("dr", "orders")?.reason?;
        reason.text.contains("configs of topic orders are not changed").then_some(())
    })
    .await;
    assert!(owes(&lab, "compression.type"));
    lab.destination.grant("orders", Right::AlterConfigs);
    lab.wait("it owes nothing", |lab| (!owes(lab, "compression.type")).then_some(())).await;
    assert_eq!(codec(&lab), None, "what a mirror needs is gone");
    assert_eq!(lab.seen("dr", "orders").unwrap().reason, None);
    lab.end().await;
}

/// A partition without a leader holds nothing up, and gets its seal when it has one again.
#[tokio::test(start_paused = true)]
async fn what_has_no_leader_is_sealed_when_it_has_one() {
    let two = Spec { brokers: 2, ..Spec::single("destination", 2) };
    let lab = Lab::start_on((Spec::single("source", 1), two), &[]).await;
    lab.source.create_topic("orders", 2, &[]);
    lab.create_link("dr", &[]).await;
    lab.obeyed("dr", mirror("orders")).await;
    for partition in 0..2 {
        lab.append("orders", partition);
        lab.copied("orders", "orders", partition).await;
    }
    // one copy of each log: the other broker has the journal
    let journal = lab.destination.leader("__isolog", 0);
    let led = |partition: &i32| lab.destination.leader("orders", *partition) != journal;
    let gone = (0..2).find(led).unwrap();
    let away = lab.destination.leader("orders", gone);
    lab.destination.kill(away);
    sleep(SECOND * 20).await;
    lab.stop(How::Failover).await;
    lab.stopped().await;
    lab.assert_sealed(1 - gone, 5);
    assert_eq!(lab.sealed(gone), None);
    lab.destination.restart(away);
    lab.wait("the other seal", |lab| lab.sealed(gone)).await;
    lab.assert_sealed(gone, 5);
    lab.end().await;
}

/// What the seal's offset may be at the source, if the topic is to be a mirror again: no record.
fn append_none(lab: &Lab, producer: i64) {
    let one = Build::plain(lab.now_ms(), "aborted", 1);
    lab.source.append_txn("orders", 0, (producer, 0, 0), one);
    lab.source.end_txn("orders", 0, (producer, 0), false);
}

async fn forget(lab: &Lab, of: &str) {
    lab.obeyed(of, of_mirror("orders", MirrorVerb::Delete { topic: false })).await;
    lab.wait("it is forgotten", |lab| lab.seen(of, "orders").is_none().then_some(())).await;
}

/// What a seal ends is a mirror again where somebody names it and its source has no record there;
/// nothing that is only found, in a filter or in a file, ever becomes one.
#[tokio::test(start_paused = true)]
async fn a_sealed_topic_is_adopted_by_order_alone_and_only_where_it_is_a_prefix() {
    let lab = Lab::copying(1).await;
    lab.create_link("dr2", &[]).await;
    lab.stop(How::Promote).await;
    lab.stopped().await;
    forget(&lab, "dr").await;
    // nothing at the source, and then a record, where the seal stands
    for of in ["dr2", "dr"] {
        lab.refused(of, mirror("orders"), "partition 0 is sealed at 5").await;
    }
    lab.append("orders", 0);
    for of in ["dr2", "dr"] {
        lab.refused(of, mirror("orders"), "partition 0 is sealed at 5").await;
    }
    assert_eq!(lab.destination.dump("orders", 0).end, 6);
    lab.end().await;

    let lab = Lab::copying(1).await;
    lab.stop(How::Promote).await;
    lab.stopped().await;
    forget(&lab, "dr").await;
    append_none(&lab, 7);
    lab.create_link("named", &[("mirror.topics", "orders")]).await;
    sleep(SECOND * 60).await;
    assert!(lab.seen("named", "orders").is_none_or(|one| one.status != Status::Active));
    assert_eq!(lab.destination.dump("orders", 0).end, 6);
    lab.end().await;
}

/// A writer is dead behind its seal: who goes on does so under another id, also under the name of
/// a link that is long gone.
#[tokio::test(start_paused = true)]
async fn a_topic_is_sealed_and_a_mirror_again_three_times_round() {
    let lab = Lab::copying(1).await;
    let mut writers = vec![];
    for (round, of) in ["dr", "dr2", "dr", "dr"].into_iter().enumerate() {
        if round > 0 {
            append_none(&lab, 7 + round as i64);
            lab.create_link(of, &[]).await;
            lab.obeyed(of, mirror("orders")).await;
        }
        lab.append("orders", 0);
        lab.copied("orders", "orders", 0).await;
        let end = lab.destination.dump("orders", 0).end;
        writers.push(lab.header(0, end - 5).producer_id);
        lab.obeyed(of, of_mirror("orders", stop(How::Promote))).await;
        lab.wait_status(of, "orders", Status::Stopped).await;
        let seal = lab.header(0, end);
        assert_eq!((seal.producer_id, seal.producer_epoch), (writers[round], 1), "{of}");
        // what is still on its way from before is refused
        for writer in &writers {
            let late = lab.append_as((*writer, 0, 5), lab.now_ms());
            assert!(late.is_err(), "{of}: {late:?}");
        }
        forget(&lab, of).await;
        lab.obeyed(of, Verb::DeleteLink { is_forced: true }).await;
    }
    let distinct: std::collections::BTreeSet<_> = writers.iter().collect();
    assert_eq!(distinct.len(), writers.len(), "{writers:?}");
    lab.end().await;
}

/// Its records are all gone, and with them the seal: its leader still refuses the writer.
#[tokio::test(start_paused = true)]
async fn a_seal_that_only_the_leader_remembers_counts() {
    let lab = Lab::copying(1).await;
    lab.stop(How::Promote).await;
    lab.stopped().await;
    forget(&lab, "dr").await;
    append_none(&lab, 7);
    for cluster in [&lab.source, &lab.destination] {
        cluster.delete_records("orders", 0, 6);
    }
    lab.obeyed("dr", mirror("orders")).await;
    lab.append("orders", 0);
    lab.copied("orders", "orders", 0).await;
    lab.end().await;
}

/// Nobody can be asked but the destination, and that has no such topic.
#[tokio::test(start_paused = true)]
async fn a_failover_of_a_topic_that_is_gone_says_so_and_can_be_let_go() {
    let lab = Lab::copying(1).await;
    lab.source.kill(1);
    lab.destination.change(|state| state.delete_topic("orders")).unwrap();
    lab.stop(How::Failover).await;
    let why = lab.wait("why", |lab| {
        let halted = lab.seen("dr", "orders")?.halted;
        halted.into_values().find(|fault| fault.code == "DESTINATION_TOPIC_DELETED")
    });
    let why = why.await;
    assert!(why.text.contains("isolog mirror delete orders"), "{}", why.text);
    lab.obeyed("dr", of_mirror("orders", MirrorVerb::Delete { topic: false })).await;
    lab.wait("it is forgotten", |lab| lab.seen("dr", "orders").is_none().then_some(())).await;
    lab.end().await;
}
