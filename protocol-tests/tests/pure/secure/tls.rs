//! TLS: who is refused and why, reloading, resuming, allowed addresses.
//!
//! It never logs in.

use std::io::Write;
use std::sync::Arc;
use std::sync::PoisonError;
use std::time::Duration;

use isolog::cluster::Security;
use isolog::cluster::dial::allow::Allowed;
use isolog::secure::ClientOptions;
use isolog::secure::Place;
use isolog::secure::TrustStore;
use protocol_tests::secure::authority::Authority;
use protocol_tests::secure::authority::Dates;
use protocol_tests::secure::peer::Manner;
use protocol_tests::secure::peer::Peer;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use protocol_tests::secure::lab::connect;
use protocol_tests::secure::lab::fails;
use protocol_tests::secure::lab::identity;
use protocol_tests::secure::lab::nameless;
use protocol_tests::secure::lab::options;
use protocol_tests::secure::lab::tls;
use protocol_tests::secure::lab::trusting;

/// A record of TLS 1.1 with a ServerHello (RFC 4346 7.4.1.3): version, random, no session,
/// TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, no compression.
const HELLO_OF_1_1: &[u8] = &[
    0x16, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
    17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 0, 0xc0, 0x13, 0,
];
const LOOPBACK: &[&str] = &["localhost", "127.0.0.1"];

