//! Revoked certificates: whom a list of ssl.crl.location refuses, and that lists are read again.
//!
//! It never looks at names or dates of certificates: `tls` does.

use std::path::PathBuf;
use std::time::Duration;

use isolog::cluster::Security;
use isolog::secure::ClientOptions;
use isolog::secure::ClientTls;
use isolog::secure::RevocationLists;
use protocol_tests::secure::authority::Authority;
use protocol_tests::secure::authority::Dates;
use protocol_tests::secure::authority::Pair;
use protocol_tests::secure::peer::Manner;
use protocol_tests::secure::peer::Peer;

use protocol_tests::secure::lab::connect;
use protocol_tests::secure::lab::fails;
use protocol_tests::secure::lab::options;
use protocol_tests::secure::lab::tls;
use protocol_tests::secure::lab::trusting;

const LOOPBACK: &[&str] = &["127.0.0.1"];
/// A list that ends then is good today.
const FAR: i32 = 2090;
const REVOKED: &[&str] = &["is revoked by a list of ssl.crl.location"];
const UNKNOWN: &[&str] = &["ssl.crl.location holds no list of an authority"];
const OLD: &[&str] = &["out of date (nextUpdate)"];

/// A file of lists that goes when the test ends.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> File {
        let name = format!("isolog-crl-{name}-{}.pem", std::process::id());
        let file = File(std::env::temp_dir().join(name));
        file.write(text);
        file
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.0, text).unwrap();
    }

    fn with(&self, authority: &Authority) -> ClientOptions {
        let revoked = Some(RevocationLists { file: self.0.clone() });
        ClientOptions { revoked, ..trusting(authority) }
    }

    fn security(&self, authority: &Authority) -> Security {
        tls(self.with(authority))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.0);
    }
}

async fn serve(pair: &Pair) -> Peer {
    Peer::start(Manner::Right, Some(pair.server(None)), 0).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_server_is_refused_and_its_neighbour_is_not() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let (good, bad) = (ours.sign(LOOPBACK, Dates::Valid), ours.sign(LOOPBACK, Dates::Valid));
    let (good_peer, bad_peer) = (serve(&good).await, serve(&bad).await);
    let file = File::new("one", &ours.revoke(&[bad.serial], FAR));
    connect(&options(good_peer.port, file.security(&ours))).await.unwrap();
    fails(&options(bad_peer.port, file.security(&ours)), REVOKED).await;
    // without the file nobody asks: Kafka's own clients do the same
    connect(&options(bad_peer.port, tls(trusting(&ours)))).await.unwrap();
    // whoever can revoke can withhold: no list, a stranger's list and an old list refuse
    file.write(&other.revoke(&[], FAR));
    fails(&options(good_peer.port, file.security(&ours)), UNKNOWN).await;
    file.write(&ours.revoke(&[], 2021));
    fails(&options(good_peer.port, file.security(&ours)), OLD).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_is_refused_when_any_of_it_is_revoked() {
    let root = Authority::new("root");
    let middle = root.below("middle");
    let pair = middle.sign(LOOPBACK, Dates::Valid);
    let peer = serve(&pair).await;
    let both = |of_root: &[u64], of_middle: &[u64]| {
        root.revoke(of_root, FAR) + &middle.revoke(of_middle, FAR)
    };
    let file = File::new("chain", &both(&[], &[]));
    connect(&options(peer.port, file.security(&root))).await.unwrap();
    file.write(&both(&[middle.serial], &[]));
    fails(&options(peer.port, file.security(&root)), REVOKED).await;
    file.write(&both(&[], &[pair.serial]));
    fails(&options(peer.port, file.security(&root)), REVOKED).await;
    file.write(&middle.revoke(&[], FAR));
    fails(&options(peer.port, file.security(&root)), UNKNOWN).await;
}

/// F36: the chain is revoked while we run, and then swapped for a good one.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_changes_counts_from_the_next_handshake_on() {
    let ours = Authority::new("ours");
    let pair = ours.sign(LOOPBACK, Dates::Valid);
    let peer = serve(&pair).await;
    let file = File::new("swap", &ours.revoke(&[], FAR));
    let security = file.security(&ours);
    let open = connect(&options(peer.port, security.clone())).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    file.write(&ours.revoke(&[pair.serial], FAR));
    // also where a session could be resumed, which asks for no certificate
    fails(&options(peer.port, security.clone()), REVOKED).await;
    open.refresh(isolog::cluster::Wanted::All).await.unwrap();
    // a file that is no list changes nothing
    tokio::time::sleep(Duration::from_millis(1100)).await;
    file.write("half a list");
    fails(&options(peer.port, security.clone()), REVOKED).await;
    let swapped = serve(&ours.sign(LOOPBACK, Dates::Valid)).await;
    connect(&options(swapped.port, security)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_that_are_none_are_refused_at_the_start() {
    let ours = Authority::new("ours");
    let file = File::new("none", "");
    let wrong = |text: &str, part: &str| {
        file.write(text);
        let said = ClientTls::new(file.with(&ours)).unwrap_err().to_string();
        assert!(said.contains(part), "{said}");
    };
    wrong("", "it holds no revocation list (X509 CRL)");
    wrong(&ours.pem, "it holds no revocation list (X509 CRL)");
    wrong("-----BEGIN X509 CRL-----\nAQ", "a PEM section of it is broken");
    let torn = ours.revoke(&[7], FAR).replacen('M', "N", 1);
    wrong(&torn, "pem does not open: a list of it is not taken");
    wrong("0\u{1}", "pem does not open: a list of it is not taken");
}
