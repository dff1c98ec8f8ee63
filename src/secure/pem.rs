//! PEM text: certificates, revocation lists and one private key, encrypted or not.
//!
//! It never repeats a line of what it reads: a key may be in it. Kafka's users write PEM into one
//! line of a `.properties` file, with blanks for line breaks (`DefaultSslEngineFactory.PemParser`),
//! which the readers of `rustls-pki-types` do not take: so the sections are found here.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pkcs8::EncryptedPrivateKeyInfoRef;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::PrivatePkcs8KeyDer;
use zeroize::Zeroizing;

use super::secret::Secret;

/// The most sections of one text; all public authorities together are 150.
const SECTIONS_MAX: usize = 4096;
const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";

/// What a PEM text holds.
#[derive(Default)]
pub struct Pem {
    /// Its certificates in order.
    pub certificates: Vec<CertificateDer<'static>>,
    /// Its lists of revoked certificates.
    pub revocation_lists: Vec<CertificateRevocationListDer<'static>>,
    /// Its first private key.
    pub key: Option<PemKey>,
}

/// A private key as the text has it.
pub enum PemKey {
    /// For whoever reads the text.
    Plain(PrivateKeyDer<'static>),
    /// PKCS#8 under a password.
    Encrypted(Zeroizing<Vec<u8>>),
}

/// Why a text is not taken.
type Why = &'static str;

impl Pem {
    /// Reads a text; sections of other kinds are passed over.
    pub fn read(text: &[u8]) -> Result<Pem, Why> {
        let mut left = std::str::from_utf8(text).map_err(|_| "it is no PEM text")?;
        let mut pem = Pem::default();
        for _ in 0..SECTIONS_MAX {
            let Some((_, rest)) = left.split_once(BEGIN) else { return Ok(pem) };
            let (label, rest) = rest.split_once(DASHES).ok_or(BROKEN)?;
            let end = format!("-----END {label}-----");
            let (body, rest) = rest.split_once(end.as_str()).ok_or(BROKEN)?;
            pem.take(label, body)?;
            left = rest;
        }
        Err("it has too many sections")
    }

    fn take(&mut self, label: &str, body: &str) -> Result<(), Why> {
        match label {
            "CERTIFICATE" | "X509 CERTIFICATE" => {
                self.certificates.push(decode(body)?.to_vec().into());
            }
            "X509 CRL" => self.revocation_lists.push(decode(body)?.to_vec().into()),
            _ if self.key.is_some() => {}
            "ENCRYPTED PRIVATE KEY" => self.key = Some(PemKey::Encrypted(decode(body)?)),
            "PRIVATE KEY" => self.plain(PrivateKeyDer::Pkcs8(decode(body)?.to_vec().into())),
            "RSA PRIVATE KEY" | "EC PRIVATE KEY" if body.contains("ENCRYPTED") => {
                return Err("its key is encrypted in OpenSSL's old way: make it PKCS#8 with \
                            openssl pkcs8 -topk8");
            }
            "RSA PRIVATE KEY" => self.plain(PrivateKeyDer::Pkcs1(decode(body)?.to_vec().into())),
            "EC PRIVATE KEY" => self.plain(PrivateKeyDer::Sec1(decode(body)?.to_vec().into())),
            _ => {}
        }
        Ok(())
    }

    fn plain(&mut self, key: PrivateKeyDer<'static>) {
        self.key = Some(PemKey::Plain(key));
    }
}

impl PemKey {
    /// The key itself; `password` is that of the key.
    pub fn open(self, password: Option<&Secret>) -> Result<PrivateKeyDer<'static>, Why> {
        let sealed = match self {
            PemKey::Plain(key) => return Ok(key),
            PemKey::Encrypted(sealed) => sealed,
        };
        let password = password.ok_or("its key is encrypted: set ssl.key.password")?;
        let info = EncryptedPrivateKeyInfoRef::try_from(sealed.as_slice());
        let info = info.map_err(|_| "its encrypted key is broken")?;
        let opened = info.decrypt(password.expose());
        let opened = opened.map_err(|_| "its key does not open: is ssl.key.password right?")?;
        Ok(PrivatePkcs8KeyDer::from(opened.as_bytes().to_vec()).into())
    }
}

const BROKEN: Why = "a PEM section of it is broken";

fn decode(body: &str) -> Result<Zeroizing<Vec<u8>>, Why> {
    let mut letters = Zeroizing::new(String::with_capacity(body.len()));
    letters.extend(body.chars().filter(|letter| !letter.is_whitespace()));
    STANDARD.decode(letters.as_bytes()).map(Zeroizing::new).map_err(|_| BROKEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_found_on_many_lines_and_on_one() {
        for text in [
            "subject=x\n-----BEGIN CERTIFICATE-----\nAQ\n==\n-----END CERTIFICATE-----\nrest",
            "-----BEGIN CERTIFICATE----- AQ == -----END CERTIFICATE-----",
        ] {
            let pem = Pem::read(text.as_bytes()).unwrap();
            assert_eq!(pem.certificates, [CertificateDer::from(vec![1])], "{text}");
            assert!(pem.key.is_none());
        }
    }

    #[test]
    fn revocation_lists_are_told_from_certificates() {
        let text = "-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----";
        let pem = Pem::read(text.as_bytes()).unwrap();
        assert_eq!(pem.revocation_lists, [CertificateRevocationListDer::from(vec![0x30, 0])]);
        assert!(pem.certificates.is_empty() && pem.key.is_none());
    }

    #[test]
    fn broken_text_is_refused_without_showing_it() {
        let begin = "-----BEGIN PRIVATE KEY-----";
        for text in [begin.to_owned(), format!("{begin}hunter2-----END"), "-----BEGIN x".into()] {
            let said = Pem::read(text.as_bytes()).err().unwrap();
            assert!(!said.contains("hunter2"), "{said}");
        }
        assert!(Pem::read(&[0xff]).is_err());
        assert!(Pem::read(b"").is_ok_and(|pem| pem.certificates.is_empty()));
    }
}
