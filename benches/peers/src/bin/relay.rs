//! The floor: what it costs to receive whole frames over TCP and send them on, in one thread, with
//! or without a CRC-32C over each. No replicator in user space can be cheaper.
//!
//! It never looks into a frame. Sender and sink are child processes, so the CPU it prints is the
//! relay's own.
//!
//!   relay [--frame 64k] [--total 4g] [--crc]

use peers::Args;
use peers::cpu_seconds;
use peers::die;
use std::io;
use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::net::TcpStream;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Instant;

const PREFIX_BYTES: usize = 4;

fn main() -> io::Result<()> {
    let args = Args::parse(&["frame", "total", "role", "address"], &["crc"]);
    let frame_bytes = args.number("frame", 64 << 10);
    let frame_bytes = usize::try_from(frame_bytes).unwrap_or_else(|_| die("--frame is too much"));
    let frames = args.number("total", 4 << 30) / frame_bytes.max(1) as u64;
    match args.text("role", "relay") {
        "sender" => send(args.need("address"), frame_bytes, frames),
        "sink" => sink(args.need("address")),
        _ => relay(&args, frame_bytes, frames),
    }
}

/// Length prefix, then the frame, as Kafka frames a response.
fn send(address: &str, frame_bytes: usize, frames: u64) -> io::Result<()> {
    let mut to = TcpStream::connect(address)?;
    let mut frame = vec![0x5a; PREFIX_BYTES + frame_bytes];
    let length = u32::try_from(frame_bytes).unwrap_or_else(|_| die("--frame is too much"));
    frame[..PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
    for _ in 0..frames {
        to.write_all(&frame)?;
    }
    Ok(())
}

fn sink(address: &str) -> io::Result<()> {
    let mut from = TcpStream::connect(address)?;
    let mut buffer = vec![0; 1 << 20];
    while from.read(&mut buffer)? > 0 {}
    Ok(())
}

fn relay(args: &Args, frame_bytes: usize, frames: u64) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut sink_child = child(args, "sink", &listener)?;
    let (mut to, _) = listener.accept()?;
    let mut sender_child = child(args, "sender", &listener)?;
    let (mut from, _) = listener.accept()?;
    let (started, cpu_before) = (Instant::now(), cpu_seconds());
    let crc = forward(&mut from, &mut to, frame_bytes, args.has("crc"))?;
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds() - cpu_before);
    drop(to);
    sender_child.wait()?;
    sink_child.wait()?;
    let bytes = frames * frame_bytes as u64;
    println!(
        "{{\"peer\":\"relay\",\"frame_bytes\":{frame_bytes},\"crc\":{},\"bytes\":{bytes},\
         \"seconds\":{seconds:.3},\"cpu_seconds\":{cpu:.2},\"cpu_seconds_per_gb\":{:.3},\
         \"check\":\"{crc:08x}\"}}",
        args.has("crc"),
        cpu / (bytes as f64 / 1e9),
    );
    Ok(())
}

fn child(args: &Args, role: &str, listener: &TcpListener) -> io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--role", role, "--address", &listener.local_addr()?.to_string()]);
    command.args(["--frame", args.text("frame", "64k"), "--total", args.text("total", "4g")]);
    command.stdin(Stdio::null()).spawn()
}

/// Until the sender closes; the sum of the CRCs keeps them from being optimised away.
fn forward(
    from: &mut TcpStream,
    to: &mut TcpStream,
    frame_bytes_max: usize,
    crc: bool,
) -> io::Result<u32> {
    let mut frame = vec![0; PREFIX_BYTES + frame_bytes_max];
    let mut crcs = 0u32;
    loop {
        match from.read_exact(&mut frame[..PREFIX_BYTES]) {
            Err(end) if end.kind() == io::ErrorKind::UnexpectedEof => return Ok(crcs),
            other => other?,
        }
        let prefix = frame[..PREFIX_BYTES].try_into().expect("four bytes");
        let length = PREFIX_BYTES + u32::from_be_bytes(prefix) as usize;
        if length > frame.len() {
            die("a frame is longer than --frame");
        }
        from.read_exact(&mut frame[PREFIX_BYTES..length])?;
        if crc {
            crcs = crc32c::crc32c(&frame[PREFIX_BYTES..length]).wrapping_add(crcs);
        }
        to.write_all(&frame[..length])?;
    }
}
