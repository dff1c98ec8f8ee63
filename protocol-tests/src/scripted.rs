//! A network in memory whose hosts follow scripts: peers that answer, lie, stall or hang up.
//!
//! It never speaks through `isolog::wire`: its bytes are made by hand or by `kafka-protocol`.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;

use bytes::Buf;
use bytes::BufMut;
use bytes::Bytes;
use bytes::BytesMut;
use isolog::cluster::dial::Dial;
use isolog::cluster::dial::DialError;
use isolog::cluster::dial::Dialling;
use isolog::cluster::dial::Stream;
use kafka_protocol::messages::ApiVersionsResponse;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::protocol::Encodable;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::io::DuplexStream;
use tokio::io::ReadBuf;
use tokio::io::duplex;

/// What the kernel would hold between the two ends, in bytes.
const PIPE_BYTES: usize = 64 * 1024;

/// Our end of a stream in memory; it notes how it was ended.
pub struct MemStream {
    inner: DuplexStream,
    aborted: Arc<AtomicBool>,
}

impl MemStream {
    /// A stream, its other end, and the flag that `abort` sets.
    pub fn pair(bytes: usize) -> (MemStream, End, Arc<AtomicBool>) {
        let (near, far) = duplex(bytes);
        let aborted = Arc::new(AtomicBool::new(false));
        (MemStream { inner: near, aborted: aborted.clone() }, End { stream: far }, aborted)
    }
}

impl AsyncRead for MemStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, into)
    }
}

impl AsyncWrite for MemStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl Stream for MemStream {
    fn abort(self: Box<Self>) {
        self.aborted.store(true, Ordering::SeqCst);
    }
}

/// One request as the peer sees it.
#[derive(Clone, Debug)]
pub struct Request {
    /// The API's number.
    pub api: i16,
    /// The version asked in.
    pub version: i16,
    /// To be repeated in the answer.
    pub correlation: i32,
    /// Behind the head.
    pub body: Bytes,
}

/// The peer's end of a stream.
pub struct End {
    /// For bytes that are no answers.
    pub stream: DuplexStream,
}

impl End {
    /// The next whole request; `None` when the client has ended the stream.
    pub async fn request(&mut self) -> Option<Request> {
        let size = self.stream.read_i32().await.ok()?;
        let mut frame = vec![0; size as usize];
        self.stream.read_exact(&mut frame).await.ok()?;
        let mut frame = Bytes::from(frame);
        let (api, version, correlation) = (frame.get_i16(), frame.get_i16(), frame.get_i32());
        let client_id_bytes = frame.get_i16() as usize;
        frame.advance(client_id_bytes);
        assert_eq!(frame.get_u8(), 0, "no tags");
        Some(Request { api, version, correlation, body: frame })
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// Answers with a body.
    pub async fn answer(&mut self, request: &Request, body: &[u8]) {
        self.send(&frame(request, body)).await;
    }

    /// Answers with a message.
    pub async fn answer_with(&mut self, request: &Request, message: &impl Encodable) {
        let mut body = BytesMut::new();
        message.encode(&mut body, request.version).expect("a script answers in a fitting version");
        self.answer(request, &body).await;
    }

    /// Answers the first request, which must be ApiVersions 3, with these ranges.
    pub async fn greet(&mut self, ranges: &[(i16, i16, i16)]) {
        let request = self.request().await.expect("a request");
        assert_eq!((request.api, request.version), (18, 3));
        let range = |row: &(i16, i16, i16)| {
            ApiVersion::default()
                .with_api_key(row.0)
                .with_min_version(row.1)
                .with_max_version(row.2)
        };
        let ranges = ranges.iter().map(range).collect();
        self.answer_with(&request, &ApiVersionsResponse::default().with_api_keys(ranges)).await;
    }
}

/// The frame that answers a request.
pub fn frame(request: &Request, body: &[u8]) -> Vec<u8> {
    let tags = usize::from(request.api != 18);
    let mut out = Vec::new();
    out.put_i32((4 + tags + body.len()) as i32);
    out.put_i32(request.correlation);
    out.put_bytes(0, tags);
    out.put_slice(body);
    out
}

/// What a 4.3.1 broker offers of the APIs spoken here.
pub const MODERN: &[(i16, i16, i16)] = &[
    (0, 0, 13),
    (1, 4, 18),
    (2, 1, 11),
    (3, 0, 13),
    (18, 0, 4),
    (19, 2, 7),
    (21, 0, 2),
    (23, 2, 4),
    (32, 1, 4),
    (37, 0, 3),
    (44, 0, 1),
    (60, 0, 2),
    (61, 0, 0),
];

/// What a host does with one stream.
pub type Served = Pin<Box<dyn Future<Output = ()> + Send>>;
type Script = Arc<dyn Fn(End) -> Served + Send + Sync>;

/// Hosts by `host:port`; everything else refuses.
#[derive(Default)]
pub struct Net {
    hosts: Mutex<BTreeMap<String, Script>>,
    dials: Mutex<Vec<(String, tokio::time::Instant)>>,
}

impl Net {
    /// Lets a host follow a script from now on, for each stream to it.
    pub fn host<F>(&self, address: &str, script: impl Fn(End) -> F + Send + Sync + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let script: Script = Arc::new(move |end| Box::pin(script(end)));
        self.hosts
            .lock()
            .expect("no script panics while it holds it")
            .insert(address.to_owned(), script);
    }

    /// Takes a host away.
    pub fn kill(&self, address: &str) {
        self.hosts.lock().expect("no script panics while it holds it").remove(address);
    }

    /// Every dial so far, and when.
    pub fn dials(&self) -> Vec<(String, tokio::time::Instant)> {
        self.dials.lock().expect("no script panics while it holds it").clone()
    }
}

impl Dial for Net {
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> Dialling<'a> {
        Box::pin(async move {
            let address = format!("{host}:{port}");
            self.dials
                .lock()
                .expect("no script panics while it holds it")
                .push((address.clone(), tokio::time::Instant::now()));
            let script = self
                .hosts
                .lock()
                .expect("no script panics while it holds it")
                .get(&address)
                .cloned();
            let script = script.ok_or(DialError::Refused)?;
            let (near, far, _) = MemStream::pair(PIPE_BYTES);
            tokio::spawn(script(far));
            Ok(Box::new(near) as Box<dyn Stream>)
        })
    }
}
