//! The real binary as a process: what a crash leaves behind, and how soon a signal ends it.
//!
//! It never needs Kafka: the clusters are simulated ones on loopback, or listen and say nothing.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs;
use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::thread;
use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;

use kafka_protocol::messages::ApiKey;
use protocol_tests::broker::Build;
use protocol_tests::broker::Record;
use protocol_tests::broker::takeover::Act;
use protocol_tests::broker::takeover::Call;
use protocol_tests::loopback::Loopback;
use protocol_tests::real::free_port;
use protocol_tests::real::isolog_binary;
use protocol_tests::real::now_ms;
use tokio::sync::Notify;

/// What is promised of a stop.
pub(super) const STOP_SECONDS: u64 = 5;
/// What a machine that does ten other things may add to it.
const SLOW_SECONDS: u64 = 10;
/// For how long a test waits for what must come.
pub(super) const LOOK_SECONDS_MAX: u64 = 60;

static MADE: AtomicU32 = AtomicU32::new(0);

/// A directory of its own, removed with it.
pub(super) struct Dir(pub(super) PathBuf);

impl Dir {
    pub(super) fn new() -> Self {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("isolog-process-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn config(&self, source: &str, destination: &str, service: u16) -> PathBuf {
        let path = self.0.join("isolog.toml");
        let text = format!(
            "[destination]\nbootstrap.servers = '{destination}'\nmetadata.max.age.ms = 1000\n\
             [service]\nlisten = '127.0.0.1:{service}'\n\
             [link.l]\nbootstrap.servers = '{source}'\nmetadata.max.age.ms = 1000\n\
             mirror.topics = 't*'\n"
        );
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _best_effort = fs::remove_dir_all(&self.0);
    }
}

/// A process that is killed with the test.
pub(super) struct Running(pub(super) Child);

impl Running {
    pub(super) fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    pub(super) fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// How it ended; panics when it has not within `seconds`.
    pub(super) fn ended(&mut self, seconds: u64) -> ExitStatus {
        wait_for("the end of the process", seconds, || self.0.try_wait().unwrap())
    }

    /// SIGTERM, and how long the process lived on.
    fn term(&mut self) -> (ExitStatus, Duration) {
        let start = Instant::now();
        self.signal("-TERM");
        let status = self.ended(STOP_SECONDS + SLOW_SECONDS);
        (status, start.elapsed())
    }

    /// SIGTERM ends it with code 0.
    pub(super) fn stops(&mut self, when: &str) {
        let (status, time) = self.term();
        println!("{when}: ended after {} ms", time.as_millis());
        assert_eq!(status.code(), Some(0), "{when}: {status}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _ended_already = self.0.wait();
    }
}

pub(super) fn wait_for<T>(what: &str, seconds: u64, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "not within {seconds} s: {what}");
        sleep(Duration::from_millis(10));
    }
}

/// Somebody who lets people in and never says a word.
pub(super) struct Silent {
    pub(super) address: String,
    came: Arc<AtomicBool>,
}

impl Silent {
    pub(super) fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let came = Arc::new(AtomicBool::new(false));
        let seen = came.clone();
        thread::spawn(move || {
            let mut open = Vec::new();
            for stream in listener.incoming() {
                open.push(stream);
                seen.store(true, Ordering::Relaxed);
            }
        });
        Self { address, came }
    }

    fn port(&self) -> u16 {
        self.address.rsplit_once(':').unwrap().1.parse().unwrap()
    }
}

pub(super) fn isolog(word: &str, config: &Path) -> Command {
    let mut command = Command::new(isolog_binary().unwrap());
    command.arg(word).arg("--config").arg(config);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// The same with core files of any size, as an administrator may allow them.
fn with_cores(command: &Command, dir: &Path) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -c unlimited; exec \"$0\" \"$@\""]);
    shell.arg(command.get_program()).args(command.get_args()).current_dir(dir);
    shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    shell
}

/// A pipe into which not one more byte goes.
pub(super) fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    // what a pipe of Linux holds
    writer.write_all(&[b'.'; 65_536]).unwrap();
    (reader, writer)
}

