//! A line to far away: carries TCP connections to one address, late, and no faster than a rate that
//! all of them share in each direction. In user space, since not every kernel has netem.
//!
//! It never drops a byte. A connection may have as many bytes on their way as come in a round trip
//! and a half at the full rate, as sockets with large enough buffers have.
//!
//!   line --listen 127.0.0.2:9192 --to 127.0.0.1:9092 [--delay-ms 50] [--rate 125000000]
//!
//! --delay-ms: each way. --rate: bytes a second; 0 for no bound.

use peers::Args;
use peers::die;
use std::collections::VecDeque;
use std::io;
use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;
use std::time::Instant;

/// What is read at a time: at 125 MB/s it takes half a millisecond.
const PIECE_BYTES: usize = 64 << 10;
/// The least that a connection may have on its way.
const WINDOW_BYTES_MIN: usize = 4 << 20;

/// One direction of the line, shared by all connections.
struct Direction {
    delay: Duration,
    /// Bytes a second; 0 for no bound.
    rate: u64,
    /// When the last byte that was taken has left.
    free_at: Mutex<Instant>,
}

/// What one connection has on its way.
#[derive(Default)]
struct Way {
    pieces: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    is_ended: bool,
}

impl Direction {
    fn new(delay: Duration, rate: u64) -> Arc<Self> {
        Arc::new(Self { delay, rate, free_at: Mutex::new(Instant::now()) })
    }

    /// When bytes that are taken now have arrived.
    fn arrival(&self, bytes: usize) -> Instant {
        let now = Instant::now();
        if self.rate == 0 {
            return now + self.delay;
        }
        let mut free_at = self.free_at.lock().expect("nobody panics with it");
        *free_at = (*free_at).max(now) + Duration::from_secs_f64(bytes as f64 / self.rate as f64);
        *free_at + self.delay
    }

    fn window_bytes(&self) -> usize {
        let on_their_way = self.rate as f64 * self.delay.as_secs_f64() * 3.0;
        (on_their_way as usize).max(WINDOW_BYTES_MIN)
    }
}

fn main() -> io::Result<()> {
    let args = Args::parse(&["listen", "to", "delay-ms", "rate"], &[]);
    let delay = args.text("delay-ms", "50").parse::<f64>();
    let delay = Duration::from_secs_f64(delay.unwrap_or_else(|_| die("--delay-ms")) / 1e3);
    let rate = args.number("rate", 125_000_000);
    let ways = [Direction::new(delay, rate), Direction::new(delay, rate)];
    let listener = TcpListener::bind(args.need("listen"))?;
    for near in listener.incoming() {
        let (near, far) = (near?, TcpStream::connect(args.need("to"))?);
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        carry(near.try_clone()?, far.try_clone()?, ways[0].clone());
        carry(far, near, ways[1].clone());
    }
    Ok(())
}

/// Two threads: one takes and stamps, the other delivers when it is time.
fn carry(mut from: TcpStream, mut to: TcpStream, direction: Arc<Direction>) {
    let shared = Arc::new((Mutex::new(Way::default()), Condvar::new()));
    let theirs = shared.clone();
    thread::spawn(move || {
        let (way, changed) = &*theirs;
        let window = direction.window_bytes();
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let read = from.read(&mut piece).unwrap_or(0);
            let at = direction.arrival(read);
            let mut now = way.lock().expect("nobody panics with it");
            if read == 0 {
                now.is_ended = true;
                changed.notify_all();
                return;
            }
            now.pieces.push_back((at, piece[..read].to_vec()));
            now.bytes += read;
            changed.notify_all();
            drop(changed.wait_while(now, |now| now.bytes >= window && !now.is_ended));
        }
    });
    thread::spawn(move || {
        let (way, changed) = &*shared;
        loop {
            let now = way.lock().expect("nobody panics with it");
            let idle = |now: &mut Way| now.pieces.is_empty() && !now.is_ended;
            let mut now = changed.wait_while(now, idle).expect("nobody panics with it");
            let Some((at, piece)) = now.pieces.pop_front() else { break };
            drop(now);
            thread::sleep(at.saturating_duration_since(Instant::now()));
            let sent = to.write_all(&piece);
            let mut now = way.lock().expect("nobody panics with it");
            now.bytes -= piece.len();
            now.is_ended |= sent.is_err();
            changed.notify_all();
        }
        let _gone_already = to.shutdown(Shutdown::Both);
    });
}
