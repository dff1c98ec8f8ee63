//! Incremental fetch sessions: slots, epochs, what each side knows (KIP-227).
//!
//! It never reads a log: it says which partitions a fetch is about and which ones its answer
//! names.

use std::collections::BTreeMap;
use std::collections::HashMap;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::fetch_request::FetchPartition;
use kafka_protocol::messages::fetch_response::PartitionData;
use uuid::Uuid;

use crate::rng::Rng;

/// Request epoch of a fetch outside of any session.
const FINAL_EPOCH: i32 = -1;
/// Request epoch that asks for a new session.
const INITIAL_EPOCH: i32 = 0;
/// `min.incremental.fetch.session.eviction.ms`.
const EVICTION_MS: i64 = 120_000;

/// A topic as the request names it (by name up to v12, by id from v13), and a partition of it.
pub type Place = (String, Uuid, i32);

/// A partition of a session, with what its client was told last.
#[derive(Clone, Debug)]
struct Cached {
    place: Place,
    asked: FetchPartition,
    hwm: i64,
    start: i64,
}

#[derive(Debug)]
struct Session {
    by_id: bool,
    next_epoch: i32,
    used_ms: i64,
    /// In the order in which they are read; those with data move to the end, so that none starves.
    partitions: BTreeMap<Turn, Cached>,
    turns: HashMap<Place, Turn>,
    next_turn: Turn,
}

/// When a partition is read, before those with greater ones.
type Turn = u64;

/// The fetch sessions of one broker.
#[derive(Debug)]
pub struct Sessions {
    rng: Rng,
    slots_max: usize,
    open: BTreeMap<i32, Session>,
}

/// What one fetch is about.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The session to name in the answer; 0 for none.
    pub id: i32,
    /// Only what is new is told.
    pub incremental: bool,
    /// What to read, in order.
    pub partitions: Vec<(Place, FetchPartition)>,
}

impl Sessions {
    /// No sessions, and room for so many.
    pub fn new(rng: Rng, slots_max: usize) -> Self {
        Self { rng, slots_max, open: BTreeMap::new() }
    }

    /// Forgets all sessions, as a restart does; clients then meet error 70.
    pub fn clear(&mut self) {
        self.open.clear();
    }

    /// Sets how many sessions fit.
    pub fn set_slots(&mut self, slots_max: usize) {
        self.slots_max = slots_max;
    }

    /// How many sessions are open.
    pub fn count(&self) -> usize {
        self.open.len()
    }

    /// Says what a fetch is about, or why its session cannot go on.
    pub fn plan(
        &mut self,
        request: &FetchRequest,
        by_id: bool,
        now_ms: i64,
    ) -> Result<Plan, ResponseError> {
        let (id, epoch) = (request.session_id, request.session_epoch);
        if epoch == FINAL_EPOCH || epoch == INITIAL_EPOCH {
            self.open.remove(&id);
            let partitions = asked(request);
            let id = match epoch {
                INITIAL_EPOCH if !partitions.is_empty() => self.create(by_id, &partitions, now_ms),
                _ => 0,
            };
            return Ok(Plan { id, incremental: false, partitions });
        }
        let session = self.open.get_mut(&id).ok_or(ResponseError::FetchSessionIdNotFound)?;
        if session.next_epoch != epoch {
            return Err(ResponseError::InvalidFetchSessionEpoch);
        }
        if session.by_id != by_id {
            return Err(ResponseError::FetchSessionTopicIdError);
        }
        session.update(request);
        session.used_ms = now_ms;
        session.next_epoch = if epoch == i32::MAX { 1 } else { epoch + 1 };
        let partitions = session.partitions.values();
        let partitions = partitions.map(|c| (c.place.clone(), c.asked.clone())).collect();
        Ok(Plan { id, incremental: true, partitions })
    }

