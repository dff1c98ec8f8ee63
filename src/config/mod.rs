//! Text from a file becomes typed options, all mistakes at once.
//!
//! No lower room imports it.
