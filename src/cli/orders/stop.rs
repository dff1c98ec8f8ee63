//! `isolog mirror promote` and `isolog mirror failover`: ordered, and waited for where that is
//! asked.
//!
//! It never decides when a topic is through: the service says STOPPED. So the same order may be
//! given again: what is STOPPED already is what was asked for.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio::time::timeout_at;

use super::Failure;
use super::Format;
use super::Output;
use super::Question;
use super::Remote;
use super::Service;
use super::all_obeyed;
use super::field;
use super::flag;
use super::items;
use super::mirror::altered;
use super::mirror::link_of;
use super::mirror::mirrors;
use super::output::Column;
use super::output::PARTITIONS;
use super::output::Rows;
use super::output::checks;
use super::output::partition_row;
use super::plain;
use super::text;
use crate::cli::complain;
use crate::cli::live::Away;
use crate::cli::live::Live;
use crate::cli::say;
use crate::service::rest::whole_names;

/// How often the service is asked whether all topics are through.
const LOOK_PAUSE: Duration = Duration::from_millis(500);
/// How often it is asked what they wait for.
const REASONS_PAUSE: Duration = Duration::from_secs(2);
/// For how long a promote whose time is over may take to be mirrored on.
const GIVE_BACK_WAIT: Duration = Duration::from_secs(5);
/// How many topics that are waited for are named.
const NAMED_MAX: usize = 10;
/// The answer to an order that was not obeyed in time, and is not taken back.
const UNANSWERED: u16 = 504;
const STOPPED: &str = "STOPPED";
const PENDING: &str = "PENDING_STOPPED";
/// Every name.
const ALL: &str = ".*";
const FAILOVER: &str = ":failover";
const LIST: &str = "isolog mirror list";
/// So many topics are shown at most; the others are counted.
const ROWS_MAX: usize = 20;
/// The most letters of what a topic waits for.
const REASON_LETTERS_MAX: usize = 60;
const WAITING: &[Column] = &[
    ("Mirror Topic Name", "mirror_topic_name"),
    ("Mirror Status", "mirror_status"),
    ("Behind", "behind"),
    ("Held Records", "held_records"),
    ("Waits For", "waits_for"),
];

#[derive(clap::Args)]
pub(super) struct Stop {
    /// The mirror topics
    #[arg(value_name = "TOPIC", required_unless_present_any = ["pattern", "all"])]
    names: Vec<String>,
    /// All mirror topics of the link whose whole names fit this regular expression
    #[arg(long, value_name = "REGEX", requires = "link", conflicts_with_all = ["names", "all"])]
    pattern: Option<String>,
    /// All mirror topics of the link
    #[arg(long, requires = "link", conflicts_with = "names")]
    all: bool,
    /// Their link; found where only one has such a mirror topic
    #[arg(long, value_name = "LINK")]
    link: Option<String>,
    /// Say only what would come of it, and how far each partition is behind
    #[arg(long)]
    dry_run: bool,
    /// Wait until all of them are STOPPED; those that are already are through
    #[arg(long, conflicts_with = "dry_run")]
    wait: bool,
    /// Wait so long at most, exit code 6: a promote that is not level mirrors on, a failover is
    /// not taken back
    #[arg(long, value_name = "SECONDS", value_parser = seconds())]
    timeout: Option<u64>,
    #[command(flatten)]
    service: Service,
    #[command(flatten)]
    output: Output,
}

/// A second to thirty days.
pub(super) fn seconds() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=2_592_000)
}