    /// Opens a session where there is room; 0 where there is none.
    fn create(&mut self, by_id: bool, asked: &[(Place, FetchPartition)], now_ms: i64) -> i32 {
        if self.open.len() >= self.slots_max {
            let oldest = self.open.iter().min_by_key(|(_, session)| session.used_ms);
            match oldest.map(|(id, session)| (*id, session.used_ms)) {
                Some((id, used_ms)) if now_ms - used_ms > EVICTION_MS => self.open.remove(&id),
                _ => return 0,
            };
        }
        let mut id = 0;
        while id == 0 || self.open.contains_key(&id) {
            id = (self.rng.next_u64() & 0x7fff_ffff) as i32;
        }
        let mut session = Session::new(by_id, now_ms);
        for (place, asked) in asked {
            session.ask(place.clone(), asked.clone());
        }
        self.open.insert(id, session);
        id
    }

    /// The session that a throttled answer names: none where it would be a new one.
    pub fn throttled(&mut self, plan: &Plan) -> i32 {
        if plan.incremental {
            return plan.id;
        }
        self.open.remove(&plan.id);
        0
    }

    /// Notes what is told, and leaves out of an incremental answer what is not new.
    pub fn tell(&mut self, plan: &Plan, answers: Vec<(Place, PartitionData)>) -> Vec<Told> {
        let Some(session) = self.open.get_mut(&plan.id) else { return answers };
        let mut with_data = Vec::new();
        let told = answers.into_iter().filter(|(place, data)| {
            let turn = session.turns.get(place).copied();
            let cached = turn.and_then(|turn| session.partitions.get_mut(&turn));
            let Some(cached) = cached else { return true };
            if has_records(data) {
                with_data.extend(turn);
            }
            cached.note(data) || !plan.incremental
        });
        let told = told.collect();
        with_data.sort_unstable();
        for turn in with_data {
            session.move_to_end(turn);
        }
        told
    }
}

/// One partition of an answer.
pub type Told = (Place, PartitionData);

fn has_records(data: &PartitionData) -> bool {
    data.records.as_ref().is_some_and(|records| !records.is_empty())
}

fn asked(request: &FetchRequest) -> Vec<(Place, FetchPartition)> {
    let topics = request.topics.iter().flat_map(|topic| {
        let place = |p: &FetchPartition| (topic.topic.to_string(), topic.topic_id, p.partition);
        topic.partitions.iter().map(move |p| (place(p), p.clone()))
    });
    topics.collect()
}

impl Session {
    fn new(by_id: bool, used_ms: i64) -> Session {
        let (partitions, turns) = (BTreeMap::new(), HashMap::new());
        Session { by_id, next_epoch: 1, used_ms, partitions, turns, next_turn: 0 }
    }

    fn update(&mut self, request: &FetchRequest) {
        for (place, asked) in asked(request) {
            self.ask(place, asked);
        }
        for topic in &request.forgotten_topics_data {
            for n in &topic.partitions {
                let place = (topic.topic.to_string(), topic.topic_id, *n);
                if let Some(turn) = self.turns.remove(&place) {
                    self.partitions.remove(&turn);
                }
            }
        }
    }

    /// A partition is asked for, anew or otherwise than before.
    fn ask(&mut self, place: Place, asked: FetchPartition) {
        let turn = self.turns.get(&place);
        match turn.and_then(|turn| self.partitions.get_mut(turn)) {
            Some(cached) => cached.asked = asked,
            None => self.append(Cached { place, asked, hwm: -1, start: -1 }),
        }
    }

    fn append(&mut self, cached: Cached) {
        self.turns.insert(cached.place.clone(), self.next_turn);
        self.partitions.insert(self.next_turn, cached);
        self.next_turn += 1;
    }

    fn move_to_end(&mut self, turn: Turn) {
        if let Some(cached) = self.partitions.remove(&turn) {
            self.append(cached);
        }
    }
}

impl Cached {
    /// Notes an answer; whether it tells anything new.
    fn note(&mut self, data: &PartitionData) -> bool {
        let moved = (self.hwm, self.start) != (data.high_watermark, data.log_start_offset);
        (self.hwm, self.start) = (data.high_watermark, data.log_start_offset);
        let failed = data.error_code != 0;
        if failed {
            // an error is told again until it is gone
            self.hwm = -1;
        }
        moved || failed || has_records(data) || data.diverging_epoch.epoch >= 0
    }
}
