//! Drives `relive_log::fuzzing` target `snapshot`; what must hold is stated there.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relive_log::fuzzing::run("snapshot", data));
