//! One fault at a time, its name and numbers, and what must go on beside it.
//!
//! It never uses a real clock or socket: the whole program runs between two simulated clusters.

mod alerts;
mod answers;
mod audits;
mod batches;
mod brokers;
mod far;
mod lab;
mod logs;
mod near;
mod produce;
mod rivals;
mod status;
mod topics;
