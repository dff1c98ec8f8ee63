//! One link: a source, a destination, and what keeps them equal.
//!
//! It never speaks to people; `service` does.
