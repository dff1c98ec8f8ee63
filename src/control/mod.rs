//! What is decided about links and mirror topics, pure: facts in, things to do out.
//!
//! It never touches a socket, a clock or a die, and never asks a cluster: time is an argument,
//! and what the clusters hold comes in as facts.
//!
//! ```text
//!   orders ─┐                                        ┌─▶ writes  (rows of the journal)
//!   journal ─┤    ┌──────────────────────────────┐    ├─▶ looks   (questions, change nothing)
//!   looks  ─┼──▶ │ Control: fold, queue, tracks │ ──┼─▶ things to do (changes at a cluster)
//!   flow   ─┤    └──────────────────────────────┘    ├─▶ specs   (which partitions are wanted)
//!   timer  ─┘                                        └─▶ answers
//! ```
//!
//! Nothing is done and nothing is answered before it is written and read back; the fold of the
//! journal's rows gives the machine back at any point.

pub mod acls;
pub mod advance;
pub mod decide;
pub mod discover;
pub mod facts;
pub mod filter;
pub mod group;
pub mod journal;
pub mod link;
pub mod machine;
pub mod order;
pub mod rename;
pub mod row;
pub mod rules;
pub mod schemas;
pub mod start;
pub mod task;
pub mod topic;
