//! Where a mirror topic's records come from: the topics before its source, of which that is itself
//! a mirror, nearest first.
//!
//! It never asks a cluster: what the journal at the source says of them is written down here.
//!
//! ```text
//!   A orders ──▶ B b.orders ──▶ C c.b.orders        row at C: b.orders, ancestors [A orders]
//!      ▲                            │
//!      └──────── refused ───────────┘               A's own topic is among them
//! ```

use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;

use crate::ids::ClusterId;
use crate::ids::TopicId;
use crate::ids::TopicName;

/// How many are remembered: nobody chains so many clusters, and a journal there may say anything.
pub const ANCESTORS_MAX: usize = 16;

/// A topic that is mirrored on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ancestor {
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its name there.
    pub topic: TopicName,
    /// Its id there.
    pub id: TopicId,
}

/// The whole line of a mirror topic, from its source on: no cluster stands twice in it, so that
/// clusters that mirror each other in a circle end in one that does not grow.
pub fn line(source: Option<Ancestor>, ancestors: &[Ancestor]) -> Vec<Ancestor> {
    let mut seen = BTreeSet::new();
    let all = source.iter().chain(ancestors);
    let own = all.take_while(|one| seen.insert(&one.cluster));
    own.take(ANCESTORS_MAX).cloned().collect()
}

/// As the journal has it.
#[derive(Serialize, Deserialize)]
pub(super) struct AncestorText {
    cluster: String,
    topic: String,
    id: String,
}

impl From<&Ancestor> for AncestorText {
    fn from(one: &Ancestor) -> AncestorText {
        AncestorText {
            cluster: one.cluster.to_string(),
            topic: one.topic.to_string(),
            id: one.id.hex(),
        }
    }
}

impl TryFrom<AncestorText> for Ancestor {
    type Error = String;

    fn try_from(text: AncestorText) -> Result<Ancestor, String> {
        let AncestorText { cluster, topic, id } = text;
        Ok(Ancestor {
            cluster: ClusterId(cluster.into()),
            topic: TopicName::new(&topic).ok_or("an ancestor is no topic name")?,
            id: TopicId::parse(&id).ok_or_else(|| format!("{id:?} is no topic id"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(cluster: &str) -> Ancestor {
        let topic = TopicName::new("orders").unwrap();
        Ancestor { cluster: ClusterId(cluster.into()), topic, id: TopicId([1; 16]) }
    }

    #[test]
    fn a_circle_ends_and_a_chain_is_bounded() {
        let (a, b) = (one("A"), one("B"));
        let from_b = std::slice::from_ref(&b);
        assert_eq!(line(Some(a.clone()), from_b), [a.clone(), b.clone()]);
        let circle = line(Some(a.clone()), &[b.clone(), a.clone(), b.clone()]);
        assert_eq!(circle, [a.clone(), b.clone()]);
        assert_eq!(line(None, from_b), from_b);
        let many: Vec<Ancestor> = (0..100).map(|at| one(&at.to_string())).collect();
        assert_eq!(line(Some(a), &many).len(), ANCESTORS_MAX);
    }
}
