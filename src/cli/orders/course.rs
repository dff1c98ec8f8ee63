//! The course of a drill: the canary is made, mirrored, failed over, written to and read; and what
//! it all took.
//!
//! It never removes anything: that is done after it, whatever came of it.

use std::time::Duration;
use std::time::Instant;

use serde_json::Value;
use serde_json::json;
use tokio::time::sleep;

use super::Failure;
use super::Question;
use super::Remote;
use super::clearing::mirror;
use super::field;
use super::items;
use super::plain;
use super::text;
use crate::audit::LinkOptions;
use crate::cli::complain;
use crate::drill::DrillError;
use crate::drill::hands::Hands;
use crate::drill::hands::Writing;
use crate::drill::ledger::Ledger;
use crate::drill::ledger::Lost;

/// How often a second each partition gets some records while the canary is mirrored.
const ROUNDS_PER_SECOND: u64 = 20;
/// How often it is asked whether the mirror is level, or STOPPED.
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// The answer to an order that is not obeyed yet, and not taken back.
const UNANSWERED: u16 = 504;
const ACTIVE: &str = "ACTIVE";
const STOPPED: &str = "STOPPED";
/// From these no mirror becomes level by itself.
const RESTING: [&str; 3] = ["FAILED", "PAUSED", "LINK_PAUSED"];
/// What is tried where an order is refused.
const NEXT: &str = "isolog link list, isolog mirror list";

/// What a drill came to.
pub(super) struct Told {
    /// Records that the source acknowledged.
    pub acknowledged: u64,
    /// Those of them that are not in the copy.
    pub lost: Lost,
    /// From the order to STOPPED.
    pub stopped: Duration,
    /// To the first acknowledged write at the destination, and to that of the last partition.
    pub written: [Duration; 2],
    /// To the first such record read there.
    pub read: Duration,
    /// Records that were compared one by one.
    pub compared: u64,
    /// The first difference of each partition that has one.
    pub differences: Vec<String>,
}

/// Who plays it.
pub(super) struct Course<'a> {
    pub hands: &'a Hands,
    pub remote: &'a Remote,
    pub link: &'a LinkOptions,
    /// Records of each partition.
    pub records: u64,
    /// For so long the later half of them is written.
    pub seconds: u64,
    pub replicas: Option<i16>,
    /// For each state that is waited for.
    pub timeout: Duration,
}

fn failed(error: DrillError) -> Failure {
    Failure::Failed(plain(&error.to_string()))
}

