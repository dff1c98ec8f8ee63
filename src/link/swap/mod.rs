//! What a reversal does at the source of a mirror topic before that is sealed: who writes there is
//! stopped, and what they have begun has ended.
//!
//! It never seals, and changes no topic but the one with the id that was mirrored.

pub(super) mod invited;
mod taker;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::audit::survey;
use crate::cluster::Cluster;
use crate::cluster::EndKind;
use crate::cluster::Wanted;
use crate::cluster::error::ClusterError;
use crate::cluster::error::Kind;
use crate::control::facts::Done;
use crate::control::facts::Failed;
use crate::control::facts::ForWriters;
use crate::control::row::Changes;
use crate::control::row::Key;
use crate::control::row::Row;
use crate::control::row::reversal::Had;
use crate::control::row::reversal::NO_BATCH_BYTES;
use crate::control::topic::Fault;
use crate::ids::PartitionId;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::ids::TopicPartition;
use crate::link::driver::ctx::Ctx;
use crate::link::driver::loops;
use crate::settings::link::NAMES_OF_MIRRORS;
use crate::sync::apply;
use crate::sync::configs::BATCH_BYTES;

/// How far apart the ends are read twice: whoever writes shows in between, and a config that was
/// changed is in force at each broker.
const REST_PAUSE: Duration = Duration::from_secs(2);

/// What is to be done at a source.
pub(super) enum Swap {
    /// See to writers.
    Writers((TopicName, TopicId), ForWriters),
    /// See that it rests.
    Rest {
        /// The mirror topic.
        mirror: (TopicName, TopicId),
        /// Its source.
        source: (TopicName, TopicId),
        /// How many partitions are mirrored.
        partitions: i32,
    },
}

/// Does it.
pub(super) async fn swap(ctx: &Ctx, swap: Swap) -> Result<Done, Failed> {
    let session = ctx.session.borrow().clone();
    let session = session.ok_or_else(|| waits("the source has not been reached".to_owned()))?;
    let source = &*session.source;
    match swap {
        Swap::Writers((name, id), ForWriters::Ask) => {
            has_link_back(ctx, &session.source).await?;
            had(source, &name, id).await
        }
        // whoever has the work now knows better
        Swap::Writers(..) if !ctx.registry.seen().is_holder => {
            Err(waits("another instance has the work by now".to_owned()))
        }
        Swap::Writers((name, id), ForWriters::Stop) => {
            let stop = Some(NO_BATCH_BYTES.to_owned());
            set(source, &name, id, stop).await?;
            tracing::info!(
                link = %ctx.name, topic = %name,
                "the source topic is closed, which is reversed: it takes no batch of more than \
                 {NO_BATCH_BYTES} bytes (max.message.bytes)"
            );
            Ok(Done::WritersStopped)
        }
        Swap::Writers((name, id), ForWriters::Let(had)) => {
            set(source, &name, id, had.own()).await?;
            let text = "the source topic can be written again";
            tracing::info!(link = %ctx.name, topic = %name, "{text}");
            Ok(Done::WritersLet)
        }
        Swap::Rest { mirror, source: of, partitions } => {
            rest(ctx, source, (mirror, of), partitions).await?;
            Ok(Done::Rests)
        }
    }
}

fn waits(text: String) -> Failed {
    Failed { fault: Fault { code: "REVERSAL_WAITS".to_owned(), text }, is_final: false }
}

fn failed(error: &ClusterError) -> Failed {
    Failed { fault: apply::fault_of(error), is_final: false }
}

/// Whether somebody there would take the topic as a mirror; where the journal there cannot be read,
/// nobody knows.
async fn has_link_back(ctx: &Ctx, source: &Arc<Cluster>) -> Result<(), Failed> {
    let Ok(fold) = loops::fold(source.clone(), ctx.world.wall).await else { return Ok(()) };
    let fold = fold.unwrap_or_default();
    let here = ctx.destination.id();
    let mut keys = fold.rows().iter().filter_map(|(key, text)| Some((Key::parse(key)?, text)));
    let leads_here = keys.any(|(key, text)| match Row::parse(&key, text) {
        Ok(Row::Link(row)) => {
            let may_take = !row.is_leaving && !row.is_paused;
            let renames = NAMES_OF_MIRRORS.iter().any(|name| row.configs.contains_key(*name));
            may_take && !renames && row.source.as_ref() == Some(&here)
        }
        _ => false,
    });
    let text = "no link at the source mirrors from here, or it is paused or has a prefix, so that \
                nobody would make a mirror of the topic there: create one beside the source \
                (isolog link create), or resume it";
    if leads_here { Ok(()) } else { Err(waits(text.to_owned())) }
}

