//! Whether a consumer group can move to the destination and read no record twice, and if not, why.
//!
//! It never says that a group moves while something that it rests on is not known.
//!
//! A group moves where, for all its partitions, the mirror has come to what the group committed
//! (its lag is 0, or less than the group's own), that offset is committed at the destination too,
//! it has no members at the source, and nothing it has committed has changed for a whole interval.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::control::task::offsets::Stand;
use crate::control::topic::Fault;
use crate::ids::TopicPartition;

/// A group of which the last turn began so many intervals ago is not known any more.
const INTERVALS_MAX: i64 = 2;
/// For how long a turn may take beside.
const TURN_MS_MAX: i64 = 1_000;
/// How many topics are named.
const NAMED_MAX: usize = 5;

/// What is known of a group.
#[derive(Copy, Clone, Debug)]
pub struct Known<'a> {
    /// Its link's name.
    pub link: &'a str,
    /// Its offsets, by the mirror's partition.
    pub stands: &'a BTreeMap<TopicPartition, Stand>,
    /// It is a share group.
    pub is_share: bool,
    /// The group's name at the destination.
    pub group: &'a str,
    /// Of a share group: partitions there without a start, of topics of which it has one.
    pub unstarted: &'a BTreeSet<TopicPartition>,
    /// Whether it begins at their start there, as its configs say.
    pub begins_early: Option<bool>,
    /// What the last turn could not do for it.
    pub fault: Option<&'a Fault>,
    /// It has members at the source.
    pub is_active_at_source: Option<bool>,
    /// For how long nothing that it has committed there had changed when it was read last, in ms.
    pub unchanged_ms: Option<i64>,
    /// How long ago that was.
    pub age_ms: Option<i64>,
    /// The interval of turns.
    pub every_ms: i64,
    /// Topics that the link mirrors, of which it has committed partitions that are not followed.
    pub left_out: &'a [&'a str],
    /// The same of topics that it mirrored and that are STOPPED, or that another link mirrors.
    pub elsewhere: &'a [&'a str],
    /// There may be more of those.
    pub is_cut: bool,
}

/// What comes of it.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Word {
    /// It moves without duplicates.
    Moves,
    /// Something that it rests on is not known.
    Unknown,
    /// It does not.
    NotYet,
}

impl Word {
    /// The word that REST and CLI show.
    pub fn word(self) -> &'static str {
        match self {
            Word::Moves => "MOVES",
            Word::Unknown => "UNKNOWN",
            Word::NotYet => "NOT_YET",
        }
    }
}

/// The verdict, and what stands against it, with what to do.
pub fn verdict(known: &Known<'_>) -> (Word, Vec<String>) {
    let checks = [
        read(known),
        known.fault.map(|fault| (Word::NotYet, fault.text.clone())),
        members(known),
        nowhere(known),
        waiting(known),
        behind(known),
        unlike(known, "clamped", |_, stand| {
            let (source, end) = (stand.source, stand.end);
            format!("is committed at {source} and mirrored to {end} only: wait for the mirror")
        }),
        unlike(known, "ahead", |_, stand| {
            let there = stand.there.map(|there| there.to_string()).unwrap_or_default();
            let tool = if known.is_share { "share" } else { "consumer" };
            format!(
                "is committed at {} at the source and at {there} at the destination, where this \
                 process has not put it: its consumers may have, or isolog before it was started \
                 last; what lies between would be skipped: set the offset there by \
                 kafka-{tool}-groups --reset-offsets",
                stand.source
            )
        }),
        without_start(known),
        before_it_begins(known),
        lag(known),
        out_of_order(known),
        changed(known),
        left_out(known),
        elsewhere(known),
    ];
    let found: Vec<(Word, String)> = checks.into_iter().flatten().collect();
    let word = found.iter().map(|(word, _)| *word).max().unwrap_or(Word::Moves);
    (word, found.into_iter().map(|(_, text)| text).collect())
}

