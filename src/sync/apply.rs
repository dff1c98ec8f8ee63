//! What is done to mirror topics by order, in the words of `control`: made, grown, given back,
//! deleted.
//!
//! It never remembers and never decides; each of them may be done twice: what is there already is
//! done, and what is another one by that name is left alone.

use std::collections::BTreeMap;

use tokio::time::sleep;

use crate::cluster::Cluster;
use crate::cluster::EndKind;
use crate::cluster::NewTopic;
use crate::cluster::Wanted as Asked;
use crate::cluster::error::ClusterError;
use crate::cluster::error::Refusal;
use crate::control::facts::Failed;
use crate::control::facts::Metadata;
use crate::control::facts::Seen;
use crate::control::row::Changes;
use crate::control::topic::Fault;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::sync::configs;
use crate::sync::make;
use crate::sync::make::NotMade;
use crate::sync::make::SETTLE_PAUSE;
use crate::sync::make::SETTLE_READS_MAX;
use crate::sync::make::parted;
use crate::sync::make::settle;
use crate::sync::observe::partitions;
use crate::sync::observe::seen;
use crate::sync::trim;

/// A mirror topic that is to be made.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// As it is to be.
    pub topic: NewTopic,
    /// Which topic of that name was deleted for it. Then a client that still runs may have made
    /// one in its place (`auto.create.topics.enable`).
    pub replaces: Option<TopicId>,
}

/// What came of each topic.
pub type Each<T> = BTreeMap<TopicName, Result<T, Failed>>;

/// Codes with which what was asked is wrong: INVALID_TOPIC_EXCEPTION, INVALID_PARTITIONS,
/// INVALID_REPLICATION_FACTOR, INVALID_CONFIG, INVALID_REQUEST, POLICY_VIOLATION.
const FINAL: [i16; 6] = [17, 37, 38, 40, 42, 44];
/// TOPIC_ALREADY_EXISTS: somebody else made it meanwhile; the next try looks at it.
const EXISTS: i16 = 36;
/// UNKNOWN_TOPIC_OR_PARTITION and UNKNOWN_TOPIC_ID.
const GONE: [i16; 2] = [3, 100];
/// How many topics get what they are owed by one request.
const GIVEN_BACK_MAX: usize = 200;
/// How often the configs of a topic that is there are read until they are those that it was to
/// have: brokers learn of them one by one.
const CONFIG_READS_MAX: u32 = 4;

/// The words for a cluster that did not answer, or not as it should.
pub fn fault_of(error: &ClusterError) -> Fault {
    Fault { code: "INTERNAL_ERROR".to_owned(), text: error.to_string() }
}

fn failed(error: &ClusterError) -> Failed {
    Failed { fault: fault_of(error), is_final: false }
}

fn refused(what: &str, refusal: &Refusal) -> Failed {
    let is_final = FINAL.contains(&refusal.code.0);
    let (code, text) = (refusal.code.name().to_owned(), format!("{what}: {refusal}"));
    Failed { fault: Fault { code, text }, is_final }
}

fn not_made(what: &str, error: &NotMade) -> Failed {
    match error {
        NotMade::Refused(refusal) => refused(what, refusal),
        NotMade::Failed(error) => failed(error),
    }
}

fn strange(text: String) -> Failed {
    Failed { fault: Fault { code: "TOPIC_EXISTS_ERROR".to_owned(), text }, is_final: true }
}

fn not_yet(text: String) -> Failed {
    Failed { fault: Fault { code: "UNKNOWN".to_owned(), text }, is_final: false }
}

/// The destination said nothing of a topic.
pub fn unanswered(name: &TopicName) -> Failed {
    not_yet(format!("the destination said nothing of topic {name}"))
}

fn all_failed<T>(names: &[TopicName], error: &ClusterError) -> Each<T> {
    names.iter().map(|name| (name.clone(), Err(failed(error)))).collect()
}

