//! What the destination takes of each mirror topic, by its configs: read before anything of it is
//! copied, and again and again.
//!
//! It never changes a config.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::sleep;

use crate::cluster::Cluster;
use crate::cluster::Target;
use crate::cluster::Wanted;
use crate::control::facts::TopicSpec;
use crate::control::row::Changes;
use crate::ids::BrokerId;
use crate::ids::Incarnation;
use crate::ids::TopicName;
use crate::mirror::facts::Takes;
use crate::mirror::halt::Halt;
use crate::sync::configs;
use crate::sync::stage;

/// So many topics are asked about in one question.
const ASKED_MAX: usize = 500;
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

/// What is due to be read of a topic.
#[derive(Copy, Clone, Debug)]
pub(super) struct Due {
    /// Under which number it is held.
    pub incarnation: Incarnation,
    /// When it was read last, nothing broke exactness.
    pub was_exact: bool,
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

    /// Whether nothing has changed.
    pub fn says_the_same(&self, other: &Taken) -> bool {
        (&self.takes, &self.halt) == (&other.takes, &other.halt)
    }
}

/// What is due to be read now; of what is not, when the first is.
pub(super) fn due(
    specs: &BTreeMap<TopicName, TopicSpec>,
    taken: &BTreeMap<TopicName, Taken>,
    now: Instant,
    age: Duration,
) -> (BTreeMap<TopicName, Due>, Option<Instant>) {
    let (mut due, mut next) = (BTreeMap::new(), None);
    for (topic, spec) in specs.iter().filter(|(_, spec)| spec.halt.is_none()) {
        let known = taken.get(topic);
        match known.map(|one| one.read_at + age).filter(|at| *at > now) {
            Some(at) => next = next.map_or(Some(at), |first| Some(at.min(first))),
            None if due.len() < ASKED_MAX => {
                let was_exact = known.is_some_and(|one| one.halt.is_none());
                due.insert(topic.clone(), Due { incarnation: spec.incarnation, was_exact });
            }
            None => {}
        }
    }
    (due, next)
}

/// Reads the configs of topics; one of which nothing was told is left out.
pub(super) async fn ask(destination: Arc<Cluster>, due: BTreeMap<TopicName, Due>) -> Told {
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
        let Some(Due { incarnation, .. }) = due.get(&name) else { continue };
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
    let is_new = |name: &TopicName| due.get(name).is_some_and(|due| !due.was_exact);
    let doubted = told.iter().filter(|(name, (_, one))| one.halt.is_none() && is_new(name));
    let doubted: Vec<TopicName> = doubted.map(|(name, _)| name.clone()).collect();
    for (name, shown) in in_force(&destination, &doubted).await {
        match (shown, told.get_mut(&name)) {
            (Shown::Exact, _) => {}
            (Shown::Broken(halt), Some((_, one))) => one.halt = Some(halt),
            (Shown::Broken(_) | Shown::Untold, _) => drop(told.remove(&name)),
        }
    }
    if told.len() < due.len() {
        sleep(TRY_PAUSE).await;
    }
    told
}

/// What the leaders of a topic's partitions say of its configs together.
enum Shown {
    /// All of them keep the copy exact.
    Exact,
    /// One of them does not.
    Broken(Halt),
    /// One of them does not tell.
    Untold,
}

impl Shown {
    fn and(self, other: Shown) -> Shown {
        match (self, other) {
            (Shown::Broken(halt), _) | (_, Shown::Broken(halt)) => Shown::Broken(halt),
            (Shown::Untold, _) | (_, Shown::Untold) => Shown::Untold,
            (Shown::Exact, Shown::Exact) => Shown::Exact,
        }
    }
}

/// How the leaders of each topic's partitions have its configs: an answered change is not in force
/// where it is not shown yet, and a leader would stamp what it is sent with its own time.
async fn in_force(destination: &Cluster, names: &[TopicName]) -> BTreeMap<TopicName, Shown> {
    let mut shown: BTreeMap<TopicName, Shown> = BTreeMap::new();
    if names.is_empty() {
        return shown;
    }
    if let Err(error) = destination.refresh(Wanted::Topics(names)).await {
        tracing::info!(%error, "who leads mirror topics is not known");
        return names.iter().map(|name| (name.clone(), Shown::Untold)).collect();
    }
    let mut led: BTreeMap<BrokerId, Vec<TopicName>> = BTreeMap::new();
    for name in names {
        let topic = destination.topic(name);
        let partitions = topic.iter().flat_map(|topic| topic.partitions.values());
        // one without a leader takes no append
        let leaders: BTreeSet<BrokerId> = partitions.filter_map(|one| one.leader).collect();
        leaders.into_iter().for_each(|leader| led.entry(leader).or_default().push(name.clone()));
    }
    let keys = configs::keys_at_destination();
    for (leader, topics) in led {
        let target = Target::Broker(leader);
        let answers = destination.describe_topic_configs_at(target, &topics, Some(&keys)).await;
        let mut answers: BTreeMap<TopicName, _> = match answers {
            Ok(answers) => answers.into_iter().collect(),
            Err(error) => {
                tracing::info!(%leader, %error, "a leader does not tell the configs of its topics");
                BTreeMap::new()
            }
        };
        for name in topics {
            let said = match answers.remove(&name) {
                Some(Ok(found)) => configs::broken(&found).map_or(Shown::Exact, Shown::Broken),
                // no leader tells it to who lacks the right, which is no reason to stand still
                Some(Err(refusal)) if refusal.code.0 == NOT_ALLOWED => Shown::Exact,
                Some(Err(_)) | None => Shown::Untold,
            };
            let all = shown.remove(&name).unwrap_or(Shown::Exact).and(said);
            shown.insert(name, all);
        }
    }
    shown
}
