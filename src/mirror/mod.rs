//! The rules of one partition's mirror, pure: facts in, things to do out.
//!
//! It never touches a socket, a clock or a die; time is an argument.
