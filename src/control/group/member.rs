//! One instance in its group: what it asks the coordinator next, and whether it has the work.
//!
//! It never holds on to what its coordinator has said is over, and never lets go only because the
//! coordinator does not answer: then nobody else can be given anything either.
//!
//! ```text
//!   Find ──▶ Join ──▶ Sync ──▶ Heartbeat ─┐
//!    ▲        ▲  ▲      │       ▲  │      │ every heartbeat.interval.ms
//!    │        │  │      │ 27    └──┼──────┘
//!    │        │  └──────┘          │ 27: join again with what is held
//!    │        └────────────────────┤ 22, 25: what was held is over, join anew
//!    └─────────────────────────────┤ 14, 15, 16, no answer: look for it again, hold on
//!                                  └ 82: another one has our name: over, and never again
//! ```
//!
//! Times are ms of the caller's clock, and those of questions are when they were sent: a lease
//! never lasts longer than the coordinator thinks it does.

use std::collections::BTreeMap;

use crate::control::group::share::Assignment;
use crate::control::group::share::Subscription;
use crate::control::group::share::assign;
use crate::control::topic::Fault;
use crate::ids::TimestampMs;

/// The pause after the first failure, in ms; doubled after each, up to a heartbeat's interval.
const PAUSE_MS: i64 = 100;
/// Beyond so many doublings the pause is at its bound anyway.
const DOUBLINGS_MAX: u32 = 16;

/// How an instance is a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// `instances.group.id`.
    pub group: String,
    /// `instances.group.instance.id`: another one for each instance, the same after its restart.
    pub instance: String,
    /// `instances.session.timeout.ms`.
    pub session_ms: i64,
    /// `instances.heartbeat.interval.ms`.
    pub heartbeat_ms: i64,
}

/// What is asked of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Who coordinates the group.
    Find,
    /// To be taken in, with what is told to the leader; an empty id where none was given yet.
    Join {
        /// The id that the coordinator gave us.
        member: String,
        /// `Subscription`, as bytes.
        told: Vec<u8>,
    },
    /// What the leader gives; from the leader itself, what it gives to whom.
    Sync {
        /// The id that the coordinator gave us.
        member: String,
        /// Of the group.
        generation: i32,
        /// `Assignment`s by member, as bytes.
        given: Vec<(String, Vec<u8>)>,
    },
    /// Still here.
    Heartbeat {
        /// The id that the coordinator gave us.
        member: String,
        /// Of the group.
        generation: i32,
    },
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// To ask this now.
    Ask(Ask),
    /// Nothing before that time.
    Wait(TimestampMs),
    /// Nothing any more.
    Nothing,
}

/// What a coordinator says to a member that was taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// Our id.
    pub member: String,
    /// The leader's.
    pub leader: String,
    /// Of the group.
    pub generation: i32,
    /// What was given before still holds: the leader gives nothing anew (KIP-814).
    pub keeps: bool,
    /// To the leader, what each member tells; to others nothing.
    pub members: Vec<(String, Vec<u8>)>,
}

/// Why a coordinator refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// UNKNOWN_MEMBER_ID: it knows us no more.
    Unknown,
    /// ILLEGAL_GENERATION: the group has gone on without us.
    LeftBehind,
    /// FENCED_INSTANCE_ID: another process has our instance id.
    Fenced,
    /// REBALANCE_IN_PROGRESS.
    Rebalances,
    /// COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR, or no answer.
    Away(String),
    /// What a person must mend: a code and a text.
    Wrong(Fault),
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The coordinator is known.
    Found,
    /// We are of the group.
    Joined(Joined),
    /// What we are given, as bytes.
    Synced(Vec<u8>),
    /// Our heartbeat was heard.
    Beaten,
    /// Nothing of it.
    Refused(Refused),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    Joining,
    Syncing(Vec<(String, Vec<u8>)>),
    Stable,
}