type Against = Option<(Word, String)>;

fn read(known: &Known<'_>) -> Against {
    let cure = format!("`isolog link task list {}` says why", known.link);
    let Some(age) = known.age_ms else {
        return Some((Word::Unknown, format!("it was not read on both sides yet: {cure}")));
    };
    let is_young = age <= known.every_ms.saturating_mul(INTERVALS_MAX).saturating_add(TURN_MS_MAX);
    let (age, every) = (age / 1_000, known.every_ms / 1_000);
    let text = format!("it was read {age} s ago, and should be every {every} s: {cure}");
    (!is_young).then_some((Word::Unknown, text))
}

fn members(known: &Known<'_>) -> Against {
    match known.is_active_at_source {
        Some(false) => None,
        Some(true) => {
            let text = "it has members at the source: stop its consumers there";
            Some((Word::NotYet, text.to_owned()))
        }
        None => {
            let text = "its coordinator at the source did not list it, so whether it has members \
                        is not known: the next turn asks again";
            Some((Word::Unknown, text.to_owned()))
        }
    }
}

fn nowhere(known: &Known<'_>) -> Against {
    let text = match known.is_share {
        true => format!(
            "it has no start in a topic that the link mirrors, as it has acknowledged nothing \
             there: what it has not read is skipped at the destination, unless its \
             share.auto.offset.reset is earliest there: {}",
            early(known)
        ),
        false => "nothing is known of its offsets".to_owned(),
    };
    (known.stands.is_empty() && known.fault.is_none()).then_some((Word::Unknown, text))
}

/// The first partition that is so, and how many more are.
fn first<'a>(
    known: &Known<'a>,
    is: impl Fn(&Stand) -> bool,
) -> Option<(&'a TopicPartition, &'a Stand, String)> {
    let mut all = known.stands.iter().filter(|(_, stand)| is(stand));
    let (tp, stand) = all.next()?;
    let more = match all.count() {
        0 => String::new(),
        1 => " (and so is 1 more partition)".to_owned(),
        more => format!(" (and so are {more} more partitions)"),
    };
    Some((tp, stand, more))
}

fn unlike(
    known: &Known<'_>,
    word: &str,
    text: impl Fn(&TopicPartition, &Stand) -> String,
) -> Against {
    let (tp, stand, more) = first(known, |stand| stand.word() == word)?;
    Some((Word::NotYet, format!("{tp} {}{more}", text(tp, stand))))
}

/// How a share group begins at the start of what it has not read.
fn early(known: &Known<'_>) -> String {
    format!(
        "kafka-configs --alter --entity-type groups --entity-name {} --add-config \
         share.auto.offset.reset=earliest",
        known.group
    )
}

/// What went wrong says why, and whether it is tried again.
fn behind(known: &Known<'_>) -> Against {
    let text = "is not committed at the destination yet: the next turn does";
    unlike(known, "behind", |_, _| text.to_owned()).filter(|_| known.fault.is_none())
}

/// A partition of which a share group has acknowledged nothing.
fn without_start(known: &Known<'_>) -> Against {
    let (word, what) = match known.begins_early {
        Some(true) => return None,
        Some(false) => (Word::NotYet, "which is not earliest there"),
        None => {
            (Word::Unknown, "which the destination did not tell (DescribeConfigs of the group)")
        }
    };
    let first = known.unstarted.first()?;
    let more = match known.unstarted.len() - 1 {
        0 => String::new(),
        more => format!(" (nor in {more} more)"),
    };
    let text = format!(
        "it has no start in {first}{more}, so that there share.auto.offset.reset decides, {what}: \
         what it has not read there is skipped; at the destination: {}",
        early(known)
    );
    Some((word, text))
}

fn waiting(known: &Known<'_>) -> Against {
    unlike(known, "waiting", |_, stand| {
        format!("is mirrored to {} only, and not to where its mirror begins: wait", stand.end)
    })
}

