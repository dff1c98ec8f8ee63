//! What people see of links beside their partitions, from what the control machine shows.
//!
//! It never decides a state.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;

use tokio::sync::Notify;
use tokio::sync::watch;

use crate::control::journal::TOPIC;
use crate::control::link::LinkState as State;
use crate::control::task::TaskName;
use crate::control::topic::Fault;
use crate::control::topic::Stage;
use crate::control::topic::Status;
use crate::flow::Wall;
use crate::ids::LinkName;
use crate::ids::TopicName;
use crate::link::LinkSettings;
use crate::link::clients::Reachable;
use crate::link::driver::ctx::Ctx;
use crate::link::driver::ctx::lock;
use crate::link::log;
use crate::link::registry::LinkSeen;
use crate::link::registry::MirrorSeen;
use crate::link::registry::Seen;
use crate::link::registry::TaskSeen;
use crate::link::seen::IN_ERROR;
use crate::link::status::Link;
use crate::link::status::LinkState;
use crate::link::status::Rests;
use crate::link::status::Wanted;
use crate::sync::trouble;
use crate::sync::trouble::Kind;
use crate::sync::trouble::Trouble;

/// Who says what is wrong with the journal.
pub(super) const JOURNAL: &str = "journal";
/// Who says that the journal takes no row.
pub(super) const WRITES: &str = "journal's writer";
/// Who says that the destination cannot be reached.
pub(super) const DESTINATION: &str = "destination";

/// What is shown of them.
#[derive(Clone, Default)]
pub(super) struct Shown {
    pub links: Arc<Mutex<BTreeMap<LinkName, Link>>>,
    /// Why nothing, or not all, is known or done; by who says so.
    pub troubles: Arc<Mutex<BTreeMap<&'static str, Fault>>>,
    /// What keeps the journal's rows, once it has been opened.
    pub health: Arc<Mutex<Option<watch::Receiver<log::Health>>>>,
    /// Whose clusters can be asked.
    pub reachable: Reachable,
    /// One of them is another one.
    pub news: Arc<Notify>,
}

impl Shown {
    /// Links of the file are shown before anything is reached.
    pub fn of(file: &[LinkSettings], wall: Wall) -> Shown {
        let shown = Shown::default();
        shown.add(file, wall);
        shown
    }

    /// The same of links that are new in the file.
    pub fn add(&self, file: &[LinkSettings], wall: Wall) {
        let mut links = lock(&self.links);
        for one in file {
            let new = || Link::new(one.name.clone(), one.named(), wall);
            links.entry(one.name.clone()).or_insert_with(new);
        }
    }

    /// What is wrong with the journal.
    pub fn journal(&self) -> Option<Fault> {
        lock(&self.troubles).get(JOURNAL).cloned()
    }

    /// Something is wrong, or no more: said once when it is news.
    pub fn tell(&self, who: &'static str, trouble: Option<Fault>) {
        let mut troubles = lock(&self.troubles);
        if troubles.get(who) == trouble.as_ref() {
            return;
        }
        self.news.notify_one();
        match trouble {
            Some(fault) => {
                tracing::warn!(code = fault.code, "{}", fault.text);
                troubles.insert(who, fault);
            }
            None => {
                tracing::info!("nothing is wrong with the {who} any more");
                troubles.remove(who);
            }
        }
    }
}

