//! Asks brokers about groups: each coordinator about its own, several coordinators at once.
//!
//! It never commits, and asks a coordinator that did not answer nothing more in the same turn.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinError;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio::time::sleep;

use crate::cluster::Cluster;
use crate::cluster::Committed;
use crate::cluster::EachGroup;
use crate::cluster::Listing;
use crate::cluster::NO_SHARES;
use crate::cluster::error::ClusterError;
use crate::cluster::error::KafkaCode;
use crate::ids::BrokerId;
use crate::ids::GroupName;

/// How many brokers of a cluster are asked at once; each answers one request at a time.
const BROKERS_AT_ONCE: usize = 8;
/// How many groups one request speaks of.
const GROUPS_ASKED_MAX: usize = 100;
/// The same of share groups, where it is more than one.
const SHARES_ASKED_MAX: usize = 1_000;
/// For how long share groups are asked for one by one: a coordinator (4.3.1) answers for one within
/// 3 ms, and for several, however many, mostly after 2 s and more. So of many it is slow only once,
/// also where it is far away. Measured: 1500 one by one 3.4 s, by twenties 118 s.
const SHARES_ALONE_MAX: Duration = Duration::from_secs(3);
/// Where a share group begins that has no start, and the value by which it skips nothing.
const SHARE_RESET: &str = "share.auto.offset.reset";
const EARLIEST: &str = "earliest";
/// How often a coordinator is looked up and asked in one turn, where it moves or loads.
pub const ROUNDS: u32 = 4;
/// The pause before the second round; each later one is twice as long.
const ROUND_PAUSE: Duration = Duration::from_millis(500);
/// COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR.
const MOVING: [i16; 3] = [14, 15, 16];

/// Why nothing is known of a group.
#[derive(Clone, Debug)]
pub enum Failure {
    /// Its coordinator said so.
    Code(KafkaCode),
    /// It, or whoever knows it, did not answer.
    Error(ClusterError),
    /// The turn's time was over before it was asked.
    Late,
}

/// What came of groups that were asked about.
pub struct Answers<T> {
    /// Of those that were answered for.
    pub found: BTreeMap<GroupName, T>,
    /// Of the others, why.
    pub failed: BTreeMap<GroupName, Failure>,
}

impl<T> Default for Answers<T> {
    fn default() -> Answers<T> {
        Answers { found: BTreeMap::new(), failed: BTreeMap::new() }
    }
}

/// The groups of a cluster, as its coordinators list them.
#[derive(Default)]
pub struct Listed {
    /// By name: who lists it, and how.
    pub groups: BTreeMap<GroupName, (BrokerId, Listing)>,
    /// Brokers that do not tell theirs, and why.
    pub failed: BTreeMap<BrokerId, ClusterError>,
}

/// Whether a coordinator says that it is none, or not yet.
pub fn is_moving(code: KafkaCode) -> bool {
    MOVING.contains(&code.0)
}

/// Whether a cluster has no share groups: nothing can be known of one there, nor be done for it.
pub fn has_no_shares(failure: &Failure) -> bool {
    matches!(failure, Failure::Code(code) if *code == NO_SHARES)
}

/// Waits before a round: not before the first one.
pub async fn pause(round: u32) {
    if round > 0 {
        sleep(ROUND_PAUSE * 2u32.pow(round - 1)).await;
    }
}

/// Runs all of it, so many at once; gives what each came to, in no order.
pub async fn at_once<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    all: impl IntoIterator<Item = F>,
) -> Vec<T> {
    let (mut running, mut done) = (JoinSet::new(), Vec::new());
    for one in all {
        if running.len() >= BROKERS_AT_ONCE {
            done.extend(running.join_next().await.and_then(or_panic));
        }
        running.spawn(one);
    }
    while let Some(one) = running.join_next().await {
        done.extend(or_panic(one));
    }
    done
}

/// A fault of isolog goes on as one; `None` of what ends with the process.
fn or_panic<T>(joined: Result<T, JoinError>) -> Option<T> {
    match joined.map_err(JoinError::try_into_panic) {
        Ok(value) => Some(value),
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(_)) => None,
    }
}

/// Asks every broker which groups it coordinates; one that loads them is asked again.
pub async fn list(cluster: &Arc<Cluster>) -> Listed {
    let brokers: BTreeSet<BrokerId> =
        cluster.look(|metadata| metadata.brokers().map(|one| one.id).collect());
    let (mut listed, mut left) = (Listed::default(), brokers);
    for round in 0..ROUNDS {
        pause(round).await;
        let asked = left.iter().map(|broker| {
            let (cluster, broker) = (cluster.clone(), *broker);
            async move { (broker, cluster.list_groups(broker).await) }
        });
        for (broker, answer) in at_once(asked.collect::<Vec<_>>()).await {
            match answer {
                Ok(groups) => {
                    let groups = groups.into_iter().map(|one| (one.name.clone(), (broker, one)));
                    listed.groups.extend(groups);
                    listed.failed.remove(&broker);
                }
                Err(error) => drop(listed.failed.insert(broker, error)),
            }
        }
        let loads = |error: &ClusterError| error.code().is_some_and(is_moving);
        let again = listed.failed.iter().filter(|(_, error)| loads(error));
        left = again.map(|(broker, _)| *broker).collect();
        if left.is_empty() {
            break;
        }
    }
    listed
}

/// Who coordinates each of these groups.
pub async fn find(cluster: &Cluster, groups: &[GroupName]) -> Answers<BrokerId> {
    let mut answers = Answers::default();
    for some in groups.chunks(GROUPS_ASKED_MAX) {
        match cluster.find_coordinators(some).await {
            Ok(found) => sort(found, some, &mut answers),
            Err(error) => {
                let failed = some.iter().map(|one| (one.clone(), Failure::Error(error.clone())));
                answers.failed.extend(failed);
            }
        }
    }
    answers
}

