//! Frames: the length prefix, the request head (v2) and the response heads (v0 and v1).
//!
//! It never believes a length that is above the cap, and never reads a body.
//!
//! ```text
//!  request   | size i32 | api i16 | version i16 | correlation i32 | client id i16 + text | tags |
//!  response  | size i32 | correlation i32 | tags (not for ApiVersions) |
//! ```
//!
//! SaslHandshake has tags in neither.

use bytes::BufMut;
use bytes::Bytes;
use bytes::BytesMut;

use crate::wire::error::WireError;
use crate::wire::prim::Reader;
use crate::wire::prim::put_no_tags;
use crate::wire::versions::ApiKey;

/// The bytes of a frame's length.
pub const PREFIX_BYTES: usize = 4;
/// The largest request that a stock broker reads: `socket.request.max.bytes`.
pub const REQUEST_BYTES_MAX: usize = 100 * 1024 * 1024;
/// The longest client id that is sent; the wire has 16 bits for it.
pub const CLIENT_ID_BYTES_MAX: usize = i16::MAX as usize;
/// The smallest response: a correlation id.
const RESPONSE_BYTES_MIN: usize = 4;

/// The size prefix and the head of a request whose body takes `body_bytes`.
pub fn request_head(
    api: ApiKey,
    version: i16,
    correlation: i32,
    client_id: &str,
    body_bytes: usize,
) -> Result<Bytes, WireError> {
    too_large("client id", client_id.len(), CLIENT_ID_BYTES_MAX)?;
    let head_bytes = 2 + 2 + 4 + 2 + client_id.len() + usize::from(api.is_flexible());
    let size = head_bytes.saturating_add(body_bytes);
    too_large("request size", size, REQUEST_BYTES_MAX)?;
    let mut head = BytesMut::with_capacity(PREFIX_BYTES + head_bytes);
    head.put_i32(size as i32);
    head.put_i16(api.key());
    head.put_i16(version);
    head.put_i32(correlation);
    head.put_i16(client_id.len() as i16);
    head.put_slice(client_id.as_bytes());
    if api.is_flexible() {
        put_no_tags(&mut head);
    }
    Ok(head.freeze())
}

/// The size of a response, from its prefix; checked against the cap before anyone allocates.
pub fn response_size(prefix: [u8; PREFIX_BYTES], bytes_max: usize) -> Result<usize, WireError> {
    let size = i32::from_be_bytes(prefix);
    match usize::try_from(size) {
        Ok(bytes) if (RESPONSE_BYTES_MIN..=bytes_max).contains(&bytes) => Ok(bytes),
        Ok(bytes) if bytes < RESPONSE_BYTES_MIN => {
            Err(WireError::BadValue { what: "response size", value: i64::from(size) })
        }
        _ => Err(foreign(prefix).unwrap_or(WireError::TooLarge {
            what: "response size",
            value: i64::from(size),
            max: i64::try_from(bytes_max).unwrap_or(i64::MAX),
        })),
    }
}

/// Reads a response's head, checks that it answers `correlation`, and gives the body.
pub fn response_body(frame: Bytes, api: ApiKey, correlation: i32) -> Result<Bytes, WireError> {
    let mut reader = Reader::new(frame);
    let got = reader.i32("correlation id")?;
    if got != correlation {
        return Err(WireError::Correlation { expected: correlation, got });
    }
    if api.is_flexible() && api != ApiKey::ApiVersions {
        reader.skip_tagged()?;
    }
    let left = reader.left();
    reader.bytes("response body", left)
}

/// What speaks, when the first four bytes make no size a Kafka broker would send.
fn foreign(prefix: [u8; PREFIX_BYTES]) -> Option<WireError> {
    let guess = match prefix {
        [0x15, 0x03, 0..=4, _] => {
            "a TLS alert: this port wants TLS; set security.protocol to SSL or SASL_SSL"
        }
        [0x16, 0x03, 0..=4, _] => {
            "a TLS handshake: this port wants TLS; set security.protocol to SSL or SASL_SSL"
        }
        [b'H', b'T', b'T', b'P'] => "an HTTP server: check host and port of the broker's listener",
        [b'S', b'S', b'H', b'-'] => "an SSH server: check host and port of the broker's listener",
        [b'-', b'E', b'R', b'R'] => "a Redis server: check host and port of the broker's listener",
        [b'2', b'2', b'0', b' ' | b'-'] => "a mail or FTP server: check host and port",
        text if text.iter().all(|b| b.is_ascii_graphic() || b" \r\n\t".contains(b)) => {
            "it answers in plain text: check host and port of the broker's listener"
        }
        _ => return None,
    };
    Some(WireError::NotKafka { guess })
}

