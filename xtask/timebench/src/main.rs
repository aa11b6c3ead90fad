//! Reads of the past, replays and backtests as processes to be measured: each mode is one process, prints one JSON
//! object and ends. `cargo xtask bench timetravel` runs them in pairs.
//!
//! Owns: what is done to a data directory while it is measured. Never does: compare or judge; `xtask` does.
#![expect(clippy::print_stdout, reason = "its result goes to stdout")]

mod backtest;
mod replays;
mod rig;
mod versions;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use relive_engine::script::memory::MeteredAlloc;

/// As in the server: a run's memory is measured through it.
#[global_allocator]
static ALLOCATOR: MeteredAlloc = MeteredAlloc;

/// What goes wrong in a measurement; there is nobody who could handle it.
type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, Parser)]
struct Options {
    #[command(subcommand)]
    mode: Mode,
}

/// Of when a read is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum When {
    /// As of the end of the log.
    Now,
    /// As of a random LSN in the second half of the log.
    Past,
}

#[derive(Debug, Subcommand)]
enum Mode {
    /// Makes a log and its views: so many keys with so many versions each
    Versions {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        keys: u64,
        #[arg(long)]
        versions: u64,
    },
    /// Reads single random keys
    Get {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        keys: u64,
        #[arg(long)]
        when: When,
        #[arg(long)]
        seconds: f64,
    },
    /// Lists pages of 1,000 keys
    List {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        when: When,
        #[arg(long)]
        seconds: f64,
    },
    /// Runs a script live and replays the same attempts, in turns
    Replays {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        script: replays::Heavy,
        #[arg(long)]
        runs: usize,
    },
    /// Makes a log of so many small executions
    Executions {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        executions: usize,
    },
    /// Backtests another source of their script over all of them
    Backtest {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        threads: usize,
    },
}

fn main() -> Result<(), Failure> {
    let report = match Options::parse().mode {
        Mode::Versions { dir, keys, versions } => {
            serde_json::to_value(versions::fill(&dir, keys, versions)?)?
        }
        Mode::Get { dir, keys, when, seconds } => {
            serde_json::to_value(versions::get(&dir, keys, when, seconds)?)?
        }
        Mode::List { dir, when, seconds } => serde_json::to_value(versions::list(&dir, when, seconds)?)?,
        Mode::Replays { dir, script, runs } => serde_json::to_value(replays::measure(&dir, script, runs)?)?,
        Mode::Executions { dir, executions } => serde_json::to_value(backtest::fill(&dir, executions)?)?,
        Mode::Backtest { dir, threads } => serde_json::to_value(backtest::measure(&dir, threads)?)?,
    };
    println!("{report}");
    Ok(())
}