/// Makes mirror topics, unless they are there and empty, as they were to be made. `is_old` as in
/// `make::create`.
pub async fn create(destination: &Cluster, asked: Vec<Wanted>, is_old: &mut bool) -> Each<TopicId> {
    let names: Vec<TopicName> = asked.iter().map(|one| one.topic.name.clone()).collect();
    if let Err(error) = destination.refresh(Asked::Topics(&names)).await {
        return all_failed(&names, &error);
    }
    let (mut new, mut there, mut all) = (Vec::new(), Vec::new(), Each::new());
    for Wanted { topic, replaces } in asked {
        match seen(destination, &topic.name) {
            Metadata::Absent => new.push(topic),
            // brokers learn one by one that it is deleted, and the controller knows
            Metadata::There(is) if replaces == Some(is.id) => new.push(topic),
            Metadata::There(is) => there.push((topic, is, replaces.is_some())),
            Metadata::Hidden(fault) => {
                all.insert(topic.name, Err(Failed { fault, is_final: false }));
            }
        }
    }
    for (topic, is, is_anew) in there {
        match meet(destination, &topic, is.clone()).await {
            Err(Met::Empty(_)) if is_anew => match give_way(destination, &topic, is.id).await {
                // at once: who made it makes it again
                Ok(()) => new.push(topic),
                Err(failed) => drop(all.insert(topic.name, Err(failed))),
            },
            met => drop(all.insert(topic.name.clone(), met.map_err(Met::failed))),
        }
    }
    if !new.is_empty() {
        all.extend(make_new(destination, new, is_old).await);
    }
    all
}

/// Deletes what a client has made in the place of a topic that was deleted by order, and that
/// nobody has written into.
async fn give_way(destination: &Cluster, topic: &NewTopic, id: TopicId) -> Result<(), Failed> {
    delete_only(destination, &topic.name, id).await?;
    tracing::warn!(
        topic = %topic.name, %id,
        "deleted at the destination, empty: a client made it in the place of one that is restored \
         (auto.create.topics.enable); stop its producers"
    );
    Ok(())
}

async fn make_new(destination: &Cluster, new: Vec<NewTopic>, is_old: &mut bool) -> Each<TopicId> {
    let configs: BTreeMap<TopicName, BTreeMap<String, String>> =
        new.iter().map(|topic| (topic.name.clone(), topic.configs.clone())).collect();
    let of = |name: &TopicName, is_old: bool| match configs.get(name) {
        Some(configs) if is_old => configs::for_old(configs),
        Some(configs) => configs.clone(),
        None => BTreeMap::new(),
    };
    let made = make::create(destination, new, of, is_old).await;
    let good = made.iter().filter(|(_, made)| made.is_ok()).map(|(name, _)| name.clone());
    // made they are all the same: who copies looks at them again
    if let Err(error) = settle(good.collect(), destination).await {
        tracing::info!(%error, "topics that were just created are not looked at");
    }
    let answer = |(name, made): (TopicName, Result<TopicId, NotMade>)| {
        let answer = match made {
            Ok(TopicId::NIL) => match seen(destination, &name) {
                Metadata::There(is) => Ok(is.id),
                _ => Err(not_yet(format!("topic {name} was created and is not shown yet"))),
            },
            Ok(id) => Ok(id),
            Err(NotMade::Refused(refusal)) if refusal.code.0 == EXISTS => {
                Err(not_yet(format!("topic {name} was created by somebody else just now")))
            }
            Err(error) => Err(not_made(&format!("topic {name} is not created"), &error)),
        };
        (name, answer)
    };
    made.into_iter().map(answer).collect()
}

/// Why a topic of that name is not the one that was to be made.
enum Met {
    /// Nobody has written into it, and it is another one.
    Empty(Failed),
    /// All else.
    Other(Failed),
}

impl Met {
    fn failed(self) -> Failed {
        match self {
            Met::Empty(failed) | Met::Other(failed) => failed,
        }
    }
}

/// A topic of that name is there: it is the one that was to be made only if nothing was written
/// into it and it has what it was to have.
async fn meet(destination: &Cluster, asked: &NewTopic, is: Seen) -> Result<TopicId, Met> {
    let name = &asked.name;
    let anew = "delete it there, or create the mirror again so that it is compared and adopted";
    if !is_empty(destination, name).await.map_err(Met::Other)? {
        return Err(Met::Other(strange(format!(
            "topic {name} was created at the destination meanwhile and holds records: {anew}"
        ))));
    }
    if is.partitions < asked.partitions {
        return Err(Met::Empty(not_yet(format!(
            "topic {name} shows {} of {} partitions at the destination",
            is.partitions, asked.partitions
        ))));
    }
    if is.partitions > asked.partitions {
        return Err(Met::Empty(strange(format!(
            "topic {name} was created at the destination meanwhile, with {} partitions where {} \
             are mirrored: {anew}",
            is.partitions, asked.partitions
        ))));
    }
    match unlike(destination, asked).await.map_err(Met::Other)? {
        None => Ok(is.id),
        Some(key) => Err(Met::Empty(strange(format!(
            "topic {name} was created at the destination meanwhile, with another {key} than the \
             mirror needs: {anew}"
        )))),
    }
}

