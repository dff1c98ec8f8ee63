//! Whether a topic can be copied exactly, from what is known of both sides.
//!
//! It never asks anybody: facts in, findings out.

use serde::Serialize;

use crate::audit::log::scan::Seen;
use crate::cluster::ConfigEntries;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::mirror::facts::GapFill;
use crate::mirror::facts::OldFormat;
use crate::mirror::facts::Overtook;
use crate::mirror::facts::Policy;
use crate::mirror::facts::TimeLimits;
use crate::wire::filler;

/// What a hidden filler takes at the destination, in bytes (broker facts H9).
pub const FILLER_BYTES: u64 = filler::HIDDEN_BYTES as u64;
/// What a visible one takes, in bytes.
const VISIBLE_BYTES: u64 = 42;
/// Fillers a second, a cautious reading of 6 to 15 million (broker facts H9).
const FILLERS_A_SECOND: u64 = 5_000_000;
/// The largest batch that a topic takes.
const BATCH_BYTES: &str = "max.message.bytes";
/// What becomes of a limit of a topic that is there already (`control::task::configs`).
const OPENED: &str = "isolog raises it when the topic has become a mirror, which takes \
                      AlterConfigs on it";
/// A duration in a config that is no limit.
const NO_LIMIT: i64 = i64::MAX;

/// How bad it is.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Nothing of it is copied, as it was ordered.
    NotCopied,
    /// Every offset holds a record that is copied as it is, or re-encoded.
    Exact,
    /// Exact, and some offsets are filled.
    ExactWithFillers,
    /// Something could not be asked.
    Unknown,
    /// It cannot be copied exactly as things are.
    Impossible,
}

/// Something to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// `Exact` for a mere note.
    pub level: Level,
    /// What, with numbers, and what to do.
    pub text: String,
}

impl Finding {
    /// Worth knowing, no obstacle.
    pub fn note(text: impl Into<String>) -> Finding {
        Finding { level: Level::Exact, text: text.into() }
    }

    /// Not known.
    pub fn unknown(text: impl Into<String>) -> Finding {
        Finding { level: Level::Unknown, text: text.into() }
    }

    /// An obstacle.
    pub fn impossible(text: impl Into<String>) -> Finding {
        Finding { level: Level::Impossible, text: text.into() }
    }
}

/// One partition on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionFacts {
    /// Its number.
    pub partition: PartitionId,
    /// The source's log start and readable end.
    pub source: (Offset, Offset),
    /// The source's high watermark.
    pub source_hwm: Offset,
    /// The destination's log start and end; `None` where it does not exist yet.
    pub destination: Option<(Offset, Offset)>,
    /// What was looked at of what is still to be copied.
    pub seen: Seen,
    /// The first offset at which the copy so far differs from the source, if it was looked at.
    pub differs_at: Option<i64>,
}

/// One topic on both sides.
#[derive(Clone, Debug, Default)]
pub struct TopicFacts {
    /// How many partitions the source has.
    pub source_partitions: usize,
    /// How many the destination has; `None` where the topic does not exist.
    pub destination_partitions: Option<usize>,
    /// All of the source's configs, `None` where they may not be read.
    pub source_configs: Option<ConfigEntries>,
    /// The destination's, or those with which the topic will be made.
    pub destination_configs: Option<ConfigEntries>,
    /// The partitions.
    pub partitions: Vec<PartitionFacts>,
}

/// What a link knows of both clusters that matters to every topic.
#[derive(Copy, Clone, Debug)]
pub struct Surroundings {
    /// The time, in ms since 1970.
    pub now_ms: i64,
    /// `producer.id.expiration.ms` of the destination, where it is told.
    pub producer_age_ms: Option<i64>,
    /// What the link does with gaps, and with what it cannot copy as it is.
    pub policy: Policy,
}

/// How many offsets are to be filled.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Fillers {
    /// Offsets.
    pub count: u64,
    /// Bytes at the destination.
    pub bytes: u64,
    /// How long it takes, in seconds, estimated.
    pub seconds: u64,
    /// Whether every batch was looked at; otherwise a part stands for the whole.
    pub is_counted: bool,
}

/// A topic's verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The worst.
    pub level: Level,
    /// What is filled.
    pub fillers: Fillers,
    /// Offsets still to be copied, fillers included.
    pub offsets: u64,
    /// What is to be said.
    pub findings: Vec<Finding>,
}

