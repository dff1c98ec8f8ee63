//! The source's half of a lane: its inlets, what they ask for, and what an answer brings.
//!
//! It never appends, and never needs the second inlet: what is lost with that one is asked for by
//! the first.

use std::future::pending;
use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::Use;
use crate::cluster::conn::Answer;
use crate::cluster::error::ClusterError;
use crate::cluster::line::Line;
use crate::cluster::line::Turned;
use crate::flow::lane::Lane;
use crate::flow::lane::fetcher::Bounds;
use crate::flow::lane::fetcher::FRAME_BYTES_MAX;
use crate::flow::lane::fetcher::Fetcher;
use crate::flow::lane::memory;
use crate::flow::lane::memory::STROKES;
use crate::flow::lane::stride::Stride;
use crate::flow::shared::Shared;
use crate::flow::topic_ids;
use crate::ids::Side;
use crate::ids::TimestampMs;
use crate::mirror::facts::Fault;
use crate::mirror::facts::Fetched;
use crate::wire::error::WireError;
use crate::wire::fetch::FetchAnswer;
use crate::wire::fetch::FetchedPartition;
use crate::wire::fetch::Isolation;
use crate::wire::split::split;
use crate::wire::topic::TopicRef;
use crate::wire::versions::ApiKey;

/// How long a lane does without a second inlet that could not be opened, or was lost.
const SECOND_PAUSE: Duration = Duration::from_secs(60);

/// One connection to the source, and what it is used for.
pub(super) struct Inlet {
    pub line: Line,
    pub fetcher: Fetcher,
    /// How much those that are behind are asked for.
    stride: Stride,
    /// When the fetch under way was sent, by both clocks.
    pub sent: TimestampMs,
    sent_at: Instant,
    /// What that asked for, if it asked for any that is behind.
    asked: Option<usize>,
    /// No fetch before: the broker throttles us, or a fetch was refused.
    pub at: Instant,
}

impl Inlet {
    pub fn new(number: usize, line: Line, shared: &Shared) -> Inlet {
        let bounds = Bounds {
            bytes_min: shared.options.fetch_bytes_min,
            wait_max: shared.options.fetch_wait_max,
            isolation: shared.isolation(),
        };
        let now = Instant::now();
        Inlet {
            line,
            fetcher: Fetcher::new(number, bounds),
            stride: Stride::new(0),
            sent: shared.wall.now(),
            sent_at: now,
            asked: None,
            at: now,
        }
    }

    /// An answer of so many bytes has come.
    fn note(&mut self, bytes: usize) {
        if let Some(asked) = self.asked.take() {
            self.stride.note(bytes, asked, self.sent_at.elapsed());
        }
    }
}

/// What a connection of an inlet is for.
pub(super) fn purpose(shared: &Shared) -> Use {
    let grant_bytes = memory::grant_bytes(&shared.options, shared.lanes.get());
    let kept_bytes_max = memory::buffer_bytes(grant_bytes.min(memory::LEVEL_BYTES_MAX));
    Use::Fetch { frame_bytes_max: FRAME_BYTES_MAX, kept_bytes_max, slabs: STROKES }
}

/// The next thing that happens to an inlet; nothing to one that is not there. Cancel-safe.
pub(super) async fn turn(inlet: &mut Option<Inlet>) -> Result<Turned, ClusterError> {
    match inlet {
        Some(inlet) => inlet.line.turn().await,
        None => pending().await,
    }
}

impl Lane {
    pub(super) fn send_fetches(&mut self) -> Result<(), ClusterError> {
        let counts = self.members.counts();
        let grant = memory::grant_bytes(&self.shared.options, self.shared.lanes.get());
        let is_of_use = counts.want_second() && grant >= memory::SECOND_BYTES_MIN;
        let is_due = is_of_use && !self.stopping && self.second_at <= Instant::now();
        if is_due && self.inlets[0].is_some() && self.inlets[1].is_none() {
            let purpose = purpose(&self.shared);
            let line = Line::opening(&self.shared.source, self.key.source, purpose);
            self.inlets[1] = Some(Inlet::new(1, line, &self.shared));
        }
        self.send_fetch(0)?;
        if let Err(error) = self.send_fetch(1) {
            self.lose_second(&error);
        }
        Ok(())
    }

