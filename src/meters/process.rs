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
