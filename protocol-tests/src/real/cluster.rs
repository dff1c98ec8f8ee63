//! One real cluster, driven through the script `protocol-tests/kafka/cluster`.
//!
//! It never leaves a broker behind: `Drop` stops them, and if this process is killed the script's
//! watchdog does.

use std::fs;
use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::thread;

use serde_json::Value;

use super::RealError;
use super::repo;
use super::run;
use super::script;

/// What to start.
#[derive(Clone, Debug)]
pub struct RealSpec {
    /// A version that `protocol-tests/kafka/pom.xml` pins.
    pub version: String,
    /// 1 to 3; with three, any one may die and the cluster goes on.
    pub brokers: u8,
    /// Lines for `server.properties`, over the script's own.
    pub props: Vec<(String, String)>,
    /// The same for one node alone, over all others.
    pub node_props: Vec<(u8, String, String)>,
    /// Java heap of each broker, as `-Xmx` takes it.
    pub heap: String,
    /// Listeners with TLS and logins, their stores in this directory (`kafka/certs`).
    pub secure: Option<PathBuf>,
    /// One port for each broker, where a proxy listens: one more listener sends clients there.
    pub behind: Vec<u16>,
}

impl RealSpec {
    /// A cluster of `brokers` nodes of one version, nothing else set.
    pub fn new(version: &str, brokers: u8) -> Self {
        let (props, node_props, heap) = (Vec::new(), Vec::new(), "384m".into());
        let (secure, behind) = (None, Vec::new());
        Self { version: version.into(), brokers, props, node_props, heap, secure, behind }
    }

    /// The same with one more broker property.
    #[must_use]
    pub fn prop(mut self, name: &str, value: &str) -> Self {
        self.props.push((name.into(), value.into()));
        self
    }
}

/// A running cluster; dropping it kills its brokers and removes its files.
///
/// After a test's panic the files stay, and their place is printed.
#[derive(Debug)]
pub struct RealCluster {
    dir: PathBuf,
    bootstrap: String,
    ports: Vec<u16>,
    secure_ports: Vec<u16>,
    behind_ports: Vec<u16>,
}

static STARTED: AtomicU32 = AtomicU32::new(0);

impl RealCluster {
    /// Fetches Kafka if need be, starts the brokers, and waits until each says that it is up.
    pub fn start(spec: RealSpec) -> Result<Self, RealError> {
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let dir = repo().join(format!("target/real/{}-{number}", process::id()));
        let mut command = script();
        command.arg("start").arg("--dir").arg(&dir).args(["--version", &spec.version]);
        command.args(["--brokers", &spec.brokers.to_string(), "--heap", &spec.heap]);
        command.args(["--owner", &process::id().to_string()]);
        for (name, value) in &spec.props {
            command.args(["--prop", &format!("{name}={value}")]);
        }
        for (node, name, value) in &spec.node_props {
            command.args(["--node-prop", &format!("{node}:{name}={value}")]);
        }
        if let Some(certs) = &spec.secure {
            command.arg("--secure").arg(certs);
        }
        if !spec.behind.is_empty() {
            let ports: Vec<_> = spec.behind.iter().map(u16::to_string).collect();
            command.args(["--behind", &ports.join(",")]);
        }
        let cannot = |e: &dyn std::fmt::Display| {
            RealError::new(format!(
                "This test needs Apache Kafka {}, which could not be started (JDK 17 and Maven \
                 are needed, and Maven Central on the first run): {e}",
                spec.version
            ))
        };
        let output = run(&mut command).map_err(|e| cannot(&e))?;
        let said: Value = serde_json::from_slice(&output.stdout).map_err(|e| cannot(&e))?;
        let nodes = said["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
        let port = |name: &'static str| {
            move |node: &Value| node[name].as_u64().and_then(|p| u16::try_from(p).ok())
        };
        let ports = nodes.iter().filter_map(port("port")).collect();
        let behind_ports = nodes.iter().filter_map(port("behind")).collect();
        let secure = nodes.first().and_then(|node| node["secure"].as_array());
        let secure = secure.map(Vec::as_slice).unwrap_or_default();
        let secure_ports = secure.iter().filter_map(|p| u16::try_from(p.as_u64()?).ok()).collect();
        let bootstrap = said["bootstrap"].as_str().unwrap_or_default().to_string();
        Ok(Self { dir, bootstrap, ports, secure_ports, behind_ports })
    }

    /// A source and a destination, which start at the same time.
    pub fn both(source: RealSpec, destination: RealSpec) -> Result<(Self, Self), RealError> {
        thread::scope(|scope| {
            let source = scope.spawn(|| Self::start(source));
            let destination = Self::start(destination);
            let source = source.join().map_err(|_| RealError::new("the start panicked"))?;
            Ok((source?, destination?))
        })
    }

    /// Source and destination of one version and one broker each, nothing else set.
    pub fn plain_pair(version: &str) -> Result<(Self, Self), RealError> {
        Self::both(RealSpec::new(version, 1), RealSpec::new(version, 1))
    }

    /// `host:port` of every broker, with commas between.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The client port of each broker, node 1 first.
    pub fn ports(&self) -> &[u16] {
        &self.ports
    }

    /// Of node 1: the ports for TLS, TLS with client certificates, logins, and logins under TLS.
    pub fn secure_ports(&self) -> &[u16] {
        &self.secure_ports
    }

