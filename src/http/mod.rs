//! HTTP/1.1 both ways: one client, one server, and a bound for everything that a peer can hold.
//!
//! It never knows what is asked or served.

pub mod advertised;
pub mod client;
mod pace;
pub mod seats;
pub mod server;
pub mod sliced;
pub mod url;
