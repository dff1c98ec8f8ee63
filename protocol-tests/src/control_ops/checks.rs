//! What must hold: after each step, and when the world has been calm.
//!
//! It never asks the machine what is right: a model of ten lines folds the log.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use isolog::control::facts::Do;
use isolog::control::facts::ForWriters;
use isolog::control::facts::MirrorKey;
use isolog::control::facts::Mode;
use isolog::control::facts::TopicSpec;
use isolog::control::journal::Fold;
use isolog::control::journal::TailBatch;
use isolog::control::journal::WriterTag;
use isolog::control::machine::Control;
use isolog::control::machine::Write;
use isolog::control::order::MirrorVerb;
use isolog::control::order::Order;
use isolog::control::order::Outcome;
use isolog::control::order::Ticket;
use isolog::control::order::Verb;
use isolog::control::row::Before;
use isolog::control::row::Key;
use isolog::control::row::LinkRow;
use isolog::control::row::MirrorRow;
use isolog::control::row::Origin;
use isolog::control::row::reversal::Writers;
use isolog::control::topic::How;
use isolog::control::topic::Stage;
use isolog::control::topic::Status;
use isolog::ids::LinkName;
use isolog::ids::TopicName;

use super::CALM_ROUNDS_MAX;
use super::CALM_ROUNDS_MIN;
use super::ROWS_MAX;
use super::World;
use super::all_links;
use super::file;
use super::groups;
use super::instance::CONFIG_READ;
use super::instance::settings;
use super::link_names;
use super::topic;
use super::truth::Change;
use super::truth::Truth;

/// Every transition stands in the table.
pub fn transitions(after: &Truth, changes: &[Change]) {
    for Change { key, link, was, is } in changes {
        let stages = (was.as_ref().map(|row| row.stage), is.as_ref().map(|row| row.stage));
        let may = super::remembered::may_follow(link.as_ref(), stages);
        assert!(may, "{key:?}: {stages:?}");
        if let (Some(was), Some(is)) = (was, is) {
            last_turns(key, was, is);
        }
    }
    let orphan = after.orphan();
    assert!(orphan.is_none(), "{orphan:?} is an orphan: its link has no row");
}

/// What the source has when a promote is through is here: its configs as they were read after the
/// order, before any seal; what its groups had committed, behind all of them.
fn last_turns(key: &MirrorKey, was: &MirrorRow, is: &MirrorRow) {
    match (was.stage, is.stage) {
        (Stage::Stopping, Stage::Sealing(How::Promote)) => {
            let told = [was.at_stop.get(CONFIG_READ).cloned().flatten(), is.last_configs.clone()];
            let at = told.map(|one| one.and_then(|text| text.parse::<i64>().ok()));
            assert!(at.iter().all(|at| *at >= Some(was.since.0)), "{key:?}: {at:?}, {was:?}");
            let writers = was.reversal.as_ref().map(|one| &one.writers);
            assert!(writers != Some(&Writers::Let), "{key:?}: who writes there may: {was:?}");
        }
        (Stage::Sealing(How::Promote), Stage::Stopped(_)) => {
            let at = is.last_sync.as_ref().map(|last| last.at_ms);
            assert_eq!(at.is_some(), groups::sync_of(&key.0).is_some(), "{key:?}: {is:?}");
            assert!(at.is_none_or(|at| at >= was.since.0), "{key:?}: {is:?}");
            assert_eq!(is.last_configs, was.last_configs, "{key:?}: {is:?}");
            assert_eq!(was.sealed.len() as i32, was.partitions, "{key:?}: {was:?}");
        }
        _ => {}
    }
}

/// Whether a link is for the instance with the `nth` file to act on, by its row.
pub fn acts_on(truth: &Truth, nth: usize, name: &LinkName) -> bool {
    let is_declared = truth.link(name).is_some_and(|row| row.origin == Origin::Declared);
    !is_declared || file(nth).contains(name)
}

/// What an instance writes is about its own links; a value that stands there already may be written
/// again whosever it is.
pub fn own_rows(truth: &Truth, nth: usize, write: &Write) {
    for (text, value) in &write.rows {
        let Some(key) = Key::parse(text) else { continue };
        let is_own = acts_on(truth, nth, key.link());
        assert!(is_own || truth.texts().get(text) == value.as_ref(), "{text} is another file's");
    }
}

