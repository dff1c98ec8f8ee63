//! The file from which a verification goes on: what was compared, and up to where.
//!
//! It never holds more of a record than a difference shows, and is never half written: the new one
//! takes the old one's place in one step.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::Deserialize;
use serde::Serialize;

use crate::audit::compare::Difference;
use crate::audit::compare::Tally;

/// The file's form; another one is refused.
pub const FORM: u32 = 1;
/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// What was compared of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// The topic's ids.
    pub ids: (String, String),
    /// The first offset that was compared.
    pub from: i64,
    /// Everything below it was.
    pub at: i64,
    /// The fixed end.
    pub to: i64,
    /// What came out.
    pub tally: Tally,
    /// Hidden fillers at the destination.
    pub fillers: u64,
    /// The first differences.
    pub shown: Vec<Difference>,
}

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// `FORM`.
    pub form: u32,
    /// The link.
    pub link: String,
    /// Both clusters' ids.
    pub clusters: (String, String),
    /// By `topic-partition`.
    pub partitions: BTreeMap<String, Saved>,
}

/// Reads the file; `None` when there is none.
pub fn read(path: &Path) -> io::Result<Option<State>> {
    let size = match fs::metadata(path) {
        Ok(data) => data.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let bad = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
    if size > FILE_BYTES_MAX {
        return Err(bad(format!("larger than {FILE_BYTES_MAX} bytes")));
    }
    let state: State = serde_json::from_slice(&fs::read(path)?)?;
    match state.form {
        FORM => Ok(Some(state)),
        other => Err(bad(format!("of form {other}, this release writes {FORM}"))),
    }
}

/// Writes the file in place of the old one.
pub fn write(path: &Path, state: &State) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, serde_json::to_vec(state)?)?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        let dir = std::env::temp_dir().join(format!("isolog-state-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("verify.json");
        assert_eq!(read(&path).unwrap(), None);
        let partitions = BTreeMap::from([("a-0".to_owned(), Saved { to: 7, ..Saved::default() })]);
        let state = State { form: FORM, link: "dr".into(), partitions, ..State::default() };
        write(&path, &state).unwrap();
        write(&path, &state).unwrap();
        assert_eq!(read(&path).unwrap(), Some(state.clone()));
        write(&path, &State { form: 2, ..state }).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("form 2"));
        fs::write(&path, "{").unwrap();
        assert!(read(&path).is_err());
        fs::remove_dir_all(&dir).unwrap();
    }
}
