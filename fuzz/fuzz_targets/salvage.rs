//! Drives `relive_log::fuzzing` target `salvage`; what must hold is stated there.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relive_log::fuzzing::run("salvage", data));