/// Nothing is wanted that is not written, and nothing sealed is wanted to be copied.
pub fn spec(truth: &Truth, key: &MirrorKey, spec: Option<&TopicSpec>) {
    let Some(spec) = spec else { return };
    let row = truth.mirror(key).unwrap_or_else(|| panic!("{key:?} is wanted and has no row"));
    let fits = match spec.mode {
        Mode::Mirror => row.stage == Stage::Mirroring && !row.is_paused,
        Mode::Drain => row.stage == Stage::Stopping && !row.abandons_open,
        Mode::DrainStable => row.stage == Stage::Stopping && row.abandons_open,
        Mode::Seal => matches!(row.stage, Stage::Sealing(_) | Stage::Stopped(How::Failover)),
    };
    assert!(fits, "{key:?} is wanted as {:?} in {:?}", spec.mode, row.stage);
    assert!(spec.halt.is_none() || spec.mode < Mode::Seal, "{key:?}: a halt stops no seal");
    assert_eq!(row.mirror_id, Some(spec.mirror_id), "{key:?}");
    for partition in spec.partitions.keys() {
        assert!(!row.sealed.contains_key(partition), "{key:?}-{partition} is sealed");
        assert!(partition.0 < row.partitions, "{key:?}-{partition} is not written");
    }
}

/// Nothing is done before its row is read back.
pub fn action(truth: &Truth, action: &Do) {
    let key = action.mirror();
    let row = truth.mirror(key).unwrap_or_else(|| panic!("{action:?} without a row"));
    let fits = match action {
        Do::Create { .. } | Do::Compare { .. } => row.stage == Stage::Setup,
        Do::Replace { mirror_id, .. } => {
            row.stage == Stage::Setup && row.before == Before::Replaced(*mirror_id)
        }
        Do::Grow { .. } => matches!(row.stage, Stage::Mirroring | Stage::Stopping),
        Do::GiveBack { owed, .. } => match row.stage {
            Stage::Sealing(_) => true,
            // what was still owed when it stopped, and nothing else
            Stage::Stopped(_) => {
                owed.iter().all(|(key, value)| row.at_stop.get(key) == Some(value))
            }
            _ => false,
        },
        Do::Delete { .. } => row.stage == Stage::Leaving { topic: true },
        // what the topic had is written down before it has another value
        Do::Writers { what, .. } => match (what, row.reversal.as_ref().map(|one| &one.writers)) {
            (ForWriters::Ask, Some(Writers::Let)) => row.stage == Stage::Stopping,
            (ForWriters::Stop, Some(Writers::Stopped(_))) => row.stage == Stage::Stopping,
            (ForWriters::Let(had), Some(Writers::Stopped(was))) => {
                row.stage == Stage::Mirroring && had == was
            }
            _ => false,
        },
        Do::Rest { .. } => row.stage == Stage::Stopping && row.reversal.is_some(),
    };
    assert!(fits, "{action:?} in {:?}", row.stage);
}

/// Nothing is answered before it is so; the answer is how many topics obeyed.
pub fn answer(truth: &Truth, order: &Order, outcomes: &[Outcome]) -> u64 {
    // what takes several writes is answered when the last one is read back
    let is_one_write = outcomes.len() <= ROWS_MAX;
    for outcome in outcomes.iter().filter(|_| !order.is_dry && is_one_write) {
        match &order.verb {
            Verb::Mirrors(_, verb) => {
                if let Some(name) = &outcome.topic {
                    let key = (order.link.clone(), name.clone());
                    mirror_answer(truth.mirror(&key), *verb, outcome);
                }
            }
            Verb::CreateMirror(_) if outcome.result.is_ok() => {
                let name = outcome.topic.clone().expect("it is about a topic");
                let row = truth.mirror(&(order.link.clone(), name));
                assert!(row.is_some_and(|row| row.stage != Stage::Setup), "{order:?}");
            }
            Verb::CreateLink(_) if outcome.result.is_ok() => {
                assert!(truth.link(&order.link).is_some(), "{order:?}");
            }
            Verb::PauseLink(is_paused) if outcome.result.is_ok() => {
                let row = truth.link(&order.link);
                assert!(row.is_some_and(|row| row.is_paused == *is_paused), "{order:?}");
            }
            Verb::DeleteLink { .. } if outcome.result.is_ok() => {
                let row = truth.link(&order.link);
                assert!(row.is_none_or(|row| row.is_leaving), "{order:?}");
            }
            _ => {}
        }
    }
    outcomes.iter().filter(|outcome| outcome.result.is_ok()).count() as u64
}

