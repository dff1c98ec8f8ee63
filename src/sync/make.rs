//! Topics made and grown at the destination, in requests of a size that a controller takes.
//!
//! It never decides which: what one topic is refused for is trouble of that topic alone.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::sleep;

use crate::cluster::Cluster;
use crate::cluster::EachTopic;
use crate::cluster::NewTopic;
use crate::cluster::Wanted;
use crate::cluster::error::ClusterError;
use crate::cluster::error::Refusal;
use crate::ids::TopicId;
use crate::ids::TopicName;

/// How many records of its own log a KRaft controller may have to write for one request: for each
/// topic one, for each partition and each config one. It refuses more than 10,000 partitions whole
/// (POLICY_VIOLATION, 44), and more than 10,000 records as one step.
const RECORDS_MAX: usize = 5_000;
/// INVALID_CONFIG: the destination does not know a key, or does not take a value.
const INVALID_CONFIG: i16 = 40;

/// How often the metadata of new topics are read until they are complete, and the pause between.
pub(super) const SETTLE_READS_MAX: u32 = 20;
pub(super) const SETTLE_PAUSE: Duration = Duration::from_millis(200);

/// Why a topic was not made or grown.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotMade {
    /// The destination refuses it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It was not answered, or not as a whole.
    #[error(transparent)]
    Failed(#[from] ClusterError),
}

/// What came of each topic.
pub type Made<T> = BTreeMap<TopicName, Result<T, NotMade>>;

/// Makes topics; the ids of those that were made (`NIL` from brokers that do not tell it).
/// `configs` gives a topic's overrides for a destination that is old (before Kafka 3.6) or not;
/// `is_old` is set when one turns out to be.
pub async fn create(
    destination: &Cluster,
    new: Vec<NewTopic>,
    configs: impl Fn(&TopicName, bool) -> BTreeMap<String, String>,
    is_old: &mut bool,
) -> Made<TopicId> {
    let sized = |topic: &NewTopic| {
        let partitions = usize::try_from(topic.partitions).unwrap_or(usize::MAX / 2);
        1 + partitions + configs(&topic.name, *is_old).len()
    };
    let mut all = Made::new();
    let mut failed: Option<ClusterError> = None;
    for some in chunks(new, sized) {
        let names = some.iter().map(|topic| topic.name.clone()).collect::<Vec<_>>();
        let made = match &failed {
            None => create_some(destination, some, &configs, is_old).await,
            Some(error) => Err(error.clone()),
        };
        match made {
            Ok(answers) => {
                for (topic, made) in answers {
                    if made.is_ok() {
                        tracing::info!(%topic, "created at the destination");
                    }
                    all.insert(topic, made.map_err(NotMade::Refused));
                }
            }
            Err(error) => {
                let each = names.into_iter().map(|name| (name, Err(error.clone().into())));
                all.extend(each);
                failed = Some(error);
            }
        }
    }
    all
}

/// One request, and a second one for topics with a config that an old broker does not know.
async fn create_some(
    destination: &Cluster,
    some: Vec<NewTopic>,
    configs: &impl Fn(&TopicName, bool) -> BTreeMap<String, String>,
    is_old: &mut bool,
) -> Result<EachTopic<TopicId>, ClusterError> {
    let with = |topic: &NewTopic, is_old: bool| NewTopic {
        configs: configs(&topic.name, is_old),
        ..topic.clone()
    };
    let asked: Vec<NewTopic> = some.iter().map(|topic| with(topic, *is_old)).collect();
    let mut answers = destination.create_topics(&asked, false).await?;
    let is_unfit = |answers: &EachTopic<TopicId>, name: &TopicName| {
        let refusal = answers.get(name).and_then(|answer| answer.as_ref().err());
        refusal.is_some_and(|refusal| refusal.code.0 == INVALID_CONFIG)
    };
    let again: Vec<NewTopic> =
        some.iter().filter(|one| !*is_old && is_unfit(&answers, &one.name)).cloned().collect();
    if again.is_empty() {
        return Ok(answers);
    }
    let asked: Vec<NewTopic> = again.iter().map(|topic| with(topic, true)).collect();
    let still = destination.create_topics(&asked, false).await?;
    // A value that no broker takes says nothing of how old this one is.
    if again.iter().any(|topic| !is_unfit(&still, &topic.name)) {
        *is_old = true;
        answers.extend(still);
    }
    Ok(answers)
}