    /// Where a proxy must lead to, node 1 first.
    pub fn behind_ports(&self) -> &[u16] {
        &self.behind_ports
    }

    /// Where configs, logs and data lie.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where a node keeps its logs.
    pub fn data_dir(&self, node: u8) -> PathBuf {
        self.dir.join(format!("node{node}/data"))
    }

    /// Lets the empty logs of these topics (their partition 0, on node 1) start and end at an
    /// offset: the name of an empty segment says where its log is. The node is stopped for it.
    pub fn begin_at(&self, topics: &[&str], start: i64) -> Result<(), RealError> {
        self.term(1)?;
        for topic in topics {
            let dir = self.data_dir(1).join(format!("{topic}-0"));
            move_up(&dir, start).map_err(|e| RealError::new(format!("{}: {e}", dir.display())))?;
        }
        self.restart(1)
    }

    /// Takes from a dead node what it had written down of log starts, as a crash does that comes
    /// before the next `log.flush.start.offset.checkpoint.interval.ms`.
    pub fn forget_starts(&self, node: u8) -> Result<(), RealError> {
        let path = self.data_dir(node).join("log-start-offset-checkpoint");
        // a version, and the number of rows
        fs::write(&path, "0\n0\n").map_err(|e| RealError::new(format!("{}: {e}", path.display())))
    }

    /// Moves the last batch of the log of a topic (its partition 0, on node 1) to a far offset, as
    /// compaction leaves it: behind a gap. The node is stopped for it.
    pub fn move_last(&self, topic: &str, to: i64) -> Result<(), RealError> {
        self.term(1)?;
        let dir = self.data_dir(1).join(format!("{topic}-0"));
        part(&dir, to).map_err(|e| RealError::new(format!("{}: {e}", dir.display())))?;
        self.restart(1)
    }

    /// Gives node 1 another value of a broker property, and starts it again with that.
    pub fn restart_with(&self, name: &str, value: &str) -> Result<(), RealError> {
        self.term(1)?;
        let path = self.dir.join("node1/server.properties");
        let file = fs::OpenOptions::new().append(true).open(&path);
        // the last line of a name counts
        let written = file.and_then(|mut file| writeln!(file, "\n{name}={value}"));
        written.map_err(|e| RealError::new(format!("{}: {e}", path.display())))?;
        self.restart(1)
    }

    /// SIGKILL to node 1, 2 or 3; returns when it is gone.
    pub fn kill(&self, node: u8) -> Result<(), RealError> {
        self.order("kill", node)
    }

    /// SIGTERM (leaders move first); returns when it has ended.
    pub fn term(&self, node: u8) -> Result<(), RealError> {
        self.order("term", node)
    }

    /// Starts a dead node again on its old ports; returns when it is up.
    pub fn restart(&self, node: u8) -> Result<(), RealError> {
        self.order("restart", node)
    }

    /// SIGSTOP: its connections stay open and nothing answers.
    pub fn freeze(&self, node: u8) -> Result<(), RealError> {
        self.order("freeze", node)
    }

    /// SIGCONT after `freeze`.
    pub fn thaw(&self, node: u8) -> Result<(), RealError> {
        self.order("thaw", node)
    }

    /// Kills every broker. `Drop` does it too; this one tells when it fails.
    pub fn stop(&self) -> Result<(), RealError> {
        run(script().arg("stop").arg(&self.dir)).map(drop)
    }

    fn order(&self, word: &str, node: u8) -> Result<(), RealError> {
        run(script().arg(word).arg(&self.dir).arg(node.to_string())).map(drop)
    }
}

/// Renames the only segment of a log, which is empty; its indexes are built anew at the start.
fn move_up(dir: &Path, start: i64) -> io::Result<()> {
    let path = dir.join(format!("{:020}.log", 0));
    if path.metadata()?.len() > 0 {
        return Err(io::Error::other("the log is not empty"));
    }
    fs::rename(&path, dir.join(format!("{start:020}.log")))?;
    remove_indexes(dir)
}

/// Cuts the last batch off the only segment of a log and gives it a segment of its own, whose name
/// and whose batch say that it lies at `to`. A batch's offset is not under its checksum.
fn part(dir: &Path, to: i64) -> io::Result<()> {
    let first = dir.join(format!("{:020}.log", 0));
    let mut bytes = fs::read(&first)?;
    let mut last = 0;
    while let Some(length) = bytes.get(last + 8..last + 12) {
        let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]);
        let next = last + 12 + length as usize;
        if next >= bytes.len() {
            break;
        }
        last = next;
    }
    if last == 0 {
        return Err(io::Error::other("the log has less than two batches"));
    }
    let mut moved = bytes.split_off(last);
    moved[..8].copy_from_slice(&to.to_be_bytes());
    fs::write(&first, bytes)?;
    fs::write(dir.join(format!("{to:020}.log")), moved)?;
    remove_indexes(dir)
}

fn remove_indexes(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let kind = path.extension().and_then(|kind| kind.to_str());
        if matches!(kind, Some("index" | "timeindex" | "snapshot")) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

impl Drop for RealCluster {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("{error}");
        } else if thread::panicking() || std::env::var_os("ISOLOG_KEEP").is_some() {
            eprintln!("the cluster's files are kept: {}", self.dir.display());
        } else if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("{}: {error}", self.dir.display());
        }
    }
}
