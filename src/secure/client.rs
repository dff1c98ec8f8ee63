//! What a client needs to speak TLS, made anew when its files change.
//!
//! It never touches a connection that is open: a new certificate is for the next handshake.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use rustls::CipherSuite;
use rustls::ClientConfig;
use rustls::InconsistentKeys;
use rustls::RootCertStore;
use rustls::SupportedCipherSuite;
use rustls::SupportedProtocolVersion;
use rustls::client::ResolvesClientCert;
use rustls::client::Resumption;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::server::VerifierBuilderError;
use rustls::sign::CertifiedKey;
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS12;
use rustls::version::TLS13;

use super::files::Stamp;
use super::p521;
use super::revoked::LISTS;
use super::revoked::RevocationLists;
use super::store::KeyStore;
use super::store::StoreError;
use super::store::TrustStore;
use super::store::broken;
use super::store::unfit;
use super::verify::OnlyThis;
use super::verify::Verifier;

/// So often the files are looked at, at most.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// Sessions that are kept for resumption; one per broker is enough.
const SESSIONS_MAX: usize = 1024;

const SUITES: &str = "ssl.cipher.suites";
const TRUST: &str = "ssl.truststore.location";
const KEYS: &str = "ssl.keystore.location";
/// What webpki calls a certificate without a version.
pub(super) const VERSION_1: &str = "UnsupportedCertVersion";

/// Whether a server must have the name by which it was dialled.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// `ssl.endpoint.identification.algorithm` is `https`.
    Checked,
    /// It is empty.
    Ignored,
}

/// The `ssl.*` properties of one cluster.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Whom to trust; the system's authorities where it is absent.
    pub trust: Option<TrustStore>,
    /// Whom not to trust any more; nothing is looked up where it is absent.
    pub revoked: Option<RevocationLists>,
    /// Who we are, where the server asks.
    pub identity: Option<KeyStore>,
    /// Whether names are checked.
    pub names: Names,
    /// `ssl.enabled.protocols`: TLSv1.2.
    pub tls12: bool,
    /// `ssl.enabled.protocols`: TLSv1.3.
    pub tls13: bool,
    /// `ssl.cipher.suites`; empty for all that rustls has.
    pub cipher_suites: Vec<String>,
}

impl Default for ClientOptions {
    fn default() -> ClientOptions {
        let (trust, revoked, identity, cipher_suites) = (None, None, None, Vec::new());
        let names = Names::Checked;
        ClientOptions { trust, revoked, identity, names, tls12: true, tls13: true, cipher_suites }
    }
}

type Stamps = [Option<Stamp>; 3];

/// The settings of one cluster's connections, and what was made of them.
#[derive(Debug)]
pub struct ClientTls {
    options: ClientOptions,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    config: Arc<ClientConfig>,
    /// What the files were when they were last read, rightly or in vain.
    stamps: Stamps,
    looked_at: Instant,
}

impl ClientTls {
    /// Reads the stores; what is wrong with them is told now and not at the first connection.
    pub fn new(options: ClientOptions) -> Result<ClientTls, StoreError> {
        let stamps = stamps(&options);
        let config = build(&options)?;
        let state = Mutex::new(State { config, stamps, looked_at: Instant::now() });
        Ok(ClientTls { options, state })
    }

    /// The settings for the next handshake. Files that have changed are read on a thread that may
    /// wait; ones that do not open leave everything as it was.
    pub async fn config(self: &Arc<ClientTls>) -> Arc<ClientConfig> {
        let is_due = self.locked(|state| {
            let is_due = state.looked_at.elapsed() >= LOOK_PAUSE;
            if is_due {
                state.looked_at = Instant::now();
            }
            is_due
        });
        if is_due {
            let this = self.clone();
            // a panic there is a bug of a parser: the settings stay
            let _ = tokio::task::spawn_blocking(move || this.look()).await;
        }
        self.locked(|state| state.config.clone())
    }

    fn look(&self) {
        let now = stamps(&self.options);
        if self.locked(|state| state.stamps == now) {
            return;
        }
        let built = build(&self.options);
        match &built {
            Ok(_) => tracing::info!("TLS stores have changed and were read again"),
            Err(error) => {
                tracing::warn!(%error, "TLS stores have changed and do not open: the old ones hold")
            }
        }
        self.locked(|state| {
            state.stamps = now;
            if let Ok(config) = built {
                state.config = config;
            }
        });
    }