/// Grows topics to so many partitions, with what came of each; the number beside it is how many
/// there are.
pub async fn grow(destination: &Cluster, fewer: Vec<(TopicName, i32, usize)>) -> Made<()> {
    let added = |(_, to, from): &(TopicName, i32, usize)| {
        usize::try_from(*to).unwrap_or(usize::MAX / 2).saturating_sub(*from)
    };
    let mut all = Made::new();
    let mut failed: Option<ClusterError> = None;
    for some in chunks(fewer, added) {
        let asked: Vec<(TopicName, i32)> =
            some.iter().map(|(name, to, _)| (name.clone(), *to)).collect();
        let answers = match &failed {
            None => destination.create_partitions(&asked, false).await,
            Some(error) => Err(error.clone()),
        };
        match answers {
            Ok(answers) => {
                for (topic, grown) in answers {
                    if grown.is_ok() {
                        tracing::info!(%topic, "grown at the destination");
                    }
                    all.insert(topic, grown.map_err(NotMade::Refused));
                }
            }
            Err(error) => {
                let each = asked.into_iter().map(|(name, _)| (name, Err(error.clone().into())));
                all.extend(each);
                failed = Some(error);
            }
        }
    }
    all
}

/// Reads the metadata of new topics until a broker tells of their partitions: brokers learn of a
/// topic one by one, and the next look may be minutes away.
pub(super) async fn settle(
    mut new: Vec<TopicName>,
    destination: &Cluster,
) -> Result<(), ClusterError> {
    for _ in 0..SETTLE_READS_MAX {
        if new.is_empty() {
            return Ok(());
        }
        destination.refresh(Wanted::Topics(&new)).await?;
        new.retain(|name| {
            let there = destination.topic(name).filter(|there| there.error.is_none());
            there.is_none_or(|there| there.partitions.is_empty())
        });
        if !new.is_empty() {
            sleep(SETTLE_PAUSE).await;
        }
    }
    Ok(())
}

/// Answers and refusals apart.
pub(super) fn parted<T>(each: EachTopic<T>) -> (BTreeMap<TopicName, T>, Vec<(TopicName, String)>) {
    let (mut found, mut refused) = (BTreeMap::new(), Vec::new());
    for (name, answer) in each {
        match answer {
            Ok(value) => drop(found.insert(name, value)),
            Err(refusal) => refused.push((name, refusal.to_string())),
        }
    }
    (found, refused)
}

/// Cuts a list into pieces whose sizes stay within the bound; what is larger goes alone.
fn chunks<T>(all: Vec<T>, size: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut pieces: Vec<Vec<T>> = Vec::new();
    let mut filled = usize::MAX;
    for one in all {
        let one_size = size(&one);
        match pieces.last_mut() {
            Some(piece) if filled.saturating_add(one_size) <= RECORDS_MAX => {
                filled += one_size;
                piece.push(one);
            }
            _ => {
                filled = one_size;
                pieces.push(vec![one]);
            }
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_piece_is_larger_than_a_controller_takes() {
        let cut = |sizes: &[usize]| chunks(sizes.to_vec(), |size| *size);
        assert_eq!(cut(&[]), Vec::<Vec<usize>>::new());
        assert_eq!(cut(&[1, 2, 3]), [vec![1, 2, 3]]);
        assert_eq!(cut(&[2_500, 2_500, 1]), [vec![2_500, 2_500], vec![1]]);
        // one that is refused whatever it is beside stands alone
        assert_eq!(cut(&[10, 20_000, 10]), [vec![10], vec![20_000], vec![10]]);
        let many = cut(&[510; 24]);
        assert!(many.iter().all(|piece| piece.iter().sum::<usize>() <= RECORDS_MAX));
        assert_eq!(many.concat().len(), 24);
    }
}
