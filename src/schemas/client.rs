//! One question to a schema registry that has one or more URLs, with a deadline and a bound.
//!
//! It never follows a redirect, never repeats a secret, and shows little of what a peer sends.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::header;
use hyper::header::HeaderValue;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use crate::http::client::Answer;
use crate::http::client::Broken;
use crate::http::client::Kept;
use crate::http::url::Url;
use crate::secure::ClientTls;
use crate::secure::Secret;

/// The largest answer that is read: a list of 200,000 subjects is about 16 MiB.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// How many connections are kept open that nobody asks.
const IDLE_MAX: usize = 8;
/// How often all URLs are tried before a question has failed.
const ROUNDS_MAX: u32 = 4;
/// The pause before the second round; it doubles.
const PAUSE: Duration = Duration::from_millis(250);
/// The most letters of a registry's message that are shown.
const SHOWN_CHARS_MAX: usize = 200;
/// As registries name their JSON.
const JSON: &str = "application/vnd.schemaregistry.v1+json";

/// Who asks.
#[derive(Clone, Debug, Default)]
pub enum Auth {
    /// Nobody in particular.
    #[default]
    None,
    /// `user:password`.
    Basic(Secret),
    /// A token.
    Bearer(Secret),
}

/// A registry, and who asks it.
#[derive(Clone, Debug)]
pub struct Options {
    /// `schema.registry.url`: one registry at several addresses.
    pub urls: Vec<Url>,
    /// Who asks.
    pub auth: Auth,
    /// For the URLs that begin with https.
    pub tls: Option<Arc<ClientTls>>,
    /// The longest that one question at one URL may take.
    pub deadline: Duration,
}

/// Why there is no answer that counts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    /// The registry says no.
    #[error("the registry refuses {asked} ({status}, code {code}): {message}")]
    Refused {
        /// Method and path.
        asked: String,
        /// The HTTP status.
        status: u16,
        /// `error_code`, or the status where there is none.
        code: i64,
        /// Its words, cut short.
        message: String,
    },
    /// No URL gave an answer that counts; the last one's cause.
    #[error(
        "{asked} failed at every URL of the registry, {ROUNDS_MAX} times; the last, {at}: {why}"
    )]
    Unreachable {
        /// Method and path.
        asked: String,
        /// Host and port.
        at: String,
        /// What happened.
        why: String,
    },
    /// An answer that is none of a registry's.
    #[error("{asked}: {why}")]
    Nonsense {
        /// Method and path.
        asked: String,
        /// What is wrong with it.
        why: String,
    },
}

impl Failed {
    /// A registry's code; 0 where it gave none.
    pub fn code(&self) -> i64 {
        match self {
            Failed::Refused { code, .. } => *code,
            _ => 0,
        }
    }

    /// Whether the registry says that something is not there (404 with one of `codes`).
    pub fn is_absent(&self, codes: &[i64]) -> bool {
        matches!(self, Failed::Refused { status: 404, code, .. } if codes.contains(code))
    }
}

/// Asks one registry.
#[derive(Debug)]
pub struct Client {
    options: Options,
    /// The URL that answered last.
    current: AtomicUsize,
    /// Connections that nobody asks now, with the address of each.
    idle: Mutex<Vec<(String, Kept)>>,
}

impl Client {
    /// Asks nothing yet.
    pub fn new(options: Options) -> Client {
        Client { options, current: AtomicUsize::new(0), idle: Mutex::default() }
    }

    /// Its addresses, sorted: who it is, as far as that can be known.
    pub fn addresses(&self) -> String {
        let of = |url: &Url| format!("{}{}", url.authority(), url.path.trim_end_matches('/'));
        let all: BTreeSet<String> = self.options.urls.iter().map(of).collect();
        all.into_iter().collect::<Vec<_>>().join(",")
    }

    /// Asks until one URL answers; 429 and 5xx are no answers. Questions may be repeated, so they
    /// must be such that a second time does no harm.
    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failed> {
        let asked = format!("{method} {path}");
        let (mut at, mut why) = (String::new(), "there is no URL".to_owned());
        for round in 0..ROUNDS_MAX {
            if round > 0 {
                sleep(PAUSE * (1 << (round - 1))).await;
            }
            for _ in 0..self.options.urls.len() {
                let current = self.current.load(Ordering::Relaxed) % self.options.urls.len();
                let url = &self.options.urls[current];
                match self.ask_at(url, method, path, body).await {
                    Ok(answer) if !is_passing(&answer) => return read(asked, &answer),
                    Ok(answer) => why = format!("it answered {}", answer.status),
                    Err(cause) => why = cause,
                }
                at = url.authority();
                self.current.store(current + 1, Ordering::Relaxed);
            }
        }
        Err(Failed::Unreachable { asked, at, why })
    }

