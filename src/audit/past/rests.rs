//! Of which topics a link copies nothing, whatever their logs hold: the journal says it.
//!
//! It never reads the journal itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::audit::LinkOptions;
use crate::audit::check::TopicReport;
use crate::audit::judge::Fillers;
use crate::audit::judge::Finding;
use crate::audit::judge::Level;
use crate::audit::past::Fate;
use crate::cluster::metadata::Topic;
use crate::control::row::Key;
use crate::control::row::MirrorRow;
use crate::control::row::Row;
use crate::control::topic::Stage;
use crate::ids::LinkName;
use crate::ids::TopicName;

/// Why a link copies nothing of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rest {
    /// It is a mirror topic of another link.
    Other(LinkName),
    /// It was promoted or failed over.
    Stopped,
    /// It is a mirror topic no more.
    LetGo,
    /// Its mirror topic is paused.
    Paused,
}

impl Rest {
    fn of(key: &Key, row: &MirrorRow, link: &LinkName) -> Option<Rest> {
        match row.stage {
            Stage::LetGo => (key.link() == link).then_some(Rest::LetGo),
            _ if key.link() != link => Some(Rest::Other(key.link().clone())),
            Stage::Stopped(_) => Some(Rest::Stopped),
            _ => row.is_paused.then_some(Rest::Paused),
        }
    }

    /// Whether it is copied as soon as somebody resumes it.
    pub fn may_go_on(&self) -> bool {
        *self == Rest::Paused
    }

    /// For people, with what to do; `link` is the one that is meant to mirror it.
    pub fn text(&self, name: &TopicName, link: &LinkName) -> String {
        match self {
            Rest::Other(other) => format!(
                "it is a mirror topic of cluster link {other} already, and no two links may write \
                 into one topic: leave it out here (mirror.exclude.topics), or \
                 `isolog mirror delete {name} --link {other}`"
            ),
            Rest::Stopped => format!(
                "it was promoted or failed over and is an ordinary topic (STOPPED): nothing of it \
                 is copied; to begin anew `isolog mirror delete {name} --link {link} --topic`"
            ),
            Rest::LetGo => format!(
                "it was a mirror topic and is none any more, its topic was kept: nothing of it is \
                 copied before `isolog mirror create {name} --link {link}`"
            ),
            Rest::Paused => format!(
                "its mirror topic is paused: nothing of it is copied before \
                 `isolog mirror resume {name} --link {link}`"
            ),
        }
    }
}

/// Topics of which the link copies nothing; what another link has counts most.
pub fn rests(rows: &BTreeMap<String, String>, link: &LinkName) -> BTreeMap<TopicName, Rest> {
    let mut rests: BTreeMap<TopicName, Rest> = BTreeMap::new();
    for (text, value) in rows {
        let Some(key) = Key::parse(text) else { continue };
        // another link's row that cannot be read is no trouble of this one
        let Ok(Row::Mirror(row)) = Row::parse(&key, value) else { continue };
        let Key::Mirror(_, name) = &key else { continue };
        let Some(rest) = Rest::of(&key, &row, link) else { continue };
        if matches!(rest, Rest::Other(_)) || !rests.contains_key(name) {
            rests.insert(name.clone(), rest);
        }
    }
    rests
}

/// Topics that are, or will be, copied; and what is to be said of the others.
pub fn apart(
    topics: Vec<Arc<Topic>>,
    rests: &BTreeMap<TopicName, Rest>,
    link: &LinkOptions,
) -> (Vec<Arc<Topic>>, Vec<TopicReport>) {
    let (mut copied, mut resting) = (Vec::new(), Vec::new());
    for topic in topics {
        match rests.get(&link.mirror_of(&topic.name)).filter(|rest| !rest.may_go_on()) {
            Some(rest) => resting.push(report(&topic, rest, link)),
            None => copied.push(topic),
        }
    }
    (copied, resting)
}

fn report(topic: &Topic, rest: &Rest, link: &LinkOptions) -> TopicReport {
    let text = rest.text(&link.mirror_of(&topic.name), &link.name);
    let (level, finding) = match rest {
        Rest::Other(_) => (Level::Impossible, Finding::impossible(text)),
        _ => (Level::NotCopied, Finding::note(text)),
    };
    TopicReport {
        topic: topic.name.to_string(),
        mirror_topic: link.other_name(&topic.name),
        partitions: topic.partitions.len(),
        level,
        offsets: 0,
        fillers: Fillers::default(),
        findings: vec![finding],
    }
}

/// A topic that was mirrored and of which one side has nothing any more.
pub fn gone(link: &LinkOptions, name: &TopicName, fate: Fate) -> TopicReport {
    TopicReport {
        topic: name.to_string(),
        mirror_topic: link.other_name(name),
        partitions: 0,
        level: Level::Impossible,
        offsets: 0,
        fillers: Fillers::default(),
        findings: vec![Finding::impossible(fate.text)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(stage: &str, is_paused: bool) -> String {
        let id = "00000000000000000000000000000001";
        format!(
            r#"{{"v":1,"source_topic":"s","source_id":"{id}","mirror_id":"{id}","partitions":1,
            "generation":0,"stage":{stage},"since_ms":1,"paused":{is_paused},"made_by":"order",
            "adopted":null,"starts":{{}},"owed":{{}},"configs":{{}},"replicas":null,"sealed":{{}},
            "deadline_ms":null}}"#
        )
    }

    #[test]
    fn what_a_link_does_not_copy_is_known_by_the_journal() {
        let rows = [
            ("mirror/dr/a", row(r#""mirroring""#, false)),
            ("mirror/dr/b", row(r#""mirroring""#, true)),
            ("mirror/dr/c", row(r#"{"stopped":"promote"}"#, false)),
            ("mirror/dr/d", row(r#""let_go""#, false)),
            ("mirror/dr/e", row(r#"{"stopped":"failover"}"#, false)),
            ("mirror/west/e", row(r#""setup""#, false)),
            ("mirror/west/f", row(r#""let_go""#, false)),
            ("mirror/west/g", "no row".to_owned()),
        ];
        let rows = rows.map(|(key, value)| (key.to_owned(), value)).into();
        let name = |text: &str| TopicName::new(text).unwrap();
        let found = rests(&rows, &LinkName("dr".into()));
        let expected = [
            (name("b"), Rest::Paused),
            (name("c"), Rest::Stopped),
            (name("d"), Rest::LetGo),
            (name("e"), Rest::Other(LinkName("west".into()))),
        ];
        assert_eq!(found, expected.into());
    }
}
