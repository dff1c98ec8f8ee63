//! One question to the service port, with a deadline and a bound on the answer.
//!
//! It never follows a redirect, and never believes a certificate that neither the service's own
//! config nor an authority vouches for.

mod service;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::StatusCode;
use hyper::header;
use hyper::header::HeaderValue;
use rustls::pki_types::ServerName;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use crate::http::client;
use crate::http::client::Answer;
use crate::secure::ClientTls;
use crate::secure::Secret;
use crate::secure::ServerTls;
use crate::secure::inner;
use crate::service::Access;

pub use self::service::Address;
pub use self::service::Credentials;
pub use self::service::parse_url;

/// For how long a whole question may take.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(15);
/// For how long an order may: the service answers after 30 s at the latest, and says why.
const ORDER_WAIT_MAX: Duration = Duration::from_secs(60);
/// The largest answer: 50,000 partitions are about 15 MB of JSON.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// The most letters of a foreign answer that are shown.
const SHOWN_CHARS_MAX: usize = 200;

/// How a service is reached, and as whom.
#[derive(Clone, Debug, Default)]
pub struct Way {
    /// The token that is sent, where there is one.
    pub token: Option<Secret>,
    /// What is spoken.
    pub spoken: Spoken,
}

/// What is spoken with a service.
#[derive(Clone, Debug, Default)]
pub enum Spoken {
    /// HTTP in the open.
    #[default]
    Plain,
    /// TLS, and only the certificate of the service's own config is believed.
    Only(ServerTls),
    /// TLS as everybody speaks it: with authorities, names, and a certificate of ours if one is
    /// asked for.
    Known(Arc<ClientTls>),
}

impl From<Access> for Way {
    fn from(access: Access) -> Way {
        // of several the one that may do the most: it stands last among the lesser ones
        let lesser = access.tokens.into_iter().next_back().map(|(_, token)| token);
        let spoken = access.tls.map_or(Spoken::Plain, Spoken::Only);
        Way { token: access.token.or(lesser), spoken }
    }
}

/// Gets `path` from `address` (host:port) in that way; the error says what failed and what to try.
pub async fn get(address: &str, path: &str, way: &Way) -> Result<Bytes, String> {
    let answer = send(address, "GET", path, None, way).await?;
    let own = said(&answer);
    body(answer).map_err(|cause| match own {
        Some(text) => format!("isolog at {address} says: {text}"),
        None => failed(address, &cause),
    })
}

/// Sends a request and gives whatever is answered; a body is JSON.
pub async fn send(
    address: &str,
    method: &str,
    path: &str,
    body: Option<String>,
    way: &Way,
) -> Result<Answer, String> {
    let wait = if method == "GET" { ANSWER_WAIT_MAX } else { ORDER_WAIT_MAX };
    let late = || Err(format!("no answer within {} s", wait.as_secs()));
    let asked = async {
        let request = request(address, method, path, body, way)?;
        ask(address, request, way).await
    };
    let answered = tokio::time::timeout(wait, asked).await.unwrap_or_else(|_| late());
    answered.map_err(|cause| failed(address, &cause))
}

fn failed(address: &str, cause: &str) -> String {
    format!("cannot ask isolog at {address}: {cause}; does `isolog run` run, and listen there?")
}

async fn ask(address: &str, request: Request<Full<Bytes>>, way: &Way) -> Result<Answer, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let (config, name) = match &way.spoken {
        Spoken::Plain => return exchange(stream, request).await,
        Spoken::Only(tls) => {
            let name = stream.peer_addr().map_err(|error| error.to_string())?;
            let config = tls.client_config().map_err(|error| error.to_string())?;
            (config, ServerName::IpAddress(name.ip().into()))
        }
        Spoken::Known(tls) => (tls.config().await, server_name(address)?),
    };
    let stream = TlsConnector::from(config).connect(name, stream).await.map_err(worded)?;
    let answer = exchange(stream, request).await;
    // whom a server does not know by a certificate hears of it behind the handshake
    let is_unknown = matches!(way.spoken, Spoken::Known(_));
    answer.map_err(|cause| if is_unknown { format!("{cause}; {NO_CERTIFICATE}") } else { cause })
}

/// What may help where a connection ends without an answer.
const NO_CERTIFICATE: &str = "where it lets in only clients with a certificate, give one by \
                              --certificate-location and --key-location";

/// The name by which a service is dialled, which its certificate must have.
fn server_name(address: &str) -> Result<ServerName<'static>, String> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    ServerName::try_from(host).map_err(|_| "its host is no name that a certificate has".to_owned())
}