    fn locked<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn stamps(options: &ClientOptions) -> Stamps {
    [
        options.trust.as_ref().and_then(TrustStore::stamp),
        options.revoked.as_ref().and_then(RevocationLists::stamp),
        options.identity.as_ref().and_then(KeyStore::stamp),
    ]
}

fn build(options: &ClientOptions) -> Result<Arc<ClientConfig>, StoreError> {
    let provider = Arc::new(provider(&options.cipher_suites)?);
    let versions = versions(options.tls12, options.tls13)?;
    let (roots, pinned) = roots(options.trust.as_ref())?;
    let strict = strict(roots, options.revoked.as_ref(), provider.clone())?;
    let verifier = Arc::new(Verifier::new(strict, options.names, pinned));
    let builder = ClientConfig::builder_with_provider(provider.clone());
    let builder = builder.with_protocol_versions(&versions);
    let builder = builder.map_err(|error| unfit(SUITES, error))?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = match &options.identity {
        Some(store) => builder.with_client_cert_resolver(ours(store, &provider)?),
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
    Ok(Arc::new(config))
}

/// Our own certificate and key. rustls reads no certificate of X.509 version 1, and `openssl x509
/// -req` makes such ones unless it is given extensions; whether one will do is for the broker to
/// say. So of these only that key and certificate belong together is looked at: the certificate
/// holds the key's public half as it stands (RFC 5280 4.1: SubjectPublicKeyInfo).
fn ours(
    store: &KeyStore,
    provider: &CryptoProvider,
) -> Result<Arc<dyn ResolvesClientCert>, StoreError> {
    let (chain, key) = store.load()?;
    let property = store.property();
    let key = provider.key_provider.load_private_key(key).map_err(|_| {
        let text = "the key of the key store is of a kind that isolog cannot sign with: RSA of \
                    2048 bits and more, EC on P-256 or P-384, and Ed25519 will do";
        unfit(property, text)
    })?;
    let leaf = chain.first().cloned();
    let certified = CertifiedKey::new(chain, key);
    let public = certified.key.public_key();
    let holds = |leaf: CertificateDer<'_>, public: &[u8]| {
        leaf.windows(public.len().max(1)).any(|part| part == public)
    };
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
        Err(error) if error.to_string().contains(VERSION_1) => {
            if !leaf.zip(public).is_some_and(|(leaf, public)| holds(leaf, &public)) {
                return Err(unfit(property, "the key store's key is not that of its certificate"));
            }
        }
        Err(error) => {
            let text = format!("the key store's key or certificate is unfit: {error}");
            return Err(unfit(property, text));
        }
    }
    Ok(Arc::new(SingleCertAndKey::from(certified)))
}

/// The check of a chain. With revocation lists every certificate below the authority must be on
/// the safe side of one: a missing list and one that is out of date refuse as well, as OpenSSL's
/// `X509_V_FLAG_CRL_CHECK_ALL` does, for whoever revokes a certificate can withhold a list too.
fn strict(
    roots: RootCertStore,
    revoked: Option<&RevocationLists>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, StoreError> {
    let mut builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
    if let Some(lists) = revoked {
        builder = builder.with_crls(lists.load()?).enforce_revocation_expiration();
    }
    let file = revoked.map(|lists| lists.file.display().to_string()).unwrap_or_default();
    builder.build().map_err(|error| match error {
        VerifierBuilderError::InvalidCrl(why) => {
            broken(LISTS, &file, &format!("a list of it is not taken ({why:?})"))
        }
        other => unfit(TRUST, other),
    })
}

/// A client that talks to the server of this chain and to nobody else: not to another one whose
/// certificate an authority of the chain signed, nor to one that its own key signed.
pub(super) fn only(chain: Vec<CertificateDer<'static>>) -> Result<Arc<ClientConfig>, StoreError> {
    let leaf = chain.first().cloned().ok_or_else(|| unfit(KEYS, "it holds no certificate"))?;
    let provider = Arc::new(provider(&[])?);
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(chain.iter().cloned());
    let strict = strict(roots, None, provider.clone())?;
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(&versions(true, true)?);
    let builder = builder.map_err(|error| unfit(KEYS, error))?.dangerous();
    let inner = Verifier::new(strict, Names::Ignored, chain);
    let verifier = Arc::new(OnlyThis { leaf, inner });
    Ok(Arc::new(builder.with_custom_certificate_verifier(verifier).with_no_client_auth()))
}

/// The authorities, and all certificates of the store as they are.
fn roots(
    trust: Option<&TrustStore>,
) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), StoreError> {
    let mut roots = RootCertStore::empty();
    let Some(store) = trust else {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        let none = "this machine has no certificate authorities: set ssl.truststore.location";
        return match roots.is_empty() {
            true => Err(unfit("security.protocol", none)),
            false => Ok((roots, Vec::new())),
        };
    };
    let all = store.load()?;
    let (good, bad) = roots.add_parsable_certificates(all.iter().cloned());
    if good == 0 {
        let text = format!("none of the trust store's {bad} certificates can be read");
        return Err(unfit(store.property(), text));
    }
    Ok((roots, all))
}

pub(super) fn versions(
    tls12: bool,
    tls13: bool,
) -> Result<Vec<&'static SupportedProtocolVersion>, StoreError> {
    let wanted = [(tls13, &TLS13), (tls12, &TLS12)];
    let all: Vec<_> = wanted.iter().filter(|row| row.0).map(|row| row.1).collect();
    match all.is_empty() {
        true => Err(unfit("ssl.enabled.protocols", "neither TLSv1.2 nor TLSv1.3 is enabled")),
        false => Ok(all),
    }
}

/// ring's own and P-521, with these suites only; an unknown suite is refused with the list of known
/// ones.
pub(super) fn provider(suites: &[String]) -> Result<CryptoProvider, StoreError> {
    let mut provider = ring::default_provider();
    provider.signature_verification_algorithms = p521::beside_ring();
    if suites.is_empty() {
        return Ok(provider);
    }
    let known = provider.cipher_suites;
    let find = |name: &String| {
        let found = known.iter().find(|suite| same(suite.suite(), name)).copied();
        found.ok_or_else(|| unfit(SUITES, unknown(name, &known)))
    };
    let chosen: Result<Vec<SupportedCipherSuite>, StoreError> = suites.iter().map(find).collect();
    provider.cipher_suites = chosen?;
    Ok(provider)
}

fn unknown(name: &str, known: &[SupportedCipherSuite]) -> String {
    let known: Vec<String> = known.iter().map(|suite| java_name(suite.suite())).collect();
    format!("{name} is not there; there are {}", known.join(", "))
}

fn same(suite: CipherSuite, name: &str) -> bool {
    java_name(suite).eq_ignore_ascii_case(name)
}

/// rustls writes TLS13_AES_… where Java and the RFCs write TLS_AES_….
fn java_name(suite: CipherSuite) -> String {
    format!("{suite:?}").replace("TLS13_", "TLS_")
}
