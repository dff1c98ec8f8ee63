//! The kinds of order, and of news from the source, of which each instruction is tried: what there
//! is before, and how it begins.
//!
//! It never says where one ends: a run that is left alone does.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use isolog::control::filter::Pattern;
use isolog::control::filter::Rule;
use isolog::control::filter::TopicFilter;
use isolog::control::link::LinkSettings;
use isolog::control::order::GroupVerb;
use isolog::control::order::MirrorVerb;
use isolog::control::order::NewLink;
use isolog::control::order::NewMirror;
use isolog::control::order::Order;
use isolog::control::order::Restore;
use isolog::control::order::Ticket;
use isolog::control::order::Verb;
use isolog::control::row::LinkMode;
use isolog::control::row::LinkRow;
use isolog::control::topic::How;
use isolog::ids::GroupName;
use isolog::ids::LinkName;
use isolog::ids::Offset;
use isolog::ids::PartitionId;

use super::clusters::Clusters;
use super::crashes::Lab;
use super::topic;

/// How a kind begins; the ticket of the order, if it is one.
type Begin = fn(&mut Lab) -> Option<Ticket>;

/// A kind of order.
pub struct Kind {
    /// For people.
    pub name: &'static str,
    /// What there is before.
    prepare: fn(&mut Lab),
    /// The order is given, or something happens at the source.
    pub(super) begin: Begin,
    /// Whether one write holds all of the order: what takes more is obeyed when it is answered.
    pub(super) is_one_write: bool,
}

impl Kind {
    /// The world before it, at rest.
    pub(super) fn prepared(&self) -> Lab {
        let mut clusters = Clusters::default();
        for name in ["orders", "a", "b", "c"] {
            clusters.create_source(&topic(name), 2);
        }
        let mut lab = Lab::new(clusters);
        (self.prepare)(&mut lab);
        lab.settle();
        lab
    }
}

/// The links of the config file: one.
pub(super) fn declared() -> BTreeMap<LinkName, NewLink> {
    BTreeMap::from([(dr(), NewLink { is_declared: true, ..new_link("") })])
}

/// The file's link takes two topics, a commanded one those that it has in `mirror.topics`.
pub(super) fn settings(link: &LinkName, row: Option<&LinkRow>) -> LinkSettings {
    let told = row.and_then(|row| row.configs.get(TOPICS)).map_or("", String::as_str);
    let (prefix, patterns) = if *link == dr() { ("", "orders*,a") } else { ("p.", told) };
    let patterns = patterns.split(',').filter(|one| !one.is_empty());
    let rules = patterns.map(|one| Rule::include(Pattern::parse(one).expect("a pattern")));
    super::instance::settings_of(link, prefix, TopicFilter::new(rules.collect()))
}

/// All of them.
pub fn all() -> Vec<Kind> {
    let one = |name, prepare, begin| Kind { name, prepare, begin, is_one_write: true };
    let some = |name, prepare, begin| Kind { name, prepare, begin, is_one_write: false };
    vec![
        one("create a link", nothing, |lab| link(lab, Verb::CreateLink(new_link("b,c")))),
        one("create a mirror topic", a_link, |lab| create(lab, "b", None)),
        one("create by the file's names", nothing, |lab| {
            lab.clusters.create_source(&topic("orders.x"), 3);
            None
        }),
        one("adopt by an order", a_standing_topic, |lab| create(lab, "b", None)),
        one("adopt by the file's names", nothing, |lab| {
            lab.clusters.create_mirror(&topic("orders.x"), 3, false);
            lab.clusters.create_source(&topic("orders.x"), 3);
            None
        }),
        one("adopt what was promoted", a_promoted_one, |lab| restore(lab, BTreeMap::new())),
        one("truncate and restore", a_failed_over_one, |lab| {
            restore(lab, BTreeMap::from([(PartitionId(0), Offset::ZERO)]))
        }),
        one("pause a mirror topic", a_mirror, |lab| mirrors(lab, &["p.b"], MirrorVerb::Pause)),
        one("resume a mirror topic", a_paused_mirror, |lab| {
            mirrors(lab, &["p.b"], MirrorVerb::Resume)
        }),
        some("pause more than a write takes", three_mirrors, |lab| {
            mirrors(lab, &THREE, MirrorVerb::Pause)
        }),
        one("pause a link", three_mirrors, |lab| link(lab, Verb::PauseLink(true))),
        one("resume a link", a_paused_link, |lab| link(lab, Verb::PauseLink(false))),
        one("let go of a mirror topic", a_mirror, |lab| {
            mirrors(lab, &["p.b"], MirrorVerb::Delete { topic: false })
        }),
        one("let go of what a filter takes", a_filtered_mirror, |lab| {
            mirrors(lab, &["p.b"], MirrorVerb::Delete { topic: false })
        }),
        one("delete a mirror topic", a_mirror, |lab| {
            mirrors(lab, &["p.b"], MirrorVerb::Delete { topic: true })
        }),
        one("delete a link", three_mirrors, |lab| link(lab, Verb::DeleteLink { is_forced: true })),
        one("forget a group", a_link, |lab| {
            let groups = BTreeSet::from([GroupName::new("billing")]);
            link(lab, Verb::Groups(groups, GroupVerb::Forget))
        }),
        one("change a config of a link", a_link, |lab| {
            let configs = BTreeMap::from([(TOPICS.to_owned(), Some("b,c".to_owned()))]);
            link(lab, Verb::AlterLink { configs, checked: 0 })
        }),
        one("more partitions at the source", a_mirror, |lab| {
            lab.clusters.change_source(&topic("b"), 0);
            None
        }),
        one("promote", a_mirror, |lab| stop(lab, &["p.b"], How::Promote)),
        one("fail over", a_mirror, |lab| stop(lab, &["p.b"], How::Failover)),
        one("promote what the file has", nothing, |lab| {
            let how = MirrorVerb::Stop { how: How::Promote, deadline_ms: None };
            let verb = Verb::Mirrors(vec![topic("orders")], how);
            Some(lab.order(Order { link: dr(), verb, is_dry: false }))
        }),
        some("promote more than a write takes", three_mirrors, |lab| {
            stop(lab, &THREE, How::Promote)
        }),
    ]
}

