//! Stores that openssl and keytool made, opened as they are and used against a server that requires
//! a client certificate.
//!
//! It never makes a store by itself.

use std::path::Path;
use std::sync::Arc;

use isolog::secure::ClientAuth;
use isolog::secure::ClientOptions;
use isolog::secure::ClientTls;
use isolog::secure::KeyPlace;
use isolog::secure::KeyStore;
use isolog::secure::Place;
use isolog::secure::Secret;
use isolog::secure::ServerOptions;
use isolog::secure::ServerTls;
use isolog::secure::TrustStore;
use protocol_tests::secure::peer::Manner;
use protocol_tests::secure::peer::Peer;
use protocol_tests::secure::ways::KEY_PASSWORD;
use protocol_tests::secure::ways::STORE_PASSWORD;
use protocol_tests::secure::ways::Safe;

use protocol_tests::secure::lab::connect;
use protocol_tests::secure::lab::fails;
use protocol_tests::secure::lab::options;
use protocol_tests::secure::lab::tls;

fn secret(text: &str) -> Option<Secret> {
    Some(Secret::new(text.to_owned()))
}

fn trust(dir: &Path, file: &str) -> TrustStore {
    let password = if file.ends_with(".pem") { None } else { secret(STORE_PASSWORD) };
    TrustStore { place: Place::File(dir.join(file)), password }
}

fn key(dir: &Path, file: &str, password: Option<&str>, key_password: Option<&str>) -> KeyStore {
    KeyStore {
        place: KeyPlace::File(dir.join(file)),
        password: password.and_then(secret),
        key_password: key_password.and_then(secret),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_of_openssl_and_keytool_open_as_they_are() {
    let safe = tokio::task::spawn_blocking(|| Safe::new("stores").unwrap()).await.unwrap();
    let dir = safe.dir.as_path();
    let server = ServerTls::new(&ServerOptions {
        identity: key(dir, "broker.p12", Some(STORE_PASSWORD), None),
        clients: ClientAuth::Required(trust(dir, "ca.pem")),
    });
    let peer = Peer::start(Manner::Right, Some(server.unwrap().config()), 0).await;
    let store = Some(STORE_PASSWORD);
    let ours = [
        ("client.p12", store, None),
        ("client-keytool.p12", store, None),
        ("client.jks", store, None),
        ("client.jks", store, store),
        ("client.pem", None, None),
        ("client-enc.pem", None, Some(KEY_PASSWORD)),
        ("client-old.pem", None, Some(KEY_PASSWORD)),
        ("client-des3.pem", None, Some(KEY_PASSWORD)),
    ];
    let theirs = ["ca.pem", "trust.p12", "trust.jks", "trust-openssl.p12", "trusted.pem"];
    for (at, (file, password, key_password)) in ours.into_iter().enumerate() {
        let theirs = theirs[at % theirs.len()];
        println!("{file} {theirs}");
        let identity = Some(key(dir, file, password, key_password));
        let trust = Some(trust(dir, theirs));
        let security = tls(ClientOptions { trust, identity, ..ClientOptions::default() });
        connect(&options(peer.port, security)).await.unwrap();
    }
    let wrong = |file: &str, password: Option<&str>, key_password: Option<&str>| {
        let identity = Some(key(dir, file, password, key_password));
        let trust = Some(trust(dir, "ca.pem"));
        let made = ClientTls::new(ClientOptions { trust, identity, ..ClientOptions::default() });
        let said = made.unwrap_err().to_string();
        assert!(said.contains(file) && !said.contains("hunter2"), "{said}");
        said
    };
    for file in ["client.p12", "client-keytool.p12", "client.jks"] {
        assert!(wrong(file, Some("hunter2"), None).contains("password is wrong"), "{file}");
    }
    assert!(wrong("client.jks", store, Some("hunter2")).contains("ssl.key.password"));
    assert!(wrong("client-enc.pem", None, Some("hunter2")).contains("ssl.key.password"));
    assert!(wrong("client-enc.pem", None, None).contains("set ssl.key.password"));
    assert!(wrong("trust.jks", store, None).contains("no private key"));
    assert!(wrong("ca.pem", None, None).contains("no private key"));
}

/// `openssl req -x509` marks its certificate as an authority's; Java takes it when it is trusted.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_signs_itself_is_believed_when_it_is_trusted() {
    let safe = tokio::task::spawn_blocking(|| Safe::new("self").unwrap()).await.unwrap();
    let dir = safe.dir.as_path();
    let identity = key(dir, "self.pem", None, None);
    let server = ServerTls::new(&ServerOptions { identity, clients: ClientAuth::None }).unwrap();
    let peer = Peer::start(Manner::Right, Some(server.config()), 0).await;
    let with = |file: &str| {
        let trust = Some(trust(dir, file));
        options(peer.port, tls(ClientOptions { trust, ..ClientOptions::default() }))
    };
    connect(&with("self.pem")).await.unwrap();
    fails(&with("ca.pem"), &["an authority's certificate (CA:TRUE) as its own"]).await;
    let _keeps_the_directory = Arc::new(safe);
}
