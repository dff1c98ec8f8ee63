//! What must be told: a topic that is wanted and not copied is never without its reason.
//!
//! It never asks the machine what is right: what the clusters hold says it.

use isolog::control::facts::MirrorKey;
use isolog::control::facts::TopicSpec;
use isolog::control::row::MirrorRow;
use isolog::control::topic::Stage;

use super::World;
use super::all_links;

impl World<'_> {
    /// What a filter takes and was refused for good is told until it has been decided again.
    pub(super) fn refused_is_told(&self, nth: usize) {
        let (machine, now) = (&self.instances[nth].machine, self.now());
        for link in all_links() {
            let Some(track) = machine.link_track(&link) else { continue };
            let Some(settings) = &track.settings else { continue };
            for (mirror, refused) in &track.refused {
                let source = settings.rename.source_of(mirror).expect("its prefix");
                let is_same =
                    self.clusters.source.get(&source).map(|t| t.id) == Some(refused.ids.0);
                let row = machine.mirror(&(link.clone(), mirror.clone())).map(|(row, ..)| row);
                let is_undecided = match row {
                    Some(row) => row.stage == Stage::Setup && settings.topics.matches(&source),
                    None => track.found.contains(&source),
                };
                let is_due = is_same && is_undecided && refused.again_at > now;
                let is_told = track.troubles.iter().any(|(name, _)| name == source.as_str());
                assert!(is_told || !is_due, "untold: {link:?} {mirror:?}: {track:#?}");
            }
        }
    }

    /// A mirror's row says what its source is itself a mirror of; what leads back here stands.
    pub(super) fn its_line_is_known(
        &self,
        key: &MirrorKey,
        row: &MirrorRow,
        spec: Option<&TopicSpec>,
    ) {
        let source = self.clusters.source.get(&row.source_topic);
        let Some(source) = source.filter(|_| row.stage == Stage::Mirroring) else { return };
        assert_eq!(row.ancestors, source.ancestors, "{key:?}: its line is known");
        let stands = spec.is_none_or(|spec| spec.halt.is_some());
        assert!(stands || !source.is_loop(), "{key:?} is a loop");
    }
}
