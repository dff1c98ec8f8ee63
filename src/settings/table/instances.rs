//! The properties of instances that share one destination.
//!
//! It never reads a value.

use crate::settings::property::Default;
use crate::settings::property::Effect;
use crate::settings::property::Kind;
use crate::settings::property::Property;
use crate::settings::table::PROCESS;
use crate::settings::table::plain;

/// What a broker takes for a session (`group.max.session.timeout.ms` at most).
const SESSION_MS_MAX: i64 = 1_800_000;

pub const INSTANCES: &[Property] = &[
    plain(
        "instances.group.id",
        PROCESS,
        Effect::Never,
        Kind::Text(249),
        Default::None,
        "The group that the instances of one destination form there by Kafka's own group protocol: \
         one of them has the work, the others stand by, and one of those takes over when it ends \
         or is not heard of any more. Without it this isolog is the only one of its destination. \
         It takes the right to Read that group; no consumers may use it.",
    ),
    plain(
        "instances.group.instance.id",
        PROCESS,
        Effect::Never,
        Kind::Text(249),
        Default::None,
        "This instance's own name in the group, of a-z, A-Z, 0-9, '.', '_' and '-', such as \
         ${env:HOSTNAME} (which a shell must export, and systemd sets by Environment=HOSTNAME=%H): \
         another one for each instance, and the same after its restart, so that \
         one that comes back within the session has its work at once. Of two with one name the \
         older stops.",
    ),
    plain(
        "instances.session.timeout.ms",
        PROCESS,
        Effect::Never,
        Kind::Millis(1_000, SESSION_MS_MAX),
        Default::Is("10000"),
        "An instance that is not heard of for so long has no work any more, and another one takes \
         over. The brokers bound it (group.min.session.timeout.ms, 6000 by default, and \
         group.max.session.timeout.ms).",
    ),
    plain(
        "instances.heartbeat.interval.ms",
        PROCESS,
        Effect::Never,
        Kind::Millis(100, SESSION_MS_MAX),
        Default::Is("3000"),
        "How often an instance says that it is there: less than the session; a third of it lets \
         two in a row be late.",
    ),
];
