//! The clients that are not ours: a Java producer, and readers by Java and by librdkafka.
//!
//! It holds no Kafka client itself: it starts their programs and reads the JSON they print.

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use serde_json::Value;

use super::RealError;
use super::cargo;
use super::repo;
use super::run;
use super::script;
use super::tool;

/// What to write: one entry of `topics` per topic, with its codec as Kafka names it.
#[derive(Clone, Debug)]
pub struct LoadSpec {
    /// Topic and `compression.type`: none, gzip, snappy, lz4 or zstd.
    pub topics: Vec<(String, String)>,
    /// Creates missing topics with these many partitions and replicas.
    pub create: Option<(u32, u16)>,
    /// Records over all topics; `None` writes until told to stop.
    pub records: Option<u64>,
    /// Records a second over all topics; `None` is as fast as it goes.
    pub rate: Option<u64>,
    /// Further arguments of `Load.java`.
    pub more: Vec<String>,
}

impl LoadSpec {
    /// All five codecs, a topic each: `<prefix>-none`, `<prefix>-gzip` …
    pub fn five_codecs(prefix: &str, partitions: u32, replicas: u16) -> Self {
        let codecs = ["none", "gzip", "snappy", "lz4", "zstd"];
        let topics = codecs.map(|codec| (format!("{prefix}-{codec}"), codec.to_string()));
        let create = Some((partitions, replicas));
        Self { topics: topics.into(), create, records: None, rate: None, more: Vec::new() }
    }

    /// The topics' names.
    pub fn names(&self) -> Vec<String> {
        self.topics.iter().map(|(name, _)| name.clone()).collect()
    }

    fn arguments(&self, bootstrap: &str) -> Vec<String> {
        let topics: Vec<_> = self.topics.iter().map(|(t, codec)| format!("{t}={codec}")).collect();
        let mut args = vec!["--bootstrap".into(), bootstrap.into()];
        args.extend(["--topics".into(), topics.join(",")]);
        if let Some((partitions, replicas)) = self.create {
            args.extend(["--create".into(), format!("{partitions}:{replicas}")]);
        }
        if let Some(records) = self.records {
            args.extend(["--records".into(), records.to_string()]);
        }
        if let Some(rate) = self.rate {
            args.extend(["--rate".into(), rate.to_string()]);
        }
        args.push("--until-stdin".into());
        args.extend(self.more.clone());
        args
    }
}

/// What a load wrote and had acknowledged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loaded {
    /// Records acknowledged.
    pub records: u64,
    /// Records given up: in the log or not. Above 0 only with `--lossy`.
    pub errors: u64,
    /// Keys and values of those acknowledged, in bytes.
    pub bytes: u64,
    /// From the first send to the last acknowledgement.
    pub seconds: f64,
}

/// A Java producer at work; dropping it kills it.
#[derive(Debug)]
pub struct Load {
    child: Child,
}

impl Load {
    /// Starts the producer; records flow about a second later.
    pub fn start(bootstrap: &str, spec: &LoadSpec) -> Result<Self, RealError> {
        let mut command = script();
        command.args(["java", "Load"]).args(spec.arguments(bootstrap));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let child = command.spawn().map_err(|e| RealError::new(format!("{command:?}: {e}")))?;
        Ok(Self { child })
    }

    /// Tells it to end (it flushes first) and waits for its report.
    pub fn stop(mut self) -> Result<Loaded, RealError> {
        drop(self.child.stdin.take());
        self.report()
    }

    /// Waits until it has written all its records.
    pub fn wait(mut self) -> Result<Loaded, RealError> {
        let kept_open = self.child.stdin.take();
        let report = self.report();
        drop(kept_open);
        report
    }

