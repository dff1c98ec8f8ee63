//! Kafka's own Java client as the judge of client files and JAAS lines.
//!
//! It never dials a broker: only the client's jars are needed.

use std::path::Path;

use super::RealError;
use super::run;
use super::script;

/// What Kafka's client makes of something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Whether it takes it.
    pub taken: bool,
    /// What it makes of it, or why not: its own words.
    pub words: String,
}

/// What the client of `version` makes of client files; their paths are relative to `dir`.
pub fn judge_files(version: &str, dir: &Path, files: &[&str]) -> Result<Vec<Judged>, RealError> {
    judge(version, dir, "file", files)
}

/// What it makes of JAAS lines: the first message of PLAIN, as hex.
pub fn judge_lines(version: &str, dir: &Path, lines: &[&str]) -> Result<Vec<Judged>, RealError> {
    let hex: Vec<String> = lines.iter().map(|line| hex(line.as_bytes()) + "\n").collect();
    let written = std::fs::write(dir.join("lines.hex"), hex.concat());
    written.map_err(|error| RealError::new(format!("lines.hex: {error}")))?;
    judge(version, dir, "jaas", &["lines.hex"])
}

fn judge(version: &str, dir: &Path, mode: &str, files: &[&str]) -> Result<Vec<Judged>, RealError> {
    let mut command = script();
    command.args(["java", "--version", version, "Judge", mode]).args(files).current_dir(dir);
    let output = run(&mut command)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let verdict = |line: &str| {
        let (verdict, words) = line.split_once('\t')?;
        Some(Judged { taken: verdict == "taken", words: words.to_owned() })
    };
    let judged: Option<Vec<Judged>> = text.lines().map(verdict).collect();
    judged.ok_or_else(|| RealError::new(format!("Judge.java said:\n{text}")))
}

/// Two small letters a byte.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
