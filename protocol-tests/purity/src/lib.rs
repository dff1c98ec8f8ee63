//! The pure floors compiled alone, so that the compiler guards them; it never adds code.
#[path = "../../../src/control/mod.rs"]
pub mod control;
#[path = "../../../src/ids.rs"]
pub mod ids;
#[path = "../../../src/mirror/mod.rs"]
pub mod mirror;
#[path = "../../../src/wire/mod.rs"]
pub mod wire;
