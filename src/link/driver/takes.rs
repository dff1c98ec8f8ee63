//! What the destination takes of each mirror topic, by its configs: read before anything of it is
//! copied, and again and again.
//!
//! It never changes a config.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::sleep;

use crate::cluster::Cluster;
use crate::control::row::Changes;
use crate::ids::Incarnation;
use crate::ids::TopicName;
use crate::mirror::facts::Takes;
use crate::mirror::halt::Halt;
use crate::sync::configs;
use crate::sync::stage;

/// So many topics are asked about in one question.
pub(super) const ASKED_MAX: usize = 500;
/// The pause after a question that was not answered.
const TRY_PAUSE: Duration = Duration::from_secs(1);
/// TOPIC_AUTHORIZATION_FAILED: they are not told, which the partitions' rules know of.
const NOT_ALLOWED: i16 = 29;

/// What one topic takes.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    takes: Takes,
    /// What of its configs breaks exactness.
    pub halt: Option<Halt>,
    read_at: Instant,
}

/// What was told, of those topics that were asked about under a number.
pub(super) type Told = BTreeMap<TopicName, (Incarnation, Taken)>;

impl Taken {
    /// What it takes while it is owed this.
    pub fn takes(&self, owed: &Changes) -> Takes {
        let mut takes = self.takes.clone();
        if !owed.is_empty() {
            takes.is_staged = true;
            takes.is_compacted = Some(stage::will_compact(owed));
        }
        takes
    }

    /// Whether it was read longer ago than `age`.
    pub fn is_due(&self, now: Instant, age: Duration) -> bool {
        now.duration_since(self.read_at) >= age
    }

    /// Whether nothing has changed.
    pub fn says_the_same(&self, other: &Taken) -> bool {
        (&self.takes, &self.halt) == (&other.takes, &other.halt)
    }
}

/// Reads the configs of topics; one of which nothing was told is left out.
pub(super) async fn ask(destination: Arc<Cluster>, due: BTreeMap<TopicName, Incarnation>) -> Told {
    let names: Vec<TopicName> = due.keys().cloned().collect();
    let keys = configs::keys_at_destination();
    let answers = match destination.describe_topic_configs(&names, Some(&keys)).await {
        Ok(answers) => answers,
        Err(error) => {
            tracing::info!(%error, "the configs of mirror topics are not read");
            sleep(TRY_PAUSE).await;
            return Told::new();
        }
    };
    let (mut told, read_at) = (Told::new(), Instant::now());
    for (name, answer) in answers {
        let Some(incarnation) = due.get(&name) else { continue };
        let (takes, halt) = match answer {
            Ok(found) => (configs::takes(&found), configs::broken(&found)),
            Err(refusal) if refusal.code.0 == NOT_ALLOWED => (Takes::default(), None),
            Err(refusal) => {
                tracing::debug!(topic = %name, %refusal, "its configs are not told");
                continue;
            }
        };
        told.insert(name, (*incarnation, Taken { takes, halt, read_at }));
    }
    if told.len() < due.len() {
        sleep(TRY_PAUSE).await;
    }
    told
}