/// Judges one topic.
pub fn judge(facts: &TopicFacts, around: &Surroundings) -> Judged {
    let mut findings = Vec::new();
    counts(facts, &mut findings);
    let (mut fillers, mut offsets) = (Fillers { is_counted: true, ..Fillers::default() }, 0);
    for partition in &facts.partitions {
        let (count, left, is_counted) = fill(partition);
        fillers.count += count;
        fillers.is_counted &= is_counted;
        offsets += left;
        ends(partition, around.policy, &mut findings);
        long_gaps(partition, around.policy.gap_offsets_max, &mut findings);
    }
    let each = if around.policy.gap_fill == GapFill::Record { VISIBLE_BYTES } else { FILLER_BYTES };
    fillers.bytes = fillers.count.saturating_mul(each);
    fillers.seconds = fillers.count.div_ceil(FILLERS_A_SECOND);
    let seen = facts.partitions.iter().fold(Seen::default(), |all, one| all.and(one.seen));
    sizes(facts, &seen, &mut findings);
    times(facts, &seen, around, &mut findings);
    narrow_times(facts, &mut findings);
    compaction(facts, &fillers, &mut findings);
    gaps(&fillers, around.policy.gap_fill, &mut findings);
    formats(&seen, around.policy.old_format, &mut findings);
    let worst = findings.iter().map(|one| one.level).max().unwrap_or(Level::Exact);
    let filled = if fillers.count > 0 { Level::ExactWithFillers } else { Level::Exact };
    Judged { level: worst.max(filled), fillers, offsets, findings }
}

/// Offsets to fill, offsets to copy at all, and whether the first number was counted.
fn fill(facts: &PartitionFacts) -> (u64, u64, bool) {
    let (start, end) = facts.source;
    let copied = facts.destination.map_or(Offset::ZERO, |log| log.1);
    let prefix = copied.distance_to(start);
    let left = copied.max(start).distance_to(end);
    let seen = facts.seen;
    if seen.offsets >= left {
        return (prefix + seen.empty().min(left), prefix + left, true);
    }
    if seen.offsets == 0 {
        return (prefix, prefix + left, left == 0);
    }
    let share = u128::from(seen.empty()) * u128::from(left) / u128::from(seen.offsets);
    (prefix + share as u64, prefix + left, false)
}

fn counts(facts: &TopicFacts, findings: &mut Vec<Finding>) {
    let ours = facts.source_partitions;
    match facts.destination_partitions {
        Some(theirs) if theirs > ours => findings.push(Finding::note(format!(
            "the destination has {theirs} partitions, the source {ours}: what both have is \
             copied; producers that come to the destination would use all {theirs}: grow the \
             source, or begin the copy anew (docs/OPERATING.md)"
        ))),
        Some(theirs) if theirs < ours => {
            let text = format!("the destination is grown from {theirs} to {ours} partitions");
            findings.push(Finding::note(text));
        }
        _ => {}
    }
}

fn ends(facts: &PartitionFacts, policy: Policy, findings: &mut Vec<Finding>) {
    let (id, (start, end)) = (facts.partition, facts.source);
    let held = end.distance_to(facts.source_hwm);
    if held > 0 {
        let text = format!(
            "partition {id}: an open transaction at the source holds {held} offsets back from {end}"
        );
        findings.push(Finding::note(text));
    }
    let Some((_, copied)) = facts.destination.filter(|log| log.1 > Offset::ZERO) else { return };
    if copied > end {
        findings.push(Finding::impossible(format!(
            "partition {id}: the destination ends at {copied}, the source at {end}: it holds what \
             the source does not"
        )));
    } else if copied < start {
        let text = format!(
            "partition {id}: the source begins at {start}, the destination ends at {copied}: what \
             lies between is deleted at the source"
        );
        findings.push(match policy.overtook {
            Overtook::Fill => Finding::note(format!("{text}, and becomes a declared hole")),
            Overtook::Halt => Finding::impossible(text),
        });
    }
    if let Some(at) = facts.differs_at {
        findings.push(Finding::impossible(format!(
            "partition {id}: the destination holds something else at offset {at} already: \
             begin the copy anew (docs/OPERATING.md)"
        )));
    }
}