/// What lies between is not at the destination.
fn before_it_begins(known: &Known<'_>) -> Against {
    let begins = |stand: &Stand| stand.target.map(|target| target.offset);
    let is_before = |stand: &Stand| begins(stand).is_some_and(|begins| begins > stand.source);
    let (tp, stand, more) = first(known, is_before)?;
    let begins = begins(stand).unwrap_or(stand.source);
    let text = format!(
        "{tp} is committed at {} and its mirror begins at {begins}: let its consumers read to \
         there at the source first, or what lies between is skipped{more}",
        stand.source
    );
    Some((Word::NotYet, text))
}

fn lag(known: &Known<'_>) -> Against {
    if let Some((tp, _, more)) = first(known, |stand| stand.source_end.is_none()) {
        let text = "the source did not tell where it ends, so the lag is not known";
        return Some((Word::Unknown, format!("{tp}: {text}{more}")));
    }
    let lags = |stand: &Stand| Some((stand.mirror_lag()?, stand.consumer_lag()?));
    let is_behind = |stand: &Stand| {
        lags(stand).is_some_and(|(mirror, consumer)| mirror > 0 && mirror >= consumer)
    };
    let (tp, stand, more) = first(known, is_behind)?;
    let (mirror, consumer) = lags(stand)?;
    let text = format!(
        "{tp}: the mirror is {mirror} records behind the source, and the group {consumer}: wait \
         until the mirror's lag is 0, or less than the group's{more}"
    );
    Some((Word::NotYet, text))
}

/// Of a share group the start is told, and not what it has acknowledged behind that: out of order,
/// or since the start was written.
fn out_of_order(known: &Known<'_>) -> Against {
    let is_short = |stand: &Stand| stand.consumer_lag().is_some_and(|lag| lag > 0);
    let (tp, stand, more) = first(known, |stand| known.is_share && is_short(stand))?;
    let text = format!(
        "{tp} starts at {}, and the source ends behind it: what of that the share group has \
         acknowledged there already is delivered again; where kafka-share-groups --describe \
         shows it no LAG, and nobody writes, --reset-offsets --to-latest moves the start to the \
         end{more}",
        stand.source
    );
    Some((Word::Unknown, text))
}

fn changed(known: &Known<'_>) -> Against {
    let Some(unchanged) = known.unchanged_ms else {
        let text = "since when it has committed nothing more is not known".to_owned();
        return Some((Word::Unknown, text));
    };
    let text = format!(
        "nothing that it has committed at the source is known to have changed for {} s, and it \
         takes a whole interval of {} s: stop its consumers there, and wait",
        unchanged / 1_000,
        known.every_ms / 1_000
    );
    (unchanged < known.every_ms).then_some((Word::NotYet, text))
}

fn left_out(known: &Known<'_>) -> Against {
    if known.is_cut {
        let text = "it has committed for more topics than are looked at".to_owned();
        return Some((Word::Unknown, text));
    }
    let named = named(known.left_out);
    let text = format!(
        "it has committed for partitions of {named} that are not followed now, halted or not \
         mirrored yet: `isolog mirror list --link {}` says which",
        known.link
    );
    (!named.is_empty()).then_some((Word::NotYet, text))
}

/// What is at the destination and is not followed by this link: its offsets there are not known.
fn elsewhere(known: &Known<'_>) -> Against {
    let tool = if known.is_share { "share" } else { "consumer" };
    let named = named(known.elsewhere);
    let text = format!(
        "it has committed for {named}, whose mirror topics are STOPPED or another link's: where it \
         stands in them at the destination is not known here; compare it yourself \
         (kafka-{tool}-groups --describe on both sides), or ask for the other link"
    );
    (!named.is_empty()).then_some((Word::Unknown, text))
}

