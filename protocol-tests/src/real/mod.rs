//! Real Apache Kafka clusters, and the clients that are not ours, for the outer tests.
//!
//! Everything blocks: call it from a plain test thread or `spawn_blocking`. It never skips: when
//! Kafka cannot start, the error says why and the test fails.

mod cluster;
mod hand;
mod judge;
mod logs;
mod pair;
mod peers;
mod program;
mod proxy;
mod quota;
mod registry;
mod room;
mod tools;
mod writer;

use std::fmt;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use std::time::Duration;
use std::time::SystemTime;

use isolog::cluster::Options;
use isolog::ids::Side;

pub use cluster::RealCluster;
pub use cluster::RealSpec;
pub use hand::CLUSTER;
pub use hand::Hand;
pub use hand::LITERAL;
pub use hand::Operation;
pub use hand::PREFIXED;
pub use hand::TOPIC;
pub use judge::Judged;
pub use judge::hex;
pub use judge::judge_files;
pub use judge::judge_lines;
pub use pair::Pair;
pub use peers::DumpSpec;
pub use peers::Isolation;
pub use peers::Load;
pub use peers::LoadSpec;
pub use peers::Loaded;
pub use peers::PartitionDigest;
pub use peers::Reader;
pub use peers::assert_equal;
pub use peers::dump;
pub use peers::peer;
pub use program::Isolog;
pub use program::IsologSpec;
pub use program::Seen;
pub use program::as_service;
pub use program::free_port;
pub use program::isolog_binary;
pub use program::isolog_once;
pub use proxy::PROXY_HOST;
pub use proxy::Proxy;
pub use quota::broker_config_request;
pub use quota::quota_request;
pub use registry::Front;
pub use registry::RealRegistry;
pub use registry::Stop;
pub use room::Room;
pub use room::long_room;
pub use room::room;
pub use tools::tool;
pub use writer::Writer;

/// What went wrong outside of this process, in words. `unwrap` prints it as it is.
pub struct RealError(String);

impl RealError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for RealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RealError {}

/// How isolog's own calls reach a real cluster: pauses that a test can wait for.
pub fn options(side: Side, bootstrap: &str, dial_timeout: Duration) -> Options {
    let address = |text: &str| {
        let (host, port) = text.rsplit_once(':').expect("an address");
        (host.to_owned(), port.parse().expect("a port"))
    };
    Options {
        side,
        bootstrap: bootstrap.split(',').map(address).collect(),
        client_id: "isolog-test".into(),
        request_timeout: Duration::from_secs(20),
        dial_timeout,
        metadata_age_max: Duration::from_secs(300),
        redial_pause: Duration::from_millis(50),
        redial_pause_max: Duration::from_secs(1),
        retry_pause: Duration::from_millis(50),
        retry_pause_max: Duration::from_secs(1),
        rack: String::new(),
        size_max: Default::default(),
        security: Default::default(),
    }
}

/// The wall clock as brokers and records read it, in milliseconds since 1970.
pub fn now_ms() -> i64 {
    let since_1970 = SystemTime::UNIX_EPOCH.elapsed().expect("this is after 1970");
    i64::try_from(since_1970.as_millis()).expect("this is before the year 292 million")
}

/// The top of the repository.
pub fn repo() -> PathBuf {
    let members = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    members.parent().expect("protocol-tests lies in the repository").to_path_buf()
}

/// Cargo as a person would call it. What it tells a test about its package must not reach it: the
/// build script of `ring` asks for those very names, and everything above it would be built anew.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    for (name, _) in std::env::vars_os() {
        let is_told = |start: &str| name.to_string_lossy().starts_with(start);
        // nor the flag by which a test program shows its times (.ci/suite)
        if is_told("CARGO_PKG_") || is_told("CARGO_MANIFEST_") || is_told("RUSTC_BOOTSTRAP") {
            cargo.env_remove(name);
        }
    }
    cargo
}

pub(crate) fn script() -> Command {
    Command::new(repo().join("protocol-tests/kafka/cluster"))
}

/// Runs a command to its end; anything but success is an error with both its streams.
pub fn run(command: &mut Command) -> Result<Output, RealError> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|e| RealError::new(format!("{command:?}: {e}")))?;
    if output.status.success() {
        return Ok(output);
    }
    Err(RealError::new(format!(
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    )))
}
