//! A tail in files: its records, a JSON object a line, and its batches as the source has them.
//!
//! It never writes into a file that is there, and never leaves one that looks whole and is not: a
//! file gets its name when all of it is written.

use std::fs::File;
use std::io;
use std::io::BufWriter;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::audit::log::cursor::Cursor;
use crate::audit::log::cursor::Place;
use crate::audit::log::cursor::Seen;
use crate::audit::log::cursor::Unreadable;
use crate::audit::log::reader::Lines;
use crate::audit::log::reader::ReadError;
use crate::audit::prefix::Ends;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::tail::list::Held;
use crate::tail::range;
use crate::wire::split::Piece;

/// What one fetch asks for, in bytes; three such answers are alive at most.
const FETCH_BYTES: i32 = 1 << 20;
/// How the name of a file begins that is not whole yet.
const NEW_PREFIX: &str = ".isolog-tail-";

/// Why a tail is not in its files.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The source.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A batch.
    #[error("at the source, {0}")]
    Unreadable(#[from] Unreadable),
    /// A file.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        error: io::Error,
    },
}

/// What was written of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// The topic at the source.
    pub source_topic: String,
    /// The partition.
    pub partition: i32,
    /// Records, in the first file.
    pub records: u64,
    /// Batches, in the second one.
    pub batches: u64,
    /// `TOPIC-PARTITION.jsonl`.
    pub records_file: PathBuf,
    /// `TOPIC-PARTITION.batches`.
    pub batches_file: PathBuf,
}

/// A file that has its name when it is whole.
struct Out {
    path: PathBuf,
    file: BufWriter<tempfile::NamedTempFile>,
}

impl Out {
    fn create(dir: &Path, name: &str) -> Result<Out, ExportError> {
        let path = dir.join(name);
        let failed = |error| ExportError::File { path: path.clone(), error };
        if path.exists() {
            return Err(failed(io::ErrorKind::AlreadyExists.into()));
        }
        let file = tempfile::Builder::new().prefix(NEW_PREFIX).tempfile_in(dir);
        Ok(Out { file: BufWriter::new(file.map_err(failed)?), path })
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), ExportError> {
        let failed = |error| ExportError::File { path: self.path.clone(), error };
        self.file.write_all(bytes).map_err(failed)
    }

    fn finish(self) -> Result<PathBuf, ExportError> {
        let Out { path, file } = self;
        let whole = || {
            let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.as_file().sync_all()?;
            let named: File = file.persist_noclobber(&path).map_err(|error| error.error)?;
            named.sync_all()
        };
        whole().map_err(|error| ExportError::File { path: path.clone(), error })?;
        Ok(path)
    }
}

/// Writes a tail into `dir`. The batches are whole ones: the first may begin below the first offset
/// that was not mirrored, and what was aborted, with the markers, is among them.
pub async fn export(both: Ends<'_>, held: &Held, dir: &Path) -> Result<Exported, ExportError> {
    let at = |raw: Option<i64>| raw.and_then(Offset::new).unwrap_or(Offset::ZERO);
    let (from, end) = (at(held.from), at(held.to).max(at(held.from)));
    let (name, partition) = (&held.source_topic, PartitionId(held.partition));
    let mut records = Out::create(dir, &format!("{name}-{partition}.jsonl"))?;
    let mut batches = Out::create(dir, &format!("{name}-{partition}.batches"))?;
    let (mut record_count, mut batch_count) = (0, 0);
    let mut lines = Lines::new(both.source, FETCH_BYTES);
    let Some(range) = range(both, held) else {
        return Err(ReadError::Nothing { side: both.source.side(), at: from }.into());
    };
    let mut reader = lines.read(range);
    let mut cursor = Cursor::new(from, end, both.committed_only);
    loop {
        match cursor.place()? {
            Place::Batch => cursor.open_batch()?,
            Place::Record => {
                if let Some(seen) = cursor.record()? {
                    records.put(line(name, partition, &seen).as_bytes())?;
                    record_count += 1;
                }
                cursor.skip_record();
            }
            Place::End => break,
            Place::Need => {
                let Some(portion) = reader.next().await? else { break };
                for piece in portion.pieces.iter().filter(|piece| begins_below(piece, end)) {
                    batches.put(&raw(piece))?;
                    batch_count += 1;
                }
                cursor.feed(portion);
            }
        }
    }
    reader.finish().await?;
    Ok(Exported {
        source_topic: name.clone(),
        partition: held.partition,
        records: record_count,
        batches: batch_count,
        records_file: records.finish()?,
        batches_file: batches.finish()?,
    })
}

fn begins_below(piece: &Piece, end: Offset) -> bool {
    match piece {
        Piece::Batch(batch) => batch.base_offset() < end,
        Piece::OldFormat { offset, .. } => *offset < end,
    }
}

fn raw(piece: &Piece) -> bytes::Bytes {
    match piece {
        Piece::Batch(batch) => batch.to_bytes(),
        Piece::OldFormat { bytes, .. } => bytes.clone(),
    }
}

/// A record as one line: text is text, and what is none is base64 under a name that says so.
fn line(topic: &str, partition: PartitionId, seen: &Seen<'_>) -> String {
    let mut object = Map::new();
    object.insert("topic".into(), json!(topic));
    object.insert("partition".into(), json!(partition.0));
    object.insert("offset".into(), json!(seen.offset.get()));
    object.insert("timestamp".into(), json!(seen.timestamp));
    put(&mut object, "key", seen.record.key);
    put(&mut object, "value", seen.record.value);
    let headers = seen.record.headers.iter().map(|(name, value)| {
        let mut header = Map::new();
        put(&mut header, "name", Some(*name));
        put(&mut header, "value", *value);
        Value::Object(header)
    });
    object.insert("headers".into(), headers.collect());
    format!("{}\n", Value::Object(object))
}

fn put(object: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(std::str::from_utf8) {
        None => drop(object.insert(name.to_owned(), Value::Null)),
        Some(Ok(text)) => drop(object.insert(name.to_owned(), json!(text))),
        Some(Err(_)) => {
            let text = STANDARD.encode(bytes.unwrap_or_default());
            object.insert(format!("{name}_base64"), json!(text));
        }
    }
}
