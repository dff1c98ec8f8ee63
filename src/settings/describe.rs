//! The configs of a link as people list them: every name, with its default where nothing is said.
//!
//! It never gives out the value of a secret, nor of a name that nobody here knows.

use std::collections::BTreeMap;
use std::iter;

use crate::control::acls::AclFilter;
use crate::control::acls::filter::AclLine;
use crate::control::acls::filter::PatternFilter;
use crate::control::filter::Pattern;
use crate::control::filter::Rule;
use crate::control::filter::Verdict;
use crate::control::task::groups;

use super::check::Checked;
use super::check::Origin;
use super::check::Setting;
use super::names;
use super::names::Stranger;
use super::property::Default;
use super::property::Kind;
use super::property::Scope;
use super::table;
use super::value::Raw;
use super::value::Value;

/// One config of a link, in the terms of REST v3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Cluster Linking's name, Kafka's or ours.
    pub name: String,
    /// Its value as text; `None` for nothing, and for what is sensitive.
    pub value: Option<String>,
    /// Nobody said it.
    pub is_default: bool,
    /// It cannot be changed once the link is there.
    pub is_read_only: bool,
    /// It is never shown.
    pub is_sensitive: bool,
    /// `DYNAMIC_CLUSTER_LINK_CONFIG`, `STATIC_CLUSTER_LINK_CONFIG` (the file) or `DEFAULT_CONFIG`.
    pub source: &'static str,
    /// The names by which it is known.
    pub synonyms: Vec<String>,
}

const SAID: &str = "DYNAMIC_CLUSTER_LINK_CONFIG";
const IN_FILE: &str = "STATIC_CLUSTER_LINK_CONFIG";
const DEFAULT: &str = "DEFAULT_CONFIG";
/// What stands for a secret.
const MASK: &str = "***";

/// Every property of a link with these configs, by name in order; what was taken and means nothing
/// here is among them.
pub fn describe(configs: &BTreeMap<String, String>) -> Vec<ConfigEntry> {
    let known = table::of(Scope::Commanded).map(|row| {
        let said = configs.get(row.name);
        let default = match row.default {
            Default::Is(text) => Some(text.to_owned()),
            Default::None | Default::Required => None,
        };
        let value = said.cloned().or(default).filter(|_| !row.sensitive);
        entry(row.name, value, said.is_some(), row.is_read_only(), row.sensitive)
    });
    let is_strange = |name: &&String| table::find(Scope::Commanded, name).is_none();
    let strange = configs.keys().filter(is_strange).map(|name| {
        let is_idle = matches!(names::explain(Scope::Commanded, name), Stranger::Idle(_));
        let value = configs.get(name).filter(|_| is_idle).cloned();
        entry(name, value, true, false, !is_idle)
    });
    let mut all: Vec<ConfigEntry> = known.chain(strange).collect();
    all.sort_by(|left, right| left.name.cmp(&right.name));
    all
}

/// The same of a link of the file: only there can it be changed.
pub fn declared(link: &Checked) -> Vec<ConfigEntry> {
    let one = |setting: &Setting| {
        let (name, sensitive) = (setting.property.name, setting.property.sensitive);
        let value = match (sensitive, &setting.value) {
            (true, _) | (_, Value::Absent) => None,
            _ => Some(as_text(shown(setting))),
        };
        let is_said = setting.origin != Origin::Default;
        let source = if is_said { IN_FILE } else { DEFAULT };
        ConfigEntry { source, ..entry(name, value, is_said, true, sensitive) }
    };
    let mut all: Vec<ConfigEntry> = link.settings().map(one).collect();
    all.sort_by(|left, right| left.name.cmp(&right.name));
    all
}

/// As a `.properties` file has it.
fn as_text(value: serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text,
        serde_json::Value::Array(items) => {
            items.into_iter().map(as_text).collect::<Vec<_>>().join(",")
        }
        other => other.to_string(),
    }
}

/// What people see of a setting: secrets are masked, and what a reference led to is not there.
pub fn shown(setting: &Setting) -> serde_json::Value {
    if setting.property.sensitive {
        return MASK.into();
    }
    match &setting.reference {
        Some(Raw::List(items)) => return items.clone().into(),
        Some(Raw::Text(text)) => return text.clone().into(),
        _ => {}
    }
    match &setting.value {
        Value::Absent => serde_json::Value::Null,
        Value::Text(text) => text.clone().into(),
        Value::Int(number) => (*number).into(),
        Value::Bool(yes) => (*yes).into(),
        Value::Hosts(hosts) => hosts.iter().map(address).collect::<Vec<_>>().join(",").into(),
        Value::Rules(rules) => match setting.property.kind {
            Kind::TopicFilters => filters(rules).to_string().into(),
            Kind::Expression(_) => rules.iter().map(pattern).collect::<String>().into(),
            _ => rules.iter().map(pattern).collect::<Vec<_>>().into(),
        },
        Value::Groups(rules) => group_filters(rules).to_string().into(),
        Value::Acls(filter) => acls(filter).to_string().into(),
        Value::Words(words) => words.join(",").into(),
        Value::Secret(_) => MASK.into(),
        Value::Addresses(rules) => {
            rules.iter().map(ToString::to_string).collect::<Vec<_>>().join(",").into()
        }
        Value::Listen(address) => address.to_string().into(),
    }
}