    fn send_fetch(&mut self, at: usize) -> Result<(), ClusterError> {
        let Some(inlet) = self.inlets[at].as_mut().filter(|_| !self.stopping) else {
            return Ok(());
        };
        inlet.at = self.shared.pace.free_at(inlet.at);
        if inlet.fetcher.under_way || inlet.at > Instant::now() {
            return Ok(());
        }
        let away = inlet.line.round_trip();
        let Some(source) = inlet.line.conn() else { return Ok(()) };
        let counts = self.members.counts();
        let grant = memory::grant_bytes(&self.shared.options, self.shared.lanes.get());
        let mut bytes_max = memory::inlet_bytes(grant, &counts)[at];
        source.set_kept_bytes_max(memory::buffer_bytes(bytes_max));
        if source.free_slabs() == 0 {
            return Ok(());
        }
        let behind = counts.by_inlet[at];
        if behind > 0 {
            let each = usize::try_from(self.shared.options.partition_bytes_max).unwrap_or(0);
            let usual = each.saturating_mul(behind).min(memory::LEVEL_BYTES_MAX);
            away.into_iter().for_each(|away| inlet.stride.see_way(away));
            bytes_max = inlet.stride.ask(usual, bytes_max);
            self.members.set_each_bytes(at, coarse(bytes_max / behind));
        }
        let bytes_max = self.shared.pace.ask_bytes(bytes_max);
        let version = source.version(ApiKey::Fetch)?;
        let ask = inlet.fetcher.poll(&mut self.members, version, bytes_max);
        let body = ask.map_err(|e| ClusterError::own(source.peer(), "Fetch", &e))?;
        let Some(body) = body else { return Ok(()) };
        self.members.set_under_way(at, true);
        let timeout = self.shared.source.options().request_timeout;
        let deadline = Instant::now() + self.shared.options.fetch_wait_max + timeout;
        (inlet.sent, inlet.sent_at) = (self.shared.wall.now(), Instant::now());
        inlet.asked = (behind > 0).then_some(bytes_max);
        source.send(ApiKey::Fetch, version, [body], deadline).map(|_| ())
    }

    /// Something has happened to an inlet; that the first one is lost, the lane sees to itself.
    pub(super) async fn handle_turned(&mut self, at: usize, turned: Result<Turned, ClusterError>) {
        match turned {
            Ok(Turned::Answer(answer)) => self.handle_fetched(at, answer).await,
            Ok(Turned::Reopened(_)) => {
                if let Some(inlet) = &mut self.inlets[at] {
                    inlet.fetcher.restart();
                }
                if at > 0 {
                    self.members.set_second_open(true);
                }
            }
            Ok(Turned::Idle) if at == 0 => self.reopen(Side::Source),
            // it is opened again when there is something to catch up with
            Ok(Turned::Idle) => self.close_second(),
            Err(error) => self.lose_second(&error),
        }
    }

    /// What it had asked for is asked for by the first one.
    fn lose_second(&mut self, error: &ClusterError) {
        tracing::debug!(source = %self.key.source, %error, "a second connection is lost");
        self.second_at = Instant::now() + SECOND_PAUSE;
        self.close_second();
    }

    fn close_second(&mut self) {
        self.inlets[1] = None;
        self.members.set_second_open(false);
        self.members.set_under_way(1, false);
    }

    async fn handle_fetched(&mut self, at: usize, answer: Answer) {
        let (bytes, now) = (answer.body.len(), Instant::now());
        self.shared.pace.take(bytes, now);
        self.members.set_under_way(at, false);
        let answer = match FetchAnswer::decode(answer.body, answer.version) {
            Ok(answer) => answer,
            Err(error) => return self.lose_source(error),
        };
        let Some(inlet) = &mut self.inlets[at] else { return };
        inlet.at = now + inlet.line.throttled(answer.throttle_ms);
        if answer.throttle_ms == 0 {
            inlet.note(bytes);
        }
        if !inlet.fetcher.handle_answer(&answer) {
            if !Fetcher::is_about_the_session(answer.code) {
                let fault = Fault::FetchRefused(answer.code);
                self.members.iter_mut().for_each(|(_, member)| member.mirror.handle_failed(fault));
            }
            return;
        }
        let (source, stop) = (&self.shared.source, &self.shared.stop);
        let strange =
            topic_ids::strangers(source, self.key.source, &self.members, &answer, stop).await;
        let named = answer.partitions.iter().map(|one| (&one.topic, one.partition)).collect();
        // a throttled answer names nobody, whatever has changed
        if answer.throttle_ms == 0 {
            let (sent, now) = (inlet.sent, self.shared.wall.now());
            self.members.note_unchanged(inlet.fetcher.asked(), &named, sent, now);
        }
        for one in answer.partitions {
            let fault = match &one.topic {
                TopicRef::Name(name) => strange.get(name),
                TopicRef::Id(_) => None,
            };
            match fault {
                Some(fault) => self.refuse(&one, *fault),
                None => self.handle_partition(at, one),
            }
        }
    }

