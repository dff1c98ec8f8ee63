//! Instances as members of a group: many of the pure machine against one coordinator, with requests
//! and answers that are lost or late, instances that are killed, frozen and stopped, and a
//! coordinator that moves.
//!
//! It never uses a clock: a seed replays.
//!
//! What must hold at every step: no two instances may change anything but the log at a time. In the
//! end one of them has the work, and the others say who.

mod coordinator;

use isolog::control::group::member::Answer;
use isolog::control::group::member::Ask;
use isolog::control::group::member::Member;
use isolog::control::group::member::Next;
use isolog::control::group::member::Options;
use isolog::control::group::member::Refused;
use isolog::control::group::member::Standing;
use isolog::ids::TimestampMs;

use crate::rng::Rng;

use self::coordinator::Coordinator;
use self::coordinator::Told;
use self::coordinator::Waits;

const SESSION_MS: i64 = 10_000;
const BEAT_MS: i64 = 3_000;
/// An answer that did not come by then is given up.
const ANSWER_MS_MAX: i64 = 15_000;
/// The longest way of a message.
const WAY_MS_MAX: u64 = 200;
/// For how long all is well in the end.
const CALM_MS: i64 = 120_000;

/// What happened, for people and for those who ask whether enough did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Moments.
    pub steps: u64,
    /// How often another one had the work than before.
    pub takeovers: u64,
    /// How often the group began anew.
    pub generations: u64,
    /// How often one was killed, frozen or stopped.
    pub crashes: u64,
}

struct Instance {
    member: Member,
    name: String,
    /// Each start is another life.
    life: u32,
    asked: Option<(u64, i64)>,
    is_dead: bool,
    is_frozen: bool,
}

impl Instance {
    fn member(name: &str) -> Member {
        Member::new(Options {
            group: "__isolog".into(),
            instance: name.into(),
            session_ms: SESSION_MS,
            heartbeat_ms: BEAT_MS,
        })
    }

    fn has_work(&self) -> bool {
        !self.is_dead && self.member.standing() == Standing::Holds
    }

    /// Whether it may change what the log does not guard; a frozen one may when it thaws.
    fn is_leased(&self, now: i64) -> bool {
        let leased_at = self.member.leased_at();
        !self.is_dead && leased_at.is_some_and(|at| now < at.0 + SESSION_MS)
    }
}

enum Message {
    Ask(Waits, Ask),
    Leave(String),
    Answer(Waits, Answer),
}

struct World {
    rng: Rng,
    now: i64,
    coordinator: Coordinator,
    is_away: bool,
    instances: Vec<Instance>,
    /// On their way, and when they arrive.
    messages: Vec<(i64, Message)>,
    questions: u64,
    holder: Option<usize>,
    faults: bool,
    tally: Tally,
}

/// Runs one seed for so many steps.
pub fn run_seed(seed: u64, steps: u64) -> Tally {
    let mut rng = Rng::new(seed);
    let count = rng.between(1, 4);
    let instance = |nth: u64| {
        let name = format!("i-{nth}");
        let member = Instance::member(&name);
        Instance { member, name, life: 0, asked: None, is_dead: false, is_frozen: false }
    };
    let mut world = World {
        coordinator: Coordinator::new(SESSION_MS),
        now: 1_000_000,
        is_away: false,
        instances: (0..count).map(instance).collect(),
        messages: Vec::new(),
        questions: 0,
        holder: None,
        faults: true,
        tally: Tally::default(),
        rng,
    };
    for _ in 0..steps {
        world.step();
    }
    world.calm();
    world.tally.generations = world.coordinator.generations;
    world.tally
}

impl World {
    fn step(&mut self) {
        self.tally.steps += 1;
        self.now += self.rng.between(0, 300) as i64;
        if self.faults {
            self.hurt();
        }
        let told = self.coordinator.tick(self.now);
        self.send(told);
        self.deliver();
        for nth in 0..self.instances.len() {
            self.run(nth);
        }
        self.check();
    }

    fn hurt(&mut self) {
        let nth = self.rng.between(0, self.instances.len() as u64 - 1) as usize;
        match self.rng.between(0, 999) {
            0..=5 => {
                self.instances[nth].is_dead = true;
                self.tally.crashes += 1;
            }
            6..=12 => {
                self.instances[nth].is_frozen = true;
                self.tally.crashes += 1;
            }
            13..=16 => self.stop(nth),
            17..=60 => self.revive(nth),
            61..=64 => {
                self.is_away = !self.is_away;
                self.coordinator.move_away(self.now);
            }
            65..=90 if self.is_away => {
                self.is_away = false;
                self.coordinator.move_away(self.now);
            }
            _ => {}
        }
    }