/// Copies it to where it is shown.
pub(super) fn show(ctx: &Ctx, shown: &Shown, seen: &Seen, link: &LinkSeen) {
    let state = match (lock(&ctx.wrong).clone(), &link.state) {
        (Some(text), _) => LinkState::Halted(text),
        (None, State::Unknown) => LinkState::Connecting,
        // what its topics are is not known before
        (None, State::Active) if !link.has_looked => LinkState::Connecting,
        // what the file says of it has not come to where it is decided on
        (None, State::Paused) if link.settings.is_none() && ctx.file.borrow().is_some() => {
            LinkState::Connecting
        }
        (None, State::Active) => LinkState::Active,
        (None, State::Paused) => LinkState::Paused,
        (None, State::Unavailable(fault)) => LinkState::Unavailable(fault.text.clone()),
        (None, State::Failed(fault)) => LinkState::Halted(fault.text.clone()),
    };
    let journal = shown.journal().filter(is_of_links);
    let mut troubles: Vec<Trouble> = journal.iter().map(of_journal).collect();
    let standing = standing(ctx, seen);
    let of_tasks = link.tasks.iter().flat_map(|task| troubles_of(&ctx.name, task));
    troubles.extend(of_tasks.filter(|one| {
        !matches!(one.kind, Kind::NotSynced(_)) || !standing.contains(one.subject.as_str())
    }));
    let rowless = match link.settings {
        Some(_) => link.rowless.clone(),
        None => named(ctx, seen),
    };
    let unseen = |(name, mirror)| (name, Wanted::unseen(mirror));
    let mut wanted: BTreeMap<TopicName, Wanted> = rowless.into_iter().map(unseen).collect();
    for (mirror, one) in seen.mirrors_of(&ctx.name) {
        troubles.extend(trouble_of(one));
        if is_mirrored(one) {
            wanted.insert(one.row.source_topic.clone(), wanted_of(mirror, one));
        }
    }
    // a topic that is refused has a row until that is written, and its link's trouble by then
    let mut told = BTreeSet::new();
    troubles.retain(|one| told.insert((one.subject.clone(), one.text.clone())));
    ctx.link.set(|status| status.tasks.clone_from(&link.tasks));
    ctx.link.tell_looked(state, troubles, Arc::new(wanted));
}

/// What the file names, before the settings have come to where they are decided on.
fn named(ctx: &Ctx, seen: &Seen) -> BTreeMap<TopicName, TopicName> {
    let file = ctx.file.borrow();
    let Some(file) = &*file else { return BTreeMap::new() };
    let mut named = file.named();
    named.retain(|_, mirror| !seen.mirrors.contains_key(&(ctx.name.clone(), mirror.clone())));
    named
}

/// A link of the file that has no row, or none that can be read, so that nothing is known of it but
/// what the journal does.
pub(super) fn show_rowless(ctx: &Ctx, shown: &Shown, seen: &Seen) {
    let unread = || seen.unread.get(&ctx.name).map(|fault| fault.text.clone());
    let (state, troubles) = match (shown.journal(), unread()) {
        (Some(fault), _) if is_of_links(&fault) => {
            (LinkState::Halted(fault.text.clone()), vec![of_journal(&fault)])
        }
        (Some(fault), _) => (LinkState::Unavailable(fault.text), Vec::new()),
        (None, Some(text)) => (LinkState::Halted(text), Vec::new()),
        (None, None) => return,
    };
    let wanted = ctx.link.status().wanted;
    ctx.link.tell_looked(state, troubles, wanted);
}

/// Whether it is more than that the destination does not answer, which links tell themselves.
pub(super) fn is_of_links(fault: &Fault) -> bool {
    !matches!(fault.code.as_str(), log::UNREACHABLE | log::UNREADABLE)
}

/// What is wrong with the journal is wrong with all links.
fn of_journal(fault: &Fault) -> Trouble {
    let kind = match fault.code.as_str() {
        "TOPIC_AUTHORIZATION_FAILED" => Kind::Hidden,
        _ => Kind::Journal,
    };
    Trouble { subject: TOPIC.to_owned(), kind, text: fault.text.clone() }
}

/// A fault of isolog itself.
pub(super) fn internal(text: String) -> Fault {
    Fault { code: "INTERNAL_ERROR".to_owned(), text }
}

/// Topics that stand still, by both names: nothing of them follows, and that is told once.
fn standing<'a>(ctx: &Ctx, seen: &'a Seen) -> BTreeSet<&'a str> {
    let all = seen.mirrors_of(&ctx.name);
    let standing = all.filter(|(_, one)| one.status == Status::Failed || one.missing.is_some());
    standing.flat_map(|(name, one)| [name.as_str(), one.row.source_topic.as_str()]).collect()
}