/// What holds for the topic of how large a batch may be.
async fn had(source: &Cluster, name: &TopicName, id: TopicId) -> Result<Done, Failed> {
    is_there(source, name, id).await?;
    let names = std::slice::from_ref(name);
    let told = source.describe_topic_configs(names, Some(&[BATCH_BYTES])).await;
    let told = told.map_err(|error| failed(&error))?.remove(name);
    let told = told.and_then(Result::ok).ok_or_else(|| {
        waits(format!(
            "the source does not tell the configs of topic {name}: grant DescribeConfigs"
        ))
    })?;
    // one that a reversal before has left behind is nobody's wish
    let had = told.get(BATCH_BYTES).filter(|had| had.value.as_deref() != Some(NO_BATCH_BYTES));
    let had = had.map(|had| Had { value: had.value.clone(), is_own: had.is_override });
    Ok(Done::Asked(had.unwrap_or_default()))
}

async fn is_there(cluster: &Cluster, name: &TopicName, id: TopicId) -> Result<(), Failed> {
    match apply::id_of(cluster, name).await? {
        Some(is) if is == id || id == TopicId::NIL => Ok(()),
        _ => Err(waits(format!("topic {name} of the {} is not the one any more", cluster.side()))),
    }
}

async fn set(
    source: &Cluster,
    name: &TopicName,
    id: TopicId,
    value: Option<String>,
) -> Result<(), Failed> {
    let changes = Changes::from([(BATCH_BYTES.to_owned(), value)]);
    let mut answers = apply::give_back(source, vec![(name.clone(), id, changes)]).await;
    let answer = answers.remove(name).unwrap_or_else(|| Err(apply::unanswered(name)));
    answer.map_err(|refused| {
        let text = format!(
            "who writes at the source cannot be stopped, or let again: {}; grant AlterConfigs on \
             the topic there",
            refused.fault.text
        );
        Failed { fault: Fault { text, ..refused.fault }, ..refused }
    })
}

/// Both logs end at the same offset, twice; no transaction is open in the topic or has it named.
async fn rest(
    ctx: &Ctx,
    source: &Cluster,
    ((mirror, mirror_id), (name, source_id)): ((TopicName, TopicId), (TopicName, TopicId)),
    partitions: i32,
) -> Result<(), Failed> {
    is_there(source, &name, source_id).await?;
    is_there(&ctx.destination, &mirror, mirror_id).await?;
    let of = |topic: &TopicName| {
        let at = |id| TopicPartition { topic: topic.clone(), partition: PartitionId(id) };
        (0..partitions).map(at).collect::<Vec<_>>()
    };
    let (there, here) = (of(&name), of(&mirror));
    no_transaction(source, &name).await?;
    let read = async |cluster: &Cluster, asked: &[TopicPartition], kind| {
        survey::ends(cluster, asked, kind).await.map_err(|error| failed(&error))
    };
    let before = read(source, &there, EndKind::LogEnd).await?;
    sleep(REST_PAUSE).await;
    no_transaction(source, &name).await?;
    let ours = read(&ctx.destination, &here, EndKind::LogEnd).await?;
    let stable = read(source, &there, EndKind::Stable).await?;
    let after = read(source, &there, EndKind::LogEnd).await?;
    for (tp, own) in there.iter().zip(&here) {
        let end = |ends: &survey::Ends, tp| ends.get(tp).and_then(|end| end.ok());
        let Some(is) = end(&after, tp) else {
            return Err(waits(format!("{tp} of the source does not tell where it ends")));
        };
        if end(&before, tp) != Some(is) {
            return Err(waits(format!(
                "{tp} is still written at the source: stop its producers there"
            )));
        }
        if end(&stable, tp) != Some(is) {
            return Err(waits(format!("an open transaction holds {tp} at the source: end it")));
        }
        if end(&ours, own) != Some(is) {
            return Err(waits(format!("{tp} ends at {is} at the source, and its mirror does not")));
        }
    }
    Ok(())
}

/// What has only named a partition gets its marker there all the same, when it ends.
async fn no_transaction(source: &Cluster, name: &TopicName) -> Result<(), Failed> {
    let names = std::slice::from_ref(name);
    source.refresh(Wanted::Topics(names)).await.map_err(|error| failed(&error))?;
    let brokers: Vec<_> = source.look(|seen| seen.brokers().map(|one| one.id).collect());
    let mut open: BTreeMap<PartitionId, String> = BTreeMap::new();
    for broker in brokers {
        let told = match source.open_transactions(broker).await {
            Ok(told) => told,
            // older than Kafka 3.0: what has written shows in the log
            Err(error) if matches!(error.kind, Kind::Version(_)) => continue,
            Err(error) => return Err(failed(&error)),
        };
        for one in told {
            let here = one.partitions.iter().filter(|tp| tp.topic == *name);
            open.extend(here.map(|tp| (tp.partition, one.id.to_string())));
        }
    }
    match open.first_key_value() {
        None => Ok(()),
        Some((partition, id)) => Err(waits(format!(
            "transaction {id} of the source has {name}-{partition} among its partitions: end it"
        ))),
    }
}
