//! Lists of revoked certificates: PEM with any number of lists, or one list as DER.
//!
//! It never fetches a list: distribution points and OCSP are not asked.

use std::path::PathBuf;

use rustls::pki_types::CertificateRevocationListDer;

use super::files;
use super::files::Stamp;
use super::pem::Pem;
use super::store::StoreError;
use super::store::at;
use super::store::broken;

/// The first byte of every list as DER (X.690 8.9: a sequence).
const DER: u8 = 0x30;

/// The property, by the name that librdkafka has for it.
pub(super) const LISTS: &str = "ssl.crl.location";

/// Who is not believed any more although an authority signed (RFC 5280 section 5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationLists {
    /// `ssl.crl.location`, the name that librdkafka has for it.
    pub file: PathBuf,
}

impl RevocationLists {
    /// The lists, at least one; whether each is well-formed is for rustls to say.
    pub(super) fn load(&self) -> Result<Vec<CertificateRevocationListDer<'static>>, StoreError> {
        let bytes = files::read(&self.file).map_err(|why| at(LISTS, why))?;
        let broken = |why: &str| broken(LISTS, &self.file.display().to_string(), why);
        lists_in(&bytes).map_err(broken)
    }

    pub(super) fn stamp(&self) -> Option<Stamp> {
        files::stamp(&self.file)
    }
}

/// The lists of a file's bytes, at least one.
pub fn lists_in(bytes: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, &'static str> {
    if bytes.first() == Some(&DER) {
        return Ok(vec![bytes.to_vec().into()]);
    }
    let lists = Pem::read(bytes)?.revocation_lists;
    match lists.is_empty() {
        true => Err("it holds no revocation list (X509 CRL)"),
        false => Ok(lists),
    }
}
