//! One cluster of ours against one peer.
//!
//! It never judges what came of it.

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use isolog::cluster::Cluster;
use isolog::cluster::Options;
use isolog::cluster::Security;
use isolog::cluster::dial::TcpDial;
use isolog::cluster::error::ClusterError;
use isolog::cluster::sasl::Login;
use isolog::cluster::sasl::Means;
use isolog::cluster::sasl::scram::Account;
use isolog::cluster::sasl::scram::Hash;
use isolog::secure::ClientOptions;
use isolog::secure::ClientTls;
use isolog::secure::KeyPlace;
use isolog::secure::KeyStore;
use isolog::secure::Names;
use isolog::secure::Place;
use isolog::secure::Secret;
use isolog::secure::TrustStore;

use super::authority::Authority;
use super::authority::Pair;
use super::peer::PASSWORD;
use super::peer::USER;
use crate::telling;

/// The deadline of a dial and of a request.
pub const WAIT: Duration = Duration::from_millis(1500);
/// What a deadline may be missed by on a busy machine.
pub const SLACK: Duration = Duration::from_millis(2500);

/// How the peer at that port is reached.
pub fn options(port: u16, security: Security) -> Options {
    Options {
        bootstrap: vec![("127.0.0.1".into(), port)],
        security,
        ..telling::options(WAIT, WAIT)
    }
}

/// Connects; the error comes within the three tries of a question.
pub async fn connect(options: &Options) -> Result<Arc<Cluster>, ClusterError> {
    let began = Instant::now();
    let dial = Arc::new(TcpDial { timeout: WAIT });
    let connected = Cluster::connect(options.clone(), dial, 7).await;
    assert!(began.elapsed() < WAIT * 3 + SLACK, "{:?}", began.elapsed());
    connected
}

/// The words of the failure, which must hold each of `parts` and no secret.
pub async fn fails(options: &Options, parts: &[&str]) -> String {
    let said = connect(options).await.err().expect("a failure").to_string();
    for part in parts.iter().chain(&["source", "127.0.0.1:"]) {
        assert!(said.contains(part), "{part:?} is not in {said:?}");
    }
    assert!(!said.contains(PASSWORD), "{said}");
    said
}

/// A trust store of one authority.
pub fn trusting(authority: &Authority) -> ClientOptions {
    let place = Place::Inline(Secret::new(authority.pem.clone()));
    let trust = Some(TrustStore { place, password: None });
    ClientOptions { trust, ..ClientOptions::default() }
}

/// Our own certificate.
pub fn identity(pair: &Pair) -> KeyStore {
    let (key, chain) = (Secret::new(pair.key.clone()), Secret::new(pair.certificate.clone()));
    KeyStore { place: KeyPlace::Inline { key, chain }, password: None, key_password: None }
}

/// TLS with these options.
pub fn tls(options: ClientOptions) -> Security {
    Security {
        tls: Some(Arc::new(ClientTls::new(options).expect("the stores are right"))),
        ..Security::default()
    }
}

/// The same without a look at names.
pub fn nameless(options: ClientOptions) -> ClientOptions {
    ClientOptions { names: Names::Ignored, ..options }
}

/// PLAIN with a password.
pub fn plain(password: &str) -> Security {
    let (user, password) = (USER.to_owned(), Secret::new(password.to_owned()));
    login(Means::Plain { user, password })
}

/// SCRAM-SHA-256 with a password.
pub fn scram(password: &str) -> Security {
    let password = Secret::new(password.to_owned());
    login(Means::Scram(Arc::new(Account::new(Hash::Sha256, USER.into(), password, false))))
}

/// Any login.
pub fn login(means: Means) -> Security {
    Security { login: Some(Arc::new(Login::new(means))), ..Security::default() }
}
