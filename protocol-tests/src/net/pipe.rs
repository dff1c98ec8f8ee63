//! One connection: two pipes with delay, window and every way to end.
//!
//! It never decides which fault happens: the rule and the test do.
//!
//! ```text
//! client --write--> [piece @t1][piece @t2] ... closed_at | reset_at --read--> server
//! client <--read--  [piece @t3] ...                                <--write-- server
//! ```

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;
use std::time::Duration;

use bytes::Buf;
use bytes::Bytes;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::time::Instant;
use tokio::time::Sleep;

use crate::net::Proxy;
use crate::net::Rule;
use crate::net::Way;
use crate::net::later;
use crate::rng::Rng;

/// One direction of a connection.
struct Pipe {
    /// What is on its way, with its time of arrival.
    queue: VecDeque<(Instant, Bytes)>,
    queued_bytes: usize,
    last_at: Instant,
    /// When the writer's end of stream arrives.
    closed_at: Option<Instant>,
    /// When the writer's reset arrives: what is unread then is lost.
    reset_at: Option<Instant>,
    /// The reader is gone.
    deaf: bool,
    /// So many more bytes pass before the connection is cut.
    cut_after: Option<u64>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

struct State {
    rule: Rule,
    rng: Rng,
    held: bool,
    pipes: [Pipe; 2],
}

/// A connection, as the network sees it.
pub struct Link {
    id: u64,
    client: String,
    host: String,
    state: Mutex<State>,
}

/// One end of a connection.
pub struct NetStream {
    link: Arc<Link>,
    /// The index of the pipe that this end writes to.
    out: usize,
    sleep: Option<Pin<Box<Sleep>>>,
    done: bool,
}

impl Pipe {
    fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            queued_bytes: 0,
            last_at: Instant::now(),
            closed_at: None,
            reset_at: None,
            deaf: false,
            cut_after: None,
            reader: None,
            writer: None,
        }
    }

    fn push(&mut self, at: Instant, bytes: Bytes) {
        self.last_at = later(self.last_at, at);
        self.queued_bytes += bytes.len();
        self.queue.push_back((self.last_at, bytes));
        self.wake();
    }

    fn wake(&mut self) {
        self.reader.take().into_iter().for_each(Waker::wake);
        self.writer.take().into_iter().for_each(Waker::wake);
    }

    fn drop_unread(&mut self) {
        self.queue.clear();
        self.queued_bytes = 0;
    }

    /// A reset that arrives at `at`; an earlier one stays.
    fn reset(&mut self, at: Instant) {
        self.reset_at = Some(self.reset_at.map_or(at, |old| if old < at { old } else { at }));
        self.wake();
    }

    fn is_reset(&self, now: Instant) -> bool {
        self.reset_at.is_some_and(|at| at <= now)
    }

    /// When the reader should look again.
    fn next_at(&self) -> Option<Instant> {
        let piece = self.queue.front().map(|(at, _)| *at);
        [piece, self.closed_at, self.reset_at].into_iter().flatten().min()
    }
}

impl Link {
    pub(super) fn new(id: u64, client: &str, host: &str, rule: Rule, rng: Rng) -> Arc<Self> {
        let state = State { rule, rng, held: false, pipes: [Pipe::new(), Pipe::new()] };
        let (client, host) = (client.to_owned(), host.to_owned());
        Arc::new(Self { id, client, host, state: Mutex::new(state) })
    }

    /// A number that grows with every connection of the network.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Who dialled.
    pub fn client(&self) -> &str {
        &self.client
    }

    /// Where it leads.
    pub fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn is_between(&self, client: &str, host: &str) -> bool {
        (client.is_empty() || client == self.client) && host == self.host
    }

    pub(super) fn set_rule(&self, rule: Rule) {
        self.lock().rule = rule;
    }

    /// Holds all bytes, or lets them flow again.
    pub fn hold(&self, held: bool) {
        let mut state = self.lock();
        state.held = held;
        state.pipes.iter_mut().for_each(Pipe::wake);
    }

    /// Resets the connection at both ends, now; what is unread is lost.
    pub fn reset_now(&self) {
        self.lock().reset_both(Instant::now());
    }

    /// Cuts the connection after so many more bytes in one direction.
    pub fn cut_after(&self, way: Way, bytes: u64) {
        let index = if way == Way::ToServer { 0 } else { 1 };
        self.lock().pipes[index].cut_after = Some(bytes);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds a connection")
    }
}

impl State {
    fn arrival(&mut self) -> Instant {
        let (low, high) = self.rule.delay_ms;
        Instant::now() + Duration::from_millis(self.rng.between(low, high))
    }

    fn reset_both(&mut self, at: Instant) {
        for pipe in &mut self.pipes {
            pipe.reset(at);
        }
    }

    /// How many of `len` bytes pass before a cut, if one is due.
    fn cut_at(&mut self, out: usize, len: usize) -> Option<usize> {
        let permille = self.rule.cut_permille;
        if self.rng.chance(permille) {
            return Some(self.rng.between(0, len as u64 - 1) as usize);
        }
        let left = self.pipes[out].cut_after?;
        if left < len as u64 {
            return Some(left as usize);
        }
        self.pipes[out].cut_after = Some(left - len as u64);
        None
    }

