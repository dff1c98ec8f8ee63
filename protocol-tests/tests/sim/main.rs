//! Simulated clusters in paused time: the partition machine, the whole program, single faults.
//!
//! It never uses a real clock or socket, but in `process`, `reread` and `descriptors`; a failing
//! seed prints the command that replays it.

mod cluster;
mod connections;
mod control_ops;
mod crashes;
mod declared;
mod descriptors;
mod dialled;
mod faults;
mod followed;
mod forgotten;
mod group_ops;
mod groups;
mod halted;
mod journal;
mod lasts;
mod log;
mod loops;
mod manager;
mod many;
mod mirror_ops;
mod operated;
mod paced;
mod process;
mod registry;
mod reread;
mod restored;
mod reversed;
mod rivals;
mod shares;
mod simulation;
mod stopped;
mod tails;
mod unreadable;
mod verified;
mod world_random;

/// Worlds hold very many small things and let go of them in any order, for which glibc's allocator
/// takes longer the more there are: `many` would measure that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
