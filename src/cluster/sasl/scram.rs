//! SCRAM (RFC 5802, RFC 7677) as a client, with SHA-256 and SHA-512.
//!
//! It never computes more than `ITERATIONS_MAX` rounds for a server, never goes on with a nonce
//! that is not its own, and never believes a server that does not know the password.
//!
//! Written here and not taken from the `sasl` crate: that one accepts any nonce and any iteration
//! count, compares with `==`, and its licence does not fit `deny.toml`.

use std::num::NonZeroU32;
use std::sync::Mutex;
use std::sync::PoisonError;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest;
use ring::hmac;
use ring::pbkdf2;
use ring::rand::SecureRandom;
use ring::rand::SystemRandom;
use zeroize::Zeroizing;

use crate::cluster::sasl::LoginError;
use crate::secure::Secret;

/// The least rounds that a server may ask for (RFC 7677; `ScramMechanism.minIterations`).
pub const ITERATIONS_MIN: u32 = 4096;
/// The most (`ScramMechanism.maxIterations`): a server must not be able to keep us busy.
pub const ITERATIONS_MAX: u32 = 16_384;
/// The longest server message.
const MESSAGE_BYTES_MAX: usize = 4096;
/// The longest salt.
const SALT_BYTES_MAX: usize = 1024;
/// Random bytes of our nonce.
const NONCE_BYTES: usize = 24;

/// Which hash.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Hash {
    /// SCRAM-SHA-256.
    Sha256,
    /// SCRAM-SHA-512.
    Sha512,
}

impl Hash {
    /// The mechanism's name.
    pub fn mechanism(self) -> &'static str {
        match self {
            Hash::Sha256 => "SCRAM-SHA-256",
            Hash::Sha512 => "SCRAM-SHA-512",
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Hash::Sha256 => hmac::HMAC_SHA256,
            Hash::Sha512 => hmac::HMAC_SHA512,
        }
    }

    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Hash::Sha256 => &digest::SHA256,
            Hash::Sha512 => &digest::SHA512,
        }
    }

    fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            Hash::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Hash::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        }
    }
}

/// Who logs in. Keeps the last salted password: the next login with the same salt costs nothing.
#[derive(Debug)]
pub struct Account {
    /// Which hash.
    pub hash: Hash,
    /// User, or id of a delegation token.
    pub user: String,
    /// Password, or HMAC of a delegation token.
    pub password: Secret,
    /// A delegation token (KIP-48).
    pub is_token: bool,
    salted: Mutex<Option<Salted>>,
}

struct Salted {
    salt: Vec<u8>,
    iterations: NonZeroU32,
    password: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Salted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Account {
    /// An account that has not logged in yet.
    pub fn new(hash: Hash, user: String, password: Secret, is_token: bool) -> Account {
        Account { hash, user, password, is_token, salted: Mutex::default() }
    }

    /// The first message, and what is needed to judge the answer.
    pub fn first(&self) -> Result<(First, Vec<u8>), LoginError> {
        let mut nonce = [0; NONCE_BYTES];
        let filled = SystemRandom::new().fill(&mut nonce);
        filled.map_err(|_| LoginError::Challenge("this machine has no random numbers"))?;
        Ok(self.first_with(&STANDARD.encode(nonce)))
    }

    fn first_with(&self, nonce: &str) -> (First, Vec<u8>) {
        let mut bare = format!("n={},r={nonce}", escaped(&self.user));
        if self.is_token {
            bare.push_str(",tokenauth=true");
        }
        let message = format!("n,,{bare}").into_bytes();
        (First { bare, nonce: nonce.to_owned() }, message)
    }

    /// The second message. Slow: call it where a thread may be kept.
    pub fn last(&self, first: &First, server: &[u8]) -> Result<(Last, Vec<u8>), LoginError> {
        let text = message(server)?;
        let Challenge { nonce, salt, iterations } = Challenge::read(text, &first.nonce)?;
        let without_proof = format!("c=biws,r={nonce}");
        let signed = format!("{},{text},{without_proof}", first.bare);
        let salted = self.salted(&salt, iterations);
        let key = |bytes: &[u8]| hmac::Key::new(self.hash.hmac(), bytes);
        let client_key = hmac::sign(&key(&salted), b"Client Key");
        let stored_key = digest::digest(self.hash.digest(), client_key.as_ref());
        let signature = hmac::sign(&key(stored_key.as_ref()), signed.as_bytes());
        let pairs = client_key.as_ref().iter().zip(signature.as_ref());
        let proof: Vec<u8> = pairs.map(|(left, right)| left ^ right).collect();
        let server_key = hmac::sign(&key(&salted), b"Server Key");
        let last = Last { server_key: key(server_key.as_ref()), signed };
        Ok((last, format!("{without_proof},p={}", STANDARD.encode(proof)).into_bytes()))
    }

    fn salted(&self, salt: &[u8], iterations: NonZeroU32) -> Zeroizing<Vec<u8>> {
        let known = || self.salted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = &*known()
            && (kept.salt.as_slice(), kept.iterations) == (salt, iterations)
        {
            return kept.password.clone();
        }
        let mut password = Zeroizing::new(vec![0; self.hash.digest().output_len()]);
        let secret = self.password.expose().as_bytes();
        pbkdf2::derive(self.hash.pbkdf2(), iterations, salt, secret, &mut password);
        let kept = Salted { salt: salt.to_vec(), iterations, password: password.clone() };
        *known() = Some(kept);
        password
    }
}

/// After our first message.
#[derive(Debug)]
pub struct First {
    bare: String,
    nonce: String,
}

/// After our second message.
pub struct Last {
    server_key: hmac::Key,
    signed: String,
}

impl Last {
    /// Whether the server, too, knows the password.
    pub fn check(&self, server: &[u8]) -> Result<(), LoginError> {
        let text = message(server)?;
        if text.starts_with("e=") {
            return Err(LoginError::Challenge("the server ended the login with an error"));
        }
        let value = text.strip_prefix("v=").ok_or(LoginError::Forged)?;
        let value = value.split(',').next().unwrap_or_default();
        let signature = STANDARD.decode(value).map_err(|_| LoginError::Forged)?;
        let verified = hmac::verify(&self.server_key, self.signed.as_bytes(), &signature);
        verified.map_err(|_| LoginError::Forged)
    }
}

struct Challenge<'a> {
    nonce: &'a str,
    salt: Vec<u8>,
    iterations: NonZeroU32,
}

