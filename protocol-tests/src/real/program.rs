//! The real binary: started with a config, asked over its service port, killed.
//!
//! It never leaves a process behind: `Drop` kills it.

use std::fs;
use std::fs::File;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::process;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Output;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;

use super::RealError;
use super::cargo;
use super::repo;
use super::run;

/// How often a wait looks.
const LOOK_PAUSE: Duration = Duration::from_millis(100);
/// For how long one answer of the service port is waited for.
const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// For how long the answer to an order is: longer than it waits for its row.
const ORDER_WAIT: Duration = Duration::from_secs(45);
/// For how long what a partition must come to is waited for.
const WAIT_SECONDS: u64 = 120;
/// So many lines of the log are shown when a wait was in vain.
const LOG_LINES: usize = 40;

/// What one isolog is told to do.
#[derive(Clone, Debug)]
pub struct IsologSpec {
    /// Lines in front of the first section.
    pub top: String,
    /// `bootstrap.servers` of the destination.
    pub destination: String,
    /// `bootstrap.servers` of the link.
    pub source: String,
    /// The link's name.
    pub link: String,
    /// `mirror.topics`; without one the file has no link.
    pub topics: Vec<String>,
    /// More lines of `[service]`.
    pub service_more: String,
    /// More lines of `[destination]`.
    pub destination_more: String,
    /// More lines of the link.
    pub link_more: String,
    /// The sections of more links.
    pub more_links: String,
    /// Started as [`as_service`] says: what the test computes, and what its brokers do, takes no
    /// more of the cores from it than under the unit file.
    pub is_service: bool,
}

impl IsologSpec {
    /// A link of one source, which looks for topics every second.
    pub fn new(source: &str, destination: &str, topics: &[&str]) -> Self {
        Self {
            top: String::new(),
            more_links: String::new(),
            is_service: false,
            destination: destination.into(),
            source: source.into(),
            link: "dr".into(),
            topics: topics.iter().map(|topic| (*topic).to_string()).collect(),
            service_more: String::new(),
            destination_more: "metadata.max.age.ms = 1000\n".into(),
            // what is compared batch by batch must keep its batches
            link_more: "metadata.max.age.ms = 1000\navailability.check.ms = 1000\n\
                        batch.merge = \"never\"\n"
                .into(),
        }
    }

    fn toml(&self, port: u16) -> String {
        let Self { destination, source, link, topics, destination_more, link_more, .. } = self;
        let Self { top, more_links, service_more, .. } = self;
        let first = match topics.is_empty() {
            true => String::new(),
            false => format!(
                "[link.{link}]\nbootstrap.servers = \"{source}\"\n{link_more}\
                 mirror.topics = {topics:?}\n"
            ),
        };
        format!(
            "{top}[destination]\nbootstrap.servers = \"{destination}\"\n{destination_more}\
             [service]\nlisten = \"127.0.0.1:{port}\"\n{service_more}{first}{more_links}"
        )
    }
}

/// The program of this tree and its files; it may be killed and started again.
pub struct Isolog {
    dir: PathBuf,
    port: u16,
    is_service: bool,
    child: Option<Child>,
}

/// A program in a session of its own, with the share of the cores that `CPUWeight=500` of
/// `deploy/isolog.service` is. Linux shares the cores by sessions first
/// (`sched_autogroup_enabled`), and no niceness of a process counts against another session; the
/// niceness of a session, -7, is 4.8 times the usual share. Where it may not be set, for want of
/// the right, the program starts with the usual one.
pub fn as_service(program: &Path) -> Command {
    let mut command = Command::new("setsid");
    // it becomes the program, under the same number
    command.args(["sh", "-c", "echo -7 2>&- >/proc/self/autogroup; exec \"$0\" \"$@\""]);
    command.arg(program);
    command
}

static MADE: AtomicU32 = AtomicU32::new(0);

impl Isolog {
    /// Writes the config and starts the program.
    pub fn start(spec: &IsologSpec) -> Result<Self, RealError> {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let dir = repo().join(format!("target/real/isolog-{}-{number}", process::id()));
        let port = free_port()?;
        let written = fs::create_dir_all(&dir)
            .and_then(|()| fs::write(dir.join("isolog.toml"), spec.toml(port)));
        written.map_err(|e| RealError::new(format!("{}: {e}", dir.display())))?;
        let mut isolog = Self { dir, port, is_service: spec.is_service, child: None };
        isolog.start_again()?;
        Ok(isolog)
    }

