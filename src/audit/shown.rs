//! A record as people are shown it: the beginning of each part, and how long the whole is.
//!
//! It never shows more than a few hundred letters of a record.

use serde::Deserialize;
use serde::Serialize;

use crate::audit::log::cursor::Seen;

/// So many bytes of a key, a value or a header are shown.
const PART_BYTES_MAX: usize = 96;
/// So many headers.
const HEADERS_MAX: usize = 8;

/// A part of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// How long it is.
    pub bytes: usize,
    /// Its beginning; what is no printable ASCII is escaped.
    pub text: String,
    /// The whole part's BLAKE3 hash in hex, where `text` is not all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blake3: Option<String>,
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Its time, in ms since 1970.
    pub timestamp: i64,
    /// Its key.
    pub key: Option<Part>,
    /// Its value.
    pub value: Option<Part>,
    /// How many headers it has.
    pub header_count: usize,
    /// The first of them, by name.
    pub headers: Vec<(Part, Option<Part>)>,
}

impl Part {
    fn of(bytes: &[u8]) -> Part {
        let start = &bytes[..bytes.len().min(PART_BYTES_MAX)];
        let is_cut = start.len() < bytes.len();
        Part {
            bytes: bytes.len(),
            text: start.escape_ascii().to_string(),
            blake3: is_cut.then(|| blake3::hash(bytes).to_hex().to_string()),
        }
    }
}

impl Shown {
    /// What is shown of a record.
    pub fn of(seen: &Seen<'_>) -> Shown {
        let headers = seen.record.headers.iter().take(HEADERS_MAX);
        Shown {
            timestamp: seen.timestamp,
            key: seen.record.key.map(Part::of),
            value: seen.record.value.map(Part::of),
            header_count: seen.record.headers.len(),
            headers: headers.map(|(name, value)| (Part::of(name), value.map(Part::of))).collect(),
        }
    }
}
