//! Rows of isolog 0.1, which lie in the same journal without a stamp, and the rows of today that
//! stand for them.
//!
//! It never writes, and takes no old row away: an isolog 0.1 that is started again finds them.
//!
//! | key | value |
//! | --- | --- |
//! | `LINK/TOPIC` | `{"source_cluster":…,"source_topic":…,"destination_topic":…}`, the ids in hex |
//! | `LINK/TOPIC/starts` | `{"source_topic":…,"starts":{"0":17,…}}` |
//! | `LINK/TOPIC/configs` | `{"source_topic":…,"configs":{"cleanup.policy":"compact",…}}` |
//!
//! A topic had one name at both clusters. The second and third row say nothing once the first has
//! another source topic: they are of one that was there before.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::control::discover;
use crate::control::facts::Metadata;
use crate::control::facts::Topics;
use crate::control::link::LinkSettings;
use crate::control::row::Before;
use crate::control::row::Changes;
use crate::control::row::MadeBy;
use crate::control::row::MirrorRow;
use crate::control::row::Unreadable;
use crate::control::row::told;
use crate::control::start::StartSpec;
use crate::control::topic::Stage;
use crate::ids::ClusterId;
use crate::ids::LinkName;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::TimestampMs;
use crate::ids::TopicId;
use crate::ids::TopicName;

/// What follows a topic's name in the keys of its other rows; no legal name holds a slash.
const STARTS: &str = "/starts";
const CONFIGS: &str = "/configs";
/// How much of a key is repeated: more than a legal one has.
const KEY_LETTERS_MAX: usize = 400;

/// Where partitions begin; those that are not named begin at their log's start.
type Starts = BTreeMap<PartitionId, Offset>;

/// All that isolog 0.1 remembered of one link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OldRows {
    /// The cluster that it mirrored; `None` where it mirrored nothing.
    pub source: Option<ClusterId>,
    /// What it mirrored.
    pub mirrors: BTreeMap<TopicName, OldMirror>,
    /// Configs that a topic was to get later, by the source topic's id, of topics that it made or
    /// was about to make when it ended: whoever begins them owes them these.
    pub staged: BTreeMap<TopicName, (TopicId, Changes)>,
    /// Rows that cannot be read stop the link, by key.
    pub unreadable: BTreeMap<String, Unreadable>,
}

/// What it remembered of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldMirror {
    /// The ids that both topics had when it was first mirrored: the source's, the mirror's.
    pub ids: (TopicId, TopicId),
    /// Where it begins; `None` where that was not written down: at the source's log start, or not
    /// chosen yet.
    pub starts: Option<Starts>,
    /// Configs that it is to get once nothing is left below where it begins.
    pub owed: Changes,
}

#[derive(Deserialize)]
struct IdsText {
    source_cluster: String,
    source_topic: String,
    destination_topic: String,
}

#[derive(Deserialize)]
struct StartsText {
    source_topic: String,
    starts: BTreeMap<i32, i64>,
}

#[derive(Deserialize)]
struct ConfigsText {
    source_topic: String,
    configs: Changes,
}

/// One row.
enum Old {
    Ids(ClusterId, (TopicId, TopicId)),
    Starts(TopicId, Starts),
    Configs(TopicId, Changes),
}

impl OldRows {
    /// Reads those of one link among the rows without a stamp (`journal::Fold::unstamped`).
    pub fn of(unstamped: &BTreeMap<String, String>, link: &LinkName) -> OldRows {
        let (mut rows, mut starts) = (OldRows::default(), BTreeMap::new());
        let first = format!("{link}/");
        let own = unstamped.range(first.clone()..);
        for (key, value) in own.take_while(|(key, _)| key.starts_with(&first)) {
            match parse(&key[first.len()..], value) {
                Ok((topic, Old::Ids(source, ids))) => {
                    if let Err(why) = rows.take_source(source) {
                        rows.refuse(key, why);
                        continue;
                    }
                    let (starts, owed) = (None, Changes::new());
                    rows.mirrors.insert(topic, OldMirror { ids, starts, owed });
                }
                Ok((topic, Old::Starts(id, at))) => drop(starts.insert(topic, (id, at))),
                Ok((topic, Old::Configs(id, owed))) => drop(rows.staged.insert(topic, (id, owed))),
                Err(why) => rows.refuse(key, why),
            }
        }
        for (topic, mirror) in &mut rows.mirrors {
            let is_of = |id: TopicId| id == mirror.ids.0;
            mirror.starts = starts.remove(topic).filter(|(id, _)| is_of(*id)).map(|(_, at)| at);
            let owed = rows.staged.remove(topic).filter(|(id, _)| is_of(*id));
            mirror.owed = owed.map(|(_, owed)| owed).unwrap_or_default();
        }
        rows.staged.retain(|_, (_, owed)| !owed.is_empty());
        rows
    }

