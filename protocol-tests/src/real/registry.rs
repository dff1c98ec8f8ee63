//! A real schema registry (`kafka/schemas/run`), and a front before one that counts what is written
//! and stops at one write for as long as a test wants.
//!
//! It never goes by a clock: whoever is to be killed amid a write is held there.

use std::fs;
use std::io;
use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::Sender;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;

use super::RealError;
use super::free_port;
use super::repo;

/// For how long a registry may take to start; the first one ever is built before.
const START_WAIT: Duration = Duration::from_secs(600);
/// For how long an answer is waited for.
const ANSWER_WAIT: Duration = Duration::from_secs(60);
/// The most bytes of a request's head.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// A registry of this process, empty at first; it ends with it.
#[derive(Debug)]
pub struct RealRegistry {
    /// What starts it, and with what before its directory.
    run: (&'static str, Vec<String>),
    port: u16,
    /// What its paths begin with.
    base: &'static str,
    dir: PathBuf,
    child: Child,
}

impl RealRegistry {
    /// Starts one and waits until it answers.
    pub fn start() -> Result<RealRegistry, RealError> {
        RealRegistry::of("schemas", "", &[])
    }

    /// One that keeps its schemas in a topic of that cluster, and finds those that are there.
    pub fn on_kafka(bootstrap: &str) -> Result<RealRegistry, RealError> {
        RealRegistry::of("apicurio", "/apis/ccompat/v7", &[bootstrap])
    }

    fn of(
        kind: &'static str,
        base: &'static str,
        more: &[&str],
    ) -> Result<RealRegistry, RealError> {
        let port = free_port()?;
        let dir = repo().join(format!("target/real/schemas-{}-{port}", process::id()));
        let bad = |e: io::Error| RealError::new(format!("{}: {e}", dir.display()));
        fs::create_dir_all(&dir).map_err(bad)?;
        let run = (kind, more.iter().map(|&one| one.to_owned()).collect());
        let child = spawn(&run, port, &dir).map_err(bad)?;
        let mut registry = RealRegistry { run, port, base, dir, child };
        registry.wait_up()?;
        Ok(registry)
    }

    /// Ends it and starts it again where it was; what it keeps in memory is gone.
    pub fn restart(&mut self) -> Result<(), RealError> {
        drop(self.child.stdin.take());
        let _ended_already = self.child.wait();
        // what the script started ends in its own time
        let until = Instant::now() + START_WAIT;
        while TcpStream::connect(("127.0.0.1", self.port)).is_ok() && Instant::now() < until {
            thread::sleep(Duration::from_millis(50));
        }
        let bad = |e: io::Error| RealError::new(format!("{}: {e}", self.dir.display()));
        self.child = spawn(&self.run, self.port, &self.dir).map_err(bad)?;
        self.wait_up()
    }

    fn wait_up(&mut self) -> Result<(), RealError> {
        let RealRegistry { port, base, .. } = *self;
        let until = Instant::now() + START_WAIT;
        let subjects = format!("{base}/subjects");
        while !matches!(ask(port, "GET", &subjects, None), Ok((200, _))) {
            let has_ended = !matches!(self.child.try_wait(), Ok(None));
            if has_ended || Instant::now() > until {
                let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
                return Err(RealError::new(format!("the registry does not start: {log}")));
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Its URL, for those who speak with it as with any registry.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}{}", self.port, self.base)
    }

    /// Where it listens, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Asks it: the status, and the body where it is JSON. Nothing of isolog is in the way.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let path = format!("{}{path}", self.base);
        ask(self.port, method, &path, body).unwrap_or_else(|e| panic!("{method} {path}: {e}"))
    }

    /// Asks it for what must succeed.
    pub fn must(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let (status, answer) = self.ask(method, path, body);
        assert_eq!(status, 200, "{method} {path} {body:?}: {answer}");
        answer
    }
}

fn spawn((kind, more): &(&str, Vec<String>), port: u16, dir: &PathBuf) -> io::Result<Child> {
    let run = repo().join(format!("protocol-tests/kafka/{kind}/run"));
    let mut command = Command::new(run);
    command.arg(port.to_string()).args(more).arg(dir);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        // its stdin ends, which it takes for its end
        drop(self.child.stdin.take());
        let _ended_already = self.child.wait();
        let _best_effort = fs::remove_dir_all(&self.dir);
    }
}

