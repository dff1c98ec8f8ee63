//! Wrong peers and wrong configs on the real binary: nobody there, not Kafka, TLS only, the same
//! cluster twice, another cluster at the old address, rights that are missing.
//!
//! It never skips. Each must say which side, which address and what to try, within its deadline,
//! and the process stays up and goes on when the peer becomes right.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs;
use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::SystemTime;

use protocol_tests::broker::batch::Build;
use protocol_tests::real::Hand;
use protocol_tests::real::Isolog;
use protocol_tests::real::IsologSpec;
use protocol_tests::real::Operation;
use protocol_tests::real::RealCluster;
use protocol_tests::real::RealSpec;
use protocol_tests::real::free_port;
use protocol_tests::real::isolog_binary;
use protocol_tests::real::repo;
use protocol_tests::real::room;

/// The deadline of a request in these tests, and how long a message about a peer may take.
const REQUEST_MS: u64 = 2_000;
const TOLD_SECONDS_MAX: u64 = 60;

fn write(hand: &Hand, topic: &str, batches: u32) -> i64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    for n in 0..batches {
        let time_ms = i64::try_from(since_1970.as_millis()).unwrap();
        hand.produce(topic, 0, &Build::plain(time_ms, &format!("{topic}-{n}"), 10)).unwrap();
    }
    hand.ends(topic, 0).unwrap().1
}

fn spec(source: &str, destination: &str, topics: &[&str]) -> IsologSpec {
    let mut spec = IsologSpec::new(source, destination, topics);
    for more in [&mut spec.link_more, &mut spec.destination_more] {
        more.push_str(&format!("request.timeout.ms = {REQUEST_MS}\n"));
    }
    spec.link_more.push_str("replica.fetch.wait.max.ms = 300\n");
    spec
}

