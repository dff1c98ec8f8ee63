//! `isolog verify` on simulated clusters: what it says of topics that were promoted or failed over,
//! with the real driver's seals.
//!
//! It never waits for real time; what it finds in wrong copies is in `real/verify`.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use isolog::audit::Dials;
use isolog::audit::LinkOptions;
use isolog::audit::check;
use isolog::audit::survey::PartitionReport;
use isolog::audit::survey::Verdict;
use isolog::audit::verify;
use isolog::audit::verify::Ask;
use isolog::control::rename::Rename;
use isolog::control::task::configs::ConfigSync;
use isolog::control::topic::How;
use isolog::control::topic::Status;
use isolog::ids::Side;
use kafka_protocol::messages::ApiKey;
use protocol_tests::broker::batch::Build;
use protocol_tests::broker::cluster::TestCluster;
use protocol_tests::broker::takeover::Act;
use protocol_tests::net_dial::NetDial;
use protocol_tests::world::CLIENT;
use protocol_tests::world::instance::faithful;
use protocol_tests::world::instance::options;
use tokio_util::sync::CancellationToken;

use crate::operated::Lab;
use crate::operated::SECOND;
use crate::operated::filter;
use crate::operated::link;
use crate::operated::mirror;

/// Ids of isolog's writers.
const WRITER: i64 = 1 << 62;

/// The one topic that is looked at, by one name on both sides.
pub(crate) fn audited(lab: &Lab) -> LinkOptions {
    audited_of((&lab.source, &lab.destination), ("audit", "orders"))
}

/// A link that mirrors one topic, which remembers nothing.
pub(crate) fn audited_of(
    (source, destination): (&TestCluster, &TestCluster),
    (name_of_link, topic): (&'static str, &'static str),
) -> LinkOptions {
    LinkOptions {
        acls: None,
        name: link(name_of_link),
        source: options(Side::Source, source),
        destination: options(Side::Destination, destination),
        topics: filter(&[topic]),
        named: filter(&[topic]),
        ordered: BTreeSet::new(),
        mirrors_there: BTreeSet::new(),
        rename: Rename::default(),
        patterns: Vec::new(),
        groups: Vec::new(),
        group_prefix: String::new(),
        instances: None,
        replicas: None,
        new_configs: |_, _| BTreeMap::new(),
        source_keys: &[],
        configs: ConfigSync::default(),
        policy: faithful(),
        committed_only: true,
    }
}

pub(crate) fn dials(lab: &Lab) -> Dials {
    dials_of((&lab.source, &lab.destination))
}

pub(crate) fn dials_of((source, destination): (&TestCluster, &TestCluster)) -> Dials {
    let dial = |cluster: &TestCluster| {
        let (net, client) = (cluster.net().clone(), CLIENT.to_owned());
        Arc::new(NetDial { net, client, timeout: SECOND * 10 })
    };
    Dials { source: dial(source), destination: dial(destination) }
}

/// What is found of one partition; with a state file where one is named.
async fn verified(lab: &Lab, state: Option<&Path>) -> PartitionReport {
    verified_by(&audited(lab), &dials(lab), state).await
}

pub(crate) async fn verified_by(
    audited: &LinkOptions,
    dials: &Dials,
    state: Option<&Path>,
) -> PartitionReport {
    let ask = Ask {
        workers: 1,
        fetch_bytes: 65_536,
        topics: Vec::new(),
        state: state.map(Path::to_owned),
    };
    let stop = CancellationToken::new();
    let report = verify::run(audited, dials, &ask, &Arc::default(), &stop).await.unwrap();
    assert_eq!(report.partitions.len(), 1, "{report:?}");
    report.partitions.into_iter().next().unwrap()
}

/// Verdict, where it is sealed, the end of what was compared, differences.
type Told = (Verdict, Option<i64>, Option<i64>, u64);

fn told(one: &PartitionReport) -> Told {
    (one.verdict, one.sealed, one.to, one.tally.differences)
}

fn write(cluster: &TestCluster, tag: &str) {
    let now = cluster.look(|state| state.now_ms());
    cluster.append("orders", 0, &Build::plain(now, tag, 5));
}

/// What a name or an order adopts, and a filter does not, whatever it holds.
#[tokio::test(start_paused = true)]
async fn a_check_says_what_a_filter_does_not_adopt() {
    let lab = Lab::start(&[]).await;
    for cluster in [&lab.source, &lab.destination] {
        cluster.create_topic("orders", 1, &[]);
        write(cluster, "same");
    }
    for named in [&["orders"][..], &[]] {
        let link = LinkOptions { named: filter(named), ..audited(&lab) };
        let (topics, tell) = (Vec::new(), |_: &str| {});
        let ask = check::Ask { topics, is_deep: false, workers: 1, fetch_bytes: 65_536, tell };
        let report = check::run(&link, &dials(&lab), &ask).await;
        let mut found = report.topics[0].findings.iter();
        let is_told = found.any(|one| one.text.contains("a filter adopts no such topic"));
        assert_eq!(is_told, named.is_empty(), "{report:?}");
    }
    lab.end().await;
}