/// What a task could not do. Log starts tell theirs themselves, and a cluster that did not answer
/// is the link's own trouble.
fn troubles_of(link: &LinkName, task: &TaskSeen) -> Vec<Trouble> {
    let kind = match task.name {
        TaskName::LogStartSync => return Vec::new(),
        TaskName::AutoCreateMirror => None,
        // while the link does not go on at all, that is what is told
        _ if task.state != IN_ERROR => return Vec::new(),
        name => Some(Kind::NotSynced(name)),
    };
    let of = |(subject, fault): &(String, Fault)| match kind {
        None => told(subject.clone(), fault),
        Some(kind) => Trouble { subject: subject.clone(), kind, text: fault.text.clone() },
    };
    let is_away =
        |(subject, fault): &(String, Fault)| *subject == *link.0 && fault.code == "INTERNAL_ERROR";
    task.errors.iter().filter(|error| kind.is_none() || !is_away(error)).map(of).collect()
}

/// What is copied but for a pause, and so is shown whether it is or not.
fn is_mirrored(mirror: &MirrorSeen) -> bool {
    matches!(mirror.row.stage, Stage::Setup | Stage::Mirroring | Stage::Stopping)
}

/// What is to be copied now.
fn is_wanted(mirror: &MirrorSeen) -> bool {
    is_mirrored(mirror) && rests(mirror).is_none()
}

fn rests(mirror: &MirrorSeen) -> Option<Rests> {
    match mirror.status {
        Status::Paused => Some(Rests::Topic),
        Status::LinkPaused => Some(Rests::Link),
        _ => None,
    }
}

fn wanted_of(name: &TopicName, mirror: &MirrorSeen) -> Wanted {
    let partitions = mirror.row.partitions;
    Wanted { mirror: name.clone(), partitions, rests: rests(mirror) }
}

/// Why a topic as a whole does not go on. What partitions tell themselves is not told twice.
fn trouble_of(mirror: &MirrorSeen) -> Option<Trouble> {
    let missing = mirror.missing.filter(|_| mirror.reason.is_none() && is_wanted(mirror));
    if let Some(side) = missing {
        return Some(trouble::missing(&mirror.row.source_topic, side));
    }
    let topic: &TopicName = &mirror.row.source_topic;
    let is_told = matches!(mirror.status, Status::PendingSetup | Status::Failed);
    let fault = mirror.reason.as_ref().filter(|_| is_told);
    let fault = fault.filter(|fault| !mirror.halted.values().any(|halted| halted == *fault));
    let surplus = mirror.surplus.filter(|_| is_wanted(mirror));
    let surplus = || surplus.map(|(ours, theirs)| trouble::surplus(topic, ours, theirs));
    fault.map(|fault| told(topic.to_string(), fault)).or_else(surplus)
}

fn told(subject: String, fault: &Fault) -> Trouble {
    let kind = match fault.code.as_str() {
        "AUTHORIZATION_ERROR" | "TOPIC_AUTHORIZATION_FAILED" => Kind::Hidden,
        // no topic is called so
        "UNKNOWN_TOPIC_OR_PARTITION_ERROR" if subject.ends_with('*') => Kind::MatchesNothing,
        "UNKNOWN_TOPIC_OR_PARTITION_ERROR" => Kind::NotFound,
        "SOURCE_TOPIC_ID_CHANGED" => Kind::Halted("SOURCE_TOPIC_ID_CHANGED"),
        "DESTINATION_TOPIC_ID_CHANGED" => Kind::Halted("DESTINATION_TOPIC_ID_CHANGED"),
        "SOURCE_TOPIC_MAY_BE_DELETED" => Kind::Halted("SOURCE_TOPIC_DELETED"),
        "DESTINATION_TOPIC_DELETED" => Kind::Halted("DESTINATION_TOPIC_DELETED"),
        "SOURCE_PARTITIONS_DECREASED" => Kind::Halted("SOURCE_PARTITIONS_DECREASED"),
        "LOOP" => Kind::Halted("LOOP"),
        "DIVERGED" => Kind::Halted("DIVERGED"),
        "DESTINATION_AHEAD" => Kind::Halted("DESTINATION_AHEAD"),
        "SEALED" => Kind::Halted("SEALED"),
        _ => Kind::Refused,
    };
    Trouble { subject, kind, text: fault.text.clone() }
}
