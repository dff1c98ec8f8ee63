//! Which of several links from one source takes a topic whose mirror there was reversed.
//!
//! It never asks whether the topic can be taken: that is found out by the one that takes it.

use crate::control::row::MirrorRow;
use crate::ids::LinkName;
use crate::ids::TopicName;
use crate::link::seen::LinkSeen;
use crate::link::seen::Seen;

/// What a link has to do with a topic; the smallest takes it.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Claim<'a> {
    /// It is paused, or goes: it would take nothing.
    rests: bool,
    /// It never mirrored the topic.
    is_new: bool,
    /// It is called otherwise than the link that the topic was reversed with: the two directions of
    /// a bidirectional link have one name.
    is_other: bool,
    /// Its settings do not name it.
    is_unnamed: bool,
    link: &'a LinkName,
}

/// The link that takes `topic`, which is `there` at the source of `link`: one that goes on before
/// one that is paused, one that mirrored it before a stranger, one of the name of the link there,
/// one whose settings name it before one that knows nothing of it.
pub(super) fn taker<'a>(
    seen: &'a Seen,
    link: &LinkName,
    (topic, there, link_there): (&TopicName, &TopicName, &LinkName),
) -> Option<&'a LinkName> {
    let source = seen.links.get(link)?.row.source.as_ref()?;
    let claim = |(name, link): (&'a LinkName, &'a LinkSeen)| {
        let settings =
            link.settings.as_ref().filter(|_| link.row.source.as_ref() == Some(source))?;
        let calls_it_so = settings.rename.mirror_of(there).as_ref() == Some(topic);
        let row: Option<&MirrorRow> =
            seen.mirrors.get(&(name.clone(), topic.clone())).map(|one| &one.row);
        calls_it_so.then(|| Claim {
            rests: link.row.is_paused || link.row.is_leaving,
            is_new: row.is_none(),
            is_other: name != link_there,
            is_unnamed: !settings.topics.matches(there),
            link: name,
        })
    };
    let claims = seen.links.iter().filter_map(|(name, link)| claim((name, link)));
    claims.min().map(|claim| claim.link)
}
