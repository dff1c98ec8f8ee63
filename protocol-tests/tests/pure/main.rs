//! Bytes and connections without a cluster: golden answers, units made dense, one connection, TLS.
//!
//! It never simulates a broker; whoever counts the heap goes to `heap`.

mod account;
mod conn;
mod golden;
mod reframe;
mod rest;
mod schemas;
mod secure;
mod texts;