impl Stop {
    pub async fn run(&self, verb: &str, abandons_open: bool) -> Result<(), Failure> {
        let until = self.timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        let remote = self.service.reached()?;
        let before = bounded(until, self.before(&remote)).await;
        let (link, known) = before.unwrap_or_else(|| Err(self.silent(None)))?;
        let chosen = self.chosen(&link, &known)?;
        let is_stopped = |name: &&String| status_of(&known, name).as_deref() == Some(STOPPED);
        let (through, at_stake): (Vec<&String>, Vec<&String>) = chosen.iter().partition(is_stopped);
        let is_again = at_stake.is_empty() && !through.is_empty();
        if self.wait && is_again {
            return self.show(&known, &chosen);
        }
        let next = format!("isolog mirror list --link {link}");
        let named = if self.wait { at_stake.clone() } else { chosen.iter().collect() };
        let question = Question {
            method: "POST",
            path: &["links", &link, verb],
            query: self.query(verb, abandons_open),
            body: Some(self.body(&named)),
            next: &next,
        };
        let answer = bounded(until, remote.put(&question)).await;
        let answer = answer.unwrap_or_else(|| Err(self.silent(Some(&next))))?;
        let on =
            Order { remote: &remote, link: &link, until, is_promote: !verb.ends_with(FAILOVER) };
        if self.wait && answer.status.as_u16() == UNANSWERED {
            complain(&told(&answer.body));
            let is_known = |name: &&String| status_of(&known, name).is_some();
            let (ordered, others): (Vec<&String>, Vec<&String>) =
                at_stake.into_iter().partition(is_known);
            let ordered = ordered.into_iter().map(|name| (name.clone(), Watched::default()));
            self.wait(&on, ordered.collect(), &chosen).await?;
            return all_obeyed(others.len(), &next);
        }
        let answer = remote.read(&answer, &next)?;
        if items(&answer).is_empty() {
            let text = self.nothing(&link, is_again);
            return Err(Failure::Failed(format!("{text}\nNext: {next}")));
        }
        self.obeyed(&on, &answer, &chosen).await
    }

    /// Shows what was answered, or waits for those that are stopping.
    async fn obeyed(
        &self,
        on: &Order<'_>,
        answer: &Value,
        chosen: &[String],
    ) -> Result<(), Failure> {
        let next = format!("isolog mirror list --link {}", on.link);
        let is_checked = self.dry_run && self.output.format != Format::Human;
        let (rows, refused) = altered(answer, is_checked);
        let is_taken = |topic: &Value| field(topic, "error_code").is_null();
        let (taken, mut others): (Vec<Value>, Vec<Value>) =
            items(answer).into_iter().partition(is_taken);
        if !self.wait || refused > 0 {
            say(&rows.draw(self.output.format))?;
        }
        if self.dry_run && self.output.format == Format::Human {
            say(&checks(answer))?;
        }
        if self.wait && !taken.is_empty() {
            let ordered = taken.iter().map(|one| (text(one, "mirror_topic_name"), Watched::TAKEN));
            let seen = self.wait(on, ordered.collect(), chosen).await?;
            // it was stopped between the look and the order
            others.retain(|one| {
                let status = status_of(&seen, &text(one, "mirror_topic_name"));
                status.as_deref() != Some(STOPPED)
            });
        }
        if !self.wait && self.output.format == Format::Human && !self.dry_run && refused == 0 {
            say(&format!(
                "They are writable for others when they are STOPPED.\n\
                 Next: {next}, or the same order with --wait\n"
            ))?;
        }
        all_obeyed(others.len(), &next)
    }

    /// The link, and its mirror topics as they are before the order.
    async fn before(&self, remote: &Remote) -> Result<(String, Vec<Value>), Failure> {
        let first = self.names.first().map_or("", String::as_str);
        let link = link_of(remote, self.link.as_deref(), first).await?;
        let known = mirrors(remote, Some(&link), None).await?;
        Ok((link, known))
    }

    /// The topics that are meant, those among them that are STOPPED already.
    fn chosen(&self, link: &str, known: &[Value]) -> Result<Vec<String>, Failure> {
        let Some(pattern) = self.pattern.as_deref().or(self.all.then_some(ALL)) else {
            let mut names: Vec<String> = Vec::new();
            for name in &self.names {
                if !names.contains(name) {
                    names.push(name.clone());
                }
            }
            return Ok(names);
        };
        let fits = whole_names(pattern).map_err(|problem| Failure::Failed(problem.text))?;
        let names = known.iter().map(|mirror| text(mirror, "mirror_topic_name"));
        let names: Vec<String> = names.filter(|name| fits.is_match(name)).collect();
        match names.is_empty() {
            true => Err(Failure::Failed(format!("{}\nNext: {LIST}", self.nothing(link, false)))),
            false => Ok(names),
        }
    }

    fn query(&self, verb: &str, abandons_open: bool) -> Vec<(&'static str, String)> {
        let mut query = flag("validate_only", self.dry_run);
        query.extend(flag("abandon_open_transactions", abandons_open));
        if let Some(seconds) = self.timeout.filter(|_| !verb.ends_with(FAILOVER)) {
            query.push(("timeout_ms", (seconds * 1_000).to_string()));
        }
        query
    }

    fn body(&self, names: &[&String]) -> Value {
        match (&self.pattern, self.all) {
            (Some(pattern), _) => json!({"mirror_topic_name_pattern": pattern}),
            (None, true) => json!({"mirror_topic_name_pattern": ALL}),
            (None, false) => json!({"mirror_topic_names": names}),
        }
    }

