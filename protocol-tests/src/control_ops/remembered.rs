//! What isolog 0.1 left in the journal of a link that it mirrored.
//!
//! It never wrote a stamp.

use std::collections::BTreeMap;

use isolog::control::journal::TailBatch;
use isolog::control::journal::TailRecord;
use isolog::control::order::NewLink;
use isolog::control::row::LinkRow;
use isolog::control::topic::Stage;
use isolog::ids::Offset;

use super::NAMES;
use super::clusters::Clusters;
use super::topic;
use crate::mirror_ops::Dice;

/// What isolog 0.1 left of the first link: in some worlds, and in those of some topics.
pub(super) fn log(dice: &mut Dice<'_>, clusters: &mut Clusters) -> Vec<TailBatch> {
    let mut rows: Vec<(String, String)> = Vec::new();
    let has_rows = dice.roll(2) == 0;
    for name in NAMES.map(topic) {
        let Some(source) = clusters.source.get(&name).filter(|_| has_rows).cloned() else {
            continue;
        };
        if dice.roll(3) == 0 || clusters.mirror.contains_key(&name) {
            continue;
        }
        clusters.create_mirror(&name, source.partitions, false);
        let (was, is) = (source.id.hex(), clusters.mirror[&name].id.hex());
        let ids = format!(
            r#"{{"source_cluster":"source","source_topic":"{was}","destination_topic":"{is}"}}"#
        );
        let owed = format!(r#"{{"source_topic":"{was}","configs":{{"compression.type":null}}}}"#);
        rows.extend([(format!("dr/{name}"), ids), (format!("dr/{name}/configs"), owed)]);
        if dice.roll(4) == 0 {
            clusters.mirror.remove(&name); // deleted while nobody looked
        }
    }
    let offset = |raw: usize| Offset::new(raw as i64).expect("not negative");
    let batch = |(at, (key, value))| {
        let record = TailRecord { key: Some(key), value: Some(value), stamp: None };
        TailBatch { base: offset(at), next: offset(at + 1), records: vec![record] }
    };
    rows.into_iter().enumerate().map(batch).collect()
}

/// Whether a mirror topic's row may change so, while its link's row is this one: what was
/// remembered is copied at once.
pub(super) fn may_follow(
    link: Option<&LinkRow>,
    (was, is): (Option<Stage>, Option<Stage>),
) -> bool {
    let takes_over = link.is_some_and(|link| link.is_taking_over);
    Stage::may_follow(was, is) || takes_over && (was, is) == (None, Some(Stage::Mirroring))
}

/// What the file says of a link, once faults have stopped for long enough.
pub(super) fn declared(link: Option<&LinkRow>) -> NewLink {
    let row = link.expect("whose file has it writes it");
    let LinkRow { id, mode, is_taking_over, .. } = row.clone();
    assert!(!is_taking_over, "all that was remembered is written");
    NewLink { id, mode, source: None, configs: BTreeMap::new(), is_declared: true }
}
