//! The calls of which a plan is made, and why there may be none.
//!
//! It never decides which.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::DEFAULT_CONTEXT;
use super::Id;
use super::Name;
use super::Place;
use super::Schema;
use super::Version;

/// One call to the destination. Each may be repeated.
#[derive(Clone, Debug)]
pub enum Step {
    /// Register under this version and id; one that was deleted softly comes back.
    Register(Name, Version, Id, Box<Schema>),
    /// Delete softly.
    SoftDelete(Name, Version),
    /// Delete for good what is deleted softly.
    HardDelete(Name, Version),
    /// Delete for good what is left of a subject, which is deleted softly, and its config.
    Purge(Name),
    /// Set a subject's own config.
    PutConfig(Name, Value),
    /// Take a subject's own config away.
    DeleteConfig(Name),
    /// Set the compatibility that holds where no subject has one of its own.
    PutLevel(String),
}

impl Step {
    /// Whom it changes: a subject, or the default context.
    pub fn name(&self) -> Name {
        match self {
            Step::Register(name, ..)
            | Step::SoftDelete(name, _)
            | Step::HardDelete(name, _)
            | Step::Purge(name)
            | Step::PutConfig(name, _)
            | Step::DeleteConfig(name) => name.clone(),
            Step::PutLevel(_) => Name::of_context(DEFAULT_CONTEXT),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Register(name, version, id, schema) => {
                write!(f, "register {name} version {version} id {id} {}", schema.kind)
            }
            Step::SoftDelete(name, version) => write!(f, "delete {name} version {version} softly"),
            Step::HardDelete(name, version) => write!(f, "delete {name} version {version}"),
            Step::Purge(name) => write!(f, "delete {name}"),
            Step::PutConfig(name, config) => write!(f, "set config of {name} to {config}"),
            Step::DeleteConfig(name) => write!(f, "delete config of {name}"),
            Step::PutLevel(level) => write!(f, "set the compatibility of all to {level}"),
        }
    }
}

/// Why nothing can be copied before somebody decides.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Clash {
    /// A rename is not one to one.
    #[error("subjects {0} and {1} would both become {2}: choose another rename format or context")]
    TwoBecomeOne(Name, Name, Name),
    /// The destination has something else there.
    #[error("{0} version {1} is another schema at the destination (id {2} there, {3} here)")]
    OtherSchema(Name, Version, Id, Id),
    /// The id means something else at the destination.
    #[error(
        "id {0} of {1} version {2} belongs to another schema at the destination ({3} version {4}): \
         copy into a context of its own, or delete that one"
    )]
    IdTaken(Id, Name, Version, Name, Version),
    /// The source contradicts itself.
    #[error("the source says two things of id {0}: {1} version {2} and {3} version {4}")]
    Contradiction(Id, Name, Version, Name, Version),
    /// It would not take ids.
    #[error(
        "{0} is in mode {1} at the destination, not IMPORT: PUT /mode/{0} {{\"mode\":\"IMPORT\"}}"
    )]
    NotImport(Name, String),
    /// What is referred to would be missing.
    #[error("{0} version {1} refers to {2} version {3}, which is not copied: add that subject")]
    MissingReference(Name, Version, Name, Version),
    /// References lead back.
    #[error("{0} version {1} refers to itself, by way of others")]
    Cycle(Name, Version),
    /// A deletion that the destination would refuse.
    #[error("{0} version {1} was deleted at the source, but {2} version {3} refers to it")]
    StillReferenced(Name, Version, Name, Version),
    /// More likely lost than deleted.
    #[error("the source holds no subject any more: nothing is deleted at the destination")]
    SourceEmpty,
}

/// What was copied before: places at the destination, and which subject of the source each was.
pub type Copied = BTreeMap<Place, Name>;
