//! What people see of links beside their partitions, from what the control machine shows.
//!
//! It never decides a state.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;

use crate::control::link::LinkState as State;
use crate::control::task::TaskName;
use crate::control::topic::Fault;
use crate::control::topic::Stage;
use crate::control::topic::Status;
use crate::flow::Wall;
use crate::ids::LinkName;
use crate::ids::TopicName;
use crate::link::LinkSettings;
use crate::link::driver::ctx::Ctx;
use crate::link::driver::ctx::lock;
use crate::link::registry::LinkSeen;
use crate::link::registry::MirrorSeen;
use crate::link::registry::Seen;
use crate::link::registry::TaskSeen;
use crate::link::status::Link;
use crate::link::status::LinkState;
use crate::sync::trouble;
use crate::sync::trouble::Kind;
use crate::sync::trouble::Trouble;

/// What is shown of them.
#[derive(Clone, Default)]
pub(super) struct Shown {
    pub links: Arc<Mutex<BTreeMap<LinkName, Link>>>,
    /// Why nothing, or not all, is known or done; by who says so.
    pub troubles: Arc<Mutex<BTreeMap<&'static str, String>>>,
}

impl Shown {
    /// Links of the file are shown before anything is reached.
    pub fn of(file: &[LinkSettings], wall: Wall) -> Shown {
        let link = |one: &LinkSettings| {
            (one.name.clone(), Link::new(one.name.clone(), &one.link.topics, wall))
        };
        let links = Arc::new(Mutex::new(file.iter().map(link).collect()));
        Shown { links, troubles: Arc::default() }
    }

    /// Something is wrong, or no more: said once when it is news.
    pub fn tell(&self, who: &'static str, trouble: Option<String>) {
        let mut troubles = lock(&self.troubles);
        if troubles.get(who) == trouble.as_ref() {
            return;
        }
        match trouble {
            Some(text) => {
                tracing::warn!("{text}");
                troubles.insert(who, text);
            }
            None => {
                tracing::info!("nothing is wrong with the {who} any more");
                troubles.remove(who);
            }
        }
    }
}

/// Copies it to where it is shown.
pub(super) fn show(ctx: &Ctx, seen: &Seen, link: &LinkSeen) {
    let state = match (lock(&ctx.wrong).clone(), &link.state) {
        (Some(text), _) => LinkState::Halted(text),
        (None, State::Unknown) => LinkState::Connecting,
        (None, State::Active) => LinkState::Active,
        (None, State::Paused) => LinkState::Paused,
        (None, State::Unavailable(fault)) => LinkState::Unavailable(fault.text.clone()),
        (None, State::Failed(fault)) => LinkState::Halted(fault.text.clone()),
    };
    let mut troubles: Vec<Trouble> = link.tasks.iter().flat_map(troubles_of).collect();
    let mut wanted = BTreeMap::new();
    for (mirror, one) in seen.mirrors_of(&ctx.name) {
        troubles.extend(trouble_of(one));
        if is_wanted(one) {
            wanted.insert(one.row.source_topic.clone(), mirror.clone());
        }
    }
    ctx.link.set(|status| status.tasks.clone_from(&link.tasks));
    ctx.link.tell_commanded(state, troubles, wanted);
}

/// What a task could not do. Log starts tell theirs themselves.
fn troubles_of(task: &TaskSeen) -> Vec<Trouble> {
    let kind = match task.name {
        TaskName::LogStartSync => return Vec::new(),
        TaskName::AutoCreateMirror => None,
        name => Some(Kind::NotSynced(name)),
    };
    let of = |(subject, fault): &(String, Fault)| match kind {
        None => told(subject.clone(), fault),
        Some(kind) => Trouble { subject: subject.clone(), kind, text: fault.text.clone() },
    };
    task.errors.iter().map(of).collect()
}

/// What is to be copied, and so is shown whether it is or not.
fn is_wanted(mirror: &MirrorSeen) -> bool {
    matches!(mirror.row.stage, Stage::Setup | Stage::Mirroring | Stage::Stopping)
        && !matches!(mirror.status, Status::Paused | Status::LinkPaused)
}

/// Why a topic as a whole does not go on. What partitions tell themselves is not told twice.
fn trouble_of(mirror: &MirrorSeen) -> Option<Trouble> {
    let missing = mirror.missing.filter(|_| mirror.reason.is_none() && is_wanted(mirror));
    if let Some(side) = missing {
        return Some(trouble::missing(&mirror.row.source_topic, side));
    }
    let is_told = matches!(mirror.status, Status::PendingSetup | Status::Failed);
    let fault = mirror.reason.as_ref().filter(|_| is_told)?;
    let is_of_partition = mirror.halted.values().any(|halted| halted == fault);
    let topic: &TopicName = &mirror.row.source_topic;
    (!is_of_partition).then(|| told(topic.to_string(), fault))
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
        _ => Kind::Refused,
    };
    Trouble { subject, kind, text: fault.text.clone() }
}