fn mirror_answer(row: Option<&MirrorRow>, verb: MirrorVerb, outcome: &Outcome) {
    let told = format!("{verb:?}: {outcome:?}, {row:?}");
    let Some(row) = row else {
        let gone = matches!(verb, MirrorVerb::Delete { .. }) || outcome.result.is_err();
        return assert!(gone, "{told}");
    };
    match (&outcome.result, verb) {
        (Ok(()), MirrorVerb::Pause) => assert!(row.is_paused, "{told}"),
        (Ok(()), MirrorVerb::Resume) => assert!(!row.is_paused, "{told}"),
        (Ok(()), MirrorVerb::Stop { .. } | MirrorVerb::Abandon { .. }) => {
            assert!(row.stage.is_ending(), "{told}");
        }
        (Ok(()), MirrorVerb::Reverse { .. }) => {
            assert!(row.stage.is_ending() && row.reversal.is_some(), "{told}");
        }
        (Ok(()), MirrorVerb::Delete { .. }) => {
            assert!(matches!(row.stage, Stage::Leaving { .. }), "{told}");
        }
        (Err(refusal), MirrorVerb::Stop { .. }) if matches!(row.stage, Stage::Stopped(_)) => {
            // 404 or 503 where the role or the link was away
            let text = "has already stopped its mirror from";
            assert!(refusal.status != 400 || refusal.text.contains(text), "{told}");
        }
        (Err(_), _) => {}
    }
}