fn too_large(what: &'static str, value: usize, max: usize) -> Result<(), WireError> {
    if value <= max {
        return Ok(());
    }
    Err(WireError::TooLarge {
        what,
        value: i64::try_from(value).unwrap_or(i64::MAX),
        max: i64::try_from(max).unwrap_or(i64::MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_head_is_what_kafka_documents() {
        let head = request_head(ApiKey::Metadata, 12, 7, "ab", 5).unwrap();
        let want = [0, 0, 0, 18, 0, 3, 0, 12, 0, 0, 0, 7, 0, 2, b'a', b'b', 0];
        assert_eq!(head.as_ref(), want);
    }

    #[test]
    fn a_handshake_has_no_tags() {
        let head = request_head(ApiKey::SaslHandshake, 1, 7, "ab", 5).unwrap();
        assert_eq!(head.as_ref(), [0, 0, 0, 17, 0, 17, 0, 1, 0, 0, 0, 7, 0, 2, b'a', b'b']);
        let frame = Bytes::from_static(&[0, 0, 0, 9, 0, 0]);
        let body = response_body(frame, ApiKey::SaslHandshake, 9).unwrap();
        assert_eq!(body.as_ref(), [0, 0]);
    }

    #[test]
    fn requests_no_broker_reads_are_not_begun() {
        let body = REQUEST_BYTES_MAX;
        assert!(request_head(ApiKey::Produce, 9, 1, "a", body).is_err());
        assert!(request_head(ApiKey::Produce, 9, 1, "a", usize::MAX).is_err());
        let long = "a".repeat(CLIENT_ID_BYTES_MAX + 1);
        assert!(request_head(ApiKey::Produce, 9, 1, &long, 0).is_err());
    }

    #[test]
    fn a_size_is_believed_only_under_the_cap() {
        assert_eq!(response_size(4i32.to_be_bytes(), 100), Ok(4));
        assert_eq!(response_size(100i32.to_be_bytes(), 100), Ok(100));
        for size in [i32::MIN, -1, 0, 3, 101, i32::MAX] {
            assert!(response_size(size.to_be_bytes(), 100).is_err(), "{size}");
        }
    }

    #[test]
    fn who_is_not_kafka_is_named() {
        let check = |prefix: &[u8; 4], word: &str| {
            let error = response_size(*prefix, 1 << 27).unwrap_err();
            assert!(matches!(error, WireError::NotKafka { .. }), "{error}");
            assert!(error.to_string().contains(word), "{error}");
        };
        check(&[0x15, 3, 3, 0], "TLS alert");
        check(&[0x16, 3, 1, 2], "TLS handshake");
        check(b"HTTP", "HTTP");
        check(b"SSH-", "SSH");
        check(b"220 ", "mail");
        check(b"<htm", "plain text");
        assert!(matches!(response_size([0x7f, 0, 0, 1], 1 << 27), Err(WireError::TooLarge { .. })));
    }

    #[test]
    fn an_answer_to_another_question_is_refused() {
        let frame = Bytes::from_static(&[0, 0, 0, 9, 0, 1, 2]);
        assert_eq!(
            response_body(frame.clone(), ApiKey::Metadata, 9).unwrap().as_ref(),
            [1, 2],
            "v1 has tags"
        );
        assert_eq!(
            response_body(frame.clone(), ApiKey::ApiVersions, 9).unwrap().as_ref(),
            [0, 1, 2],
            "v0 has none"
        );
        assert_eq!(
            response_body(frame, ApiKey::Metadata, 8),
            Err(WireError::Correlation { expected: 8, got: 9 })
        );
        assert!(response_body(Bytes::from_static(&[0, 0]), ApiKey::Metadata, 0).is_err());
    }
}
