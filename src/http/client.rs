//! One request over a stream that is open, and its answer, with a bound on all of it.
//!
//! It never dials, never follows a redirect, and never waits without the deadline of its caller.

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::Full;
use http_body_util::LengthLimitError;
use http_body_util::Limited;
use hyper::Request;
use hyper::StatusCode;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::task::JoinSet;

/// Bytes of an answer's status line and headers together.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// What somebody answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body, whole.
    pub body: Bytes,
}

/// Why there is no answer. Nothing of what the peer sent is in it.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// What came is something else.
    #[error("the answer is not HTTP")]
    NotHttp,
    /// The connection ended before a whole head had come.
    #[error("the connection was closed without an answer")]
    Closed,
    /// The connection ended in the body.
    #[error("the answer was cut off")]
    CutOff,
    /// The body is longer than the asker reads.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    /// The stream broke.
    #[error("{0}")]
    Io(hyper::Error),
}

impl From<hyper::Error> for Broken {
    fn from(error: hyper::Error) -> Broken {
        match &error {
            error if error.is_parse() || error.is_parse_too_large() => Broken::NotHttp,
            error if error.is_incomplete_message() || error.is_canceled() => Broken::Closed,
            _ => Broken::Io(error),
        }
    }
}

/// Sends `request`, which names its host, and reads an answer of at most `body_bytes_max`.
pub async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin,
    request: Request<Full<Bytes>>,
    body_bytes_max: usize,
) -> Result<Answer, Broken> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    let answer = async {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), body_bytes_max).collect().await;
        Ok(Answer { status, body: body.map_err(|error| broken(error, body_bytes_max))?.to_bytes() })
    };
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // the connection may end before the last bytes of the answer were looked at
        _ = connection => answer.await,
    }
}

/// A connection that is asked again and again, one question at a time.
#[derive(Debug)]
pub struct Kept {
    sender: http1::SendRequest<Full<Bytes>>,
    /// What moves its bytes ends with it.
    _driver: JoinSet<()>,
}

impl Kept {
    /// Takes a stream that is open.
    pub async fn new(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> Result<Kept, Broken> {
        let mut builder = http1::Builder::new();
        builder.max_buf_size(HEAD_BYTES_MAX);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // whoever asks hears of its end
            let _ended = connection.await;
        });
        Ok(Kept { sender, _driver: driver })
    }

    /// As [`exchange`]; it may be asked again when it has answered and is still open.
    pub async fn ask(
        &mut self,
        request: Request<Full<Bytes>>,
        body_bytes_max: usize,
    ) -> Result<Answer, Broken> {
        let answer = self.sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), body_bytes_max).collect().await;
        let body = body.map_err(|error| broken(error, body_bytes_max))?.to_bytes();
        Ok(Answer { status, body })
    }

    /// Whether the peer has not ended it.
    pub fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }
}

fn broken(error: Box<dyn std::error::Error + Send + Sync>, body_bytes_max: usize) -> Broken {
    if error.is::<LengthLimitError>() {
        return Broken::TooLong(body_bytes_max);
    }
    let is_parse = |error: &hyper::Error| error.is_parse();
    if error.downcast_ref().is_some_and(is_parse) { Broken::NotHttp } else { Broken::CutOff }
}

#[cfg(test)]
mod tests {
    use super::*;

    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWriteExt;
    use tokio::io::duplex;

    #[tokio::test]
    async fn a_kept_connection_answers_until_its_peer_ends_it() {
        let (mut peer, stream) = duplex(1 << 20);
        let mut kept = Kept::new(stream).await.unwrap();
        let request = || Request::get("/x").header("Host", "h:1").body(Full::default()).unwrap();
        for text in ["[]", "[1]"] {
            let served = async {
                let mut asked = [0; 4096];
                assert!(peer.read(&mut asked).await.unwrap() > 0);
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", text.len());
                peer.write_all((head + text).as_bytes()).await.unwrap();
            };
            let (answer, ()) = tokio::join!(kept.ask(request(), 100), served);
            assert_eq!(answer.unwrap().body, text);
        }
        assert!(kept.is_open());
        drop(peer);
        assert_eq!(kept.ask(request(), 100).await.unwrap_err().to_string(), CLOSED);
        assert!(!kept.is_open());
    }

    const CLOSED: &str = "the connection was closed without an answer";

    /// What is made of an answer of these bytes, after which the peer goes.
    async fn answered(text: &str) -> Result<(u16, String), String> {
        let (mut peer, stream) = duplex(1 << 20);
        let request = Request::get("/x").header("Host", "h:1").body(Full::default()).unwrap();
        let served = async move {
            let mut asked = [0; 4096];
            let bytes = peer.read(&mut asked).await.unwrap();
            assert!(asked[..bytes].starts_with(b"GET /x HTTP/1.1\r\n"));
            // one that goes away early is no fault of the test
            let _ = peer.write_all(text.as_bytes()).await;
        };
        let (answer, ()) = tokio::join!(exchange(stream, request, 100), served);
        let answer = answer.map_err(|broken| broken.to_string())?;
        Ok((answer.status.as_u16(), String::from_utf8(answer.body.to_vec()).unwrap()))
    }

    #[tokio::test]
    async fn only_a_whole_answer_is_one() {
        let whole = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]";
        assert_eq!(answered(whole).await, Ok((200, "[]".into())));
        assert_eq!(answered("HTTP/1.0 404 No\r\n\r\nx").await, Ok((404, "x".into())));
        let moved = "HTTP/1.1 302 Found\r\nLocation: /y\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(answered(moved).await, Ok((302, String::new())));
        let cut = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n[]";
        assert_eq!(answered(cut).await, Err("the answer was cut off".into()));
        assert_eq!(answered("HTTP/1.1 200").await, Err(CLOSED.into()));
        assert_eq!(answered("").await, Err(CLOSED.into()));
        assert_eq!(answered("SSH-2.0\r\n\r\n").await, Err("the answer is not HTTP".into()));
    }

    #[tokio::test]
    async fn what_a_peer_sends_is_bounded() {
        let long = format!("HTTP/1.0 200 OK\r\n\r\n{}", "x".repeat(101));
        assert_eq!(answered(&long).await, Err("the answer is longer than 100 bytes".into()));
        let head = format!("HTTP/1.0 200 OK\r\nA: {}", "x".repeat(2 * HEAD_BYTES_MAX));
        assert_eq!(answered(&head).await, Err("the answer is not HTTP".into()));
        let many = format!("HTTP/1.0 200 OK\r\n{}\r\n", "a: b\r\n".repeat(10_000));
        assert_eq!(answered(&many).await, Err("the answer is not HTTP".into()));
    }
}