fn address((host, port): &(String, u16)) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn pattern(rule: &Rule) -> String {
    rule.pattern.to_string()
}

fn filters(rules: &[Rule]) -> serde_json::Value {
    let line = |rule: &Rule| {
        let (name, pattern) = match &rule.pattern {
            Pattern::Literal(name) => (name.as_str(), "LITERAL"),
            Pattern::Prefix(start) if start.is_empty() => ("*", "LITERAL"),
            Pattern::Prefix(start) => (start.as_str(), "PREFIXED"),
            // no line of this JSON can be one
            Pattern::Expression(_) => return serde_json::Value::Null,
        };
        filter(name, pattern, rule.verdict)
    };
    serde_json::json!({ "topicFilters": rules.iter().map(line).collect::<Vec<_>>() })
}

fn group_filters(rules: &[groups::Rule]) -> serde_json::Value {
    let line = |rule: &groups::Rule| {
        let (name, pattern) = match &rule.pattern {
            groups::Pattern::Literal(name) => (name.as_str(), "LITERAL"),
            groups::Pattern::Prefix(start) if start.is_empty() => ("*", "LITERAL"),
            groups::Pattern::Prefix(start) => (start.as_str(), "PREFIXED"),
        };
        filter(name, pattern, rule.verdict)
    };
    serde_json::json!({ "groupFilters": rules.iter().map(line).collect::<Vec<_>>() })
}

fn filter(name: &str, pattern: &str, verdict: Verdict) -> serde_json::Value {
    let verdict = match verdict {
        Verdict::Include => "INCLUDE",
        Verdict::Exclude => "EXCLUDE",
    };
    serde_json::json!({ "name": name, "patternType": pattern, "filterType": verdict })
}

/// As Cluster Linking has it, with every field said.
fn acls(filter: &AclFilter) -> serde_json::Value {
    let any = || "ANY".to_owned();
    let line = |line: &AclLine| {
        let pattern = match line.pattern {
            PatternFilter::Any => "ANY",
            PatternFilter::Match => "MATCH",
            PatternFilter::Is(kind) => kind.word(),
        };
        let resource = line.resource.map_or_else(any, |one| one.word().to_owned());
        let operation = line.operation.map_or_else(any, |one| one.word().to_owned());
        let permission = line.permission.map_or_else(any, |one| one.word().to_owned());
        serde_json::json!({
            "resourceFilter": {
                "resourceType": resource, "patternType": pattern, "name": line.name,
            },
            "accessFilter": {
                "operation": operation, "permissionType": permission,
                "principal": line.principal, "host": line.host,
            },
        })
    };
    serde_json::json!({ "aclFilters": filter.0.iter().map(line).collect::<Vec<_>>() })
}