/// Somebody who listens and is no broker.
struct Impostor {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Impostor {
    /// Answers whatever comes with `answer` and hangs up; with `None` it stays silent.
    fn listen(port: u16, answer: Option<&'static [u8]>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let mut open: Vec<TcpStream> = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((mut stream, _)) = listener.accept() {
                    if let Some(answer) = answer {
                        stream.set_nonblocking(false).unwrap();
                        let _whatever = stream.read(&mut [0; 512]);
                        let _gone = stream.write_all(answer);
                    } else {
                        open.push(stream);
                    }
                }
                thread::sleep(Duration::from_millis(5));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// Waits until the link's reason has all these words, and the log too; the process lives.
fn tells(isolog: &mut Isolog, state: &str, words: &[&str]) {
    let what = format!("{state} with {words:?}");
    let reason = isolog.wait_for(&what, TOLD_SECONDS_MAX, |isolog| {
        let (is, reason) = isolog.link();
        (is == state && words.iter().all(|word| reason.contains(word))).then_some(reason)
    });
    // a thread of its own writes the log
    isolog.wait_for(&format!("it is logged: {reason}"), 60, |isolog| {
        let log = isolog.log();
        log.lines().any(|line| words.iter().all(|word| line.contains(word))).then_some(())
    });
    assert!(isolog.is_running());
}

/// One broker at `port` and its controller at another fixed port, so that it can be replaced.
fn at_port(port: u16, controller: u16) -> RealSpec {
    let listeners = format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}");
    RealSpec::new("4.3.1", 1)
        .prop("listeners", &listeners)
        .prop("advertised.listeners", &format!("PLAINTEXT://127.0.0.1:{port}"))
        .prop("controller.quorum.voters", &format!("1@127.0.0.1:{controller}"))
}

/// A broker with two plaintext listeners and a TLS listener.
fn with_tls([plain, other, tls, controller]: [u16; 4]) -> RealSpec {
    let dir = repo().join("target/real");
    fs::create_dir_all(&dir).unwrap();
    let store = dir.join(format!("tls-{}.p12", std::process::id()));
    let _old = fs::remove_file(&store);
    let mut keytool = Command::new("keytool");
    keytool.args("-genkeypair -alias a -keyalg RSA -dname CN=localhost -storepass".split(' '));
    keytool.args(["secret123", "-storetype", "PKCS12", "-keystore"]).arg(&store);
    let made = keytool.output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let map = "PLAINTEXT:PLAINTEXT,OTHER:PLAINTEXT,SSL:SSL,CONTROLLER:PLAINTEXT";
    let advertised =
        format!("PLAINTEXT://127.0.0.1:{plain},OTHER://127.0.0.1:{other},SSL://127.0.0.1:{tls}");
    let all = format!("{advertised},CONTROLLER://127.0.0.1:{controller}");
    at_port(plain, controller)
        .prop("listeners", &all)
        .prop("advertised.listeners", &advertised)
        .prop("listener.security.protocol.map", map)
        .prop("ssl.keystore.type", "PKCS12")
        .prop("ssl.keystore.location", &store.display().to_string())
        .prop("ssl.keystore.password", "secret123")
        .prop("ssl.key.password", "secret123")
}

/// Everything that may listen at the source's address, one after the other; at last a source.
fn a_source_that_becomes_right(isolog: &mut Isolog, address: &str, port: u16) {
    tells(isolog, "Unavailable", &["source", address, "refused", "is the broker up"]);
    let http = Impostor::listen(port, Some(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
    tells(isolog, "Unavailable", &["source", address, "an HTTP server", "check host and port"]);
    drop(http);
    let closes = Impostor::listen(port, Some(b""));
    tells(isolog, "Unavailable", &["source", address, "may want TLS"]);
    drop(closes);
    let huge = Impostor::listen(port, Some(b"\x7f\xff\xff\xff\0\0\0\0\0\0\0\0"));
    tells(isolog, "Unavailable", &["source", address, "2147483647"]);
    drop(huge);
    let silent = Impostor::listen(port, None);
    tells(isolog, "Unavailable", &["source", address, "no answer within"]);
    drop(silent);
}

/// The destination's TLS port, a name that does not exist, and the same cluster on both sides.
fn destinations_that_are_wrong(plain: &str, other: &str, tls: &str) {
    let mut one = Isolog::start(&spec(plain, tls, &["b-*"])).unwrap();
    let mut two = Isolog::start(&spec("no-such-host.invalid:9092", plain, &["b-*"])).unwrap();
    // The same address on both sides is a mistake in the config already; this is the same place.
    let mut three = Isolog::start(&spec(other, plain, &["b-*"])).unwrap();
    tells(&mut one, "Unavailable", &["destination", tls, "TLS"]);
    tells(&mut two, "Unavailable", &["source", "no-such-host.invalid:9092", "check the host name"]);
    tells(&mut three, "Halted", &["the same cluster", "bootstrap.servers"]);
}

/// Bad input: peers that are unreachable, not Kafka, TLS only, the same, or another than before.
#[test]
fn a_wrong_peer_is_named_and_a_right_one_is_taken() {
    let _room = room(2);
    let port = || free_port().unwrap();
    let (there, other, tls, source, controller) = (port(), port(), port(), port(), port());
    let destination = RealCluster::start(with_tls([there, other, tls, port()])).unwrap();
    let (address, plain) = (format!("127.0.0.1:{source}"), format!("127.0.0.1:{there}"));
    let mut isolog = Isolog::start(&spec(&address, &plain, &["b-*"])).unwrap();
    a_source_that_becomes_right(&mut isolog, &address, source);
    let local = |port: u16| format!("127.0.0.1:{port}");
    destinations_that_are_wrong(&plain, &local(other), &local(tls));

    let first = RealCluster::start(at_port(source, controller)).unwrap();
    let (hand, copy) = (Hand::new(&address), Hand::new(&plain));
    hand.create("b-one", 1, 1, &[]).unwrap();
    let end = write(&hand, "b-one", 2);
    isolog.wait_copied("b-one", 0, end);
    isolog.wait_for("it is active", 60, |it| (it.link().0 == "Active").then_some(()));

    drop(first);
    tells(&mut isolog, "Unavailable", &["source", &address]);
    let _other = RealCluster::start(at_port(source, controller)).unwrap();
    hand.create("b-one", 1, 1, &[]).unwrap();
    write(&hand, "b-one", 9);
    tells(&mut isolog, "Halted", &["answered as cluster", "and now as"]);
    let seen = isolog.wait_halt("b-one", 0);
    assert_eq!(seen.code, "CLUSTER_ID_CHANGED", "{seen:?}");
    thread::sleep(Duration::from_secs(3));
    assert_eq!(copy.ends("b-one", 0).unwrap().1, end, "another cluster's records were copied");
    drop(destination);
    assert!(!isolog.log().contains("panicked"), "{}", isolog.log());
}

/// Missing rights: the reason names the code and the topic, the other topics go on, and a grant
/// is enough.
#[test]
fn missing_rights_stop_their_topic_only() {
    let _room = room(2);
    let guarded = || {
        RealSpec::new("4.3.1", 1)
            .prop(
                "authorizer.class.name",
                "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            )
            .prop("allow.everyone.if.no.acl.found", "true")
    };
    let (source, destination) = RealCluster::both(guarded(), guarded()).unwrap();
    let hands = [Hand::new(source.bootstrap()), Hand::new(destination.bootstrap())];
    for topic in ["u-fine", "u-noread", "u-nowrite"] {
        hands[0].create(topic, 1, 1, &[]).unwrap();
        write(&hands[0], topic, 2);
    }
    hands[1].create("u-nowrite", 1, 1, &[]).unwrap();
    let grant = |side: usize, topic: &str, operations: &[Operation]| {
        for operation in operations {
            hands[side].allow("User:ANONYMOUS", *operation, topic).unwrap();
        }
    };
    grant(0, "u-noread", &[Operation::DescribeConfigs, Operation::Describe]);
    grant(1, "u-nowrite", &[Operation::DescribeConfigs, Operation::Describe, Operation::Read]);

    let mut isolog =
        Isolog::start(&spec(source.bootstrap(), destination.bootstrap(), &["u-*"])).unwrap();
    isolog.wait_copied("u-fine", 0, 20);
    for (topic, side) in [("u-noread", "source"), ("u-nowrite", "destination")] {
        let seen = isolog.wait_for(&format!("{topic} is refused"), TOLD_SECONDS_MAX, |isolog| {
            let seen = isolog.partition(topic, 0)?;
            seen.reason.contains("TOPIC_AUTHORIZATION_FAILED").then_some(seen)
        });
        assert!(seen.reason.contains(side), "{seen:?}");
        assert_ne!(seen.destination_hwm, Some(20), "{seen:?}");
    }
    assert_eq!(hands[1].ends("u-nowrite", 0).unwrap(), (0, 0));
    let end = write(&hands[0], "u-fine", 1);
    isolog.wait_copied("u-fine", 0, end);
    assert!(isolog.is_running());

    grant(0, "u-noread", &[Operation::Read]);
    grant(1, "u-nowrite", &[Operation::Write]);
    isolog.wait_copied("u-noread", 0, 20);
    isolog.wait_copied("u-nowrite", 0, 20);
}

/// A wrong config: exit code 2, every bad key named with the right one.
#[test]
fn a_wrong_config_names_each_bad_key() {
    let dir = repo().join("target/real");
    fs::create_dir_all(&dir).unwrap();
    let file = dir.join(format!("bad-{}.toml", std::process::id()));
    let text = "[destination]\nbootstrap.server = \"127.0.0.1:1\"\nrequest.timeout.ms = \"soon\"\n\
                [link.dr]\nbootstrap.servers = \"nowhere\"\nmirror.topic = [\"a\"]\n";
    fs::write(&file, text).unwrap();
    let mut command = Command::new(isolog_binary().unwrap());
    let output = command.args(["run", "--config"]).arg(&file).output().unwrap();
    fs::remove_file(&file).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for word in ["bootstrap.server ", "bootstrap.servers", "request.timeout.ms", "nowhere"] {
        assert!(said.contains(word), "{word} is missing in: {said}");
    }
    assert!(said.contains("mirror.topic ") && said.contains("mirror.topics"), "{said}");
}
