//! A group's coordinator as Kafka's classic protocol has it, for static members: joins, syncs,
//! heartbeats, sessions, and what becomes of a member that comes back under its instance id.
//!
//! It never reads what members tell or are given.

use std::collections::BTreeMap;

use isolog::control::group::member::Answer;
use isolog::control::group::member::Ask;
use isolog::control::group::member::Joined;
use isolog::control::group::member::Refused;

/// Who waits for an answer: which instance, which life of it, which question.
pub type Waits = (usize, u32, u64);

/// An answer and who waits for it.
pub type Told = (Waits, Answer);

struct Known {
    instance: String,
    told: Vec<u8>,
    expires_at: i64,
    joining: Option<Waits>,
    syncing: Option<Waits>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Empty,
    /// Everybody joins, until then.
    Preparing(i64),
    /// The leader has not said what it gives.
    Completing,
    Stable,
}

/// After so many generations another one leads: harder than Kafka, where a leader stays one while
/// it joins.
const LEADER_GENERATIONS: i32 = 3;

/// The coordinator.
pub struct Coordinator {
    session_ms: i64,
    members: BTreeMap<String, Known>,
    phase: Phase,
    generation: i32,
    leader: String,
    given: BTreeMap<String, Vec<u8>>,
    ids: u64,
    /// How often a generation began.
    pub generations: u64,
}

fn refused(waits: Waits, why: Refused) -> Told {
    (waits, Answer::Refused(why))
}

impl Coordinator {
    /// Of an empty group.
    pub fn new(session_ms: i64) -> Coordinator {
        Coordinator {
            session_ms,
            members: BTreeMap::new(),
            phase: Phase::Empty,
            generation: 0,
            leader: String::new(),
            given: BTreeMap::new(),
            ids: 0,
            generations: 0,
        }
    }

    /// A question of an instance; what is answered now, to whom.
    pub fn handle(&mut self, now: i64, waits: Waits, instance: &str, ask: Ask) -> Vec<Told> {
        match ask {
            Ask::Find => vec![(waits, Answer::Found)],
            Ask::Join { member, told } => self.join(now, waits, (instance, member), told),
            Ask::Sync { member, generation, given } => {
                self.sync(now, waits, (instance, &member, generation), given)
            }
            Ask::Heartbeat { member, generation } => {
                vec![(waits, self.heartbeat(now, instance, &member, generation))]
            }
        }
    }

    fn wrong(&self, instance: &str, member: &str) -> Option<Refused> {
        let other = self.members.iter().find(|(_, known)| known.instance == instance);
        match other {
            Some((id, _)) if id == member => None,
            Some(_) => Some(Refused::Fenced),
            None => Some(Refused::Unknown),
        }
    }

    fn join(
        &mut self,
        now: i64,
        waits: Waits,
        (instance, member): (&str, String),
        told: Vec<u8>,
    ) -> Vec<Told> {
        if !member.is_empty() {
            if let Some(why) = self.wrong(instance, &member) {
                return vec![refused(waits, why)];
            }
            return self.join_known(now, waits, member, told);
        }
        self.ids += 1;
        let id = format!("{instance}-{}", self.ids);
        let old = self.members.iter().find(|(_, known)| known.instance == instance);
        let old = old.map(|(id, _)| id.clone());
        let mut out = Vec::new();
        if let Some(known) = old.as_ref().and_then(|old| self.members.remove(old)) {
            // its old name is fenced from now on
            let gone = known.joining.into_iter().chain(known.syncing);
            out.extend(gone.map(|waits| refused(waits, Refused::Fenced)));
        }
        let known = Known {
            instance: instance.to_owned(),
            told,
            expires_at: now + self.session_ms,
            joining: None,
            syncing: None,
        };
        self.members.insert(id.clone(), known);
        let Some(old) = old else {
            out.extend(self.join_round(now, waits, &id));
            return out;
        };
        if self.leader == old {
            self.leader.clone_from(&id);
        }
        if let Some(given) = self.given.remove(&old) {
            self.given.insert(id.clone(), given);
        }
        match self.phase {
            Phase::Stable => out.push((waits, self.joined(&id, true))),
            _ => out.extend(self.join_round(now, waits, &id)),
        }
        out
    }

    fn join_known(&mut self, now: i64, waits: Waits, id: String, told: Vec<u8>) -> Vec<Told> {
        let is_leader = self.leader == id;
        let Some(known) = self.members.get_mut(&id) else { return Vec::new() };
        let is_same = known.told == told;
        (known.told, known.expires_at) = (told, now + self.session_ms);
        match self.phase {
            Phase::Stable if is_same && !is_leader => vec![(waits, self.joined(&id, false))],
            Phase::Completing if is_same => vec![(waits, self.joined(&id, false))],
            _ => self.join_round(now, waits, &id),
        }
    }

    /// A round of joins begins, or goes on.
    fn join_round(&mut self, now: i64, waits: Waits, id: &str) -> Vec<Told> {
        let mut out = Vec::new();
        if !matches!(self.phase, Phase::Preparing(_)) {
            out.extend(self.prepare(now));
        }
        if let Some(known) = self.members.get_mut(id) {
            known.joining = Some(waits);
        }
        out.extend(self.complete_join(now));
        out
    }

    /// Everybody must join; who waits for what is given is told so.
    fn prepare(&mut self, now: i64) -> Vec<Told> {
        self.phase = Phase::Preparing(now + self.session_ms);
        let waiting = self.members.values_mut().filter_map(|known| known.syncing.take());
        waiting.map(|waits| refused(waits, Refused::Rebalances)).collect()
    }

