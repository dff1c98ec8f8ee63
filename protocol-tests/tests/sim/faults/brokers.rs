//! Slow, dead, mute and mistaken brokers: their own partitions wait, the others do not (I28).
//!
//! It never measures real time: every bound is in the world's own.

use isolog::link::status::LinkState;
use kafka_protocol::messages::ApiKey;
use protocol_tests::broker::cluster::TestCluster;
use protocol_tests::broker::spec::Spec;
use protocol_tests::broker::spec::Version;
use protocol_tests::broker::takeover::Act;
use protocol_tests::net::Rule;
use protocol_tests::world::CLIENT;
use tokio::time::Duration;
use tokio::time::Instant;
use tokio::time::sleep;

use super::lab::BAD;
use super::lab::Lab;

const SECOND: Duration = Duration::from_secs(1);
/// How far behind a partition may be whose own brokers are well.
const LAG_MAX: Duration = Duration::from_secs(2);
const WIDE: &str = "wide";

/// A topic with a partition on each of the three brokers of both sides.
async fn wide() -> Lab {
    let mut lab = Lab::triple(Version::V4_3);
    lab.source().create_topic(WIDE, 3, &[]);
    for n in 0..3 {
        lab.append((WIDE, n), 3);
    }
    lab.begin().await;
    for n in 0..3 {
        lab.level((WIDE, n)).await;
    }
    lab
}

