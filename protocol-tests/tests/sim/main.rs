//! Simulated clusters in paused time: the partition machine, the whole program, single faults.
//!
//! It never uses a real clock or socket; a failing seed prints the command that replays it.

mod cluster;
mod dialled;
mod faults;
mod mirror_ops;
mod simulation;
mod world_random;
