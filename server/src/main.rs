//! The binary `relive`: HTTP, command line, threads, time and configuration around the engine.
//!
//! Owns: the global allocator and the entry. Never does: anything else; see `cli` and `run`.

mod cli;
mod client;
mod clock;
mod dev;
mod housekeeping;
mod http;
mod keys;
mod log_counts;
mod maintenance;
mod manifest;
mod out;
mod outgoing;
mod project;
mod reserve;
mod retention;
mod run;
mod settings;
mod start_error;
mod threads;

use std::process::ExitCode;

/// Counts what each thread holds, so that a script can be stopped at its memory budget.
#[global_allocator]
static ALLOCATOR: relive_engine::script::memory::MeteredAlloc = relive_engine::script::memory::MeteredAlloc;

fn main() -> ExitCode {
    ExitCode::from(cli::run())
}
