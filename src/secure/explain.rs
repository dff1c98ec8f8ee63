//! What rustls says, in words that a person can act on.
//!
//! It never repeats bytes of a peer.

use std::io;

use rustls::AlertDescription;
use rustls::CertificateError;
use rustls::Error;

use super::client::VERSION_1;

/// What a peer said first that is not TLS.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum NoTls {
    /// An HTTP answer.
    Http,
    /// A length that a Kafka broker would write, or nothing at all.
    Plain,
}

impl NoTls {
    /// Looks at the first bytes that a peer sent; `None` for TLS.
    pub fn of(first: &[u8]) -> Option<NoTls> {
        match first {
            [0x14..=0x17, 3, ..] | [] => None,
            [b'H', b'T', b'T', b'P', ..] => Some(NoTls::Http),
            _ => Some(NoTls::Plain),
        }
    }

    fn words(self) -> &'static str {
        match self {
            NoTls::Http => {
                "an HTTP server answers there, not TLS: check host and port of the listener"
            }
            NoTls::Plain => {
                "the peer does not speak TLS: is this a plaintext listener? Set security.protocol \
                 to PLAINTEXT or SASL_PLAINTEXT, or dial the TLS listener"
            }
        }
    }
}

/// A failed handshake: the error, and what the peer said first.
pub fn io_error(error: &io::Error, first: &[u8]) -> String {
    if let Some(no_tls) = NoTls::of(first) {
        return no_tls.words().to_owned();
    }
    match inner(error) {
        Some(error) => tls_error(error),
        None if error.kind() == io::ErrorKind::UnexpectedEof || is_reset(error) => {
            "the connection was closed in the middle of the TLS handshake: the port may be \
             plaintext (then set security.protocol to PLAINTEXT or SASL_PLAINTEXT), or the broker \
             is starting or refuses our certificate"
                .to_owned()
        }
        None => format!("TLS handshake: {error}"),
    }
}

/// What rustls says inside of an IO error.
pub fn inner(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref::<Error>()
}

fn is_reset(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(error.kind(), ConnectionReset | ConnectionAborted | BrokenPipe)
}

/// One of rustls's errors, during the handshake or after it.
pub fn tls_error(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => certificate(error),
        Error::AlertReceived(alert) => received(*alert),
        Error::InvalidMessage(_) => NoTls::Plain.words().to_owned(),
        Error::PeerIncompatible(why) => format!(
            "broker and isolog have no TLS version or cipher suite in common ({why:?}): TLSv1.2 \
             and TLSv1.3 are spoken; see ssl.enabled.protocols and ssl.cipher.suites on both sides"
        ),
        other => format!("TLS: {other}"),
    }
}

fn certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the broker's certificate has expired: renew it (and check this machine's clock)".into()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the broker's certificate is not valid yet: check the clocks of both machines".into()
        }
        CertificateError::UnknownIssuer => {
            "the broker's certificate is signed by an authority that the trust store does not \
             hold: put its CA into ssl.truststore.location (or ssl.truststore.certificates)"
                .into()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("the broker's certificate is for another host{}", names(error))
        }
        CertificateError::BadSignature => {
            "the broker's certificate has a wrong signature: its chain does not lead to the \
             authority of that name in the trust store"
                .into()
        }
        CertificateError::Revoked => {
            "the broker's certificate, or one above it, is revoked by a list of ssl.crl.location: \
             the broker needs a new one"
                .into()
        }
        CertificateError::UnknownRevocationStatus => {
            "ssl.crl.location holds no list of an authority that signed the broker's certificate \
             or one above it: put that authority's list into the file"
                .into()
        }
        CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => {
            "a revocation list of ssl.crl.location is out of date (nextUpdate): put the \
             authority's new one into the file"
                .into()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the broker's certificate may not be used by servers (extended key usage)".into()
        }
        other if other.to_string().contains(VERSION_1) => {
            "a certificate that the broker shows is of X.509 version 1, which says nothing about \
             what it may be used for and has no names: sign it anew with extensions (openssl x509 \
             -req -extfile with a subjectAltName)"
                .into()
        }
        other if is_algorithm(other) => format!(
            "the broker's certificate, or one above it, has a key or a signature of a kind that \
             isolog cannot check ({other}): RSA of 2048 bits and more, EC on P-256, P-384 or \
             P-521, and Ed25519 will do, with SHA-256 or longer"
        ),
        other if other.to_string().contains("CaUsedAsEndEntity") => {
            "the broker shows an authority's certificate (CA:TRUE) as its own, and the trust store \
             does not hold that very certificate"
                .into()
        }
        other => format!("the broker's certificate is refused: {other}"),
    }
}

fn is_algorithm(error: &CertificateError) -> bool {
    let words = format!("{error:?}");
    words.contains("UnsupportedSignatureAlgorithm")
}

/// The names that a certificate has, as far as rustls tells them.
fn names(error: &CertificateError) -> String {
    let hint = "dial it by a name that the certificate has, or set \
                ssl.endpoint.identification.algorithm to an empty text";
    let CertificateError::NotValidForNameContext { expected, presented } = error else {
        return format!(": {hint}");
    };
    let expected = expected.to_str();
    if presented.is_empty() {
        return format!(
            ": it has no subjectAltName at all, and {expected} was dialled (the CN is not looked \
             at); {hint}"
        );
    }
    let shown: Vec<String> = presented.iter().take(8).map(|name| plain(name)).collect();
    format!(": it is for {}, and {expected} was dialled; {hint}", shown.join(", "))
}

fn plain(name: &str) -> String {
    name.chars().filter(|letter| !letter.is_control()).take(255).collect()
}

/// What the broker says of us.
fn received(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => {
            "the broker requires a client certificate: set ssl.keystore.location (or \
             ssl.keystore.key and ssl.keystore.certificate.chain)"
                .into()
        }
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied
        | AlertDescription::UnsupportedCertificate => format!(
            "the broker refuses our certificate, or requires one and got none ({alert:?}): is its \
             CA in the broker's trust store?"
        ),
        AlertDescription::CertificateExpired => "our certificate has expired: renew it".into(),
        AlertDescription::CertificateRevoked => "our certificate is revoked: renew it".into(),
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
            "the broker ended the handshake: no cipher suite or version in common, or it requires \
             a client certificate, or its own key is of a kind that isolog does not ask for (on \
             P-521 the broker must speak TLSv1.3)"
                .into()
        }
        AlertDescription::ProtocolVersion => {
            "the broker speaks none of our TLS versions: TLSv1.2 or TLSv1.3 must be enabled there \
             (ssl.enabled.protocols)"
                .into()
        }
        AlertDescription::UnrecognisedName => {
            "the broker does not know the host name by which it was dialled".into()
        }
        other => format!("the broker ended the TLS connection with the alert {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_tls_is_named() {
        assert_eq!(NoTls::of(b"HTTP/1.1 400"), Some(NoTls::Http));
        assert_eq!(NoTls::of(&[0x16, 3, 3, 0]), None);
        assert_eq!(NoTls::of(&[]), None);
        assert_eq!(NoTls::of(&[0, 0, 0, 9]), Some(NoTls::Plain));
    }

    #[test]
    fn alerts_say_what_to_set() {
        let said = tls_error(&Error::AlertReceived(AlertDescription::CertificateRequired));
        assert!(said.contains("ssl.keystore.location"), "{said}");
        let said = tls_error(&Error::InvalidCertificate(CertificateError::UnknownIssuer));
        assert!(said.contains("ssl.truststore.location"), "{said}");
    }
}
