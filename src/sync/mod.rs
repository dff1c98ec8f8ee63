//! The clerks: what is done periodically and is not records.
//!
//! It never touches record bytes and does not know what copies.

pub mod acls;
pub mod apply;
pub mod configs;
pub mod folded;
pub mod groups;
pub mod make;
pub mod observe;
pub mod stage;
pub mod start;
pub mod trim;
pub mod trouble;
