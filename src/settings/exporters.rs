//! What an order says of an exporter becomes its options; what is kept of it has no open secret.
//!
//! It never reads a file of this machine for an order, and repeats no value of a secret.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::cluster;
use crate::control::schemas::row::ExporterName;
use crate::control::schemas::row::Wish;
use crate::http::url::Url;
use crate::ids::LinkName;
use crate::ids::TopicName;
use crate::schemas::Choice;
use crate::schemas::client;
use crate::schemas::client::Auth;
use crate::schemas::exporter::Options;
use crate::secure::is_sealed;

use super::fill::Shared;
use super::link;
use super::names::canonical;
use super::problem::Problem;
use super::property::Scope;
use super::registry;
use super::registry::inner;
use super::registry::is_secret;
use super::table;
use super::trust::Trust;

/// What stands before the properties of the source's registry.
pub const SOURCE: &str = "source.";
/// What stands before the properties of the source's brokers, whose topic tells of new schemas.
pub const BROKERS: &str = "source.kafka.";
/// Where Confluent's registry keeps its schemas.
const TOPIC: &str = "_schemas";
/// What a link may use at least.
const LENT_BYTES: usize = 256 << 20;
/// How often the registries are compared.
const POLL: &str = "poll.interval.ms";
const POLL_MS: u64 = 10_000;
const POLL_MS_MIN: u64 = 1_000;
const POLL_MS_MAX: u64 = 7 * 24 * 3_600 * 1_000;
/// What is shown of a secret.
pub const HIDDEN: &str = "[hidden]";

/// What exporters get that are created by order.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// `exporter.source.properties.file`: the registry that they copy from, where their own
    /// properties name none.
    pub source: Option<client::Options>,
    /// What their properties may read of this machine.
    pub trust: Arc<dyn Trust>,
}

/// An exporter, and where its source's registry keeps its schemas.
#[derive(Clone, Debug)]
pub struct Ordered {
    /// The exporter.
    pub options: Options,
    /// The topic, where it can be reached.
    pub tail: Option<Tail>,
}

/// A registry's own topic, in which each new schema is a record.
#[derive(Clone, Debug)]
pub struct Tail {
    /// How its cluster is reached.
    pub source: cluster::Options,
    /// Its name.
    pub topic: TopicName,
}

impl Tail {
    /// Reads how a Kafka client reaches that cluster; `who` names its connections.
    pub fn parse(
        who: &str,
        pairs: &BTreeMap<String, String>,
        topic: Option<&str>,
        trust: Arc<dyn Trust>,
    ) -> Result<Tail, Vec<String>> {
        let topic = topic.unwrap_or(TOPIC);
        let topic = TopicName::new(topic).ok_or_else(|| vec![format!("{topic:?} is no topic")])?;
        // nothing of what links share is asked of one that copies nothing
        let shared = Shared { memory_bytes: LENT_BYTES, reencode_threads: 1 };
        let defaults = link::Defaults { shared, destination: Vec::new(), trust };
        let name = LinkName(format!("{who}-schemas").into());
        let parsed = link::LinkSettings::parse(&name, pairs, &defaults);
        let said = |all: Vec<Problem>| all.iter().map(Problem::to_string).collect::<Vec<_>>();
        let (settings, _) = parsed.map_err(said)?;
        Ok(Tail { source: settings.source, topic })
    }
}

/// What is wrong with an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Its properties.
    Config(Vec<String>),
    /// Its subjects, its context or its format.
    Subjects(String),
}

