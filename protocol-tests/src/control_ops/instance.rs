//! One instance: its machine, how far it has read, and what is on its way for it.
//!
//! It never decides what happens next; the world's dice do.

use std::collections::BTreeSet;
use std::collections::VecDeque;

use isolog::control::acls::AclSync;
use isolog::control::facts::Do;
use isolog::control::facts::DoId;
use isolog::control::facts::Look;
use isolog::control::facts::LookId;
use isolog::control::facts::MirrorKey;
use isolog::control::facts::Reach;
use isolog::control::filter::Pattern;
use isolog::control::filter::Rule;
use isolog::control::filter::TopicFilter;
use isolog::control::journal::WriterTag;
use isolog::control::link::LinkSettings;
use isolog::control::machine::Control;
use isolog::control::machine::Write;
use isolog::control::order::Ticket;
use isolog::control::rename::Rename;
use isolog::control::start::StartSpec;
use isolog::control::task::TaskName;
use isolog::control::task::configs::ConfigSync;
use isolog::control::topic::Fault;
use isolog::ids::ClusterId;
use isolog::ids::LinkName;
use isolog::ids::Side;
use isolog::ids::TimestampMs;

use super::LOOK_EVERY_MS;
use super::ROWS_MAX;
use super::World;
use super::checks;
use super::clusters;
use super::flow::Flow;
use super::groups;
use super::groups::Follower;
use super::rights::Clerk;
use super::truth::Truth;

/// A config of sources, whose value is the time when it was read.
pub const CONFIG_READ: &str = "max.message.bytes";

/// The settings of a link: the first takes all that begin with `orders` and the topic `a`, the
/// second is commanded; all but the first have a prefix.
pub fn settings(link: &LinkName) -> LinkSettings {
    let (prefix, patterns): (&str, &[&str]) = match &*link.0 {
        "dr" => ("", &["orders*", "a"]),
        "eu" => ("p.", &[]),
        "us" => ("u.", &["b"]),
        _ => ("x.", &["b", "c"]),
    };
    let rules = patterns.iter().map(|one| Rule::include(Pattern::parse(one).expect("a pattern")));
    let settings = settings_of(link, prefix, TopicFilter::new(rules.collect()));
    LinkSettings { acls: super::rights::sync_of(link), ..settings }
}

/// Those of a link that takes these topics under this prefix.
pub fn settings_of(link: &LinkName, prefix: &str, topics: TopicFilter) -> LinkSettings {
    LinkSettings {
        rename: Rename::prefixed(prefix),
        named: topics.clone(),
        topics,
        start: StartSpec::Earliest,
        replicas: None,
        look_every_ms: LOOK_EVERY_MS,
        groups: groups::sync_of(link),
        is_paused: false,
        tasks: TaskName::ALL.into(),
        configs: ConfigSync::default(),
        acls: AclSync::default(),
    }
}

/// One instance.
pub struct Instance {
    pub machine: Control,
    /// How many batches of the log it has read, and what they say.
    pub read: usize,
    pub truth: Truth,
    /// Where the log ended when it began to read.
    pub level_at: usize,
    pub is_level: bool,
    pub is_holder: bool,
    pub writes: VecDeque<Write>,
    pub looks: VecDeque<(LookId, Look)>,
    pub dos: VecDeque<(DoId, Do)>,
    pub flow: Flow,
    pub clerk: Clerk,
    pub follower: Follower,
    pub tickets: BTreeSet<Ticket>,
}

impl Instance {
    pub fn new(tag: WriterTag, level_at: usize) -> Instance {
        Instance {
            machine: Control::new(tag, ROWS_MAX),
            read: 0,
            truth: Truth::default(),
            level_at,
            is_level: false,
            is_holder: false,
            writes: VecDeque::new(),
            looks: VecDeque::new(),
            dos: VecDeque::new(),
            flow: Flow::default(),
            clerk: Clerk::default(),
            follower: Follower::default(),
            tickets: BTreeSet::new(),
        }
    }

    pub fn set_role(&mut self, now: TimestampMs, is_holder: bool) {
        self.is_holder = is_holder;
        self.machine.handle_role(now, is_holder);
        if !is_holder {
            self.looks.clear();
            self.dos.clear();
        }
    }
}