    fn refuse(&mut self, one: &FetchedPartition, fault: Fault) {
        let id = self.members.by_source(&one.topic, one.partition);
        if let Some(member) = id.and_then(|id| self.members.get_mut(id)) {
            member.mirror.handle_failed(fault);
        }
    }

    fn lose_source(&mut self, error: WireError) {
        tracing::warn!(source = %self.key.source, %error, "a fetch answer cannot be read");
        self.inlets = [None, None];
        self.let_go(Fault::SourceLost);
    }

    fn handle_partition(&mut self, at: usize, one: FetchedPartition) {
        let Some(id) = self.members.by_source(&one.topic, one.partition) else { return };
        let now = self.shared.wall.now();
        let isolation = self.shared.isolation();
        let Some(inlet) = &self.inlets[at] else { return };
        let from = inlet.fetcher.asked_of(&one.topic, one.partition);
        let Some(member) = self.members.get_mut(id) else { return };
        if let Some((leader, epoch)) = one.current_leader {
            self.shared.source.note_leader(&member.mirror.name().source(), leader, epoch);
        }
        // asked before it left this lane and came back
        let Some(from) = from.filter(|from| member.mirror.awaits(*from)) else { return };
        if !one.code.is_none() {
            return member.mirror.handle_failed(Fault::FetchRefused(one.code));
        }
        if let Some((epoch, end)) = one.diverging {
            return member.mirror.handle_diverging(epoch, end);
        }
        let end = match isolation {
            Isolation::ReadCommitted => one.last_stable.or(one.high_watermark),
            Isolation::ReadUncommitted => one.high_watermark,
        };
        let Some(source_end) = end else { return };
        let fetched = Fetched {
            asked_at: inlet.sent,
            from,
            source_end,
            high_watermark: one.high_watermark.unwrap_or(source_end),
            log_start: one.log_start,
            aborted: one.aborted,
        };
        let mut pieces = split(one.records);
        let mut malformed = None;
        let whole = std::iter::from_fn(|| match pieces.next() {
            Some(Ok(piece)) => Some(piece),
            Some(Err(error)) => {
                malformed = Some(error);
                None
            }
            None => None,
        });
        let mut count = 0;
        member.mirror.handle_fetched(now, &fetched, whole.inspect(|_| count += 1));
        if let Some(cut) = pieces.cut().filter(|_| count == 0) {
            member.mirror.handle_cut_off(cut.need.min(FRAME_BYTES_MAX / 2));
        }
        if let Some(error) = malformed {
            let partition = member.mirror.name();
            tracing::warn!(%partition, %error, "a fetched batch is malformed");
            member.mirror.handle_malformed();
        }
    }
}

/// A little less, so that what is asked for seldom changes: the highest bit, and three more.
fn coarse(bytes: usize) -> usize {
    let step = bytes.checked_ilog2().map_or(1, |power| (1 << power) / 8);
    bytes - bytes % step.max(1)
}

#[cfg(test)]
mod tests {
    use super::coarse;

    #[test]
    fn what_is_asked_for_is_rounded_down_by_an_eighth_at_most() {
        assert_eq!(coarse(60 << 20), 60 << 20);
        assert_eq!(coarse((60 << 20) - 1), 56 << 20);
        for bytes in [0, 1, 7, 8, 9, 1_000, 1 << 40] {
            assert!(coarse(bytes) <= bytes && coarse(bytes) >= bytes - bytes / 8, "{bytes}");
        }
    }
}
