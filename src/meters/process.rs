//! What is measured of the process as a whole.
//!
//! It never measures.

use super::Meter;
use super::gauge;

/// Readiness.
pub const READY: Meter =
    gauge("isolog_ready", "1", &[], "1 when /health/ready answers 200, otherwise 0.");
/// Whether this instance has the work.
pub const INSTANCE_HAS_WORK: Meter = gauge(
    "isolog_instance_has_work",
    "1",
    &[],
    "1 where this isolog has the work of its destination: it is alone, or the one of its group. 0 \
     where it stands by; then it has no series of partitions.",
);
/// Memory of the process.
pub const RESIDENT_BYTES: Meter =
    gauge("isolog_resident_bytes", "bytes", &[], "Memory of the process that is resident.");
/// Its peak.
pub const RESIDENT_BYTES_MAX: Meter = gauge(
    "isolog_resident_bytes_max",
    "bytes",
    &[],
    "The most memory of the process that ever was resident.",
);
/// Events for events.topic.
pub const EVENTS_WAITING: Meter = gauge(
    "isolog_events_waiting",
    "events",
    &[],
    "Events that are not written to events.topic yet, at most 1000; no series where that is not \
     set.",
);
/// Replicas of the journal.
pub const JOURNAL_REPLICAS: Meter = gauge(
    "isolog_journal_replicas",
    "replicas",
    &[],
    "Replicas that the journal's partition (__isolog) should have: with their brokers it is gone.",
);
/// Those in sync.
pub const JOURNAL_INSYNC_REPLICAS: Meter = gauge(
    "isolog_journal_insync_replicas",
    "replicas",
    &[],
    "Of them, those in sync: below isolog_journal_min_insync_replicas no row is written.",
);
/// How many must be.
pub const JOURNAL_MIN_INSYNC_REPLICAS: Meter = gauge(
    "isolog_journal_min_insync_replicas",
    "replicas",
    &[],
    "The journal's min.insync.replicas; no series where isolog may not read it.",
);
/// Its rows.
pub const JOURNAL_ROWS: Meter = gauge(
    "isolog_journal_rows",
    "rows",
    &[],
    "Rows of the journal that count: links, mirror topics, ACLs.",
);
/// Whether something is wrong with it.
pub const JOURNAL_IN_TROUBLE: Meter = gauge(
    "isolog_journal_in_trouble",
    "1",
    &[],
    "1 while the journal cannot be read or written, or is not what it must be; /health/ready has \
     the reason.",
);
