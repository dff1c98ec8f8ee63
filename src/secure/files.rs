//! Files that hold secrets and stores: read whole and bounded, their modes looked at.
//!
//! It never shows what a file holds.

use std::fmt;
use std::fs::File;
use std::fs::Metadata;
use std::io;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use zeroize::Zeroizing;

/// The largest store or secret that is read; a bundle of all public authorities has 250 KB.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Everybody may write.
const WORLD_WRITES: u32 = 0o002;
/// Everybody may read.
const WORLD_READS: u32 = 0o004;

/// Why a file was not taken.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FileError {
    /// The system says no.
    #[error("cannot read {}: {cause}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        cause: Arc<io::Error>,
    },
    /// It is too large.
    #[error("{} is larger than {FILE_BYTES_MAX} bytes", .0.display())]
    TooLarge(PathBuf),
    /// Everybody may change it.
    #[error("{} can be written by every user of this machine: chmod o-w it", .0.display())]
    WorldWritable(PathBuf),
    /// It is no text.
    #[error("{} is not UTF-8 text", .0.display())]
    NotText(PathBuf),
}

/// A file with a secret that every user of this machine can read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exposed(pub PathBuf);

impl fmt::Display for Exposed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.0.display();
        write!(
            f,
            "{path} holds a secret and can be read by every user of this machine: chmod o-r it"
        )
    }
}

/// What tells one state of a file from another.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

/// The present state of a file, links followed; `None` when it cannot be seen.
pub(super) fn stamp(path: &Path) -> Option<Stamp> {
    let meta = std::fs::metadata(path).ok()?;
    let changed = (meta.mtime(), meta.mtime_nsec());
    Some(Stamp { device: meta.dev(), inode: meta.ino(), size: meta.size(), changed })
}

/// A whole file. One that everybody may write is refused: its content says nothing.
pub(super) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let failed = |cause: io::Error| {
        let cause = Arc::new(cause);
        FileError::Io { path: path.to_owned(), cause }
    };
    let file = File::open(path).map_err(failed)?;
    if mode(&file.metadata().map_err(failed)?) & WORLD_WRITES != 0 {
        return Err(FileError::WorldWritable(path.to_owned()));
    }
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(FileError::TooLarge(path.to_owned()));
    }
    Ok(bytes)
}

/// A whole file of text with a secret in it.
pub fn read_secret(path: &Path) -> Result<Zeroizing<String>, FileError> {
    let bytes = read(path)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| FileError::NotText(path.to_owned()))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Whether every user of this machine can read the file.
pub fn exposed(path: &Path) -> Option<Exposed> {
    let meta = std::fs::metadata(path).ok()?;
    (mode(&meta) & WORLD_READS != 0).then(|| Exposed(path.to_owned()))
}

/// The permission bits; what is no file (a pipe, a descriptor) has none of its own.
fn mode(meta: &Metadata) -> u32 {
    if meta.is_file() { meta.mode() } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn modes_are_looked_at() {
        let dir = std::env::temp_dir().join(format!("isolog-files-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("secret");
        std::fs::write(&path, "hunter2").unwrap();
        let set = |mode| std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        set(0o600);
        assert_eq!(read_secret(&path).unwrap().as_str(), "hunter2");
        assert_eq!(exposed(&path), None);
        set(0o644);
        let said = exposed(&path).unwrap().to_string();
        assert!(said.ends_with("chmod o-r it") && !said.contains("hunter2"), "{said}");
        set(0o602);
        let said = read(&path).unwrap_err().to_string();
        assert!(said.contains("can be written by every user"), "{said}");
        set(0o600);
        let before = stamp(&path);
        std::fs::write(&path, "hunter22").unwrap();
        assert_ne!(stamp(&path), before);
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("cannot read"));
    }
}
