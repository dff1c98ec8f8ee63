//! The appends of one lane: batches of many partitions gathered into one request, acks taken back.
//!
//! It never puts one partition twice into a request and never has more than five under way.

use std::collections::VecDeque;
use std::time::Duration;

use crate::flow::lane::members::MemberId;
use crate::flow::lane::members::Members;
use crate::ids::TimestampMs;
use crate::mirror::facts::Acked;
use crate::mirror::window::IN_FLIGHT_MAX;
use crate::wire::produce::AppendAnswer;
use crate::wire::produce::AppendAsk;
use crate::wire::produce::AppendEntry;
use crate::wire::produce::AppendedPartition;
use crate::wire::produce::Chain;
use crate::wire::rewrite::rewrite;
use crate::wire::topic::AskError;

/// Of a request's deadline, the share that the broker may wait for its followers.
const FOLLOWERS_SHARE: u32 = 2;

/// What an append answers on a CreateTime topic.
const NO_TIME: TimestampMs = TimestampMs(-1);

/// What is under way.
#[derive(Debug)]
pub struct Appender {
    bytes_max: usize,
    timeout_ms: i32,
    /// Whose batches each request carries, oldest first.
    asked: VecDeque<Vec<MemberId>>,
    /// Where the next round begins, so that no partition waits for ever behind a full request.
    first: MemberId,
}

/// An answer that does not fit its request: the connection is of no more use.
#[derive(Debug, PartialEq, Eq)]
pub struct Misfit;

impl Appender {
    /// Nothing is under way.
    pub fn new(bytes_max: usize, request_timeout: Duration) -> Appender {
        let timeout = (request_timeout / FOLLOWERS_SHARE).as_millis();
        Appender {
            bytes_max,
            timeout_ms: i32::try_from(timeout).unwrap_or(i32::MAX),
            asked: VecDeque::new(),
            first: MemberId::default(),
        }
    }

    /// The next request, one batch of each partition that has one, if any has.
    pub fn poll(
        &mut self,
        members: &mut Members,
        version: i16,
        now: TimestampMs,
    ) -> Result<Option<Chain>, AskError> {
        if self.asked.len() >= IN_FLIGHT_MAX {
            return Ok(None);
        }
        let (mut entries, mut ids, mut bytes) = (Vec::new(), Vec::new(), 0);
        for id in members.appenders(self.first) {
            if bytes >= self.bytes_max {
                break;
            }
            let Some(append) = members.poll_append(id, now) else { continue };
            let Some(writer) = members.writer(id) else { continue };
            let batch = rewrite(&append.batch, writer);
            bytes += batch.bytes_count();
            let Some((topic, partition)) = members.destination(id) else { continue };
            entries.push(AppendEntry { topic, partition, batch });
            ids.push(id);
            self.first = id.next();
        }
        if entries.is_empty() {
            return Ok(None);
        }
        self.asked.push_back(ids);
        AppendAsk { timeout_ms: self.timeout_ms, entries }.encode(version).map(Some)
    }

    /// The oldest request was answered: tells every partition of it. Each must be in the answer.
    pub fn handle_answer(
        &mut self,
        members: &mut Members,
        answer: &AppendAnswer,
        now: TimestampMs,
    ) -> Result<(), Misfit> {
        let mut due = self.asked.pop_front().ok_or(Misfit)?;
        for one in &answer.partitions {
            let id = members.by_destination(&one.topic, one.partition).ok_or(Misfit)?;
            let at = due.iter().position(|due| *due == id).ok_or(Misfit)?;
            due.swap_remove(at);
            let member = members.get_mut(id).ok_or(Misfit)?;
            member.mirror.handle_appended(now, acked(one));
        }
        if due.is_empty() { Ok(()) } else { Err(Misfit) }
    }

    /// The connection is gone: nothing of it will be answered.
    pub fn forget(&mut self) {
        self.asked.clear();
    }
}

fn acked(one: &AppendedPartition) -> Acked {
    // On a CreateTime topic only a repeat has a time (P2).
    let is_repeat = one.log_append_time != NO_TIME;
    Acked { code: one.code, base: one.base_offset, is_repeat }
}
