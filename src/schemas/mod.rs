//! Schema registries, as they are asked: one client, what it finds there, what it does there,
//! once or for as long as isolog runs.
//!
//! It never decides what is copied: `control::schemas` does.

pub mod client;
pub mod copy;
pub mod exporter;
pub mod registry;

pub use crate::control::schemas::choice::Choice;
pub use crate::control::schemas::choice::ContextType;
pub use crate::control::schemas::choice::Contexts;
