//! Consumer groups that links follow, as the counter shows them.
//!
//! It never asks a coordinator: it copies what the last turn read and wrote.

use std::collections::BTreeSet;

use crate::control::task::offsets::Stand;
use crate::control::task::verdict::Known;
use crate::control::task::verdict::Word;
use crate::control::task::verdict::verdict;
use crate::control::topic::Stage;
use crate::ids::GroupName;
use crate::ids::TopicName;
use crate::ids::TopicPartition;
use crate::link::registry::Seen;
use crate::link::status::GroupTold;
use crate::link::status::GroupsSeen;
use crate::link::status::Link;
use crate::link::status::LinkStatus;
use crate::link::status::UNFOLLOWED_MAX;
use crate::service::view::GroupView;
use crate::service::view::OffsetView;

/// Topics of a link's source that are mirrored, or were: by this link or by another one.
pub type Mirrored<'a> = BTreeSet<&'a TopicName>;

/// Those of one link; with a name those that have it on either side.
pub fn of(
    link: &Link,
    mirrored: &Mirrored<'_>,
    name: Option<&str>,
    is_whole: bool,
) -> Vec<GroupView> {
    let status = link.status();
    let Some(seen) = &status.groups else { return Vec::new() };
    let age_ms = link.groups_age_ms(seen);
    let is_asked = |(there, told): &(&GroupName, &GroupTold)| {
        name.is_none_or(|name| there.as_str() == name || told.source.as_str() == name)
    };
    let one = |(there, told): (&GroupName, &GroupTold)| {
        let followed =
            Followed { link: &link.name.0, status: &status, mirrored, seen, age_ms, told };
        // of a group that reads other topics alone nothing is said, unless it is asked for
        let is_read = told.is_share && told.is_active_at_source == Some(true);
        let is_ours = !told.stands.is_empty() || told.fault.is_some() || name.is_some() || is_read;
        let is_shown = is_ours || followed.unfollowed(Place::Here).next().is_some();
        is_shown.then(|| followed.view(there, is_whole))
    };
    seen.told.iter().filter(is_asked).filter_map(one).collect()
}

/// Why a link does not follow a group of that name, as far as it is known.
pub fn unfollowed(seen: &Seen, link: &Link, name: &str) -> GroupView {
    GroupView {
        link: link.name.to_string(),
        group: name.to_owned(),
        verdict: Word::Unknown.word().to_owned(),
        against: vec![why_not(seen, link, &GroupName::new(name))],
        ..GroupView::default()
    }
}

fn why_not(seen: &Seen, link: &Link, group: &GroupName) -> String {
    let link_name = &link.name;
    let Some(sync) = seen.links.get(link_name).and_then(|one| one.groups()) else {
        return "the link follows no groups: set consumer.offset.sync.enable and \
                consumer.offset.group.filters"
            .to_owned();
    };
    let own = sync.source_name(group);
    if sync.forgotten.contains(&own) {
        return format!(
            "it was forgotten by order: `isolog group follow {own} --link {link_name}` has it \
             synced again"
        );
    }
    if !sync.filter.matches(&own) {
        return "consumer.offset.group.filters does not let it pass (console-consumer-*, connect-* \
                and __* pass where a rule names them)"
            .to_owned();
    }
    if link.status().groups.is_none_or(|groups| groups.at.is_none()) {
        return format!("the link has not read its groups: `isolog link task list {link_name}`");
    }
    let none = "the source lists no such group, or it has committed nothing for a topic that is \
                mirrored now (a share group: acknowledged nothing there)";
    let all = seen.mirrors_of(link_name);
    match all.filter(|(_, one)| matches!(one.row.stage, Stage::Stopped(_))).count() {
        0 => none.to_owned(),
        stopped => format!(
            "{none}; of what is STOPPED, {stopped} mirror topics of the link, no group is followed \
             any more: compare both sides yourself"
        ),
    }
}

/// Where a topic of which a group has committed partitions that are not followed is mirrored.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Place {
    /// The link is to mirror it.
    Here,
    /// The link did, and it is STOPPED, or another link does.
    Elsewhere,
    /// Nowhere.
    Nowhere,
}

/// A group, and all that is known of its link beside.
struct Followed<'a> {
    link: &'a str,
    status: &'a LinkStatus,
    mirrored: &'a Mirrored<'a>,
    seen: &'a GroupsSeen,
    age_ms: Option<u64>,
    told: &'a GroupTold,
}

