//! Secrets of every kind in a run of all error paths at trace level: none is in any output.
//!
//! It never needs Kafka: every link fails in its own way against a peer on loopback.

use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use protocol_tests::loopback::Loopback;
use protocol_tests::real::free_port;
use protocol_tests::real::isolog_binary;
use protocol_tests::secure::authority::Authority;
use protocol_tests::secure::authority::Dates;
use protocol_tests::secure::idp::Idp;
use protocol_tests::secure::idp::Mood;
use protocol_tests::secure::idp::Signer;
use protocol_tests::secure::peer::Manner;
use protocol_tests::secure::peer::Peer;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;

/// What every secret of the run holds.
const CANARY: &str = "CaNaRy";

fn secret(name: &str) -> String {
    format!("{CANARY}-{name}-0123456789abcdef")
}

fn plain(port: u16, more: &str) -> String {
    let password = secret("plain");
    format!(
        "bootstrap.servers = '127.0.0.1:{port}'\n{more}\nsasl.mechanism = 'PLAIN'\n\
         sasl.jaas.config = 'x.PlainLoginModule required username=\"a\" password=\"{password}\";'\n"
    )
}

fn scram(port: u16) -> String {
    let password = secret("scram");
    format!(
        "bootstrap.servers = '127.0.0.1:{port}'\nsecurity.protocol = 'SASL_PLAINTEXT'\n\
         sasl.mechanism = 'SCRAM-SHA-256'\nsasl.jaas.config = 'x.ScramLoginModule required \
         username=\"alice\" password=\"{password}\";'\n"
    )
}

fn oauth(port: u16, endpoint: &str, ca: &str) -> String {
    let client = secret("client");
    format!(
        "bootstrap.servers = '127.0.0.1:{port}'\nsecurity.protocol = 'SASL_PLAINTEXT'\n\
         sasl.mechanism = 'OAUTHBEARER'\nsasl.oauthbearer.token.endpoint.url = '{endpoint}'\n\
         sasl.jaas.config = 'x.OAuthBearerLoginModule required clientId=\"c\" \
         clientSecret=\"{client}\" ssl.truststore.location=\"{ca}\";'\n"
    )
}

struct Lab {
    _peers: Vec<Peer>,
    _destination: Loopback,
    _idp: Idp,
    config: String,
}

/// Both kinds of logins, refused and forged in every way.
async fn logins() -> (Vec<Peer>, Vec<String>) {
    let mut peers = Vec::new();
    let mut links = Vec::new();
    for manner in [
        Manner::Right,
        Manner::OtherMechanism,
        Manner::Iterations(9),
        Manner::ForgedSignature,
        Manner::ForeignNonce,
        Manner::EarlyYes,
        Manner::Refuse,
        Manner::Garbage,
        Manner::HangUp,
        Manner::Silent,
    ] {
        let peer = Peer::start(manner, None, 0).await;
        links.push(scram(peer.port));
        links.push(plain(peer.port, "security.protocol = 'SASL_PLAINTEXT'"));
        peers.push(peer);
    }
    (peers, links)
}

/// A link for each error path.
async fn lab(dir: &Path, port: u16) -> Lab {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let names = ["localhost", "127.0.0.1"];
    let pair = ours.sign(&names, Dates::Valid);
    let write = |name: &str, text: &str| {
        std::fs::write(dir.join(name), text).unwrap();
        dir.join(name).display().to_string()
    };
    let ca = write("ca.pem", &ours.pem);
    let key = write("key.pem", &format!("{}{}", pair.key, pair.certificate));
    write("token", &secret("file"));
    write("secrets", &format!("jaas={}\n", secret("reference")));
    let idp = Idp::start(Arc::new(Signer::default()), pair.server(None), Mood::Gives(60));
    let (mut peers, mut links) = logins().await;
    let ssl = format!("security.protocol = 'SASL_SSL'\nssl.truststore.location = '{ca}'");
    for (authority, dates) in
        [(&ours, Dates::Valid), (&ours, Dates::Expired), (&other, Dates::Valid)]
    {
        let server = authority.sign(&names, dates).server(Some(&ours));
        let peer = Peer::start(Manner::Refuse, Some(server), 0).await;
        links.push(plain(peer.port, &ssl));
        let store = secret("store");
        let mine =
            format!("{ssl}\nssl.keystore.location = '{key}'\nssl.keystore.password = '{store}'");
        links.push(plain(peer.port, &mine));
        peers.push(peer);
    }
    let last = peers[0].port;
    links.push(oauth(last, &format!("https://localhost:{}/t", idp.port), &ca));
    links.push(oauth(last, "https://localhost:1/t", &ca));
    links.push(oauth(last, &format!("file://{}", dir.join("token").display()), &ca));
    links.push(
        plain(last, "security.protocol = 'SASL_PLAINTEXT'")
            .replace(&secret("plain"), "${file:secrets:jaas}"),
    );
    let links: Vec<String> = links
        .iter()
        .enumerate()
        .map(|(n, lines)| {
            format!(
                "[link.l{n}]\nmirror.topics = 't{n}'\nrequest.timeout.ms = 900\n\
                                   replica.fetch.wait.max.ms = 100\n{lines}"
            )
        })
        .collect();
    let destination = Loopback::start("there").await.unwrap();
    let there = format!("bootstrap.servers = '{}'\n", destination.address);
    let token = secret("service");
    let config = format!(
        "[destination]\n{there}[service]\nlisten = '127.0.0.1:{port}'\ntoken = '{token}'\n\
         log.level = 'trace'\n{}",
        links.concat()
    );
    Lab { _peers: peers, _destination: destination, _idp: idp, config }
}

