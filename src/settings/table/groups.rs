//! The rows of the table about consumer groups, by the names of Cluster Linking.
//!
//! It never reads a value.

use crate::settings::property::Default;
use crate::settings::property::Effect;
use crate::settings::property::Kind;
use crate::settings::property::Property;

use super::LINK;
use super::WEEK_MS;
use super::plain;

/// What every link has.
pub const FOLLOWED: &[Property] = &[
    plain(
        "consumer.offset.sync.enable",
        LINK,
        Effect::Task,
        Kind::Bool,
        Default::Is("false"),
        "Whether what consumer groups of the source have committed is committed at the destination \
         too, so that consumers that move go on where they were.",
    ),
    plain(
        "consumer.offset.sync.ms",
        LINK,
        Effect::Task,
        Kind::Millis(1000, WEEK_MS),
        Default::Is("30000"),
        "How often offsets are read at both sides and differences are committed.",
    ),
    plain(
        "consumer.offset.group.filters",
        LINK,
        Effect::Task,
        Kind::GroupFilters,
        Default::None,
        "Which groups are followed; needed where consumer.offset.sync.enable is true. An EXCLUDE \
         wins. console-consumer-*, connect-* and __* are left out unless a rule names them. Leave \
         out groups whose readers assign() partitions at the destination themselves: nobody can \
         see them there.",
    ),
];
