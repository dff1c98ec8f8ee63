//! What the service port needs to speak TLS.
//!
//! It never serves without a key of its own.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::client::VERSION_1;
use super::client::only;
use super::client::provider;
use super::client::versions;
use super::store::KeyStore;
use super::store::StoreError;
use super::store::TrustStore;
use super::store::unfit;

/// Which clients are let in.
#[derive(Clone, Debug)]
pub enum ClientAuth {
    /// All: a token tells who they are.
    None,
    /// Those with a certificate of these authorities.
    Required(TrustStore),
}

/// The `ssl.*` properties of the service port.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Who we are.
    pub identity: KeyStore,
    /// Who may come.
    pub clients: ClientAuth,
}

/// How many letters of a certificate's subject are told.
const SUBJECT_LETTERS_MAX: usize = 256;

/// The subject of a certificate that was verified, as RFC 4514 writes it (`CN=ops,O=Example`);
/// `None` where it has none that can be read.
pub fn subject(certificate: &CertificateDer<'_>) -> Option<String> {
    let parsed = Certificate::from_der(certificate.as_ref()).ok()?;
    let told = parsed.tbs_certificate().subject().to_string();
    let is_plain = !told.is_empty() && !told.contains(char::is_control);
    is_plain.then(|| told.chars().take(SUBJECT_LETTERS_MAX).collect())
}

/// Ready to be served with.
#[derive(Clone, Debug)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    chain: Vec<CertificateDer<'static>>,
}

impl ServerTls {
    /// Reads the stores.
    pub fn new(options: &ServerOptions) -> Result<ServerTls, StoreError> {
        let own = options.identity.property();
        let provider = Arc::new(provider(&[])?);
        let builder = ServerConfig::builder_with_provider(provider.clone());
        let builder = builder.with_protocol_versions(&versions(true, true)?);
        let builder = builder.map_err(|error| unfit(own, error))?;
        let builder = match &options.clients {
            ClientAuth::None => builder.with_no_client_auth(),
            ClientAuth::Required(trust) => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(trust.load()?);
                let roots = Arc::new(roots);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
                let verifier = verifier.map_err(|error| unfit(trust.property(), error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let (chain, key) = options.identity.load()?;
        let config = builder.with_single_cert(chain.clone(), key).map_err(|error| {
            let is_old = error.to_string().contains(VERSION_1);
            let text = "its certificate is of X.509 version 1: sign it anew with extensions \
                        (openssl x509 -req -extfile with a subjectAltName)";
            if is_old { unfit(own, text) } else { unfit(own, error) }
        })?;
        Ok(ServerTls { config: Arc::new(config), chain })
    }

    /// For the acceptor.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }

    /// For a client on this machine that shares our config: it talks to this very server only.
    pub fn client_config(&self) -> Result<Arc<ClientConfig>, StoreError> {
        only(self.chain.clone())
    }
}
