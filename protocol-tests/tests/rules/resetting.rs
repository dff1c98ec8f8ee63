//! A simulated connection that ends with a reset.
//!
//! It never closes: what the broker has not read is lost, as with linger 0.

use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use protocol_tests::net::NetStream;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;

/// A simulated connection that is aborted when it is dropped, as a socket with linger 0.
pub struct Resetting(Option<NetStream>);

impl Resetting {
    pub fn new(stream: NetStream) -> Self {
        Self(Some(stream))
    }

    fn stream(&mut self) -> Pin<&mut NetStream> {
        Pin::new(self.0.as_mut().expect("it is taken only by the drop"))
    }
}

impl Drop for Resetting {
    fn drop(&mut self) {
        if let Some(stream) = self.0.take() {
            stream.abort();
        }
    }
}

impl AsyncRead for Resetting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream().poll_read(context, buf)
    }
}

impl AsyncWrite for Resetting {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(context)
    }
}