impl World<'_> {
    /// Takes everything that a machine has to say, and checks each word of it.
    pub(super) fn collect(&mut self, nth: usize) {
        let now = self.now();
        let instance = &mut self.instances[nth];
        while let Some((key, spec)) = instance.machine.poll_spec() {
            checks::spec(&instance.truth, &key, spec.as_ref());
            let is_own = checks::acts_on(&instance.truth, nth, &key.0);
            assert!(is_own || spec.is_none(), "{key:?} is of another file, and wanted");
            instance.flow.obey(&key, spec.as_ref());
        }
        if let Some(write) = instance.machine.poll_write(now) {
            let end = instance.machine.fold().end();
            assert_eq!(write.stamp.at, end, "a write is decided on what was read");
            checks::own_rows(&instance.truth, nth, &write);
            instance.writes.push_back(write);
        }
        while let Some(look) = instance.machine.poll_look() {
            let is_own = checks::acts_on(&instance.truth, nth, &look.1.link);
            assert!(is_own, "{look:?} is about another file's link");
            instance.looks.push_back(look);
        }
        while let Some((id, action)) = instance.machine.poll_do() {
            checks::action(&instance.truth, &action);
            let is_own = checks::acts_on(&instance.truth, nth, &action.mirror().0);
            assert!(is_own, "{action:?} is of another file");
            let is_held = instance.flow.holds_any(action.mirror());
            assert!(
                !is_held || !matches!(action, Do::Delete { .. }),
                "{action:?} while it is held"
            );
            instance.dos.push_back((id, action));
        }
        while let Some((ticket, outcomes)) = self.instances[nth].machine.poll_answer() {
            self.instances[nth].tickets.remove(&ticket);
            let Some(order) = self.open.remove(&ticket) else {
                let is_late = self.given_up.remove(&ticket);
                assert!(is_late, "{ticket:?} is answered twice, or was never given");
                continue;
            };
            let obeyed = checks::answer(&self.instances[nth].truth, &order, &outcomes);
            self.tally.obeyed += obeyed;
            self.tally.refused += outcomes.len() as u64 - obeyed;
        }
        self.refused_is_told(nth);
    }

    /// A turn of each task comes to something, for the promoted topics that wait for it. What the
    /// source's config is says when it was read.
    pub(super) fn last_turns(&mut self, nth: usize) {
        let machine = &self.instances[nth].machine;
        let keys: Vec<MirrorKey> = machine.mirrors().map(|(key, ..)| key.clone()).collect();
        for key in keys {
            if self.faults && self.dice.roll(2) == 0 {
                continue;
            }
            let now = self.now();
            let machine = &mut self.instances[nth].machine;
            if let Some(level_at) = machine.awaits_configs(&key) {
                let read = (CONFIG_READ.to_owned(), Some(now.0.to_string()));
                machine.handle_at_stop(now, &key, [read].into());
                let refused = Some(now.0.to_string());
                machine.handle_configured(now, &key, (level_at, refused));
            }
        }
    }

    /// How a link's source answers.
    pub(super) fn reach(&mut self, nth: usize) {
        let fault = |code: &str| Fault { code: code.into(), text: "no answer".into() };
        let link = self.any_link();
        // who reaches a link's source first says which cluster it is
        let row = self.truth.link(&link);
        let known = row.and_then(|row| row.source.as_ref());
        let is_known = known.is_some_and(|id| &*id.0 == "source");
        let reach = match self.dice.roll(16) {
            0 if self.faults => Reach::Unavailable(fault("SOURCE_UNAVAILABLE")),
            1 if self.faults => Reach::Failed(fault("AUTHENTICATION_ERROR")),
            2 if self.faults => {
                let (was, is) = (ClusterId("source".into()), ClusterId("other".into()));
                Reach::OtherCluster { side: Side::Source, was, is }
            }
            3 if self.faults && is_known => Reach::Available(ClusterId("other".into())),
            _ => Reach::Available(ClusterId("source".into())),
        };
        let now = self.now();
        self.instances[nth].machine.handle_reach(now, &link, reach);
    }

    pub(super) fn look(&mut self, nth: usize) {
        let Some((id, look)) = self.instances[nth].looks.pop_front() else { return };
        let lost = self.faults && self.dice.roll(8) == 0;
        let observed = match lost {
            true => Err(Fault { code: "TIMEOUT_ERROR".into(), text: "no answer".into() }),
            false => Ok(self.clusters.look(&look)),
        };
        let now = self.now();
        self.instances[nth].machine.handle_observed(now, id, observed);
    }

    /// Something is done, or not, or done without an answer.
    pub(super) fn act(&mut self, nth: usize) {
        let Some((id, action)) = self.instances[nth].dos.pop_front() else { return };
        let result = match self.faults.then(|| self.dice.roll(12)) {
            Some(0) => Err(clusters::failed("POLICY_VIOLATION_ERROR", true)),
            Some(1) => Err(clusters::failed("TIMEOUT_ERROR", false)),
            Some(2) => {
                let _ = self.clusters.act(&action);
                Err(clusters::failed("TIMEOUT_ERROR", false))
            }
            _ => self.clusters.act(&action),
        };
        let now = self.now();
        self.instances[nth].machine.handle_done(now, id, result);
    }
}
