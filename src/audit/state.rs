//! The file from which a verification goes on: what was compared, and up to where.
//!
//! It never holds anything of a record, is nobody's but its owner's, and is never half written: a
//! new file, whose name nobody knows beforehand, takes the old one's place in one step.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::path::Path;

use serde::Deserialize;
use serde::Serialize;

use crate::audit::compare::Difference;
use crate::audit::compare::Tally;

/// The file's form; another one is refused.
pub const FORM: u32 = 1;
/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// How the name of a file begins that is yet to take the old one's place.
const NEW_PREFIX: &str = ".isolog-state-";

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
    /// The first differences, without their records.
    pub shown: Vec<Difference>,
    /// Where the destination's log has the seal behind which nothing was mirrored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<i64>,
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
    let bad = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
    // looked at before it is opened: opening a pipe would wait for its writer
    match path.metadata() {
        Ok(data) if data.is_file() => {}
        Ok(_) => return Err(bad("is no regular file".to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut text = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(bad(format!("larger than {FILE_BYTES_MAX} bytes")));
    }
    let state: State = serde_json::from_slice(&text)?;
    match state.form {
        FORM => Ok(Some(state)),
        other => Err(bad(format!("of form {other}, this release writes {FORM}"))),
    }
}

/// Writes the file in place of the old one, readable by its owner alone. What stands at `path`,
/// a link as well, is replaced and not followed.
pub fn write(path: &Path, state: &State) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    // made anew (O_EXCL, mode 0600) at a random name, and removed should anything fail
    let mut new = tempfile::Builder::new().prefix(NEW_PREFIX).tempfile_in(parent)?;
    new.write_all(&serde_json::to_vec(state)?)?;
    new.as_file().sync_all()?;
    new.persist(path).map_err(|error| error.error)?;
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("verify.json");
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
        assert!(read(dir.path()).unwrap_err().to_string().contains("no regular file"));
    }

    #[test]
    fn the_file_is_its_owners_alone_and_no_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("victim"), "untouched").unwrap();
        for link in ["verify.new", "verify.json.new", "verify.json"] {
            symlink(at("victim"), at(link)).unwrap();
        }
        write(&at("verify.json"), &State { form: FORM, ..State::default() }).unwrap();
        assert_eq!(fs::read_to_string(at("victim")).unwrap(), "untouched");
        let data = fs::symlink_metadata(at("verify.json")).unwrap();
        assert!(data.is_file() && data.mode() & 0o7777 == 0o600, "{:o}", data.mode());
        let left = fs::read_dir(dir.path()).unwrap();
        let left = left.filter(|one| {
            one.as_ref().unwrap().file_name().to_string_lossy().starts_with(NEW_PREFIX)
        });
        assert_eq!(left.count(), 0, "what was in between is left behind");
    }
}