/// The id of a topic, read now; `None` where there is none.
pub async fn id_of(cluster: &Cluster, name: &TopicName) -> Result<Option<TopicId>, Failed> {
    let read = cluster.refresh(Asked::Topics(std::slice::from_ref(name))).await;
    read.map_err(|error| failed(&error))?;
    match seen(cluster, name) {
        Metadata::There(is) => Ok(Some(is.id)),
        Metadata::Absent => Ok(None),
        Metadata::Hidden(fault) => Err(Failed { fault, is_final: false }),
    }
}

/// Whether nothing was ever written into a topic, as its metadata were read last.
pub async fn is_empty(cluster: &Cluster, name: &TopicName) -> Result<bool, Failed> {
    let all = partitions(cluster, name);
    let ends = trim::list(cluster, &all.iter().collect::<Vec<_>>(), EndKind::LogEnd).await;
    if all.is_empty() || ends.len() < all.len() {
        return Err(not_yet(format!("topic {name} does not tell its ends yet")));
    }
    Ok(ends.values().all(|end| *end == Offset::ZERO))
}

/// A key whose value is not what was asked; one that the destination does not tell is passed over.
async fn unlike(destination: &Cluster, asked: &NewTopic) -> Result<Option<String>, Failed> {
    let keys: Vec<&str> = asked.configs.keys().map(String::as_str).collect();
    let mut other = None;
    for read in 0..CONFIG_READS_MAX {
        if read > 0 {
            sleep(SETTLE_PAUSE).await;
        }
        let names = std::slice::from_ref(&asked.name);
        let told = destination.describe_topic_configs(names, Some(&keys)).await;
        let (mut found, untold) = parted(told.map_err(|error| failed(&error))?);
        let Some(found) = found.remove(&asked.name) else {
            let why = untold.into_iter().next().map_or(String::new(), |(_, why)| why);
            return Err(not_yet(format!(
                "topic {} does not tell its configs at the destination: {why}",
                asked.name
            )));
        };
        let is_other = |(key, value): &(&String, &String)| {
            let told = found.get(*key).and_then(|entry| entry.value.as_ref());
            told.is_some_and(|told| told != *value)
        };
        other = asked.configs.iter().find(is_other).map(|(key, _)| key.clone());
        if other.is_none() {
            break;
        }
    }
    Ok(other)
}

/// Gives mirror topics at least so many partitions.
pub async fn grow(destination: &Cluster, asked: Vec<(TopicName, i32)>) -> Each<i32> {
    let names: Vec<TopicName> = asked.iter().map(|(name, _)| name.clone()).collect();
    if let Err(error) = destination.refresh(Asked::Topics(&names)).await {
        return all_failed(&names, &error);
    }
    let count = |name: &TopicName| seen(destination, name).seen().map(|seen| seen.partitions);
    let fewer = asked.iter().filter_map(|(name, to)| {
        let is = count(name).filter(|is| is < to)?;
        Some((name.clone(), *to, usize::try_from(is).ok()?))
    });
    let fewer: Vec<(TopicName, i32, usize)> = fewer.collect();
    let mut grown = make::grow(destination, fewer).await;
    for _ in 0..SETTLE_READS_MAX {
        let is_due = |(name, to): &&(TopicName, i32)| {
            matches!(grown.get(name), Some(Ok(()))) && count(name).is_none_or(|is| is < *to)
        };
        let due: Vec<TopicName> =
            asked.iter().filter(is_due).map(|(name, _)| name.clone()).collect();
        if due.is_empty() || destination.refresh(Asked::Topics(&due)).await.is_err() {
            break;
        }
        sleep(SETTLE_PAUSE).await;
    }
    let answer = |(name, to): (TopicName, i32)| {
        let answer = match grown.remove(&name) {
            Some(Err(error)) => Err(not_made(&format!("topic {name} is not grown"), &error)),
            _ if count(&name).is_some_and(|is| is >= to) => Ok(to),
            _ => Err(not_yet(format!("topic {name} does not show {to} partitions yet"))),
        };
        (name, answer)
    };
    asked.into_iter().map(answer).collect()
}

/// Gives mirror topics what they are owed, those that are still the ones with these ids: many in
/// one request, since a failover of all of a link waits for it.
pub async fn give_back(
    destination: &Cluster,
    asked: Vec<(TopicName, TopicId, Changes)>,
) -> Each<()> {
    let mut all = Each::new();
    for some in asked.chunks(GIVEN_BACK_MAX) {
        let names: Vec<TopicName> = some.iter().map(|(name, ..)| name.clone()).collect();
        let given = give_back_some(destination, some).await;
        all.extend(given.unwrap_or_else(|error| all_failed(&names, &error)));
    }
    all
}