    /// The rows that stand for what it mirrored, of topics that the link's settings still take:
    /// mirroring goes on under the same writer id, with nothing compared again. `topics` is a look
    /// at all topics of both clusters. Left out, to be begun as any other topic, is one whose start
    /// was not chosen yet.
    pub fn mirror_rows(
        &self,
        settings: &LinkSettings,
        topics: &Topics,
        now: TimestampMs,
    ) -> BTreeMap<TopicName, MirrorRow> {
        // isolog 0.1 renamed nothing: where that is done, the mirrors are other topics
        let has_names = settings.rename.is_none();
        let taken =
            self.mirrors.iter().filter(|(name, _)| has_names && settings.topics.matches(name));
        let rows = taken.filter_map(|(name, mirror)| {
            let has_begun = settings.start == StartSpec::Earliest || mirror.starts.is_some();
            let made_by = discover::made_by(settings, name);
            let row = || mirror.row(name, mirror.partitions(name, topics), made_by, now);
            has_begun.then(|| (name.clone(), row()))
        });
        rows.collect()
    }

    /// Whether there is nothing to be taken over, and nothing that would have been.
    pub fn is_empty(&self) -> bool {
        self.mirrors.is_empty() && self.unreadable.is_empty()
    }

    fn take_source(&mut self, source: ClusterId) -> Result<(), String> {
        match &self.source {
            Some(known) if *known != source => Err(format!(
                "it is of source cluster {source:?}, and another row of the link of {known:?}",
                source = &*source.0,
                known = &*known.0,
            )),
            _ => {
                self.source = Some(source);
                Ok(())
            }
        }
    }

    fn refuse(&mut self, key: &str, why: String) {
        let shown: String = key.escape_debug().take(KEY_LETTERS_MAX).collect();
        self.unreadable.insert(key.to_owned(), Unreadable::Old { key: shown, why });
    }
}

impl OldMirror {
    /// How many partitions are mirrored, which no old row says: those that both topics have. A
    /// topic that is gone, or another one by now, says nothing; one that is gone at both clusters
    /// stands with one partition, and so does one that a cluster does not show: it grows once that
    /// does.
    fn partitions(&self, name: &TopicName, topics: &Topics) -> i32 {
        let source = topics.source.get(name).unwrap_or(&Metadata::Absent);
        let mirror = topics.mirror.get(name).unwrap_or(&Metadata::Absent);
        let count = |metadata: &Metadata, id: TopicId| match metadata {
            Metadata::There(seen) => Some(seen.partitions).filter(|_| seen.id == id),
            Metadata::Absent => None,
            Metadata::Hidden(_) => Some(1),
        };
        let both = [count(source, self.ids.0), count(mirror, self.ids.1)];
        both.into_iter().flatten().min().unwrap_or(1)
    }

    fn row(
        &self,
        name: &TopicName,
        partitions: i32,
        made_by: MadeBy,
        now: TimestampMs,
    ) -> MirrorRow {
        let mut starts = self.starts.clone().unwrap_or_default();
        starts.retain(|_, start| *start > Offset::ZERO);
        MirrorRow {
            source_topic: name.clone(),
            source_id: self.ids.0,
            ancestors: Vec::new(),
            mirror_id: Some(self.ids.1),
            partitions,
            // its writer id is the one that it had
            generation: 0,
            stage: Stage::Mirroring,
            since: now,
            is_paused: false,
            made_by,
            before: Before::Adopted(self.ids.1),
            starts,
            owed: self.owed.clone(),
            at_stop: Changes::new(),
            configs: BTreeMap::new(),
            replicas: None,
            sealed: BTreeMap::new(),
            deadline: None,
            abandons_open: false,
            reversal: None,
            last_sync: None,
            last_configs: None,
            replaced: BTreeMap::new(),
        }
    }
}

