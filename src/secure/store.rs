//! Trust stores and key stores as Kafka's users have them: PEM, PKCS12 and JKS, files and inline.
//!
//! It never asks which kind a store is said to be when its first bytes say which it is: Java too
//! opens PKCS12 under the name JKS.

use std::fmt;
use std::path::PathBuf;

use p12_keystore::Pkcs12Archive;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::PrivatePkcs8KeyDer;
use zeroize::Zeroizing;

use super::files;
use super::files::FileError;
use super::files::Stamp;
use super::jks;
use super::jks::Jks;
use super::pem::Pem;
use super::pem::is_bounded;
use super::secret::Secret;

/// Where a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a file.
    File(PathBuf),
    /// In the config, as PEM.
    Inline(Secret),
}

/// Certificates that are trusted.
#[derive(Clone, Debug)]
pub struct TrustStore {
    /// `ssl.truststore.location` or `ssl.truststore.certificates`.
    pub place: Place,
    /// `ssl.truststore.password`.
    pub password: Option<Secret>,
}

/// A key, and the certificates that say whose it is.
#[derive(Clone, Debug)]
pub struct KeyStore {
    /// Where both are.
    pub place: KeyPlace,
    /// `ssl.keystore.password`.
    pub password: Option<Secret>,
    /// `ssl.key.password`; the store's own where it is absent.
    pub key_password: Option<Secret>,
}

/// Where a key and its certificates are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPlace {
    /// `ssl.keystore.location`.
    File(PathBuf),
    /// `ssl.keystore.key` and `ssl.keystore.certificate.chain`, as PEM.
    Inline {
        /// The key.
        key: Secret,
        /// Its certificates.
        chain: Secret,
    },
}

/// Why a store does not open, and the property that is at fault.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{why}")]
pub struct StoreError {
    /// By its own name, such as `ssl.keystore.location`.
    pub property: &'static str,
    /// What is wrong.
    pub why: StoreFault,
}

/// What is wrong with a store or a setting; never with anything that is in it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreFault {
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// What is in it.
    #[error("{place} does not open: {why}")]
    Broken {
        /// Which store: a path or a property.
        place: String,
        /// What is wrong.
        why: String,
    },
    /// What rustls says of a store or a setting.
    #[error("{0}")]
    Unfit(String),
}

/// A key and its certificates, leaf first.
pub(super) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl TrustStore {
    /// The certificates, at least one.
    pub(super) fn load(&self) -> Result<Vec<CertificateDer<'static>>, StoreError> {
        let (property, name, bytes) = match &self.place {
            Place::File(path) => {
                let bytes = files::read(path).map_err(|why| at(TRUST_FILE, why))?;
                (TRUST_FILE, path.display().to_string(), bytes)
            }
            Place::Inline(text) => (TRUST_TEXT, TRUST_TEXT.to_owned(), plain(text)),
        };
        let broken = |why: &str| broken(property, &name, why);
        let password = self.password.as_ref().map(Secret::expose);
        let found = trusted(&bytes, password).map_err(|why| broken(&why))?;
        if found.is_empty() {
            return Err(broken("it holds no certificate"));
        }
        Ok(found)
    }

    /// Its own property.
    pub(super) fn property(&self) -> &'static str {
        match &self.place {
            Place::File(_) => TRUST_FILE,
            Place::Inline(_) => TRUST_TEXT,
        }
    }

    pub(super) fn stamp(&self) -> Option<Stamp> {
        match &self.place {
            Place::File(path) => files::stamp(path),
            Place::Inline(_) => None,
        }
    }
}

impl KeyStore {
    /// The key and its certificates.
    pub(super) fn load(&self) -> Result<Identity, StoreError> {
        match &self.place {
            KeyPlace::File(path) => {
                let bytes = files::read(path).map_err(|why| at(KEY_FILE, why))?;
                let found = self.identity(&bytes);
                found.map_err(|why| broken(property_of(&why), &path.display().to_string(), &why))
            }
            KeyPlace::Inline { key, chain } => self.inline(key, chain),
        }
    }