/// The machine's rule for a gap, on what was seen and on the part below the source's log start.
fn long_gaps(facts: &PartitionFacts, max: u64, findings: &mut Vec<Finding>) {
    let copied = facts.destination.map_or(Offset::ZERO, |log| log.1);
    let longest = copied.distance_to(facts.source.0).max(facts.seen.hole_max);
    if longest > max {
        findings.push(Finding::impossible(format!(
            "partition {}: {longest} offsets in a row hold no record, gap.offsets.max is {max}: \
             raise it in the link to have them filled, {} bytes at the destination",
            facts.partition,
            longest.saturating_mul(FILLER_BYTES)
        )));
    }
}

fn sizes(facts: &TopicFacts, seen: &Seen, findings: &mut Vec<Finding>) {
    let exists = facts.destination_partitions.is_some();
    for key in [BATCH_BYTES, "segment.bytes"] {
        let Some(limit) = number(&facts.destination_configs, key) else { continue };
        let limit = u64::try_from(limit).unwrap_or(0);
        if seen.batch_bytes_max > limit {
            let text = format!(
                "the source has a batch of {} bytes, {key} at the destination is {limit}",
                seen.batch_bytes_max
            );
            findings.push(match exists && key == BATCH_BYTES {
                true => Finding::note(format!("{text}: {OPENED}")),
                false => Finding::impossible(format!("{text}: raise it")),
            });
        }
    }
    let (source, destination) = (&facts.source_configs, &facts.destination_configs);
    if let (Some(ours), Some(theirs)) =
        (number(source, BATCH_BYTES), number(destination, BATCH_BYTES))
        && exists
        && theirs < ours
    {
        findings.push(Finding::note(format!(
            "{BATCH_BYTES} is {theirs} at the destination and {ours} at the source: {OPENED}"
        )));
    }
    for (key, needs) in [("compression.type", "producer"), ("message.timestamp.type", "CreateTime")]
    {
        let is = value(destination, key).filter(|is| exists && *is != needs);
        if let Some(is) = is {
            let text = format!("{key} is {is} at the destination, the copy needs {needs}");
            findings.push(Finding::impossible(text));
        }
    }
}

fn times(facts: &TopicFacts, seen: &Seen, around: &Surroundings, findings: &mut Vec<Finding>) {
    let Some((oldest, newest)) = seen.oldest_ms.zip(seen.newest_ms) else { return };
    let age = around.now_ms.saturating_sub(oldest);
    let ahead = newest.saturating_sub(around.now_ms);
    if let Some(limit) = around.producer_age_ms.filter(|limit| age > *limit) {
        findings.push(Finding::note(format!(
            "the backlog is up to {} old, the destination forgets producers after {}: until it is \
             copied raise producer.id.expiration.ms there (kafka-configs.sh --alter --entity-type \
             brokers --entity-default --add-config producer.id.expiration.ms={}), and put no proxy \
             in between",
            span(age),
            span(limit),
            age.saturating_add(86_400_000)
        )));
    }
    for (key, is, words) in time_limits(age, ahead) {
        let limit = time_limit(&facts.destination_configs, key).filter(|limit| is > *limit);
        if let Some(limit) = limit {
            findings.push(Finding::note(format!(
                "the source has records {} {words}, {key} at the destination is {limit}: {OPENED}",
                span(is)
            )));
        }
    }
    retention(facts, age, findings);
}

/// Each limit's key, what would break it, and how to say that.
fn time_limits(age: i64, ahead: i64) -> [(&'static str, i64, &'static str); 3] {
    let [before, after, difference] = TimeLimits::KEYS;
    [
        (before, age, "old"),
        (after, ahead, "ahead of the clock"),
        (difference, age.max(ahead), "away from the clock"),
    ]
}

fn time_limit(configs: &Option<ConfigEntries>, key: &str) -> Option<i64> {
    number(configs, key).filter(|limit| *limit < NO_LIMIT)
}

/// A topic that is there already may refuse what its source takes, though nothing of the kind was
/// seen: it is told before it happens.
fn narrow_times(facts: &TopicFacts, findings: &mut Vec<Finding>) {
    let by_broker = value(&facts.source_configs, "message.timestamp.type");
    if facts.destination_partitions.is_none() || by_broker == Some("LogAppendTime") {
        return;
    }
    for (key, _, words) in time_limits(0, 0) {
        let ours = time_limit(&facts.source_configs, key).unwrap_or(NO_LIMIT);
        let Some(limit) = time_limit(&facts.destination_configs, key) else { continue };
        if limit < ours {
            findings.push(Finding::note(format!(
                "{key} at the destination is {limit}, the source takes more (a record more than \
                 {} {words}): {OPENED}",
                span(limit)
            )));
        }
    }
}