    /// Starts it after a kill or stop; returns at once, it may not be listening yet.
    pub fn start_again(&mut self) -> Result<(), RealError> {
        let bad = |e: std::io::Error| RealError::new(format!("isolog: {e}"));
        let path = self.dir.join("log");
        let log = File::options().create(true).append(true).open(path).map_err(bad)?;
        let binary = isolog_binary()?;
        let mut command = match self.is_service {
            true => as_service(&binary),
            false => Command::new(&binary),
        };
        command.args(["run", "--config"]).arg(self.dir.join("isolog.toml"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().map_err(bad)?);
        Ok(())
    }

    /// SIGKILL; returns when it is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ended_already = child.kill();
            let _ended_already = child.wait();
        }
    }

    /// SIGTERM; its exit status, or an error when it takes longer than `wait_max`.
    pub fn term(&mut self, wait_max: Duration) -> Result<ExitStatus, RealError> {
        let mut child = self.child.take().ok_or_else(|| RealError::new("it does not run"))?;
        run(Command::new("kill").arg("-TERM").arg(child.id().to_string()))?;
        let until = Instant::now() + wait_max;
        while Instant::now() < until {
            if let Ok(Some(status)) = child.try_wait() {
                return Ok(status);
            }
            sleep(Duration::from_millis(20));
        }
        self.child = Some(child);
        Err(RealError::new(format!("isolog still runs {} s after SIGTERM", wait_max.as_secs())))
    }

    /// SIGSTOP, and later SIGCONT: it does nothing, and its connections stay open.
    pub fn freeze(&self, frozen: bool) -> Result<(), RealError> {
        let child = self.child.as_ref().ok_or_else(|| RealError::new("it does not run"))?;
        let signal = if frozen { "-STOP" } else { "-CONT" };
        run(Command::new("kill").arg(signal).arg(child.id().to_string())).map(drop)
    }

    /// Whether the process lives.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// All that it ever logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// The process's id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Its service port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where its config lies.
    pub fn config(&self) -> PathBuf {
        self.dir.join("isolog.toml")
    }

    /// Runs another command of the program, the last of whose arguments is this one's config.
    pub fn command(&self, args: &[&str]) -> Result<Output, RealError> {
        let mut command = Command::new(isolog_binary()?);
        let output = command.args(args).arg("--config").arg(self.config());
        let bad = |e: std::io::Error| RealError::new(format!("isolog: {e}"));
        output.stdin(Stdio::null()).output().map_err(bad)
    }

    /// What it serves at a path, if it answers with JSON.
    pub fn get(&self, path: &str) -> Option<Value> {
        serde_json::from_str(&self.text(path)?).ok()
    }

    /// The sum of a metric over all its series that hold `part`.
    pub fn metric(&self, name: &str, part: &str) -> f64 {
        let all = self.text("/metrics").unwrap_or_default();
        let of = |line: &&str| line.starts_with(name) && line.contains(part);
        all.lines().filter(of).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// The body of what it serves at a path.
    pub fn text(&self, path: &str) -> Option<String> {
        Some(self.ask("GET", path, None, ANSWER_WAIT)?.1)
    }

    /// Gives an order by REST: the status, and the body where it is JSON.
    pub fn order(&self, method: &str, path: &str, body: Option<&Value>) -> Option<(u16, Value)> {
        let (status, text) = self.ask(method, path, body, ORDER_WAIT)?;
        Some((status, serde_json::from_str(&text).unwrap_or_default()))
    }

    fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        wait: Duration,
    ) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(wait)).ok()?;
        let (host, body) = (self.port, body.map(Value::to_string).unwrap_or_default());
        let ask = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{host}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(ask.as_bytes()).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let status = text.split(' ').nth(1)?.parse().ok()?;
        Some((status, text.split_once("\r\n\r\n")?.1.to_owned()))
    }

    /// State and reason of the one link.
    pub fn link(&self) -> (String, String) {
        let links = self.get("/v1/links").unwrap_or_default();
        (text(&links[0], "state"), text(&links[0], "reason"))
    }

    /// All partitions.
    pub fn partitions(&self) -> Vec<Seen> {
        let all = self.get("/v1/partitions").unwrap_or_default();
        all.as_array().map(|all| all.iter().map(Seen::of).collect()).unwrap_or_default()
    }

    /// One partition, if it is known.
    pub fn partition(&self, topic: &str, partition: i64) -> Option<Seen> {
        self.partitions().into_iter().find(|p| p.topic == topic && p.partition == partition)
    }

    /// Waits until `look` says something; panics with the log's end after `seconds_max`.
    pub fn wait_for<T>(
        &self,
        what: &str,
        seconds_max: u64,
        mut look: impl FnMut(&Self) -> Option<T>,
    ) -> T {
        let until = Instant::now() + Duration::from_secs(seconds_max);
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            if Instant::now() > until {
                let log = self.log();
                let lines: Vec<_> = log.lines().collect();
                let last = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
                let (link, seen) = (self.link(), self.partitions());
                panic!("not within {seconds_max} s: {what}\n{link:?}\n{seen:#?}\n{last}");
            }
            sleep(LOOK_PAUSE);
        }
    }

    /// Waits until a partition halts, and tells how.
    pub fn wait_halt(&self, topic: &str, partition: i64) -> Seen {
        self.wait_for(&format!("{topic}-{partition} halts"), WAIT_SECONDS, |isolog| {
            isolog.partition(topic, partition).filter(|seen| seen.state == "Halted")
        })
    }

    /// Waits until a topic that is there already is refused: nothing of it is begun.
    pub fn wait_refused(&self, topic: &str, code: &str) -> Seen {
        self.wait_for(&format!("{topic} is refused: {code}"), WAIT_SECONDS, |isolog| {
            let seen = isolog.partition(topic, 0)?;
            (seen.state == "Preparing" && seen.code == code).then_some(seen)
        })
    }

    /// Waits until a partition's copy is read up to `end`.
    pub fn wait_copied(&self, topic: &str, partition: i64, end: i64) {
        self.wait_for(&format!("{topic}-{partition} copied to {end}"), WAIT_SECONDS, |isolog| {
            let seen = isolog.partition(topic, partition)?;
            (seen.destination_hwm == Some(end)).then_some(())
        });
    }
}