    /// A name that is mistyped must not look like a topic that was moved.
    fn nothing(&self, link: &str, is_again: bool) -> String {
        match &self.pattern {
            _ if is_again => {
                format!("All that is meant of link '{link}' is STOPPED already: nothing was done")
            }
            Some(pattern) => format!(
                "No mirror topic of link '{link}' has a name that {pattern:?} matches as a whole: \
                 nothing was done"
            ),
            None => format!("Link '{link}' has no mirror topic: nothing was done"),
        }
    }

    /// isolog did not answer in time, before the order or to it.
    fn silent(&self, next: Option<&str>) -> Failure {
        let seconds = self.timeout.unwrap_or_default();
        Failure::NotYet(match next {
            None => format!("isolog did not answer within {seconds} s: nothing was ordered"),
            Some(next) => format!(
                "The order was not answered within {seconds} s. It may have been taken, and is \
                 not taken back: look whether it was done\nNext: {next}, or the same order again"
            ),
        })
    }

    /// Asks until all of them are STOPPED, then shows where each of `chosen` ended.
    async fn wait(
        &self,
        on: &Order<'_>,
        mut ordered: BTreeMap<String, Watched>,
        chosen: &[String],
    ) -> Result<Vec<Value>, Failure> {
        let (mut reasons_at, live) =
            (Instant::now(), Live::new(self.output.format == Format::Human)?);
        let (mut known, mut away) = (Vec::new(), Away::default());
        loop {
            let Some(seen) = bounded(on.last(), mirrors(on.remote, Some(on.link), None)).await
            else {
                live.end()?;
                return Err(not_yet(on.link, &known, &ordered));
            };
            let is_there =
                |seen: &Vec<Value>| ordered.keys().all(|name| status_of(seen, name).is_some());
            let Some(seen) = away.passes(seen, is_there)? else {
                sleep(LOOK_PAUSE).await;
                continue;
            };
            known.clone_from(&seen);
            ordered.retain(|name, _| status_of(&seen, name).as_deref() != Some(STOPPED));
            if ordered.is_empty() {
                live.end()?;
                self.show(&seen, chosen)?;
                return Ok(seen);
            }
            let mut is_given_back = false;
            for (name, watched) in &mut ordered {
                let is_pending = status_of(&seen, name).as_deref() == Some(PENDING);
                is_given_back |= watched.is_taken && !is_pending;
                watched.is_taken |= is_pending;
            }
            if is_given_back || on.is_over(&ordered) {
                live.end()?;
                self.show(&seen, chosen)?;
                return Err(not_yet(on.link, &seen, &ordered));
            }
            if Instant::now() >= reasons_at {
                on.note_reasons(&mut ordered).await;
                reasons_at = Instant::now() + REASONS_PAUSE;
            }
            live.show(&waiting(&seen, &ordered))?;
            sleep(LOOK_PAUSE).await;
        }
    }

    fn show(&self, seen: &[Value], chosen: &[String]) -> Result<(), Failure> {
        let mut rows = Rows::new(PARTITIONS);
        for mirror in seen.iter().filter(|one| chosen.contains(&text(one, "mirror_topic_name"))) {
            for lag in field(mirror, "mirror_lags").as_array().into_iter().flatten() {
                rows.push(partition_row(mirror, lag));
            }
        }
        say(&rows.draw(self.output.format))?;
        if let Some(text) = groups_left(seen, chosen) {
            complain(&text);
        }
        Ok(())
    }
}

/// Of topics that are STOPPED: whose groups were not all synced, and what to do; the order was
/// obeyed all the same.
fn groups_left(seen: &[Value], chosen: &[String]) -> Option<String> {
    let is_left = |mirror: &&Value| {
        let groups = field(mirror, "consumer_groups");
        let is_known = groups.is_object() && text(mirror, "mirror_status") == STOPPED;
        is_known && groups.get("not_synced").and_then(Value::as_u64) != Some(0)
    };
    let own = seen.iter().filter(|one| chosen.contains(&text(one, "mirror_topic_name")));
    let left: Vec<&Value> = own.filter(is_left).collect();
    let lines = left.iter().take(NAMED_MAX).map(|mirror| {
        let (topic, why) =
            (text(mirror, "mirror_topic_name"), text(mirror, "mirror_topic_error_message"));
        format!("{}: {}", plain(&topic), plain(&why))
    });
    let mut lines: Vec<String> = lines.collect();
    let more = left.len().saturating_sub(NAMED_MAX);
    lines.extend((more > 0).then(|| format!("and {more} more topics: isolog mirror describe")));
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// An order that was given.
struct Order<'a> {
    remote: &'a Remote,
    link: &'a str,
    until: Option<Instant>,
    is_promote: bool,
}

