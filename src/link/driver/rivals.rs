//! Who else has a hand in what was created by order: another isolog on the same destination, and
//! a link of the config file under the same name, or with the same topics: no two may write one.
//!
//! It never stops anybody: it says what is so, and what to do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;

use crate::control::filter::TopicFilter;
use crate::control::journal::WriterTag;
use crate::control::rename::Rename;
use crate::ids::LinkName;
use crate::ids::TimestampMs;
use crate::ids::TopicName;
use crate::link::LinkSettings;
use crate::link::driver::ctx::lock;
use crate::link::registry::Seen;
use crate::link::world::World;

/// For how long another isolog counts as there after it wrote a row, in ms.
const RIVAL_MS: i64 = 600_000;

/// Another isolog that was told of.
#[derive(Debug, Default)]
pub(super) struct Known {
    last: Option<(WriterTag, TimestampMs)>,
    /// Links that only the files of other instances have, of which it was told.
    of_others: BTreeSet<LinkName>,
}

impl Known {
    /// Says it once of each, and again when it was away for long.
    pub fn follow(&mut self, seen: &Seen) {
        let Some((writer, at)) = seen.rival else { return };
        let is_news = self
            .last
            .is_none_or(|(known, last)| known != writer || at.0.saturating_sub(last.0) >= RIVAL_MS);
        if is_news {
            tracing::warn!("{}", text(writer));
        }
        self.last = Some((writer, at));
    }

    /// A link of the journal that a config file declares, and not ours: said once while this
    /// instance has the work, and whoever has that file has not.
    pub fn tell_other_file(&mut self, link: &LinkName, has_work: bool) {
        if !has_work {
            self.of_others.remove(link);
        } else if self.of_others.insert(link.clone()) {
            tracing::warn!(
                %link,
                "the journal has a link that is declared in a config file, and the file of this \
                 isolog, which has the work, does not have it: nothing of it is copied. Give all \
                 instances the same links; one that none of them is to have is deleted with \
                 `isolog link delete {link} --force`"
            );
        }
    }
}

/// Another one in each process: who writes rows must be told from everybody else.
pub(super) fn tag(world: &World) -> WriterTag {
    let ms = u64::try_from(world.wall.now().0).unwrap_or(0);
    // the seed is of the process's id and its start, the time tells two with one seed apart
    WriterTag::of_instance(world.seed.rotate_left(17) ^ ms.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// That another isolog wrote to the journal not long ago.
pub(super) fn told(seen: &Seen, now: TimestampMs) -> Option<String> {
    let (writer, at) = seen.rival?;
    (now.0.saturating_sub(at.0) < RIVAL_MS).then(|| text(writer))
}

fn text(writer: WriterTag) -> String {
    format!(
        "another isolog (writer {:016x}) has written to the journal (__isolog) of this destination \
         in the last {} minutes: both take orders in turn, and copy the same mirror topics where \
         both have the same link: stop one of them, so that one isolog runs for each destination, \
         or give both the same instances.group.id",
        writer.0,
        RIVAL_MS / 60_000
    )
}

/// Why a link of the file does not run: an order has created one of its name.
pub(super) fn namesake(link: &LinkName) -> String {
    format!(
        "a link {link} was created by order, and the config file has one of that name too: nothing \
         of either is copied. Delete the one that was created (`isolog link delete {link} \
         --force`; its topics stay), and the file's begins by itself, or give [link.{link}] \
         another name"
    )
}

/// What each declared link takes, and what its mirrors are called.
#[derive(Clone, Debug, Default)]
pub struct Claims(Arc<Mutex<Vec<Claim>>>);

#[derive(Clone, Debug)]
struct Claim {
    link: LinkName,
    rename: Rename,
    topics: TopicFilter,
}

impl Claims {
    /// The filters of the links of the config file.
    pub fn of(file: &[LinkSettings]) -> Claims {
        let claims = Claims::default();
        claims.take(file);
        claims
    }

    /// The file was read again.
    pub fn take(&self, file: &[LinkSettings]) {
        let of = |one: &LinkSettings| Claim {
            link: one.name.clone(),
            rename: one.link.rename.clone(),
            topics: one.link.topics.clone(),
        };
        *lock(&self.0) = file.iter().map(of).collect();
    }

    /// The declared link that mirrors, or would mirror, into a topic of that name.
    pub fn declared(&self, mirror: &TopicName) -> Option<LinkName> {
        let claims = lock(&self.0);
        let takes = |one: &&Claim| {
            let source = one.rename.source_of(mirror);
            source.is_some_and(|source| one.topics.matches(&source))
        };
        claims.iter().find(takes).map(|one| one.link.clone())
    }
}
