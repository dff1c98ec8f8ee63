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
    let seen = isolog.wait_for("idle closes at the destination", 120, |isolog| {
        let seen = isolog.partition(TOPIC, 0)?;
        assert_eq!((seen.state.as_str(), seen.code.as_str()), ("Mirroring", ""), "{seen:?}");
        let closes = isolog.metric("isolog_connections_idle_closed_total", "destination");
        (closes >= CLOSES).then_some(seen)
    });
    assert_eq!(seen.lag_records, Some(0));
    hand.produce(TOPIC, 0, &Build::plain(now_ms(), "after", 10))?;
    isolog.wait_copied(TOPIC, 0, 20);
    let log = isolog.log();
    let told = |line: &&str| line.contains("WARN") || line.contains("a lane has ended");
    assert_eq!(log.lines().filter(told).collect::<Vec<_>>(), Vec::<&str>::new());
    assert_eq!(isolog.metric("isolog_dial_failures_total", ""), 0.0);
    Ok(())
}
