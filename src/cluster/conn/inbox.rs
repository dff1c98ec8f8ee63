//! What has been read of the next frame, kept between polls so that nothing is lost by a cancel.
//!
//! It never reads beyond the frame it is in, and never reserves for a size above the cap.
//!
//! A frame's first bytes go through a small staging buffer, which holds whole small frames and
//! saves them a second read; the rest of a large one is read straight into its slab.

use std::io;
use std::pin::Pin;
use std::pin::pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use bytes::BufMut;
use bytes::Bytes;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::ReadBuf;

use crate::cluster::conn::large;
use crate::cluster::conn::large::Large;
use crate::cluster::conn::large::Turn;
use crate::cluster::conn::large::Turns;
use crate::cluster::conn::slabs::Lent;
use crate::cluster::conn::slabs::Slabs;
use crate::wire::error::WireError;
use crate::wire::frame::PREFIX_BYTES;
use crate::wire::frame::response_size;

/// The staging buffer; a frame that fits in with its prefix takes no slab.
const STAGING_BYTES: usize = 4096;

/// Why no frame came.
#[derive(Debug)]
pub(super) enum Fault {
    Closed,
    Io(io::Error),
    Wire(WireError),
}

pub(super) struct Inbox {
    staging: Box<[u8]>,
    /// What is staged and not yet taken lies in `start..end`.
    start: usize,
    end: usize,
    /// The long frame that is being read, and its size.
    long: Option<(Lent, usize)>,
    /// For frames beyond `kept_bytes_max`.
    pub large: Large,
    turn: Option<Turn>,
    pub slabs: Slabs,
    pub bytes_max: usize,
    pub kept_bytes_max: usize,
}

impl Inbox {
    pub fn new(slabs: usize, bytes_max: usize, kept_bytes_max: usize) -> Inbox {
        Inbox {
            staging: vec![0; STAGING_BYTES].into_boxed_slice(),
            start: 0,
            end: 0,
            long: None,
            large: Large::new(&Turns::default()),
            turn: None,
            slabs: Slabs::new(slabs),
            bytes_max,
            kept_bytes_max,
        }
    }

    /// The next whole frame without its prefix.
    pub fn poll_frame<S>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Bytes, Fault>>
    where
        S: AsyncRead + Unpin + ?Sized,
    {
        loop {
            if self.long.is_some() {
                return self.poll_long(stream, cx);
            }
            if let Some(frame) = ready!(self.poll_staged(cx)).map_err(Fault::Wire)? {
                return Poll::Ready(Ok(frame));
            }
            if self.long.is_none() {
                ready!(self.poll_staging(stream, cx)).map_err(Fault::Io)?.ok_or(Fault::Closed)?;
            }
        }
    }

    fn poll_long<S>(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Poll<Result<Bytes, Fault>>
    where
        S: AsyncRead + Unpin + ?Sized,
    {
        let (lent, size) = self.long.as_mut().expect("only called inside a long frame");
        while lent.buf.len() < *size {
            let left = *size - lent.buf.len();
            let mut into = (&mut lent.buf).limit(left);
            let read = pin!(stream.read_buf(&mut into));
            match ready!(std::future::Future::poll(read, cx)) {
                Ok(0) => return Poll::Ready(Err(Fault::Closed)),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(Fault::Io(error))),
            }
        }
        let (lent, _) = self.long.take().expect("it was there a moment ago");
        Poll::Ready(Ok(match self.turn.take() {
            Some(turn) => large::owned(lent.buf, turn),
            None => self.slabs.filled(lent),
        }))
    }

    /// A frame that is staged whole; begins a long one when its prefix is staged.
    fn poll_staged(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, WireError>> {
        let staged = &self.staging[self.start..self.end];
        let Some((prefix, rest)) = staged.split_first_chunk::<PREFIX_BYTES>() else {
            return Poll::Ready(Ok(None));
        };
        let size = response_size(*prefix, self.bytes_max)?;
        if let Some(frame) = rest.get(..size) {
            let frame = Bytes::copy_from_slice(frame);
            self.start += PREFIX_BYTES + size;
            return Poll::Ready(Ok(Some(frame)));
        }
        if size > STAGING_BYTES - PREFIX_BYTES {
            let mut lent = if size > self.kept_bytes_max {
                // nothing more is read, and no room made, before it is this connection's turn
                self.turn = Some(ready!(self.large.poll_turn(cx)));
                Lent::fresh(size)
            } else {
                self.slabs.lend(size, self.kept_bytes_max)
            };
            lent.buf.extend_from_slice(rest);
            self.long = Some((lent, size));
            self.start = self.end;
        }
        Poll::Ready(Ok(None))
    }

    /// Reads what there is into the staging buffer; `None` at the end of the stream.
    fn poll_staging<S>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Option<()>>>
    where
        S: AsyncRead + Unpin + ?Sized,
    {
        self.staging.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let mut into = ReadBuf::new(&mut self.staging[self.end..]);
        ready!(Pin::new(stream).poll_read(cx, &mut into))?;
        let read = into.filled().len();
        self.end += read;
        Poll::Ready(Ok((read > 0).then_some(())))
    }
}
