//! Secrets that are kept where others can read: sealed with a key that only this machine has.
//!
//! It never shows what it seals, and a seal that was changed does not open.
//!
//! ```text
//!   sealed:1:BASE64(nonce, 12 bytes | AES-256-GCM of the secret | tag, 16 bytes)
//! ```
//!
//! The name of what is sealed belongs to it: a sealed password opens as no other property.

use std::fmt;
use std::path::Path;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::aead::AES_256_GCM;
use ring::aead::Aad;
use ring::aead::LessSafeKey;
use ring::aead::NONCE_LEN;
use ring::aead::Nonce;
use ring::aead::UnboundKey;
use ring::rand::SecureRandom;
use ring::rand::SystemRandom;
use zeroize::Zeroizing;

use super::files::FileError;
use super::files::read_secret;
use super::secret::Secret;

/// How a sealed text begins.
const MARK: &str = "sealed:1:";

/// The key of a machine.
pub struct Sealer(LessSafeKey);

/// Why a file gives no key.
#[derive(Debug, thiserror::Error)]
pub enum NoKey {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It holds something else.
    #[error("{} holds no key: write one with `openssl rand -base64 32`", .0.display())]
    Odd(PathBuf),
}

/// This machine gives no random numbers, or the text is too long.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot be sealed: this machine gives no random numbers")]
pub struct NotSealed;

/// Whether a text is a sealed one.
pub fn is_sealed(text: &str) -> bool {
    text.starts_with(MARK)
}

impl Sealer {
    /// Reads a key: 32 bytes as base64, and nothing else but line breaks.
    pub fn read(path: &Path) -> Result<Sealer, NoKey> {
        let text = read_secret(path)?;
        let odd = || NoKey::Odd(path.to_owned());
        let bytes = Zeroizing::new(STANDARD.decode(text.trim_ascii()).map_err(|_| odd())?);
        let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| odd())?;
        Ok(Sealer(LessSafeKey::new(key)))
    }

    /// Seals what has that name; sealed twice it is another text.
    pub fn seal(&self, name: &str, secret: &str) -> Result<String, NotSealed> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| NotSealed)?;
        let mut bytes = secret.as_bytes().to_vec();
        let (once, name) = (Nonce::assume_unique_for_key(nonce), Aad::from(name.as_bytes()));
        self.0.seal_in_place_append_tag(once, name, &mut bytes).map_err(|_| NotSealed)?;
        Ok(format!("{MARK}{}", STANDARD.encode([&nonce[..], &bytes].concat())))
    }

    /// What was sealed under that name with this key; `None` for everything else.
    pub fn open(&self, name: &str, sealed: &str) -> Option<Secret> {
        let bytes = STANDARD.decode(sealed.strip_prefix(MARK)?).ok()?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut bytes = Zeroizing::new(sealed.to_vec());
        let opened = self.0.open_in_place(nonce, Aad::from(name.as_bytes()), &mut bytes).ok()?;
        Some(Secret::new(std::str::from_utf8(opened).ok()?.to_owned()))
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(byte: u8) -> Sealer {
        Sealer(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[byte; 32]).unwrap()))
    }

    #[test]
    fn only_the_key_and_the_name_open_a_seal() {
        let (ours, other) = (sealer(1), sealer(2));
        let sealed = ours.seal("password", "hunter2 é").unwrap();
        assert!(is_sealed(&sealed) && !is_sealed("hunter2") && !sealed.contains("hunter2"));
        let opened = |sealer: &Sealer, name, text: &str| sealer.open(name, text);
        assert!(opened(&ours, "password", &sealed).unwrap().is("hunter2 é".as_bytes()));
        assert_eq!(opened(&ours, "key", &sealed), None);
        assert_eq!(opened(&other, "password", &sealed), None);
        assert_ne!(ours.seal("password", "hunter2 é").unwrap(), sealed);
        assert!(opened(&ours, "a", &ours.seal("a", "").unwrap()).unwrap().is(b""));
    }

    #[test]
    fn what_was_changed_does_not_open() {
        let ours = sealer(1);
        let sealed = ours.seal("a", "hunter2").unwrap();
        let bytes = STANDARD.decode(&sealed[MARK.len()..]).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let changed = format!("{MARK}{}", STANDARD.encode(&changed));
            assert_eq!(ours.open("a", &changed), None, "byte {at}");
            let cut = format!("{MARK}{}", STANDARD.encode(&bytes[..at]));
            assert_eq!(ours.open("a", &cut), None, "cut at {at}");
        }
        for odd in ["", MARK, "sealed:1:!", "sealed:2:AAAA", "hunter2"] {
            assert_eq!(ours.open("a", odd), None, "{odd}");
        }
    }

    #[test]
    fn a_key_is_32_bytes_of_base64() {
        let dir = std::env::temp_dir().join(format!("isolog-seal-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("key");
        std::fs::write(&path, format!("{}\n", STANDARD.encode([7; 32]))).unwrap();
        let sealed = Sealer::read(&path).unwrap().seal("a", "b").unwrap();
        assert!(sealer(7).open("a", &sealed).unwrap().is(b"b"));
        for odd in ["", "hunter2", &STANDARD.encode([7; 31]), &STANDARD.encode([7; 33])] {
            std::fs::write(&path, odd).unwrap();
            let said = Sealer::read(&path).unwrap_err().to_string();
            assert!(
                said.contains("openssl rand -base64 32") && !said.contains("hunter2"),
                "{said}"
            );
        }
        assert!(matches!(Sealer::read(&dir.join("none")), Err(NoKey::File(_))));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
