//! The configs of a link as people list them: every name, with its default where nothing is said.
//!
//! It never gives out the value of a secret, nor of a name that nobody here knows.

use std::collections::BTreeMap;

use super::names;
use super::names::Stranger;
use super::property::Default;
use super::property::Scope;
use super::table;

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
    /// `DYNAMIC_CLUSTER_LINK_CONFIG` or `DEFAULT_CONFIG`.
    pub source: &'static str,
    /// The names by which it is known.
    pub synonyms: Vec<String>,
}

const SAID: &str = "DYNAMIC_CLUSTER_LINK_CONFIG";
const DEFAULT: &str = "DEFAULT_CONFIG";

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

fn entry(
    name: &str,
    value: Option<String>,
    is_said: bool,
    is_read_only: bool,
    is_sensitive: bool,
) -> ConfigEntry {
    ConfigEntry {
        name: name.to_owned(),
        value,
        is_default: !is_said,
        is_read_only,
        is_sensitive,
        source: if is_said { SAID } else { DEFAULT },
        synonyms: vec![name.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
