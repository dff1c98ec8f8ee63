//! The service port beyond loopback: TLS, tokens, client certificates, slow and odd clients.
//!
//! It never starts a link.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use isolog::secure::ClientAuth;
use isolog::secure::ClientOptions;
use isolog::secure::ClientTls;
use isolog::secure::Place;
use isolog::secure::Secret;
use isolog::secure::ServerOptions;
use isolog::secure::ServerTls;
use isolog::secure::TrustStore;
use isolog::service::Access;
use isolog::service::Counter;
use isolog::service::Listen;
use isolog::service::Options;
use isolog::service::view::Check;
use isolog::service::view::LinkView;
use isolog::service::view::PartitionView;
use isolog::service::view::Sight;
use protocol_tests::real::isolog_binary;
use protocol_tests::secure::authority::Authority;
use protocol_tests::secure::authority::Dates;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use protocol_tests::secure::lab::identity;
use protocol_tests::secure::lab::trusting;

struct Nothing;

impl Sight for Nothing {
    fn partitions(&self) -> Vec<PartitionView> {
        Vec::new()
    }

    fn links(&self) -> Vec<LinkView> {
        Vec::new()
    }

    fn readiness(&self) -> Vec<Check> {
        Vec::new()
    }
}

const TOKEN: &str = "a token of sixteen bytes";

struct Port {
    address: std::net::SocketAddr,
    shutdown: CancellationToken,
}