/// What is known of a topic that is waited for.
#[derive(Default)]
struct Watched {
    /// The order's row is there: who is neither stopping nor STOPPED was given back.
    is_taken: bool,
    /// What it waited for when it was asked last.
    reasons: Vec<String>,
}

impl Watched {
    const TAKEN: Watched = Watched { is_taken: true, reasons: Vec::new() };
}

impl Order<'_> {
    /// Until when answers are waited for: a promote is given back at its time, or seals.
    fn last(&self) -> Option<Instant> {
        let more = if self.is_promote { GIVE_BACK_WAIT } else { Duration::ZERO };
        self.until.map(|until| until + more)
    }

    fn is_over(&self, ordered: &BTreeMap<String, Watched>) -> bool {
        let is_taken = ordered.values().all(|one| one.is_taken);
        let last = if is_taken { self.last() } else { self.until };
        last.is_some_and(|last| Instant::now() >= last)
    }

    /// Asked while they wait: who was given back waits for nothing any more.
    async fn note_reasons(&self, ordered: &mut BTreeMap<String, Watched>) {
        for (name, watched) in ordered.iter_mut().take(NAMED_MAX) {
            let question = Question {
                method: "GET",
                path: &["links", self.link, "mirrors", name],
                query: flag("include_state_transition_errors", true),
                body: None,
                next: LIST,
            };
            let Some(Ok(mirror)) = bounded(self.last(), self.remote.ask(question)).await else {
                return;
            };
            if text(&mirror, "mirror_status") == PENDING {
                let errors = field(&mirror, "mirror_state_transition_errors");
                let errors = errors.as_array().into_iter().flatten();
                watched.reasons = errors.map(|error| text(error, "error_message")).collect();
            }
        }
    }
}

/// What comes of it in time; `None` where nothing does.
async fn bounded<T>(until: Option<Instant>, work: impl Future<Output = T>) -> Option<T> {
    match until {
        Some(until) => timeout_at(until, work).await.ok(),
        None => Some(work.await),
    }
}

fn status_of(seen: &[Value], name: &str) -> Option<String> {
    let own = seen.iter().find(|one| text(one, "mirror_topic_name") == name);
    own.map(|one| text(one, "mirror_status"))
}

/// The text of a refusal.
fn told(body: &[u8]) -> String {
    let told: Option<Value> = serde_json::from_slice(body).ok();
    plain(&told.map(|told| text(&told, "message")).unwrap_or_default())
}

/// How those are that are waited for.
fn waiting(seen: &[Value], waited: &BTreeMap<String, Watched>) -> String {
    let mut rows = Rows::new(WAITING);
    for (name, watched) in waited.iter().take(ROWS_MAX) {
        let own = seen.iter().find(|one| text(one, "mirror_topic_name") == *name);
        let own = own.cloned().unwrap_or_default();
        let reason: String = watched.reasons.join("; ").chars().take(REASON_LETTERS_MAX).collect();
        let (behind, held) = (sum(&own, "lag"), sum(&own, "held_records"));
        rows.push(vec![json!(name), field(&own, "mirror_status"), behind, held, json!(reason)]);
    }
    let more = match waited.len().saturating_sub(ROWS_MAX) {
        0 => String::new(),
        more => format!(", {more} of them not shown"),
    };
    format!("{}{} are waited for{more}\n", rows.draw(Format::Human), waited.len())
}

/// Of all partitions; null where one of them is not known.
fn sum(mirror: &Value, name: &str) -> Value {
    let lags = field(mirror, "mirror_lags");
    let all = lags.as_array().into_iter().flatten().map(|lag| field(lag, name).as_u64());
    json!(all.sum::<Option<u64>>())
}