fn entry(
    name: &str,
    value: Option<String>,
    is_said: bool,
    is_read_only: bool,
    is_sensitive: bool,
) -> ConfigEntry {
    let aliases = names::aliases(name).map(str::to_owned);
    ConfigEntry {
        name: name.to_owned(),
        value,
        is_default: !is_said,
        is_read_only,
        is_sensitive,
        source: if is_said { SAID } else { DEFAULT },
        synonyms: iter::once(name.to_owned()).chain(aliases).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::check::Desk;
    use crate::settings::check::Entry;
    use crate::settings::property::Effect;
    use crate::settings::property::Kind;
    use crate::settings::property::Property;
    use crate::settings::trust::Remote;

    fn of(configs: &[(&str, &str)]) -> Vec<ConfigEntry> {
        let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        describe(&configs.iter().map(owned).collect())
    }

    fn one(all: &[ConfigEntry], name: &str) -> ConfigEntry {
        all.iter().find(|entry| entry.name == name).unwrap_or_else(|| panic!("{name}")).clone()
    }

    #[test]
    fn every_name_is_listed_with_its_default() {
        let all = of(&[]);
        assert_eq!(all.len(), table::of(Scope::Commanded).count());
        assert!(all.is_sorted_by(|left, right| left.name < right.name));
        assert!(all.iter().all(|one| one.is_default && one.source == "DEFAULT_CONFIG"));
        let interval = ConfigEntry {
            name: "consumer.offset.sync.ms".into(),
            value: Some("30000".into()),
            is_default: true,
            is_read_only: false,
            is_sensitive: false,
            source: "DEFAULT_CONFIG",
            synonyms: vec!["consumer.offset.sync.ms".into()],
        };
        assert_eq!(one(&all, "consumer.offset.sync.ms"), interval);
        // the catalogue's, but for what means nothing here and what comes with a later release
        for (name, value) in [
            ("link.mode", Some("DESTINATION")),
            ("connection.mode", Some("OUTBOUND")),
            ("cluster.link.prefix", None),
            ("cluster.link.paused", Some("false")),
            ("auto.create.mirror.topics.enable", Some("false")),
            ("auto.create.mirror.topics.filters", None),
            ("consumer.offset.sync.enable", Some("false")),
            ("consumer.offset.group.filters", None),
            ("consumer.group.prefix.enable", Some("false")),
            ("acl.sync.enable", Some("false")),
            ("acl.sync.ms", Some("5000")),
            ("acl.filters", None),
            ("acl.sync.principal", None),
            ("mirror.write.protection", Some("rights")),
            ("topic.config.sync.ms", Some("5000")),
            ("mirror.start.offset.spec", Some("earliest")),
            ("bootstrap.servers", None),
            ("metadata.max.age.ms", Some("30000")),
        ] {
            assert_eq!(one(&all, name).value.as_deref(), value, "{name}");
        }
        assert!(all.iter().all(|one| one.name != "properties.file" && one.name != "listen"));
    }

    #[test]
    fn what_is_said_is_shown_but_for_secrets() {
        let all = of(&[
            ("cluster.link.prefix", "west."),
            ("sasl.jaas.config", "hunter2"),
            ("num.cluster.link.fetchers", "4"),
            ("config.providers.vault.param.token", "hunter2"),
        ]);
        let prefix = one(&all, "cluster.link.prefix");
        assert_eq!(prefix.value.as_deref(), Some("west."));
        assert!(!prefix.is_default && prefix.is_read_only && !prefix.is_sensitive);
        assert_eq!(prefix.source, "DYNAMIC_CLUSTER_LINK_CONFIG");
        let fetchers = one(&all, "num.cluster.link.fetchers");
        assert_eq!((fetchers.value.as_deref(), fetchers.is_default), (Some("4"), false));
        for name in ["sasl.jaas.config", "config.providers.vault.param.token"] {
            let secret = one(&all, name);
            assert!(secret.is_sensitive && secret.value.is_none() && !secret.is_default, "{name}");
        }
        assert!(!format!("{all:?}").contains("hunter2"));
    }

    #[test]
    fn secrets_are_masked() {
        static SECRET: Property = Property {
            name: "sasl.jaas.config",
            scopes: &[],
            kind: Kind::Text(100),
            default: Default::None,
            effect: Effect::Reconnect,
            sensitive: true,
            doc: "",
        };
        let value = Value::Text("hunter2".into());
        let (origin, reference) = (Origin::Config, Some(Raw::Text("${env:X}".into())));
        let setting = Setting { property: &SECRET, value, origin, reference };
        assert_eq!(shown(&setting), MASK);
    }

    #[test]
    fn an_ipv6_address_gets_its_brackets_back() {
        assert_eq!(address(&("::1".into(), 9092)), "[::1]:9092");
        assert_eq!(address(&("a".into(), 1)), "a:1");
    }

    #[test]
    fn a_link_of_the_file_is_listed_with_what_stands_there() {
        let trust = Remote::default();
        let mut desk = Desk::new(Scope::Link, "link.dr".into(), &trust);
        for (key, raw) in [
            ("bootstrap.servers", Raw::Text("B:1, [::1]:2".into())),
            ("mirror.topics", Raw::List(vec!["orders".into(), "pay*".into()])),
            ("request.timeout.ms", Raw::Int(700)),
        ] {
            desk.take(&Entry { key: key.into(), raw, spot: None }, Origin::Config);
        }
        let (checked, problems) = desk.finish();
        assert_eq!(problems, []);
        let all = declared(&checked);
        assert!(all.iter().all(|one| one.is_read_only));
        assert!(all.is_sorted_by(|left, right| left.name < right.name));
        for (name, value, source) in [
            ("bootstrap.servers", Some("b:1,[::1]:2"), IN_FILE),
            ("mirror.topics", Some("orders,pay*"), IN_FILE),
            ("request.timeout.ms", Some("700"), IN_FILE),
            ("cluster.link.paused", Some("false"), DEFAULT),
            ("link.mode", Some("DESTINATION"), DEFAULT),
            ("sasl.jaas.config", None, DEFAULT),
        ] {
            let entry = one(&all, name);
            assert_eq!((entry.value.as_deref(), entry.source), (value, source), "{name}");
            assert_eq!(entry.is_default, source == DEFAULT, "{name}");
        }
    }
}
