//! Logins: refused, forged, absurd, slow; renewed while requests are in flight.
//!
//! It never speaks TLS.

use std::sync::atomic::Ordering;
use std::time::Duration;

use isolog::cluster::Wanted;
use protocol_tests::secure::peer::Manner;
use protocol_tests::secure::peer::PASSWORD;
use protocol_tests::secure::peer::Peer;

use protocol_tests::secure::lab::connect;
use protocol_tests::secure::lab::fails;
use protocol_tests::secure::lab::options;
use protocol_tests::secure::lab::plain;
use protocol_tests::secure::lab::scram;

#[tokio::test(flavor = "multi_thread")]
async fn right_passwords_are_taken_and_wrong_ones_are_named() {
    let peer = Peer::start(Manner::Right, None, 0).await;
    connect(&options(peer.port, plain(PASSWORD))).await.unwrap();
    connect(&options(peer.port, scram(PASSWORD))).await.unwrap();
    let refused = |name: &'static str| [name, "refused", "SASL_AUTHENTICATION_FAILED"];
    fails(&options(peer.port, plain("hunter2")), &refused("PLAIN")).await;
    fails(&options(peer.port, scram("hunter2")), &refused("SCRAM-SHA-256")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_servers_learn_nothing_and_cost_nothing() {
    let check = async |manner: Manner, logins: u32, parts: &[&str]| {
        let peer = Peer::start(manner, None, 0).await;
        fails(&options(peer.port, scram(PASSWORD)), parts).await;
        assert_eq!(peer.logins.load(Ordering::SeqCst), logins, "{manner:?}");
    };
    check(Manner::OtherMechanism, 0, &["does not take SCRAM-SHA-256, it takes GSSAPI"]).await;
    check(Manner::Iterations(u32::MAX), 0, &["4294967295 iterations", "4096 to 16384"]).await;
    check(Manner::Iterations(1), 0, &["1 iterations"]).await;
    check(Manner::ForeignNonce, 0, &["nonce does not begin with ours"]).await;
    check(Manner::ForgedSignature, 1, &["cannot prove that it knows the password"]).await;
    check(Manner::EarlyYes, 0, &["login failed"]).await;
    check(Manner::Refuse, 1, &["refused", "Authentication failed: wrong"]).await;
    check(Manner::Garbage, 0, &["needs 4294967294 bytes"]).await;
    check(Manner::HangUp, 0, &["in the middle of the login"]).await;
    check(Manner::Silent, 0, &["no answer within 1500 ms"]).await;
    check(Manner::Drip, 0, &["no answer within 1500 ms"]).await;
}

/// A wrong password is tried once, then after a second, two, four: not as often as somebody asks.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_login_is_not_tried_again_at_once() {
    let peer = Peer::start(Manner::Right, None, 0).await;
    let options = options(peer.port, plain("hunter2"));
    let began = std::time::Instant::now();
    while began.elapsed() < Duration::from_millis(3500) {
        let error = connect(&options).await.err().unwrap();
        assert!(error.to_string().contains("refused"), "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // at 0 s, 1 s and 3 s
    let tried = peer.logins.load(Ordering::SeqCst);
    assert!((2..=3).contains(&tried), "{tried} logins");
}

/// Many at once with a wrong password are one login.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_with_a_wrong_password_is_one_login() {
    let peer = Peer::start(Manner::Right, None, 0).await;
    let options = options(peer.port, scram("hunter2"));
    let crowd: Vec<_> = (0..20)
        .map(|_| {
            let options = options.clone();
            tokio::spawn(async move { connect(&options).await.is_err() })
        })
        .collect();
    for one in crowd {
        assert!(one.await.unwrap());
    }
    assert_eq!(peer.logins.load(Ordering::SeqCst), 1);
}

/// The broker's logins last 2 s: questions that are asked all the time never meet an end.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_renewed_while_questions_are_asked() {
    let peer = Peer::start(Manner::Right, None, 2000).await;
    let mut options = options(peer.port, scram(PASSWORD));
    options.metadata_age_max = Duration::from_secs(600);
    let cluster = connect(&options).await.unwrap();
    let broker = isolog::ids::BrokerId(1);
    let began = std::time::Instant::now();
    while began.elapsed() < Duration::from_secs(6) {
        cluster.topic_ids_at(broker, &[]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // one for "any broker", then one for the broker and its renewals at 85 to 95 % of 2 s
    let logins = peer.logins.load(Ordering::SeqCst);
    assert!((4..=6).contains(&logins), "{logins} logins");
    cluster.refresh(Wanted::All).await.unwrap();
}
