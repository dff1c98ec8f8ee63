//! What a drill has made is removed again: the canary at the source, the mirror, and its topic;
//! also where the drill failed or was interrupted.
//!
//! It never says that something is gone that was not seen to be.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio::time::timeout_at;

use super::Failure;
use super::Question;
use super::Remote;
use super::mirror::mirrors;
use super::text;
use crate::audit::LinkOptions;
use crate::drill::hands::Hands;
use crate::ids::Side;

/// For how long it may take to remove everything.
const CLEAR_WAIT_MAX: Duration = Duration::from_secs(45);
/// All of that together, with some time to say what is left.
pub(super) const ALL_WAIT_MAX: Duration = Duration::from_secs(75);
/// The pause before what was not removed is tried again.
const TRY_PAUSE: Duration = Duration::from_millis(500);
/// A link that takes the canary by its filters may have seen it at the source a moment before it
/// was deleted there, and make it a mirror once more: so all is looked at again after this.
const AGAIN_PAUSE: Duration = Duration::from_secs(3);
/// For how long that may take.
const AGAIN_WAIT_MAX: Duration = Duration::from_secs(20);
/// The service knows no such mirror topic, or no such link.
const NOT_FOUND: u16 = 404;

/// Something that is left behind.
pub(super) struct Left {
    /// What, and why.
    pub what: String,
    /// The command that removes it.
    pub command: String,
}

/// One of the three things, in the order in which they are removed: while the canary is at the
/// source a filter may take it again.
#[derive(Copy, Clone)]
enum Thing {
    Source,
    Mirror,
    Topic,
}

const THINGS: [Thing; 3] = [Thing::Source, Thing::Mirror, Thing::Topic];

/// Who removes it, and how.
pub(super) struct Clearing<'a> {
    pub hands: &'a Hands,
    pub remote: &'a Remote,
    pub link: &'a LinkOptions,
}

