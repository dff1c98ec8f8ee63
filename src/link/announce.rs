//! Writes what happens here as records of a topic at the destination.
//!
//! It never decides what is told, never writes into a mirror topic, and gives nothing up: who tells
//! tries again.

use std::sync::Arc;

use tokio::sync::watch;

use crate::cluster::Cluster;
use crate::cluster::keyed::only::NewRecord;
use crate::cluster::keyed::only::OnlyPartition;
use crate::cluster::keyed::only::Shown;
use crate::control::topic::Stage;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::link::registry::Registry;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What it is about: of those of one key the last one counts.
    pub key: String,
    /// The event, as JSON.
    pub value: Vec<u8>,
    /// When it was seen, in ms since 1970.
    pub timestamp_ms: i64,
}

/// The topic.
pub struct Announcer {
    topic: TopicName,
    destination: watch::Receiver<Option<Arc<Cluster>>>,
    registry: Registry,
}

impl Announcer {
    /// Nothing is asked or written yet.
    pub(super) fn new(
        topic: TopicName,
        destination: watch::Receiver<Option<Arc<Cluster>>>,
        registry: Registry,
    ) -> Announcer {
        Announcer { topic, destination, registry }
    }

    /// Its name.
    pub fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// Writes them in order, as one batch, which all replicas in sync have then; the topic is made
    /// if it is not there. An error may leave it open whether they were written.
    pub async fn write(&self, notes: &[Note]) -> Result<(), String> {
        if let Some(link) = self.mirrored_by() {
            return Err(format!(
                "topic {} is a mirror topic of link {link}: give [service] events.topic another \
                 name",
                self.topic
            ));
        }
        let destination = self.destination.borrow().clone();
        let destination = destination.ok_or("the destination has not been reached yet")?;
        let own = OnlyPartition::new(destination, self.topic.clone());
        let id = self.id(&own).await?;
        let told = own.write(id, notes.iter().map(lent).collect()).await;
        let told = told.map_err(|error| error.to_string())?;
        if told.code.is_none() {
            return Ok(());
        }
        let why = told.message.map(|text| format!(": {text}")).unwrap_or_default();
        Err(format!("its leader refuses them: {}{why}", told.code))
    }

    async fn id(&self, own: &OnlyPartition) -> Result<TopicId, String> {
        for is_made in [false, true] {
            own.look().await.map_err(|error| error.to_string())?;
            match own.shown() {
                Shown::There(id) => return Ok(id),
                Shown::Trouble(text) => return Err(text),
                Shown::Hidden => {
                    return Err(format!(
                        "the topic is not shown to us: grant isolog's account Write on topic {} \
                         at the destination, and Create where it is not there yet",
                        self.topic
                    ));
                }
                Shown::Nothing if !is_made => {
                    let made = own.create(None, &[]).await;
                    made.map_err(|error| error.to_string())?;
                    own.leader().await.map_err(|error| error.to_string())?;
                }
                Shown::Nothing => {}
            }
        }
        Err("the topic was made and is not seen yet".to_owned())
    }

    fn mirrored_by(&self) -> Option<String> {
        let seen = self.registry.seen();
        let mut all = seen.mirrors.iter().filter(|((_, topic), _)| *topic == self.topic);
        let owner = all.find(|(_, mirror)| !matches!(mirror.row.stage, Stage::Stopped(_)));
        owner.map(|((link, _), _)| link.to_string())
    }
}

fn lent(note: &Note) -> NewRecord<'_> {
    NewRecord {
        timestamp_ms: note.timestamp_ms,
        key: Some(note.key.as_bytes()),
        value: Some(&note.value),
        headers: Vec::new(),
    }
}
