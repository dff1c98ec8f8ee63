//! What is answered to who only looks.
//!
//! It never waits, and never changes anything.

use serde_json::Value;

use crate::control::topic::Status;
use crate::ids::TopicName;
use crate::settings::names::canonical;

use super::answers::Place;
use super::configs;
use super::error::Kind;
use super::error::Problem;
use super::no_link;
use super::request::Asked;
use super::request::shown;
use super::shown::Everything;
use super::shown::LinkShown;
use super::shown::MirrorShown;
use super::table::Call;

/// The states of Cluster Linking that no mirror topic of this version is ever in.
const NEVER: [&str; 4] =
    ["PENDING_MIRROR", "PENDING_SYNCHRONIZE", "PENDING_SETUP_FOR_RESTORE", "PENDING_RESTORE"];
const STATUSES: [Status; 9] = [
    Status::PendingSetup,
    Status::Active,
    Status::Paused,
    Status::LinkPaused,
    Status::LinkFailed,
    Status::SourceUnavailable,
    Status::Failed,
    Status::PendingStopped,
    Status::Stopped,
];

/// The words that `mirror_status` can have, each once.
pub fn statuses() -> Vec<&'static str> {
    let mut words: Vec<&str> =
        STATUSES.iter().map(|status| status.word_v3()).chain(NEVER).collect();
    words.sort_unstable();
    words.dedup();
    words
}

/// The answer to a call that reads.
pub fn answer(
    call: Call,
    asked: &Asked,
    place: &Place,
    all: &Everything,
) -> Result<Value, Problem> {
    match call {
        Call::ListClusters => Ok(place.clusters()),
        Call::GetCluster => Ok(place.cluster()),
        Call::ListLinks => Ok(place.links(&all.links())),
        Call::GetLink => {
            let link = link(asked, all)?;
            Ok(place.link(&link, asked.flag("include_tasks", false)))
        }
        Call::ListConfigs => {
            let link = link(asked, all)?;
            Ok(place.configs(&link.name, &configs::of(&link, all)))
        }
        Call::GetConfig => {
            let link = link(asked, all)?;
            let name = canonical(asked.param("config_name"));
            let configs = configs::of(&link, all);
            let config = configs.iter().find(|config| config.name == name).ok_or_else(|| {
                let text = format!("Cluster link '{}' has no config {}.", link.name, shown(name));
                Problem::new(Kind::Unknown, text)
            })?;
            Ok(place.config(&link.name, config))
        }
        Call::ListAllMirrors => Ok(place.mirrors("-", &chosen(asked, all.mirrors(None))?)),
        Call::ListMirrors => {
            let link = link(asked, all)?;
            Ok(place.mirrors(&link.name, &chosen(asked, all.mirrors(Some(&link.name)))?))
        }
        Call::GetMirror => {
            let link = link(asked, all)?;
            let topic = asked.param("mirror_topic_name");
            let mirror = all.mirror(&link.name, topic).ok_or_else(|| no_mirror(&link, topic))?;
            Ok(place.mirror(&mirror, asked.flag("include_state_transition_errors", false)))
        }
        Call::GetTopic => topic(asked, place, all),
        _ => Err(Problem::new(Kind::Broken, "The call reads nothing, a fault of isolog.")),
    }
}

fn link(asked: &Asked, all: &Everything) -> Result<LinkShown, Problem> {
    let name = asked.param("link_name");
    all.link(name).ok_or_else(|| no_link(name))
}

fn no_mirror(link: &LinkShown, topic: &str) -> Problem {
    let (topic, link) = (shown(topic), &link.name);
    let text = format!("Topic {topic} is not a mirror topic of cluster link '{link}'.");
    Problem::new(Kind::UnknownTopic, text)
}

fn chosen(asked: &Asked, mirrors: Vec<MirrorShown>) -> Result<Vec<MirrorShown>, Problem> {
    let Some(status) = asked.word("mirror_status") else { return Ok(mirrors) };
    if !statuses().contains(&status) {
        let words = statuses().join(", ");
        let text = format!("mirror_status of the query must be one of {words}.");
        return Err(Problem::malformed(text));
    }
    Ok(mirrors.into_iter().filter(|mirror| mirror.status == status).collect())
}

fn topic(asked: &Asked, place: &Place, all: &Everything) -> Result<Value, Problem> {
    let name = asked.param("topic_name");
    let mirrors = all.mirrors(None);
    let mirror = mirrors.iter().find(|mirror| mirror.mirror == name);
    match (TopicName::new(name), mirror) {
        (Some(topic), Some(mirror)) => Ok(place.topic(&topic, mirror)),
        _ => {
            let text =
                format!("Topic {} is not a mirror topic: isolog shows no others.", shown(name));
            Err(Problem::new(Kind::UnknownTopic, text))
        }
    }
}
