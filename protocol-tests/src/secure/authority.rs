//! Authorities and certificates made in memory, with any dates and names.
//!
//! It never writes a file.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::CertificateRevocationListParams;
use rcgen::IsCa;
use rcgen::Issuer;
use rcgen::KeyIdMethod;
use rcgen::KeyPair;
use rcgen::RevokedCertParams;
use rcgen::SerialNumber;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;

/// Who signs.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate.
    pub pem: String,
    der: CertificateDer<'static>,
    /// What its pairs show beside their own certificate.
    above: Vec<CertificateDer<'static>>,
    /// Its own, where another one signed.
    pub serial: u64,
}

/// A certificate and its key.
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The key, PKCS#8.
    pub key: String,
    der: (Vec<CertificateDer<'static>>, Vec<u8>),
    /// By which it is revoked.
    pub serial: u64,
}

/// When a certificate is valid.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Dates {
    /// Today.
    Valid,
    /// Until last year.
    Expired,
    /// From next century.
    Future,
}

impl Authority {
    /// A new one.
    pub fn new(name: &str) -> Authority {
        let (params, key) = authority(name);
        let certificate = params.self_signed(&key).expect("it signs itself");
        let (pem, der) = (certificate.pem(), certificate.der().clone());
        Authority { issuer: Issuer::new(params, key), pem, der, above: Vec::new(), serial: 0 }
    }

    /// Its certificate, DER.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// One below this one: its pairs show the chain of both.
    pub fn below(&self, name: &str) -> Authority {
        let (mut params, key) = authority(name);
        let serial = serial();
        params.serial_number = Some(SerialNumber::from(serial));
        let certificate = params.signed_by(&key, &self.issuer).expect("it signs");
        let (pem, der) = (certificate.pem(), certificate.der().clone());
        let above = vec![der.clone()];
        Authority { issuer: Issuer::new(params, key), pem, der, above, serial }
    }

    /// Its list of revoked certificates, PEM; `until`: the year of the next one.
    pub fn revoke(&self, serials: &[u64], until: i32) -> String {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: rcgen::date_time_ymd(2021, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2020, 1, 1),
            next_update: rcgen::date_time_ymd(until, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).expect("it signs").pem().expect("a text")
    }

    /// A certificate for these names and addresses.
    pub fn sign(&self, names: &[&str], dates: Dates) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        let (from, until) = match dates {
            Dates::Valid => (2020, 2090),
            Dates::Expired => (2020, 2021),
            Dates::Future => (2080, 2090),
        };
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let (key, serial) = (KeyPair::generate().expect("a key"), serial());
        params.serial_number = Some(SerialNumber::from(serial));
        let certificate = params.signed_by(&key, &self.issuer).expect("it signs");
        let mut chain = vec![certificate.der().clone()];
        chain.extend(self.above.iter().cloned());
        Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            der: (chain, key.serialize_der()),
            serial,
        }
    }
}

fn authority(name: &str) -> (CertificateParams, KeyPair) {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    (params, KeyPair::generate().expect("a key"))
}

/// Each certificate has another one, as RFC 5280 4.1.2.2 wants it.
fn serial() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(1000);
    LAST.fetch_add(1, Ordering::Relaxed)
}

impl Pair {
    /// Serves with it; with `clients` only those who have a certificate of that authority.
    pub fn server(&self, clients: Option<&Authority>) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone());
        let builder = builder.with_safe_default_protocol_versions().expect("versions");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add(authority.der.clone()).expect("a root");
                let roots = Arc::new(roots);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
            }
        };
        let (chain, key) = self.der.clone();
        let key = PrivateKeyDer::try_from(key).expect("a key");
        Arc::new(builder.with_single_cert(chain, key).expect("a pair"))
    }
}