fn ask(port: u16, method: &str, path: &str, body: Option<&Value>) -> io::Result<(u16, Value)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(ANSWER_WAIT))?;
    let body = body.map(Value::to_string).unwrap_or_default();
    // of 1.0, so that the answer comes in one piece and ends with its connection
    let request = format!(
        "{method} {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or(io::ErrorKind::InvalidData)?;
    Ok((status, serde_json::from_str(body).unwrap_or_default()))
}

/// At which write a front stops.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The write of this number (from 1) never arrives.
    Before(usize),
    /// It arrives, and its answer is never heard.
    After(usize),
}

#[derive(Default)]
struct Seen {
    stop: Option<(Stop, Sender<()>)>,
    /// Method, path and body of each write that was passed on.
    writes: Vec<String>,
}

/// Stands before a registry, and passes on what comes, one request a connection.
#[derive(Clone)]
pub struct Front {
    port: u16,
    seen: Arc<Mutex<Seen>>,
}

impl Front {
    /// Stands before what listens on `port`.
    pub fn before(port: u16) -> Result<Front, RealError> {
        let bad = |e: io::Error| RealError::new(format!("the front: {e}"));
        let listener = TcpListener::bind("127.0.0.1:0").map_err(bad)?;
        let own = listener.local_addr().map_err(bad)?.port();
        let front = Front { port: own, seen: Arc::default() };
        let inside = front.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let front = inside.clone();
                // one that dies on the way has nobody to tell
                thread::spawn(move || front.carry(client, port).ok());
            }
        });
        Ok(front)
    }

    /// Where it listens, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stops once, at that write of all that ever came, and tells.
    pub fn stop_at(&self, stop: Stop) -> Receiver<()> {
        let (sender, stopped) = channel();
        self.seen().stop = Some((stop, sender));
        stopped
    }

    /// Every write that was passed on, in order.
    pub fn writes(&self) -> Vec<String> {
        self.seen().writes.clone()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn carry(&self, mut client: TcpStream, port: u16) -> io::Result<()> {
        let request = request(&mut client)?;
        let text = String::from_utf8_lossy(&request).into_owned();
        let (line, rest) = text.split_once("\r\n").ok_or(io::ErrorKind::InvalidData)?;
        let is_write = !line.starts_with("GET ");
        let body = rest.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let mut told = None;
        if is_write {
            let mut seen = self.seen();
            let number = seen.writes.len() + 1;
            match seen.stop.take() {
                Some((Stop::Before(at), sender)) if at == number => {
                    drop(seen);
                    return hold(&mut client, &sender);
                }
                Some((Stop::After(at), sender)) if at == number => told = Some(sender),
                other => seen.stop = other,
            }
            seen.writes.push(format!("{} {body}", line.trim_end_matches(" HTTP/1.1")));
        }
        let mut registry = TcpStream::connect(("127.0.0.1", port))?;
        // of 1.0, so that the answer ends with its connection
        registry.write_all(text.replacen(" HTTP/1.1\r\n", " HTTP/1.0\r\n", 1).as_bytes())?;
        let mut answer = Vec::new();
        registry.read_to_end(&mut answer)?;
        match told {
            Some(sender) => hold(&mut client, &sender),
            None => {
                client.write_all(&answer)?;
                client.shutdown(Shutdown::Both)
            }
        }
    }
}

/// Tells, and keeps the client waiting until it is dead.
fn hold(client: &mut TcpStream, sender: &Sender<()>) -> io::Result<()> {
    let _nobody_waits = sender.send(());
    client.read_to_end(&mut Vec::new()).map(drop)
}

/// One request, whole.
fn request(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let end = loop {
        let mut part = [0; 4096];
        let count = client.read(&mut part)?;
        bytes.extend_from_slice(&part[..count]);
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if count == 0 || bytes.len() > HEAD_BYTES_MAX {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.map_or(Ok(0), |it| it.trim().parse()).map_err(io::Error::other)?;
    let missing = (end + length).saturating_sub(bytes.len());
    client.take(missing as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}