#[tokio::test(flavor = "multi_thread")]
async fn the_right_server_is_believed_and_others_are_named() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let check = async |pair: protocol_tests::secure::authority::Pair, parts: &[&str]| {
        let peer = Peer::start(Manner::Right, Some(pair.server(None)), 0).await;
        let options = options(peer.port, tls(trusting(&ours)));
        match parts {
            [] => drop(connect(&options).await.unwrap()),
            parts => drop(fails(&options, parts).await),
        }
    };
    check(ours.sign(LOOPBACK, Dates::Valid), &[]).await;
    check(ours.sign(LOOPBACK, Dates::Expired), &["has expired", "clock"]).await;
    check(ours.sign(LOOPBACK, Dates::Future), &["not valid yet", "clock"]).await;
    let named = ["is for kafka.example", "127.0.0.1 was dialled", "identification.algorithm"];
    let named: Vec<&str> = named.iter().map(|part| part.trim_start_matches("is for ")).collect();
    check(ours.sign(&["kafka.example"], Dates::Valid), &named).await;
    let nobody = ["no subjectAltName"];
    check(ours.sign(&[], Dates::Valid), &nobody).await;
    let unknown = ["authority that the trust store does not hold", "ssl.truststore.location"];
    check(other.sign(LOOPBACK, Dates::Valid), &unknown).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_identification_algorithm_passes_over_the_name_only() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let start = async |pair: protocol_tests::secure::authority::Pair| {
        Peer::start(Manner::Right, Some(pair.server(None)), 0).await
    };
    let security = tls(nameless(trusting(&ours)));
    let peer = start(ours.sign(&["kafka.example"], Dates::Valid)).await;
    connect(&options(peer.port, security.clone())).await.unwrap();
    let peer = start(ours.sign(&["kafka.example"], Dates::Expired)).await;
    fails(&options(peer.port, security.clone()), &["has expired"]).await;
    let peer = start(other.sign(&["kafka.example"], Dates::Valid)).await;
    fails(&options(peer.port, security), &["does not hold"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn client_certificates_are_shown_where_they_are_required() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let server = ours.sign(LOOPBACK, Dates::Valid).server(Some(&ours));
    let peer = Peer::start(Manner::Right, Some(server), 0).await;
    let with = |authority: &Authority| {
        let identity = identity(&authority.sign(LOOPBACK, Dates::Valid));
        tls(ClientOptions { identity: Some(identity), ..trusting(&ours) })
    };
    connect(&options(peer.port, with(&ours))).await.unwrap();
    fails(&options(peer.port, with(&other)), &["refuses our certificate"]).await;
    fails(&options(peer.port, tls(trusting(&ours))), &["client certificate"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_that_speak_something_else_are_named() {
    let ours = Authority::new("ours");
    let plain = Peer::start(Manner::Right, None, 0).await;
    fails(&options(plain.port, tls(trusting(&ours))), &["security.protocol"]).await;
    let secure = ours.sign(LOOPBACK, Dates::Valid).server(None);
    let secure = Peer::start(Manner::Right, Some(secure), 0).await;
    fails(&options(secure.port, Security::default()), &["TLS", "security.protocol"]).await;
    let says = async |bytes: &'static [u8], parts: &[&str]| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _whatever = stream.read(&mut [0; 1024]).await;
                let _gone = stream.write_all(bytes).await;
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_secs(9)).await;
                    drop(stream);
                });
            }
        });
        fails(&options(port, tls(trusting(&ours))), parts).await;
        task.abort();
    };
    says(b"HTTP/1.1 400 Bad Request\r\n\r\n", &["an HTTP server"]).await;
    // a handshake_failure alert, half a handshake, nothing
    says(&[0x15, 3, 3, 0, 2, 2, 40], &["no cipher suite or version in common"]).await;
    // who speaks TLS 1.1 at most: by a protocol_version alert, or by a ServerHello of its own
    says(&[0x15, 3, 2, 0, 2, 2, 70], &["none of our TLS versions", "TLSv1.2"]).await;
    says(HELLO_OF_1_1, &["no TLS version or cipher suite in common", "TLSv1.2"]).await;
    says(&[0x16, 3, 3, 0x40, 0, 2], &["no TLS handshake within 1500 ms"]).await;
    says(&[], &["no TLS handshake within 1500 ms"]).await;
    says(&[0x7f; 70_000], &["does not speak TLS"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_a_second_meets_the_deadline() {
    let ours = Authority::new("ours");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                for byte in [0x16, 3, 3, 0, 200, 2, 0, 0, 60] {
                    tokio::time::sleep(Duration::from_millis(400)).await;
                    let _gone = stream.write_all(&[byte]).await;
                }
            });
        }
    });
    let parts = ["no TLS handshake within 1500 ms"];
    fails(&options(port, tls(trusting(&ours))), &parts).await;
    task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_trust_store_is_read_and_open_connections_stay() {
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    let path = std::env::temp_dir().join(format!("isolog-trust-{}.pem", std::process::id()));
    let write = |text: &str| {
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    write(&first.pem);
    let trust = TrustStore { place: Place::File(path.clone()), password: None };
    let security = tls(ClientOptions { trust: Some(trust), ..ClientOptions::default() });
    let peer_of = async |authority: &Authority| {
        let server = authority.sign(LOOPBACK, Dates::Valid).server(None);
        Peer::start(Manner::Right, Some(server), 0).await
    };
    let (old, new) = (peer_of(&first).await, peer_of(&second).await);
    let open = connect(&options(old.port, security.clone())).await.unwrap();
    fails(&options(new.port, security.clone()), &["does not hold"]).await;
    // a file that does not open changes nothing
    tokio::time::sleep(Duration::from_millis(1100)).await;
    write("-----BEGIN CERTIFICATE-----\nhalf");
    connect(&options(old.port, security.clone())).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    write(&second.pem);
    connect(&options(new.port, security.clone())).await.unwrap();
    fails(&options(old.port, security.clone()), &["does not hold"]).await;
    open.refresh(isolog::cluster::Wanted::All).await.unwrap();
    let shaken = old.handshakes.lock().unwrap_or_else(PoisonError::into_inner).len();
    assert!(shaken <= 2, "the open connection was used: {shaken} handshakes");
    std::fs::remove_file(&path).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_resumed() {
    let ours = Authority::new("ours");
    let server = ours.sign(LOOPBACK, Dates::Valid).server(None);
    let peer = Peer::start(Manner::Right, Some(server), 0).await;
    let security = tls(trusting(&ours));
    for _ in 0..3 {
        connect(&options(peer.port, security.clone())).await.unwrap();
    }
    let shaken = peer.handshakes.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert_eq!(shaken, [false, true, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_allowed_addresses_are_spoken_to() {
    let peer = Peer::start(Manner::Right, None, 0).await;
    let with = |rule: &str| {
        let allowed = Allowed::new(vec![rule.parse().unwrap()]);
        options(peer.port, Security { allowed, ..Security::default() })
    };
    connect(&with("127.0.0.0/8")).await.unwrap();
    fails(&with("10.0.0.0/8"), &["broker.addresses.allowed"]).await;
    fails(&with("kafka.example"), &["broker.addresses.allowed"]).await;
    let mut named = with("localhost");
    named.bootstrap = vec![("localhost".into(), peer.port)];
    // the name is allowed, the address that its metadata tells is not: it is not dialled
    let cluster = connect(&named).await.unwrap();
    let told = isolog::cluster::Use::Append;
    let error = cluster.open(isolog::ids::BrokerId(1), told).await.err().unwrap().to_string();
    assert!(error.contains("broker.addresses.allowed"), "{error}");
    let _ = Arc::strong_count(&cluster);
}
