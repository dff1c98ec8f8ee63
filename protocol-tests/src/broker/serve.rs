//! One connection: frames in, one request at a time, frames out.
//!
//! It never answers a second request before the first one (broker-facts P18), and reads nothing
//! while its broker is frozen, so that what was sent to it can still be dropped by a reset (A3).

use std::io;
use std::time::Duration;

use bytes::Buf;
use bytes::BufMut;
use bytes::Bytes;
use bytes::BytesMut;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::RequestHeader;
use kafka_protocol::messages::ResponseHeader;
use kafka_protocol::protocol::Decodable;
use kafka_protocol::protocol::Encodable;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::broker::api;
use crate::broker::cluster::TestCluster;
use crate::broker::state::Status;
use crate::broker::takeover::Act;
use crate::broker::takeover::Call;
use crate::net::NetStream;

/// The largest body that is copied behind its head; of a larger one many answers share the memory.
const COPIED_BYTES_MAX: usize = 1 << 20;

/// `socket.request.max.bytes`.
const REQUEST_BYTES_MAX: usize = 100 << 20;

type StatusReceiver = watch::Receiver<(Status, u64)>;

/// What becomes of a request.
pub enum Outcome {
    /// The body of the answer.
    Answer(Bytes),
    /// The same, and for how many ms the connection is not read behind it.
    Throttled(Bytes, i32),
    /// Bytes in place of an answer.
    Raw(Bytes),
    /// No answer, the next request is read (acks=0).
    Nothing,
    /// The connection is stuck.
    Never,
    /// The connection is closed.
    Close,
}

struct Connection {
    cluster: TestCluster,
    broker: i32,
    stream: NetStream,
    status: StatusReceiver,
}

/// Serves a connection until it ends or the broker dies.
pub async fn serve(cluster: TestCluster, broker: i32, stream: NetStream) {
    let status = cluster.look(|state| state.broker(broker).status.subscribe());
    let (start, mut dies) = (*status.borrow(), status.clone());
    let mut connection = Connection { cluster, broker, stream, status };
    tokio::select! {
        biased;
        _ = dies.wait_for(|now| now.0 == Status::Down || now.1 != start.1) => {}
        ended = connection.converse() => {
            // an orderly end: the stream is closed, not reset
            tracing::trace!(broker, ?ended, "connection ended");
            return;
        }
    }
    connection.stream.abort();
}

impl Connection {
    async fn converse(&mut self) -> io::Result<()> {
        loop {
            let frame = self.read_frame().await?;
            let Some(call) = self.read_call(frame) else { return Ok(()) };
            let outcome = self.handle(&call).await;
            running(&mut self.status).await;
            match outcome {
                Outcome::Answer(body) => self.answer(&call, &body, 0).await?,
                Outcome::Throttled(body, ms) => self.answer(&call, &body, ms).await?,
                Outcome::Raw(bytes) => self.stream.write_all(&bytes).await?,
                Outcome::Nothing => {}
                Outcome::Never => std::future::pending().await,
                Outcome::Close => return Ok(()),
            }
        }
    }

    async fn answer(&mut self, call: &Call, body: &Bytes, throttle_ms: i32) -> io::Result<()> {
        if let Err(error) = self.write_answer(call, body).await {
            self.last_request().await?;
            return Err(error);
        }
        let of_api = self.cluster.look(|state| state.throttles.get(&(call.key as i16)).copied());
        let ms = throttle_ms.max(of_api.unwrap_or(0)).max(0);
        self.mute(call, Duration::from_millis(ms as u64)).await;
        Ok(())
    }

    /// The channel is not read for the time that the answer told (B12); what comes nevertheless
    /// is noted.
    async fn mute(&mut self, call: &Call, time: Duration) {
        if time.is_zero() {
            return;
        }
        let told = Instant::now();
        tokio::time::sleep(time).await;
        let arrived = self.stream.arrived().into_iter().filter(|at| *at > told);
        let early = arrived.map(|at| (call.key, call.client_id.clone(), at - told));
        self.cluster.quietly(|state| state.early.extend(early));
    }

