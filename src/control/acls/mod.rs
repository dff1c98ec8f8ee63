//! Rights of people and programs at both clusters: ACL bindings, which of them a link copies, and
//! what becomes of each while topics are mirrors.
//!
//! It never asks a cluster and never grants anything: `plan` says what is to be created, deleted
//! and written down, in which order.

pub mod binding;
pub mod book;
mod desired;
pub mod filter;
pub mod plan;
mod row;
pub mod shown;
mod sync;

pub use binding::Binding;
pub use binding::EVERYONE;
pub use binding::Operation;
pub use binding::PatternType;
pub use binding::Permission;
pub use binding::ResourceType;
pub use desired::Facts;
pub use desired::Protection;
pub use filter::AclFilter;
pub use plan::Plan;
pub use row::AclRow;
pub use row::Kind;
pub use row::Ledger;
pub use row::key_text;
pub use sync::AclSync;

#[cfg(test)]
mod tests;