async fn served(port: u16, path: &str) -> String {
    let asked = async {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
        let token = secret("service");
        let ask = format!("GET {path} HTTP/1.0\r\nAuthorization: Bearer {token}\r\n\r\n");
        stream.write_all(ask.as_bytes()).await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok::<String, std::io::Error>(text)
    };
    asked.await.unwrap_or_default()
}

fn none_in(place: &str, text: &str) {
    let encoded = [
        STANDARD.encode(format!("c:{}", secret("client"))),
        STANDARD.encode(format!("\0a\0{}", secret("plain"))),
    ];
    for canary in encoded.iter().map(String::as_str).chain([CANARY]) {
        if let Some(at) = text.find(canary) {
            let from = text[..at].rfind('\n').map_or(0, |line| line + 1);
            panic!("{place}: {}", &text[from..(at + 80).min(text.len())]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_any_output() {
    let dir = std::env::temp_dir().join(format!("isolog-canary-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let port = free_port().unwrap();
    let lab = lab(&dir, port).await;
    let path = dir.join("isolog.toml");
    std::fs::write(&path, &lab.config).unwrap();
    assert!(lab.config.matches(CANARY).count() > 30);
    let binary = tokio::task::spawn_blocking(|| isolog_binary().unwrap()).await.unwrap();
    let mut all = Vec::new();
    for more in [&[][..], &["--json"]] {
        let shown =
            Command::new(&binary).arg("config").arg("--config").arg(&path).args(more).output();
        let shown = shown.unwrap();
        all.push(("config", String::from_utf8_lossy(&shown.stdout).into_owned()));
        all.push(("config's errors", String::from_utf8_lossy(&shown.stderr).into_owned()));
        assert!(shown.status.success(), "{all:?}");
    }
    // one mistake more, and every line of the config is looked at for problems
    let broken = dir.join("broken.toml");
    let text = lab.config.replace("required username", "recquired username");
    std::fs::write(&broken, text.replace("ssl.keystore.password", "ssl.keystore.pasword")).unwrap();
    let refused =
        Command::new(&binary).arg("config").arg("--config").arg(&broken).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.lines().count() > 20, "{said}");
    all.push(("problems", said));

    let log = std::fs::File::create(dir.join("log")).unwrap();
    let mut child = Command::new(&binary)
        .args(["run", "--config"])
        .arg(&path)
        .env("RUST_BACKTRACE", "1")
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    tokio::time::sleep(Duration::from_secs(8)).await;
    for place in ["/metrics", "/v1/links", "/v1/partitions", "/health/ready"] {
        let text = served(port, place).await;
        assert!(text.starts_with("HTTP/1.0 "), "{place}: {text}");
        all.push((place, text));
    }
    let mut line = String::new();
    let proc = format!("/proc/{}/cmdline", child.id());
    std::fs::File::open(proc).unwrap().read_to_string(&mut line).unwrap();
    all.push(("arguments", line));
    child.kill().unwrap();
    child.wait().unwrap();
    let log = std::fs::read_to_string(dir.join("log")).unwrap();
    for word in ["refused", "has expired", "iterations", "no OAuth token", "nonce"] {
        assert!(log.contains(word), "{word} never happened:\n{log}");
    }
    all.push(("the log", log));
    for (place, text) in &all {
        none_in(place, text);
    }
    std::fs::remove_dir_all(&dir).unwrap();
}