    /// A3: to a client that has closed the answer cannot be written, but one more of its requests
    /// is read and done; after an abort there is none to read.
    async fn last_request(&mut self) -> io::Result<()> {
        let frame = self.read_frame().await?;
        if let Some(call) = self.read_call(frame) {
            self.handle(&call).await;
        }
        Ok(())
    }

    async fn read_frame(&mut self) -> io::Result<Bytes> {
        let mut head = self.read_exact(4).await?;
        let len = usize::try_from(head.get_i32()).unwrap_or(usize::MAX);
        if len > REQUEST_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(self.read_exact(len).await?.freeze())
    }

    async fn read_exact(&mut self, len: usize) -> io::Result<BytesMut> {
        let mut bytes = BytesMut::with_capacity(len);
        while bytes.len() < len {
            running(&mut self.status).await;
            let left = len - bytes.len();
            let mut rest = (&mut bytes).limit(left);
            tokio::select! {
                biased;
                _ = self.status.wait_for(|now| now.0 != Status::Up) => {}
                read = self.stream.read_buf(&mut rest) => {
                    if read? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
            }
        }
        Ok(bytes)
    }

    /// The header of a request; `None` ends the connection, as the broker does for what it
    /// cannot read or does not speak (P21).
    fn read_call(&self, mut frame: Bytes) -> Option<Call> {
        if frame.len() < 4 {
            return None;
        }
        let key = ApiKey::try_from((&frame[..]).get_i16()).ok()?;
        let version = (&frame[2..]).get_i16();
        let header_version = key.request_header_version(version);
        let header = RequestHeader::decode(&mut frame, header_version).ok()?;
        let spoken = self.cluster.look(|state| state.spec.version.speaks(key, version));
        if !spoken && key != ApiKey::ApiVersions {
            return None;
        }
        Some(Call {
            broker: self.broker,
            key,
            version,
            correlation_id: header.correlation_id,
            client_id: header.client_id.map(|id| id.to_string()).unwrap_or_default(),
            body: frame,
        })
    }

    async fn handle(&self, call: &Call) -> Outcome {
        let act = self.cluster.quietly(|state| state.controls.ask(call));
        match act {
            None => api::answer(&self.cluster, call).await,
            Some(Act::Answer(body)) => Outcome::Answer(body),
            Some(Act::Raw(bytes)) => Outcome::Raw(bytes),
            Some(Act::Silence) => Outcome::Never,
            Some(Act::Close) => Outcome::Close,
            Some(Act::HandleThenClose) => {
                api::answer(&self.cluster, call).await;
                Outcome::Close
            }
            Some(Act::HandleThenSilence) => {
                api::answer(&self.cluster, call).await;
                Outcome::Never
            }
            Some(Act::Delay(wait)) => {
                tokio::time::sleep(wait).await;
                api::answer(&self.cluster, call).await
            }
            Some(Act::Edit(edit)) => match api::answer(&self.cluster, call).await {
                Outcome::Answer(body) => Outcome::Answer(edit(body)),
                Outcome::Throttled(body, ms) => Outcome::Throttled(edit(body), ms),
                other => other,
            },
        }
    }

    async fn write_answer(&mut self, call: &Call, body: &Bytes) -> io::Result<()> {
        let mut frame = BytesMut::with_capacity(body.len().min(COPIED_BYTES_MAX) + 16);
        frame.put_i32(0);
        let mut header = ResponseHeader::default();
        header.correlation_id = call.correlation_id;
        // an ApiVersions answer has header v0 always, so that any client can read it
        let header_version = call.key.response_header_version(call.version);
        header.encode(&mut frame, header_version).map_err(io::Error::other)?;
        let len = (frame.len() - 4 + body.len()) as i32;
        frame[..4].copy_from_slice(&len.to_be_bytes());
        if body.len() > COPIED_BYTES_MAX {
            self.stream.write_all(&frame).await?;
            return self.stream.write_all(body).await;
        }
        frame.put_slice(body);
        self.stream.write_all(&frame).await
    }
}

/// Waits while the broker is frozen.
async fn running(status: &mut StatusReceiver) {
    // the sender lives as long as the cluster that this connection holds
    let _ = status.wait_for(|now| now.0 == Status::Up).await;
}
