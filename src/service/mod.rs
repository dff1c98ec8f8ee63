//! The counter: what the outside sees of a running isolog.
//!
//! It shows and never does.