/// What is so for everybody to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// This instance has the work.
    Holds,
    /// Another one has, by name; `None` while nobody has said who.
    StandsBy(Option<String>),
}

/// The machine.
#[derive(Clone, Debug)]
pub struct Member {
    options: Options,
    stage: Stage,
    is_found: bool,
    id: String,
    generation: i32,
    is_leader: bool,
    given: Option<Assignment>,
    is_fenced: bool,
    /// When the last question was sent whose answer proves that we are of the group.
    proven_at: Option<TimestampMs>,
    next_at: TimestampMs,
    failures: u32,
    trouble: Option<Fault>,
}

impl Member {
    /// One that is of no group yet.
    pub fn new(options: Options) -> Member {
        Member {
            options,
            stage: Stage::Joining,
            is_found: false,
            id: String::new(),
            generation: -1,
            is_leader: false,
            given: None,
            is_fenced: false,
            proven_at: None,
            next_at: TimestampMs(i64::MIN),
            failures: 0,
            trouble: None,
        }
    }

    /// What is to be done now.
    pub fn poll(&self, now: TimestampMs) -> Next {
        if self.is_fenced {
            return Next::Nothing;
        }
        if now < self.next_at {
            return Next::Wait(self.next_at);
        }
        let (member, generation) = (self.id.clone(), self.generation);
        Next::Ask(match &self.stage {
            _ if !self.is_found => Ask::Find,
            Stage::Joining => {
                let told = Subscription::new(&self.options.instance, self.holds()).to_bytes();
                Ask::Join { member, told }
            }
            Stage::Syncing(given) => Ask::Sync { member, generation, given: given.clone() },
            Stage::Stable => Ask::Heartbeat { member, generation },
        })
    }

    /// What came of the question that was sent at `sent_at`.
    pub fn handle(&mut self, sent_at: TimestampMs, now: TimestampMs, answer: Answer) {
        match answer {
            Answer::Found => self.is_found = true,
            Answer::Joined(joined) => self.join(now, joined),
            Answer::Synced(given) => self.take(sent_at, now, &given),
            Answer::Beaten => self.prove(sent_at),
            Answer::Refused(refused) => self.refuse(now, refused),
        }
    }

    fn join(&mut self, now: TimestampMs, joined: Joined) {
        let Joined { member, leader, generation, keeps, members } = joined;
        self.is_leader = leader == member;
        (self.id, self.generation, self.next_at) = (member, generation, now);
        let told: BTreeMap<String, Option<Subscription>> =
            members.into_iter().map(|(id, told)| (id, Subscription::parse(&told))).collect();
        let given = match self.is_leader && !keeps {
            true => assign(&self.id, &told).into_iter(),
            false => BTreeMap::new().into_iter(),
        };
        let given = given.map(|(id, one)| (id, one.to_bytes())).collect();
        self.stage = Stage::Syncing(given);
    }

    fn take(&mut self, sent_at: TimestampMs, now: TimestampMs, given: &[u8]) {
        self.given = Assignment::parse(given);
        self.stage = Stage::Stable;
        let failures = self.failures;
        self.prove(sent_at);
        let is_given = self.given.as_ref().is_some_and(|given| given.holder.is_some());
        if self.is_leader && !is_given {
            // two held it, or nobody has given anything yet: once more, as all of them are now
            (self.stage, self.failures) = (Stage::Joining, failures);
            self.slow_down(now);
        }
    }

    fn prove(&mut self, sent_at: TimestampMs) {
        self.proven_at = Some(sent_at);
        self.next_at = after(sent_at, self.options.heartbeat_ms);
        (self.failures, self.trouble) = (0, None);
    }

