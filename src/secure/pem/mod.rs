//! PEM text: certificates, revocation lists and one private key, encrypted or not.
//!
//! It never repeats a line of what it reads: a key may be in it. Kafka's users write PEM into one
//! line of a `.properties` file, with blanks for line breaks (`DefaultSslEngineFactory.PemParser`),
//! which the readers of `rustls-pki-types` do not take: so the sections are found here.

mod elements;
mod pbe;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pkcs8::EncryptedPrivateKeyInfoRef;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::PrivatePkcs8KeyDer;
use zeroize::Zeroizing;

use self::elements::content;
use self::elements::element;
pub(super) use self::elements::is_bounded;
use self::pbe::Opened;
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
        // comments may be in any encoding; what matters is ASCII
        let text = Zeroizing::new(String::from_utf8_lossy(text).into_owned());
        let mut left = text.as_str();
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
            "TRUSTED CERTIFICATE" => self.certificates.push(without_trust(&decode(body)?)?.into()),
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
        if !is_bounded(&sealed) {
            return Err(UNBOUNDED);
        }
        match pbe::open(&sealed, password.expose()) {
            Opened::Key(key) => return Ok(PrivatePkcs8KeyDer::from(key.to_vec()).into()),
            Opened::Wrong => return Err(WRONG),
            Opened::NotOurs => {}
        }
        let info = EncryptedPrivateKeyInfoRef::try_from(sealed.as_slice()).map_err(|_| UNKNOWN)?;
        let opened = info.decrypt(password.expose()).map_err(|_| WRONG)?;
        Ok(PrivatePkcs8KeyDer::from(opened.as_bytes().to_vec()).into())
    }
}

const WRONG: Why = "its key does not open: is ssl.key.password right?";
const UNBOUNDED: Why = "its key is protected by scrypt or by more than 10,000,000 rounds: protect \
                        it anew with openssl pkcs8 -topk8 -v2 aes-256-cbc";
const UNKNOWN: Why = "its encrypted key is broken, or protected in a way that isolog does not \
                      open: protect it anew with openssl pkcs8 -topk8 -v2 aes-256-cbc";

/// The certificate of `openssl x509 -trustout`: behind it stands what it is trusted for, which Java
/// does not look at. One that is marked as not to be trusted for something (`reject`, tag `[0]`
/// of OpenSSL's `X509_CERT_AUX`) is refused all the same.
fn without_trust(bytes: &[u8]) -> Result<Vec<u8>, Why> {
    let (certificate, rest) = element(bytes).ok_or(BROKEN)?;
    let mut aux = match element(rest) {
        Some((aux, _)) => content(aux).ok_or(BROKEN)?,
        None => &[],
    };
    while let Some((part, next)) = element(aux) {
        if part.first() == Some(&REJECT) {
            return Err("a TRUSTED CERTIFICATE of it is marked as rejected for some use: take it \
                        out, or write it as a plain one with openssl x509");
        }
        aux = next;
    }
    Ok(certificate.to_vec())
}

/// `[0]` in a sequence.
const REJECT: u8 = 0xa0;

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

    /// What `openssl pkcs8 -topk8 -v1 PBE-SHA1-3DES` made.
    #[test]
    fn a_key_under_the_old_protection_opens() {
        let text = include_bytes!("../../../testdata/stores/key-pbe-sha1-3des.pem");
        let open = |password: &str| {
            let key = Pem::read(text).unwrap().key.unwrap();
            key.open(Some(&Secret::new(password.to_owned())))
        };
        let key = open("changeit").unwrap();
        assert!(rustls::crypto::ring::sign::any_supported_type(&key).is_ok());
        assert_eq!(open("changei").err(), Some(WRONG));
    }

    #[test]
    fn broken_text_is_refused_without_showing_it() {
        let begin = "-----BEGIN PRIVATE KEY-----";
        for text in [begin.to_owned(), format!("{begin}hunter2-----END"), "-----BEGIN x".into()] {
            let said = Pem::read(text.as_bytes()).err().unwrap();
            assert!(!said.contains("hunter2"), "{said}");
        }
        assert!(Pem::read(b"").is_ok_and(|pem| pem.certificates.is_empty()));
        assert!(Pem::read(&[0xff]).is_ok_and(|pem| pem.certificates.is_empty()));
    }

    #[test]
    fn comments_may_be_latin_1_and_certificates_may_say_what_they_are_trusted_for() {
        let text = b"# f\xfcr\n-----BEGIN CERTIFICATE-----\nAQ==\n-----END CERTIFICATE-----\xe9";
        assert_eq!(Pem::read(text).unwrap().certificates, [CertificateDer::from(vec![1])]);
        let in_key = b"-----BEGIN PRIVATE KEY-----\n\xfc\n-----END PRIVATE KEY-----";
        assert_eq!(Pem::read(in_key).err(), Some(BROKEN));
        let trusted = |der: &[u8]| {
            let body = STANDARD.encode(der);
            let label = "TRUSTED CERTIFICATE-----";
            Pem::read(format!("-----BEGIN {label}\n{body}\n-----END {label}").as_bytes())
        };
        let certificate: &[u8] = &[0x30, 2, 5, 0];
        let alone = trusted(certificate).unwrap().certificates;
        assert_eq!(alone, [CertificateDer::from(certificate.to_vec())]);
        let purposes = trusted(&[certificate, &[0x30, 4, 0x30, 2, 6, 0]].concat()).unwrap();
        assert_eq!(purposes.certificates, alone);
        let rejected = trusted(&[certificate, &[0x30, 4, 0xa0, 2, 6, 0]].concat());
        assert!(rejected.err().unwrap().contains("rejected"));
        assert_eq!(trusted(&[0x30, 9, 1]).err(), Some(BROKEN));
    }
}