    fn report(&mut self) -> Result<Loaded, RealError> {
        let bad = |e: &dyn std::fmt::Display| RealError::new(format!("Load.java: {e}"));
        let mut text = String::new();
        let mut stdout = self.child.stdout.take().ok_or_else(|| bad(&"no stdout"))?;
        stdout.read_to_string(&mut text).map_err(|e| bad(&e))?;
        let status = self.child.wait().map_err(|e| bad(&e))?;
        if !status.success() {
            return Err(bad(&format!("{status}: {text}")));
        }
        let said: Value = serde_json::from_str(&text).map_err(|e| bad(&e))?;
        Ok(Loaded {
            records: said["records"].as_u64().ok_or_else(|| bad(&text))?,
            errors: said["errors"].as_u64().ok_or_else(|| bad(&text))?,
            bytes: said["bytes"].as_u64().ok_or_else(|| bad(&text))?,
            seconds: said["seconds"].as_f64().ok_or_else(|| bad(&text))?,
        })
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _ended_already = self.child.wait();
    }
}

/// Whose client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// Kafka's own Java consumer.
    Java,
    /// The same in a group of the new protocol (KIP-848), which is another implementation.
    JavaNext,
    /// librdkafka, through `benches/peers`.
    Librdkafka,
    /// franz-go; like the two below it reads what an earlier reading names in `ends`.
    Franz,
    /// Sarama.
    Sarama,
    /// aiokafka.
    Aiokafka,
}

/// Which records a reader sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// All but control records, up to the high watermark.
    Uncommitted,
    /// Only committed ones, up to the last stable offset.
    Committed,
}

/// What to read.
#[derive(Clone, Debug)]
pub struct DumpSpec {
    /// The topics, every partition of each.
    pub topics: Vec<String>,
    /// What transactions hide.
    pub isolation: Isolation,
    /// Read up to these ends; without them to each log's own.
    pub ends: Option<Vec<PartitionDigest>>,
    /// Whose time a timestamp is stays out of the digest: a mirror topic is CreateTime always.
    pub is_typeless: bool,
}

impl DumpSpec {
    /// Everything a `read_committed` consumer sees.
    pub fn committed(topics: &[String]) -> Self {
        let isolation = Isolation::Committed;
        Self { topics: topics.to_vec(), isolation, ends: None, is_typeless: false }
    }

    /// The same without whose time it is.
    #[must_use]
    pub fn typeless(mut self) -> Self {
        self.is_typeless = true;
        self
    }

    /// The same up to the ends of an earlier reading.
    #[must_use]
    pub fn to_ends_of(mut self, earlier: &[PartitionDigest]) -> Self {
        self.ends = Some(earlier.to_vec());
        self
    }
}

/// What a reader saw of one partition. Equal digests: same records, fields, offsets and times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionDigest {
    /// The topic.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// Where the log starts.
    pub start: i64,
    /// The offset after the last that was read.
    pub end: i64,
    /// Records seen between the two.
    pub records: u64,
    /// The first one's offset, or -1.
    pub first: i64,
    /// The last one's offset, or -1.
    pub last: i64,
    /// Over every field of every record, in hex.
    pub sha256: String,
}

impl PartitionDigest {
    fn parse(line: &str) -> Option<Self> {
        let one: Value = serde_json::from_str(line).ok()?;
        Some(Self {
            topic: one["topic"].as_str()?.into(),
            partition: i32::try_from(one["partition"].as_i64()?).ok()?,
            start: one["start"].as_i64()?,
            end: one["end"].as_i64()?,
            records: one["records"].as_u64()?,
            first: one["first"].as_i64()?,
            last: one["last"].as_i64()?,
            sha256: one["sha256"].as_str()?.into(),
        })
    }

    fn line(&self) -> String {
        let Self { topic, partition, start, end, records, first, last, sha256 } = self;
        format!(
            "{{\"topic\":\"{topic}\",\"partition\":{partition},\"start\":{start},\"end\":{end},\
             \"records\":{records},\"first\":{first},\"last\":{last},\"sha256\":\"{sha256}\"}}\n"
        )
    }
}