    fn write(&mut self, out: usize, bytes: &[u8], context: &mut Context<'_>) -> Wrote {
        let now = Instant::now();
        let back = &self.pipes[1 - out];
        if back.is_reset(now) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if back.closed_at.is_some_and(|at| at <= now) && self.pipes[out].deaf {
            if self.rule.proxy == Proxy::DeliversAlways {
                // the proxy is still there: it takes the answer and drops it
                return Poll::Ready(Ok(bytes.len()));
            }
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if self.pipes[out].reset_at.is_some() {
            // a cut is on its way: what is written behind it arrives nowhere
            return Poll::Ready(Ok(bytes.len()));
        }
        let room = self.rule.window_bytes.saturating_sub(self.pipes[out].queued_bytes);
        if room == 0 {
            self.pipes[out].writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let len = bytes.len().min(room);
        let at = self.arrival();
        match self.cut_at(out, len) {
            None => self.pipes[out].push(at, Bytes::copy_from_slice(&bytes[..len])),
            Some(cut) => {
                self.pipes[out].push(at, Bytes::copy_from_slice(&bytes[..cut]));
                let after = self.pipes[out].last_at + Duration::from_nanos(1);
                self.reset_both(after);
            }
        }
        Poll::Ready(Ok(len))
    }

    /// Moves what has arrived into `buf`; the moment to look again when nothing has.
    fn read(&mut self, out: usize, buf: &mut ReadBuf<'_>, context: &mut Context<'_>) -> Read {
        let now = Instant::now();
        let piece_max = self.rule.piece_bytes_max;
        let (held, pipe) = (self.held, &mut self.pipes[1 - out]);
        pipe.reader = Some(context.waker().clone());
        if held {
            return Read::Later(None);
        }
        if pipe.is_reset(now) {
            pipe.drop_unread();
            return Read::Failed(io::ErrorKind::ConnectionReset.into());
        }
        if let Some((at, piece)) = pipe.queue.front_mut()
            && *at <= now
        {
            let len = piece.len().min(buf.remaining()).min(piece_max);
            buf.put_slice(&piece[..len]);
            piece.advance(len);
            if piece.is_empty() {
                pipe.queue.pop_front();
            }
            pipe.queued_bytes -= len;
            pipe.writer.take().into_iter().for_each(Waker::wake);
            return Read::Some;
        }
        if pipe.queue.is_empty() && pipe.closed_at.is_some_and(|at| at <= now) {
            return Read::End;
        }
        Read::Later(pipe.next_at())
    }

    /// This end says that it writes no more.
    fn finish(&mut self, out: usize) {
        let at = self.arrival();
        let pipe = &mut self.pipes[out];
        if pipe.closed_at.is_none() {
            pipe.closed_at = Some(later(at, pipe.last_at));
            pipe.wake();
        }
    }

    /// This end is gone, orderly or with a reset.
    fn leave(&mut self, out: usize, abort: bool) {
        self.finish(out);
        let behind_proxy = self.rule.proxy == Proxy::DeliversAlways;
        if abort && !behind_proxy {
            let at = self.pipes[out].closed_at.unwrap_or_else(Instant::now);
            self.pipes[out].reset(at);
        }
        let back = &mut self.pipes[1 - out];
        back.deaf = true;
        back.drop_unread();
        back.wake();
    }
}

type Wrote = Poll<io::Result<usize>>;

enum Read {
    Some,
    End,
    Failed(io::Error),
    Later(Option<Instant>),
}

impl NetStream {
    /// When each piece came that waits to be read.
    pub fn arrived(&self) -> Vec<Instant> {
        let state = self.link.lock();
        let now = Instant::now();
        let queue = state.pipes[1 - self.out].queue.iter();
        queue.map(|(at, _)| *at).filter(|at| *at <= now).collect()
    }

    pub(super) fn pair(link: Arc<Link>) -> (Self, Self) {
        let near = Self { link: link.clone(), out: 0, sleep: None, done: false };
        (near, Self { link, out: 1, sleep: None, done: false })
    }

    /// Ends the connection with a reset (linger 0): what the peer has not read is dropped there.
    pub fn abort(mut self) {
        self.leave(true);
    }

    /// The connection that this is an end of.
    pub fn link(&self) -> &Arc<Link> {
        &self.link
    }

    fn leave(&mut self, abort: bool) {
        if !self.done {
            self.done = true;
            self.link.lock().leave(self.out, abort);
        }
    }
}

impl Drop for NetStream {
    fn drop(&mut self) {
        self.leave(false);
    }
}

impl AsyncRead for NetStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            let read = self.link.lock().read(self.out, buf, context);
            let at = match read {
                Read::Some | Read::End => return Poll::Ready(Ok(())),
                Read::Failed(error) => return Poll::Ready(Err(error)),
                Read::Later(None) => return Poll::Pending,
                Read::Later(Some(at)) => at,
            };
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
            sleep.as_mut().reset(at);
            match sleep.as_mut().poll(context) {
                Poll::Pending => return Poll::Pending,
                // tokio's clock ticks in milliseconds: look again at what has come due
                Poll::Ready(()) => continue,
            }
        }
    }
}

impl AsyncWrite for NetStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.link.lock().write(self.out, bytes, context)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.link.lock().finish(self.out);
        Poll::Ready(Ok(()))
    }
}