/// One row, by what follows the link's name in its key.
fn parse(rest: &str, value: &str) -> Result<(TopicName, Old), String> {
    let name = rest.strip_suffix(STARTS).or_else(|| rest.strip_suffix(CONFIGS)).unwrap_or(rest);
    let topic = TopicName::new(name).ok_or("its key ends in no topic name")?;
    let old = match &rest[name.len()..] {
        STARTS => {
            let text: StartsText = json(value)?;
            let each = text.starts.into_iter().map(start);
            Old::Starts(id(&text.source_topic, "source")?, each.collect::<Result<_, _>>()?)
        }
        CONFIGS => {
            let text: ConfigsText = json(value)?;
            Old::Configs(id(&text.source_topic, "source")?, text.configs)
        }
        _ => {
            let text: IdsText = json(value)?;
            let source = Some(text.source_cluster).filter(|cluster| !cluster.is_empty());
            let source = source.ok_or("it names no source cluster")?;
            let ids = (id(&text.source_topic, "source")?, id(&text.destination_topic, "mirror")?);
            Old::Ids(ClusterId(source.into()), ids)
        }
    };
    Ok((topic, old))
}

fn json<T: DeserializeOwned>(value: &str) -> Result<T, String> {
    serde_json::from_str(value).map_err(|error| told(&error))
}

fn id(text: &str, whose: &str) -> Result<TopicId, String> {
    TopicId::parse(text).ok_or_else(|| format!("the id of its {whose} topic is none"))
}

