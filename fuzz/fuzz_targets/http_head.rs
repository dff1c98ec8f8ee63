//! Runs `bodies::stores::http_head` under libFuzzer; it never holds a property of its own.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| protocol_tests::bodies::stores::http_head(data));
