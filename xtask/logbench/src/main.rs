//! The log as a process to be measured, and the floor beside it: each mode is one process, prints one JSON object and
//! ends. `cargo xtask bench log` runs them in pairs; `cargo xtask bench engine` has `jobs` read what a server did.
//!
//! Owns: what is done to the log while it is measured. Never does: compare or judge; `xtask` does.
#![expect(clippy::print_stdout, reason = "its result goes to stdout")]

mod floor;
mod fold;
mod jobs;
mod open;
mod produce;
mod read;
mod rig;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// What goes wrong in a measurement; there is nobody who could handle it.
type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, Parser)]
struct Options {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Debug, Subcommand)]
enum Mode {
    /// pwrite + fdatasync in a loop on a preallocated, zeroed file
    Floor {
        #[arg(long)]
        dir: PathBuf,
        /// Bytes of one write
        #[arg(long)]
        size: usize,
        #[arg(long)]
        seconds: f64,
    },
    /// Threads that append one event and wait until it is durable, in a loop
    Produce {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        producers: usize,
        /// Bytes of one event
        #[arg(long)]
        size: usize,
        #[arg(long)]
        seconds: f64,
    },
    /// Fills a log with small events and reads it from its start, checking and decoding everything
    Read {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        events: u64,
        /// Events of one batch
        #[arg(long)]
        batch: u64,
    },
    /// Makes a log of that many MiB with a snapshot near its end
    Fill {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        mib: u64,
    },
    /// Opens a log and says how long that took
    Open {
        #[arg(long)]
        dir: PathBuf,
    },
    /// What the log of a server says of the executions of one script: how many ended, at what rate, how late
    Jobs {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        script: String,
        /// Not the first ones
        #[arg(long, default_value_t = 0)]
        skip: u64,
    },
    /// Folds the events of calls of a sync route that writes a key into views in memory
    Fold {
        #[arg(long)]
        events: u64,
    },
}

fn main() -> Result<(), Failure> {
    let report = match Options::parse().mode {
        Mode::Floor { dir, size, seconds } => serde_json::to_value(floor::measure(&dir, size, seconds)?)?,
        Mode::Produce { dir, producers, size, seconds } => {
            serde_json::to_value(produce::measure(&dir, producers, size, seconds)?)?
        }
        Mode::Read { dir, events, batch } => serde_json::to_value(read::measure(&dir, events, batch)?)?,
        Mode::Fill { dir, mib } => serde_json::to_value(open::fill(&dir, mib)?)?,
        Mode::Open { dir } => serde_json::to_value(open::measure(&dir)?)?,
        Mode::Jobs { dir, script, skip } => serde_json::to_value(jobs::measure(&dir, &script, skip)?)?,
        Mode::Fold { events } => serde_json::to_value(fold::measure(events))?,
    };
    println!("{report}");
    Ok(())
}