impl Defaults {
    /// The properties as they may be written where others read them: secrets are sealed.
    pub fn kept(
        &self,
        config: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, Vec<String>> {
        let (mut kept, mut problems) = (BTreeMap::new(), Vec::new());
        for (name, text) in config {
            let property = property(name);
            if !is_hidden(name) || is_sealed(text) {
                kept.insert(name.clone(), text.clone());
                continue;
            }
            match self.trust.seal(property, text) {
                Ok(sealed) => drop(kept.insert(name.clone(), sealed)),
                Err(why) => problems.push(format!("{name} {why}")),
            }
        }
        if problems.is_empty() { Ok(kept) } else { Err(problems) }
    }

    /// What an exporter does that is to be so; all mistakes of its properties at once.
    pub fn options(
        &self,
        name: &ExporterName,
        wish: &Wish,
        is_paused: bool,
    ) -> Result<Ordered, Wrong> {
        let context = wish.context_type.context(&name.0, Some(&wish.context));
        let context = context.map_err(|why| Wrong::Subjects(format!("context {why}")))?;
        let contexts = wish.context_type.contexts(&context);
        let choice = Choice::new(wish.subjects.clone(), contexts, Some(wish.format.clone()));
        let choice = choice.map_err(|why| Wrong::Subjects(why.to_string()))?;
        let (own, brokers) = parted(&wish.config);
        let (source, destination, poll) = self.config(&own).map_err(Wrong::Config)?;
        let tail = self.tail(name, brokers).map_err(Wrong::Config)?;
        let options = Options {
            name: name.to_string(),
            source,
            destination,
            subjects: wish.subjects.clone(),
            context_type: wish.context_type,
            context,
            format: wish.format.clone(),
            choice,
            poll,
            is_paused,
            config: shown(&wish.config),
        };
        Ok(Ordered { options, tail })
    }

    /// The topic of the source's registry, where its brokers are named.
    fn tail(
        &self,
        name: &ExporterName,
        mut brokers: BTreeMap<String, String>,
    ) -> Result<Option<Tail>, Vec<String>> {
        let topic = brokers.remove("topic");
        if brokers.is_empty() {
            return Ok(None);
        }
        let tail = Tail::parse(&name.0, &brokers, topic.as_deref(), self.trust.clone());
        let said = |all: Vec<String>| all.iter().map(|text| format!("{BROKERS}{text}")).collect();
        tail.map(Some).map_err(said)
    }

    fn config(
        &self,
        config: &BTreeMap<String, String>,
    ) -> Result<(client::Options, client::Options, Duration), Vec<String>> {
        let (mut from, mut to) = (BTreeMap::new(), BTreeMap::new());
        let (mut poll, mut problems) = (Ok(Duration::from_millis(POLL_MS)), Vec::new());
        for (name, text) in config {
            match name.strip_prefix(SOURCE) {
                _ if name == POLL => poll = millis(text),
                Some(own) if inner(own).is_some() => drop(from.insert(own.into(), text.clone())),
                None if inner(name).is_some() => drop(to.insert(name.clone(), text.clone())),
                _ => problems.push(stranger(name)),
            }
        }
        let said = |whose: &str, all: Vec<String>| -> Vec<String> {
            all.into_iter().map(|text| format!("{whose}{text}")).collect()
        };
        let source = match (from.is_empty(), &self.source) {
            (true, Some(source)) => Ok(source.clone()),
            _ => registry::registry(&from, &*self.trust).map_err(|all| said(SOURCE, all)),
        };
        let destination = registry::registry(&to, &*self.trust);
        match (source, destination, poll) {
            (Ok(source), Ok(destination), Ok(poll)) if problems.is_empty() => {
                Ok((source, destination, poll))
            }
            (source, destination, poll) => {
                problems.extend(source.err().into_iter().flatten());
                problems.extend(destination.err().into_iter().flatten());
                problems.extend(poll.err());
                Err(problems)
            }
        }
    }
}

/// What is of the registries, and what is of the source's brokers.
fn parted(
    config: &BTreeMap<String, String>,
) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let (mut own, mut brokers) = (BTreeMap::new(), BTreeMap::new());
    for (name, text) in config {
        match name.strip_prefix(BROKERS) {
            Some(name) => drop(brokers.insert(name.to_owned(), text.clone())),
            None => drop(own.insert(name.clone(), text.clone())),
        }
    }
    (own, brokers)
}

/// Whether the value of a property is nobody's to see.
fn is_hidden(name: &str) -> bool {
    match name.strip_prefix(BROKERS) {
        Some(own) => table::find(Scope::Commanded, canonical(own)).is_some_and(|row| row.sensitive),
        None => is_secret(property(name)),
    }
}

/// The property by the name under which its secret is sealed: that of a registry's client.
fn property(name: &str) -> &str {
    if let Some(own) = name.strip_prefix(BROKERS) {
        return canonical(own);
    }
    let own = name.strip_prefix(SOURCE).unwrap_or(name);
    inner(own).unwrap_or(own)
}

