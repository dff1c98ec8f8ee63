//! The two messages of a login, read and written by hand: their sender is nobody yet.
//!
//! It never believes a count or length beyond the bytes that are there.
//!
//! ```text
//!  SaslHandshake 1     ask     mechanism i16 + text
//!                      answer  code i16, mechanisms i32 × (i16 + text)
//!  SaslAuthenticate 2  ask     bytes, tags
//!                      answer  code i16, message, bytes, lifetime i64, tags
//! ```

use bytes::BufMut;
use bytes::Bytes;
use zeroize::Zeroizing;

use crate::wire::error::KafkaCode;
use crate::wire::error::WireError;
use crate::wire::prim::Reader;
use crate::wire::prim::peer_text;
use crate::wire::prim::put_count;
use crate::wire::prim::put_no_tags;

/// The most mechanisms that are read; a broker has half a dozen.
const MECHANISMS_MAX: i32 = 64;
/// The largest message of a mechanism that is read.
pub const CHALLENGE_BYTES_MAX: usize = 16 * 1024;

/// What a broker says to the mechanism.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandshakeAnswer {
    /// 33 for a mechanism that it does not have.
    pub code: KafkaCode,
    /// Those it has, safe to print.
    pub mechanisms: Vec<String>,
}

/// What a broker says to a message of the mechanism.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthenticateAnswer {
    /// 58 for a refused login.
    pub code: KafkaCode,
    /// Why, safe to print.
    pub message: Option<String>,
    /// Its own message of the mechanism.
    pub challenge: Bytes,
    /// For how long the login holds, in ms; 0 for as long as the connection (KIP-368).
    pub lifetime_ms: i64,
}

/// The body of SaslHandshake.
pub fn handshake(mechanism: &str) -> Bytes {
    let mut out = Vec::with_capacity(2 + mechanism.len());
    out.put_i16(mechanism.len() as i16);
    out.put_slice(mechanism.as_bytes());
    out.into()
}

/// The body of SaslAuthenticate; its memory is wiped when it was sent.
pub fn authenticate(message: &[u8]) -> Bytes {
    let mut out = Zeroizing::new(Vec::with_capacity(message.len() + 6));
    put_count(&mut *out, message.len());
    out.put_slice(message);
    put_no_tags(&mut *out);
    Bytes::from_owner(Wiped(out))
}

struct Wiped(Zeroizing<Vec<u8>>);

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl HandshakeAnswer {
    /// Reads the body.
    pub fn read(body: Bytes) -> Result<HandshakeAnswer, WireError> {
        let mut reader = Reader::new(body);
        let code = KafkaCode(reader.i16("error code")?);
        let count = reader.i32("mechanisms")?;
        if count > MECHANISMS_MAX {
            let (value, max) = (i64::from(count), i64::from(MECHANISMS_MAX));
            return Err(WireError::TooLarge { what: "mechanisms", value, max });
        }
        let mut mechanisms = Vec::new();
        for _ in 0..count.max(0) {
            let size = reader.i16("mechanism")?;
            let bad = WireError::BadValue { what: "mechanism size", value: i64::from(size) };
            let size = usize::try_from(size).map_err(|_| bad)?;
            mechanisms.push(peer_text(&reader.bytes("mechanism", size)?));
        }
        reader.finish("SaslHandshake")?;
        Ok(HandshakeAnswer { code, mechanisms })
    }
}

impl AuthenticateAnswer {
    /// Reads the body.
    pub fn read(body: Bytes) -> Result<AuthenticateAnswer, WireError> {
        let mut reader = Reader::new(body);
        let code = KafkaCode(reader.i16("error code")?);
        let message = reader.compact_peer_text("error message")?;
        let challenge = reader.compact_bytes("authentication bytes")?.unwrap_or_default();
        if challenge.len() > CHALLENGE_BYTES_MAX {
            let (value, max) = (challenge.len() as i64, CHALLENGE_BYTES_MAX as i64);
            return Err(WireError::TooLarge { what: "authentication bytes", value, max });
        }
        let lifetime_ms = reader.i64("session lifetime")?;
        reader.skip_tagged()?;
        reader.finish("SaslAuthenticate")?;
        Ok(AuthenticateAnswer { code, message, challenge, lifetime_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_what_kafka_documents() {
        assert_eq!(handshake("PLAIN").as_ref(), b"\0\x05PLAIN");
        assert_eq!(authenticate(b"abc").as_ref(), b"\x04abc\0");
        let answer = b"\0\x21\0\0\0\x02\0\x05PLAIN\0\x01X";
        let read = HandshakeAnswer::read(Bytes::from_static(answer)).unwrap();
        assert_eq!((read.code, read.mechanisms), (KafkaCode(33), vec!["PLAIN".into(), "X".into()]));
        let answer = b"\0\x3a\x03no\x02z\0\0\0\0\0\0\x03\xe8\0";
        let read = AuthenticateAnswer::read(Bytes::from_static(answer)).unwrap();
        assert_eq!((read.code, read.message.as_deref()), (KafkaCode(58), Some("no")));
        assert_eq!((read.challenge.as_ref(), read.lifetime_ms), (&b"z"[..], 1000));
    }

    #[test]
    fn hostile_answers_are_refused() {
        for bad in [&b"\0\0\x7f\xff\xff\xff"[..], b"\0\0\0\0\0\x01\x80\0", b"\0\0\0\0\0\0x", b""] {
            assert!(HandshakeAnswer::read(Bytes::copy_from_slice(bad)).is_err(), "{bad:?}");
        }
        let null = HandshakeAnswer::read(Bytes::from_static(b"\0\0\xff\xff\xff\xff")).unwrap();
        assert!(null.mechanisms.is_empty());
        for bad in [&b"\0\0\0\xff\xff\xff\xff\x0f"[..], b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0", b"\0"] {
            assert!(AuthenticateAnswer::read(Bytes::copy_from_slice(bad)).is_err(), "{bad:?}");
        }
    }
}
