//! Who a server must be: rustls's own check, loosened in the two ways that Kafka's users need.
//!
//! It never accepts a certificate without a signature that leads to the trust store.

use std::sync::Arc;

use rustls::CertificateError;
use rustls::DigitallySignedStruct;
use rustls::Error;
use rustls::SignatureScheme;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::danger::ServerCertVerified;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::UnixTime;
use rustls::server::ParsedCertificate;

use super::client::Names;

/// Checks the chain as rustls does, then
///
/// - passes over a wrong name where `ssl.endpoint.identification.algorithm` is empty (the name is
///   checked last: everything else was right);
/// - takes a server whose own certificate stands in the trust store, as Java does: although it is
///   an authority's (`openssl req -x509` makes such ones), or its authority is not there.
#[derive(Debug)]
pub(super) struct Verifier {
    strict: Arc<WebPkiServerVerifier>,
    names: Names,
    pinned: Vec<CertificateDer<'static>>,
}

impl Verifier {
    pub fn new(
        strict: Arc<WebPkiServerVerifier>,
        names: Names,
        pinned: Vec<CertificateDer<'static>>,
    ) -> Verifier {
        Verifier { strict, names, pinned }
    }

    fn by_pin(
        &self,
        certificate: &CertificateDer<'_>,
        name: &ServerName<'_>,
        error: Error,
    ) -> Result<(), Error> {
        if !is_of_chain(&error) || !self.pinned.iter().any(|pin| pin == certificate) {
            return Err(error);
        }
        let parsed = ParsedCertificate::try_from(certificate)?;
        rustls::client::verify_server_name(&parsed, name)
    }
}

/// As a `Verifier`, for one server alone: nothing but the certificate that it has will do.
#[derive(Debug)]
pub(super) struct OnlyThis {
    pub leaf: CertificateDer<'static>,
    pub inner: Verifier,
}

/// What webpki says of a certificate that stands alone: its dates were right, and only the way to
/// an authority is missing, which a pinned certificate does not need.
fn is_of_chain(error: &Error) -> bool {
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => true,
        Error::InvalidCertificate(CertificateError::Other(other)) => {
            other.0.to_string().contains("CaUsedAsEndEntity")
        }
        _ => false,
    }
}

fn is_name(error: &Error) -> bool {
    use CertificateError::NotValidForName;
    use CertificateError::NotValidForNameContext;
    matches!(error, Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let checked = self.strict.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        let checked = match checked {
            Ok(_) => Ok(()),
            Err(error) => self.by_pin(end_entity, server_name, error),
        };
        match checked {
            Err(error) if self.names == Names::Ignored && is_name(&error) => {}
            checked => checked?,
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.strict.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.strict.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.strict.supported_verify_schemes()
    }
}

impl ServerCertVerifier for OnlyThis {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if *end_entity != self.leaf {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