fn stranger(name: &str) -> String {
    let is_shown = |letter: &char| letter.is_ascii_alphanumeric() || "._-".contains(*letter);
    let name: String = name.chars().filter(is_shown).take(80).collect();
    format!(
        "{name} is no property of an exporter: there are schema.registry.*, basic.auth.* and \
         bearer.auth.* for the destination's registry, the same behind {SOURCE} for the source's, \
         {BROKERS}* for the brokers of the source's, and {POLL}"
    )
}

fn millis(text: &str) -> Result<Duration, String> {
    let read = text.parse().ok().filter(|ms| (POLL_MS_MIN..=POLL_MS_MAX).contains(ms));
    let wrong = || format!("{POLL} must be a whole number from {POLL_MS_MIN} to {POLL_MS_MAX}");
    read.map(Duration::from_millis).ok_or_else(wrong)
}

/// The properties as they are shown.
pub fn shown(config: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let hide = |(name, text): (&String, &String)| {
        let text = if is_hidden(name) { HIDDEN } else { text };
        (name.clone(), text.to_owned())
    };
    config.iter().map(hide).collect()
}

/// The same of a registry that a file names.
pub fn shown_of(registry: &client::Options) -> BTreeMap<String, String> {
    let urls: Vec<String> = registry.urls.iter().map(url).collect();
    let mut config = BTreeMap::from([("schema.registry.url".to_owned(), urls.join(","))]);
    let login = match registry.auth {
        Auth::None => None,
        Auth::Basic(_) => {
            Some(["basic.auth.user.info", "basic.auth.credentials.source", "USER_INFO"])
        }
        Auth::Bearer(_) => {
            Some(["bearer.auth.token", "bearer.auth.credentials.source", "STATIC_TOKEN"])
        }
    };
    if let Some([secret, source, word]) = login {
        config.insert(secret.to_owned(), HIDDEN.to_owned());
        config.insert(source.to_owned(), word.to_owned());
    }
    config
}

