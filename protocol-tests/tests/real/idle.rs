//! Real brokers that close idle connections after three seconds, and a mirror without traffic.
//!
//! It never measures how fast a record lands: it counts what is taken for a failure.

use protocol_tests::broker::batch::Build;
use protocol_tests::real::Hand;
use protocol_tests::real::Isolog;
use protocol_tests::real::IsologSpec;
use protocol_tests::real::RealCluster;
use protocol_tests::real::RealError;
use protocol_tests::real::RealSpec;
use protocol_tests::real::now_ms;
use protocol_tests::real::room;

const TOPIC: &str = "quiet";
/// How many idle closes at the destination are waited for.
const CLOSES: f64 = 4.0;
/// So many times something may go wrong that is not idleness.
const WINDOWS_MAX: i64 = 5;

fn idle() -> RealSpec {
    RealSpec::new("4.3.1", 1).prop("connections.max.idle.ms", "3000")
}

/// C1.
#[test]
fn brokers_may_close_idle_connections() -> Result<(), RealError> {
    let _room = room(2);
    let (source, destination) = RealCluster::both(idle(), idle())?;
    let hand = Hand::new(source.bootstrap());
    hand.create(TOPIC, 1, 1, &[])?;
    hand.produce(TOPIC, 0, &Build::plain(now_ms(), "before", 10))?;
    let spec = IsologSpec::new(source.bootstrap(), destination.bootstrap(), &[TOPIC]);
    let isolog = Isolog::start(&spec)?;
    isolog.wait_copied(TOPIC, 0, 10);
    let is_calm = (0..WINDOWS_MAX).any(|window| passes_unseen(&isolog, &hand, 20 + 10 * window));
    assert!(is_calm, "idle closes were seen each time: {}", isolog.log());
    Ok(())
}

/// Whether brokers close idle connections, and nothing of it is seen; a machine that stands still
/// for seconds has brokers close what is in use.
fn passes_unseen(isolog: &Isolog, hand: &Hand, end: i64) -> bool {
    let closed = || isolog.metric("isolog_connections_idle_closed_total", "destination");
    let failed = || isolog.metric("isolog_dial_failures_total", "");
    let told = || {
        let is_told = |line: &&str| line.contains("WARN") || line.contains("a lane has ended");
        isolog.log().lines().filter(is_told).count()
    };
    let before = (failed(), told());
    let (closes, mut is_calm) = (closed() + CLOSES, true);
    isolog.wait_for("idle closes at the destination", 300, |isolog| {
        let seen = isolog.partition(TOPIC, 0)?;
        is_calm &= seen.state == "Mirroring" && seen.code.is_empty();
        is_calm &= seen.lag_records == Some(0);
        (closed() >= closes).then_some(())
    });
    hand.produce(TOPIC, 0, &Build::plain(now_ms(), "after", 10)).expect("it is written");
    isolog.wait_copied(TOPIC, 0, end);
    is_calm && before == (failed(), told())
}
