//! The running links as the counter shows them.
//!
//! It never computes a lag or a state: it copies what the links publish into views.

use crate::link::run::Link;
use crate::link::run::LinkState;
use crate::service::view::Check;
use crate::service::view::LinkView;
use crate::service::view::PartitionView;
use crate::service::view::Sight;

/// All links of the process.
pub struct Links(pub Vec<Link>);

impl Sight for Links {
    fn partitions(&self) -> Vec<PartitionView> {
        let rows = self.0.iter().flat_map(|link| {
            link.partitions()
                .into_iter()
                .map(|(tp, seen)| PartitionView::of(&link.name, &tp, &seen))
        });
        rows.collect()
    }

    fn links(&self) -> Vec<LinkView> {
        self.0.iter().map(view).collect()
    }

    fn readiness(&self) -> Vec<Check> {
        self.0.iter().map(check).collect()
    }
}

fn words(state: &LinkState) -> (&'static str, String) {
    match state {
        LinkState::Connecting => ("Connecting", String::new()),
        LinkState::Active => ("Active", String::new()),
        LinkState::Paused => ("Paused", "cluster.link.paused is true".to_owned()),
        LinkState::Unavailable(why) => ("Unavailable", why.clone()),
        LinkState::Halted(why) => ("Halted", why.clone()),
    }
}

fn view(link: &Link) -> LinkView {
    let status = link.status();
    let partitions = link.partitions();
    let halted = partitions.iter().filter(|(_, seen)| seen.state == "Halted").count();
    let (state, mut reason) = words(&status.state);
    if reason.is_empty() {
        reason = status.troubles.join("; ");
    }
    let ids = status.clusters.map(|(source, destination)| (source.0, destination.0));
    LinkView {
        name: link.name.to_string(),
        state: state.to_owned(),
        source_cluster_id: ids.as_ref().map(|(source, _)| source.to_string()),
        destination_cluster_id: ids.as_ref().map(|(_, destination)| destination.to_string()),
        partitions: partitions.len() as u64,
        halted: halted as u64,
        reason,
    }
}

/// A link is ready when it mirrors, or was told not to: what halted needs a person, not traffic
/// taken away from this process.
fn check(link: &Link) -> Check {
    let (state, reason) = words(&link.status().state);
    let ok = matches!(state, "Active" | "Paused");
    let reason = if ok { String::new() } else { format!("{state}: {reason}") };
    Check { name: format!("link {}", link.name), ok, reason }
}