async fn give_back_some(
    destination: &Cluster,
    some: &[(TopicName, TopicId, Changes)],
) -> Result<Each<()>, ClusterError> {
    let names: Vec<TopicName> = some.iter().map(|(name, ..)| name.clone()).collect();
    destination.refresh(Asked::Topics(&names)).await?;
    let (mut all, mut changes) = (Each::new(), Vec::new());
    for (name, id, owed) in some {
        let failed = match seen(destination, name) {
            Metadata::There(is) if is.id == *id => {
                changes.push((name.clone(), owed.clone()));
                continue;
            }
            Metadata::Hidden(fault) => Failed { fault, is_final: false },
            _ => not_yet(format!("the mirror topic {name} is not there")),
        };
        all.insert(name.clone(), Err(failed));
    }
    if changes.is_empty() {
        return Ok(all);
    }
    let (given, refusals) = parted(destination.alter_topic_configs(&changes, false).await?);
    all.extend(given.into_keys().map(|name| (name, Ok(()))));
    all.extend(refusals.into_iter().map(|(name, why)| {
        let text = format!("the configs of topic {name} are not changed: {why}");
        let fault = Fault { code: "POLICY_VIOLATION_ERROR".to_owned(), text };
        (name, Err(Failed { fault, is_final: false }))
    }));
    Ok(all)
}

/// Deletes a topic by its id where it still ends as it was told to people: whether it was there.
pub async fn delete_as_it_was(
    destination: &Cluster,
    name: &TopicName,
    id: TopicId,
    ends: &BTreeMap<PartitionId, Offset>,
) -> Result<bool, Failed> {
    if id_of(destination, name).await? != Some(id) {
        return Ok(false);
    }
    let all = partitions(destination, name);
    let found = trim::list(destination, &all.iter().collect::<Vec<_>>(), EndKind::LogEnd).await;
    if all.is_empty() || found.len() < all.len() {
        return Err(not_yet(format!("topic {name} does not tell its ends yet")));
    }
    let more = found.iter().find(|(tp, end)| ends.get(&tp.partition) != Some(*end));
    if let Some((tp, end)) = more {
        let told = ends.get(&tp.partition).map_or(-1, |end| end.get());
        let text = format!(
            "{tp} ends at {end} by now, and at {told} when the order was given: somebody writes \
             into it. Nothing was deleted: stop its producers, save what is there (`isolog mirror \
             tail`), and give the order again"
        );
        let fault = Fault { code: "INVALID_REQUEST_ERROR".to_owned(), text };
        return Err(Failed { fault, is_final: true });
    }
    // at once: a producer that runs makes the topic again as soon as its broker knows (where
    // auto.create.topics.enable is true), and who makes it first has it
    delete_only(destination, name, id).await?;
    Ok(true)
}

/// Deletes a mirror topic by its id, and waits a while until brokers do not show it any more.
pub async fn delete(destination: &Cluster, name: &TopicName, id: TopicId) -> Result<(), Failed> {
    delete_only(destination, name, id).await?;
    for _ in 0..SETTLE_READS_MAX {
        let read = destination.refresh(Asked::Topics(std::slice::from_ref(name))).await;
        let shown = seen(destination, name);
        if read.is_err() || shown.seen().is_none_or(|seen| seen.id != id) {
            break;
        }
        sleep(SETTLE_PAUSE).await;
    }
    Ok(())
}

/// The same, and does not wait.
async fn delete_only(destination: &Cluster, name: &TopicName, id: TopicId) -> Result<(), Failed> {
    if id == TopicId::NIL {
        let text = format!(
            "the destination tells no topic ids, so that topic {name} cannot be told from another \
             one of that name: delete it there"
        );
        return Err(Failed {
            fault: Fault { code: "UNSUPPORTED_VERSION".to_owned(), text },
            is_final: false,
        });
    }
    let answers = destination.delete_topics(&[id]).await.map_err(|error| failed(&error))?;
    match answers.get(&id) {
        Some(Err(refusal)) if !GONE.contains(&refusal.code.0) => {
            Err(refused(&format!("topic {name} is not deleted"), refusal))
        }
        Some(_) => Ok(()),
        None => Err(not_yet(format!("topic {name}: its deletion was not answered"))),
    }
}