    fn complete_join(&mut self, now: i64) -> Vec<Told> {
        let Phase::Preparing(until) = self.phase else { return Vec::new() };
        let have_all = self.members.values().all(|known| known.joining.is_some());
        if self.members.is_empty() {
            (self.phase, self.generation) = (Phase::Empty, self.generation + 1);
            return Vec::new();
        }
        if !have_all && now < until {
            return Vec::new();
        }
        // static members that have not joined stay, and one that has joined leads
        let mut joined = self.members.iter().filter(|(_, known)| known.joining.is_some());
        let stays = self.generation % LEADER_GENERATIONS != 0;
        let leads = stays && joined.clone().any(|(id, _)| *id == self.leader);
        let first = if stays { joined.next() } else { joined.next_back() };
        match first.map(|(id, _)| id.clone()) {
            Some(first) if !leads => self.leader = first,
            Some(_) => {}
            None => {
                self.phase = Phase::Preparing(now + self.session_ms);
                return Vec::new();
            }
        }
        self.generation += 1;
        self.generations += 1;
        (self.phase, self.given) = (Phase::Completing, BTreeMap::new());
        let ids: Vec<String> = self.members.keys().cloned().collect();
        let mut out = Vec::new();
        for id in ids {
            let Some(known) = self.members.get_mut(&id) else { continue };
            let Some(waits) = known.joining.take() else { continue };
            known.expires_at = now + self.session_ms;
            out.push((waits, self.joined(&id, false)));
        }
        out
    }

    fn joined(&self, id: &str, keeps: bool) -> Answer {
        let is_leader = self.leader == id;
        let members = self.members.iter().filter(|_| is_leader);
        Answer::Joined(Joined {
            member: id.to_owned(),
            leader: self.leader.clone(),
            generation: self.generation,
            keeps: keeps && is_leader,
            members: members.map(|(id, known)| (id.clone(), known.told.clone())).collect(),
        })
    }

    fn sync(
        &mut self,
        now: i64,
        waits: Waits,
        (instance, member, generation): (&str, &str, i32),
        given: Vec<(String, Vec<u8>)>,
    ) -> Vec<Told> {
        if let Some(why) = self.wrong(instance, member) {
            return vec![refused(waits, why)];
        }
        if generation != self.generation {
            return vec![refused(waits, Refused::LeftBehind)];
        }
        if let Some(known) = self.members.get_mut(member) {
            known.expires_at = now + self.session_ms;
        }
        match self.phase {
            Phase::Empty | Phase::Preparing(_) => vec![refused(waits, Refused::Rebalances)],
            Phase::Stable => vec![(waits, self.synced(member))],
            Phase::Completing => {
                if let Some(known) = self.members.get_mut(member) {
                    known.syncing = Some(waits);
                }
                if member != self.leader {
                    return Vec::new();
                }
                (self.given, self.phase) = (given.into_iter().collect(), Phase::Stable);
                let waiting = self.members.iter_mut();
                let waiting: Vec<(String, Waits)> = waiting
                    .filter_map(|(id, known)| Some((id.clone(), known.syncing.take()?)))
                    .collect();
                waiting.into_iter().map(|(id, waits)| (waits, self.synced(&id))).collect()
            }
        }
    }

    fn synced(&self, id: &str) -> Answer {
        Answer::Synced(self.given.get(id).cloned().unwrap_or_default())
    }

    fn heartbeat(&mut self, now: i64, instance: &str, member: &str, generation: i32) -> Answer {
        if let Some(why) = self.wrong(instance, member) {
            return Answer::Refused(why);
        }
        if generation != self.generation {
            return Answer::Refused(Refused::LeftBehind);
        }
        if let Some(known) = self.members.get_mut(member) {
            known.expires_at = now + self.session_ms;
        }
        match self.phase {
            Phase::Preparing(_) => Answer::Refused(Refused::Rebalances),
            Phase::Empty => Answer::Refused(Refused::Unknown),
            Phase::Completing | Phase::Stable => Answer::Beaten,
        }
    }

    /// A member leaves.
    pub fn leave(&mut self, now: i64, member: &str) -> Vec<Told> {
        self.remove(now, &[member.to_owned()])
    }

    /// Time has passed: who was not heard of is out, and a round may end.
    pub fn tick(&mut self, now: i64) -> Vec<Told> {
        let waits = |known: &Known| known.joining.is_some() || known.syncing.is_some();
        let gone =
            self.members.iter().filter(|(_, known)| !waits(known) && known.expires_at <= now);
        let gone: Vec<String> = gone.map(|(id, _)| id.clone()).collect();
        let mut out = self.remove(now, &gone);
        out.extend(self.complete_join(now));
        out
    }

    fn remove(&mut self, now: i64, gone: &[String]) -> Vec<Told> {
        let mut out = Vec::new();
        let before = self.members.len();
        self.members.retain(|id, _| !gone.contains(id));
        if self.members.len() == before {
            return out;
        }
        if matches!(self.phase, Phase::Stable | Phase::Completing) {
            out.extend(self.prepare(now));
        }
        out.extend(self.complete_join(now));
        out
    }

    /// Another broker has loaded the group: sessions begin anew, and nobody is answered.
    pub fn move_away(&mut self, now: i64) {
        for known in self.members.values_mut() {
            (known.joining, known.syncing) = (None, None);
            known.expires_at = now + self.session_ms;
        }
        if self.phase == Phase::Completing {
            self.phase = Phase::Preparing(now + self.session_ms);
        }
    }
}
