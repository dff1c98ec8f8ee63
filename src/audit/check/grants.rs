//! The rights of a link on both sides, and the names and prefixes by which it asks for topics.
//!
//! It never grants anything: it prints the lines that do.

use std::sync::Arc;

use crate::audit::check::Check;
use crate::audit::check::Report;
use crate::audit::judge::Finding;
use crate::audit::past;
use crate::audit::rights;
use crate::audit::rights::Grantee;
use crate::cluster::error::ClusterError;
use crate::cluster::metadata::Topic;
use crate::ids::TopicName;

impl Check<'_> {
    /// Prefixes that match nothing: often they are meant for regular expressions.
    pub(super) fn patterns(&self, topics: &[Arc<Topic>], report: &mut Report) {
        let prefixes = self.link.patterns.iter().filter(|pattern| pattern.is_prefix);
        let idle = prefixes.filter(|pattern| !topics.iter().any(|one| pattern.covers(&one.name)));
        for pattern in idle.filter(|_| self.ask.topics.is_empty()) {
            report.findings.push(Finding::unknown(format!(
                "mirror.topics: \"{}*\" matches no topic of the source, or none that is shown to \
                 us: it is how names begin, no regular expression (\"*\" is every topic)",
                pattern.text
            )));
        }
    }

    /// Rights on both sides; topics that are named and not seen are among them.
    pub(super) async fn rights(
        &self,
        topics: &[Arc<Topic>],
        report: &mut Report,
    ) -> Result<(), ClusterError> {
        let mut names: Vec<TopicName> = topics.iter().map(|topic| topic.name.clone()).collect();
        for pattern in self.link.patterns.iter().filter(|pattern| !pattern.is_prefix) {
            let Some(name) = TopicName::new(&pattern.text) else { continue };
            let is_wanted =
                self.link.topics.matches(&name) && self.link.is_asked(&self.ask.topics, &name);
            if is_wanted && !names.contains(&name) {
                let text =
                    format!("topic {name}: the source does not have it, or does not show it");
                report.findings.push(Finding::unknown(text));
                names.push(name);
            }
        }
        let protection = self.link.acls.as_ref().map(|acls| rights::of_protection(acls.protection));
        report.findings.extend(protection.map(Finding::note));
        if names.is_empty() && self.link.topics.includes_anything() {
            let text =
                "no topic of the source matches, or none is shown to us: that needs Describe";
            report.findings.push(Finding::unknown(text));
        }
        if self.ask.topics.is_empty() {
            names.extend(rights::unseen(self.link, topics));
        }
        let journal = [past::journal()];
        let mirrors: Vec<TopicName> = names.iter().map(|name| self.link.mirror_of(name)).collect();
        let sides =
            [(0, self.source, (&names, &[][..])), (1, self.destination, (&mirrors, &journal[..]))];
        for (at, cluster, (names, journal)) in sides {
            let told = rights::ask(cluster, names, journal, self.link.acls.is_some()).await?;
            let grantee = Grantee::of(cluster.options());
            let side = &mut report.clusters[at];
            side.grants = rights::grants(&told, &self.link.patterns_at(cluster.side()), &grantee);
            side.excess = rights::excess(&told);
            let (groups, instances) =
                (self.link.groups_at(cluster.side()), self.link.instances.as_deref());
            let groups = rights::of_groups(cluster.side(), &told, (&groups, instances), &grantee);
            report.findings.extend(groups.into_iter().map(Finding::note));
            if !side.grants.is_empty() {
                let text = format!("rights are missing at the {}", cluster.side());
                report.findings.push(Finding::impossible(text));
            }
        }
        Ok(())
    }
}