/// Fillers before the place where a mirror begins are no copy, as long as nothing trims them.
#[tokio::test(start_paused = true)]
async fn a_mirror_that_begins_late_is_compared_from_there() {
    let lab = Lab::start(&[]).await;
    lab.source.create_topic("orders", 1, &[]);
    write(&lab.source, "before");
    lab.destination.control_key(ApiKey::DeleteRecords, |_| Some(Act::Close));
    lab.create_link("dr", &[("mirror.start.offset.spec", "latest")]).await;
    lab.obeyed("dr", mirror("orders")).await;
    lab.wait_status("dr", "orders", Status::Active).await;
    write(&lab.source, "after");
    lab.wait("it is level", |lab| (lab.destination.dump("orders", 0).end == 10).then_some(()))
        .await;
    assert_eq!(lab.destination.dump("orders", 0).start, 0, "nothing is trimmed yet");
    let ours = LinkOptions { name: link("dr"), ..audited(&lab) };
    let found = verified_by(&ours, &dials(&lab), None).await;
    assert_eq!((found.verdict, found.from), (Verdict::Equal, Some(5)), "{found:?}");
    // of a link that knows nothing of it they are what they look like
    let other = verified(&lab, None).await;
    assert_eq!((other.verdict, other.from), (Verdict::Different, Some(0)), "{other:?}");
    lab.end().await;
}

/// A promote, then records behind the seal, then records of the source that nobody mirrors.
#[tokio::test(start_paused = true)]
async fn a_promoted_topic_is_equal_up_to_its_seal() {
    let lab = Lab::copying(1).await;
    let state = std::env::temp_dir().join(format!("isolog-verified-{}", std::process::id()));
    lab.stop(How::Promote).await;
    lab.stopped().await;
    let promoted = verified(&lab, None).await;
    assert_eq!(told(&promoted), (Verdict::Equal, Some(5), Some(5), 0), "{promoted:?}");
    assert!(promoted.note.contains("promoted or failed over: sealed at 5"), "{}", promoted.note);
    write(&lab.destination, "theirs");
    let written = verified(&lab, Some(&state)).await;
    assert_eq!(told(&written), (Verdict::Equal, Some(5), Some(5), 0), "{written:?}");
    write(&lab.source, "tail");
    for file in [None, Some(state.as_path()), Some(state.as_path())] {
        let tail = verified(&lab, file).await;
        assert_eq!(told(&tail), (Verdict::Equal, Some(5), Some(5), 0), "{tail:?}");
        let said = "5 offsets of the source from there on were not mirrored";
        assert!(tail.note.contains(said), "{}", tail.note);
        assert_eq!(tail.tally.records, 5);
    }
    std::fs::remove_file(&state).unwrap();
    lab.end().await;
}

/// What others wrote before the seal is as different as ever.
#[tokio::test(start_paused = true)]
async fn foreign_records_below_a_seal_are_differences() {
    for tail in [0, 3] {
        let lab = Lab::copying(1).await;
        write(&lab.destination, "foreign");
        lab.wait_status("dr", "orders", Status::Failed).await;
        lab.stop(How::Failover).await;
        lab.stopped().await;
        (0..tail).for_each(|_| write(&lab.source, "tail"));
        let found = verified(&lab, None).await;
        assert_eq!(found.verdict, Verdict::Different, "{found:?}");
        if tail > 0 {
            assert_eq!((found.sealed, found.tally.differences), (Some(10), 5), "{found:?}");
        }
        lab.end().await;
    }
}

/// The source has no record where the seal stands, and both go on equal: it has become a mirror
/// again. Behind a second seal it has not.
#[tokio::test(start_paused = true)]
async fn a_seal_that_equal_records_follow_is_a_filler() {
    let lab = Lab::start(&[]).await;
    let now = lab.source.look(|state| state.now_ms());
    for cluster in [&lab.source, &lab.destination] {
        cluster.create_topic("orders", 1, &[]);
        cluster.append("orders", 0, &Build::plain(now, "before", 5));
    }
    let filler = |id, epoch, sequence| {
        let build = Build::fillers(now, 1, None).producer(WRITER + id, epoch, sequence);
        lab.destination.append("orders", 0, &build)
    };
    // an aborted transaction: a record and its marker
    lab.source.append_txn("orders", 0, (7, 0, 0), Build::plain(now, "aborted", 1));
    lab.source.end_txn("orders", 0, (7, 0), false);
    assert_eq!((filler(1, 1, 0), filler(2, 0, 6)), (5, 6));
    for cluster in [&lab.source, &lab.destination] {
        cluster.append("orders", 0, &Build::plain(now, "behind", 5));
    }
    let equal = verified(&lab, None).await;
    assert_eq!(told(&equal), (Verdict::Equal, None, Some(12), 0), "{equal:?}");
    assert_eq!((equal.tally.records, equal.fillers), (10, 2));
    assert_eq!(filler(2, 1, 0), 12);
    write(&lab.source, "tail");
    write(&lab.destination, "theirs");
    let ended = verified(&lab, None).await;
    assert_eq!(told(&ended), (Verdict::Equal, Some(12), Some(12), 0), "{ended:?}");
    lab.end().await;
}