    async fn ask_at(
        &self,
        url: &Url,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, String> {
        let request = self.request(url, method, path, body)?;
        let late = |_| format!("no answer within {:?}", self.options.deadline);
        timeout(self.options.deadline, self.exchange(url, request)).await.map_err(late)?
    }

    /// On an idle connection, or a new one where there is none or its peer has just ended it.
    async fn exchange(&self, url: &Url, request: Request<Full<Bytes>>) -> Result<Answer, String> {
        let at = url.authority();
        if let Some(mut kept) = self.taken(&at) {
            match kept.ask(request.clone(), ANSWER_BYTES_MAX).await {
                Ok(answer) => {
                    self.put_back(at, kept);
                    return Ok(answer);
                }
                Err(Broken::Closed | Broken::Io(_)) => {}
                Err(other) => return Err(other.to_string()),
            }
        }
        let mut kept = self.dial(url).await?;
        let answer = kept.ask(request, ANSWER_BYTES_MAX).await;
        let answer = answer.map_err(|cause| cause.to_string())?;
        self.put_back(at, kept);
        Ok(answer)
    }

    fn taken(&self, at: &str) -> Option<Kept> {
        let mut idle = self.idle();
        idle.retain(|(_, kept)| kept.is_open());
        let found = idle.iter().position(|(of, _)| of == at)?;
        Some(idle.swap_remove(found).1)
    }

    fn put_back(&self, at: String, kept: Kept) {
        let mut idle = self.idle();
        if kept.is_open() && idle.len() < IDLE_MAX {
            idle.push((at, kept));
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(String, Kept)>> {
        // it is never left half changed
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn dial(&self, url: &Url) -> Result<Kept, String> {
        let broken = |cause: Broken| cause.to_string();
        let stream = TcpStream::connect((&*url.host, url.port)).await;
        let stream = stream.map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        if !url.is_https {
            return Kept::new(stream).await.map_err(broken);
        }
        let tls = self.options.tls.as_ref().ok_or("no TLS settings for an https URL")?;
        let name = ServerName::try_from(url.host.clone()).map_err(|error| error.to_string())?;
        let stream = TlsConnector::from(tls.config().await).connect(name, stream).await;
        let stream = stream.map_err(|error| crate::secure::io_error(&error, &[]))?;
        Kept::new(stream).await.map_err(broken)
    }

    fn request(
        &self,
        url: &Url,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Request<Full<Bytes>>, String> {
        let uri = format!("{}{path}", url.path.trim_end_matches('/'));
        let mut request = Request::builder().method(method).uri(uri);
        request = request.header(header::HOST, url.authority()).header(header::ACCEPT, JSON);
        let value = match &self.options.auth {
            Auth::None => None,
            Auth::Basic(pair) => {
                Some(Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.expose()))))
            }
            Auth::Bearer(token) => Some(Zeroizing::new(format!("Bearer {}", token.expose()))),
        };
        if let Some(value) = value {
            let value = HeaderValue::from_str(&value);
            let mut value = value.map_err(|_| "the credentials make no header")?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, JSON);
        }
        let body = Full::from(body.map(Value::to_string).unwrap_or_default());
        request.body(body).map_err(|_| "the URL makes no request".to_owned())
    }
}

/// Whether the same question may be answered another time, or by another address.
fn is_passing(answer: &Answer) -> bool {
    answer.status.as_u16() == 429 || answer.status.is_server_error()
}

fn read(asked: String, answer: &Answer) -> Result<Value, Failed> {
    let status = answer.status.as_u16();
    let json = serde_json::from_slice::<Value>(&answer.body);
    match (status, json) {
        (204, _) => Ok(Value::Null),
        (200..=299, Ok(value)) => Ok(value),
        (200..=299, Err(_)) => {
            Err(Failed::Nonsense { asked, why: "the answer is not JSON".to_owned() })
        }
        (300..=399, _) => {
            let why = format!(
                "answered by a redirect ({status}), which is not followed: name the \
                               registry's own URL in schema.registry.url"
            );
            Err(Failed::Nonsense { asked, why })
        }
        (_, json) => Err(refused(asked, status, &json.unwrap_or_default())),
    }
}

fn refused(asked: String, status: u16, json: &Value) -> Failed {
    let message = json["message"].as_str().unwrap_or("no reason is given");
    let mut message = plain(message);
    if matches!(status, 401 | 403) {
        message += " (check basic.auth.user.info or bearer.auth.token, and what they may do)";
    }
    let code = json["error_code"].as_i64().unwrap_or(status.into());
    Failed::Refused { asked, status, code, message }
}

/// A peer's text without what a terminal would obey.
pub(super) fn plain(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(SHOWN_CHARS_MAX).collect()
}
