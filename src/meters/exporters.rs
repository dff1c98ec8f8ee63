//! The metrics of exporters of schemas.
//!
//! It never measures: who measures takes the name from here.

use super::Meter;
use super::counter;
use super::gauge;

const EXPORTER: &[&str] = &["exporter"];

/// What an exporter of schemas does.
pub const EXPORTER_STATE: Meter = gauge(
    "isolog_exporter_state",
    "1",
    &["exporter", "state"],
    "1 for the state of an exporter of schemas: STARTING, RUNNING or PAUSED.",
);
/// Whether it does it.
pub const EXPORTER_IN_ERROR: Meter = gauge(
    "isolog_exporter_in_error",
    "1",
    EXPORTER,
    "1 when the exporter's last turn failed, otherwise 0; /exporters/NAME/status says why.",
);
/// How far it is behind.
pub const EXPORTER_MISSING_CHANGES: Meter = gauge(
    "isolog_exporter_missing_changes",
    "changes",
    EXPORTER,
    "Schemas, deletions and configs that the destination lacked after the exporter's last turn.",
);
/// Since when it is behind at most.
pub const EXPORTER_LEVEL_MS: Meter = gauge(
    "isolog_exporter_level_ms",
    "ms",
    EXPORTER,
    "The destination held all schemas that the source had then, in milliseconds since 1970.",
);
/// For how long it may be behind.
pub const EXPORTER_LAG_MS: Meter = gauge(
    "isolog_exporter_lag_ms",
    "ms",
    EXPORTER,
    "For how long the destination may have lacked something that the source has, in milliseconds: \
     since the last turn that left nothing missing began.",
);
/// What it carried.
pub const EXPORTER_CHANGES: Meter = counter(
    "isolog_exporter_changes_total",
    "changes",
    EXPORTER,
    "Schemas, deletions and configs that the exporter has carried to the destination.",
);
