//! Whoever reads the log, or does not: the copy goes on, and a command says by its exit code what
//! standard error does not take.
//!
//! It never needs Kafka: the clusters are simulated ones on loopback; the real binary runs.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs::OpenOptions;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use protocol_tests::broker::Build;
use protocol_tests::broker::Record;
use protocol_tests::loopback::Loopback;
use protocol_tests::real::free_port;
use protocol_tests::real::now_ms;
use serde_json::Value;

use super::process::Dir;
use super::process::LOOK_SECONDS_MAX;
use super::process::Running;
use super::process::full_pipe;
use super::process::isolog;
use super::process::listens;
use super::process::wait_for;

/// Records of each topic.
const RECORDS: u64 = 10;

/// Status and body of an answer.
fn get(port: u16, path: &str) -> Option<(String, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let ask = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.lines().next()?.to_owned(), body.to_owned()))
}

fn fill(side: &Loopback, topic: &str) {
    side.cluster.create_topic(topic, 1, &[]);
    for _ in 0..RECORDS {
        let record = Build::new(now_ms(), vec![Record::new("key", "value")]);
        side.cluster.append(topic, 0, &record);
    }
}

fn wait_copied(port: u16, topic: &str) {
    wait_for(&format!("the copy of {topic}"), LOOK_SECONDS_MAX, || {
        let (_, body) = get(port, &format!("/v1/partitions?topic={topic}"))?;
        let rows: Value = serde_json::from_str(&body).ok()?;
        (rows[0]["destination_hwm"].as_u64()? == RECORDS).then_some(())
    });
}

async fn copies_on(name: &'static str, log: Stdio) {
    let sides = [Loopback::start("one").await.unwrap(), Loopback::start("two").await.unwrap()];
    fill(&sides[0], "t1");
    let (dir, port) = (Dir::new(), free_port().unwrap());
    let config = dir.config(&sides[0].address, &sides[1].address, port);
    let work = move || {
        let mut running = Running::start(isolog("run", &config).stderr(log));
        listens(port);
        wait_copied(port, "t1");
        // what is new is logged
        fill(&sides[0], "t2");
        wait_copied(port, "t2");
        let (status, body) = get(port, "/health/ready").unwrap();
        assert!(status.contains(" 200 "), "{name}: {status} {body}");
        let (_, metrics) = get(port, "/metrics").unwrap();
        running.stops(name);
        metrics
    };
    let metrics = tokio::task::spawn_blocking(work).await.unwrap();
    let lost = metrics.lines().find_map(|line| line.strip_prefix("isolog_log_lines_lost_total "));
    let lost: u64 = lost.map_or(0, |lost| lost.parse().unwrap());
    // a pipe that is full and has a reader may yet be read
    assert_eq!(lost > 0, name != "stalled", "{name}: {lost} lines lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stalls_holds_up_no_copy() {
    let (_reader, writer) = full_pipe();
    copies_on("stalled", writer.into()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_dies_holds_up_no_copy() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    copies_on("gone", writer.into()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_the_log_holds_up_no_copy() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    copies_on("full", full.into()).await;
}

/// The exit codes are those of the README, and 101, a panic's, is none of them.
#[test]
fn commands_fail_as_ever_where_standard_error_takes_nothing() {
    let dir = Dir::new();
    let config = dir.config("127.0.0.1:1", "127.0.0.1:2", free_port().unwrap());
    let wrong = dir.0.join("wrong.toml");
    std::fs::write(&wrong, "[link.l]\nmirror.topiks = 't'\n").unwrap();
    let cases = [
        ("run", &wrong, 2),
        ("config", &wrong, 2),
        ("lag", &config, 1),
        ("check", &config, 4),
        ("verify", &config, 1),
    ];
    for (word, config, code) in cases {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut running = Running::start(isolog(word, config).stderr(full));
        let status = running.ended(LOOK_SECONDS_MAX);
        assert_eq!(status.code(), Some(code), "{word}: {status}");
    }
}