impl<'a> Challenge<'a> {
    fn read(text: &'a str, ours: &str) -> Result<Challenge<'a>, LoginError> {
        let mut parts = text.split(',');
        let mut part = |name: &str| parts.next().and_then(|part| part.strip_prefix(name));
        let nonce = part("r=").ok_or(LoginError::Challenge("the server's nonce is missing"))?;
        if nonce.len() <= ours.len() || !nonce.starts_with(ours) {
            return Err(LoginError::Challenge("the server's nonce does not begin with ours"));
        }
        if !nonce.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(LoginError::Challenge("the server's nonce is not printable"));
        }
        let salt = part("s=").and_then(|salt| STANDARD.decode(salt).ok());
        let salt = salt.filter(|salt| (1..=SALT_BYTES_MAX).contains(&salt.len()));
        let salt = salt.ok_or(LoginError::Challenge("the server's salt is not valid"))?;
        let iterations = part("i=").and_then(|digits| digits.parse::<u32>().ok());
        let iterations =
            iterations.ok_or(LoginError::Challenge("the iteration count is missing"))?;
        match NonZeroU32::new(iterations) {
            Some(count) if (ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) => {
                Ok(Challenge { nonce, salt, iterations: count })
            }
            _ => Err(LoginError::Iterations(iterations)),
        }
    }
}

fn message(bytes: &[u8]) -> Result<&str, LoginError> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(LoginError::Challenge("the server's message is too long"));
    }
    std::str::from_utf8(bytes).map_err(|_| LoginError::Challenge("the server's message is no text"))
}

/// `=` and `,` part the message.
fn escaped(user: &str) -> String {
    user.replace('=', "=3D").replace(',', "=2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677, section 3.
    const SERVER_FIRST: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                                s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    fn account(user: &str) -> Account {
        Account::new(Hash::Sha256, user.into(), Secret::new("pencil".into()), false)
    }

    #[test]
    fn the_example_of_rfc_7677() {
        let account = account("user");
        let (first, message) = account.first_with("rOprNGfwEbeRWgbNEkqO");
        assert_eq!(message, b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        for _ in ["computed", "remembered"] {
            let (last, message) = account.last(&first, SERVER_FIRST.as_bytes()).unwrap();
            let right = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                         p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
            assert_eq!(String::from_utf8(message).unwrap(), right);
            last.check(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").unwrap();
            for forged in
                [&b"v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="[..], b"v=", b"v=!", b""]
            {
                assert!(matches!(last.check(forged), Err(LoginError::Forged)), "{forged:?}");
            }
        }
    }

    #[test]
    fn hostile_servers_are_refused_before_any_work() {
        let account = account("user");
        let (first, _) = account.first_with("ours");
        let check = |server: &str, part: &str| {
            let said = account.last(&first, server.as_bytes()).err().unwrap().to_string();
            assert!(said.contains(part), "{server}: {said}");
        };
        check("r=ours,s=AAAA,i=4096", "nonce");
        check("r=theirs,s=AAAA,i=4096", "nonce");
        check("r=ours\u{7f}x,s=AAAA,i=4096", "nonce");
        check("r=oursx,s=,i=4096", "salt");
        check("r=oursx,s=?,i=4096", "salt");
        check("r=oursx,s=AAAA", "iteration");
        check("r=oursx,s=AAAA,i=-1", "iteration");
        check("r=oursx,s=AAAA,i=4095", "4095");
        check("r=oursx,s=AAAA,i=4294967295", "4294967295");
        check("m=x,r=oursx,s=AAAA,i=4096", "nonce");
        check(&"r".repeat(5000), "too long");
        assert!(account.last(&first, &[0xff]).is_err());
    }

    #[test]
    fn names_are_escaped_and_tokens_named() {
        let (_, message) = account("a=b,c").first_with("n");
        assert_eq!(message, b"n,,n=a=3Db=2Cc,r=n");
        let token = Account { is_token: true, ..account("t") };
        assert_eq!(token.first_with("n").1, b"n,,n=t,r=n,tokenauth=true");
    }
}
