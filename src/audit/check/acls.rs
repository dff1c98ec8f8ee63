//! What the link would change of the destination's ACLs, as the lines of `kafka-acls` that do it.
//!
//! It never changes one, and writes no ledger.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::audit::check::Check;
use crate::audit::past;
use crate::audit::rights::Grantee;
use crate::cluster::Cluster;
use crate::cluster::error::ClusterError;
use crate::cluster::keyed::KeyedLog;
use crate::cluster::metadata::Topic;
use crate::control::acls::AclSync;
use crate::control::acls::Binding;
use crate::control::acls::Facts;
use crate::control::acls::Ledger;
use crate::control::acls::Plan;
use crate::control::acls::shown;
use crate::control::row::Key;
use crate::control::row::Row;
use crate::control::topic::Stage;
use crate::ids::LinkName;
use crate::ids::TopicName;
use crate::sync::acls;
use crate::sync::folded;

/// What a plan would do.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// In the order in which it is done.
    pub changes: Vec<String>,
    /// What cannot be done or is not known, for people.
    pub troubles: Vec<String>,
}

/// What the journal says of ledgers, and of topics that nobody but isolog may change.
#[derive(Debug, Default)]
struct Remembered {
    ledgers: BTreeMap<LinkName, Ledger>,
    mirrors: BTreeSet<TopicName>,
}

impl Remembered {
    async fn read(destination: &Arc<Cluster>) -> Result<Result<Remembered, String>, ClusterError> {
        let Some(log) = KeyedLog::find(destination.clone(), past::journal()).await? else {
            return Ok(Ok(Remembered::default()));
        };
        let is_told = |key: &str| matches!(Key::parse(key), Some(Key::Mirror(..) | Key::Acl(..)));
        Ok(match folded::read(&log, is_told).await {
            Ok(fold) => Remembered::of(fold.rows()),
            Err(error) => Err(format!("the journal (__isolog) cannot be read: {error}")),
        })
    }

    fn of(rows: &BTreeMap<String, String>) -> Result<Remembered, String> {
        let mut remembered = Remembered::default();
        for (text, value) in rows {
            let Some(key) = Key::parse(text) else { continue };
            let row = Row::parse(&key, value).map_err(|error| error.to_string())?;
            match (key, row) {
                (Key::Acl(link, _), Row::Acl(row)) => {
                    let ledger = remembered.ledgers.entry(link).or_default();
                    ledger.insert(row.binding, row.kind);
                }
                (Key::Mirror(_, topic), Row::Mirror(row))
                    if !matches!(row.stage, Stage::Stopped(_) | Stage::LetGo) =>
                {
                    remembered.mirrors.insert(topic);
                }
                _ => {}
            }
        }
        Ok(remembered)
    }
}

impl Check<'_> {
    /// What would be done about ACLs when these topics are mirrored.
    pub(super) async fn acl_lines(
        &self,
        sync: &AclSync,
        topics: &[Arc<Topic>],
    ) -> Result<Lines, ClusterError> {
        let mut lines = Lines::default();
        let options = self.destination.options();
        let Some(own) = acls::own_principal(options, sync.principal.as_deref()) else {
            let text = "as whom the destination knows isolog is not known: set acl.sync.principal";
            lines.troubles.push(text.to_owned());
            return Ok(lines);
        };
        let remembered = match Remembered::read(self.destination).await? {
            Ok(remembered) => remembered,
            Err(text) => {
                lines.troubles.push(text);
                return Ok(lines);
            }
        };
        let both = (acls::observe(self.source).await, acls::observe(self.destination).await);
        let (source, destination) = match both {
            (Ok(source), Ok(destination)) => (source, destination),
            (source, destination) => {
                let faults = [source.err(), destination.err()].into_iter().flatten();
                lines.troubles.extend(faults.map(|fault| fault.text));
                return Ok(lines);
            }
        };
        let own_mirrors = topics.iter().map(|topic| self.link.mirror_of(&topic.name)).collect();
        let known = self.destination.topics().into_iter().map(|topic| topic.name.clone());
        let view = View {
            sync,
            own: &own,
            link: &self.link.name,
            source: if sync.is_enabled { source.bindings } else { BTreeSet::new() },
            destination: destination.bindings,
            own_mirrors,
            topics: known.collect(),
        };
        let plan = view.plan(&remembered);
        let bootstrap = Grantee::of(options).bootstrap;
        let created = plan.created().map(|one| shown::line(one, &bootstrap, false));
        let deleted = plan.deleted().map(|one| shown::line(one, &bootstrap, true));
        lines.changes.extend(created.chain(deleted));
        lines
            .troubles
            .extend(plan.errors.iter().map(|(what, fault)| format!("{what}: {}", fault.text)));
        Ok(lines)
    }
}

/// All that a plan is made of, but for what the journal says.
struct View<'a> {
    sync: &'a AclSync,
    own: &'a str,
    link: &'a LinkName,
    source: BTreeSet<Binding>,
    destination: BTreeSet<Binding>,
    own_mirrors: BTreeSet<TopicName>,
    topics: BTreeSet<TopicName>,
}

impl View<'_> {
    fn plan(&self, remembered: &Remembered) -> Plan {
        let none = Ledger::new();
        let others = remembered.ledgers.iter().filter(|(link, _)| *link != self.link);
        let others = others.flat_map(|(_, ledger)| ledger.iter());
        let others = others.filter(|(_, kind)| kind.is_applied());
        let mut mirrors = &remembered.mirrors | &self.own_mirrors;
        mirrors.insert(past::journal());
        Plan::of(&Facts {
            own: self.own,
            protection: self.sync.protection,
            source: Some(&self.sync.filter.select(&self.source)),
            destination: &self.destination,
            ledger: remembered.ledgers.get(self.link).unwrap_or(&none),
            others: &others.map(|(binding, _)| binding.clone()).collect(),
            mirrors: &mirrors,
            own_mirrors: &self.own_mirrors,
            // as they will be
            topics: &(&self.topics | &self.own_mirrors),
            is_super: None,
            is_ending: false,
        })
    }
}
