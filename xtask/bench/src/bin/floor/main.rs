//! The floors: what the machine gives without Relive, so that a figure means something on any machine.
//!
//! `fdatasync`: one thread that writes in place and syncs. `http`: bare axum, one trivial precompiled script, and a
//! group commit before the answer; `http-read`: the same without the commit. Each is a process of its own.
#![expect(clippy::print_stdout, reason = "its result goes to stdout")]

mod disk;
mod http;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
struct Options {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Debug, Subcommand)]
enum Mode {
    /// pwrite + fdatasync in a loop on a preallocated, zeroed file; prints one JSON object
    Fdatasync {
        #[arg(long)]
        dir: PathBuf,
        /// Bytes of one write
        #[arg(long, default_value_t = 512)]
        size: usize,
        #[arg(long, default_value_t = 3.0)]
        seconds: f64,
    },
    /// Serves until it is killed: every request runs a script and is committed before its answer
    Http {
        #[arg(long)]
        dir: PathBuf,
    },
    /// Serves until it is killed: every request runs a script
    HttpRead,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    match Options::parse().mode {
        Mode::Fdatasync { dir, size, seconds } => {
            println!("{}", serde_json::to_string(&disk::measure(&dir, size, seconds)?)?);
            Ok(())
        }
        Mode::Http { dir } => http::serve(Some(disk::Commits::start(&dir)?)),
        Mode::HttpRead => http::serve(None),
    }
}
