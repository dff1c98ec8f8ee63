//! Signatures by EC keys on P-521, which ring cannot check and Kafka brokers on Java may have.
//!
//! It never signs: what is checked here is public, so how long it takes tells nobody anything. The
//! curve is RustCrypto's `p521`, of the family that the key stores are read with already; the hash
//! is ring's.

use std::sync::LazyLock;

use p521::ecdsa::Signature;
use p521::ecdsa::VerifyingKey;
use p521::ecdsa::signature::hazmat::PrehashVerifier;
use ring::digest;
use rustls::SignatureScheme;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::AlgorithmIdentifier;
use rustls::pki_types::InvalidSignature;
use rustls::pki_types::SignatureVerificationAlgorithm;
use rustls::pki_types::alg_id;

/// A row of rustls's table.
type Row = (SignatureScheme, &'static [&'static dyn SignatureVerificationAlgorithm]);

static SHA512: P521 = P521 { hash: &digest::SHA512, signature: alg_id::ECDSA_SHA512 };
static SHA384: P521 = P521 { hash: &digest::SHA384, signature: alg_id::ECDSA_SHA384 };
/// What `openssl req -x509` signs with unless it is told otherwise.
static SHA256: P521 = P521 { hash: &digest::SHA256, signature: alg_id::ECDSA_SHA256 };
/// Bytes of a number on the curve.
const FIELD_BYTES: usize = 66;

static BESIDE_RING: LazyLock<WebPkiSupportedAlgorithms> = LazyLock::new(|| {
    let ring = default_provider().signature_verification_algorithms;
    let mut all = ring.all.to_vec();
    all.extend([&SHA512 as &dyn SignatureVerificationAlgorithm, &SHA384, &SHA256]);
    let mut mapping: Vec<Row> = ring.mapping.to_vec();
    let only: &'static [&'static dyn SignatureVerificationAlgorithm] =
        vec![all[ring.all.len()]].leak();
    mapping.push((SignatureScheme::ECDSA_NISTP521_SHA512, only));
    // both lists live as long as the process; there is one of each
    WebPkiSupportedAlgorithms { all: all.leak(), mapping: mapping.leak() }
});

/// What ring checks, and P-521.
pub(super) fn beside_ring() -> WebPkiSupportedAlgorithms {
    *BESIDE_RING
}

/// ECDSA on P-521 with one hash.
#[derive(Debug)]
struct P521 {
    hash: &'static digest::Algorithm,
    signature: AlgorithmIdentifier,
}

impl SignatureVerificationAlgorithm for P521 {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let key = VerifyingKey::from_sec1_bytes(public_key).map_err(|_| InvalidSignature)?;
        let signature = Signature::from_der(signature).map_err(|_| InvalidSignature)?;
        // every hash is a shorter number than the curve's: zeros before it change nothing (FIPS
        // 186-5, 6.4.2), and the crate takes none that is shorter than half of it
        let mut number = [0; FIELD_BYTES];
        let hash = digest::digest(self.hash, message);
        let (_, low) = number.split_at_mut(FIELD_BYTES - hash.as_ref().len());
        low.copy_from_slice(hash.as_ref());
        key.verify_prehash(&number, &signature).map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P521
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.signature
    }
}