/// Why TLS did not come to be, with what to give.
fn worded(error: std::io::Error) -> String {
    use rustls::CertificateError::*;
    use rustls::Error::*;
    let text = match inner(&error) {
        // only the certificate of the config is believed: the service may still have an older one
        Some(InvalidCertificate(ApplicationVerificationFailure)) => {
            "who answers there has another certificate than [service] ssl.keystore.location \
             (start isolog again if that file has changed)"
        }
        Some(InvalidCertificate(UnknownIssuer)) => {
            "its certificate is signed by an authority that is not trusted here: give that one's \
             certificate by --ca-location, or the service's own config file"
        }
        Some(InvalidCertificate(NotValidForName | NotValidForNameContext { .. })) => {
            "its certificate is for another host: name it in --url as its certificate does"
        }
        Some(AlertReceived(_)) => {
            return format!("it refused this client in the handshake: {NO_CERTIFICATE}");
        }
        Some(InvalidMessage(_)) => "it does not speak TLS there: use http:// in --url",
        _ => return error.to_string(),
    };
    text.to_owned()
}

fn request(
    address: &str,
    method: &str,
    path: &str,
    body: Option<String>,
    way: &Way,
) -> Result<Request<Full<Bytes>>, String> {
    let mut request = Request::builder().method(method).uri(path);
    request = request.header(header::HOST, address).header(header::ACCEPT, "*/*");
    if let Some(token) = &way.token {
        let value = Zeroizing::new(format!("Bearer {}", token.expose()));
        let mut value = HeaderValue::from_str(&value).map_err(|_| "the token is no header")?;
        value.set_sensitive(true);
        request = request.header(header::AUTHORIZATION, value);
    }
    if body.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    let body = Full::from(body.unwrap_or_default());
    request.header(header::CONNECTION, "close").body(body).map_err(|cause| cause.to_string())
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin,
    request: Request<Full<Bytes>>,
) -> Result<Answer, String> {
    let answer = client::exchange(stream, request, ANSWER_BYTES_MAX).await;
    answer.map_err(|broken| broken.to_string())
}

/// The body of an answer with status 200.
fn body(answer: Answer) -> Result<Bytes, String> {
    if answer.status == StatusCode::OK {
        return Ok(answer.body);
    }
    // four bytes a letter at most, and one letter cut in two
    let shown = &answer.body[..answer.body.len().min(4 * SHOWN_CHARS_MAX + 4)];
    let text = plain(&String::from_utf8_lossy(shown));
    Err(format!("it answered {}: {text}", answer.status))
}

/// What isolog itself says of a request that it refuses.
fn said(answer: &Answer) -> Option<String> {
    let told: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
    let text = told.get("message")?.as_str()?;
    Some(plain(text))
}

/// A peer's text without what a terminal would obey.
fn plain(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(SHOWN_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    use tokio_util::sync::CancellationToken;

    use crate::service::Counter;
    use crate::service::Listen;
    use crate::service::Options;
    use crate::service::view::Check;
    use crate::service::view::LinkView;
    use crate::service::view::PartitionView;
    use crate::service::view::Sight;

    struct One;

    impl Sight for One {
        fn partitions(&self) -> Vec<PartitionView> {
            vec![PartitionView { topic: "orders".into(), ..PartitionView::default() }]
        }

        fn links(&self) -> Vec<LinkView> {
            Vec::new()
        }

        fn readiness(&self) -> Vec<Check> {
            Vec::new()
        }
    }

    #[tokio::test]
    async fn the_service_is_asked_and_its_absence_is_explained() {
        let listen = Listen::new("127.0.0.1:0".parse().unwrap(), Access::default()).unwrap();
        let options = Options::new(listen);
        let counter = Counter::open(&options).await.unwrap();
        let open = Way::default();
        let address = counter.address().to_string();
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(counter.serve(Arc::new(One), shutdown.clone()));
        let answer = get(&address, "/v1/partitions?topic=orders", &open).await.unwrap();
        let views: Vec<PartitionView> = serde_json::from_slice(&answer).unwrap();
        assert_eq!((views.len(), views[0].topic.as_str()), (1, "orders"));
        let said = get(&address, "/v1/partitions?topik=orders", &open).await.unwrap_err();
        assert!(said.contains(" says: ") && said.contains("topic=NAME"), "{said}");
        shutdown.cancel();
        serving.await.unwrap();
        let said = get(&address, "/v1/partitions", &open).await.unwrap_err();
        let start = format!("cannot ask isolog at {address}: Connection refused");
        assert!(said.starts_with(&start) && said.ends_with("and listen there?"), "{said}");
    }

    #[test]
    fn only_a_200_has_a_body_and_others_are_shown_without_what_a_terminal_obeys() {
        let of = |status: u16, text: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            body(Answer { status, body: text.to_owned().into() })
        };
        assert_eq!(of(200, "[]"), Ok("[]".into()));
        let said = of(404, "no \u{1b}[2Jsuch").unwrap_err();
        assert_eq!(said, "it answered 404 Not Found: no [2Jsuch");
        assert!(of(500, &"é".repeat(10_000)).unwrap_err().len() < 3 * SHOWN_CHARS_MAX);
    }
}