/// Runs one command of the program, which ends by itself, with the config of `spec`.
pub fn isolog_once(spec: &IsologSpec, args: &[&str]) -> Result<Output, RealError> {
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    let dir = repo().join(format!("target/real/isolog-{}-{number}", process::id()));
    let file = dir.join("isolog.toml");
    let bad = |e: std::io::Error| RealError::new(format!("{}: {e}", dir.display()));
    fs::create_dir_all(&dir).and_then(|()| fs::write(&file, spec.toml(1))).map_err(bad)?;
    let mut command = Command::new(isolog_binary()?);
    let output = command.args(args).arg("--config").arg(&file).stdin(Stdio::null()).output();
    let _best_effort = fs::remove_dir_all(&dir);
    output.map_err(bad)
}

impl Drop for Isolog {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() || std::env::var_os("ISOLOG_KEEP").is_some() {
            eprintln!("isolog's files are kept: {}", self.dir.display());
        } else {
            let _best_effort = fs::remove_dir_all(&self.dir);
        }
    }
}

/// One partition as `/v1/partitions` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The topic.
    pub topic: String,
    /// Its number.
    pub partition: i64,
    /// A word of docs/STATES.md.
    pub state: String,
    /// The word of the reason.
    pub code: String,
    /// The reason with its numbers.
    pub reason: String,
    /// Where the source ends.
    pub source_end: Option<i64>,
    /// The next offset to be written.
    pub destination_end: Option<i64>,
    /// What readers of the copy see.
    pub destination_hwm: Option<i64>,
    /// Records between the two.
    pub lag_records: Option<i64>,
    /// Offsets below the source's log start that are yet to be filled.
    pub front_offsets: i64,
}

impl Seen {
    fn of(one: &Value) -> Self {
        Self {
            topic: text(one, "topic"),
            partition: one["partition"].as_i64().unwrap_or(-1),
            state: text(one, "state"),
            code: text(one, "reason_code"),
            reason: text(one, "reason"),
            source_end: one["source_end"].as_i64(),
            destination_end: one["destination_end"].as_i64(),
            destination_hwm: one["destination_hwm"].as_i64(),
            lag_records: one["lag_records"].as_i64(),
            front_offsets: one["front_offsets"].as_i64().unwrap_or(0),
        }
    }
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_string()
}

/// Below the ports of brokers (`cluster`), and of what the kernel gives away.
const PORTS: std::ops::Range<u16> = 16_000..20_000;

/// What tells other programs of tests that a port is somebody's; let go with this process.
static HELD: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A port that nobody uses, and that no other test is given while this process lives.
pub fn free_port() -> Result<u16, RealError> {
    let bad = |e: std::io::Error| RealError::new(format!("no free port: {e}"));
    let locks = std::env::temp_dir().join("isolog-service-ports");
    fs::create_dir_all(&locks).map_err(bad)?;
    let count = PORTS.end - PORTS.start;
    let first = (process::id() % u32::from(count)) as u16;
    for n in 0..count {
        let port = PORTS.start + (first + n) % count;
        let lock = File::create(locks.join(port.to_string())).map_err(bad)?;
        if lock.try_lock().is_ok() && std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            HELD.lock().unwrap_or_else(PoisonError::into_inner).push(lock);
            return Ok(port);
        }
    }
    Err(RealError::new("no free port"))
}

static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);

/// The program: `ISOLOG_BIN`, or what cargo builds of this tree, once per process.
pub fn isolog_binary() -> Result<PathBuf, RealError> {
    if let Some(given) = std::env::var_os("ISOLOG_BIN") {
        return Ok(given.into());
    }
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(path) = &*built {
        return Ok(path.clone());
    }
    let mut cargo = cargo();
    // The whole workspace's features, so that what the tests were built from is not built anew.
    cargo.args(["build", "--workspace", "--bin", "isolog", "--locked", "--quiet"]);
    cargo.arg("--manifest-path").arg(repo().join("Cargo.toml"));
    cargo.arg("--target-dir").arg(target_dir());
    run(&mut cargo)?;
    let path = target_dir().join("debug/isolog");
    *built = Some(path.clone());
    Ok(path)
}

/// Where this very test was built: `target/debug/deps/name` is three up.
fn target_dir() -> PathBuf {
    let here = std::env::current_exe().unwrap_or_default();
    here.ancestors().nth(3).map_or_else(|| repo().join("target"), Path::to_path_buf)
}
