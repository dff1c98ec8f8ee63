//! The rules of one partition's mirror, pure: facts in, things to do out.
//!
//! It never touches a socket, a clock or a die; time is an argument.
//!
//! A [`partition::PartitionMirror`] has four kinds of methods: `handle_*` takes a fact in,
//! `poll_*` gives something to do out, getters look, and `snapshot` copies what people may see.

pub mod align;
pub mod facts;
pub mod gap;
pub mod halt;
pub mod lag;
pub mod partition;
mod rules;
pub mod source;
pub mod take;
#[cfg(test)]
mod tests;
pub mod window;
pub mod work;
