//! One POST to a token endpoint, with a deadline and a bound on the answer.
//!
//! It never follows a redirect, never sends a secret in the open but to loopback, and never repeats
//! what an endpoint answered.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::header;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::cluster::dial::Dial;
use crate::cluster::dial::Stream;
use crate::cluster::dial::TcpDial;
use crate::cluster::dial::tls;
use crate::http::client;
use crate::http::client::Broken;
use crate::http::url::Url;
use crate::ids::Side;
use crate::secure::ClientTls;
use crate::secure::Secret;

/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// A token endpoint, and who asks it.
#[derive(Debug)]
pub struct Endpoint {
    /// Whose tokens: for the count of handshakes.
    pub side: Side,
    /// Where.
    pub url: Url,
    /// `None` for loopback without TLS.
    pub tls: Option<Arc<ClientTls>>,
    /// The client's id.
    pub client: String,
    /// The client's secret.
    pub secret: Secret,
    /// `scope`; empty for none.
    pub scope: String,
    /// `sasl.login.connect.timeout.ms`.
    pub connect_timeout: Duration,
    /// `sasl.login.read.timeout.ms`.
    pub read_timeout: Duration,
}

impl Endpoint {
    /// The body of its answer; the error never holds a byte of it.
    pub async fn ask(&self) -> Result<Bytes, String> {
        let stream = self.connect().await?;
        let exchanged = timeout(self.read_timeout, self.exchange(stream)).await;
        let late = || format!("the token endpoint gave no answer within {:?}", self.read_timeout);
        exchanged.map_err(|_| late())?
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, String> {
        let Url { host, port, .. } = &self.url;
        let failed = |error: &dyn std::fmt::Display| {
            format!("the token endpoint {host}:{port} cannot be reached: {error}")
        };
        let dial = TcpDial { timeout: self.connect_timeout };
        let stream = dial.dial(host, *port).await.map_err(|error| failed(&error))?;
        let Some(tls) = &self.tls else { return Ok(stream) };
        let turns = Semaphore::new(1);
        let shaken = tls::over(stream, host, tls, self.side, &turns, self.connect_timeout).await;
        // the words are for brokers, and hold for any other TLS server
        shaken.map_err(|error| failed(&error.to_string().replace("the broker", "the server")))
    }

    async fn exchange(&self, stream: Box<dyn Stream>) -> Result<Bytes, String> {
        let answer = client::exchange(stream, self.request()?, ANSWER_BYTES_MAX).await;
        let answer = answer.map_err(|broken| match broken {
            Broken::NotHttp | Broken::Closed | Broken::Io(_) => {
                "the token endpoint does not speak HTTP, or closed the connection"
            }
            Broken::TooLong(_) | Broken::CutOff => {
                "the token endpoint's answer is too long or cut off"
            }
        })?;
        let status = answer.status;
        match status.as_u16() {
            200 => Ok(answer.body),
            400 | 401 | 403 => Err(format!(
                "the token endpoint refuses the client ({status}): check client id, secret and \
                 scope"
            )),
            _ => Err(format!("the token endpoint answered {status}")),
        }
    }

    fn request(&self) -> Result<Request<Full<Bytes>>, String> {
        let pair = Zeroizing::new(format!("{}:{}", self.client, self.secret.expose()));
        let basic = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
        let mut basic = header::HeaderValue::from_str(&basic).map_err(|_| "no header of it")?;
        basic.set_sensitive(true);
        let mut body = "grant_type=client_credentials".to_owned();
        if !self.scope.is_empty() {
            body.push_str("&scope=");
            body.push_str(&encoded(&self.scope));
        }
        let request = Request::post(self.url.path.as_str())
            .header(header::HOST, self.url.authority())
            .header(header::AUTHORIZATION, basic)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::CONNECTION, "close")
            .body(Full::new(Bytes::from(body)));
        request.map_err(|_| "the token endpoint's URL makes no request".to_owned())
    }
}

/// `application/x-www-form-urlencoded`.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_encoded() {
        assert_eq!(encoded("a b/c&d"), "a+b%2Fc%26d");
    }
}
