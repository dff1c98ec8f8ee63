//! Java's old key store: certificates in the open, keys under Sun's own protection.
//!
//! It never believes a length beyond the bytes that are there.
//!
//! ```text
//!  | magic u32 | version u32 | count u32 | entries | SHA-1 of password, a phrase, all before |
//!  entry  | tag u32: 1 key, 2 certificate | alias | created u64 | key, chain  or  certificate |
//! ```
//!
//! Source of the format: `sun.security.provider.JavaKeyStore` and `KeyProtector` of JDK 17.

use ring::digest;
use zeroize::Zeroizing;

/// The first bytes of such a store.
pub const MAGIC: [u8; 4] = [0xfe, 0xed, 0xfe, 0xed];
/// What the store's digest covers besides password and content.
const PHRASE: &[u8] = b"Mighty Aphrodite";
/// Bytes of a SHA-1 digest; a protected key has one before it, as salt, and one behind it.
const SHA1_BYTES: usize = 20;
/// OID 1.3.6.1.4.1.42.2.17.1.1: Sun's own key protection.
const SUN_PROTECTION: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x2a, 0x02, 0x11, 0x01, 0x01];

/// What a store holds.
#[derive(Default)]
pub struct Jks {
    /// Certificates that are trusted, DER.
    pub trusted: Vec<Vec<u8>>,
    /// Keys, in order.
    pub keys: Vec<JksKey>,
}

/// A key under a password, and its certificates.
pub struct JksKey {
    sealed: Vec<u8>,
    /// Leaf first, DER.
    pub chain: Vec<Vec<u8>>,
}

/// Why a store does not open.
type Why = &'static str;

impl Jks {
    /// Reads a store. Without a password its integrity is not checked, as in Java.
    pub fn read(bytes: &[u8], password: Option<&str>) -> Result<Jks, Why> {
        let end = bytes.len().checked_sub(SHA1_BYTES).ok_or(CUT)?;
        let (content, seal) = bytes.split_at(end);
        if let Some(password) = password {
            let parts = [&*utf16(password), PHRASE, content];
            if sha1(&parts).as_ref() != seal {
                return Err("its password is wrong, or it is damaged");
            }
        }
        let mut cursor = Cursor(content);
        if cursor.take(4)? != MAGIC {
            return Err("it is no JKS store");
        }
        let version = cursor.u32()?;
        if !matches!(version, 1 | 2) {
            return Err("it is a JKS store of an unknown version");
        }
        let mut jks = Jks::default();
        for _ in 0..cursor.u32()? {
            jks.entry(&mut cursor, version)?;
        }
        Ok(jks)
    }

    fn entry(&mut self, cursor: &mut Cursor<'_>, version: u32) -> Result<(), Why> {
        let tag = cursor.u32()?;
        let alias_bytes = cursor.u16()?;
        cursor.take(usize::from(alias_bytes))?;
        cursor.take(8)?;
        match tag {
            1 => {
                let sealed = cursor.sized()?.to_vec();
                let mut chain = Vec::new();
                for _ in 0..cursor.u32()? {
                    chain.push(cursor.certificate(version)?);
                }
                self.keys.push(JksKey { sealed, chain });
            }
            2 => self.trusted.push(cursor.certificate(version)?),
            _ => return Err("it holds an entry that is neither key nor certificate"),
        }
        Ok(())
    }
}

impl JksKey {
    /// The key as PKCS#8.
    pub fn open(&self, password: &str) -> Result<Zeroizing<Vec<u8>>, Why> {
        let broken = "its key is damaged";
        let whole = der(&mut Cursor(&self.sealed), 0x30).map_err(|_| broken)?;
        let mut whole = Cursor(whole);
        let method = der(&mut whole, 0x30).map_err(|_| broken)?;
        if der(&mut Cursor(method), 0x06).map_err(|_| broken)? != SUN_PROTECTION {
            return Err("its key is protected in a way that isolog does not know");
        }
        let sealed = der(&mut whole, 0x04).map_err(|_| broken)?;
        let ends = sealed.len().checked_sub(2 * SHA1_BYTES).ok_or(broken)?;
        let (salt, rest) = sealed.split_at(SHA1_BYTES);
        let (hidden, seal) = rest.split_at(ends);
        let password = utf16(password);
        let mut open = Zeroizing::new(hidden.to_vec());
        let mut pad: Zeroizing<Vec<u8>> = Zeroizing::new(salt.to_vec());
        for block in open.chunks_mut(SHA1_BYTES) {
            *pad = sha1(&[&*password, &*pad]).as_ref().to_vec();
            block.iter_mut().zip(pad.iter()).for_each(|(byte, mask)| *byte ^= mask);
        }
        if sha1(&[&*password, &*open]).as_ref() != seal {
            return Err("its key does not open: is ssl.key.password (or the store's) right?");
        }
        Ok(open)
    }
}

const CUT: Why = "it ends in the middle";

/// Two bytes a letter, as Java digests passwords.
fn utf16(password: &str) -> Zeroizing<Vec<u8>> {
    let units = password.encode_utf16();
    Zeroizing::new(units.flat_map(u16::to_be_bytes).collect())
}

fn sha1(parts: &[&[u8]]) -> digest::Digest {
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    parts.iter().for_each(|part| context.update(part));
    context.finish()
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Why> {
        let (taken, left) = self.0.split_at_checked(count).ok_or(CUT)?;
        self.0 = left;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16, Why> {
        let bytes = self.take(2)?.first_chunk().copied().ok_or(CUT)?;
        Ok(u16::from_be_bytes(bytes))
    }

    fn u32(&mut self) -> Result<u32, Why> {
        let bytes = self.take(4)?.first_chunk().copied().ok_or(CUT)?;
        Ok(u32::from_be_bytes(bytes))
    }

    fn sized(&mut self) -> Result<&'a [u8], Why> {
        let size = self.u32()?;
        self.take(usize::try_from(size).map_err(|_| CUT)?)
    }

    /// Version 2 names the kind of each certificate.
    fn certificate(&mut self, version: u32) -> Result<Vec<u8>, Why> {
        if version == 2 {
            let kind_bytes = self.u16()?;
            self.take(usize::from(kind_bytes))?;
        }
        self.sized().map(<[u8]>::to_vec)
    }
}

/// The content of the next DER element, which must have that tag.
fn der<'a>(cursor: &mut Cursor<'a>, tag: u8) -> Result<&'a [u8], Why> {
    if cursor.take(1)? != [tag] {
        return Err(CUT);
    }
    let first = cursor.take(1)?[0];
    let size = match first {
        0..=0x7f => usize::from(first),
        0x81..=0x83 => {
            let bytes = cursor.take(usize::from(first & 0x7f))?;
            bytes.iter().fold(0, |size, byte| size << 8 | usize::from(*byte))
        }
        _ => return Err(CUT),
    };
    cursor.take(size)
}
