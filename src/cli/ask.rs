//! One GET of the service port, with a deadline and a bound on the answer.
//!
//! It never follows a redirect, and speaks TLS only to the service whose config it has read.

use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::service::Access;

/// For how long a whole question may take.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(15);
/// The largest answer: 50,000 partitions are about 15 MB of JSON.
const ANSWER_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// The most letters of a foreign answer that are shown.
const SHOWN_CHARS_MAX: usize = 200;

/// Gets `path` from `address` (host:port) as one whom `access` lets in; the error says what failed
/// and what to try.
pub async fn get(address: &str, path: &str, access: &Access) -> Result<Vec<u8>, String> {
    let asked = tokio::time::timeout(ANSWER_WAIT_MAX, ask(address, path, access)).await;
    let failed = |cause: String| {
        format!("cannot ask isolog at {address}: {cause}; does `isolog run` run, and listen there?")
    };
    let answer = asked.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
    let answer = answer.map_err(|cause| failed(cause.to_string()))?;
    body(answer).map_err(failed)
}

async fn ask(address: &str, path: &str, access: &Access) -> std::io::Result<Vec<u8>> {
    let stream = TcpStream::connect(address).await?;
    let head = match &access.token {
        Some(token) => format!("Authorization: Bearer {}\r\n", token.expose()),
        None => String::new(),
    };
    let Some(tls) = &access.tls else { return exchange(stream, address, path, &head).await };
    let config = tls.client_config().map_err(std::io::Error::other)?;
    let name = ServerName::IpAddress(stream.peer_addr()?.ip().into());
    let stream = TlsConnector::from(config).connect(name, stream).await.map_err(worded)?;
    exchange(stream, address, path, &head).await
}

/// Only the certificate of the config is believed: the service may still have an older one.
fn worded(error: std::io::Error) -> std::io::Error {
    use rustls::CertificateError::ApplicationVerificationFailure;
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(rustls::Error::InvalidCertificate(ApplicationVerificationFailure)) => {
            std::io::Error::other(
                "who answers there has another certificate than [service] ssl.keystore.location \
                 (start isolog again if that file has changed)",
            )
        }
        _ => error,
    }
}

/// HTTP/1.0, so that the answer comes in one piece and ends with the connection.
async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    address: &str,
    path: &str,
    head: &str,
) -> std::io::Result<Vec<u8>> {
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nAccept: */*\r\n{head}\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    Ok(answer)
}

/// The body of an answer with status 200.
pub fn body(mut answer: Vec<u8>) -> Result<Vec<u8>, String> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.ok_or("the answer is not HTTP")?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    if !status.starts_with("HTTP/1.") {
        return Err("the answer is not HTTP".to_owned());
    }
    let body = answer.split_off(end + 4);
    if status.split(' ').nth(1) != Some("200") {
        // four bytes a letter at most, and one letter cut in two
        let shown = &body[..body.len().min(4 * SHOWN_CHARS_MAX + 4)];
        let text = String::from_utf8_lossy(shown);
        return Err(format!("it answered {} {}", plain(status), plain(&text)));
    }
    if length(lines).is_some_and(|length| length != body.len() as u64) {
        return Err("the answer was cut off".to_owned());
    }
    Ok(body)
}

/// What the head says about the body's length.
fn length<'a>(lines: impl Iterator<Item = &'a str>) -> Option<u64> {
    let mut fields = lines.filter_map(|line| line.split_once(':'));
    let field = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?;
    field.1.trim().parse().ok()
}

/// A peer's text without what a terminal would obey.
fn plain(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(SHOWN_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::Arc;

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
        let options = Options { listen, log_json: false, log_level: "info".into() };
        let counter = Counter::open(&options).await.unwrap();
        let open = Access::default();
        let address = counter.address().to_string();
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(counter.serve(Arc::new(One), shutdown.clone()));
        let answer = get(&address, "/v1/partitions?topic=orders", &open).await.unwrap();
        let views: Vec<PartitionView> = serde_json::from_slice(&answer).unwrap();
        assert_eq!((views.len(), views[0].topic.as_str()), (1, "orders"));
        let said = get(&address, "/v1/partitions?topik=orders", &open).await.unwrap_err();
        assert!(said.contains("400") && said.contains("topic=NAME"), "{said}");
        shutdown.cancel();
        serving.await.unwrap();
        let said = get(&address, "/v1/partitions", &open).await.unwrap_err();
        let start = format!("cannot ask isolog at {address}: Connection refused");
        assert!(said.starts_with(&start) && said.ends_with("and listen there?"), "{said}");
    }

    #[test]
    fn only_a_whole_200_has_a_body() {
        let of = |text: &str| body(text.as_bytes().to_vec());
        assert_eq!(of("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"), Ok(b"[]".to_vec()));
        assert_eq!(of("HTTP/1.0 200 OK\r\n\r\nx"), Ok(b"x".to_vec()));
        assert_eq!(
            of("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n[]"),
            Err("the answer was cut off".into())
        );
        assert_eq!(of("SSH-2.0\r\n\r\n"), Err("the answer is not HTTP".into()));
        assert_eq!(of(""), Err("the answer is not HTTP".into()));
        let said = of("HTTP/1.1 404 Not Found\r\n\r\nno \u{1b}[2Jsuch").unwrap_err();
        assert_eq!(said, "it answered HTTP/1.1 404 Not Found no [2Jsuch");
    }
}
