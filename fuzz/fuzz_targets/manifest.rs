//! Drives `relive_log::fuzzing` target `manifest`; what must hold is stated there.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relive_log::fuzzing::run("manifest", data));