/// What the topics wait for that are not through.
fn not_yet(link: &str, seen: &[Value], ordered: &BTreeMap<String, Watched>) -> Failure {
    let mut told = format!("{} of them are not STOPPED yet\n", ordered.len());
    for (name, watched) in ordered.iter().take(NAMED_MAX) {
        let own = seen.iter().find(|one| text(one, "mirror_topic_name") == *name);
        let status = match own {
            Some(own) => text(own, "mirror_status"),
            None if seen.is_empty() => "its state is not known".to_owned(),
            None => "it is no mirror topic any more".to_owned(),
        };
        told.push_str(&format!("{name}: {status}\n"));
        let why = own.map(|one| text(one, "mirror_topic_error_message")).unwrap_or_default();
        for reason in watched.reasons.iter().map(|one| format!("waited for: {one}")).chain([why]) {
            if !reason.is_empty() {
                told.push_str(&format!("  {}\n", plain(&reason)));
            }
        }
    }
    told.push_str(&format!("Next: isolog mirror describe TOPIC --link {link}"));
    Failure::NotYet(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_that_were_left_behind_are_told_beside() {
        let mirror = |name: &str, status: &str, left: Value| {
            json!({
                "mirror_topic_name": name, "mirror_status": status,
                "mirror_topic_error_message": "consumer groups were not all synced: g1, g2",
                "consumer_groups": {"not_synced": left},
            })
        };
        let told = |mirror: Value| groups_left(&[mirror], &["orders".to_owned()]);
        let want = Some("orders: consumer groups were not all synced: g1, g2".to_owned());
        assert_eq!(told(mirror("orders", STOPPED, json!(2))), want);
        assert_eq!(told(mirror("orders", STOPPED, Value::Null)), want);
        assert_eq!(told(mirror("orders", STOPPED, json!(0))), None);
        assert_eq!(told(mirror("other", STOPPED, json!(2))), None);
        assert_eq!(told(mirror("orders", PENDING, json!(2))), None);
        assert_eq!(told(json!({"mirror_topic_name": "orders", "mirror_status": STOPPED})), None);
    }

    #[test]
    fn of_many_topics_only_what_is_not_well_is_listed() {
        let answer = |topics: usize| {
            let checks = |n: usize| {
                json!([
                    {"check": "lag is 0", "ok": true, "text": format!("{n} s ago"), "cure": ""},
                    {"check": "rights", "ok": false, "text": format!("{n} miss"), "cure": "grant"},
                    {"check": "quotas", "ok": false, "text": "they differ", "cure": "set them"},
                ])
            };
            let one = |n: usize| json!({"mirror_topic_name": format!("t{n}"), "checks": checks(n)});
            json!({"data": (0..topics).map(one).collect::<Vec<_>>()})
        };
        let few = checks(&answer(2));
        assert!(few.contains("yes") && few.contains("1 miss") && few.contains("grant"), "{few}");
        assert_eq!(few.lines().filter(|line| line.starts_with(" all 2")).count(), 1, "{few}");
        let many = checks(&answer(NAMED_MAX + 1));
        assert!(!many.contains("yes") && many.ends_with("11 others are well.\n"), "{many}");
        assert_eq!(many.matches("NO").count(), NAMED_MAX + 2, "{many}");
        assert_eq!(many.matches("they differ").count(), 1, "{many}");
    }

    #[test]
    fn what_is_waited_for_is_shown_with_how_far_it_is() {
        let lag = |lag: i64| json!({"partition": 0, "lag": lag, "held_records": 1});
        let mirror = |name: &str, lags: Vec<Value>| {
            json!({"mirror_topic_name": name, "mirror_status": "PENDING_STOPPED",
                   "mirror_lags": lags})
        };
        let seen = [mirror("a", vec![lag(2), lag(3)]), mirror("b", vec![lag(2), lag(-1)])];
        let names = (0..ROWS_MAX).map(|n| format!("z{n:02}")).chain(["a".into(), "b".into()]);
        let mut waited: BTreeMap<String, Watched> =
            names.map(|name| (name, Watched::default())).collect();
        waited.insert("a".into(), Watched { reasons: vec!["y".repeat(99)], is_taken: true });
        let text = waiting(&seen, &waited);
        let line = |name: &str| text.lines().find(|line| line.trim().starts_with(name)).unwrap();
        let words: Vec<&str> = line("a").split_whitespace().collect();
        assert_eq!(words[1..4], ["PENDING_STOPPED", "5", "2"]);
        assert_eq!(words[4], "y".repeat(REASON_LETTERS_MAX));
        let words: Vec<&str> = line("b").split_whitespace().collect();
        assert_eq!(words[1..], ["PENDING_STOPPED", "2"], "a lag that is not known is no number");
        assert!(text.ends_with("22 are waited for, 2 of them not shown\n"), "{text}");
    }
}
