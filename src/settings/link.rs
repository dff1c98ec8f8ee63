//! The settings of one link, typed; out of a flat map as REST and the journal have it.
//!
//! It never knows whether a link runs: what a change touches is said, and done elsewhere.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::cluster;
use crate::control;
use crate::control::acls::AclSync;
use crate::control::filter::TopicFilter;
use crate::control::rename::Rename;
use crate::control::row::LinkMode;
use crate::control::start::StartSpec;
use crate::control::task::TaskName;
use crate::control::task::configs::ConfigSync;
use crate::control::task::groups::GroupSync;
use crate::flow;
use crate::ids::LinkName;
use crate::ids::Side;
use crate::ids::TopicName;
use crate::mirror::facts::Policy;
use crate::secure::is_sealed;

/// What gives mirror topics other names than their sources'; those that are there keep theirs.
pub const NAMES_OF_MIRRORS: [&str; 2] = ["cluster.link.prefix", "topic.rename.format"];

use super::check::Checked;
use super::check::Desk;
use super::check::Entry;
use super::check::Origin;
use super::fill;
use super::fill::Shared;
use super::names;
use super::names::Stranger;
use super::problem::Note;
use super::problem::Problem;
use super::property::Effect;
use super::property::Kind;
use super::property::Property;
use super::property::Scope;
use super::relations;
use super::security;
use super::table;
use super::trust::Remote;
use super::trust::Trust;
use super::value::Raw;
use super::value::Value;

/// What one link mirrors and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// `link.mode`.
    pub mode: LinkMode,
    /// `cluster.link.prefix` or `topic.rename.format`.
    pub rename: Rename,
    /// `mirror.topics` and `auto.create.mirror.topics.filters`: which topics of the source.
    pub topics: TopicFilter,
    /// What of them `mirror.topics` and `mirror.pattern` take.
    pub named: TopicFilter,
    /// `consumer.offset.sync.enable` and what belongs to it; `None` for false.
    pub groups: Option<GroupSync>,
    /// `cluster.link.paused`: nothing is fetched and nothing is created.
    pub paused: bool,
    /// `replication.factor` of the topics the link creates; -1 leaves it to the broker.
    pub replication_factor: i16,
    /// `isolation.level`: mirror up to the source's last stable offset, not its high watermark.
    pub committed_only: bool,
    /// What the link does where there is more than one right answer.
    pub policy: Policy,
    /// `mirror.start.offset.spec`: where the mirror of a partition begins.
    pub start: StartSpec,
    /// `acl.*` and `mirror.write.protection`.
    pub acls: AclSync,
    /// `availability.check.ms`: how often a silent source is asked whether it is there.
    pub availability_interval: Duration,
    /// `availability.check.consecutive.failure.threshold`: so many failures mean unavailable.
    pub availability_failures_max: u32,
}

/// All settings of one link.
#[derive(Clone, Debug)]
pub struct LinkSettings {
    /// `[link.NAME]`.
    pub name: LinkName,
    /// How to reach the source.
    pub source: cluster::Options,
    /// What is mirrored.
    pub link: Options,
    /// The bounds of all that copies; `memory_bytes` is the process's, the same in every link.
    pub flow: flow::Options,
    /// What it was made of, so that two can be compared.
    pub values: Values,
}

/// The value of each property, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Values(BTreeMap<&'static str, Value>);

impl Values {
    /// The values of a section.
    pub fn of(section: &Checked) -> Values {
        let values = section.settings().map(|one| (one.property.name, one.value.clone()));
        Values(values.collect())
    }

    /// The rows whose values differ, in the table's order.
    pub fn differing<'a>(
        &'a self,
        new: &'a Values,
    ) -> impl Iterator<Item = &'static Property> + 'a {
        table::all().filter(|row| self.0.get(row.name) != new.0.get(row.name))
    }
}

/// What a link gets that its own properties do not say.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// What all links of the process share.
    pub shared: Shared,
    /// `bootstrap.servers` of `[destination]`: no source has one of these addresses.
    pub destination: Vec<(String, u16)>,
    /// What the properties may read of this machine.
    pub trust: Arc<dyn Trust>,
}

impl Defaults {
    /// For properties that come from elsewhere: nothing of this machine is read.
    pub fn remote(shared: Shared, destination: Vec<(String, u16)>, remote: Remote) -> Defaults {
        Defaults { shared, destination, trust: Arc::new(remote) }
    }

