//! A tiny client that says exactly what a test wants said, to a simulated or a real broker.
//!
//! It never retries, never looks for leaders, and never uses isolog.

use std::io;
use std::time::Duration;

use bytes::BufMut;
use bytes::Bytes;
use bytes::BytesMut;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::RequestHeader;
use kafka_protocol::messages::ResponseHeader;
use kafka_protocol::protocol::Decodable;
use kafka_protocol::protocol::Encodable;
use kafka_protocol::protocol::Request;
use kafka_protocol::protocol::StrBytes;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;

/// The deadline of every answer.
const ANSWER_WAIT: Duration = Duration::from_secs(40);
/// For how long a frame that is not refused is waited for.
const REFUSAL_WAIT: Duration = Duration::from_secs(5);

/// Any stream.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Io for S {}

/// A connection to one broker.
pub struct Raw {
    stream: Box<dyn Io>,
    correlation_id: i32,
    /// Correlation ids that were sent and not yet answered, oldest first.
    sent: std::collections::VecDeque<i32>,
}

impl Raw {
    /// Speaks over a stream.
    pub fn new(stream: impl Io + 'static) -> Self {
        Self { stream: Box::new(stream), correlation_id: 0, sent: Default::default() }
    }

    /// Asks and waits for the answer.
    pub async fn call<R: Request>(&mut self, version: i16, request: &R) -> io::Result<R::Response> {
        self.send(version, request).await?;
        self.receive::<R>(version).await
    }

    /// Asks without waiting; answers come in the order of the questions.
    pub async fn send<R: Request>(&mut self, version: i16, request: &R) -> io::Result<()> {
        let mut body = BytesMut::new();
        request.encode(&mut body, version.min(R::VERSIONS.max)).map_err(io::Error::other)?;
        self.send_body(R::KEY, version, &body).await
    }

    /// Sends a body under the header of any API and version.
    pub async fn send_body(&mut self, key: i16, version: i16, body: &[u8]) -> io::Result<()> {
        let key_known = ApiKey::try_from(key).map_err(|()| io::ErrorKind::InvalidInput)?;
        self.correlation_id += 1;
        let header = RequestHeader::default()
            .with_request_api_key(key)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation_id)
            .with_client_id(Some(StrBytes::from_static_str("raw")));
        let mut frame = BytesMut::new();
        frame.put_i32(0);
        let header_version = key_known.request_header_version(version);
        header.encode(&mut frame, header_version).map_err(io::Error::other)?;
        frame.put_slice(body);
        let len = (frame.len() - 4) as i32;
        frame[..4].copy_from_slice(&len.to_be_bytes());
        self.sent.push_back(self.correlation_id);
        self.stream.write_all(&frame).await?;
        self.stream.flush().await
    }

    /// Sends the length of a frame and nothing of it, then waits: whether the broker hangs up.
    pub async fn is_refused(&mut self, frame_bytes: i32) -> io::Result<bool> {
        self.stream.write_i32(frame_bytes).await?;
        self.stream.flush().await?;
        match tokio::time::timeout(REFUSAL_WAIT, self.stream.read_u8()).await {
            Err(_) => Ok(false),
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(true),
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => Ok(true),
            Ok(read) => read.map(|_| false),
        }
    }

    /// The next answer.
    pub async fn receive<R: Request>(&mut self, version: i16) -> io::Result<R::Response> {
        let mut body = self.receive_body(R::KEY, version).await?;
        let known = version.min(R::VERSIONS.max);
        let response = R::Response::decode(&mut body, known).map_err(io::Error::other)?;
        if body.is_empty() { Ok(response) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    /// The body of the next answer.
    pub async fn receive_body(&mut self, key: i16, version: i16) -> io::Result<Bytes> {
        let read = self.read_frame();
        let mut frame = tokio::time::timeout(ANSWER_WAIT, read).await??;
        let key = ApiKey::try_from(key).map_err(|()| io::ErrorKind::InvalidInput)?;
        let header_version = key.response_header_version(version);
        let header =
            ResponseHeader::decode(&mut frame, header_version).map_err(io::Error::other)?;
        let expected = self.sent.pop_front();
        if expected != Some(header.correlation_id) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(frame)
    }

    async fn read_frame(&mut self) -> io::Result<Bytes> {
        let len = self.stream.read_i32().await?;
        let mut frame = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        self.stream.read_exact(&mut frame).await?;
        Ok(frame.into())
    }
}
