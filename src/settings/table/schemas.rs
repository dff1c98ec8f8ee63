//! The rows of the table about exporters of schemas.
//!
//! It never reads a value.

use crate::settings::property::Default;
use crate::settings::property::Effect;
use crate::settings::property::Kind;
use crate::settings::property::Property;
use crate::settings::property::Scope;

use super::WEEK_MS;
use super::plain;

const SCHEMAS: &[Scope] = &[Scope::Schemas];
/// The longest name of a subject, of a context, or format of such names.
const NAME_BYTES_MAX: usize = 1024;

/// What every exporter of the file has, and what those have that are created by order.
pub const EXPORTERS: &[Property] = &[
    plain(
        "exporter.source.properties.file",
        &[Scope::Service],
        Effect::Never,
        Kind::Path,
        Default::None,
        "The schema registry from which exporters copy that are created over REST, where their own \
     properties name none by source.schema.registry.url: a file as source.properties.file of a \
     [schemas.NAME] section.",
    ),
    plain(
        "source.properties.file",
        SCHEMAS,
        Effect::Never,
        Kind::Path,
        Default::Required,
        "How the schema registry of the source is asked, by the names of Confluent's clients: \
         schema.registry.url, basic.auth.user.info, schema.registry.ssl.* (see SCHEMAS.md).",
    ),
    plain(
        "destination.properties.file",
        SCHEMAS,
        Effect::Never,
        Kind::Path,
        Default::Required,
        "The same of the destination's registry, which must be in mode IMPORT.",
    ),
    plain(
        "source.kafka.properties.file",
        SCHEMAS,
        Effect::Never,
        Kind::Path,
        Default::None,
        "How a Kafka client reaches the brokers of the source's registry (bootstrap.servers, \
         security.protocol, …): then a turn begins as soon as the registry's topic has got more, \
         and not at the next poll alone. It takes the right to Describe that topic.",
    ),
    plain(
        "source.kafka.topic",
        SCHEMAS,
        Effect::Never,
        Kind::Text(249),
        Default::Is("_schemas"),
        "The topic in which the source's registry keeps its schemas (kafkastore.topic; of Apicurio \
         kafkasql-journal).",
    ),
    plain(
        "subjects",
        SCHEMAS,
        Effect::Never,
        Kind::Words(&[]),
        Default::None,
        "Which subjects are copied: names, prefix*, :.context:prefix*; * is all of the default \
         context, :*: all of all contexts. Left out, it is :*: with context.type = \"NONE\" and * \
         with another one, so that two exporters of opposite ways copy no copy.",
    ),
    plain(
        "subject.rename.format",
        SCHEMAS,
        Effect::Never,
        Kind::Text(NAME_BYTES_MAX),
        Default::Is("${subject}"),
        "What subjects are called at the destination; ${subject} stands for their name.",
    ),
    plain(
        "context.type",
        SCHEMAS,
        Effect::Never,
        Kind::Word(&["NONE", "AUTO", "CUSTOM", "DEFAULT"]),
        Default::Is("NONE"),
        "Into which contexts. NONE: those that they have, so that ids in records resolve. CUSTOM: \
         the one of context.name, their own behind it. AUTO: the same under .lsrc-NAME, NAME being \
         the exporter's. DEFAULT: all into the default context.",
    ),
    plain(
        "context.name",
        SCHEMAS,
        Effect::Never,
        Kind::Text(NAME_BYTES_MAX),
        Default::None,
        "The context of context.type = \"CUSTOM\", such as .eu.",
    ),
    plain(
        "poll.interval.ms",
        SCHEMAS,
        Effect::Never,
        Kind::Millis(1000, WEEK_MS),
        Default::Is("10000"),
        "The pause between two comparisons of the registries. Each reads both of them whole, one \
         question at a time: about five for a subject and one for a version. After a failure the \
         pause doubles, up to five minutes.",
    ),
    plain(
        "paused",
        SCHEMAS,
        Effect::Never,
        Kind::Bool,
        Default::Is("false"),
        "Whether the exporter does nothing, as after a failover.",
    ),
];