fn url(url: &Url) -> String {
    let scheme = if url.is_https { "https" } else { "http" };
    format!("{scheme}://{}{}", url.authority(), url.path.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::schemas::choice::ContextType;
    use crate::settings::trust::Remote;

    fn wish(config: &[(&str, &str)]) -> Wish {
        let config = config.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        Wish {
            subjects: vec!["*".into()],
            format: "${subject}".into(),
            context_type: ContextType::Auto,
            context: String::new(),
            config: config.collect(),
        }
    }

    fn defaults() -> Defaults {
        Defaults { source: None, trust: Arc::new(Remote::default()) }
    }

    fn sealing() -> Defaults {
        let path = std::env::temp_dir().join(format!("isolog-exporter-{}", std::process::id()));
        std::fs::write(&path, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n").unwrap();
        let sealer = crate::secure::Sealer::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        Defaults { source: None, trust: Arc::new(Remote { sealer: Some(Arc::new(sealer)) }) }
    }

    const URLS: [(&str, &str); 2] =
        [("schema.registry.url", "https://b:1"), ("source.schema.registry.url", "http://a:1")];
    const LOGIN: (&str, &str) = ("basic.auth.user.info", "user:hunter2");

    fn wrong(defaults: &Defaults, wish: &Wish) -> String {
        match defaults.options(&ExporterName("dr".into()), wish, false).unwrap_err() {
            Wrong::Config(all) => all.join("; "),
            Wrong::Subjects(text) => text,
        }
    }

    #[test]
    fn an_order_names_both_registries_or_the_file_names_the_source() {
        let name = ExporterName("dr".into());
        let options = defaults().options(&name, &wish(&URLS), true).unwrap().options;
        assert_eq!((&*options.source.urls[0].host, &*options.destination.urls[0].host), ("a", "b"));
        assert_eq!((&*options.context, options.is_paused), (".lsrc-dr", true));
        assert_eq!(options.poll, Duration::from_secs(10));
        let alone = wish(&URLS[..1]);
        let said = wrong(&defaults(), &alone);
        assert!(said.contains("source.schema.registry.url is missing"), "{said}");
        let source = Some(options.source);
        let options =
            Defaults { source, ..defaults() }.options(&name, &alone, false).unwrap().options;
        assert_eq!(&*options.source.urls[0].host, "a");
        let quick = wish(&[URLS[0], URLS[1], ("poll.interval.ms", "5000")]);
        let options = defaults().options(&name, &quick, false).unwrap().options;
        assert_eq!(options.poll, Duration::from_secs(5));
    }

    #[test]
    fn an_order_may_name_the_brokers_of_the_source() {
        let name = ExporterName("dr".into());
        let of = |more: &[(&str, &str)]| wish(&[&URLS[..], more].concat());
        assert!(defaults().options(&name, &of(&[]), false).unwrap().tail.is_none());
        let brokers = ("source.kafka.bootstrap.servers", "k:9092");
        let tail = defaults().options(&name, &of(&[brokers]), false).unwrap().tail.unwrap();
        assert_eq!((tail.topic.as_str(), &*tail.source.bootstrap[0].0), ("_schemas", "k"));
        let topic = ("source.kafka.topic", "kafkasql-journal");
        let tail = defaults().options(&name, &of(&[brokers, topic]), false).unwrap().tail.unwrap();
        assert_eq!(tail.topic.as_str(), "kafkasql-journal");
        let said = wrong(&defaults(), &of(&[brokers, ("source.kafka.topic", "a b")]));
        assert!(said.contains("source.kafka.") && said.contains("is no topic"), "{said}");
        let said = wrong(&defaults(), &of(&[("source.kafka.acks", "x")]));
        assert!(said.contains("source.kafka.") && said.contains("bootstrap.servers"), "{said}");
        let jaas = "x.PlainLoginModule required username=\"a\" password=\"hunter2\";";
        let login = of(&[
            brokers,
            ("source.kafka.security.protocol", "SASL_SSL"),
            ("source.kafka.sasl.mechanism", "PLAIN"),
            ("source.kafka.sasl.jaas.config", jaas),
        ]);
        assert!(wrong(&defaults(), &login).contains("secrets.key.file"));
        let config = sealing().kept(&login.config).unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
        assert_eq!(shown(&config)["source.kafka.sasl.jaas.config"], HIDDEN);
        let sealed = Wish { config, ..login };
        assert!(sealing().options(&name, &sealed, false).unwrap().tail.is_some());
    }

    #[test]
    fn mistakes_are_told_all_at_once() {
        let said = wrong(&defaults(), &wish(&[("colour", "1"), ("poll.interval.ms", "1")]));
        for part in ["colour is no property", "poll.interval.ms must be", "registry.url is missing"]
        {
            assert!(said.contains(part), "{said}");
        }
        let custom = Wish { context_type: ContextType::Custom, ..wish(&URLS) };
        assert!(wrong(&defaults(), &custom).contains("needs one"));
        let nobody = Wish { subjects: Vec::new(), ..wish(&URLS) };
        assert!(wrong(&defaults(), &nobody).contains("name the subjects"));
        let file = wish(&[URLS[0], URLS[1], ("schema.registry.ssl.truststore.location", "/x")]);
        assert!(wrong(&defaults(), &file).contains("names a file of this machine"));
    }

    #[test]
    fn a_secret_is_sealed_or_refused_and_never_shown() {
        let mut wish = wish(&[URLS[0], URLS[1], LOGIN]);
        for said in [wrong(&defaults(), &wish), defaults().kept(&wish.config).unwrap_err().join("")]
        {
            assert!(said.contains("secrets.key.file") && !said.contains("hunter2"), "{said}");
        }
        wish.config = sealing().kept(&wish.config).unwrap();
        assert!(!format!("{wish:?}").contains("hunter2"));
        let options = sealing().options(&ExporterName("dr".into()), &wish, false).unwrap().options;
        let Auth::Basic(pair) = &options.destination.auth else { panic!("{options:?}") };
        assert_eq!(pair.expose(), "user:hunter2");
        assert_eq!(options.config["basic.auth.user.info"], HIDDEN);
        assert_eq!(options.config, shown(&wish.config));
        assert_eq!(sealing().kept(&wish.config).unwrap(), wish.config, "nothing is sealed twice");
    }
}