/// A group that an answer leaves out is not known.
fn sort<T>(mut found: EachGroup<T>, asked: &[GroupName], answers: &mut Answers<T>) {
    for name in asked {
        match found.remove(name).unwrap_or(Err(KafkaCode::UNKNOWN)) {
            Ok(value) => drop(answers.found.insert(name.clone(), value)),
            Err(code) => drop(answers.failed.insert(name.clone(), Failure::Code(code))),
        }
    }
}

/// What groups have committed, and where those that are `shares` start, asked at their
/// coordinators; one that moves or loads is looked up anew.
pub async fn read(
    cluster: &Arc<Cluster>,
    coordinators: BTreeMap<GroupName, BrokerId>,
    shares: &BTreeSet<GroupName>,
) -> Answers<Committed> {
    let (mut answers, mut left) = (Answers::default(), coordinators);
    for round in 0..ROUNDS {
        if left.is_empty() {
            break;
        }
        pause(round).await;
        if round > 0 {
            let names: Vec<GroupName> = left.into_keys().collect();
            left = keep(find(cluster, &names).await, &mut answers);
        }
        let asked = by_coordinator(left).into_iter().map(|(broker, groups)| {
            let cluster = cluster.clone();
            let (share, others): (Vec<_>, Vec<_>) =
                groups.into_iter().partition(|group| shares.contains(group));
            async move { read_at(&cluster, broker, (&others, &share)).await }
        });
        for one in at_once(asked.collect::<Vec<_>>()).await {
            answers.failed.retain(|name, _| !one.found.contains_key(name));
            answers.found.extend(one.found);
            answers.failed.extend(one.failed);
        }
        let again = answers.failed.iter().filter(|(_, failure)| moves(failure));
        left = again.map(|(name, _)| (name.clone(), BrokerId(-1))).collect();
    }
    answers
}

/// Whether asking again elsewhere may help.
pub fn moves(failure: &Failure) -> bool {
    matches!(failure, Failure::Code(code) if is_moving(*code))
}

/// Puts down who was not found, and gives who was.
pub fn keep<T>(
    found: Answers<BrokerId>,
    answers: &mut Answers<T>,
) -> BTreeMap<GroupName, BrokerId> {
    answers.failed.extend(found.failed);
    found.found
}

/// Groups by who coordinates them.
pub fn by_coordinator(
    coordinators: BTreeMap<GroupName, BrokerId>,
) -> BTreeMap<BrokerId, Vec<GroupName>> {
    let mut by = BTreeMap::<BrokerId, Vec<GroupName>>::new();
    coordinators.into_iter().for_each(|(group, broker)| by.entry(broker).or_default().push(group));
    by
}

async fn read_at(
    cluster: &Cluster,
    broker: BrokerId,
    (others, shares): (&[GroupName], &[GroupName]),
) -> Answers<Committed> {
    let mut answers = Answers::default();
    let others = others.chunks(asked_max(false)).map(|some| (some, false));
    let shares = shares.chunks(asked_max(true)).map(|some| (some, true));
    let mut chunks = others.chain(shares);
    while let Some((some, is_share)) = chunks.next() {
        match fetch(cluster, broker, some, is_share).await {
            Ok(found) => sort(found, some, &mut answers),
            Err(error) => {
                let unasked = some.iter().chain(chunks.flat_map(|(some, _)| some));
                let failed = unasked.map(|one| (one.clone(), Failure::Error(error.clone())));
                answers.failed.extend(failed);
                break;
            }
        }
    }
    answers
}

/// What groups of one kind have committed, or where they start, from their coordinator.
pub async fn fetch(
    cluster: &Cluster,
    coordinator: BrokerId,
    groups: &[GroupName],
    is_share: bool,
) -> Result<EachGroup<Committed>, ClusterError> {
    match is_share {
        true => fetch_shares(cluster, coordinator, groups).await,
        false => cluster.fetch_committed(coordinator, groups).await,
    }
}

/// How many groups of a kind are asked for before anything is done for them.
pub fn asked_max(is_share: bool) -> usize {
    if is_share { SHARES_ASKED_MAX } else { GROUPS_ASKED_MAX }
}

/// Of share groups: whether they begin at a partition's start where they have none of their own;
/// nothing of those of which that is not told.
pub async fn begin_early(cluster: &Cluster, groups: &[GroupName]) -> BTreeMap<GroupName, bool> {
    let mut known = BTreeMap::new();
    for some in groups.chunks(GROUPS_ASKED_MAX) {
        let Ok(told) = cluster.describe_group_configs(some, &[SHARE_RESET]).await else { break };
        known.extend(told.into_iter().filter_map(|(name, configs)| {
            let value = configs.ok()?.remove(SHARE_RESET)?.value?;
            Some((name, value == EARLIEST))
        }));
    }
    known
}

async fn fetch_shares(
    cluster: &Cluster,
    coordinator: BrokerId,
    groups: &[GroupName],
) -> Result<EachGroup<Committed>, ClusterError> {
    let (began, mut found, mut left) = (Instant::now(), EachGroup::new(), groups);
    while !left.is_empty() {
        let count = if began.elapsed() < SHARES_ALONE_MAX { 1 } else { left.len() };
        let (asked, rest) = left.split_at(count);
        found.extend(cluster.fetch_share_starts(coordinator, asked).await?);
        left = rest;
    }
    Ok(found)
}
