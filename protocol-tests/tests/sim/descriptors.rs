//! C5: as many leaders behind one address as the process has no descriptors for. Health and metrics
//! answer all the while, what fits is copied, and what does not says which limit it met.
//!
//! It never opens a socket of its own but to the service port: the cluster is a simulated one on
//! loopback, and the real binary dials it.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use isolog::cluster::dial::sockets_max;
use protocol_tests::broker::Build;
use protocol_tests::loopback::Loopback;
use protocol_tests::real::free_port;
use protocol_tests::real::isolog_binary;
use protocol_tests::real::now_ms;
use serde_json::Value;

use super::process::Dir;
use super::process::LOOK_SECONDS_MAX;
use super::process::Running;
use super::process::listens;
use super::process::wait_for;

/// Brokers that the source claims, each the leader of one partition.
const LEADERS: i32 = 500;
/// The soft limit of open files, and the hard one where that is low as well.
const FILES: usize = 1_024;
/// What the service port, files and the runtime keep of them.
const KEPT: usize = 128;
/// The most connections to one address.
const ADDRESS_MAX: usize = 512;
/// An answer of the service port that takes longer is none.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// So often health and metrics are asked once everything has its place.
const ASKED_AFTER: usize = 20;

/// The binary under limits of open files as a shell sets them.
fn limited(ulimit: &str, config: &Path) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit {ulimit}; exec \"$0\" \"$@\"")]);
    shell.arg(isolog_binary().unwrap()).args(["run", "--config"]).arg(config);
    shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    shell
}

/// The body of an answer, which must come and be one of success.
fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(ANSWER_MAX)).unwrap();
    let ask = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert!(text.starts_with("HTTP/1.1 200 "), "{path}: {text}");
    text.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// Health and metrics, as a supervisor and Prometheus ask for them.
fn answers(port: u16) {
    get(port, "/health/live");
    assert!(get(port, "/metrics").contains("isolog_"));
}

/// How many partitions are level, and what is said of those that have no lane.
fn places(port: u16) -> (usize, Vec<String>) {
    let all: Value = serde_json::from_str(&get(port, "/v1/partitions")).unwrap();
    let (mut level, mut told) = (0, Vec::new());
    for one in all.as_array().unwrap() {
        match one["destination_hwm"].as_i64() {
            Some(1) => level += 1,
            _ => told.push(one["reason"].as_str().unwrap_or_default().to_owned()),
        }
    }
    (level, told)
}

/// The limits of open files as the process has them, and how many it has open.
fn files(pid: u32) -> (String, usize) {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let limits = line.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    (limits, fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count())
}

/// A source that claims `LEADERS` brokers, each of which leads a partition with one record.
async fn source(topic: &str) -> Loopback {
    let side = Loopback::start(topic).await.unwrap();
    side.cluster.create_topic(topic, LEADERS, &[]);
    for partition in 0..LEADERS {
        side.cluster.append(topic, partition, &Build::plain(now_ms(), "one", 1));
    }
    side.claim_brokers(LEADERS);
    side
}

/// A link from each source.
fn config(dir: &Dir, sources: &[Loopback], destination: &Loopback, port: u16) -> PathBuf {
    let mut text = format!(
        "[destination]\nbootstrap.servers = '{}'\n[service]\nlisten = '127.0.0.1:{port}'\n",
        destination.address
    );
    for (n, side) in sources.iter().enumerate() {
        let servers = &side.address;
        text += &format!("[link.l{n}]\nbootstrap.servers = '{servers}'\nmirror.topics = 't{n}'\n");
    }
    let path = dir.0.join("isolog.toml");
    fs::write(&path, text).unwrap();
    path
}

/// Runs it with so many sources until what fits is copied and the rest says `words`; its limits and
/// what it had open.
async fn crowd(ulimit: &'static str, links: usize, words: &'static str) -> (String, usize) {
    // this process holds the other end of every connection
    let (ours, _) = sockets_max();
    let most = (links + 1) * ADDRESS_MAX + KEPT;
    assert!(ours > most, "the hard limit of open files is too low for this test");
    let mut sources = Vec::new();
    for n in 0..links {
        sources.push(source(&format!("t{n}")).await);
    }
    let destination = Loopback::start("one").await.unwrap();
    let dir = Dir::new();
    let port = free_port().unwrap();
    let config = config(&dir, &sources, &destination, port);
    let watch = move || {
        let mut running = Running::start(&mut limited(ulimit, &config));
        listens(port);
        let (level, told) = wait_for("what fits is copied", 4 * LOOK_SECONDS_MAX, || {
            answers(port);
            let (level, told) = places(port);
            let is_told = told.iter().any(|reason| reason.contains(words));
            (level + told.len() == links * LEADERS as usize && level > 0 && is_told)
                .then_some((level, told))
        });
        for _ in 0..ASKED_AFTER {
            answers(port);
        }
        let (limits, open) = files(running.0.id());
        println!("{ulimit}: limits {limits}, {open} files, {level} partitions level");
        println!("{} without a place: {:?}", told.len(), told.first());
        running.stops("with as many connections as it may have");
        (limits, open)
    };
    tokio::task::spawn_blocking(watch).await.unwrap()
}

/// The soft limit is raised; what is left to meet is the bound of one address.
#[tokio::test(flavor = "multi_thread")]
async fn a_low_soft_limit_is_raised_and_one_address_is_bounded() {
    let (limits, open) = crowd("-Sn 1024", 1, "connections to this address already").await;
    let (soft, hard) = limits.split_once(' ').unwrap();
    assert!(soft == hard && soft.parse::<usize>().unwrap() > FILES, "{limits}");
    assert!(open < 2 * ADDRESS_MAX + KEPT, "{open} files");
}

/// Where the hard limit is as low, two such clusters meet it before the bounds of their addresses:
/// some descriptors are kept, and the limit is named.
#[tokio::test(flavor = "multi_thread")]
async fn a_low_hard_limit_leaves_room_for_the_service_port() {
    let (limits, open) = crowd("-n 1024", 2, "LimitNOFILE").await;
    assert_eq!(limits, "1024 1024");
    assert!(open < FILES, "{open} files");
}
