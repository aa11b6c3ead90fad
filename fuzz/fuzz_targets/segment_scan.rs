//! Drives `relive_log::fuzzing` target `segment_scan`; what must hold is stated there.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relive_log::fuzzing::run("segment_scan", data));