/// Appends for a while to partitions that `broker` does not lead, on neither side; the longest
/// time that one of them took to become level.
async fn worst_of_the_others(lab: &mut Lab, broker: i32) -> Duration {
    let leads = |cluster: &TestCluster, n| cluster.leader(WIDE, n) == broker;
    let well = |n: &i32| !leads(lab.source(), *n) && !leads(lab.destination(), *n);
    let others: Vec<i32> = (0..3).filter(well).collect();
    assert!(!others.is_empty());
    let mut worst = Duration::ZERO;
    let began = Instant::now();
    while began.elapsed() < SECOND * 25 {
        for n in &others {
            lab.append((WIDE, *n), 2);
            worst = worst.max(lab.level((WIDE, *n)).await);
        }
        sleep(SECOND / 5).await;
    }
    worst
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_nobody_reaches_delays_its_own_partitions_only() {
    for at_source in [true, false] {
        let mut lab = wide().await;
        let cluster = if at_source { lab.source() } else { lab.destination() };
        let (broker, host) = (cluster.leader(WIDE, 1), cluster.host(cluster.leader(WIDE, 1)));
        lab.world.net.set_rule(CLIENT, &host, Rule { black_hole: true, ..Rule::default() });
        lab.world.net.hold(CLIENT, &host);
        lab.append((WIDE, 1), 3);
        let worst = worst_of_the_others(&mut lab, broker).await;
        assert!(worst < LAG_MAX, "source {at_source}: {worst:?}");
        assert!(!lab.is_level((WIDE, 1)));
        lab.world.net.release(CLIENT, &host);
        lab.world.net.clear_rule(CLIENT, &host);
        let took = lab.level((WIDE, 1)).await;
        assert!(took < SECOND * 40, "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_trickles_delays_its_own_partitions_only() {
    for at_source in [true, false] {
        let mut lab = wide().await;
        let cluster = if at_source { lab.source() } else { lab.destination() };
        let (broker, host) = (cluster.leader(WIDE, 1), cluster.host(cluster.leader(WIDE, 1)));
        let slow = Rule {
            delay_ms: (9_000, 9_000),
            piece_bytes_max: 1,
            window_bytes: 1,
            ..Rule::default()
        };
        lab.world.net.set_rule(CLIENT, &host, slow);
        lab.append((WIDE, 1), 3);
        let worst = worst_of_the_others(&mut lab, broker).await;
        assert!(worst < LAG_MAX, "source {at_source}: {worst:?}");
        lab.world.net.clear_rule(CLIENT, &host);
        lab.level((WIDE, 1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_throttled_broker_delays_its_own_partitions_only() {
    for key in [ApiKey::Fetch, ApiKey::Produce] {
        let mut lab = wide().await;
        let cluster = if key == ApiKey::Fetch { lab.source() } else { lab.destination() };
        let slow = cluster.leader(WIDE, 1);
        cluster.control_key(key, move |call| {
            (call.broker == slow).then_some(Act::Delay(Duration::from_secs(8)))
        });
        lab.append((WIDE, 1), 3);
        let worst = worst_of_the_others(&mut lab, slow).await;
        assert!(worst < LAG_MAX, "{key:?}: {worst:?}");
    }
}

/// How long everything takes between us and the brokers in the tests of throttles.
const WAY: Duration = Duration::from_millis(20);

async fn far_lab() -> Lab {
    let mut lab = Lab::single(Version::V4_3);
    let way_ms = WAY.as_millis() as u64;
    lab.world.net.set_default(Rule { delay_ms: (way_ms, way_ms), ..Rule::default() });
    lab.begin().await;
    lab
}

/// What was sent when a throttle was known comes two ways later or more; nothing does. The answer
/// before may have let an append go in that very moment, as up to five are under way.
fn assert_patient(cluster: &TestCluster) {
    let is_late = |key: ApiKey, after: Duration| match key {
        ApiKey::Produce => after > WAY * 2,
        _ => after >= WAY * 2,
    };
    let early: Vec<_> = cluster.early().into_iter().filter(|one| is_late(one.0, one.2)).collect();
    assert!(early.is_empty(), "asked while nobody listens: {early:?}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_while_a_throttle_lasts() {
    for key in [ApiKey::Fetch, ApiKey::Produce] {
        let mut lab = far_lab().await;
        let cluster = if key == ApiKey::Fetch { lab.source() } else { lab.destination() }.clone();
        let asked = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let seen = asked.clone();
        // its rows go another way
        let journal = cluster.look(|state| state.meta.topics().get("__isolog").map(|one| one.id));
        let journal = journal.map_or([0xff; 16], |id| id.into_bytes());
        cluster.throttle(key, 1_500);
        cluster.control_key(key, move |call| {
            if !call.body.windows(16).any(|bytes| bytes == journal) {
                seen.lock().unwrap().push(Instant::now());
            }
            None
        });
        for _ in 0..60 {
            lab.append(BAD, 3);
            sleep(SECOND / 2).await;
        }
        let asked = asked.lock().unwrap().clone();
        assert!(asked.len() > 5, "{key:?}: {}", asked.len());
        // five appends may be under way when the first throttle is told; a lane has one fetch
        for two in asked[5..].windows(2) {
            let gap = two[1] - two[0];
            assert!(gap.is_zero() || gap >= SECOND * 14 / 10, "{key:?}: {gap:?}");
        }
        assert_patient(&cluster);
    }
}

/// Both sides give us a few bytes a second: the mirror is slow, exact, and asks for nothing while
/// it is not heard.
#[tokio::test(start_paused = true)]
async fn quotas_make_a_mirror_slow_and_nothing_else() {
    let mut lab = far_lab().await;
    for cluster in [lab.source(), lab.destination()] {
        cluster.set_quota(ApiKey::Fetch, Some(1_000));
        cluster.set_quota(ApiKey::Produce, Some(600));
    }
    let began = Instant::now();
    for _ in 0..200 {
        lab.append(BAD, 3);
    }
    lab.level(BAD).await;
    assert!(began.elapsed() > SECOND * 10, "{:?}", began.elapsed());
    [lab.source(), lab.destination()].into_iter().for_each(assert_patient);
}

#[tokio::test(start_paused = true)]
async fn every_address_may_change_as_long_as_names_lead_there() {
    let mut lab = Lab::single(Version::V4_3);
    lab.begin().await;
    // the broker moves: its old address is dead, its name leads to a new one
    let (old, moved) = (lab.source().host(1), lab.source().clone());
    lab.world.net.unlisten(&old, 9092);
    let mut accept = lab.world.net.listen("b1.new", 9092);
    tokio::spawn(async move {
        while let Some(stream) = accept.recv().await {
            tokio::spawn(protocol_tests::broker::serve::serve(moved.clone(), 1, stream));
        }
    });
    lab.world.net.cut(CLIENT, &old);
    lab.append(BAD, 3);
    sleep(SECOND * 20).await;
    assert!(!lab.is_level(BAD));
    lab.world.net.alias(&old, "b1.new");
    lab.level(BAD).await;
}

#[tokio::test(start_paused = true)]
async fn dead_bootstrap_addresses_do_no_harm_once_a_broker_is_known() {
    let mut lab = Lab::triple(Version::V4_3);
    lab.begin().await;
    lab.source().kill(1);
    lab.source().kill(2);
    sleep(SECOND * 15).await;
    // the third one alone is below min.insync.replicas, yet it is asked and it answers
    lab.source().restart(1);
    sleep(SECOND * 15).await;
    lab.append(BAD, 3);
    lab.level(BAD).await;
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_leads_to_the_other_cluster_halts_the_link() {
    let mut lab = Lab::triple(Version::V4_3);
    // the destination's broker 2 is told under the source's name
    let (wrong, right) = (lab.source().host(2), lab.destination().host(2));
    lab.world.net.alias(&right, &wrong);
    lab.world.start();
    lab.wait("a halted link", |lab| matches!(lab.link_state(), LinkState::Halted(_))).await;
    let LinkState::Halted(text) = lab.link_state() else { unreachable!() };
    assert!(text.contains("answered as cluster destination and now as source"), "{text}");
    assert!(text.contains("advertised.listeners"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_side_that_swallows_everything_delays_and_fills_nothing() {
    for at_source in [true, false] {
        let mut lab = Lab::triple(Version::V4_3);
        lab.begin().await;
        let cluster = if at_source { lab.source() } else { lab.destination() }.clone();
        for broker in 1..=3 {
            let host = cluster.host(broker);
            lab.world.net.set_rule(CLIENT, &host, Rule { black_hole: true, ..Rule::default() });
            lab.world.net.hold(CLIENT, &host);
        }
        for _ in 0..60 {
            lab.append(BAD, 3);
            sleep(SECOND * 2).await;
        }
        for broker in 1..=3 {
            let host = cluster.host(broker);
            lab.world.net.release(CLIENT, &host);
            lab.world.net.clear_rule(CLIENT, &host);
        }
        let took = lab.level(BAD).await;
        assert!(took < SECOND * 60, "{took:?}");
        lab.others_go_on().await;
    }
}

#[tokio::test(start_paused = true)]
async fn versions_may_change_while_a_broker_is_away() {
    for at_source in [true, false] {
        let spec = |name, seed| Spec { version: Version::V2_8, ..Spec::single(name, seed) };
        let mut lab = Lab::of(spec("source", 1), spec("destination", 2));
        lab.begin().await;
        let cluster = if at_source { lab.source() } else { lab.destination() }.clone();
        for version in [Version::V3_9, Version::V4_3, Version::V2_8] {
            cluster.kill(1);
            lab.append(BAD, 3);
            sleep(SECOND * 10).await;
            cluster.change(|state| state.spec.version = version);
            cluster.restart(1);
            lab.append(BAD, 3);
            lab.level(BAD).await;
        }
    }
}
