//! Where log lines go: to standard error, by a thread of its own.
//!
//! It never makes who logs wait, and never fails: a copy must not depend on who reads its log.
//! Lines that nobody takes are lost, counted, and told of when somebody takes lines again.
//!
//! ```text
//!  any task ─ write ─▶ queue, LINES_MAX and BYTES_MAX ─▶ thread "log" ─▶ standard error
//!                        └─ full: lost, counted
//! ```

use std::io;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

use crate::meters::LOG_LINES_LOST;

/// So many lines wait for who reads them, at most.
const LINES_MAX: usize = 8192;
/// And so many bytes.
const BYTES_MAX: usize = 8 << 20;
/// For how long the end of the process waits for its last lines to be read.
const LAST_LINES_MAX: Duration = Duration::from_millis(500);

/// How a line looks: `log.format`.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The log of this process.
#[derive(Clone, Debug)]
pub struct Log {
    lines: SyncSender<Told>,
    waiting_bytes: Arc<AtomicUsize>,
    lost_lines: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Told {
    Line(Box<[u8]>),
    /// Answered when all before it is written.
    Flush(SyncSender<()>),
}

impl Log {
    /// A log that is written to `out`.
    pub fn to(out: impl Write + Send + 'static, form: Form) -> io::Result<Log> {
        let (lines, told) = mpsc::sync_channel(LINES_MAX);
        let log = Log { lines, waiting_bytes: Arc::default(), lost_lines: Arc::default() };
        let (waiting_bytes, lost_lines) = (log.waiting_bytes.clone(), log.lost_lines.clone());
        let writing = Writing { out, form, waiting_bytes, lost_lines, told_lost_lines: 0 };
        thread::Builder::new().name("log".to_owned()).spawn(move || writing.run(&told))?;
        Ok(log)
    }

    /// Waits a moment for what was logged to be written.
    pub fn flush(&self) {
        let (done, all) = mpsc::sync_channel(1);
        if self.lines.try_send(Told::Flush(done)).is_ok() {
            // late or done: the process ends all the same
            let _ = all.recv_timeout(LAST_LINES_MAX);
        }
    }

    fn take(&self, line: &[u8]) {
        let waiting_bytes = self.waiting_bytes.fetch_add(line.len(), Relaxed) + line.len();
        let has_room = waiting_bytes <= BYTES_MAX;
        if !has_room || self.lines.try_send(Told::Line(line.into())).is_err() {
            self.waiting_bytes.fetch_sub(line.len(), Relaxed);
            lose(&self.lost_lines);
        }
    }
}

fn lose(lost_lines: &AtomicU64) {
    lost_lines.fetch_add(1, Relaxed);
    metrics::counter!(LOG_LINES_LOST.name).increment(1);
}

/// One event, which the subscriber writes at once.
pub struct Event<'a>(&'a Log);

impl Write for Event<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.take(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Event<'a>;

    fn make_writer(&'a self) -> Event<'a> {
        Event(self)
    }
}

struct Writing<W> {
    out: W,
    form: Form,
    waiting_bytes: Arc<AtomicUsize>,
    lost_lines: Arc<AtomicU64>,
    told_lost_lines: u64,
}

impl<W: Write> Writing<W> {
    fn run(mut self, told: &Receiver<Told>) {
        while let Ok(told) = told.recv() {
            match told {
                Told::Line(line) => {
                    self.waiting_bytes.fetch_sub(line.len(), Relaxed);
                    self.write(&line);
                }
                Told::Flush(done) => drop(done.try_send(())),
            }
        }
    }

    fn write(&mut self, line: &[u8]) {
        let lost_lines = self.lost_lines.load(Relaxed);
        if lost_lines > self.told_lost_lines && self.tell(lost_lines).is_ok() {
            self.told_lost_lines = lost_lines;
        }
        if self.out.write_all(line).is_err() {
            lose(&self.lost_lines);
        }
    }

    fn tell(&mut self, lost_lines: u64) -> io::Result<()> {
        let lines = lost_lines - self.told_lost_lines;
        let text = format!("{lines} lines of this log were lost: nobody took them");
        match self.form {
            Form::Text => writeln!(self.out, "isolog: {text}"),
            Form::Json => {
                let line = serde_json::json!({ "level": "WARN", "message": text });
                writeln!(self.out, "{line}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::Mutex;

    /// Takes lines while it is open; what it has is seen from outside.
    #[derive(Clone, Default)]
    struct Pipe {
        text: Arc<Mutex<Vec<u8>>>,
        is_broken: Arc<std::sync::atomic::AtomicBool>,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.is_broken.load(Relaxed) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.text.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Pipe {
        fn text(&self) -> String {
            String::from_utf8(self.text.lock().unwrap().clone()).unwrap()
        }
    }

    #[test]
    fn lines_that_nobody_takes_are_counted_and_told_of() {
        let told = "3 lines of this log were lost: nobody took them";
        let json = format!("{{\"level\":\"WARN\",\"message\":\"{told}\"}}");
        assert_eq!(after_three_lost(Form::Text), format!("one\nisolog: {told}\ntwo\n"));
        assert_eq!(after_three_lost(Form::Json), format!("one\n{json}\ntwo\n"));
    }

    fn after_three_lost(form: Form) -> String {
        let pipe = Pipe::default();
        let log = Log::to(pipe.clone(), form).unwrap();
        log.make_writer().write_all(b"one\n").unwrap();
        log.flush();
        pipe.is_broken.store(true, Relaxed);
        for _ in 0..3 {
            log.make_writer().write_all(b"lost\n").unwrap();
        }
        log.flush();
        pipe.is_broken.store(false, Relaxed);
        log.make_writer().write_all(b"two\n").unwrap();
        log.flush();
        pipe.text()
    }

    /// A reader that stands still for good: who logs goes on, in bounded memory.
    #[test]
    fn nobody_waits_for_a_reader_that_stands_still() {
        struct Still(Receiver<()>);
        impl Write for Still {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let _ = self.0.recv();
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (release, held) = mpsc::channel();
        let log = Log::to(Still(held), Form::Text).unwrap();
        let line = [b'x'; 4096];
        let lines = 2 * BYTES_MAX / line.len();
        for _ in 0..lines {
            log.make_writer().write_all(&line).unwrap();
        }
        assert!(log.waiting_bytes.load(Relaxed) <= BYTES_MAX);
        let lost_lines = log.lost_lines.load(Relaxed);
        assert!(lost_lines >= lines as u64 / 2 - 1, "{lost_lines} of {lines}");
        drop(release);
    }
}