impl Clearing<'_> {
    /// Removes everything; what is left. Of a drill that was cut short the last order may be obeyed
    /// only now, so that all is looked at again.
    pub async fn clear(&self, is_cut_short: bool) -> Vec<Left> {
        let until = Instant::now() + CLEAR_WAIT_MAX;
        let is_taken = self.link.takes(&self.hands.canary.source) || self.others(until).await;
        let left = self.round(until).await;
        if !left.is_empty() || !(is_taken || is_cut_short) {
            return left;
        }
        sleep(AGAIN_PAUSE).await;
        self.round(Instant::now() + AGAIN_WAIT_MAX).await
    }

    /// Whether other links have taken the canary.
    async fn others(&self, until: Instant) -> bool {
        let told = timeout_at(until, self.mirrors()).await;
        let own = self.link.name.to_string();
        told.is_ok_and(|told| told.is_ok_and(|all| all.iter().any(|(link, _)| *link != own)))
    }

    /// Each thing until it is gone.
    async fn round(&self, until: Instant) -> Vec<Left> {
        let mut left = Vec::new();
        for thing in THINGS {
            if let Err(why) = self.until_gone(thing, until).await {
                left.push(self.left(thing, &why));
            }
        }
        left
    }

    async fn until_gone(&self, thing: Thing, until: Instant) -> Result<(), String> {
        let mut last = "nothing was answered in time".to_owned();
        loop {
            match timeout_at(until, self.remove(thing)).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(why)) => last = why,
                Err(_) => return Err(last),
            }
            if timeout_at(until, sleep(TRY_PAUSE)).await.is_err() {
                return Err(last);
            }
        }
    }

    async fn remove(&self, thing: Thing) -> Result<(), String> {
        match thing {
            Thing::Source => self.hands.remove(Side::Source).await.map_err(|e| e.to_string()),
            Thing::Mirror => self.forget().await,
            // while isolog may still write into it, it is isolog's to delete
            Thing::Topic => match self.mirrors().await?.is_empty() {
                true => self.hands.remove(Side::Destination).await.map_err(|e| e.to_string()),
                false => Err("it is a mirror topic still".to_owned()),
            },
        }
    }

    /// Has every mirror of the canary deleted, with its topic: also those of other links, whose own
    /// filters have taken it.
    async fn forget(&self) -> Result<(), String> {
        for (link, name) in self.mirrors().await? {
            self.forget_one(&link, &name).await?;
        }
        match self.mirrors().await?.first() {
            None => Ok(()),
            Some((link, name)) => Err(format!("{name} of link {link} is being deleted")),
        }
    }

    /// The mirror topics of the canary, each with its link.
    async fn mirrors(&self) -> Result<Vec<(String, String)>, String> {
        let all = mirrors(self.remote, None, None).await.map_err(text_of)?;
        let source = self.hands.canary.source.as_str();
        let own = all.iter().filter(|one| text(one, "source_topic_name") == source);
        Ok(own.map(|one| (text(one, "link_name"), text(one, "mirror_topic_name"))).collect())
    }

    /// With its topic, by the id that isolog knows; alone where that topic is not the one any more.
    async fn forget_one(&self, link: &str, name: &str) -> Result<(), String> {
        let ask = |path, query| Question { method: "DELETE", path, query, body: None, next: "" };
        let with_topic = ["topics", name];
        let alone = ["links", link, "mirrors", name];
        let named = vec![("link_name", link.to_owned())];
        let Err(failure) = self.remote.ask(ask(&with_topic[..], named)).await else {
            return Ok(());
        };
        let _refused = self.remote.ask(ask(&alone[..], Vec::new())).await;
        Err(text_of(failure))
    }

    fn left(&self, thing: Thing, why: &str) -> Left {
        let (canary, link) = (&self.hands.canary, &self.link.name);
        let at = |side| format!("topic {} at the {side}: {why}", canary.at(side));
        match thing {
            Thing::Source => Left { what: at(Side::Source), command: self.command(thing) },
            Thing::Topic => Left { what: at(Side::Destination), command: self.command(thing) },
            Thing::Mirror => Left {
                what: format!("mirror topic {} of link {link}: {why}", canary.mirror),
                command: self.command(thing),
            },
        }
    }

    fn command(&self, thing: Thing) -> String {
        let (hands, canary) = (self.hands, &self.hands.canary);
        let delete = |side: Side| {
            let (bootstrap, topic) = (hands.bootstrap(side), canary.at(side));
            format!("kafka-topics.sh --bootstrap-server {bootstrap} --delete --topic {topic}")
        };
        match thing {
            Thing::Source => delete(Side::Source),
            Thing::Topic => delete(Side::Destination),
            Thing::Mirror => {
                format!("isolog mirror delete {} --link {} --topic", canary.mirror, self.link.name)
            }
        }
    }

    /// What removes everything by hand, in order.
    pub fn commands(&self) -> [String; 3] {
        THINGS.map(|thing| self.command(thing))
    }
}

/// The mirror as the service shows it; `None` where it knows none.
pub(super) async fn mirror(
    remote: &Remote,
    link: &LinkOptions,
    hands: &Hands,
) -> Result<Option<Value>, Failure> {
    let (link, name) = (link.name.to_string(), hands.canary.mirror.as_str());
    let question = Question {
        method: "GET",
        path: &["links", &link, "mirrors", name],
        query: super::flag("include_state_transition_errors", true),
        body: None,
        next: "isolog link list",
    };
    let answer = remote.put(&question).await?;
    match answer.status.as_u16() {
        NOT_FOUND => Ok(None),
        _ => remote.read(&answer, question.next).map(Some),
    }
}

/// The words of a failure.
fn text_of(failure: Failure) -> String {
    match failure {
        Failure::Failed(text) | Failure::Away(text) | Failure::NotYet(text) => {
            text.lines().next().map(str::to_owned)
        }
        _ => None,
    }
    .unwrap_or_else(|| "it did not work".to_owned())
}
