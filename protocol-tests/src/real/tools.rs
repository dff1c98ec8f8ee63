//! Java programs that run to their end, all in one JVM of this process (`kafka/Tools.java`).
//!
//! It never runs what lives as long as a test does: a producer at work has a JVM of its own.

use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::process::Child;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::PoisonError;

use super::RealError;
use super::script;

/// What a tool may write to one of its streams.
const SAID_BYTES_MAX: u32 = 64 << 20;

/// The JVM, whose stdin is open for as long as this process lives, and where it listens.
struct Tools {
    child: Child,
    port: u16,
}

static TOOLS: Mutex<Option<Tools>> = Mutex::new(None);

/// Runs `main` of a class of `protocol-tests/kafka` or of Kafka: what it wrote to stdout, or, when
/// its status is not 0, an error with all that it said.
pub fn tool(class: &str, words: &[impl AsRef<str>]) -> Result<String, RealError> {
    let bad = |e: io::Error| RealError::new(format!("Tools.java, {class}: {e}"));
    let all: Vec<&str> = [class].into_iter().chain(words.iter().map(AsRef::as_ref)).collect();
    let (status, said) = ask(port()?, &all).map_err(bad)?;
    let [out, err] = said.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    if status == 0 {
        return Ok(out);
    }
    Err(RealError::new(format!("{}: status {status}\n{out}{err}", all.join(" "))))
}

/// Starts the JVM, unless it runs.
fn port() -> Result<u16, RealError> {
    let mut tools = TOOLS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(tools) = &mut *tools
        && matches!(tools.child.try_wait(), Ok(None))
    {
        return Ok(tools.port);
    }
    let mut command = script();
    command.args(["java", "Tools"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let bad = |e: &dyn std::fmt::Display| RealError::new(format!("{:?}: {e}", script()));
    let mut child = command.spawn().map_err(|e| bad(&e))?;
    let stdout = child.stdout.take().ok_or_else(|| bad(&"no stdout"))?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).map_err(|e| bad(&e))?;
    let port = line.trim().parse().map_err(|e| bad(&format!("{line:?}: {e}")))?;
    *tools = Some(Tools { child, port });
    Ok(port)
}

fn ask(port: u16, words: &[&str]) -> io::Result<(u32, [Vec<u8>; 2])> {
    let mut request = length(words.len())?.to_vec();
    for word in words {
        request.extend(length(word.len())?);
        request.extend(word.as_bytes());
    }
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(&request)?;
    let status = number(&mut stream)?;
    let out = counted(&mut stream)?;
    Ok((status, [out, counted(&mut stream)?]))
}

fn length(length: usize) -> io::Result<[u8; 4]> {
    u32::try_from(length).map(u32::to_be_bytes).map_err(io::Error::other)
}

fn number(from: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    from.read_exact(&mut bytes)?;
    Ok(u32::from_be_bytes(bytes))
}

fn counted(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let count = number(from)?;
    if count > SAID_BYTES_MAX {
        return Err(io::Error::other(format!("{count} bytes are more than a tool says")));
    }
    let mut bytes = Vec::new();
    from.take(count.into()).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == u64::from(count) {
        Ok(bytes)
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}