    fn refuse(&mut self, now: TimestampMs, refused: Refused) {
        match refused {
            Refused::Unknown => {
                self.id.clear();
                self.lose(now);
            }
            Refused::LeftBehind => self.lose(now),
            // it was asked too early where it says so to a join
            Refused::Rebalances if self.stage == Stage::Joining => self.slow_down(now),
            Refused::Rebalances => (self.stage, self.next_at) = (Stage::Joining, now),
            Refused::Away(why) => {
                self.is_found = false;
                self.slow_down(now);
                self.trouble = Some(self.away(&why));
            }
            Refused::Wrong(fault) => {
                self.is_found = false;
                self.slow_down(now);
                self.trouble = Some(fault);
            }
            Refused::Fenced => {
                self.given = None;
                (self.is_fenced, self.proven_at) = (true, None);
                self.trouble = Some(self.fenced());
            }
        }
    }

    /// What was held is over.
    fn lose(&mut self, now: TimestampMs) {
        (self.given, self.proven_at, self.generation) = (None, None, -1);
        self.stage = Stage::Joining;
        self.slow_down(now);
    }

    fn slow_down(&mut self, now: TimestampMs) {
        let pause = PAUSE_MS.saturating_mul(1 << self.failures.min(DOUBLINGS_MAX));
        self.failures = self.failures.saturating_add(1);
        self.next_at = after(now, pause.min(self.options.heartbeat_ms));
    }

    fn holds(&self) -> bool {
        self.given.as_ref().is_some_and(|given| given.holds)
    }

    /// Whether this instance has the work.
    pub fn standing(&self) -> Standing {
        match &self.given {
            Some(given) if given.holds => Standing::Holds,
            given => Standing::StandsBy(given.as_ref().and_then(|given| given.holder.clone())),
        }
    }

    /// When the last question was sent whose answer proves that we are of the group, and have the
    /// work: a session's time later somebody else may have it. `None` where we have it not.
    pub fn leased_at(&self) -> Option<TimestampMs> {
        self.proven_at.filter(|_| self.holds())
    }

    /// Who leaves, and must be told.
    pub fn id(&self) -> Option<&str> {
        (!self.id.is_empty() && !self.is_fenced).then_some(self.id.as_str())
    }

    /// What is wrong, for people.
    pub fn trouble(&self) -> Option<&Fault> {
        self.trouble.as_ref()
    }

    fn away(&self, why: &str) -> Fault {
        let goes_on = match self.holds() {
            true => {
                "what is copied goes on, and all else (configs, ACLs, offsets of groups) rests \
                 until it answers"
            }
            false => "nothing is copied here before it answers",
        };
        let text = format!(
            "the coordinator of the group {} at the destination does not answer ({why}): {goes_on}",
            self.options.group
        );
        Fault { code: "COORDINATOR_NOT_AVAILABLE".to_owned(), text }
    }

    fn fenced(&self) -> Fault {
        let text = format!(
            "FENCED_INSTANCE_ID (82): another isolog has joined the group {} as {}, and takes this \
             one's place: nothing is copied here any more. Give each instance another \
             instances.group.instance.id, and start this one again",
            self.options.group, self.options.instance
        );
        Fault { code: "FENCED_INSTANCE_ID".to_owned(), text }
    }
}