    /// The properties as they may be written where others read them: secrets are sealed, and what
    /// nobody here knows is left out where it cannot be. They read back by `parse`.
    pub fn kept(
        &self,
        configs: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, Vec<Problem>> {
        let (mut kept, mut problems) = (BTreeMap::new(), Vec::new());
        for (name, text) in configs {
            let name = &names::canonical(name).to_owned();
            let row = table::find(Scope::Commanded, name);
            let is_open = match row {
                Some(row) => !row.sensitive,
                None => matches!(names::explain(Scope::Commanded, name), Stranger::Idle(_)),
            };
            if is_open || is_sealed(text) {
                kept.insert(name.clone(), text.clone());
                continue;
            }
            match self.trust.seal(name, text) {
                Ok(sealed) => drop(kept.insert(name.clone(), sealed)),
                Err(text) if row.is_some() => {
                    problems.push(Problem::at(None, Some(name), text));
                }
                Err(_) => {}
            }
        }
        if problems.is_empty() { Ok(kept) } else { Err(problems) }
    }
}

impl LinkSettings {
    /// Reads the properties of one link, by Cluster Linking's and Kafka's names. The notes say what
    /// is no mistake and good to know. The error holds all mistakes at once, each with its
    /// property, and is never empty. Stores that `defaults.trust` lets be named are read
    /// meanwhile.
    pub fn parse(
        name: &LinkName,
        configs: &BTreeMap<String, String>,
        defaults: &Defaults,
    ) -> Result<(LinkSettings, Vec<Note>), Vec<Problem>> {
        let trust = &*defaults.trust;
        let mut desk = Desk::new(Scope::Commanded, String::new(), trust);
        for (key, text) in configs {
            let entry = Entry { key: key.clone(), raw: Raw::Text(text.clone()), spot: None };
            desk.take(&entry, Origin::Config);
        }
        let (section, mut problems) = desk.finish();
        let memory_bytes = i64::try_from(defaults.shared.memory_bytes).ok();
        problems.extend(relations::of_link(&section, memory_bytes, &defaults.destination));
        problems.extend(misplaced(configs, &section, trust));
        let security = security::cluster(&section, Side::Source, trust);
        let security = security.map_err(|problem| problems.extend(problem)).ok();
        let settings =
            security.and_then(|made| fill::link(&section, name.clone(), defaults.shared, made));
        match settings {
            Some(settings) if problems.is_empty() => Ok((settings, notes(&section))),
            _ => Err(problems),
        }
    }

    /// The topics that it names, and what their mirrors are called.
    pub fn named(&self) -> BTreeMap<TopicName, TopicName> {
        let mirror = |source: &TopicName| self.link.rename.mirror_of(source);
        let named = self.link.topics.literals();
        named.filter_map(|source| Some((source.clone(), mirror(source)?))).collect()
    }

    /// What the machine of links and mirror topics must know of them.
    pub fn for_control(&self) -> control::link::LinkSettings {
        let age = self.source.metadata_age_max.as_millis();
        control::link::LinkSettings {
            rename: self.link.rename.clone(),
            topics: self.link.topics.clone(),
            named: self.link.named.clone(),
            start: self.link.start,
            replicas: Some(self.link.replication_factor).filter(|factor| *factor > 0),
            look_every_ms: i64::try_from(age).unwrap_or(i64::MAX),
            groups: self.link.groups.clone(),
            is_paused: self.link.paused,
            tasks: self.tasks(),
            configs: self.configs(),
            acls: self.link.acls.clone(),
        }
    }

    /// The tasks that the link has.
    fn tasks(&self) -> BTreeSet<TaskName> {
        let by_filter = self.link.topics.includes_anything();
        let create = by_filter.then_some(TaskName::AutoCreateMirror);
        let always = [TaskName::LogStartSync, TaskName::TopicConfigsSync];
        let offsets = self.link.groups.as_ref().map(|_| TaskName::ConsumerOffsetSync);
        let acls = self.link.acls.is_configured().then_some(TaskName::AclSync);
        create.into_iter().chain(offsets).chain(acls).chain(always).collect()
    }