/// Whether a limit of the process is "0 0"; `None` when the process is not there.
fn limits_of_core(pid: u32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max core file size"))?;
    Some(line.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
}

/// H9. Each command holds what its config holds; killed in the middle as by a crash it leaves
/// nothing of it on the disk.
#[test]
fn no_command_leaves_a_core_file() {
    let (silent, other) = (Silent::listen(), Silent::listen());
    let mut control = Command::new("sleep");
    control.arg("60");
    let dir = Dir::new();
    let mut control = Running::start(&mut with_cores(&control, &dir.0));
    sleep_until_runs(&control, "sleep");
    control.signal("-ABRT");
    assert!(control.ended(LOOK_SECONDS_MAX).core_dumped(), "this machine makes no core files");
    for word in ["run", "config", "lag", "check", "verify", "digest"] {
        let dir = Dir::new();
        let port = if word == "lag" { silent.port() } else { free_port().unwrap() };
        let config = dir.config(&silent.address, &other.address, port);
        let mut plain = isolog(word, &config);
        if word == "digest" {
            plain.args(["--side", "source"]);
        }
        let (_reader, writer) = full_pipe();
        let mut running = Running::start(with_cores(&plain, &dir.0).stdout(writer));
        let pid = running.0.id();
        sleep_until_runs(&running, "isolog");
        wait_for(&format!("{word} without core files"), LOOK_SECONDS_MAX, || {
            assert!(running.0.try_wait().unwrap().is_none(), "{word} has ended");
            limits_of_core(pid).filter(|limits| limits == "0 0")
        });
        running.signal("-ABRT");
        let status = running.ended(LOOK_SECONDS_MAX);
        assert_eq!(status.signal(), Some(6), "{word}: {status}");
        assert!(!status.core_dumped(), "{word} left a core file");
        let left = fs::read_dir(&dir.0).unwrap().count();
        assert_eq!(left, 1, "{word} left more than its config");
    }
}

/// Until the shell has become the program.
fn sleep_until_runs(running: &Running, name: &str) {
    let comm = format!("/proc/{}/comm", running.0.id());
    wait_for(name, LOOK_SECONDS_MAX, || {
        (fs::read_to_string(&comm).ok()?.trim() == name).then_some(())
    });
}

pub(super) fn listens(port: u16) {
    wait_for("the service port", LOOK_SECONDS_MAX, || {
        TcpStream::connect(("127.0.0.1", port)).ok().map(drop)
    });
}

/// SIGTERM at once, and a little later each time: either the signal's own end, or a stop.
#[test]
fn sigterm_ends_a_start() {
    let silent = Silent::listen();
    let dir = Dir::new();
    let config = dir.config(&silent.address, "127.0.0.1:1", free_port().unwrap());
    for pause_ms in [0, 1, 2, 4, 8, 16, 32, 64] {
        let mut running = Running::start(&mut isolog("run", &config));
        sleep(Duration::from_millis(pause_ms));
        let (status, time) = running.term();
        println!("after {pause_ms} ms: ended after {} ms", time.as_millis());
        assert!(status.code() == Some(0) || status.signal() == Some(15), "{status}");
    }
}

#[test]
fn sigterm_ends_it_while_a_cluster_does_not_answer() {
    for word in ["run", "check", "verify", "digest"] {
        let sides = [Silent::listen(), Silent::listen()];
        let came = || sides.iter().any(|side| side.came.load(Ordering::Relaxed)).then_some(());
        let dir = Dir::new();
        let config = dir.config(&sides[0].address, &sides[1].address, free_port().unwrap());
        let mut command = isolog(word, &config);
        if word == "digest" {
            command.args(["--side", "destination"]);
        }
        let mut running = Running::start(&mut command);
        wait_for("a dial", LOOK_SECONDS_MAX, came);
        let (status, time) = running.term();
        println!("{word}: ended after {} ms", time.as_millis());
        // an audit that was cut short has nothing to say
        assert_eq!(status.code().map(i32::signum), Some(i32::from(word != "run")), "{word}");
    }
}

/// What is in the one record of the source.
const NEEDLE: &str = "needle";

/// From now on requests like these are not answered; tells when the first has come.
fn stuck(
    side: &Loopback,
    key: ApiKey,
    mut is_it: impl FnMut(&Call) -> bool + Send + 'static,
) -> Arc<Notify> {
    let came = Arc::new(Notify::new());
    let told = came.clone();
    side.cluster.control_key(key, move |call| {
        is_it(call).then(|| {
            told.notify_one();
            Act::Silence
        })
    });
    came
}

async fn stops_while_stuck(
    key: ApiKey,
    side: usize,
    is_it: impl FnMut(&Call) -> bool + Send + 'static,
) {
    let sides = [Loopback::start("one").await.unwrap(), Loopback::start("two").await.unwrap()];
    sides[0].cluster.create_topic("t", 1, &[]);
    let record = Build::new(now_ms(), vec![Record::new("key", NEEDLE)]);
    sides[0].cluster.append("t", 0, &record);
    let came = stuck(&sides[side], key, is_it);
    let dir = Dir::new();
    let config = dir.config(&sides[0].address, &sides[1].address, free_port().unwrap());
    let mut running = Running::start(&mut isolog("run", &config));
    let waited = tokio::time::timeout(Duration::from_secs(LOOK_SECONDS_MAX), came.notified());
    waited.await.unwrap_or_else(|_| panic!("no such {key:?} came"));
    let name = format!("in {key:?} of side {side}");
    tokio::task::spawn_blocking(move || running.stops(&name)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_it_in_a_refresh_of_metadata() {
    let mut count = 0;
    let later = move |_: &Call| {
        count += 1;
        count > 3
    };
    stops_while_stuck(ApiKey::Metadata, 0, later).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_it_while_a_topic_is_being_made() {
    stops_while_stuck(ApiKey::CreateTopics, 1, |_| true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_it_while_a_fetch_is_not_answered() {
    stops_while_stuck(ApiKey::Fetch, 0, |_| true).await;
}

/// What is in flight is given up when its answer does not come: a kill is as safe.
#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_it_while_an_append_is_not_answered() {
    let holds = |call: &Call| call.body.windows(NEEDLE.len()).any(|part| part == NEEDLE.as_bytes());
    stops_while_stuck(ApiKey::Produce, 1, holds).await;
}

/// The thread that writes the log stands still, with a line that nobody reads.
#[test]
fn sigterm_ends_it_while_nobody_reads_its_log() {
    let silent = Silent::listen();
    let dir = Dir::new();
    let port = free_port().unwrap();
    let config = dir.config("127.0.0.1:1", &silent.address, port);
    let (_reader, writer) = full_pipe();
    let mut running = Running::start(isolog("run", &config).stderr(writer));
    // its first line says that it serves
    listens(port);
    running.stops("with a log that nobody reads");
}

#[test]
fn sigterm_ends_it_in_a_flood_of_scrapes_and_with_clients_that_never_read() {
    let dir = Dir::new();
    let port = free_port().unwrap();
    let config = dir.config("127.0.0.1:1", "127.0.0.1:2", port);
    let mut running = Running::start(&mut isolog("run", &config));
    listens(port);
    let ask = format!("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
    let deaf: Vec<_> = (0..8)
        .map(|_| {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
            // until both directions are full
            while stream.write_all(ask.repeat(64).as_bytes()).is_ok() {}
            stream
        })
        .collect();
    let over = Arc::new(AtomicBool::new(false));
    let flood: Vec<_> = (0..4)
        .map(|_| {
            let (over, ask) = (over.clone(), ask.clone());
            thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return };
                    let _gone = stream.write_all(ask.as_bytes());
                    let _first = stream.read(&mut [0; 1]);
                    // closed with bytes unread: a reset
                }
            })
        })
        .collect();
    running.stops("in a flood of scrapes");
    over.store(true, Ordering::Relaxed);
    drop(deaf);
    flood.into_iter().for_each(|one| one.join().unwrap());
}
