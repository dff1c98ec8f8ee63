//! Private keys under PKCS#12's old protection, as `openssl pkcs8 -topk8 -v1 PBE-SHA1-3DES` makes.
//!
//! It never opens what is weaker than that (RC2 and single DES): such a key is as good as open.
//! Everything of PKCS#5 version 2 is for `pkcs8`.
//!
//! Source of the format: RFC 7292 appendix B (the key and the IV) and C (the object identifiers).

use cbc::cipher::BlockModeDecrypt;
use cbc::cipher::KeyIvInit;
use cbc::cipher::block_padding::Pkcs7;
use der::Decode;
use der::Sequence;
use der::asn1::ObjectIdentifier;
use der::asn1::OctetStringRef;
use des::TdesEde3;
use pkcs8::spki::AlgorithmIdentifierRef;
use pkcs12::kdf::Pkcs12KeyType;
use pkcs12::kdf::derive_key_utf8;
use sha1::Sha1;
use zeroize::Zeroizing;

/// pbeWithSHAAnd3-KeyTripleDES-CBC.
const SHA1_3DES: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.1.3");
/// Bytes of three DES keys.
const KEY_BYTES: usize = 24;
/// Bytes of a DES block.
const BLOCK_BYTES: usize = 8;

/// EncryptedPrivateKeyInfo (RFC 5958).
#[derive(Sequence)]
struct Sealed<'a> {
    method: AlgorithmIdentifierRef<'a>,
    content: &'a OctetStringRef,
}

/// The parameters of the method.
#[derive(Sequence)]
struct Rounds<'a> {
    salt: &'a OctetStringRef,
    count: i32,
}

/// What came of a look.
pub(super) enum Opened {
    /// Another method.
    NotOurs,
    /// The password is wrong, or the key is damaged.
    Wrong,
    /// The key, PKCS#8.
    Key(Zeroizing<Vec<u8>>),
}

/// Opens a key that is protected so; its rounds were found few enough before.
pub(super) fn open(sealed: &[u8], password: &str) -> Opened {
    let Ok(sealed) = Sealed::from_der(sealed) else { return Opened::NotOurs };
    if sealed.method.oid != SHA1_3DES {
        return Opened::NotOurs;
    }
    decrypt(&sealed, password).map_or(Opened::Wrong, Opened::Key)
}

fn decrypt(sealed: &Sealed<'_>, password: &str) -> Option<Zeroizing<Vec<u8>>> {
    let rounds: Rounds<'_> = sealed.method.parameters?.decode_as().ok()?;
    if rounds.count < 1 {
        return None;
    }
    let derive = |kind: Pkcs12KeyType, bytes: usize| {
        let salt = rounds.salt.as_bytes();
        let derived = derive_key_utf8::<Sha1>(password, salt, kind, rounds.count, bytes);
        derived.ok().map(Zeroizing::new)
    };
    let key = derive(Pkcs12KeyType::EncryptionKey, KEY_BYTES)?;
    let iv = derive(Pkcs12KeyType::Iv, BLOCK_BYTES)?;
    let cipher = cbc::Decryptor::<TdesEde3>::new_from_slices(&key, &iv).ok()?;
    let mut content = Zeroizing::new(sealed.content.as_bytes().to_vec());
    let bytes = cipher.decrypt_padded::<Pkcs7>(&mut content).ok()?.len();
    content.truncate(bytes);
    Some(content)
}