impl Followed<'_> {
    fn view(&self, there: &GroupName, is_whole: bool) -> GroupView {
        let told = self.told;
        let stands = || told.stands.values();
        let count = |word: &str| stands().filter(|one| one.word() == word).count() as u64;
        let fault = told.fault.clone();
        let (error_code, reason) = fault.map(|fault| (fault.code, fault.text)).unwrap_or_default();
        let (word, against) = self.verdict(there);
        GroupView {
            link: self.link.to_owned(),
            group: told.source.to_string(),
            mirror_group: there.to_string(),
            group_type: if told.is_share { "share" } else { "consumer" }.to_owned(),
            partitions: told.stands.len() as u64,
            clamped: count("clamped"),
            behind: count("behind"),
            ahead: count("ahead"),
            unstarted: match told.begins_early {
                Some(true) => 0,
                _ => told.unstarted.len() as u64,
            },
            age_ms: self.age_ms,
            error_code,
            reason,
            is_active_at_source: told.is_active_at_source == Some(true),
            is_listed_at_source: told.is_active_at_source.is_some(),
            mirror_lag: sum(stands().map(Stand::mirror_lag)),
            consumer_lag: sum(stands().map(Stand::consumer_lag)),
            unchanged_ms: self.unchanged_ms().and_then(|ms| u64::try_from(ms).ok()),
            interval_ms: u64::try_from(self.seen.every_ms).unwrap_or(0),
            verdict: word.word().to_owned(),
            against,
            not_mirrored: self.unfollowed(Place::Nowhere).map(str::to_owned).collect(),
            topics: told.stands.keys().map(|tp| tp.topic.to_string()).collect(),
            offsets: match is_whole {
                true => told.stands.iter().map(offset).collect(),
                false => Vec::new(),
            },
        }
    }

    /// By the turns of this process, from the beginning of one to that of another.
    fn unchanged_ms(&self) -> Option<i64> {
        Some(self.seen.began?.0.saturating_sub(self.told.unchanged_since.0))
    }

    /// Topics with partitions that are not followed, by where they are mirrored.
    fn unfollowed(&self, wanted: Place) -> impl Iterator<Item = &str> {
        let place = |topic: &TopicName| match self.status.wanted.contains_key(topic) {
            true => Place::Here,
            false if self.mirrored.contains(topic) => Place::Elsewhere,
            false => Place::Nowhere,
        };
        let all = self.told.unfollowed.iter();
        all.filter(move |topic| place(topic) == wanted).map(TopicName::as_str)
    }

    fn verdict(&self, there: &GroupName) -> (Word, Vec<String>) {
        let left_out: Vec<&str> = self.unfollowed(Place::Here).collect();
        let elsewhere: Vec<&str> = self.unfollowed(Place::Elsewhere).collect();
        verdict(&Known {
            link: self.link,
            stands: &self.told.stands,
            is_share: self.told.is_share,
            group: there.as_str(),
            unstarted: &self.told.unstarted,
            begins_early: self.told.begins_early,
            fault: self.told.fault.as_ref(),
            is_active_at_source: self.told.is_active_at_source,
            unchanged_ms: self.unchanged_ms(),
            age_ms: self.age_ms.and_then(|ms| i64::try_from(ms).ok()),
            every_ms: self.seen.every_ms,
            left_out: &left_out,
            elsewhere: &elsewhere,
            is_cut: self.told.unfollowed.len() >= UNFOLLOWED_MAX,
        })
    }
}

/// `None` where one of them is not known, or there is none.
fn sum(mut all: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    let first = all.next()??;
    all.try_fold(first, |sum, one| Some(sum.saturating_add(one?)))
}

fn offset((tp, stand): (&TopicPartition, &Stand)) -> OffsetView {
    OffsetView {
        topic: tp.topic.to_string(),
        partition: tp.partition.0,
        source_offset: stand.source.get(),
        mirror_offset: stand.there.map(|there| there.get()),
        state: stand.word().to_owned(),
        source_end: stand.source_end.map(|end| end.get()),
        mirror_end: Some(stand.end.get()),
        mirror_lag: stand.mirror_lag(),
        consumer_lag: stand.consumer_lag(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_not_known_where_one_part_is_not() {
        assert_eq!(sum([Some(2), Some(3)].into_iter()), Some(5));
        assert_eq!(sum([Some(2), None].into_iter()), None);
        assert_eq!(sum([None, Some(2)].into_iter()), None);
        assert_eq!(sum([].into_iter()), None);
    }
}