fn after(time: TimestampMs, ms: i64) -> TimestampMs {
    TimestampMs(time.0.saturating_add(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION_MS: i64 = 10_000;
    const BEAT_MS: i64 = 3_000;

    struct Lab {
        member: Member,
        now: TimestampMs,
    }

    impl Lab {
        fn new() -> Lab {
            let options = Options {
                group: "__isolog".into(),
                instance: "host-1".into(),
                session_ms: SESSION_MS,
                heartbeat_ms: BEAT_MS,
            };
            Lab { member: Member::new(options), now: TimestampMs(1_000) }
        }

        /// The next question, at the time when it is due.
        fn asked(&mut self) -> Ask {
            loop {
                match self.member.poll(self.now) {
                    Next::Ask(ask) => return ask,
                    Next::Wait(at) => self.now = at,
                    Next::Nothing => panic!("nothing is asked any more"),
                }
            }
        }

        fn answer(&mut self, answer: Answer) {
            let sent_at = self.now;
            self.now.0 += 10;
            self.member.handle(sent_at, self.now, answer);
        }

        fn refuse(&mut self, refused: Refused) {
            self.answer(Answer::Refused(refused));
        }

        fn joined(&mut self, leader: &str, keeps: bool, members: &[(&str, bool)]) {
            let told = |(id, holds): &(&str, bool)| {
                ((*id).to_owned(), Subscription::new(id, *holds).to_bytes())
            };
            self.answer(Answer::Joined(Joined {
                member: "me".into(),
                leader: leader.into(),
                generation: 7,
                keeps,
                members: members.iter().map(told).collect(),
            }));
        }

        /// Taken in as the only one, with the work.
        fn holding() -> Lab {
            let mut lab = Lab::new();
            assert_eq!(lab.asked(), Ask::Find);
            lab.answer(Answer::Found);
            assert!(matches!(lab.asked(), Ask::Join { member, .. } if member.is_empty()));
            lab.joined("me", false, &[("me", false)]);
            let Ask::Sync { given, generation: 7, .. } = lab.asked() else { panic!() };
            lab.answer(Answer::Synced(given[0].1.clone()));
            assert_eq!(lab.member.standing(), Standing::Holds);
            lab
        }
    }

    fn told_holds(ask: &Ask) -> bool {
        let Ask::Join { told, .. } = ask else { panic!("{ask:?}") };
        Subscription::parse(told).unwrap().holds
    }

    #[test]
    fn the_first_one_gets_the_work_and_a_lease_from_when_it_asked() {
        let mut lab = Lab::holding();
        let sent_at = TimestampMs(lab.now.0 - 10);
        assert_eq!(lab.member.leased_at(), Some(sent_at));
        let beat = Ask::Heartbeat { member: "me".into(), generation: 7 };
        assert_eq!(lab.asked(), beat);
        assert_eq!(lab.now.0, sent_at.0 + BEAT_MS);
        lab.answer(Answer::Beaten);
        assert_eq!(lab.member.leased_at(), Some(TimestampMs(sent_at.0 + BEAT_MS)));
    }

    #[test]
    fn who_holds_the_work_says_so_when_it_joins_again() {
        let mut lab = Lab::holding();
        lab.asked();
        lab.refuse(Refused::Rebalances);
        let ask = lab.asked();
        assert!(told_holds(&ask));
        assert_eq!(lab.member.standing(), Standing::Holds, "it goes on meanwhile");
        lab.joined("other", false, &[]);
        assert!(matches!(lab.asked(), Ask::Sync { given, .. } if given.is_empty()));
        let given = assign("other", &[("other".into(), Some(Subscription::new("o", true)))].into());
        lab.answer(Answer::Synced(given["other"].to_bytes()));
        lab.answer(Answer::Beaten);
    }

    #[test]
    fn another_one_has_it() {
        let mut lab = Lab::new();
        lab.answer(Answer::Found);
        lab.joined("o", false, &[]);
        lab.asked();
        let two = [("o", true), ("me", false)].map(|(id, holds)| {
            (id.to_owned(), Some(Subscription::new(&format!("host-{id}"), holds)))
        });
        lab.answer(Answer::Synced(assign("o", &two.into())["me"].to_bytes()));
        assert_eq!(lab.member.standing(), Standing::StandsBy(Some("host-o".into())));
        assert_eq!(lab.member.leased_at(), None);
    }

    #[test]
    fn what_the_coordinator_says_is_over_is_over_at_once() {
        for (refused, keeps_id) in [(Refused::Unknown, false), (Refused::LeftBehind, true)] {
            let mut lab = Lab::holding();
            lab.asked();
            lab.refuse(refused);
            assert_eq!(lab.member.standing(), Standing::StandsBy(None));
            assert_eq!(lab.member.leased_at(), None);
            let ask = lab.asked();
            assert!(!told_holds(&ask));
            let is_kept = matches!(&ask, Ask::Join { member, .. } if !member.is_empty());
            assert_eq!(is_kept, keeps_id);
        }
    }

    #[test]
    fn a_coordinator_that_is_away_takes_nothing_from_anybody() {
        let mut lab = Lab::holding();
        lab.asked();
        let leased_at = lab.member.leased_at();
        lab.refuse(Refused::Away("closed".into()));
        assert_eq!((lab.member.standing(), lab.asked()), (Standing::Holds, Ask::Find));
        assert!(lab.member.trouble().unwrap().text.contains("what is copied goes on"));
        assert_eq!(lab.member.leased_at(), leased_at, "it ends by itself");
        lab.answer(Answer::Found);
        assert!(matches!(lab.asked(), Ask::Heartbeat { generation: 7, .. }));
        lab.answer(Answer::Beaten);
        assert_eq!(lab.member.trouble(), None);
    }

    #[test]
    fn pauses_grow_to_the_interval_of_heartbeats() {
        let mut lab = Lab::new();
        let mut pauses = Vec::new();
        for _ in 0..9 {
            lab.asked();
            let before = lab.now.0 + 10;
            lab.refuse(Refused::Away("closed".into()));
            lab.asked();
            pauses.push(lab.now.0 - before);
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1_600, 3_000, 3_000, 3_000, 3_000]);
    }

    #[test]
    fn who_is_replaced_never_comes_back() {
        let mut lab = Lab::holding();
        lab.asked();
        lab.refuse(Refused::Fenced);
        assert_eq!(lab.member.standing(), Standing::StandsBy(None));
        assert_eq!(lab.member.poll(TimestampMs(i64::MAX)), Next::Nothing);
        assert_eq!(lab.member.id(), None, "the id is the other one's");
        let text = &lab.member.trouble().unwrap().text;
        assert!(text.contains("as host-1") && text.contains("instance.id"), "{text}");
    }

    /// KIP-814: after a restart under its instance id a leader is told to give nothing anew.
    #[test]
    fn a_leader_that_was_restarted_takes_what_it_had() {
        let mut lab = Lab::new();
        lab.answer(Answer::Found);
        lab.joined("me", true, &[("me", true)]);
        let Ask::Sync { given, .. } = lab.asked() else { panic!() };
        assert_eq!(given, []);
        let kept = assign("me", &[("me".into(), Some(Subscription::new("m", false)))].into());
        lab.answer(Answer::Synced(kept["me"].to_bytes()));
        assert_eq!(lab.member.standing(), Standing::Holds);
        // and where nothing was given before, it gives it now
        let mut lab = Lab::new();
        lab.answer(Answer::Found);
        lab.joined("me", true, &[]);
        lab.asked();
        lab.answer(Answer::Synced(Vec::new()));
        assert!(!told_holds(&lab.asked()));
    }

    #[test]
    fn two_that_hold_it_both_let_go_first() {
        let mut lab = Lab::holding();
        lab.asked();
        lab.refuse(Refused::Rebalances);
        lab.asked();
        lab.joined("me", false, &[("me", true), ("o", true)]);
        let Ask::Sync { given, .. } = lab.asked() else { panic!() };
        let own = given.iter().find(|(id, _)| id == "me").unwrap();
        lab.answer(Answer::Synced(own.1.clone()));
        assert_eq!(lab.member.standing(), Standing::StandsBy(None));
        assert!(!told_holds(&lab.asked()), "it joins again, and holds nothing");
    }

    #[test]
    fn a_join_that_came_too_early_is_not_repeated_at_once() {
        let mut lab = Lab::new();
        lab.answer(Answer::Found);
        lab.asked();
        lab.refuse(Refused::Rebalances);
        let before = lab.now;
        lab.asked();
        assert!(before < lab.now);
    }
}
