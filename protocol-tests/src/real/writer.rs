//! Producers that are not ours, which write when they are told to and else only stay connected.
//!
//! They never write by themselves; dropping one ends it.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::process::Child;
use std::process::ChildStdout;
use std::process::Command;
use std::process::Stdio;

use super::RealError;
use super::repo;
use super::script;

/// A producer at work.
#[derive(Debug)]
pub struct Writer {
    name: &'static str,
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Writer {
    /// A producer of each client: Kafka's own in Java, franz-go, aiokafka.
    pub fn all(bootstrap: &str) -> Result<Vec<Writer>, RealError> {
        let readers = repo().join("protocol-tests/kafka/readers/run");
        let mut java = script();
        java.args(["java", "Writer"]);
        let mut go = Command::new(&readers);
        go.arg("writer");
        let mut python = Command::new(&readers);
        python.arg("aio_writer");
        let all = [("java", java), ("franz-go", go), ("aiokafka", python)];
        all.into_iter().map(|(name, command)| Writer::start(name, command, bootstrap)).collect()
    }

    fn start(
        name: &'static str,
        mut command: Command,
        bootstrap: &str,
    ) -> Result<Writer, RealError> {
        command.args(["--bootstrap", bootstrap]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let bad = |e: &dyn std::fmt::Display| RealError::new(format!("{name}: {e}"));
        let mut child = command.spawn().map_err(|e| bad(&e))?;
        let stdout = child.stdout.take().ok_or_else(|| bad(&"no stdout"))?;
        Ok(Writer { name, child, said: BufReader::new(stdout) })
    }

    /// Whose client it is.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Writes one record; `Err` is what the client says it is refused for.
    pub fn write(&mut self, topic: &str, value: &str) -> Result<(), String> {
        let stdin = self.child.stdin.as_mut().ok_or("no stdin")?;
        writeln!(stdin, "{topic} {value}").map_err(|e| e.to_string())?;
        let mut line = String::new();
        self.said.read_line(&mut line).map_err(|e| e.to_string())?;
        match line.trim_end().strip_prefix("ok ") {
            Some(_) => Ok(()),
            None => Err(line),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // each of them ends with its stdin
        drop(self.child.stdin.take());
        let _ended_already = self.child.wait();
    }
}
