//! `cargo xtask bench`: what is promised about speed, measured. Without a name: all of it.
//!
//! Every participant is a process of its own; what is compared runs in one run, as neighbours in time.
//! `docs/performance.md` explains the method.

mod calls;
mod engine;
mod http;
mod log;
mod process;
mod report;
mod scenario;
mod timetravel;

use std::path::PathBuf;

use crate::{Failure, Places};

pub(crate) fn run(places: &Places, arguments: &[&str]) -> Result<bool, Failure> {
    let (name, rest) = match arguments.split_first() {
        Some((first, rest)) if !first.starts_with("--") => (*first, rest),
        Some(_) | None => ("all", arguments),
    };
    match name {
        "log" => log::run(places, rest),
        "calls" => calls::run(places, rest),
        "engine" => engine::run(places, rest),
        "timetravel" => timetravel::run(places, rest),
        // The lines of `engine` hold those of `calls`.
        "all" => Ok(log::run(places, rest)? & engine::run(places, rest)? & timetravel::run(places, rest)?),
        other => Err(format!("no bench `{other}`: log, calls, engine, timetravel").into()),
    }
}

/// An empty folder below the target folder: that is on a disk, where /tmp often is memory.
fn empty(dir: PathBuf) -> Result<PathBuf, Failure> {
    if dir.exists() {
        std::fs::remove_dir_all(&dir)?;
    }
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}