    /// It lets go of everything, leaves and ends.
    fn stop(&mut self, nth: usize) {
        let one = &mut self.instances[nth];
        if one.is_dead || one.is_frozen {
            return;
        }
        one.is_dead = true;
        self.tally.crashes += 1;
        if let Some(id) = one.member.id() {
            let message = Message::Leave(id.to_owned());
            self.post(message);
        }
    }

    fn revive(&mut self, nth: usize) {
        let one = &mut self.instances[nth];
        one.is_frozen = false;
        if one.is_dead {
            (one.is_dead, one.asked, one.member) = (false, None, Instance::member(&one.name));
            one.life += 1;
        }
    }

    fn post(&mut self, message: Message) {
        let is_lost = self.faults && self.rng.chance(15);
        let at = self.now + self.rng.between(1, WAY_MS_MAX) as i64;
        if !is_lost {
            self.messages.push((at, message));
        }
    }

    fn send(&mut self, told: Vec<Told>) {
        for (waits, answer) in told {
            self.post(Message::Answer(waits, answer));
        }
    }

    fn deliver(&mut self) {
        self.messages.sort_by_key(|(at, _)| *at);
        while self.messages.first().is_some_and(|(at, _)| *at <= self.now) {
            match self.messages.remove(0).1 {
                Message::Ask(waits, _) if self.is_away => {
                    let away = Refused::Away("NOT_COORDINATOR".into());
                    self.post(Message::Answer(waits, Answer::Refused(away)));
                }
                Message::Ask(waits, ask) => {
                    let name = self.instances[waits.0].name.clone();
                    let told = self.coordinator.handle(self.now, waits, &name, ask);
                    self.send(told);
                }
                Message::Leave(_) if self.is_away => {}
                Message::Leave(id) => {
                    let told = self.coordinator.leave(self.now, &id);
                    self.send(told);
                }
                Message::Answer(waits, answer) => self.answer(waits, answer),
            }
        }
    }

    fn answer(&mut self, (nth, life, number): Waits, answer: Answer) {
        let one = &mut self.instances[nth];
        if one.is_dead || one.life != life {
            return;
        }
        if one.is_frozen {
            // it lies in the socket until then
            let waits = (nth, life, number);
            self.messages.push((self.now + 100, Message::Answer(waits, answer)));
            return;
        }
        let Some((_, sent_at)) = one.asked.take_if(|(asked, _)| *asked == number) else { return };
        let over = [Refused::Unknown, Refused::LeftBehind, Refused::Fenced].map(Answer::Refused);
        let is_over = over.contains(&answer);
        one.member.handle(TimestampMs(sent_at), TimestampMs(self.now), answer);
        assert!(!is_over || !one.has_work(), "{} keeps what is over", one.name);
    }

    fn run(&mut self, nth: usize) {
        let now = self.now;
        let one = &mut self.instances[nth];
        if one.is_dead || one.is_frozen {
            return;
        }
        if let Some((_, sent_at)) = one.asked.take_if(|(_, sent)| *sent + ANSWER_MS_MAX <= now) {
            let away = Answer::Refused(Refused::Away("no answer".into()));
            one.member.handle(TimestampMs(sent_at), TimestampMs(now), away);
        }
        if one.asked.is_some() {
            return;
        }
        if let Next::Ask(ask) = one.member.poll(TimestampMs(now)) {
            self.questions += 1;
            one.asked = Some((self.questions, now));
            let waits = (nth, one.life, self.questions);
            self.post(Message::Ask(waits, ask));
        }
    }

    fn check(&mut self) {
        let leased = self.instances.iter().filter(|one| one.is_leased(self.now));
        let leased: Vec<&str> = leased.map(|one| one.name.as_str()).collect();
        assert!(leased.len() <= 1, "at {}: {leased:?} may all change something", self.now);
        let holder = self.instances.iter().position(Instance::has_work);
        if holder.is_some() && holder != self.holder {
            self.tally.takeovers += 1;
            self.holder = holder;
        }
    }

    /// Nothing fails any more: one has the work, and the others say who.
    fn calm(&mut self) {
        self.faults = false;
        if self.is_away {
            self.is_away = false;
            self.coordinator.move_away(self.now);
        }
        (0..self.instances.len()).for_each(|nth| self.revive(nth));
        let until = self.now + CALM_MS;
        while self.now < until {
            self.step();
        }
        let working: Vec<&Instance> = self.instances.iter().filter(|one| one.has_work()).collect();
        let all = || self.instances.iter().map(|one| one.member.standing()).collect::<Vec<_>>();
        assert_eq!(working.len(), 1, "{:?}", all());
        let holder = Standing::StandsBy(Some(working[0].name.clone()));
        let is_told = |one: &Instance| one.has_work() || one.member.standing() == holder;
        assert!(self.instances.iter().all(is_told), "{:?}", all());
        assert!(self.instances.iter().all(|one| one.member.trouble().is_none()));
    }
}
