//! What logins and TLS are tested against: authorities, brokers that lie, token endpoints.
//!
//! It never uses isolog's own SASL to speak for a broker: two hands must agree.

pub mod authority;
pub mod idp;
pub mod lab;
pub mod peer;
pub mod ways;