/// Retention acts on the records' own times, and at once.
fn retention(facts: &TopicFacts, age: i64, findings: &mut Vec<Finding>) {
    let configs = &facts.destination_configs;
    let deletes = value(configs, "cleanup.policy").is_none_or(|policy| policy.contains("delete"));
    let limit = number(configs, "retention.ms").filter(|limit| deletes && *limit >= 0);
    let Some(limit) = limit.filter(|limit| age > *limit) else { return };
    let ours = number(&facts.source_configs, "retention.ms");
    let text = format!(
        "the source holds records {} old, retention.ms at the destination is {limit}: they would \
         be deleted as soon as they land",
        span(age)
    );
    // a source that keeps no longer itself is about to delete them as well
    findings.push(match ours == Some(limit) {
        true => Finding::note(format!("{text}, as at the source")),
        false => Finding::impossible(format!("{text}: raise it")),
    });
}

fn compaction(facts: &TopicFacts, fillers: &Fillers, findings: &mut Vec<Finding>) {
    let policy = |configs| value(configs, "cleanup.policy").unwrap_or("delete").to_owned();
    let (ours, theirs) = (policy(&facts.source_configs), policy(&facts.destination_configs));
    let is_known = facts.source_configs.is_some() && facts.destination_configs.is_some();
    if is_known && ours != theirs {
        let text =
            format!("cleanup.policy is {ours} at the source and {theirs} at the destination");
        findings.push(Finding::note(text));
    }
    let end = facts.partitions.iter().map(|one| one.source.1).max();
    if theirs.contains("compact") && fillers.count > 0 && end > Some(filler::COMPACTED_END) {
        findings.push(Finding::note(format!(
            "compacted, and with offsets from {} on: gaps there are filled by repeats of the next \
             record, which readers see until the next compaction",
            filler::COMPACTED_END
        )));
    }
}

fn gaps(fillers: &Fillers, policy: GapFill, findings: &mut Vec<Finding>) {
    match policy {
        _ if fillers.count == 0 => {}
        GapFill::Auto => {}
        GapFill::Record => findings.push(Finding::note(
            "gap.fill is record: readers see the fillers, as records with a header that names \
             isolog",
        )),
        GapFill::Halt => findings.push(Finding::impossible(
            "there are offsets without a record, and gap.fill is halt: set it to auto",
        )),
    }
}

fn formats(seen: &Seen, policy: OldFormat, findings: &mut Vec<Finding>) {
    if seen.log_append_time > 0 {
        findings.push(Finding::note(
            "LogAppendTime: batches are encoded anew, so that readers see the same times",
        ));
    }
    if seen.old_format > 0 {
        findings.push(match policy {
            OldFormat::Convert => {
                Finding::note("messages of format 0 or 1 are converted to format 2")
            }
            OldFormat::Halt => Finding::impossible(
                "there are messages of format 0 or 1, and message.format.old is halt",
            ),
        });
    }
}

/// A config's value.
fn value<'a>(configs: &'a Option<ConfigEntries>, key: &str) -> Option<&'a str> {
    configs.as_ref()?.get(key)?.value.as_deref()
}

fn number(configs: &Option<ConfigEntries>, key: &str) -> Option<i64> {
    value(configs, key)?.parse().ok()
}

