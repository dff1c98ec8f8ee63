//! DER elements, found without a library where only their edges matter.
//!
//! It never believes a length beyond the bytes that are there, and never goes deeper than
//! `DEPTH_MAX`.

/// More rounds of a key derivation are no protection but an attempt to keep us busy: openssl takes
/// 2048, Java 10,000, cautious people a million.
pub(super) const ROUNDS_MAX: u32 = 10_000_000;
/// A PKCS#12 store nests 15 deep.
const DEPTH_MAX: usize = 32;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
/// The bit of a tag that says that elements are inside.
const CONSTRUCTED: u8 = 0x20;
/// OID 1.3.6.1.4.1.11591.4.11 with tag and length.
const SCRYPT: &[u8] = &[0x06, 0x09, 0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x04, 0x0b];

/// The first element, and what stands behind it.
pub(super) fn element(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, size) = measure(bytes)?;
    bytes.split_at_checked(head.checked_add(size)?)
}

/// What is inside of an element.
pub(super) fn content(element: &[u8]) -> Option<&[u8]> {
    element.get(measure(element)?.0..)
}

/// Bytes of an element's head and of its content.
fn measure(bytes: &[u8]) -> Option<(usize, usize)> {
    match *bytes.get(1)? {
        short @ 0..=0x7f => Some((2, usize::from(short))),
        long @ 0x81..=0x83 => {
            let count = usize::from(long & 0x7f);
            let digits = bytes.get(2..2 + count)?;
            let size = digits.iter().fold(0, |size, byte| size << 8 | usize::from(*byte));
            Some((2 + count, size))
        }
        _ => None,
    }
}

/// Whether a protected key or store, as it lies there, can be opened within a bounded time and
/// memory: no round count is beyond `ROUNDS_MAX`, and there is no scrypt, whose memory is for its
/// maker to choose (Java opens none either).
pub(in crate::secure) fn is_bounded(sealed: &[u8]) -> bool {
    let has_scrypt = sealed.windows(SCRYPT.len()).any(|part| part == SCRYPT);
    !has_scrypt && walk(sealed, 0)
}

/// A round count stands behind a salt: in PBKDF2-params (RFC 8018 A.2), in pkcs-12PbeParams (RFC
/// 7292 C) and in MacData (RFC 7292 4). Certificates have no number behind an OCTET STRING.
fn walk(mut left: &[u8], depth: usize) -> bool {
    let mut is_behind_salt = false;
    while let Some((one, rest)) = element(left) {
        let (tag, inner) = (one[0], content(one).unwrap_or_default());
        if tag == INTEGER && is_behind_salt && !is_few(inner) {
            return false;
        }
        is_behind_salt = tag == OCTET_STRING;
        let may_nest = tag & CONSTRUCTED != 0 || tag == OCTET_STRING;
        if may_nest && depth < DEPTH_MAX && !walk(inner, depth + 1) {
            return false;
        }
        left = rest;
    }
    true
}

fn is_few(number: &[u8]) -> bool {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let digits = &number[zeros..];
    let value = digits.iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    digits.len() <= 4 && value <= u64::from(ROUNDS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_end_where_they_say_and_never_beyond() {
        assert_eq!(element(&[0x30, 1, 5, 9]), Some((&[0x30, 1, 5][..], &[9][..])));
        assert_eq!(element(&[0x30, 0x81, 1, 5]), Some((&[0x30, 0x81, 1, 5][..], &[][..])));
        for short in
            [&[][..], &[0x30], &[0x30, 2, 1], &[0x30, 0x82, 1], &[0x30, 0x80], &[0x30, 0x84]]
        {
            assert_eq!(element(short), None, "{short:?}");
        }
    }

    #[test]
    fn too_many_rounds_and_scrypt_are_seen_wherever_they_stand() {
        let rounds = |digits: &[u8]| {
            let count = [&[INTEGER, digits.len() as u8], digits].concat();
            let inner = [&[OCTET_STRING, 1, 7][..], &count].concat();
            let inner = [&[0x30, inner.len() as u8][..], &inner].concat();
            [&[OCTET_STRING, inner.len() as u8][..], &inner].concat()
        };
        for few in [&[8, 0][..], &[0x0f, 0x42, 0x40], &[0x00, 0x98, 0x96, 0x80]] {
            assert!(is_bounded(&rounds(few)), "{few:?}");
        }
        for many in [&[0x00, 0x98, 0x96, 0x81][..], &[0x7f; 4], &[0x7f; 9], &[0xff]] {
            assert_eq!(is_bounded(&rounds(many)), many == [0xff], "{many:?}");
        }
        // a number that is behind no salt: a serial number
        assert!(is_bounded(&[0x30, 6, INTEGER, 4, 0x7f, 0xff, 0xff, 0xff]));
        assert!(!is_bounded(&[&[0x30, 11][..], SCRYPT].concat()));
        let deep = (0..100).fold(Vec::new(), |inner: Vec<u8>, _| {
            let size = u16::try_from(inner.len()).unwrap().to_be_bytes();
            [&[0x30, 0x82, size[0], size[1]][..], &inner].concat()
        });
        assert!(is_bounded(&deep));
    }
}