const TOPICS: &str = "mirror.topics";
const THREE: [&str; 3] = ["p.a", "p.b", "p.c"];

fn dr() -> LinkName {
    LinkName("dr".into())
}

fn new_link(topics: &str) -> NewLink {
    NewLink {
        id: "id".to_owned(),
        mode: LinkMode::Destination,
        source: None,
        configs: BTreeMap::from([(TOPICS.to_owned(), topics.to_owned())]),
        is_declared: false,
    }
}

fn link(lab: &mut Lab, verb: Verb) -> Option<Ticket> {
    Some(lab.order(Order { link: LinkName("eu".into()), verb, is_dry: false }))
}

fn mirrors(lab: &mut Lab, topics: &[&str], verb: MirrorVerb) -> Option<Ticket> {
    link(lab, Verb::Mirrors(topics.iter().map(|name| topic(name)).collect(), verb))
}

fn stop(lab: &mut Lab, topics: &[&str], how: How) -> Option<Ticket> {
    mirrors(lab, topics, MirrorVerb::Stop { how, deadline_ms: None })
}

fn create(lab: &mut Lab, name: &str, restore: Option<Restore>) -> Option<Ticket> {
    let (mirror, start, replicas) = (None, None, None);
    let (source, configs) = (topic(name), BTreeMap::new());
    let new = NewMirror { source, mirror, start, replicas, configs, restore };
    link(lab, Verb::CreateMirror(new))
}

/// The order begins with a look at what stands there.
fn restore(lab: &mut Lab, ends: BTreeMap<PartitionId, Offset>) -> Option<Ticket> {
    let id = lab.clusters.mirror.get(&topic("p.b")).map(|topic| topic.id);
    let source = lab.clusters.source.get(&topic("b")).map(|topic| topic.id);
    create(
        lab,
        "b",
        id.zip(source).map(|(id, source_id)| Restore {
            id,
            source_id,
            ends,
            starts: BTreeMap::new(),
            reversal: None,
        }),
    )
}

fn nothing(_: &mut Lab) {}

fn a_link(lab: &mut Lab) {
    link(lab, Verb::CreateLink(new_link("")));
    lab.settle();
}

fn a_mirror(lab: &mut Lab) {
    a_link(lab);
    create(lab, "b", None);
    lab.settle();
}

fn a_filtered_mirror(lab: &mut Lab) {
    link(lab, Verb::CreateLink(new_link("b")));
    lab.settle();
}

fn three_mirrors(lab: &mut Lab) {
    a_link(lab);
    for name in ["a", "b", "c"] {
        create(lab, name, None);
    }
    lab.settle();
}

fn a_paused_mirror(lab: &mut Lab) {
    a_mirror(lab);
    mirrors(lab, &["p.b"], MirrorVerb::Pause);
    lab.settle();
}

fn a_paused_link(lab: &mut Lab) {
    three_mirrors(lab);
    link(lab, Verb::PauseLink(true));
    lab.settle();
}

fn a_standing_topic(lab: &mut Lab) {
    a_link(lab);
    lab.clusters.create_mirror(&topic("p.b"), 2, false);
}

fn a_promoted_one(lab: &mut Lab) {
    a_mirror(lab);
    stop(lab, &["p.b"], How::Promote);
    lab.settle();
}

fn a_failed_over_one(lab: &mut Lab) {
    a_mirror(lab);
    stop(lab, &["p.b"], How::Failover);
    lab.settle();
}
