//! What a link does beside records, each on an interval of its own.
//!
//! None of them ever holds another one up.

pub(super) mod acls;
pub(super) mod configs;
pub mod grown;
pub(super) mod starts;