/// The first few, and how many more.
fn named(all: &[&str]) -> String {
    let first = all.iter().copied().take(NAMED_MAX).collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(NAMED_MAX) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::task::offsets::Target;
    use crate::ids::Offset;
    use crate::ids::PartitionId;
    use crate::ids::TopicName;

    fn at(raw: i64) -> Offset {
        Offset::new(raw).unwrap()
    }

    /// Committed at the source and at the destination, and where mirror and source end.
    fn stand(source: i64, there: i64, end: i64, source_end: i64) -> Stand {
        Stand {
            source: at(source),
            there: Some(at(there)),
            target: Some(Target { offset: at(source.min(end)), is_clamped: source > end }),
            end: at(end),
            source_end: Some(at(source_end)),
        }
    }

    fn stands(all: &[Stand]) -> BTreeMap<TopicPartition, Stand> {
        let topic = TopicName::new("orders").unwrap();
        let tp = |at: usize| PartitionId(i32::try_from(at).unwrap());
        let tp = |at| TopicPartition { topic: topic.clone(), partition: tp(at) };
        all.iter().enumerate().map(|(number, one)| (tp(number), one.clone())).collect()
    }

    static NONE: BTreeSet<TopicPartition> = BTreeSet::new();

    /// One that moves but for what a case changes.
    fn known(stands: &BTreeMap<TopicPartition, Stand>) -> Known<'_> {
        Known {
            link: "dr",
            stands,
            is_share: false,
            group: "billing",
            unstarted: &NONE,
            begins_early: None,
            fault: None,
            is_active_at_source: Some(false),
            unchanged_ms: Some(30_000),
            age_ms: Some(60_000),
            every_ms: 30_000,
            left_out: &[],
            elsewhere: &[],
            is_cut: false,
        }
    }

    #[track_caller]
    fn check(all: &[Stand], change: impl FnOnce(&mut Known<'_>), want: Word, text: &str) {
        let stands = stands(all);
        let mut known = known(&stands);
        change(&mut known);
        let (word, reasons) = verdict(&known);
        assert_eq!(word, want, "{reasons:?}");
        assert_eq!(reasons.is_empty(), word == Word::Moves, "{reasons:?}");
        assert!(reasons.join("; ").contains(text), "{reasons:?}");
    }

    #[test]
    fn a_group_moves_whose_mirror_is_level_or_nearer_than_itself() {
        let moves = |one: Stand| check(&[one], |_| {}, Word::Moves, "");
        moves(stand(100, 100, 100, 100));
        moves(stand(40, 40, 100, 100));
        moves(stand(40, 40, 100, 150));
        moves(stand(0, 0, 0, 0));
    }

    #[test]
    fn a_share_group_moves_from_the_end_alone() {
        let share = |known: &mut Known<'_>| known.is_share = true;
        check(&[stand(100, 100, 100, 100)], share, Word::Moves, "");
        let text = "orders-0 starts at 40, and the source ends behind it";
        check(&[stand(40, 40, 100, 100)], share, Word::Unknown, text);
        let tool = "kafka-share-groups --reset-offsets";
        check(&[stand(100, 120, 120, 100)], share, Word::NotYet, tool);
    }

    #[test]
    fn a_share_group_without_a_start_somewhere_may_skip_what_lies_there() {
        let level = stand(100, 100, 100, 100);
        let topic = TopicName::new("orders").unwrap();
        let tp = |id| TopicPartition { topic: topic.clone(), partition: PartitionId(id) };
        let unstarted = BTreeSet::from([tp(1), tp(2)]);
        let check = |early: Option<bool>, want: Word, text: &str| {
            let stands = stands(std::slice::from_ref(&level));
            let known = Known {
                is_share: true,
                unstarted: &unstarted,
                begins_early: early,
                ..known(&stands)
            };
            let (word, reasons) = verdict(&known);
            assert_eq!(word, want, "{reasons:?}");
            assert!(reasons.join("; ").contains(text), "{reasons:?}");
        };
        let cure = "--entity-name billing --add-config share.auto.offset.reset=earliest";
        check(Some(false), Word::NotYet, "no start in orders-1 (nor in 1 more)");
        check(Some(false), Word::NotYet, cure);
        check(None, Word::Unknown, "did not tell");
        check(Some(true), Word::Moves, "");
    }

    #[test]
    fn the_offsets_of_all_partitions_count() {
        let level = stand(100, 100, 100, 100);
        let not = |one: Stand, text: &str| {
            check(&[level.clone(), one.clone()], |_| {}, Word::NotYet, text);
            check(&[one.clone(), one], |_| {}, Word::NotYet, "1 more partition");
        };
        not(
            stand(100, 100, 100, 105),
            "orders-1: the mirror is 5 records behind the source, and \
                                        the group 5",
        );
        not(stand(120, 100, 100, 120), "orders-1 is committed at 120 and mirrored to 100 only");
        not(stand(100, 90, 100, 100), "orders-1 is not committed at the destination yet");
        not(stand(90, 100, 100, 100), "at 90 at the source and at 100 at the destination");
        let late = Target { offset: at(50), is_clamped: false };
        let late = Stand { target: Some(late), ..stand(10, 50, 100, 100) };
        not(late, "committed at 10 and its mirror begins at 50");
        let waits = Stand { target: None, there: None, ..stand(100, 0, 20, 100) };
        not(waits, "orders-1 is mirrored to 20 only");
    }

    #[test]
    fn what_is_not_known_is_never_taken_for_well() {
        let level = stand(100, 100, 100, 100);
        let unknown = |change: fn(&mut Known<'_>), text: &str| {
            check(std::slice::from_ref(&level), change, Word::Unknown, text);
        };
        unknown(|known| known.age_ms = None, "not read on both sides yet");
        unknown(|known| known.age_ms = Some(61_001), "read 61 s ago, and should be every 30 s");
        unknown(|known| known.is_active_at_source = None, "did not list it");
        unknown(|known| known.unchanged_ms = None, "not known");
        unknown(|known| known.is_cut = true, "more topics than are looked at");
        check(&[], |_| {}, Word::Unknown, "nothing is known of its offsets");
        let endless = Stand { source_end: None, ..level.clone() };
        check(&[endless], |_| {}, Word::Unknown, "the lag is not known");
        // what is known to stand against it is the answer all the same
        let both = |known: &mut Known<'_>| {
            (known.age_ms, known.is_active_at_source) = (None, Some(true));
        };
        check(&[level], both, Word::NotYet, "stop its consumers");
    }

    #[test]
    fn members_changes_faults_and_what_is_left_out_stand_against_it() {
        let level = [stand(100, 100, 100, 100)];
        check(
            &level,
            |known| known.is_active_at_source = Some(true),
            Word::NotYet,
            "it has members at the source: stop its consumers there",
        );
        let early = "changed for 29 s, and it takes a whole interval of 30 s";
        check(&level, |known| known.unchanged_ms = Some(29_999), Word::NotYet, early);
        let fault = Fault { code: "X".into(), text: "it is refused".into() };
        let (stands, topics) = (stands(&level), ["a", "b", "c", "d", "e", "f"]);
        let refused = Known { fault: Some(&fault), ..known(&stands) };
        assert_eq!(verdict(&refused), (Word::NotYet, vec!["it is refused".to_owned()]));
        // the next turn does not either
        let behind = self::stands(&[stand(100, 90, 100, 100)]);
        let refused = Known { fault: Some(&fault), ..known(&behind) };
        assert_eq!(verdict(&refused), (Word::NotYet, vec!["it is refused".to_owned()]));
        let left = verdict(&Known { left_out: &topics, ..known(&stands) });
        assert_eq!(left.0, Word::NotYet);
        assert!(left.1[0].contains("partitions of a, b, c, d, e and 1 more that"), "{left:?}");
    }
}
