//! The writer id of a link, and of a chain of the journal: producer ids that are the same at every
//! start and in every instance.
//!
//! It never asks a broker: an id need not be allocated (broker facts P1).

use crate::ids::ClusterId;
use crate::ids::LinkName;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::ProducerId;
use crate::ids::TopicId;
use crate::wire::rewrite::WRITER_ID_MIN;
use crate::wire::rewrite::Writer;

/// The lowest id of a link.
pub const ID_MIN: i64 = WRITER_ID_MIN;
/// FNV-1a, 64 bits: stable for ever, which the standard library's hashers are not.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

/// The writer of the link `name` from `source` to `destination`.
pub fn of(source: &ClusterId, destination: &ClusterId, name: &LinkName) -> Writer {
    writer(&[source.0.as_bytes(), destination.0.as_bytes(), name.0.as_bytes()])
}

/// The writer of a topic that has become a mirror again so many times: behind its seal an id is
/// dead.
pub fn of_generation(
    source: &ClusterId,
    destination: &ClusterId,
    name: &LinkName,
    generation: u32,
) -> Writer {
    if generation == 0 {
        return of(source, destination, name);
    }
    let number = generation.to_be_bytes();
    writer(&[source.0.as_bytes(), destination.0.as_bytes(), name.0.as_bytes(), &number])
}

/// The writer of the rows that were appended to the journal with that id in one chain: their
/// sequences are their offsets less the chain's start.
pub fn of_journal(topic: TopicId, chain: Offset) -> Writer {
    writer(&[b"journal", &topic.0, &chain.get().to_be_bytes()])
}

/// The writer of what a source held beyond a stopped topic, into a partition of a topic for that:
/// sequences are offsets.
pub fn of_tail(topic: TopicId, partition: PartitionId) -> Writer {
    writer(&[b"tail", &topic.0, &partition.0.to_be_bytes()])
}

fn writer(parts: &[&[u8]]) -> Writer {
    let hash = parts.iter().fold(FNV_OFFSET, |hash, part| {
        // the end of a part counts, so that "ab" + "c" is not "a" + "bc"
        part.iter()
            .chain(&[0xff])
            .fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME))
    });
    Writer { id: ProducerId(ID_MIN | (hash >> 2) as i64), epoch: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_stable_high_and_the_links_own() {
        let id = |a: &str, b: &str, c: &str| {
            of(&ClusterId(a.into()), &ClusterId(b.into()), &LinkName(c.into())).id.0
        };
        // pinned: another value here is another writer, which breaks every running link
        assert_eq!(id("source", "destination", "dr"), PINNED);
        assert!(id("", "", "") >= ID_MIN);
        assert_ne!(id("a", "bc", "d"), id("ab", "c", "d"));
        assert_ne!(id("a", "b", "c"), id("b", "a", "c"));
        let again = |generation| {
            let (a, b) = (ClusterId("source".into()), ClusterId("destination".into()));
            of_generation(&a, &b, &LinkName("dr".into()), generation).id.0
        };
        assert_eq!(again(0), PINNED, "the first time it is the link's own");
        assert!(again(1) != PINNED && again(1) != again(2) && again(1) >= ID_MIN);
    }

    const PINNED: i64 = 7500883764400873679;

    #[test]
    fn each_chain_of_each_journal_has_an_id_of_its_own() {
        let id = |topic: u8, chain: i64| {
            of_journal(TopicId([topic; 16]), Offset::new(chain).unwrap()).id.0
        };
        assert!(id(0, 0) >= ID_MIN);
        assert_ne!(id(1, 0), id(2, 0));
        assert_ne!(id(1, 0), id(1, 1));
        assert_eq!(id(1, 7), id(1, 7));
    }
}
