//! Topics made and grown at the destination, in requests of a size that a controller takes.
//!
//! It never decides which: what one topic is refused for is trouble of that topic alone.

use std::collections::BTreeMap;

use crate::cluster::Cluster;
use crate::cluster::NewTopic;
use crate::cluster::error::ClusterError;
use crate::cluster::error::Refusal;
use crate::ids::TopicName;
use crate::sync::trouble::Kind;
use crate::sync::trouble::Trouble;

/// How many records of its own log a KRaft controller may have to write for one request: for each
/// topic one, for each partition and each config one. It refuses more than 10,000 partitions whole
/// (POLICY_VIOLATION, 44), and more than 10,000 records as one step.
const RECORDS_MAX: usize = 5_000;
/// TOPIC_ALREADY_EXISTS: somebody else made it meanwhile; it is looked at like any other.
const EXISTS: i16 = 36;
/// INVALID_CONFIG: the destination does not know a key, or does not take a value.
const INVALID_CONFIG: i16 = 40;

/// Makes topics. `configs` gives a topic's overrides for a destination that is old (before Kafka
/// 3.6) or not; `is_old` is set when one turns out to be.
pub async fn create(
    destination: &Cluster,
    new: Vec<NewTopic>,
    configs: impl Fn(&TopicName, bool) -> BTreeMap<String, String>,
    is_old: &mut bool,
    troubles: &mut Vec<Trouble>,
) {
    let sized = |topic: &NewTopic| {
        let partitions = usize::try_from(topic.partitions).unwrap_or(usize::MAX / 2);
        1 + partitions + configs(&topic.name, *is_old).len()
    };
    let mut failed: Option<ClusterError> = None;
    for some in chunks(new, sized) {
        let names = some.iter().map(|topic| topic.name.clone()).collect::<Vec<_>>();
        let made = match &failed {
            None => create_some(destination, some, &configs, is_old).await,
            Some(error) => Err(error.clone()),
        };
        match made {
            Ok(refused) => {
                for topic in names.iter().filter(|name| !refused.contains_key(name)) {
                    tracing::info!(%topic, "created at the destination");
                }
                for (topic, refusal) in refused.into_iter().filter(|(_, one)| one.code.0 != EXISTS)
                {
                    let text = format!("the destination does not create it: {refusal}");
                    troubles.push(Trouble::new(&topic, Kind::Refused, text));
                }
            }
            Err(error) => {
                let text = format!("the destination does not create it: {error}");
                let each = names.iter().map(|name| Trouble::new(name, Kind::Refused, &text[..]));
                troubles.extend(each);
                failed = Some(error);
            }
        }
    }
}

type Refused = BTreeMap<TopicName, Refusal>;

/// One request, and a second one for topics with a config that an old broker does not know.
async fn create_some(
    destination: &Cluster,
    some: Vec<NewTopic>,
    configs: &impl Fn(&TopicName, bool) -> BTreeMap<String, String>,
    is_old: &mut bool,
) -> Result<Refused, ClusterError> {
    let with = |topic: &NewTopic, is_old: bool| NewTopic {
        configs: configs(&topic.name, is_old),
        ..topic.clone()
    };
    let asked: Vec<NewTopic> = some.iter().map(|topic| with(topic, *is_old)).collect();
    let mut refused = refusals(destination.create_topics(&asked, false).await?);
    let unfit = |name: &TopicName| refused.get(name).is_some_and(|r| r.code.0 == INVALID_CONFIG);
    let again: Vec<NewTopic> =
        some.iter().filter(|topic| !*is_old && unfit(&topic.name)).cloned().collect();
    if again.is_empty() {
        return Ok(refused);
    }
    let asked: Vec<NewTopic> = again.iter().map(|topic| with(topic, true)).collect();
    let still = refusals(destination.create_topics(&asked, false).await?);
    let helps = |topic: &NewTopic| {
        still.get(&topic.name).is_none_or(|refusal| refusal.code.0 != INVALID_CONFIG)
    };
    // A value that no broker takes says nothing of how old this one is.
    if again.iter().any(helps) {
        *is_old = true;
        again.iter().for_each(|topic| drop(refused.remove(&topic.name)));
        refused.extend(still);
    }
    Ok(refused)
}

fn refusals<T>(answers: crate::cluster::EachTopic<T>) -> Refused {
    answers.into_iter().filter_map(|(name, answer)| Some((name, answer.err()?))).collect()
}

/// Grows topics to so many partitions; the number beside it is how many there are.
pub async fn grow(
    destination: &Cluster,
    fewer: Vec<(TopicName, i32, usize)>,
    troubles: &mut Vec<Trouble>,
) {
    let added = |(_, to, from): &(TopicName, i32, usize)| {
        usize::try_from(*to).unwrap_or(usize::MAX / 2).saturating_sub(*from)
    };
    let mut failed: Option<ClusterError> = None;
    for some in chunks(fewer, added) {
        let asked: Vec<(TopicName, i32)> =
            some.iter().map(|(name, to, _)| (name.clone(), *to)).collect();
        let answers = match &failed {
            None => destination.create_partitions(&asked, false).await,
            Some(error) => Err(error.clone()),
        };
        match answers {
            Ok(answers) => answers.into_iter().for_each(|(topic, answer)| match answer {
                Ok(()) => tracing::info!(%topic, "grown at the destination"),
                Err(refusal) => {
                    let text = format!("the destination does not grow it: {refusal}");
                    troubles.push(Trouble::new(&topic, Kind::Refused, text));
                }
            }),
            Err(error) => {
                let text = format!("the destination does not grow it: {error}");
                let each = asked.iter();
                troubles.extend(each.map(|(name, _)| Trouble::new(name, Kind::Refused, &text[..])));
                failed = Some(error);
            }
        }
    }
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
