//! Two brokers of one cluster, one of which refuses logins.
//!
//! It never speaks TLS.

use std::sync::atomic::Ordering;
use std::time::Duration;

use isolog::cluster::Use;
use isolog::cluster::Wanted;
use isolog::ids::BrokerId;
use protocol_tests::secure::peer::Manner;
use protocol_tests::secure::peer::PASSWORD;
use protocol_tests::secure::peer::Peer;
use tokio::time::Instant;
use tokio::time::timeout;

use protocol_tests::secure::lab::connect;
use protocol_tests::secure::lab::options;
use protocol_tests::secure::lab::plain;

/// How long logins hold, in ms.
const LIFETIME_MS: i64 = 3_000;
/// What renewals and the waits for them may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// C3.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_refuses_holds_up_no_other() {
    let good = Peer::start(Manner::Right, None, LIFETIME_MS).await;
    let bad = Peer::start(Manner::Right, None, LIFETIME_MS).await;
    good.others.lock().unwrap().push((2, bad.port));
    let cluster = connect(&options(good.port, plain(PASSWORD))).await.unwrap();
    let mut held = cluster.open(BrokerId(1), Use::Append).await.unwrap();
    bad.refuses.store(true, Ordering::SeqCst);
    let error = cluster.open(BrokerId(2), Use::Append).await.err().unwrap().to_string();
    let named = format!("source broker 2 at 127.0.0.1:{}: login: the login by PLAIN", bad.port);
    assert!(error.starts_with(&named), "{error}");
    // while the pause lasts the other broker takes new logins, and renewals
    let mut renewed = good.logins.load(Ordering::SeqCst) + 3;
    let until = Instant::now() + PATIENCE;
    let mut refused = 0;
    while good.logins.load(Ordering::SeqCst) < renewed {
        assert!(Instant::now() < until, "no renewal");
        refused += u32::from(cluster.open(BrokerId(2), Use::Append).await.is_err());
        let other = cluster.open(BrokerId(1), Use::Append).await;
        assert!(other.is_ok(), "{:?}", other.err());
        renewed += 1;
        let silent = timeout(Duration::from_millis(50), held.turn()).await;
        assert!(silent.is_err(), "the healthy connection has ended: {silent:?}");
    }
    assert!(refused > 0);
    cluster.refresh(Wanted::All).await.unwrap();
    cluster.open(BrokerId(1), Use::Append).await.unwrap();
    // and the one that refuses is not asked as often as somebody wants
    let asked = bad.logins.load(Ordering::SeqCst);
    assert!(asked < refused, "{asked} logins for {refused} refusals");
}

/// A broker that was never tried is not let at the password while all that were tried refuse it,
/// and the refusal is told of the one that said it.
#[tokio::test(flavor = "multi_thread")]
async fn while_all_refuse_nobody_is_asked() {
    let first = Peer::start(Manner::Right, None, 0).await;
    let second = Peer::start(Manner::Right, None, 0).await;
    first.others.lock().unwrap().push((2, second.port));
    let cluster = connect(&options(first.port, plain(PASSWORD))).await.unwrap();
    first.refuses.store(true, Ordering::SeqCst);
    second.refuses.store(true, Ordering::SeqCst);
    assert!(cluster.open(BrokerId(1), Use::Append).await.is_err());
    let error = cluster.open(BrokerId(2), Use::Append).await.err().unwrap().to_string();
    assert!(error.contains(&format!("127.0.0.1:{} says so", first.port)), "{error}");
    assert_eq!(second.logins.load(Ordering::SeqCst), 0);
}
