//! What is read before anybody is trusted: logins, JAAS lines, properties files, PEM and JKS.
//!
//! It never opens a socket or a file, and holds no secret but the canary it looks for.

use std::path::Path;

use bytes::Bytes;
use isolog::cluster::sasl::message::AuthenticateAnswer;
use isolog::cluster::sasl::message::CHALLENGE_BYTES_MAX;
use isolog::cluster::sasl::message::HandshakeAnswer;
use isolog::cluster::sasl::scram::Account;
use isolog::cluster::sasl::scram::Hash;
use isolog::config::file;
use isolog::secure::Pem;
use isolog::secure::Secret;
use isolog::secure::jaas::Jaas;
use isolog::secure::jks::Jks;

/// In a seed it stands for the client's own nonce, which no fuzzer can guess.
const NONCE_SIGN: char = '%';

/// The server's side of a login: both answers, and two messages of SCRAM. The first byte chooses.
pub fn login(data: &[u8]) {
    let Some((&kind, rest)) = data.split_first() else { return };
    let body = Bytes::copy_from_slice(rest);
    match kind % 4 {
        0 => drop(HandshakeAnswer::read(body)),
        1 => {
            if let Ok(answer) = AuthenticateAnswer::read(body) {
                assert!(answer.challenge.len() <= CHALLENGE_BYTES_MAX);
            }
        }
        2 => scram(Hash::Sha256, rest),
        _ => scram(Hash::Sha512, rest),
    }
}

/// The readers of [`login`] alone, for what they take from the heap.
pub fn decode_login(input: &Bytes) {
    match input.first() {
        Some(kind) if kind % 4 == 0 => drop(HandshakeAnswer::read(input.slice(1..))),
        Some(kind) if kind % 4 == 1 => drop(AuthenticateAnswer::read(input.slice(1..))),
        _ => {}
    }
}

/// The readers of [`jaas`] and [`pem`] alone.
pub fn decode_text(target: &str, input: &Bytes) {
    match std::str::from_utf8(input) {
        Ok(line) if target == "jaas" => drop(Jaas::parse(line)),
        _ => drop((Pem::read(input), Jks::read(input, None))),
    }
}

/// Nobody who does not know the password is believed, and no nonce but one of ours is answered.
fn scram(hash: Hash, server: &[u8]) {
    let account = Account::new(hash, "alice".into(), Secret::new("canary-password".into()), false);
    let (first, sent) = account.first().expect("this machine has random numbers");
    let sent = String::from_utf8(sent).expect("our first message is text");
    let (_, nonce) = sent.split_once(",r=").expect("our first message has a nonce");
    let server = String::from_utf8_lossy(server).replace(NONCE_SIGN, nonce);
    let (challenge, proof) = server.split_once('\n').unwrap_or((&server, ""));
    let Ok((last, answer)) = account.last(&first, challenge.as_bytes()) else { return };
    let answer = String::from_utf8(answer).expect("our second message is text");
    let rest = answer.strip_prefix("c=biws,r=").expect("the second message is as RFC 5802 has it");
    assert!(rest.starts_with(nonce) && !rest.contains("canary"), "{rest}");
    assert!(!rest[nonce.len()..].starts_with(",p="), "a nonce that the server added nothing to");
    assert!(last.check(proof.as_bytes()).is_err(), "a forged signature is believed");
}

/// A JAAS line: what is printed of it is its module and a number, whatever its values are.
pub fn jaas(data: &[u8]) {
    let Ok(line) = std::str::from_utf8(data) else { return };
    let Ok(jaas) = Jaas::parse(line) else { return };
    let (module, count) = (&jaas.module, jaas.options.len());
    assert_eq!(format!("{jaas:?}"), format!("{module} with {count} options"));
    for value in jaas.options.values() {
        assert_eq!(format!("{value:?}"), "***");
    }
}

/// A properties file: every key once, in order, and a fault that repeats nothing of the text.
pub fn properties(data: &[u8]) {
    match file::properties_in(data, Path::new("p")) {
        Ok(entries) => {
            assert!(entries.is_sorted_by(|one, other| one.key < other.key));
            assert!(entries.len() <= data.split(|byte| b"\n\r".contains(byte)).count());
        }
        Err(said) => {
            let escape = "p is not a .properties file (line ";
            let mark = "p begins with a byte order mark of UTF-";
            match said.starts_with(escape) {
                true => assert!(said.len() <= escape.len() + 50, "{said}"),
                false => assert!(said.starts_with(mark) && said.len() <= 200, "{said}"),
            }
        }
    }
}

/// A PEM text, or a JKS store where the bytes begin as one; a sealed key stays sealed.
pub fn pem(data: &[u8]) {
    drop(Jks::read(data, None));
    drop(Jks::read(data, Some("changeit")));
    let Ok(pem) = Pem::read(data) else { return };
    let held: usize = pem.certificates.iter().map(|one| one.len()).sum();
    assert!(held <= data.len(), "more certificate than text");
    if let Some(key) = pem.key {
        drop(key.open(None));
    }
}