/// A time span for people.
pub fn span(ms: i64) -> String {
    match ms / 1000 {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ ..7_200 => format!("{} min", seconds / 60),
        seconds @ ..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::audit::log::samples::at;
    use crate::cluster::ConfigEntry;

    const DAY_MS: i64 = 86_400_000;
    fn around() -> Surroundings {
        let (now_ms, producer_age_ms) = (1_000 * DAY_MS, Some(DAY_MS));
        Surroundings { now_ms, producer_age_ms, policy: Policy::default() }
    }

    fn configs(rows: &[(&str, &str)]) -> Option<ConfigEntries> {
        let entry = |value: &str| ConfigEntry {
            value: Some(value.to_owned()),
            is_override: true,
            is_sensitive: false,
        };
        Some(rows.iter().map(|(key, value)| (key.to_string(), entry(value))).collect())
    }

    fn partition(
        source: (i64, i64),
        destination: Option<(i64, i64)>,
        seen: Seen,
    ) -> PartitionFacts {
        PartitionFacts {
            partition: PartitionId(0),
            source: (at(source.0), at(source.1)),
            source_hwm: at(source.1),
            destination: destination.map(|log| (at(log.0), at(log.1))),
            seen,
            differs_at: None,
        }
    }

    fn topic(partition: PartitionFacts) -> TopicFacts {
        TopicFacts {
            source_partitions: 1,
            destination_partitions: partition.destination.map(|_| 1),
            source_configs: configs(&[]),
            destination_configs: configs(&[]),
            partitions: vec![partition],
        }
    }

    fn all(offsets: u64) -> Seen {
        Seen { offsets, batch_bytes_max: 500, ..Seen::default() }
    }

    #[track_caller]
    fn says(facts: &TopicFacts, level: Level, words: &[&str]) {
        let judged = judge(facts, &around());
        assert_eq!(judged.level, level, "{judged:?}");
        for word in words {
            let said = judged.findings.iter().any(|one| one.text.contains(word));
            assert!(said, "{word:?} is missing in {judged:?}");
        }
        assert_eq!(judged.findings.is_empty(), words.is_empty(), "{judged:?}");
    }

    #[test]
    fn fillers_are_counted_where_all_was_seen_and_scaled_where_a_part_was() {
        let check = |facts: PartitionFacts, count: u64, is_counted: bool| {
            let judged = judge(&topic(facts), &around());
            assert_eq!((judged.fillers.count, judged.fillers.is_counted), (count, is_counted));
            assert_eq!(judged.fillers.bytes, count * 11);
        };
        check(partition((0, 100), None, all(100)), 0, true);
        check(partition((0, 100), None, Seen { control: 7, ..all(100) }), 7, true);
        check(partition((0, 1_000), None, Seen { control: 7, ..all(100) }), 70, false);
        // a trimmed source: all from 0 on is filled
        check(partition((40, 100), None, all(60)), 40, true);
        check(partition((40, 100), Some((0, 0)), all(60)), 40, true);
        check(partition((40, 100), Some((40, 80)), Seen { holes: 3, ..all(20) }), 3, true);
        check(partition((0, 0), None, all(0)), 0, true);
        let slow =
            judge(&topic(partition((1_000_000_000, 1_000_000_000), None, all(0))), &around());
        assert_eq!((slow.fillers.seconds, slow.level), (200, Level::ExactWithFillers));
    }

    #[test]
    fn a_destination_that_holds_something_else_is_an_obstacle() {
        let of = |source, destination| topic(partition(source, Some(destination), all(100)));
        says(&of((0, 100), (0, 50)), Level::Exact, &[]);
        says(&of((0, 100), (0, 120)), Level::Impossible, &["ends at 120, the source at 100"]);
        says(&of((60, 100), (0, 50)), Level::Impossible, &["begins at 60"]);
        let mut foreign = of((0, 100), (0, 50));
        foreign.partitions[0].differs_at = Some(49);
        says(&foreign, Level::Impossible, &["something else at offset 49 already"]);
        let mut wide = of((0, 100), (0, 50));
        wide.destination_partitions = Some(3);
        says(&wide, Level::Exact, &["3 partitions, the source 1: what both have is copied"]);
        wide.source_partitions = 5;
        says(&wide, Level::Exact, &["grown from 3 to 5"]);
    }

    #[test]
    fn configs_that_break_exactness_are_named() {
        let old =
            Seen { oldest_ms: Some(990 * DAY_MS), newest_ms: Some(1_000 * DAY_MS), ..all(100) };
        let check = |rows: &[(&str, &str)], level, word: &str| {
            let mut facts = topic(partition((0, 100), Some((0, 50)), old));
            facts.destination_configs = configs(rows);
            says(&facts, level, &[word, "producer.id.expiration.ms"]);
        };
        let impossible = Level::Impossible;
        check(&[("compression.type", "zstd")], impossible, "compression.type is zstd");
        check(&[("message.timestamp.type", "LogAppendTime")], impossible, "needs CreateTime");
        check(&[("max.message.bytes", "400")], Level::Exact, "a batch of 500 bytes");
        check(&[("segment.bytes", "400")], impossible, "segment.bytes at the destination is 400");
        let days = |days: i64| (days * DAY_MS).to_string();
        check(&[("retention.ms", &days(7))], impossible, "as soon as they land: raise it");
        let open = Level::Exact;
        check(&[("message.timestamp.before.max.ms", &days(7))], open, "records 10 days old");
        check(&[("message.timestamp.difference.max.ms", &days(7))], open, "10 days away");
        check(&[("retention.ms", &days(11))], Level::Exact, "forgets producers after 24 h");
        check(&[("retention.ms", "-1")], Level::Exact, "the backlog is up to 10 days old");
        let policy = [("retention.ms", "1"), ("cleanup.policy", "compact")];
        check(&policy, Level::Exact, "cleanup.policy is delete at the source");
    }

    #[test]
    fn limits_of_times_are_told_before_a_record_breaks_them() {
        let of = |ours: &[(&str, &str)], theirs: &[(&str, &str)]| {
            let mut facts = topic(partition((0, 100), Some((0, 50)), all(50)));
            (facts.source_configs, facts.destination_configs) = (configs(ours), configs(theirs));
            facts
        };
        let after = [("message.timestamp.after.max.ms", "3600000")];
        let before = [("message.timestamp.before.max.ms", "86400000")];
        let words = ["message.timestamp.after.max.ms at the destination is 3600000", "60 min"];
        says(&of(&[], &after), Level::Exact, &words);
        says(&of(&[], &before), Level::Exact, &["message.timestamp.before.max.ms", "24 h old"]);
        says(&of(&after, &after), Level::Exact, &[]);
        says(&of(&[("message.timestamp.type", "LogAppendTime")], &after), Level::Exact, &[]);
        let mut new = of(&[], &after);
        (new.destination_partitions, new.partitions[0].destination) = (None, None);
        new.partitions[0].seen = all(100);
        says(&new, Level::Exact, &[]);
    }

    #[test]
    fn gaps_that_would_halt_are_told() {
        let far = 1i64 << 40;
        let seen = Seen { holes: far as u64, hole_max: far as u64, ..all(far as u64 + 2) };
        let words = ["1099511627776 offsets in a row", "gap.offsets.max is 10000000000"];
        says(&topic(partition((0, far + 2), None, seen)), Level::Impossible, &words);
        says(&topic(partition((far, far + 2), None, all(2))), Level::Impossible, &words);
        let old = topic(partition((9_000_000_000, 9_000_000_002), None, all(2)));
        says(&old, Level::ExactWithFillers, &[]);
    }

    #[test]
    fn a_links_policies_count() {
        let says = |facts: &TopicFacts, policy, level, word: &str| {
            let judged = judge(facts, &Surroundings { policy, ..around() });
            assert_eq!(judged.level, level, "{judged:?}");
            assert!(judged.findings.iter().any(|one| one.text.contains(word)), "{judged:?}");
        };
        let auto = Policy::default();
        let gaps = topic(partition((0, 100), None, Seen { holes: 1, old_format: 1, ..all(100) }));
        let halt = Policy { gap_fill: GapFill::Halt, ..auto };
        says(&gaps, halt, Level::Impossible, "gap.fill is halt");
        let record = Policy { gap_fill: GapFill::Record, ..auto };
        says(&gaps, record, Level::ExactWithFillers, "gap.fill is record");
        let refuse = Policy { old_format: OldFormat::Halt, ..auto };
        says(&gaps, refuse, Level::Impossible, "message.format.old is halt");
        let overtaken = topic(partition((60, 100), Some((0, 50)), all(40)));
        let fill = Policy { overtook: Overtook::Fill, ..auto };
        says(&overtaken, fill, Level::ExactWithFillers, "a declared hole");
    }

    #[test]
    fn repeats_and_other_formats_are_told() {
        let end = 1 << 32;
        let seen = Seen { holes: 1, log_append_time: 1, old_format: 1, ..all(end as u64) };
        let mut facts = topic(partition((0, end), None, seen));
        facts.source_configs = configs(&[("cleanup.policy", "compact")]);
        facts.destination_configs = facts.source_configs.clone();
        let words = ["filled by repeats", "LogAppendTime", "format 0 or 1"];
        says(&facts, Level::ExactWithFillers, &words);
        let mut held = topic(partition((0, 50), None, all(50)));
        held.partitions[0].source_hwm = at(60);
        says(&held, Level::Exact, &["holds 10 offsets back"]);
    }
}
