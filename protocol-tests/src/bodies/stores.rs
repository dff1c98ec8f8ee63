//! Files of the operator's, and heads of HTTP: JKS, PKCS#12, revocation lists, answers and URLs.
//!
//! It never opens a socket or a file. Requests to the service port are read by hyper, which has
//! fuzzers of its own; what is ours of them (names, tokens) is text by then.

use std::sync::Arc;
use std::sync::LazyLock;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use isolog::http::client;
use isolog::http::client::Answer;
use isolog::http::client::Broken;
use isolog::http::url::Url;
use isolog::secure::certificates_in;
use isolog::secure::identity_in;
use isolog::secure::jks::Jks;
use isolog::secure::lists_in;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;

use crate::secure::authority::Authority;

/// What the seeds' stores are under.
const PASSWORD: &str = "changeit";
/// The longest body that is read of an answer.
const BODY_BYTES_MAX: usize = 1 << 20;

/// A JKS store, with its password and without: it holds no more than its bytes, and no key opens
/// under two passwords. Under one of them a fuzzer can make it open: it sees what a digest is
/// compared with.
pub fn jks(data: &[u8]) {
    for password in [None, Some(PASSWORD)] {
        let Ok(jks) = Jks::read(data, password) else { continue };
        let chains = jks.keys.iter().flat_map(|key| &key.chain);
        let held: usize = jks.trusted.iter().chain(chains).map(Vec::len).sum();
        assert!(held <= data.len(), "more certificate than store");
        for key in &jks.keys {
            let opens = [PASSWORD, "hunter2"].map(|password| key.open(password).is_ok());
            assert_ne!(opens, [true, true], "a wrong password opens a key");
        }
    }
}

/// A PKCS#12 store, as trust store and as key store.
pub fn pkcs12(data: &[u8]) {
    // what does not begin so is for the other readers
    if data.first() != Some(&0x30) {
        return;
    }
    if let Ok(all) = certificates_in(data, Some(PASSWORD)) {
        assert!(all.iter().map(|one| one.len()).sum::<usize>() <= data.len());
    }
    if let Err(said) = identity_in(data, PASSWORD) {
        assert!(!said.contains(PASSWORD), "{said}");
    }
}

/// A file of revocation lists, read and handed to the check of chains.
pub fn revoked(data: &[u8]) {
    static ROOTS: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
        let mut roots = RootCertStore::empty();
        roots.add(Authority::new("fuzz").der().clone()).expect("an authority");
        Arc::new(roots)
    });
    let Ok(lists) = lists_in(data) else { return };
    assert!(!lists.is_empty() && lists.iter().map(|one| one.len()).sum::<usize>() <= data.len());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = WebPkiServerVerifier::builder_with_provider(ROOTS.clone(), provider);
    drop(builder.with_crls(lists).build());
}

/// The answer of somebody who is asked over HTTP, or the URL of a token endpoint.
pub fn http_head(data: &[u8]) {
    match http_answer(data) {
        Ok(answer) => {
            assert!(data.len() >= answer.body.len() + 12, "an answer without a status");
            assert!(answer.body.len() <= BODY_BYTES_MAX);
        }
        Err(said) => assert!(said.to_string().len() <= 500, "{said}"),
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(url) = Url::parse(text) {
        assert!(!url.host.is_empty() && !text.contains('@') | url.path.contains('@'));
        assert!(url.is_https || text.to_ascii_lowercase().starts_with("http:"));
    }
}

/// What the client makes of a peer that sends this and goes.
pub fn http_answer(data: &[u8]) -> Result<Answer, Broken> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let (mut peer, stream) = tokio::io::duplex(data.len().max(1024));
        let request = Request::get("/").header("Host", "h:1").body(Full::<Bytes>::default());
        let asked = client::exchange(stream, request.expect("a request"), BODY_BYTES_MAX);
        let served = async {
            assert_ne!(peer.read(&mut [0; 1024]).await.expect("a request"), 0);
            peer.write_all(data).await.ok();
            drop(peer);
        };
        tokio::join!(asked, served).0
    })
}