impl Course<'_> {
    /// From the first record to the last comparison.
    pub async fn play(&self) -> Result<Told, Failure> {
        let mut writing = self.hands.make(self.replicas).await.map_err(failed)?;
        writing.write(self.records / 2).await.map_err(failed)?;
        complain("the canary is at the source; it is made a mirror topic");
        self.create().await?;
        self.level(&writing.ledger).await?;
        let id = self.hands.mirror().await.map_err(failed)?;
        complain("the mirror is ACTIVE and level; it is failed over while it is written to");
        self.write_on(&mut writing).await?;
        let ordered = Instant::now();
        self.fail_over().await?;
        let seals = self.seals().await?;
        let stopped = ordered.elapsed();
        let ledger = writing.end();
        let (own, acknowledged) = self.hands.write_mirror(id).await.map_err(failed)?;
        let first = seals.first().copied().unwrap_or(0);
        let one = self.hands.read_mirror((id, 0), first, 1).await.map_err(failed)?;
        let read = ordered.elapsed();
        if one.first().map(|(_, record)| record) != own.first() {
            let text = "what was written at the destination is not what is read there";
            return Err(Failure::Failed(text.to_owned()));
        }
        let mut told = Told {
            acknowledged: ledger.records(),
            lost: ledger.lost(&seals, ordered),
            stopped,
            written: acknowledged.map(|at| at.saturating_duration_since(ordered)),
            read,
            compared: 0,
            differences: Vec::new(),
        };
        for ((partition, seal), own) in (0..).zip(seals).zip(&own) {
            let max = seal + 1;
            let all = self.hands.read_mirror((id, partition), 0, max).await.map_err(failed)?;
            told.compared += all.len() as u64;
            let difference = ledger.difference(partition, seal, own, &all);
            let mirror = &self.hands.canary.mirror;
            told.differences.extend(difference.map(|why| format!("{mirror}-{partition}: {why}")));
        }
        Ok(told)
    }

    /// The rest of the records, a few at a time, as an application would.
    async fn write_on(&self, writing: &mut Writing) -> Result<(), Failure> {
        let left = self.records - writing.ledger.end(0);
        let rounds = left.min(self.seconds.saturating_mul(ROUNDS_PER_SECOND)).max(1);
        let pause = Duration::from_millis(self.seconds.saturating_mul(1_000) / rounds);
        while writing.ledger.end(0) < self.records {
            let left = self.records - writing.ledger.end(0);
            writing.write(left.min(self.records.div_ceil(2 * rounds))).await.map_err(failed)?;
            sleep(pause).await;
        }
        Ok(())
    }

    /// Orders the mirror; one that the link's own filters have taken already is as good.
    async fn create(&self) -> Result<(), Failure> {
        let (canary, link) = (&self.hands.canary, self.link.name.to_string());
        let mut body = json!({
            "source_topic_name": canary.source.as_str(),
            "mirror_topic_name": canary.mirror.as_str(),
            "configs": [],
        });
        if let Some(replicas) = self.replicas {
            body["replication_factor"] = json!(replicas);
        }
        let path = &["links", &link, "mirrors"];
        let question =
            Question { method: "POST", path, query: vec![], body: Some(body), next: NEXT };
        let answer = self.remote.put(&question).await?;
        if answer.status.is_success() || mirror(self.remote, self.link, self.hands).await?.is_some()
        {
            return Ok(());
        }
        self.remote.read(&answer, NEXT).map(drop)
    }

    /// Waits until the mirror is ACTIVE and holds all that was written.
    async fn level(&self, ledger: &Ledger) -> Result<(), Failure> {
        let until = Instant::now() + self.timeout;
        loop {
            let shown = self.shown().await?;
            let status = text(&shown, "mirror_status");
            if RESTING.contains(&status.as_str()) {
                return Err(Failure::Failed(told("is not copied", &shown)));
            }
            if status == ACTIVE && self.hands.is_level(ledger).await.map_err(failed)? {
                return Ok(());
            }
            self.rest(until, "is not ACTIVE and level", &shown).await?;
        }
    }

    async fn fail_over(&self) -> Result<(), Failure> {
        let (name, link) = (self.hands.canary.mirror.as_str(), self.link.name.to_string());
        let path = &["links", &link, "mirrors:failover"];
        let body = Some(json!({"mirror_topic_names": [name]}));
        let question = Question { method: "POST", path, query: vec![], body, next: NEXT };
        let answer = self.remote.put(&question).await?;
        if answer.status.as_u16() == UNANSWERED {
            return Ok(());
        }
        let answer = self.remote.read(&answer, NEXT)?;
        match items(&answer).iter().find(|one| !field(one, "error_code").is_null()) {
            Some(refused) => Err(Failure::Failed(plain(&text(refused, "error_message")))),
            None => Ok(()),
        }
    }

    /// Waits until it is STOPPED: the first offset of each partition that was not mirrored.
    async fn seals(&self) -> Result<Vec<u64>, Failure> {
        let until = Instant::now() + self.timeout;
        loop {
            let shown = self.shown().await?;
            if text(&shown, "mirror_status") == STOPPED {
                return sealed(&shown, self.hands.canary.partitions).ok_or_else(|| {
                    Failure::Failed(
                        "isolog does not say where each partition was sealed".to_owned(),
                    )
                });
            }
            self.rest(until, "is not STOPPED", &shown).await?;
        }
    }

    async fn shown(&self) -> Result<Value, Failure> {
        let shown = mirror(self.remote, self.link, self.hands).await?;
        shown.ok_or_else(|| Failure::Failed("the canary is no mirror topic any more".to_owned()))
    }

    async fn rest(&self, until: Instant, what: &str, shown: &Value) -> Result<(), Failure> {
        if Instant::now() >= until {
            let seconds = self.timeout.as_secs();
            let text = told(&format!("{what} within {seconds} s"), shown);
            return Err(Failure::NotYet(text));
        }
        sleep(LOOK_PAUSE).await;
        Ok(())
    }
}

/// What the service says of the canary.
fn told(what: &str, shown: &Value) -> String {
    let (name, status) = (text(shown, "mirror_topic_name"), text(shown, "mirror_status"));
    let mut all = format!("mirror topic {name} {what}: it is {status}");
    let why = text(shown, "mirror_topic_error_message");
    let waits = field(shown, "mirror_state_transition_errors");
    let waits = waits.as_array().into_iter().flatten().map(|one| text(one, "error_message"));
    for why in std::iter::once(why).chain(waits).filter(|why| !why.is_empty()) {
        all.push_str(&format!("\n  {}", plain(&why)));
    }
    all
}

/// `last_source_fetch_offset` of each partition, in order; `None` where one of them is not known.
fn sealed(shown: &Value, partitions: u16) -> Option<Vec<u64>> {
    let lags = field(shown, "mirror_lags");
    let of = |partition: u16| {
        let own =
            lags.as_array()?.iter().find(|one| field(one, "partition") == json!(partition))?;
        field(own, "last_source_fetch_offset").as_u64()
    };
    (0..partitions).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_it_was_sealed_is_known_of_all_partitions_or_not_at_all() {
        let lag = |partition: u16, at: i64| {
            let (number, at) = (json!(partition), json!(at));
            json!({"partition": number, "lag": 0, "last_source_fetch_offset": at})
        };
        let shown = json!({"mirror_lags": [lag(1, 7), lag(0, 5)]});
        assert_eq!(sealed(&shown, 2), Some(vec![5, 7]));
        assert_eq!(sealed(&shown, 3), None);
        assert_eq!(sealed(&json!({"mirror_lags": [lag(0, -1)]}), 1), None);
    }

    #[test]
    fn what_is_waited_for_is_told() {
        let shown = json!({
            "mirror_topic_name": "isolog-drill-1", "mirror_status": "PENDING_STOPPED",
            "mirror_topic_error_message": null,
            "mirror_state_transition_errors": [{"error_message": "partition 0 has no leader"}],
        });
        let text = told("is not STOPPED within 5 s", &shown);
        assert!(text.starts_with("mirror topic isolog-drill-1 is not STOPPED within 5 s: it is P"));
        assert!(text.ends_with("\n  partition 0 has no leader"), "{text}");
    }
}
