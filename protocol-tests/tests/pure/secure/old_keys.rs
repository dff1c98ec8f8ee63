//! Keys and certificates of older make, as openssl makes them, against openssl's own server: what
//! Java's client connects with, isolog does too, or says what to do.
//!
//! It never makes a key by itself.

use std::io::BufRead;
use std::io::BufReader;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;

use isolog::secure::ClientOptions;
use isolog::secure::ClientTls;
use isolog::secure::KeyPlace;
use isolog::secure::KeyStore;
use isolog::secure::Names;
use isolog::secure::Place;
use isolog::secure::ServerOptions;
use isolog::secure::ServerTls;
use isolog::secure::TrustStore;
use isolog::secure::io_error;
use protocol_tests::secure::authority::Authority;
use protocol_tests::secure::authority::Dates;
use protocol_tests::secure::lab::identity;
use protocol_tests::secure::ways::Safe;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::TlsConnector;

/// `openssl s_server` that answers GET; it ends with this value.
struct OpenSsl {
    child: Child,
    port: u16,
}

impl OpenSsl {
    fn start(dir: &Path, arguments: &[&str]) -> OpenSsl {
        let mut command = Command::new("openssl");
        command.args(["s_server", "-www", "-accept", "127.0.0.1:0"]).args(arguments);
        command.current_dir(dir).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("openssl is there");
        // it tells the port that it was given: ACCEPT 127.0.0.1:41234
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut ports = out.lines().map_while(Result::ok).filter_map(|line| {
            line.strip_prefix("ACCEPT ")?.rsplit(':').next()?.trim().parse::<u16>().ok()
        });
        let port = ports.next().expect("openssl says where it listens");
        OpenSsl { child, port }
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn safe() -> impl Future<Output = Safe> {
    static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let made = move || Safe::new(&format!("old-{number}")).unwrap();
    async move { tokio::task::spawn_blocking(made).await.unwrap() }
}

fn trusting(dir: &Path, file: &str) -> ClientOptions {
    let trust = Some(TrustStore { place: Place::File(dir.join(file)), password: None });
    ClientOptions { trust, ..ClientOptions::default() }
}

fn showing(dir: &Path, file: &str) -> ClientOptions {
    let place = KeyPlace::File(dir.join(file));
    let identity = Some(KeyStore { place, password: None, key_password: None });
    ClientOptions { identity, ..trusting(dir, "ca.pem") }
}

/// The first line of the server's answer, or what isolog says of the failed handshake.
async fn ask(port: u16, options: ClientOptions) -> Result<String, String> {
    let tls = Arc::new(ClientTls::new(options).map_err(|error| error.to_string())?);
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let connector = TlsConnector::from(tls.config().await);
    let said = |error: std::io::Error| io_error(&error, &[0x16, 3]);
    let name = "localhost".try_into().unwrap();
    let mut stream = connector.connect(name, stream).await.map_err(said)?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.map_err(said)?;
    let mut answer = String::new();
    // openssl ends without a word of TLS: what came before it counts
    let ended = stream.read_to_string(&mut answer).await;
    match answer.lines().next() {
        Some(line) => Ok(line.to_owned()),
        None => Err(said(ended.unwrap_err())),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_with_a_key_on_p_521_is_believed_when_its_authority_is() {
    let safe = safe().await;
    let dir = safe.dir.as_path();
    let pair = ["-cert", "broker-p521.crt", "-key", "broker-p521.key"];
    let server = OpenSsl::start(dir, &pair);
    assert!(ask(server.port, trusting(dir, "ca.pem")).await.unwrap().contains("200"));
    // the same by an authority on P-521, as `openssl req` makes it: with SHA-256
    let below = ["-cert", "below-p521.crt", "-key", "broker-p521.key"];
    let below = OpenSsl::start(dir, &below);
    assert!(ask(below.port, trusting(dir, "ca-p521.pem")).await.unwrap().contains("200"));
    // another key under the same name
    let said = ask(below.port, trusting(dir, "ca-p521-other.pem")).await.unwrap_err();
    assert!(said.contains("wrong signature"), "{said}");
    let said = ask(server.port, trusting(dir, "self.pem")).await.unwrap_err();
    assert!(said.contains("an authority that the trust store does not"), "{said}");
    let old = ClientOptions { tls13: false, ..trusting(dir, "ca.pem") };
    let said = ask(server.port, old).await.unwrap_err();
    assert!(said.contains("on P-521 the broker must speak TLSv1.3"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn our_certificate_may_be_of_version_1_and_a_brokers_may_not() {
    let safe = safe().await;
    let dir = safe.dir.as_path();
    let pair = ["-cert", "broker.crt", "-key", "broker.key"];
    let judge = ["-Verify", "3", "-verify_return_error", "-CAfile", "ca.pem"];
    let server = OpenSsl::start(dir, &[&pair[..], &judge[..]].concat());
    assert!(ask(server.port, showing(dir, "client-v1.pem")).await.unwrap().contains("200"));
    let said = ask(server.port, trusting(dir, "ca.pem")).await.unwrap_err();
    assert!(said.contains("requires a client certificate"), "{said}");
    let made = ClientTls::new(showing(dir, "client-v1-other.pem")).unwrap_err();
    assert_eq!(made.property, "ssl.keystore.location");
    assert!(made.to_string().contains("not that of its certificate"), "{made}");
    let server = OpenSsl::start(dir, &["-cert", "broker-v1.crt", "-key", "broker.key"]);
    let said = ask(server.port, trusting(dir, "ca.pem")).await.unwrap_err();
    assert!(said.contains("X.509 version 1") && said.contains("-extfile"), "{said}");
    let nameless = ClientOptions { names: Names::Ignored, ..trusting(dir, "ca.pem") };
    assert!(ask(server.port, nameless).await.unwrap_err().contains("X.509 version 1"));
}

/// `isolog lag` knows the service by the config that both read: nobody else, whoever signed.
#[tokio::test(flavor = "multi_thread")]
async fn lag_believes_the_certificate_of_the_service_and_nothing_that_its_chain_signed() {
    let ours = Authority::new("ours");
    let middle = ours.below("middle");
    let service = middle.sign(&["localhost"], Dates::Valid);
    let mut store = identity(&service);
    let chain = format!("{}{}{}", service.certificate, middle.pem, ours.pem);
    if let KeyPlace::Inline { chain: inline, .. } = &mut store.place {
        *inline = isolog::secure::Secret::new(chain);
    }
    let clients = isolog::secure::ClientAuth::None;
    let tls = ServerTls::new(&ServerOptions { identity: store, clients }).unwrap();
    let config = tls.client_config().unwrap();
    let others = [&middle, &ours].map(|authority| authority.sign(&["localhost"], Dates::Valid));
    for (server, right) in
        [(tls.config(), true), (others[0].server(None), false), (others[1].server(None), false)]
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            TlsAcceptor::from(server).accept(stream).await.is_ok()
        });
        let stream = TcpStream::connect(address).await.unwrap();
        let name = "127.0.0.1".try_into().unwrap();
        let shaken = TlsConnector::from(config.clone()).connect(name, stream).await;
        assert_eq!(shaken.is_ok(), right, "{:?}", shaken.err());
        serving.await.unwrap();
    }
}
