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
use std::sync::mpsc;
use std::time::Duration;

use zeroize::Zeroizing;

/// The largest store or secret that is read; a bundle of all public authorities has 250 KB.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// For how long a pipe or a device may say nothing.
const SILENCE_MAX: Duration = Duration::from_secs(10);
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
    #[error("{} is larger than {} bytes", .0.display(), .1)]
    TooLarge(PathBuf, u64),
    /// It is a directory.
    #[error("{} is a directory: name a file in it", .0.display())]
    Directory(PathBuf),
    /// It is no file, and nothing comes from it.
    #[error(
        "{} is a pipe or a device, and it was not read to its end within {SILENCE_MAX:?}: does \
         anybody write into it?",
        .0.display()
    )]
    Silent(PathBuf),
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

/// What all users of the machine may do with a file.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Everybody {
    /// They may change it.
    pub writes: bool,
}

/// A whole file of at most so many bytes, and who may write it; links are followed. The caller
/// decides whether the file may be open to everybody: what nobody would gain by is no secret.
pub fn read_any(path: &Path, bytes_max: u64) -> Result<(Zeroizing<Vec<u8>>, Everybody), FileError> {
    let meta = std::fs::metadata(path).map_err(|cause| io_error(path, cause))?;
    match () {
        () if meta.is_file() => bounded(path, bytes_max),
        () if meta.is_dir() => Err(FileError::Directory(path.to_owned())),
        () => patiently(path, bytes_max, SILENCE_MAX),
    }
}

/// A whole file. One that everybody may write is refused: its content says nothing.
pub(super) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, FileError> {
    match read_any(path, FILE_BYTES_MAX)? {
        (_, Everybody { writes: true }) => Err(FileError::WorldWritable(path.to_owned())),
        (bytes, _) => Ok(bytes),
    }
}

fn io_error(path: &Path, cause: io::Error) -> FileError {
    FileError::Io { path: path.to_owned(), cause: Arc::new(cause) }
}

fn bounded(path: &Path, bytes_max: u64) -> Result<(Zeroizing<Vec<u8>>, Everybody), FileError> {
    let failed = |cause: io::Error| io_error(path, cause);
    let file = File::open(path).map_err(failed)?;
    let writes = mode(&file.metadata().map_err(failed)?) & WORLD_WRITES != 0;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > bytes_max {
        return Err(FileError::TooLarge(path.to_owned(), bytes_max));
    }
    Ok((bytes, Everybody { writes }))
}

/// A pipe or a device: opening it may wait, reading it too, and nothing ends that but a writer. So
/// another thread waits, and is left behind when it takes too long.
fn patiently(
    path: &Path,
    bytes_max: u64,
    wait_max: Duration,
) -> Result<(Zeroizing<Vec<u8>>, Everybody), FileError> {
    let (done, wait) = mpsc::sync_channel(1);
    let there = path.to_owned();
    let reader = std::thread::Builder::new().name("isolog-file".to_owned());
    let spawned = reader.spawn(move || drop(done.send(bounded(&there, bytes_max))));
    spawned.map_err(|cause| io_error(path, cause))?;
    wait.recv_timeout(wait_max).unwrap_or_else(|_| Err(FileError::Silent(path.to_owned())))
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
        set(0o622);
        let link = dir.join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(read(&link), Err(FileError::WorldWritable(_))), "a link hides nothing");
        assert!(read_any(&link, 8).unwrap().1.writes);
        set(0o660);
        assert!(!read_any(&path, 8).unwrap().1.writes, "a group is as good as the owner");
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("cannot read"));
    }

    #[test]
    fn what_is_no_file_neither_hangs_nor_fills_the_memory() {
        let dir = std::env::temp_dir().join(format!("isolog-pipes-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let said = |path: &str| read(Path::new(path)).unwrap_err().to_string();
        assert_eq!(said("/dev/zero"), "/dev/zero is larger than 8388608 bytes");
        assert!(said("/proc").ends_with("is a directory: name a file in it"));
        assert_eq!(read(Path::new("/dev/null")).unwrap().len(), 0);
        let pipe = dir.join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let said = patiently(&pipe, 8, Duration::from_millis(1)).unwrap_err().to_string();
        assert!(said.contains("is a pipe or a device"), "{said}");
        let fed = dir.join("fed");
        assert!(std::process::Command::new("mkfifo").arg(&fed).status().unwrap().success());
        std::thread::scope(|scope| {
            scope.spawn(|| std::fs::write(&fed, "hunter2").unwrap());
            assert_eq!(read(&fed).unwrap().as_slice(), b"hunter2");
        });
        let long = dir.join("long");
        std::fs::File::create(&long).unwrap().set_len(1 << 40).unwrap();
        assert!(matches!(read(&long), Err(FileError::TooLarge(..))), "a file with a hole of 1 TiB");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
