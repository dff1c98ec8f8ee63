//! The metrics of a link as a whole, in every setting of `metrics.partition.series`.
//!
//! It never measures.

use super::Kind;
use super::LINK;
use super::Meter;
use super::counter;
use super::gauge;

/// The greatest lag of a link.
pub const LINK_LAG_RECORDS: Meter = gauge(
    "isolog_link_offset_lag",
    "records",
    LINK,
    "The greatest lag of a partition of the link; absent while that of one is unknown.",
);
/// The greatest lag of a link, in time.
pub const LINK_LAG_MS: Meter = gauge(
    "isolog_link_lag_ms",
    "milliseconds",
    LINK,
    "The greatest lag of a partition of the link in time; absent while that of one is unknown.",
);
/// What a failover would lose.
pub const LINK_RPO_MS: Meter = gauge(
    "isolog_link_rpo_ms",
    "milliseconds",
    LINK,
    "The greatest lag of a partition that the link copies in time, with the records that wait \
     behind open transactions, since they were first seen: what a failover now would lose of \
     them; absent while the lag of one is unknown. A paused mirror topic is not among them.",
);
/// How old records are when they are copied.
pub const LINK_RECORD_AGE_MS: Meter = Meter {
    name: "isolog_link_record_age_ms",
    kind: Kind::Histogram,
    unit: "milliseconds",
    labels: LINK,
    help: "How old records were when the destination acknowledged them, by the greatest timestamp \
           of their batch, of the partitions that the link copies now; those without a timestamp \
           are not counted.",
};
/// Bytes of a link.
pub const LINK_APPEND_BYTES: Meter = counter(
    "isolog_link_bytes_total",
    "bytes",
    LINK,
    "Bytes of batches of the link, headers included, that the destination has acknowledged.",
);
