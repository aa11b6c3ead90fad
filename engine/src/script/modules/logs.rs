//! `log`: lines kept with the attempt.
//!
//! Owns: the four levels. Never does: write to stdout or to the server's own log.
//! `log::debug` reaches the function under its stand-in name as well (`compile.rs`).
//! Invariants: E42, E43.

use relive_log::events::LogLevel;
use rhai::{Dynamic, NativeCallContext as Call};

use super::super::compile::STAND_IN;
use super::super::errors::{Answer, display};
use super::super::host::Host;
use super::Family;

pub(super) fn module() -> Family {
    let mut module = Family::new("log");
    for (name, level) in [
        ("debug", LogLevel::Debug),
        (STAND_IN, LogLevel::Debug),
        ("info", LogLevel::Info),
        ("warn", LogLevel::Warn),
        ("error", LogLevel::Error),
    ] {
        module.add1(name, move |call: &Call<'_>, message: Dynamic| write(call, level, &message));
    }
    module
}

/// Keeps one line; a value that is not text is kept as JSON.
pub(super) fn write(call: &Call<'_>, level: LogLevel, message: &Dynamic) -> Answer<()> {
    Host::of(call)?.log(level, display(message), call.call_position());
    Ok(())
}