impl World<'_> {
    /// The machine's fold is the model's, and its rows are the fold's.
    pub(super) fn check_fold(&self, nth: usize) {
        let instance = &self.instances[nth];
        assert_eq!(instance.machine.fold().rows(), instance.truth.texts());
    }

    /// Faults stop, one instance has the role, and everything that is on its way arrives.
    pub(super) fn calm(&mut self) {
        self.faults = false;
        self.give_role(0);
        (0..self.instances.len()).for_each(|nth| self.collect(nth));
        // who waits for a set-up of the other one's file is told so after a while (504), unless a
        // row that is on its way says more
        let waits: BTreeSet<Ticket> =
            self.instances[1..].iter().flat_map(|one| one.tickets.iter().copied()).collect();
        let truth = &self.truth;
        self.open.retain(|ticket, order| {
            let is_set_up = matches!(order.verb, Verb::CreateMirror(_));
            let stays = !is_set_up || !waits.contains(ticket) || acts_on(truth, 0, &order.link);
            if !stays {
                self.given_up.insert(*ticket);
            }
            stays
        });
        for link in all_links() {
            for nth in 0..self.instances.len() {
                let source = isolog::ids::ClusterId("source".into());
                let reach = isolog::control::facts::Reach::Available(source);
                let now = self.now();
                self.instances[nth].machine.handle_reach(now, &link, reach);
            }
        }
        for round in 0.. {
            assert!(round < CALM_ROUNDS_MAX, "it does not settle:\n{}", self.told());
            let before = self.busy();
            self.resume_links();
            self.round();
            if before == 0 && self.busy() == 0 && round > CALM_ROUNDS_MIN {
                break;
            }
        }
    }

    /// Nothing ends on a link that rests.
    fn resume_links(&mut self) {
        for link in all_links() {
            if !acts_on(&self.truth, 0, &link) {
                continue;
            }
            let row = self.truth.link(&link);
            if row.is_some_and(|row| row.is_paused && !row.is_leaving) && self.open.is_empty() {
                let verb = Verb::PauseLink(false);
                self.give_order(0, Order { link, verb, is_dry: false });
            }
        }
    }

    /// Everything once, at each instance.
    fn round(&mut self) {
        for nth in 0..self.instances.len() {
            self.tally.steps += 10;
            self.clock += 1_000;
            let now = self.now();
            self.instances[nth].machine.handle_timeout(now);
            self.read_tail(nth);
            self.collect(nth);
            self.write(nth);
            self.read_tail(nth);
            self.look(nth);
            self.act(nth);
            self.copy(nth);
            for _ in 0..4 {
                self.flow(nth);
                self.collect(nth);
            }
            self.last_turns(nth);
            for _ in 0..2 {
                self.rights(nth);
                self.groups(nth);
            }
            self.collect(nth);
        }
    }

    /// What is still to come.
    fn busy(&self) -> usize {
        let is_pending = |(key, row): &(&MirrorKey, &MirrorRow)| {
            // a promote waits for its source as long as that is away, and says so
            let machine = &self.instances[0].machine;
            let waits = || machine.track(key).is_some_and(|track| track.fault.is_some());
            // what is of the other one's file is not begun, nor ended, by this one
            let is_own = || acts_on(&self.truth, 0, &key.0);
            row.stage.is_pending() && is_own() && !(row.stage == Stage::Stopping && waits())
        };
        let is_leaving =
            |(name, row): &(&LinkName, &LinkRow)| row.is_leaving && acts_on(&self.truth, 0, name);
        let pending = self.truth.mirrors().filter(is_pending).count()
            + self.truth.links().filter(is_leaving).count();
        let on_the_way: usize = (0..self.instances.len())
            .map(|nth| {
                let one = &self.instances[nth];
                let unread = self.log.len() - one.read;
                unread + one.writes.len() + one.dos.len() + self.leaving(nth)
            })
            .sum();
        on_the_way + self.open.len() + pending
    }

    fn told(&self) -> String {
        let rows = self.truth.texts().iter().map(|(k, v)| format!("{k} {v}")).collect::<Vec<_>>();
        let tracks = self.instances[0].machine.mirrors().map(|(key, _, status)| {
            format!("{key:?} {status:?} {:?}", self.instances[0].machine.track(key))
        });
        let tracks = tracks.collect::<Vec<_>>().join("\n");
        format!("{}\n{tracks}\n{:?}", rows.join("\n"), self.open)
    }

    /// When all is calm.
    pub(super) fn verdict(&mut self) {
        for nth in 0..self.instances.len() {
            assert_eq!(self.instances[nth].truth, self.truth, "all fold to the same state");
            self.check_fold(nth);
        }
        self.all_is_followed();
        self.same_after_a_restart();
        self.same_after_a_cleaner();
        self.nobody_is_forgotten();
        self.dry_runs_do_nothing();
        self.a_second_promote_is_refused();
    }

    /// The fold of the rows is the machine.
    fn same_after_a_restart(&mut self) {
        let now = self.now();
        let mut anew = Control::new(WriterTag(u64::MAX), ROWS_MAX);
        for batch in &self.log {
            anew.handle_batch(now, batch.clone());
        }
        let rows = |machine: &Control| -> Vec<(MirrorKey, MirrorRow)> {
            machine.mirrors().map(|(key, row, _)| (key.clone(), row.clone())).collect()
        };
        assert_eq!(rows(&anew), rows(&self.instances[0].machine));
        anew.handle_level(now);
        let wanted = |machine: &Control| -> Vec<(MirrorKey, Mode)> {
            machine.wanted().iter().map(|(key, spec)| (key.clone(), spec.mode)).collect()
        };
        assert_eq!(wanted(&anew), [], "it has no role");
        let declared = file(0).map(|link| {
            let row = self.truth.link(&link);
            assert!(row.is_some(), "whose file has {link} writes it:\n{}", self.told());
            let row = super::remembered::declared(row);
            (link, row)
        });
        anew.handle_declared(now, declared.into());
        for link in all_links() {
            let is_there = self.truth.link(&link).is_some();
            let is_its = is_there && acts_on(&self.truth, 0, &link);
            let settings = is_its.then(|| settings(&link));
            anew.handle_settings(now, &link, settings);
        }
        anew.handle_role(now, true);
        // what stands still is held as well; that it does is a fact that has yet to come
        assert_eq!(wanted(&anew), wanted(&self.instances[0].machine));
    }

    /// A cleaner leaves the newest record of each key, whoever wrote it.
    fn same_after_a_cleaner(&self) {
        let mut newest = BTreeMap::new();
        for (nth, batch) in self.log.iter().enumerate() {
            for record in &batch.records {
                newest.insert(record.key.clone(), nth);
            }
        }
        let cleaned = self.log.iter().enumerate().map(|(nth, batch)| {
            let mut left = batch.clone();
            left.records.retain(|record| newest[&record.key] == nth);
            left
        });
        let cleaned: Vec<TailBatch> = cleaned.filter(|batch| !batch.records.is_empty()).collect();
        assert_eq!(fold_of(&cleaned).rows(), self.truth.texts(), "a cleaner loses nothing");
    }

    /// Each topic that is mirrored has an owner, and nothing is held that is not.
    fn nobody_is_forgotten(&self) {
        let machine = &self.instances[0].machine;
        let mut wanted = 0;
        for (key, row, status) in machine.mirrors() {
            let spec = machine.wanted().get(key);
            if !acts_on(&self.truth, 0, &key.0) {
                assert!(spec.is_none(), "{key:?} is of another file");
                continue;
            }
            wanted += spec.map_or(0, |spec| spec.partitions.len());
            let is_active = status == Status::Active;
            let has_fault = machine.track(key).is_some_and(|track| track.fault.is_some());
            let stands = spec.is_some_and(|spec| spec.halt.is_some());
            assert!(!is_active || spec.is_some(), "{key:?} is ACTIVE and nobody copies it");
            assert_eq!(stands, has_fault && spec.is_some(), "{key:?} {status:?}");
            let waits = status == Status::PendingStopped && stands;
            let may_stand = waits || status == Status::Failed;
            assert!(is_active || spec.is_none() || may_stand);
            assert!(!stands || may_stand, "{key:?} stands still and is {status:?}");
            let there = self.clusters.mirror.get(&key.1);
            if is_active {
                let is_there = there.map(|topic| Some(topic.id));
                assert_eq!(is_there, Some(row.mirror_id), "{key:?}\n{}", self.told());
            }
            self.its_line_is_known(key, row, spec);
            let is_ours = there.is_some_and(|topic| Some(topic.id) == row.mirror_id);
            if matches!(row.stage, Stage::Stopped(_)) && is_ours {
                assert_eq!(row.sealed.len() as i32, row.partitions, "{key:?}");
                assert!(there.is_some_and(|topic| topic.is_given_back), "{key:?}");
            }
        }
        assert_eq!(self.holds(0), wanted);
        assert_eq!((1..self.instances.len()).map(|nth| self.holds(nth)).sum::<usize>(), 0);
    }

    fn dry_runs_do_nothing(&mut self) {
        let verbs = [
            Verb::PauseLink(true),
            Verb::DeleteLink { is_forced: true },
            Verb::Mirrors(vec![topic("a"), topic("orders")], MirrorVerb::Pause),
            Verb::Mirrors(
                vec![topic("a"), topic("orders")],
                MirrorVerb::Stop { how: How::Failover, deadline_ms: None },
            ),
            Verb::Mirrors(vec![topic("a")], MirrorVerb::Delete { topic: true }),
        ];
        for verb in verbs {
            let [link, _] = link_names();
            let ticket = self.give_order(0, Order { link, verb, is_dry: true });
            let now = self.now();
            let machine = &mut self.instances[0].machine;
            assert_eq!(machine.poll_write(now), None, "a dry run writes nothing");
            assert_eq!(machine.poll_do(), None, "a dry run does nothing");
            assert_eq!(machine.poll_spec(), None, "a dry run moves nothing");
            self.collect(0);
            assert!(!self.open.contains_key(&ticket), "a dry run is answered");
        }
    }

    fn a_second_promote_is_refused(&mut self) {
        let stopped = |(key, row, _): (&MirrorKey, &MirrorRow, Status)| {
            let is_own = acts_on(&self.truth, 0, &key.0);
            (matches!(row.stage, Stage::Stopped(_)) && is_own).then(|| key.clone())
        };
        let Some((link, name)) = self.instances[0].machine.mirrors().find_map(stopped) else {
            return;
        };
        let told = format!("Topic '{name}' has already stopped its mirror from '{link}'.");
        let text = |name: TopicName, how| {
            Verb::Mirrors(vec![name], MirrorVerb::Stop { how, deadline_ms: None })
        };
        for how in [How::Promote, How::Failover] {
            let verb = text(name.clone(), how);
            let ticket = self.give_order(0, Order { link: link.clone(), verb, is_dry: false });
            let now = self.now();
            let machine = &mut self.instances[0].machine;
            assert_eq!(machine.poll_write(now), None);
            let (answered, outcomes) = machine.poll_answer().expect("it is answered at once");
            assert_eq!(answered, ticket);
            let refusal = outcomes[0].result.clone().expect_err("it has stopped");
            assert_eq!((refusal.status, refusal.text), (400, told.clone()));
            self.open.remove(&ticket);
        }
    }
}

/// The fold of a whole log, by the product's own hand.
fn fold_of(log: &[TailBatch]) -> Fold {
    let mut fold = Fold::default();
    for batch in log {
        fold.apply(batch.clone());
    }
    fold
}
