//! What the peers share: a command line of `--name value`, a process's CPU time, and the bytes of a
//! record that are digested.
//!
//! It never uses a line of isolog: these programs are the second opinion and the yardstick.

use rdkafka::Message;
use rdkafka::Timestamp;
use rdkafka::message::BorrowedMessage;
use rdkafka::message::Headers;
use std::collections::BTreeMap;
use std::fs;
use std::process;

/// Ticks a second of `/proc/PID/stat`: USER_HZ, which Linux fixes at 100 on every common platform.
const TICKS_PER_SECOND: f64 = 100.0;

/// The command line: `--name value`, or `--flag` for the names in `flags`.
pub struct Args(BTreeMap<String, String>);

impl Args {
    /// Reads the process's arguments; an unknown one ends it with status 2.
    pub fn parse(names: &[&str], flags: &[&str]) -> Self {
        let mut given = BTreeMap::new();
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let name = arg.strip_prefix("--").unwrap_or_default().to_string();
            if flags.contains(&name.as_str()) {
                given.insert(name, "true".into());
            } else if let (true, Some(value)) = (names.contains(&name.as_str()), args.next()) {
                given.insert(name, value);
            } else {
                die(&format!("what is {arg}? known: {names:?} {flags:?}"));
            }
        }
        Self(given)
    }

    /// Was this name given?
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The value, or another.
    pub fn text<'a>(&'a self, name: &str, otherwise: &'a str) -> &'a str {
        self.0.get(name).map_or(otherwise, String::as_str)
    }

    /// The value; without it the process ends with status 2.
    pub fn need(&self, name: &str) -> &str {
        self.0.get(name).unwrap_or_else(|| die(&format!("--{name} is needed")))
    }

    /// The value as a number of things or bytes; `k`, `m`, `g` at its end are powers of 1024.
    pub fn number(&self, name: &str, otherwise: u64) -> u64 {
        let Some(text) = self.0.get(name) else { return otherwise };
        let (digits, shift) = match text.chars().last() {
            Some('k') => (&text[..text.len() - 1], 10),
            Some('m') => (&text[..text.len() - 1], 20),
            Some('g') => (&text[..text.len() - 1], 30),
            _ => (text.as_str(), 0),
        };
        match digits.parse::<u64>() {
            Ok(n) => n << shift,
            Err(_) => die(&format!("--{name} {text} is no number")),
        }
    }
}

/// Says why on stderr and ends with status 2.
pub fn die(why: &str) -> ! {
    eprintln!("{why}");
    process::exit(2)
}

/// User plus system CPU seconds of this process and all its threads (10 ms steps).
pub fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux has /proc/self/stat");
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |n: usize| fields.get(n).and_then(|t| t.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / TICKS_PER_SECOND
}

/// The largest resident set of this process so far, in bytes.
pub fn rss_bytes_max() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// offset, timestamp, its type, key, value, headers: lengths before bytes, big-endian. The same
/// bytes as `protocol-tests/kafka/Dump.java` has for the same record.
pub fn canonical(record: &BorrowedMessage<'_>, typeless: bool) -> Vec<u8> {
    let (timestamp, kind) = match record.timestamp() {
        Timestamp::NotAvailable => (-1, -1i8),
        Timestamp::CreateTime(ms) => (ms, 0),
        Timestamp::LogAppendTime(ms) => (ms, 1),
    };
    let mut to = Vec::with_capacity(64 + record.payload_len() + record.key_len());
    to.extend(record.offset().to_be_bytes());
    to.extend(timestamp.to_be_bytes());
    to.extend(if typeless { 0i8 } else { kind }.to_be_bytes());
    put(&mut to, record.key());
    put(&mut to, record.payload());
    let headers = record.headers();
    let count = headers.map_or(0, |headers| headers.count());
    to.extend(u32::try_from(count).expect("few headers").to_be_bytes());
    for header in headers.iter().flat_map(|headers| headers.iter()) {
        put(&mut to, Some(header.key.as_bytes()));
        put(&mut to, header.value);
    }
    to
}

fn put(to: &mut Vec<u8>, bytes: Option<&[u8]>) {
    let length = bytes.map_or(-1, |b| i32::try_from(b.len()).expect("a record is below 2 GiB"));
    to.extend(length.to_be_bytes());
    to.extend(bytes.unwrap_or_default());
}