/// Reads topics from their start to their end, sorted by topic and partition.
pub fn dump(
    reader: Reader,
    bootstrap: &str,
    spec: &DumpSpec,
) -> Result<Vec<PartitionDigest>, RealError> {
    let ends = spec.ends.as_deref().map(ends_file).transpose()?;
    let mut words = words_of(reader, bootstrap, spec);
    if spec.isolation == Isolation::Committed {
        words.extend(["--isolation".into(), "read_committed".into()]);
    }
    if let Some(file) = &ends {
        let name = if reader.is_led() { "--until" } else { "--ends" };
        words.extend([name.into(), file.display().to_string()]);
    }
    let text = match reader {
        Reader::Java | Reader::JavaNext => tool("Dump", &words)?,
        Reader::Librdkafka => said(Command::new(peer("rk-dump")?).args(words))?,
        Reader::Franz | Reader::Sarama | Reader::Aiokafka => {
            said(Command::new(repo().join("protocol-tests/kafka/readers/run")).args(words))?
        }
    };
    if let Some(file) = ends {
        fs::remove_file(&file).map_err(|e| RealError::new(format!("{}: {e}", file.display())))?;
    }
    let parse = |line: &str| {
        PartitionDigest::parse(line)
            .ok_or_else(|| RealError::new(format!("{reader:?} printed no digest: {line}")))
    };
    text.lines().map(parse).collect()
}

static GROUPS: AtomicU32 = AtomicU32::new(0);

impl Reader {
    /// Whether it looks for no end by itself; such a one knows no types of timestamps either.
    fn is_led(self) -> bool {
        matches!(self, Self::Franz | Self::Sarama | Self::Aiokafka)
    }
}

fn words_of(reader: Reader, bootstrap: &str, spec: &DumpSpec) -> Vec<String> {
    let mut words: Vec<String> = match reader {
        Reader::JavaNext => {
            let group = GROUPS.fetch_add(1, Ordering::Relaxed);
            let group = format!("next-{}-{group}", process::id());
            vec!["--prop".into(), "group.protocol=consumer".into(), "--group".into(), group]
        }
        Reader::Franz => vec!["franz".into()],
        Reader::Sarama => vec!["sarama".into()],
        Reader::Aiokafka => vec!["aio".into()],
        Reader::Java | Reader::Librdkafka => Vec::new(),
    };
    words.extend(["--bootstrap".into(), bootstrap.into()]);
    if !reader.is_led() {
        words.extend(["--topics".into(), spec.topics.join(",")]);
        words.extend(spec.is_typeless.then(|| "--typeless".into()));
    }
    words
}

fn said(command: &mut Command) -> Result<String, RealError> {
    Ok(String::from_utf8_lossy(&run(command)?.stdout).into_owned())
}

/// Panics with the first partitions that differ, and only those.
pub fn assert_equal(left: &[PartitionDigest], right: &[PartitionDigest]) {
    let differ: Vec<_> = left.iter().zip(right).filter(|(l, r)| l != r).take(5).collect();
    assert!(differ.is_empty(), "partitions differ: {differ:#?}");
    assert_eq!(left.len(), right.len(), "one side has more partitions");
}

static ENDS_FILES: AtomicU32 = AtomicU32::new(0);

fn ends_file(ends: &[PartitionDigest]) -> Result<PathBuf, RealError> {
    let number = ENDS_FILES.fetch_add(1, Ordering::Relaxed);
    let dir = repo().join("target/real");
    let file = dir.join(format!("ends-{}-{number}", process::id()));
    let text: String = ends.iter().map(PartitionDigest::line).collect();
    let written = fs::create_dir_all(&dir).and_then(|()| fs::write(&file, text));
    written.map_err(|e| RealError::new(format!("{}: {e}", file.display())))?;
    Ok(file)
}

static BUILT: Mutex<bool> = Mutex::new(false);

/// The path of a program of `benches/peers`: in `ISOLOG_PEERS`, or built on first use (a minute,
/// then cached).
pub fn peer(name: &str) -> Result<PathBuf, RealError> {
    if let Some(given) = std::env::var_os("ISOLOG_PEERS") {
        return Ok(PathBuf::from(given).join(name));
    }
    let target = repo().join("target/peers");
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if !*built {
        let mut cargo = cargo();
        cargo.args(["build", "--release", "--locked", "--quiet", "--target-dir"]).arg(&target);
        cargo.arg("--manifest-path").arg(repo().join("benches/peers/Cargo.toml"));
        run(&mut cargo)?;
        *built = true;
    }
    Ok(target.join("release").join(name))
}
