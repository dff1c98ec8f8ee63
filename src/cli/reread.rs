//! The config file, read again when SIGHUP comes or the file has changed, and what is said of it.
//!
//! It never applies a file with a mistake, nor what belongs to the whole process: links take what
//! is theirs at once, and the rest is named, to be taken at the next start.

use std::fs::metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::config;
use crate::config::Config;
use crate::config::Problem;
use crate::config::Said;
use crate::service::FileSaid;

/// How often the file is looked at. One that has changed is read when it has rested for as long:
/// an editor may be writing it.
const LOOK: Duration = Duration::from_secs(5);

/// The file, and what of it runs.
pub struct Reread {
    path: PathBuf,
    running: Said,
    hangup: Signal,
    /// Who runs its links.
    links: watch::Sender<FileSaid>,
    /// What the file looked like when it was last read.
    read: Option<State>,
}

/// What tells one state of a file from another.
type State = (u64, i64, i64, u64);

impl Reread {
    /// The file was read a moment ago.
    pub fn new(
        path: PathBuf,
        config: &Config,
        (hangup, links): (Signal, watch::Sender<FileSaid>),
    ) -> Reread {
        let read = state(&path);
        Reread { path, running: Said::of(config), hangup, links, read }
    }

    /// For ever.
    pub async fn keep(mut self) {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => tracing::info!("SIGHUP: the config file is read again"),
                () = changed(&self.path, self.read) => {
                    tracing::info!("the config file has changed and is read again");
                }
            }
            self.read = state(&self.path);
            let path = self.path.clone();
            match spawn_blocking(move || config::load(&path)).await {
                Ok(read) => self.take(read),
                Err(error) => tracing::error!(%error, "the config file was not read again"),
            }
        }
    }

    fn take(&mut self, read: Result<Config, Vec<Problem>>) {
        let Some(config) = right(read) else { return };
        let changes = self.running.changes(&config);
        for change in &changes {
            tracing::warn!("{change}");
        }
        if changes.is_empty() {
            tracing::info!("the config file says what isolog runs with");
            return;
        }
        self.running.take_links(&config);
        self.links.send_replace(config.said());
    }
}

/// The config, where all of it is right; else every mistake is told.
fn right(read: Result<Config, Vec<Problem>>) -> Option<Config> {
    let config = match read {
        Ok(config) => config,
        Err(problems) => {
            for problem in &problems {
                tracing::error!("{problem}");
            }
            let mistakes = problems.len();
            tracing::error!(mistakes, "the config file is wrong, and nothing is changed");
            return None;
        }
    };
    for file in &config.exposed {
        tracing::warn!("{file}");
    }
    Some(config)
}

/// Waits until the file looks otherwise than it did, and rests.
async fn changed(path: &Path, read: Option<State>) {
    let mut before = read;
    loop {
        sleep(LOOK).await;
        let now = state(path);
        if now == before && now != read {
            return;
        }
        before = now;
    }
}

/// `None` where there is no file.
fn state(path: &Path) -> Option<State> {
    let meta = metadata(path).ok()?;
    Some((meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.len()))
}
