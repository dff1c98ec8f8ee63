//! One POST to a token endpoint, with a deadline and a bound on the answer.
//!
//! It never follows a redirect, never sends a secret in the open but to loopback, and never repeats
//! what an endpoint answered.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::Full;
use http_body_util::Limited;
use hyper::Request;
use hyper::Uri;
use hyper::client::conn::http1;
use hyper::header;
use hyper_util::rt::TokioIo;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::cluster::dial::Dial;
use crate::cluster::dial::Stream;
use crate::cluster::dial::TcpDial;
use crate::cluster::dial::tls;
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
    pub place: Place,
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

/// A URL, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Whether it begins with https.
    pub is_https: bool,
    /// The host, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What stands behind them.
    pub path: String,
}

impl Place {
    /// Reads a URL. http is for loopback only.
    pub fn parse(url: &str) -> Result<Place, &'static str> {
        let uri: Uri = url.parse().map_err(|_| "must be a URL such as https://idp/token")?;
        let host = uri.host().ok_or("must name a host: https://idp/token")?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let is_local = host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        let is_https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if is_local || host == "localhost" => false,
            _ => return Err("must begin with https:// (http:// is for loopback only)"),
        };
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err("must not hold a user or password");
        }
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Place { is_https, host, port, path })
    }
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
        let Place { host, port, .. } = &self.place;
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
        let broken =
            |_| "the token endpoint does not speak HTTP, or closed the connection".to_owned();
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let answer = async {
            let answer = sender.send_request(self.request()?).await.map_err(broken)?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|_| "the token endpoint's answer is too long or cut off")?;
            match status.as_u16() {
                200 => Ok(body.to_bytes()),
                400 | 401 | 403 => Err(format!(
                    "the token endpoint refuses the client ({status}): check client id, secret and \
                     scope"
                )),
                _ => Err(format!("the token endpoint answered {status}")),
            }
        };
        tokio::pin!(answer);
        tokio::select! {
            answer = &mut answer => answer,
            // the connection may end before the last bytes of the answer were looked at
            _ = connection => answer.await,
        }
    }

    fn request(&self) -> Result<Request<Full<Bytes>>, String> {
        let Place { host, port, path, .. } = &self.place;
        let pair = Zeroizing::new(format!("{}:{}", self.client, self.secret.expose()));
        let basic = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
        let mut basic = header::HeaderValue::from_str(&basic).map_err(|_| "no header of it")?;
        basic.set_sensitive(true);
        let mut body = "grant_type=client_credentials".to_owned();
        if !self.scope.is_empty() {
            body.push_str("&scope=");
            body.push_str(&encoded(&self.scope));
        }
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let request = Request::post(path.as_str())
            .header(header::HOST, format!("{host}:{port}"))
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
    fn urls_are_taken_apart() {
        let place = Place::parse("https://[::1]:8443/token?x=1").unwrap();
        assert_eq!((place.is_https, &*place.host, place.port), (true, "::1", 8443));
        assert_eq!(place.path, "/token?x=1");
        let place = Place::parse("https://idp.example").unwrap();
        assert_eq!((place.port, &*place.path), (443, "/"));
        assert!(!Place::parse("http://127.0.0.1:80/t").unwrap().is_https);
        for bad in ["http://idp/t", "ftp://idp", "idp", "", "https://u:hunter2@idp/", "/token"] {
            let said = Place::parse(bad).unwrap_err();
            assert!(!said.contains("hunter2"), "{said}");
        }
    }

    #[test]
    fn a_scope_is_encoded() {
        assert_eq!(encoded("a b/c&d"), "a+b%2Fc%26d");
    }
}
