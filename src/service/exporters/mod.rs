//! What copies schemas: exporters of the config file and those that were created by order, shown in
//! the words of Schema Linking.
//!
//! It never decides about one. No secret is among what it shows.

mod orders;
mod rest;
mod runs;
mod table;

use std::collections::BTreeMap;

use crate::control::schemas::exporter::Progress;
use crate::control::schemas::row::ExporterName;
use crate::control::schemas::row::ExporterRow;
use crate::link::registry::Seen;
use crate::schemas::exporter::Exporter;
use crate::schemas::exporter::now_ms;
use crate::settings::exporters::Defaults;
use crate::settings::exporters::Ordered;
use crate::settings::exporters::shown;

pub(super) use self::rest::Orders;
pub(super) use self::rest::router;
pub use self::runs::Running;
pub(super) use self::runs::keep;

use super::view::ExporterView;

/// What the config file says of exporters.
#[derive(Clone, Debug)]
pub struct Exporting {
    /// Those of its own.
    pub declared: Vec<Ordered>,
    /// What those get that are created by order.
    pub defaults: Defaults,
}

/// All exporters, as they are shown.
pub(super) fn views(running: &Running, seen: &Seen) -> Vec<ExporterView> {
    let declared = running.declared().iter().map(|one| view(one, one.progress()));
    let rows = seen.exporters.exporters().iter();
    let commanded = rows.filter(|(name, row)| !row.is_leaving && !running.is_declared(name));
    declared.chain(commanded.map(|(name, row)| commanded_view(running, name, row))).collect()
}

fn view(one: &Exporter, progress: Progress) -> ExporterView {
    let options = one.options();
    ExporterView {
        name: options.name.clone(),
        is_declared: true,
        context_type: options.context_type.word().to_owned(),
        context: options.context.clone(),
        subjects: options.subjects.clone(),
        subject_rename_format: options.format.clone(),
        config: options.config.clone(),
        ..told(progress)
    }
}

/// What its row says, and how far the task is that follows the row.
fn commanded_view(running: &Running, name: &ExporterName, row: &ExporterRow) -> ExporterView {
    let wish = &row.wish;
    let context = wish.context_type.context(&name.0, Some(&wish.context));
    ExporterView {
        name: name.to_string(),
        is_declared: false,
        context_type: wish.context_type.word().to_owned(),
        context: context.unwrap_or_default(),
        subjects: wish.subjects.clone(),
        subject_rename_format: wish.format.clone(),
        config: shown(&wish.config),
        ..told(running.progress(name, row))
    }
}

fn told(progress: Progress) -> ExporterView {
    ExporterView {
        name: String::new(),
        is_declared: false,
        context_type: String::new(),
        context: String::new(),
        subjects: Vec::new(),
        subject_rename_format: String::new(),
        config: BTreeMap::new(),
        state: progress.state.word(),
        offset: progress.taken,
        ts: progress.level_ms,
        lag_ms: progress.lag_ms(now_ms()),
        trace: progress.trace.unwrap_or_default(),
        missing: progress.missing,
    }
}