async fn start(authority: &Authority, clients: ClientAuth, token: Option<&str>) -> Port {
    let identity = identity(&authority.sign(&["localhost", "127.0.0.1"], Dates::Valid));
    let clients_are_known = matches!(clients, ClientAuth::Required(_));
    let tls = ServerTls::new(&ServerOptions { identity, clients }).unwrap();
    let token = token.map(|token| Secret::new(token.to_owned()));
    let access = Access { tls: Some(tls), token, clients_are_known, ..Access::default() };
    let listen = Listen::new("0.0.0.0:0".parse().unwrap(), access).unwrap();
    let options = Options::new(listen);
    let counter = Counter::open(&options).await.unwrap();
    let (address, shutdown) = (counter.address(), CancellationToken::new());
    tokio::spawn(counter.serve(Arc::new(Nothing), shutdown.clone()));
    Port { address, shutdown }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// The first line of the answer, or why there is none.
async fn get(port: &Port, options: ClientOptions, head: &str) -> Result<String, String> {
    let said = |error: std::io::Error| error.to_string();
    let tls = Arc::new(ClientTls::new(options).unwrap());
    let stream = TcpStream::connect(("127.0.0.1", port.address.port())).await.map_err(said)?;
    let name = "127.0.0.1".try_into().unwrap();
    let connector = TlsConnector::from(tls.config().await);
    let mut stream = connector.connect(name, stream).await.map_err(said)?;
    let request = format!("GET /v1/links HTTP/1.0\r\n{head}\r\n");
    stream.write_all(request.as_bytes()).await.map_err(said)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.map_err(said)?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_lets_in_and_nothing_else_does() {
    let ours = Authority::new("ours");
    let port = start(&ours, ClientAuth::None, Some(TOKEN)).await;
    let check = async |head: &str, status: &str| {
        let line = get(&port, trusting(&ours), head).await.unwrap();
        assert!(line.contains(status), "{head}: {line}");
    };
    check(&format!("Authorization: Bearer {TOKEN}\r\n"), "200").await;
    check(&format!("Host: anything.example\r\nAuthorization: Bearer {TOKEN}\r\n"), "200").await;
    check("", "401").await;
    check("Authorization: Bearer a token of sixteen byte\r\n", "401").await;
    check(&format!("Authorization: Basic {TOKEN}\r\n"), "401").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_lets_in() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let place = Place::Inline(Secret::new(ours.pem.clone()));
    let clients = ClientAuth::Required(TrustStore { place, password: None });
    let port = start(&ours, clients, None).await;
    let with = |authority: &Authority| {
        let identity = identity(&authority.sign(&["me"], Dates::Valid));
        ClientOptions { identity: Some(identity), ..trusting(&ours) }
    };
    assert!(get(&port, with(&ours), "").await.unwrap().contains("200"));
    assert!(get(&port, with(&other), "").await.is_err());
    assert!(get(&port, trusting(&ours), "").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_speak_tls_is_let_go() {
    let ours = Authority::new("ours");
    let port = start(&ours, ClientAuth::None, Some(TOKEN)).await;
    let mut silent = TcpStream::connect(("127.0.0.1", port.address.port())).await.unwrap();
    let mut plain = TcpStream::connect(("127.0.0.1", port.address.port())).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(3), plain.read_to_end(&mut answer)).await;
    assert!(ended.is_ok() && !answer.starts_with(b"HTTP"), "{answer:?}");
    let ended = tokio::time::timeout(Duration::from_secs(8), silent.read(&mut [0])).await;
    assert!(ended.is_ok(), "a silent client keeps its seat");
}

#[test]
fn nothing_is_served_to_others_in_the_open_or_unknown() {
    let address = "0.0.0.0:0".parse().unwrap();
    let token = Some(Secret::new(TOKEN.into()));
    for access in [Access::default(), Access { token, ..Access::default() }] {
        let said = Listen::new(address, access).unwrap_err().to_string();
        assert!(said.contains("only with TLS"), "{said}");
    }
}

/// `isolog lag` knows token and certificate from the config that it shares with the service.
#[tokio::test(flavor = "multi_thread")]
async fn lag_asks_a_service_that_is_guarded() {
    let dir = std::env::temp_dir().join(format!("isolog-guarded-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let pair = Authority::new("ours").sign(&["kafka.example"], Dates::Valid);
    std::fs::write(dir.join("key.pem"), format!("{}{}", pair.key, pair.certificate)).unwrap();
    let port = protocol_tests::real::free_port().unwrap();
    let config = dir.join("isolog.toml");
    let text = format!(
        "[destination]\nbootstrap.servers = '127.0.0.1:1'\n[service]\nlisten = '0.0.0.0:{port}'\n\
         token = '{TOKEN}'\nssl.keystore.location = 'key.pem'\n\
         [link.l]\nbootstrap.servers = '127.0.0.1:2'\nmirror.topics = 't'\n"
    );
    std::fs::write(&config, text).unwrap();
    let isolog = protocol_tests::real::isolog_binary;
    let binary = tokio::task::spawn_blocking(move || isolog().unwrap()).await.unwrap();
    let run = |word: &str| {
        let mut command = std::process::Command::new(&binary);
        command.arg(word).arg("--config").arg(&config);
        command.stderr(std::process::Stdio::null());
        command
    };
    let mut child = run("run").spawn().unwrap();
    let mut asked = run("lag").arg("--json").output().unwrap();
    for _ in 0..100 {
        if asked.status.success() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        asked = run("lag").arg("--json").output().unwrap();
    }
    let rows: serde_json::Value = serde_json::from_slice(&asked.stdout).unwrap();
    assert_eq!(rows[0]["link"], "l", "{rows}");
    // the running service still has the old one
    let other = Authority::new("ours").sign(&["kafka.example"], Dates::Valid);
    std::fs::write(dir.join("key.pem"), format!("{}{}", other.key, other.certificate)).unwrap();
    let refused = run("lag").stderr(std::process::Stdio::piped()).output().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    let words = "has another certificate than [service] ssl.keystore.location";
    assert!(!refused.status.success() && said.contains(words), "{said}");
    std::fs::remove_dir_all(&dir).unwrap();
}

/// What `isolog lag` says of the port, and its exit code.
async fn lag(port: &Port, dir: &Path, flags: &[&str]) -> (Option<i32>, String) {
    let url = format!("https://localhost:{}", port.address.port());
    let mut words = vec!["lag".to_owned(), "--url".to_owned(), url];
    for flag in flags {
        let (flag, file) = flag.split_once(' ').unwrap();
        words.extend([flag.to_owned(), dir.join(file).display().to_string()]);
    }
    let run = move || Command::new(isolog_binary().unwrap()).args(words).output().unwrap();
    let done = tokio::task::spawn_blocking(run).await.unwrap();
    (done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned())
}

/// From another machine, without the service's config file.
#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_asks_over_tls_with_an_authority_a_certificate_and_a_token() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let dir = std::env::temp_dir().join(format!("isolog-asked-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let me = ours.sign(&["me"], Dates::Valid);
    for (name, text) in [
        ("ours.pem", &ours.pem),
        ("other.pem", &other.pem),
        ("me.pem", &me.certificate),
        ("me.key", &me.key),
        ("token", &TOKEN.to_owned()),
    ] {
        std::fs::write(dir.join(name), text).unwrap();
    }
    let (ca, token) = ("--ca-location ours.pem", "--token-file token");
    let mine = ["--certificate-location me.pem", "--key-location me.key"];
    let place = Place::Inline(Secret::new(ours.pem.clone()));
    let clients = ClientAuth::Required(TrustStore { place, password: None });
    let port = start(&ours, clients, None).await;
    let check = async |port: &Port, flags: &[&str], code: i32, text: &str| {
        let (ended, said) = lag(port, &dir, flags).await;
        assert!(ended == Some(code) && said.contains(text), "{flags:?}: {ended:?} {said}");
    };
    check(&port, &[ca, mine[0], mine[1]], 0, "").await;
    check(&port, &[ca], 1, "a certificate").await;
    check(&port, &["--ca-location other.pem"], 1, "by --ca-location").await;
    check(&port, &[ca, mine[0]], 2, "--key-location").await;
    check(&port, &["--ca-location no.pem"], 1, "no.pem").await;
    let port = start(&ours, ClientAuth::None, Some(TOKEN)).await;
    check(&port, &[ca, token], 0, "").await;
    check(&port, &[ca], 1, "token").await;
    check(&port, &[], 1, "by --ca-location").await;
    std::fs::remove_dir_all(&dir).unwrap();
}
