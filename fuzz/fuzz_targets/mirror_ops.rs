//! Runs `mirror_ops::run_bytes` under libFuzzer; it never holds a property of its own.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| protocol_tests::mirror_ops::run_bytes(data));
