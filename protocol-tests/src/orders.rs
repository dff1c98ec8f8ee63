//! Orders for links and mirror topics, as tests give them.
//!
//! It never gives one: a registry takes them.

use std::collections::BTreeMap;

use isolog::control::order::NewLink;
use isolog::control::order::NewMirror;
use isolog::control::row::LinkMode;
use isolog::ids::TopicName;

/// A link with these configs.
pub fn new_link(configs: &[(&str, &str)]) -> NewLink {
    let configs = configs.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    NewLink {
        id: "AAAAAAAAQACAAAAAAAAAAA".into(),
        mode: LinkMode::Destination,
        source: None,
        configs: configs.collect(),
        is_declared: false,
    }
}

/// A link that looks every second and keeps every batch, so that copies can be compared by batch.
pub fn exact_link(source: &str, more: &[(&str, &str)]) -> NewLink {
    let own = [
        ("bootstrap.servers", source),
        ("metadata.max.age.ms", "1000"),
        ("availability.check.ms", "1000"),
        ("batch.merge", "never"),
    ];
    new_link(&[&own[..], more].concat())
}

/// A mirror topic under the link's prefix, with nothing of its own.
pub fn new_mirror(source: &str) -> NewMirror {
    NewMirror {
        source: TopicName::new(source).expect("a legal name"),
        mirror: None,
        start: None,
        replicas: None,
        configs: BTreeMap::new(),
        restore: None,
    }
}