    /// `topic.config.sync.*`; a list that names nothing is no list.
    pub fn configs(&self) -> ConfigSync {
        let mut sync = ConfigSync::default();
        if let Some(Value::Int(every)) = self.values.0.get("topic.config.sync.ms") {
            sync.every_ms = *every;
        }
        if let Some(Value::Words(keys)) = self.values.0.get("topic.config.sync.include") {
            sync.include = keys.iter().cloned().collect();
        }
        sync
    }
}

/// Files that are named by who may name none, whether they would be read or not.
fn misplaced(
    configs: &BTreeMap<String, String>,
    section: &Checked,
    trust: &dyn Trust,
) -> Vec<Problem> {
    let wrong = |(name, path): (&String, &String)| {
        let row = table::find(Scope::Commanded, name)?;
        let is_told = section.is_wrong(name) || is_read(section, row.name);
        let is_file = row.kind == Kind::File && !path.is_empty() && !is_told;
        let text = is_file.then(|| trust.place(path).err()).flatten()?;
        Some(Problem::at(section.place(), Some(row.name), text))
    };
    configs.iter().filter_map(wrong).collect()
}

/// Whether the file of a property is asked for as things are: then who asks tells.
fn is_read(section: &Checked, name: &str) -> bool {
    name.starts_with("ssl.")
        && section.text("security.protocol").is_some_and(|word| word.contains("SSL"))
}

/// What is taken and not obeyed yet, after what the check itself notes.
fn notes(section: &Checked) -> Vec<Note> {
    let mut notes = section.notes.clone();
    notes.extend(relations::notes(std::slice::from_ref(section)));
    if section.text(MODE) == Some(BIDIRECTIONAL) {
        let text = "is kept and shown; the orders of the other direction come with a later release";
        let note = Problem::at(section.place(), Some(MODE), text);
        notes.push(note.showing(Some(BIDIRECTIONAL.into())));
    }
    notes
}

const MODE: &str = "link.mode";
const BIDIRECTIONAL: &str = "BIDIRECTIONAL";

/// What touches a running link when its settings change; empty where they say the same.
pub fn diff(old: &LinkSettings, new: &LinkSettings) -> BTreeSet<Effect> {
    changed(old, new).map(|(_, effect)| effect).collect()
}

/// The properties that have another value, in the table's order, and what a change of each touches.
pub fn changed<'a>(
    old: &'a LinkSettings,
    new: &'a LinkSettings,
) -> impl Iterator<Item = (&'static str, Effect)> + 'a {
    old.values.differing(&new.values).map(|row| (row.name, row.effect))
}

/// Why a link that is there cannot get these settings: each property that cannot be changed.
pub fn refused(old: &LinkSettings, new: &LinkSettings) -> Vec<Problem> {
    let fixed = changed(old, new).filter(|(_, effect)| *effect == Effect::Never);
    let text = "cannot be changed any more: delete the link and create it anew";
    let mut problems: Vec<Problem> =
        fixed.map(|(name, _)| Problem::at(None, Some(name), text)).collect();
    let modes = (old.link.mode, new.link.mode);
    if modes == (LinkMode::Bidirectional, LinkMode::Destination) {
        let text = "cannot be taken back to DESTINATION: delete the link and create it anew";
        problems.push(Problem::at(None, Some(MODE), text));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::acls::Protection;
    use crate::settings::property::Default;

    const JAAS: &str = "x.PlainLoginModule required username=\"a\" password=\"hunter2\";";
    const BASE: &[(&str, &str)] = &[("bootstrap.servers", "west:9092")];

    fn defaults() -> Defaults {
        let shared = Shared { memory_bytes: 256 << 20, reencode_threads: 1 };
        Defaults::remote(shared, vec![("east".into(), 9092)], Remote::default())
    }

    const ALL_GROUPS: &str = "{\"groupFilters\":[{\"name\":\"*\",\"patternType\":\"LITERAL\",\
                              \"filterType\":\"INCLUDE\"}]}";

    type Parsed = Result<(LinkSettings, Vec<String>), Vec<String>>;

    fn parse_with(more: &[(&str, &str)], defaults: &Defaults) -> Parsed {
        let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        let configs = BASE.iter().chain(more).map(owned).collect();
        let said = |all: Vec<Problem>| all.iter().map(Problem::to_string).collect();
        match LinkSettings::parse(&LinkName("dr".into()), &configs, defaults) {
            Ok((settings, notes)) => Ok((settings, said(notes))),
            Err(problems) => Err(said(problems)),
        }
    }

    fn parse(more: &[(&str, &str)]) -> Parsed {
        parse_with(more, &defaults())
    }

    fn settings(more: &[(&str, &str)]) -> LinkSettings {
        parse(more).unwrap().0
    }

    fn check(more: &[(&str, &str)], right: &str) {
        assert_eq!(parse(more).unwrap_err(), [right], "{more:?}");
    }

    #[test]
    fn one_address_is_a_link_with_all_defaults() {
        let (dr, notes) = parse(&[]).unwrap();
        assert_eq!(notes, [""; 0]);
        assert_eq!((&*dr.name.0, dr.source.side), ("dr", Side::Source));
        assert_eq!(dr.source.bootstrap, [("west".to_owned(), 9092)]);
        assert_eq!((dr.link.mode, dr.link.rename.is_none()), (LinkMode::Destination, true));
        assert!(!dr.link.topics.includes_anything(), "mirror topics come by order");
        let control = dr.for_control();
        assert_eq!((control.replicas, control.look_every_ms), (None, 30_000));
        let with = settings(&[
            ("link.mode", "bidirectional"),
            ("cluster.link.prefix", "west."),
            ("replication.factor", "3"),
            ("metadata.max.age.ms", "0"),
            ("cluster.link.paused", "true"),
        ]);
        assert_eq!(with.link.mode, LinkMode::Bidirectional);
        let control = with.for_control();
        assert_eq!((control.rename, control.replicas), (Rename::prefixed("west."), Some(3)));
        assert_eq!((control.look_every_ms, control.is_paused), (100, true));
    }

    #[test]
    fn all_mistakes_come_at_once_and_name_their_property() {
        let said = parse(&[
            ("bootstrap.servers", "east:9092"),
            ("cluster.link.prefix", "much.too.long"),
            ("consumer.offset.sync.ms", "999"),
            ("consumer.offset.sync.enable", "true"),
            ("acl.sync.enable", "TRUE"),
            ("listen", "127.0.0.1:1"),
            ("local.security.protocol", "hunter2"),
            ("auto.create.mirror.topics.enable", "true"),
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanism", "GSSAPI"),
            ("replica.fetch.wait.max.ms", "30000"),
            ("client.idd", "hunter2"),
        ]);
        let right = [
            "client.idd: no such property; did you mean client.id?",
            "cluster.link.prefix = \"much.too.long\": must be 1 to 12 of a-z, A-Z, 0-9, '.', '_' \
             and '-'",
            "consumer.offset.sync.ms = \"999\": must be a whole number of ms, 1000 to 604800000",
            "listen: belongs in [service]",
            "local.security.protocol: says how a cluster that dials out logs in at itself: isolog \
             dials both clusters, its own one as [destination] says; leave it out",
            "sasl.mechanism = \"GSSAPI\": comes with a later release; this one takes PLAIN or \
             SCRAM-SHA-256 or SCRAM-SHA-512 or OAUTHBEARER only",
            "bootstrap.servers: east:9092 is an address of [destination] too: a cluster cannot \
             mirror itself",
            "replica.fetch.wait.max.ms = 30000: must be less than request.timeout.ms, which is \
             30000",
            "auto.create.mirror.topics.filters: is missing, and \
             auto.create.mirror.topics.enable is true",
            "consumer.offset.group.filters: is missing, and consumer.offset.sync.enable is true",
            "acl.filters: is missing, and acl.sync.enable is true",
        ];
        assert_eq!(said.unwrap_err(), right);
        let empty = LinkSettings::parse(&LinkName("dr".into()), &BTreeMap::new(), &defaults());
        let said: Vec<String> = empty.unwrap_err().iter().map(Problem::to_string).collect();
        assert_eq!(said, ["bootstrap.servers: is missing"]);
    }

    #[test]
    fn topics_are_chosen_by_name_prefix_and_expression_and_left_out_the_same_ways() {
        let matching = |more: &[(&str, &str)], name: &str| {
            settings(more).link.topics.matches(&crate::ids::TopicName::new(name).unwrap())
        };
        let some = [
            ("mirror.topics", "a,b.*"),
            ("mirror.pattern", "(west|east)\\..*"),
            ("mirror.exclude.topics", "b.x*"),
            ("mirror.exclude.pattern", ".*\\.tmp"),
        ];
        for (name, is_mirrored) in [
            ("a", true),
            ("b.c", true),
            ("b.xy", false),
            ("west.a", true),
            ("west.a.tmp", false),
            ("b.tmp", false),
            ("north.a", false),
            ("west.app-changelog", false),
        ] {
            assert_eq!(matching(&some, name), is_mirrored, "{name}");
        }
        check(
            &[("mirror.pattern", "a(")],
            "mirror.pattern = \"a(\": \"a(\" is no regular expression: unclosed group",
        );
        let long = "x".repeat(64 * 1024 + 1);
        let said = parse(&[("mirror.exclude.pattern", &long)]).unwrap_err();
        assert!(said[0].ends_with("at most 65536 bytes, such as (west|east)\\..*"), "{said:?}");
    }

    #[test]
    fn names_of_replicator_are_taken_as_ours_and_kept_as_ours() {
        let (dr, notes) = parse(&[
            ("topic.whitelist", "a,b"),
            ("topic.regex", "c.*"),
            ("topic.blacklist", "cx"),
            ("link.prefix", "w."),
        ])
        .unwrap();
        let matches =
            |name: &str| dr.link.topics.matches(&crate::ids::TopicName::new(name).unwrap());
        assert!(matches("a") && matches("c1") && !matches("cx") && !matches("d"));
        assert_eq!(dr.link.rename, Rename::prefixed("w."));
        assert!(notes.contains(&"topic.regex: is taken as mirror.pattern".to_owned()));
        check(
            &[("mirror.topics", "a"), ("topic.whitelist", "b")],
            "topic.whitelist: is said already, as mirror.topics: leave one of them out",
        );
        let sent = BTreeMap::from([("topic.regex".to_owned(), "c.*".to_owned())]);
        let kept = defaults().kept(&sent).unwrap();
        assert_eq!(kept, BTreeMap::from([("mirror.pattern".into(), "c.*".into())]));
    }

    #[test]
    fn mirrors_are_renamed_by_a_prefix_or_a_format() {
        let format = ("topic.rename.format", "${topic}.replica");
        let rename = settings(&[format]).for_control().rename;
        let orders = crate::ids::TopicName::new("orders").unwrap();
        assert_eq!(rename.mirror_of(&orders).unwrap().as_str(), "orders.replica");
        let as_prefix = settings(&[("topic.rename.format", "w.${topic}")]).link.rename;
        assert_eq!(as_prefix, settings(&[("cluster.link.prefix", "w.")]).link.rename);
        check(
            &[format, ("cluster.link.prefix", "w.")],
            "topic.rename.format: cannot be given beside cluster.link.prefix: write the prefix \
             into the format, as in west.${topic}",
        );
        check(
            &[("topic.rename.format", "replica")],
            "topic.rename.format = \"replica\": must be ${topic} once, with 1 to 32 of a-z, A-Z, \
             0-9, '.', '_' and '-' around it",
        );
        let (enable, filters) = (
            ("consumer.offset.sync.enable", "true"),
            ("consumer.offset.group.filters", ALL_GROUPS),
        );
        check(
            &[enable, filters, format, ("consumer.group.prefix.enable", "true")],
            "consumer.group.prefix.enable: needs cluster.link.prefix, and the link has a \
             topic.rename.format instead",
        );
    }

    #[test]
    fn acls_are_copied_by_a_filter_and_not_under_a_prefix() {
        let filters = r#"{"aclFilters":[{
            "resourceFilter":{"resourceType":"any","patternType":"any"},
            "accessFilter":{"operation":"any","permissionType":"allow","principal":"User:a"}}]}"#;
        let on = [("acl.sync.enable", "true"), ("acl.filters", filters)];
        let with = settings(&on).for_control().acls;
        assert!(with.is_enabled && with.is_configured());
        assert_eq!(with.filter.0.len(), 1);
        assert_eq!((with.every_ms, with.protection), (5_000, Protection::Rights));
        let said = parse(&[on[0], on[1], ("cluster.link.prefix", "w.")]).unwrap_err();
        assert!(said[0].starts_with("acl.sync.enable: cannot be true with a cluster.link.prefix"));
        let format = ("topic.rename.format", "${topic}.x");
        let said = parse(&[on[0], on[1], format]).unwrap_err();
        assert!(said[0].starts_with("acl.sync.enable: cannot be true with a topic.rename.format"));
        check(&[on[0]], "acl.filters: is missing, and acl.sync.enable is true");
        let off = settings(&[on[1]]).for_control().acls;
        assert!(!off.is_configured());
        let denied = settings(&[("mirror.write.protection", "deny-all")]).for_control().acls;
        assert!(denied.is_configured() && !denied.is_enabled);
        check(
            &[("mirror.write.protection", "some")],
            "mirror.write.protection = \"some\": must be rights or deny-all or none",
        );
    }

    #[test]
    fn what_somebody_sends_is_not_sent_back_whole() {
        let (long, many) = ("x".repeat(100_000), "[".repeat(100_000));
        let field = format!("{{\"topicFilters\":[],\"{long}\":1}}");
        let topics = vec!["a b"; 10_000].join(",");
        let range = format!("10.0.0.0/{long}");
        for (name, text) in [
            (long.as_str(), "x"),
            ("a\nb", "x"),
            ("auto.create.mirror.topics.filters", &field),
            ("acl.filters", &many),
            ("mirror.topics", &long),
            ("mirror.topics", &topics),
            ("bootstrap.servers", &long),
            ("sasl.jaas.config", &long),
            ("broker.addresses.allowed", &range),
            ("consumer.offset.sync.ms", &long),
        ] {
            for said in parse(&[(name, text)]).unwrap_err() {
                assert!(said.chars().count() < 1_500 && !said.contains('\n'), "{said}");
            }
        }
    }

    /// Taken while nothing reads it, it would be named when somebody turns TLS on.
    #[test]
    fn files_are_named_by_nobody_from_elsewhere() {
        for protocol in ["PLAINTEXT", "SSL"] {
            for (name, path) in
                [("ssl.truststore.location", "/etc/shadow"), ("ssl.keystore.location", "/x")]
            {
                let said = parse(&[(name, path), ("security.protocol", protocol)]).unwrap_err();
                let [said] = said.as_slice() else { panic!("{said:?}") };
                assert!(
                    said.starts_with(&format!("{name}: names a file of this machine")),
                    "{said}"
                );
                assert!(!said.contains(path), "{said}");
            }
        }
    }

    #[test]
    fn which_configs_follow_is_a_list_of_known_words() {
        let sync = settings(&[]).for_control().configs;
        assert_eq!(sync, ConfigSync::default());
        let some = [("topic.config.sync.include", "segment.ms,cleanup.policy")];
        let sync = settings(&some).for_control().configs;
        assert!(sync.follows("segment.ms") && sync.follows("max.message.bytes"));
        assert!(!sync.follows("retention.ms"));
        for never in ["remote.storage.enable", "leader.replication.throttled.replicas", "x"] {
            let said = parse(&[("topic.config.sync.include", never)]).unwrap_err();
            assert!(said[0].contains("must be") && said[0].contains("segment.ms"), "{said:?}");
        }
    }

    #[test]
    fn modes_that_have_no_meaning_here_say_what_to_do() {
        for (name, word) in [("link.mode", "SOURCE"), ("connection.mode", "inbound")] {
            let said = parse(&[(name, word)]).unwrap_err();
            let [said] = said.as_slice() else { panic!("{said:?}") };
            assert!(said.starts_with(&format!("{name} = {word:?}: cannot be ")), "{said}");
            assert!(said.contains("run it where it reaches both"), "{said}");
        }
        check(
            &[("link.mode", "PULL")],
            "link.mode = \"PULL\": must be DESTINATION or BIDIRECTIONAL",
        );
    }

    #[test]
    fn what_means_nothing_here_is_taken_with_one_note_that_says_what_governs() {
        let (_, notes) = parse(&[
            ("num.cluster.link.fetchers", "4"),
            ("replica.socket.timeout.ms", "30000"),
            ("connections.max.idle.ms", "600000"),
            ("group.id", "hunter2"),
            ("link.mode", "BIDIRECTIONAL"),
            ("consumer.offset.sync.enable", "false"),
            ("reconnect.backoff.max.ms", "10"),
        ])
        .unwrap();
        let right = [
            "connections.max.idle.ms: is taken and means nothing here: connections stay open until \
             their broker closes them",
            "group.id: is taken and means nothing here: it is a property of Kafka clients that \
             isolog has no use for",
            "num.cluster.link.fetchers: is taken and means nothing here: each pair of a source \
             broker and a destination broker has a lane of its own",
            "replica.socket.timeout.ms: is taken and means nothing here: request.timeout.ms is the \
             deadline of every request",
            "reconnect.backoff.ms = 50: is beyond reconnect.backoff.max.ms and counts as that, 10, \
             as in Kafka's clients",
            "link.mode = BIDIRECTIONAL: is kept and shown; the orders of the other direction come \
             with a later release",
        ];
        assert_eq!(notes, right);
    }

    #[test]
    fn groups_are_followed_only_by_a_filter_that_includes_some() {
        let enable = ("consumer.offset.sync.enable", "true");
        let none = "{\"groupFilters\":[]}";
        let filters = "consumer.offset.group.filters";
        check(
            &[enable, (filters, none)],
            "consumer.offset.group.filters: includes no group, and consumer.offset.sync.enable is \
             true",
        );
        let renamed = ("consumer.group.prefix.enable", "true");
        let (prefix, every) =
            (("cluster.link.prefix", "west."), ("consumer.offset.sync.ms", "1000"));
        let with = settings(&[enable, (filters, ALL_GROUPS), renamed, prefix, every]);
        let sync = with.for_control().groups.unwrap();
        assert_eq!((sync.every_ms, sync.prefix.as_str()), (1_000, "west."));
        assert!(sync.filter.matches(&crate::ids::GroupName::new("billing")));
        let plain = settings(&[enable, (filters, ALL_GROUPS), prefix]);
        assert_eq!(plain.for_control().groups.unwrap().prefix, "");
        assert_eq!(settings(&[(filters, ALL_GROUPS)]).for_control().groups, None);
        check(
            &[enable, (filters, ALL_GROUPS), renamed, ("link.mode", "BIDIRECTIONAL")],
            "consumer.group.prefix.enable: cannot be true where link.mode is BIDIRECTIONAL: groups \
             have one name on both sides there",
        );
    }

    #[test]
    fn filters_are_taken_as_cluster_linking_has_them() {
        let filters = r#"{"topicFilters":[
            {"name":"orders","patternType":"PREFIX","filterType":"INCLUDE"},
            {"name":"orders.tmp","patternType":"literal","filterType":"Exclude"}]}"#;
        let enable = ("auto.create.mirror.topics.enable", "true");
        let with = settings(&[enable, ("auto.create.mirror.topics.filters", filters)]);
        let matches = |name| with.link.topics.matches(&crate::ids::TopicName::new(name).unwrap());
        assert!(matches("orders.eu") && !matches("orders.tmp") && !matches("pay"));
        let off = settings(&[("auto.create.mirror.topics.filters", filters)]);
        assert!(!off.link.topics.includes_anything());
    }

    /// A filter adopts no topic that holds records; a link of the file adopts what it names.
    #[test]
    fn what_is_named_is_told_from_what_a_filter_takes() {
        let filters = r#"{"topicFilters":[
            {"name":"orders","patternType":"PREFIX","filterType":"INCLUDE"},
            {"name":"stock","patternType":"LITERAL","filterType":"INCLUDE"}]}"#;
        let with = settings(&[
            ("auto.create.mirror.topics.enable", "true"),
            ("auto.create.mirror.topics.filters", filters),
            ("mirror.topics", "orders.eu,pay*"),
            ("mirror.pattern", "in-[0-9]+"),
            ("mirror.exclude.topics", "pay.tmp"),
        ]);
        let control = with.for_control();
        let check = |name: &str, want: (bool, bool)| {
            let name = crate::ids::TopicName::new(name).unwrap();
            assert_eq!((control.topics.matches(&name), control.named.matches(&name)), want);
        };
        check("orders.eu", (true, true));
        check("orders.us", (true, false));
        check("stock", (true, false));
        check("pay.x", (true, true));
        check("pay.tmp", (false, false));
        check("in-7", (true, true));
    }

    #[test]
    fn nothing_of_this_machine_is_read_for_text_from_elsewhere() {
        let reference = "holds a reference, and only values of the config file may lead to what \
                         this machine has (write ${literal:$}{ where the letters ${ themselves \
                         are meant)";
        check(
            &[("client.id", "${env:PATH}")],
            &format!("client.id = \"${{env:PATH}}\": {reference}"),
        );
        let file = "names a file of this machine";
        let ssl = ("security.protocol", "SSL");
        for (name, path) in [
            ("ssl.truststore.location", "/etc/hosts"),
            ("ssl.keystore.location", "/etc/hosts"),
            ("ssl.crl.location", "/etc/hosts"),
        ] {
            let said = parse(&[ssl, (name, path)]).unwrap_err();
            assert!(said.len() == 1 && said[0].starts_with(&format!("{name}: {file}")), "{said:?}");
        }
        let token = "sasl.oauthbearer.token.endpoint.url";
        let sasl = [
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanism", "OAUTHBEARER"),
            (token, "file:///etc/hosts"),
        ];
        let said = parse(&sasl).unwrap_err();
        assert!(said.len() == 1 && said[0].starts_with(&format!("{token}: {file}")), "{said:?}");
        let properties = parse(&[("properties.file", "/etc/hosts")]).unwrap_err();
        assert_eq!(properties, ["properties.file: belongs in [destination] or [link.NAME]"]);
    }

    #[test]
    fn a_secret_is_never_shown_and_taken_only_where_it_is_sealed() {
        let login = [
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.jaas.config", JAAS),
        ];
        let said = parse(&login).unwrap_err();
        assert!(said[0].starts_with("sasl.jaas.config: is a secret"), "{said:?}");
        let sealed = sealing("w");
        let (taken, notes) = parse_with(&login, &sealed).unwrap();
        assert_eq!(taken.source.security.login.as_ref().unwrap().user(), Some("a"));
        let wrong = parse_with(&[("sasl.jaas.config", "${env:hunter2}")], &sealed);
        for text in [format!("{said:?}{notes:?}{taken:?}"), format!("{wrong:?}")] {
            assert!(!text.contains("hunter2"), "{text}");
        }
        // what is written around it makes no reference of a secret
        let literal = [("ssl.key.password", "${literal:h}unter2")];
        assert!(parse(&literal).unwrap_err()[0].contains("is a secret"));
    }

    /// With a key of its own.
    fn sealing(name: &str) -> Defaults {
        let file = format!("isolog-key-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(file);
        std::fs::write(&path, format!("{}{name}=", "A".repeat(42))).unwrap();
        let sealer = crate::secure::Sealer::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        Defaults { trust: Arc::new(Remote { sealer: Some(Arc::new(sealer)) }), ..defaults() }
    }

    #[test]
    fn what_is_kept_holds_no_secret_and_reads_back() {
        let sealed = sealing("4");
        let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        let login: BTreeMap<String, String> = [
            ("bootstrap.servers", "west:9092"),
            ("num.cluster.link.fetchers", "4"),
            ("sasl.jaas.config", JAAS),
            ("sasl.mechanism", "PLAIN"),
            ("security.protocol", "SASL_PLAINTEXT"),
            ("config.providers.vault.param.token", "hunter2"),
        ]
        .iter()
        .map(owned)
        .collect();
        let kept = sealed.kept(&login).unwrap();
        assert_eq!(kept.len(), login.len());
        assert!(!format!("{kept:?}").contains("hunter2"));
        let name = LinkName("dr".into());
        let read = |configs, defaults: &Defaults| {
            LinkSettings::parse(&name, configs, defaults).map(|(settings, _)| settings)
        };
        let (before, after) = (read(&login, &sealed).unwrap(), read(&kept, &sealed).unwrap());
        assert_eq!(diff(&before, &after), BTreeSet::new());
        assert_eq!(after.source.security.login.as_ref().unwrap().user(), Some("a"));
        assert_eq!(sealed.kept(&kept).unwrap(), kept, "nothing is sealed twice");
        let first = |defaults: &Defaults| read(&kept, defaults).unwrap_err()[0].to_string();
        assert!(first(&sealing("8")).starts_with("sasl.jaas.config: was sealed with another key"));
        assert!(first(&defaults()).starts_with("sasl.jaas.config: is sealed: name the file"));
        let said = defaults().kept(&login).unwrap_err();
        assert_eq!(said.len(), 1);
        assert!(said[0].to_string().starts_with("sasl.jaas.config: is a secret"));
    }

    /// Another value than the default, or `None` where there is no other.
    fn other(row: &Property) -> Option<String> {
        let default = match row.default {
            Default::Is(text) => text,
            Default::None | Default::Required => "",
        };
        let first_of = |words: &[&str]| {
            let other = words.iter().find(|word| !word.eq_ignore_ascii_case(default));
            other.map(|word| (*word).to_owned())
        };
        match row.kind {
            Kind::Text(_) | Kind::Prefix(_) | Kind::Secret(_) => Some("x".into()),
            Kind::TopicFormat => Some("${topic}.x".into()),
            Kind::Words([]) | Kind::Topics | Kind::Addresses => Some("x".into()),
            Kind::Count(least, most) | Kind::Millis(least, most) | Kind::Bytes(least, most) => {
                let other = [least.max(1), most].into_iter().find(|n| n.to_string() != default);
                other.map(|number| number.to_string())
            }
            Kind::Bool => first_of(&["true", "false"]),
            Kind::Word(words)
            | Kind::WordOrLater(words, _)
            | Kind::WordBut(words, _)
            | Kind::Words(words)
            | Kind::WordsButOld(words, _) => first_of(words),
            Kind::Hosts => Some("other:1".into()),
            Kind::Expression(_) => Some("x.*".into()),
            Kind::TopicFilters => Some("{\"topicFilters\":[]}".into()),
            Kind::GroupFilters => Some(ALL_GROUPS.into()),
            Kind::AclFilters => Some("{\"aclFilters\":[]}".into()),
            Kind::Start => Some("latest".into()),
            Kind::Listen => Some("127.0.0.1:1".into()),
            Kind::Path | Kind::File => Some("x.pem".into()),
        }
    }

    #[test]
    fn each_property_changed_alone_gives_its_effect() {
        let old = settings(&[]);
        assert_eq!(diff(&old, &settings(&[])), BTreeSet::new());
        let mut fixed = Vec::new();
        for row in table::of(Scope::Commanded) {
            let Some(text) = other(row) else {
                fixed.push(row.name);
                continue;
            };
            let mut new = old.clone();
            let value = Value::read(row.kind, &Raw::Text(text)).unwrap();
            let before = new.values.0.insert(row.name, value);
            assert!(before.is_some(), "{}", row.name);
            assert_eq!(diff(&old, &new), BTreeSet::from([row.effect]), "{}", row.name);
            let named: Vec<_> = changed(&old, &new).map(|(name, _)| name).collect();
            assert_eq!(named, [row.name]);
            assert_eq!(refused(&old, &new).len(), usize::from(row.is_read_only()), "{}", row.name);
        }
        let right = ["connection.mode"];
        assert_eq!(fixed, right, "these take one word only");
    }

    #[test]
    fn what_a_change_touches_is_read_of_real_settings() {
        let old = settings(&[]);
        let effects = |more: &[(&str, &str)]| diff(&old, &settings(more)).into_iter().collect();
        let check = |more: &[(&str, &str)], right: &[Effect]| {
            let effects: Vec<Effect> = effects(more);
            assert_eq!(effects, right, "{more:?}");
        };
        check(&[("gap.fill", "AUTO"), ("request.timeout.ms", " 30000 ")], &[]);
        check(&[("num.cluster.link.fetchers", "4")], &[]);
        check(&[("bootstrap.servers", "WEST:9092")], &[]);
        check(&[("bootstrap.servers", "west:9092,west:9093")], &[Effect::Reconnect]);
        check(
            &[("mirror.topics", "a"), ("gap.fill", "halt"), ("cluster.link.paused", "true")],
            &[Effect::Replan, Effect::Reseat, Effect::Link],
        );
        let both = settings(&[("link.mode", "BIDIRECTIONAL")]);
        assert!(refused(&old, &both).is_empty());
        let said: Vec<String> = refused(&both, &old).iter().map(Problem::to_string).collect();
        assert_eq!(
            said,
            ["link.mode: cannot be taken back to DESTINATION: delete the link and create it anew"]
        );
        let prefixed = settings(&[("cluster.link.prefix", "w.")]);
        let said: Vec<String> = refused(&old, &prefixed).iter().map(Problem::to_string).collect();
        assert_eq!(
            said,
            ["cluster.link.prefix: cannot be changed any more: delete the link and create it anew"]
        );
    }
}