    /// The property of its certificates.
    pub(super) fn property(&self) -> &'static str {
        match &self.place {
            KeyPlace::File(_) => KEY_FILE,
            KeyPlace::Inline { .. } => CHAIN_TEXT,
        }
    }

    pub(super) fn stamp(&self) -> Option<Stamp> {
        match &self.place {
            KeyPlace::File(path) => files::stamp(path),
            KeyPlace::Inline { .. } => None,
        }
    }

    fn inline(&self, key: &Secret, chain: &Secret) -> Result<Identity, StoreError> {
        let in_key = |why: &str| match property_of(why) {
            KEY_FILE => broken(KEY_TEXT, KEY_TEXT, why),
            other => broken(other, KEY_TEXT, why),
        };
        let in_chain = |why: &str| broken(CHAIN_TEXT, CHAIN_TEXT, why);
        let read = Pem::read(key.expose().as_bytes()).map_err(in_key)?;
        let key = read.key.ok_or_else(|| in_key("it holds no private key"))?;
        let key = key.open(self.key_password.as_ref()).map_err(in_key)?;
        let chain = Pem::read(chain.expose().as_bytes()).map_err(in_chain)?.certificates;
        if chain.is_empty() {
            return Err(in_chain("it holds no certificate"));
        }
        Ok((chain, key))
    }

    fn identity(&self, bytes: &[u8]) -> Result<Identity, String> {
        let password = self.password.as_ref().map(Secret::expose);
        let key_password = self.key_password.as_ref().map(Secret::expose).or(password);
        match Format::of(bytes)? {
            Format::Pem => {
                let Pem { certificates, key, .. } = Pem::read(bytes)?;
                let key = key.ok_or("it holds no private key")?;
                if certificates.is_empty() {
                    return Err("it holds no certificate".into());
                }
                Ok((certificates, key.open(self.key_password.as_ref())?))
            }
            Format::Jks => {
                let jks = Jks::read(bytes, password)?;
                let key = jks.keys.first().ok_or("it holds no private key")?;
                let open = key.open(key_password.ok_or(NO_PASSWORD)?)?;
                Ok((certificates(key.chain.clone()), pkcs8(&open)))
            }
            Format::Pkcs12 => pkcs12_identity(bytes, password.ok_or(NO_PASSWORD)?),
        }
    }
}

const TRUST_FILE: &str = "ssl.truststore.location";
const TRUST_TEXT: &str = "ssl.truststore.certificates";
const KEY_FILE: &str = "ssl.keystore.location";
const KEY_TEXT: &str = "ssl.keystore.key";
const CHAIN_TEXT: &str = "ssl.keystore.certificate.chain";
const DER: &str = "it is one certificate in DER: make it PEM with `openssl x509 -inform der -in \
                   FILE -out FILE.pem`";
const NO_PASSWORD: &str = "ssl.keystore.password is missing";

/// What is wrong with a key store may be a password that is none of its own.
fn property_of(why: &str) -> &'static str {
    match why {
        NO_PASSWORD => "ssl.keystore.password",
        _ if why.contains("ssl.key.password") => "ssl.key.password",
        _ => KEY_FILE,
    }
}

enum Format {
    Pem,
    Pkcs12,
    Jks,
}

impl Format {
    fn of(bytes: &[u8]) -> Result<Format, String> {
        match bytes {
            // a store begins with its version, a certificate with what is signed
            [0x30, 0x82, _, _, 0x30, ..] | [0x30, 0x81, _, 0x30, ..] => Err(DER.into()),
            [0x30, ..] => Ok(Format::Pkcs12),
            _ if bytes.starts_with(&jks::MAGIC) => Ok(Format::Jks),
            _ if bytes.starts_with(&[0xce; 4]) => {
                Err("it is a JCEKS store: make it PKCS12 with keytool -importkeystore".into())
            }
            _ => Ok(Format::Pem),
        }
    }
}

/// A store that was read and does not open.
pub(super) fn broken(property: &'static str, place: &str, why: &str) -> StoreError {
    let why = StoreFault::Broken { place: place.to_owned(), why: why.to_owned() };
    StoreError { property, why }
}

/// A file that cannot be read.
pub(super) fn at(property: &'static str, why: FileError) -> StoreError {
    StoreError { property, why: why.into() }
}

