//! Faults of TLS and logins (F36, F37, F51 of the design) against real rustls and SASL peers on
//! loopback: each ends within its deadline, with its reason.
//!
//! It never needs Kafka, and nothing of it is paused time: sockets are real.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod brokers;
mod canary;
mod login;
mod old_keys;
mod revoked;
mod service;
mod stores;
mod tls;
