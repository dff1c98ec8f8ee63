//! What a person does with the journal by hand: its rows read, written and deleted.
//!
//! It never writes a row that no isolog of this version can read, and never without a stamp: a
//! running isolog sees what is written here as it sees another instance's rows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use tokio::time::timeout;

use crate::cluster::Cluster;
use crate::cluster::dial::TcpDial;
use crate::cluster::error::ClusterError;
use crate::control::facts::WriteId;
use crate::control::journal::Applied;
use crate::control::journal::Fold;
use crate::control::journal::Stamp;
use crate::control::journal::WriterTag;
use crate::control::machine::ROWS_MAX;
use crate::control::machine::Write;
pub use crate::control::row::Key;
pub use crate::control::row::Row;
use crate::control::row::Unreadable;
pub use crate::control::schemas::row::ExporterKey;
use crate::control::topic::Fault;
pub use crate::control::topic::Stage;
use crate::flow::Wall;
use crate::ids::TimestampMs;
use crate::link::Settings;
use crate::link::log::FromLog;
use crate::link::log::Log;
use crate::link::log::OpenError;
use crate::link::log::Options;

/// For how long the journal may be silent before a command gives up.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How often one write is decided again when somebody else was faster.
const DECISIONS_MAX: u32 = 100;

/// Why a command did not do what it was to do.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The destination cannot be reached.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The journal cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is none.
    #[error("the destination has no journal (topic __isolog): there are no rows")]
    None,
    /// It cannot be read, or is lost.
    #[error("the journal: {0}")]
    Read(String),
    /// It took no row.
    #[error("the journal took no row: {}", .0.text)]
    Refused(Fault),
    /// Others write without an end.
    #[error("others wrote {DECISIONS_MAX} times in between: try again")]
    Overtaken,
    /// What was given is no row.
    #[error("{0}")]
    NoRow(String),
}

/// The journal, read up to its end.
pub struct Editor {
    log: Log,
    fold: Fold,
    tag: WriterTag,
    number: u64,
}

impl Editor {
    /// Reads the journal of the destination and changes nothing of it.
    pub async fn read(settings: &Settings) -> Result<Editor, EditError> {
        let (cluster, wall, tag) = connect(settings).await?;
        let log = Log::find(cluster, wall).await?.ok_or(EditError::None)?;
        Editor::level(log, tag).await
    }

    /// The same to write rows into it; one that is not there is made.
    pub async fn open(settings: &Settings) -> Result<Editor, EditError> {
        let (cluster, wall, tag) = connect(settings).await?;
        let factors = settings.links.iter().map(|link| link.link.replication_factor);
        let replicas = factors.filter(|factor| *factor > 0).max();
        let log = Log::open(cluster, Options { replicas, wall }).await?;
        Editor::level(log, tag).await
    }

    async fn level(log: Log, tag: WriterTag) -> Result<Editor, EditError> {
        let mut editor = Editor { log, fold: Fold::default(), tag, number: 0 };
        let mut trouble = None;
        loop {
            match timeout(SILENCE_MAX, editor.log.next()).await {
                Ok(FromLog::Batch(batch)) => drop(editor.fold.apply(batch)),
                Ok(FromLog::Level) => return Ok(editor),
                Ok(FromLog::Lost(lost)) => return Err(EditError::Read(lost.fault.text)),
                Ok(FromLog::Trouble(fault)) => trouble = Some(fault.text),
                Ok(FromLog::Well) => trouble = None,
                Err(_) => {
                    let silent = format!("nothing came for {} s", SILENCE_MAX.as_secs());
                    return Err(EditError::Read(trouble.unwrap_or(silent)));
                }
            }
        }
    }

    /// The rows that count, by key.
    pub fn rows(&self) -> &BTreeMap<String, String> {
        self.fold.rows()
    }

    /// Writes rows, or deletes them (`None`); each of them is there when this is done.
    pub async fn put(&mut self, rows: &[(String, Option<String>)]) -> Result<(), EditError> {
        for some in rows.chunks(ROWS_MAX) {
            self.put_some(some).await?;
        }
        Ok(())
    }

    async fn put_some(&mut self, rows: &[(String, Option<String>)]) -> Result<(), EditError> {
        for _ in 0..DECISIONS_MAX {
            self.number += 1;
            let stamp = Stamp { at: self.fold.end(), writer: self.tag, number: self.number };
            let write = Write { id: WriteId(self.number), stamp, rows: rows.to_vec() };
            let sent = self.log.appender();
            let mut sent = Box::pin(sent.append(&write));
            let mut counts = false;
            let mut is_answered = false;
            while !is_answered || self.fold.end() <= stamp.at {
                tokio::select! {
                    answer = &mut sent, if !is_answered => {
                        answer.map_err(EditError::Refused)?;
                        is_answered = true;
                    }
                    event = self.log.next() => match event {
                        FromLog::Batch(batch) => {
                            let applied = self.fold.apply(batch);
                            counts |= matches!(applied, Applied::Counted(s, _) if s == stamp);
                        }
                        FromLog::Lost(lost) => return Err(EditError::Read(lost.fault.text)),
                        _ => {}
                    }
                }
            }
            if counts {
                return Ok(());
            }
        }
        Err(EditError::Overtaken)
    }
}

/// Reads a row as `isolog journal export` writes it; only what this isolog can use is one.
pub fn check_row(key: &str, value: &str) -> Result<(), EditError> {
    let unreadable = |error: Unreadable| EditError::NoRow(error.to_string());
    if let Some(key) = ExporterKey::parse(key) {
        return key.check(value).map_err(unreadable);
    }
    let parsed = Key::parse(key).ok_or_else(|| {
        EditError::NoRow(format!(
            "{key:?} is no key of a row: they are link/NAME, mirror/LINK/TOPIC and exporter/NAME"
        ))
    })?;
    Row::parse(&parsed, value).map(drop).map_err(unreadable)
}

async fn connect(settings: &Settings) -> Result<(Arc<Cluster>, Wall, WriterTag), ClusterError> {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let ms = i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX);
    let seed = u64::from(since_1970.subsec_nanos()) ^ u64::from(std::process::id()) << 32;
    let options = settings.destination.clone();
    let dial = Arc::new(TcpDial { timeout: options.dial_timeout });
    let cluster = Cluster::connect(options, dial, seed).await?;
    let tag = WriterTag::of_editor(seed ^ u64::try_from(ms).unwrap_or(0).rotate_left(20));
    Ok((cluster, Wall::new(TimestampMs(ms)), tag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::row::LinkMode;
    use crate::control::row::LinkRow;
    use crate::control::row::Origin;

    #[test]
    fn only_rows_that_can_be_used_are_taken() {
        let row = LinkRow {
            id: "AAAAAAAAQACAAAAAAAAAAA".into(),
            mode: LinkMode::Destination,
            origin: Origin::Commanded,
            source: None,
            configs: BTreeMap::new(),
            generation: 0,
            is_paused: false,
            is_leaving: false,
            forgotten: Default::default(),
            is_taking_over: false,
        };
        let json = Row::Link(row).to_json();
        assert!(check_row("link/dr", &json).is_ok());
        let told = |key: &str, value: &str| check_row(key, value).unwrap_err().to_string();
        assert!(told("dr/orders", &json).contains("is no key of a row"));
        assert!(told("link/dr", "{}").contains("link/dr"));
        assert!(told("link/dr", &json.replace("\"v\":1", "\"v\":9")).contains("later isolog"));
    }
}