/// What rustls says of it.
pub(super) fn unfit(property: &'static str, why: impl fmt::Display) -> StoreError {
    StoreError { property, why: StoreFault::Unfit(why.to_string()) }
}

fn plain(text: &Secret) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(text.expose().as_bytes().to_vec())
}

fn certificates(all: Vec<Vec<u8>>) -> Vec<CertificateDer<'static>> {
    all.into_iter().map(CertificateDer::from).collect()
}

fn pkcs8(key: &[u8]) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(key.to_vec()).into()
}

/// Every certificate of a store, also those that belong to a key, as Java trusts neither more nor
/// less in PEM; in PKCS12 and JKS only certificates without a key are trusted.
fn trusted(bytes: &[u8], password: Option<&str>) -> Result<Vec<CertificateDer<'static>>, String> {
    match Format::of(bytes)? {
        Format::Pem => Ok(Pem::read(bytes)?.certificates),
        Format::Jks => Ok(certificates(Jks::read(bytes, password)?.trusted)),
        Format::Pkcs12 => {
            let archive =
                pkcs12(bytes, password.unwrap_or_default()).map_err(|why| match password {
                    Some(_) => why,
                    None => format!("{why}: it is PKCS12, and ssl.truststore.password is missing"),
                })?;
            let lone = archive.certs.iter().filter(|one| one.local_key_id.is_none());
            Ok(lone.map(|one| one.cert.as_der().to_vec().into()).collect())
        }
    }
}

/// What a trust store's bytes make trusted; for whoever tries what hostile bytes do.
pub fn certificates_in(
    bytes: &[u8],
    password: Option<&str>,
) -> Result<Vec<CertificateDer<'static>>, String> {
    trusted(bytes, password)
}

/// The chain of a PKCS#12 key store's bytes, if its key opens; for the same purpose.
pub fn identity_in(bytes: &[u8], password: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    Ok(pkcs12_identity(bytes, password)?.0)
}

fn pkcs12(bytes: &[u8], password: &str) -> Result<Pkcs12Archive, String> {
    if !is_bounded(bytes) {
        return Err("it is protected by scrypt or by more than 10,000,000 rounds".to_owned());
    }
    let opened = Pkcs12Archive::from_pkcs12(bytes, password);
    opened.map_err(|error| match error {
        p12_keystore::error::Error::MacError(_) => {
            "its password is wrong, or it is damaged".to_owned()
        }
        other => format!("{other}"),
    })
}

fn pkcs12_identity(bytes: &[u8], password: &str) -> Result<Identity, String> {
    let archive = pkcs12(bytes, password)?;
    let key = archive.keys.first().ok_or("it holds no private key")?;
    let id = key.local_key_id.as_ref().map(|id| id.0.as_slice());
    let own =
        |one: &&p12_keystore::CertificateBag| id.is_some() && one.local_key_id.as_deref() == id;
    let leaf = archive.certs.iter().find(own).or(archive.certs.first());
    let mut last = leaf.ok_or("it holds no certificate")?;
    let mut chain = vec![last];
    // issuer after issuer, each once
    while let Some(next) = archive.certs.iter().find(|one| {
        one.cert.subject() == last.cert.issuer() && !chain.iter().any(|had| had.cert == one.cert)
    }) {
        chain.push(next);
        last = next;
    }
    let chain = chain.iter().map(|one| one.cert.as_der().to_vec().into()).collect();
    Ok((chain, pkcs8(key.key.as_der())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_store_and_what_lacks_a_password_is_told_in_words() {
        let told = |bytes: &[u8]| trusted(bytes, None).unwrap_err();
        let certificate = [0x30, 0x82, 3, 0, 0x30, 0x82, 2, 0];
        assert!(told(&certificate).contains("openssl x509"), "{}", told(&certificate));
        let store = [0x30, 0x82, 3, 0, 0x02, 0x01, 0x03];
        assert!(told(&store).contains("ssl.truststore.password is missing"), "{}", told(&store));
        assert!(!trusted(&store, Some("x")).unwrap_err().contains("missing"));
    }
}