fn start((partition, at): (i32, i64)) -> Result<(PartitionId, Offset), String> {
    let offset = Offset::new(at).ok_or_else(|| format!("{at} is no offset"))?;
    let is_partition = partition >= 0;
    is_partition
        .then_some((PartitionId(partition), offset))
        .ok_or_else(|| format!("{partition} is no partition"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::control::acls::AclSync;
    use crate::control::facts::Seen;
    use crate::control::filter::Pattern;
    use crate::control::filter::Rule;
    use crate::control::filter::TopicFilter;
    use crate::control::rename::Rename;
    use crate::control::task::configs::ConfigSync;
    use crate::control::topic::Fault;

    const NOW: TimestampMs = TimestampMs(77);
    const A: TopicId = TopicId([1; 16]);
    const B: TopicId = TopicId([2; 16]);
    const C: TopicId = TopicId([3; 16]);

    fn name(text: &str) -> TopicName {
        TopicName::new(text).unwrap()
    }

    fn ids(cluster: &str, source: TopicId, mirror: TopicId) -> String {
        let (source, mirror) = (source.hex(), mirror.hex());
        format!(
            r#"{{"source_cluster":"{cluster}","source_topic":"{source}",
                "destination_topic":"{mirror}"}}"#
        )
    }

    fn starts(of: TopicId, starts: &str) -> String {
        format!(r#"{{"source_topic":"{}","starts":{{{starts}}}}}"#, of.hex())
    }

    fn configs(of: TopicId, configs: &str) -> String {
        format!(r#"{{"source_topic":"{}","configs":{{{configs}}}}}"#, of.hex())
    }

    fn read(rows: &[(&str, String)]) -> OldRows {
        let rows = rows.iter().map(|(key, value)| (key.to_string(), value.clone())).collect();
        OldRows::of(&rows, &LinkName("dr".into()))
    }

    fn settings(prefix: &str, start: StartSpec, topics: &[&str]) -> LinkSettings {
        let include = |one: &&str| Rule::include(Pattern::parse(one).unwrap());
        LinkSettings {
            rename: Rename::prefixed(prefix),
            topics: TopicFilter::new(topics.iter().map(include).collect()),
            named: TopicFilter::new(topics.iter().map(include).collect()),
            start,
            replicas: Some(3),
            look_every_ms: 1_000,
            groups: None,
            is_paused: false,
            tasks: BTreeSet::new(),
            configs: ConfigSync::default(),
            acls: AclSync::default(),
        }
    }

    fn there(id: TopicId, partitions: i32) -> Metadata {
        Metadata::There(Seen { id, partitions })
    }

    fn topics(topic: &str, source: Metadata, mirror: Metadata) -> Topics {
        let of = |metadata| BTreeMap::from([(name(topic), metadata)]);
        Topics { source: of(source), mirror: of(mirror), ..Topics::default() }
    }

    fn offsets(all: &[(i32, i64)]) -> Starts {
        all.iter().map(|(id, at)| (PartitionId(*id), Offset::new(*at).unwrap())).collect()
    }

    #[test]
    fn three_rows_of_a_topic_become_one_that_goes_on_as_it_was() {
        let old = read(&[
            ("dr/orders", ids("blue", A, B)),
            ("dr/orders/configs", configs(A, r#""cleanup.policy":"compact","retention.ms":null"#)),
            ("dr/orders/starts", starts(A, r#""0":17,"2":0"#)),
        ]);
        assert_eq!(old.source, Some(ClusterId("blue".into())));
        assert!(old.unreadable.is_empty() && old.staged.is_empty());
        let look = topics("orders", there(A, 3), there(B, 3));
        let rows = old.mirror_rows(&settings("", StartSpec::Latest, &["ord*"]), &look, NOW);
        let owed = [("cleanup.policy", Some("compact".to_owned())), ("retention.ms", None)];
        let row = MirrorRow {
            source_topic: name("orders"),
            source_id: A,
            ancestors: Vec::new(),
            mirror_id: Some(B),
            partitions: 3,
            generation: 0,
            stage: Stage::Mirroring,
            since: NOW,
            is_paused: false,
            made_by: MadeBy::Pattern,
            before: Before::Adopted(B),
            starts: offsets(&[(0, 17)]),
            owed: owed.map(|(key, value)| (key.to_owned(), value)).into(),
            at_stop: Changes::new(),
            configs: BTreeMap::new(),
            replicas: None,
            sealed: BTreeMap::new(),
            deadline: None,
            abandons_open: false,
            reversal: None,
            last_sync: None,
            last_configs: None,
            replaced: BTreeMap::new(),
        };
        assert_eq!(rows, BTreeMap::from([(name("orders"), row)]));
    }

    #[test]
    fn only_the_links_own_rows_are_read_and_none_is_no_trouble() {
        let old = read(&[
            ("d/orders", ids("red", A, B)),
            ("dr-2/orders", "?".into()),
            ("dr.eu/orders", "?".into()),
            ("dr0/orders", "?".into()),
            ("link/dr", "{}".into()),
        ]);
        assert_eq!(old, OldRows::default());
    }

    #[test]
    fn what_is_of_an_earlier_topic_of_that_name_says_nothing() {
        let old = read(&[
            ("dr/orders", ids("blue", A, B)),
            ("dr/orders/configs", configs(C, r#""cleanup.policy":"compact""#)),
            ("dr/orders/starts", starts(C, r#""0":17"#)),
        ]);
        let mirror = OldMirror { ids: (A, B), starts: None, owed: Changes::new() };
        assert_eq!(old.mirrors, BTreeMap::from([(name("orders"), mirror)]));
        assert!(old.staged.is_empty() && old.unreadable.is_empty());
    }

    #[test]
    fn rows_without_their_first_one_are_no_mirror() {
        let policy = r#""cleanup.policy":"compact""#;
        let old = read(&[
            ("dr/made/configs", configs(A, policy)),
            ("dr/paid/configs", configs(A, "")),
            ("dr/forgotten/starts", starts(A, r#""0":17"#)),
        ]);
        assert!(old.mirrors.is_empty() && old.unreadable.is_empty() && old.source.is_none());
        let owed = Changes::from([("cleanup.policy".to_owned(), Some("compact".to_owned()))]);
        assert_eq!(old.staged, BTreeMap::from([(name("made"), (A, owed))]));
    }

    #[test]
    fn ids_may_be_written_as_kafkas_tools_show_them() {
        let text = ids("blue", A, B).replace(&A.hex(), &A.to_string());
        assert_eq!(read(&[("dr/orders", text)]).mirrors[&name("orders")].ids, (A, B));
    }

    #[test]
    fn a_damaged_row_is_named_with_what_is_wrong_and_the_others_are_read() {
        let check = |key: &str, value: &str, why: &str| {
            let old = read(&[("dr/whole", ids("blue", A, B)), (key, value.to_owned())]);
            let trouble = old.unreadable.get(key).unwrap_or_else(|| panic!("{key} {value}"));
            let said = trouble.to_string();
            for word in [key, why, "isolog 0.1 wrote", "null value under that key"] {
                assert!(said.contains(word), "{said}");
            }
            assert_eq!(old.unreadable.len(), 1);
            assert!(old.mirrors.contains_key(&name("whole")) && old.mirrors.len() == 1);
            assert!(old.staged.is_empty());
        };
        let no_json = "it is no such JSON";
        for row in ["dr/orders", "dr/orders/starts", "dr/orders/configs"] {
            for value in ["", "null", "7", "[]", "{}", "{\"source_topic\":", "\u{fffd}"] {
                check(row, value, no_json);
            }
        }
        let whole = ids("blue", A, B);
        check("dr/orders", &whole[..whole.len() - 1], no_json);
        check("dr/orders", &whole.replace(&A.hex(), "x"), "the id of its source topic is none");
        check("dr/orders", &whole.replace(&B.hex(), ""), "the id of its mirror topic is none");
        check("dr/orders", &whole.replace("blue", ""), "it names no source cluster");
        check("dr/", &whole, "its key ends in no topic name");
        check("dr/or ders", &whole, "its key ends in no topic name");
        check("dr/orders/other", &whole, "its key ends in no topic name");
        check("dr//starts", &starts(A, ""), "its key ends in no topic name");
        let of_starts = "dr/orders/starts";
        check(of_starts, &starts(A, r#""0":-1"#), "-1 is no offset");
        check(of_starts, &starts(A, r#""-2":1"#), "-2 is no partition");
        check(of_starts, &starts(A, r#""x":1"#), no_json);
        check(of_starts, &starts(A, r#""0":9223372036854775808"#), no_json);
        let no_id = "the id of its source topic is none";
        check(of_starts, &starts(A, "").replace(&A.hex(), "x"), no_id);
        check("dr/orders/configs", &configs(A, "").replace(&A.hex(), "x"), no_id);
        check("dr/orders/configs", &configs(A, r#""k":1"#), no_json);
    }

    #[test]
    fn a_key_that_is_no_text_for_people_is_shown_as_one_and_in_part() {
        let key = format!("dr/{}\u{1b}[2J", "x".repeat(9_000));
        let old = read(&[(&key, "{}".into()), ("dr/\u{1b}[2J", "{}".into())]);
        let said: Vec<String> = old.unreadable.values().map(ToString::to_string).collect();
        assert!(said.iter().all(|text| text.len() < 700 && !text.contains('\u{1b}')), "{said:?}");
        assert!(said[0].contains("dr/\\u{1b}[2J"), "{}", said[0]);
    }

    #[test]
    fn a_link_mirrored_one_cluster() {
        let old = read(&[
            ("dr/a", ids("blue", A, B)),
            ("dr/b", ids("red", B, C)),
            ("dr/c", ids("blue", C, A)),
        ]);
        let said = old.unreadable["dr/b"].to_string();
        assert!(said.contains(r#"source cluster "red""#) && said.contains(r#""blue""#), "{said}");
        assert_eq!(old.mirrors.keys().map(TopicName::as_str).collect::<Vec<_>>(), ["a", "c"]);
    }

    #[test]
    fn only_what_the_link_still_takes_and_had_begun_goes_on() {
        let old = read(&[("dr/orders", ids("blue", A, B))]);
        let look = topics("orders", there(A, 1), there(B, 1));
        let made_by = |settings: LinkSettings| {
            let rows = old.mirror_rows(&settings, &look, NOW);
            rows.get(&name("orders")).map(|row| row.made_by)
        };
        let earliest = StartSpec::Earliest;
        assert_eq!(made_by(settings("", earliest, &["orders"])), Some(MadeBy::Name));
        assert_eq!(made_by(settings("", earliest, &["*"])), Some(MadeBy::Pattern));
        assert_eq!(made_by(settings("", earliest, &["other"])), None);
        assert_eq!(made_by(settings("w.", earliest, &["orders"])), None, "another mirror topic");
        let not_chosen = settings("", StartSpec::Latest, &["orders"]);
        assert_eq!(made_by(not_chosen), None, "its start was to be chosen next");
    }

    #[test]
    fn as_many_partitions_are_mirrored_as_both_have() {
        let old = read(&[("dr/orders", ids("blue", A, B))]);
        let check = |source: Metadata, mirror: Metadata, count: Option<i32>| {
            let look = topics("orders", source, mirror);
            let rows = old.mirror_rows(&settings("", StartSpec::Earliest, &["*"]), &look, NOW);
            assert_eq!(rows.get(&name("orders")).map(|row| row.partitions), count, "{look:?}");
        };
        let (text, absent) = ("a right is missing".to_owned(), || Metadata::Absent);
        let hidden = || Metadata::Hidden(Fault { code: "X".to_owned(), text: text.clone() });
        check(there(A, 3), there(B, 3), Some(3));
        check(there(A, 5), there(B, 3), Some(3));
        check(there(A, 3), there(B, 5), Some(3));
        // gone, or another one by now
        check(absent(), there(B, 4), Some(4));
        check(there(C, 1), there(B, 4), Some(4));
        check(there(A, 4), absent(), Some(4));
        check(there(A, 4), there(C, 1), Some(4));
        check(absent(), absent(), Some(1));
        check(there(C, 9), there(C, 9), Some(1));
        // not known yet
        check(hidden(), there(B, 4), Some(1));
        check(there(A, 4), hidden(), Some(1));
        let nothing = Topics::default();
        let rows = old.mirror_rows(&settings("", StartSpec::Earliest, &["*"]), &nothing, NOW);
        assert_eq!(rows[&name("orders")].partitions, 1);
    }
}
