//! `relive log`: the app's events, and the care of the log itself.
//!
//! Owns: the commands and their flags. `show`, `stats`, `export` ask the server, or read a data directory that nobody
//! serves (`--data`); `tail` asks the server; the others work on a data directory only.

mod check;
mod export;
mod mend;
mod offline;
mod online;
pub(super) mod progress;
mod stats;
pub(super) mod views;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use relive_log::disk::{Disk, RealDisk};
use relive_log::{Gap, Lsn, OpenError};

use super::remote::Remote;
use super::render;
use crate::client::Failed;
use crate::start_error::StartError;

/// Where a data directory is if nobody says.
const DATA_DEFAULT: &str = "./relive-data";

/// `relive log`
#[derive(Args)]
pub(crate) struct Log {
    #[command(flatten)]
    pub(crate) remote: Remote,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Events, oldest first
    Show {
        #[command(flatten)]
        range: Range,
        #[command(flatten)]
        filter: Filter,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: usize,
        #[command(flatten)]
        data: OfflineDir,
    },
    /// Events as they come, until Ctrl-C
    Tail {
        /// From this LSN; from now on if absent
        #[arg(long)]
        from: Option<u64>,
        #[command(flatten)]
        filter: Filter,
    },
    /// How much there is by kind of event and by app; how fast it grows and when the disk is full
    Stats {
        #[command(flatten)]
        data: OfflineDir,
    },
    /// All events as JSON, one a line
    Export {
        #[command(flatten)]
        range: Range,
        #[command(flatten)]
        filter: Filter,
        /// Into this file, which must not exist; to stdout if absent
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
        #[command(flatten)]
        data: OfflineDir,
    },
    /// Look at a data directory as a start would; never writes
    Verify {
        /// Read every byte of every segment and snapshot, and compare the views with the log
        #[arg(long)]
        deep: bool,
        #[command(flatten)]
        data: DataDir,
    },
    /// Do what a start does to an unproven tail: cut it, and say what was cut and why
    Repair {
        #[command(flatten)]
        data: DataDir,
    },
    /// Copy everything that validates into a new data directory; what is lost must be accepted by name
    Salvage {
        /// The new data directory, empty or absent
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Exactly the losses that `verify` names: A-B,C-D
        #[arg(long, value_name = "A-B,C-D", value_parser = losses)]
        accept_loss: Option<Losses>,
        #[command(flatten)]
        data: DataDir,
    },
    /// Make MANIFEST anew from its copy or from the segments
    RebuildManifest {
        #[command(flatten)]
        data: DataDir,
    },
    /// Make WATERMARK anew; the new one claims what frames prove and no more
    RebuildWatermark {
        #[command(flatten)]
        data: DataDir,
    },
    /// Fold the views anew from the log
    RebuildViews {
        #[command(flatten)]
        data: DataDir,
    },
}

/// Which LSNs.
#[derive(Args)]
struct Range {
    /// From this LSN
    #[arg(long)]
    from: Option<u64>,
    /// Up to this LSN
    #[arg(long)]
    to: Option<u64>,
}

#[derive(Args)]
struct Filter {
    /// Only this kind
    #[arg(long)]
    kind: Option<String>,
    /// Only of this execution
    #[arg(long)]
    execution: Option<String>,
}

/// The directory of a command that asks the server otherwise.
#[derive(Args)]
struct OfflineDir {
    /// Read this data directory, which nobody serves, instead of asking a server
    #[arg(long = "data", value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// The directory of a command that never asks a server.
#[derive(Args)]
struct DataDir {
    /// The data directory; nobody may serve it
    #[arg(long = "data", value_name = "DIR", env = "RELIVE_DATA", default_value = DATA_DEFAULT)]
    dir: PathBuf,
}

/// Ranges of LSNs, as `--accept-loss` takes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Losses(Vec<Gap>);

fn losses(text: &str) -> Result<Losses, String> {
    let range = |part: &str| {
        let (from, to) = part.split_once('-')?;
        let gap = Gap { from: Lsn(from.trim().parse().ok()?), to: Lsn(to.trim().parse().ok()?) };
        (gap.from <= gap.to).then_some(gap)
    };
    let parts: Option<Vec<Gap>> = text.split(',').map(range).collect();
    parts.map(Losses).ok_or_else(|| format!("`{text}` is no list of ranges A-B,C-D of LSNs"))
}

/// Runs it.
pub(crate) fn run(command: &Log) -> Result<(), Failed> {
    let remote = &command.remote;
    match &command.what {
        What::Show { range, filter, limit, data } => match &data.dir {
            Some(dir) => offline::show(remote, dir, &offline::Search::new(remote, range, filter)?, *limit),
            None => online::show(remote, range, filter, *limit),
        },
        What::Tail { from, filter } => online::tail(remote, *from, filter),
        What::Stats { data } => match &data.dir {
            Some(dir) => stats::offline(remote, dir),
            None => stats::online(remote),
        },
        What::Export { range, filter, output, data } => {
            let mut sink = export::Sink::new(output.as_deref())?;
            match &data.dir {
                Some(dir) => {
                    offline::export(dir, &offline::Search::new(remote, range, filter)?, &mut sink)?;
                }
                None => online::export(remote, range, filter, &mut sink)?,
            }
            sink.finish()
        }
        What::Verify { deep, data } => check::verify(remote, &data.dir, *deep),
        What::Repair { data } => check::repair(remote, &data.dir),
        What::Salvage { out, accept_loss, data } => {
            let accepted = accept_loss.clone().unwrap_or_default();
            mend::salvage(remote, &data.dir, out, &accepted.0)
        }
        What::RebuildManifest { data } => mend::manifest(remote, &data.dir),
        What::RebuildWatermark { data } => mend::watermark(remote, &data.dir),
        What::RebuildViews { data } => views::rebuild(remote, &data.dir),
    }
}

pub(super) fn disk() -> Arc<dyn Disk> {
    Arc::new(RealDisk::new())
}

/// A refusal of the log with its exit code, as a start would say it.
pub(super) fn failed(error: &OpenError) -> Failed {
    let StartError { code, message } = StartError::of_log(error);
    Failed { code, message, problem: None }
}

/// What an operator is shown as `A-B,C-D`.
fn ranges(gaps: &[Gap]) -> String {
    if gaps.is_empty() {
        return "none".to_owned();
    }
    gaps.iter().map(Gap::to_string).collect::<Vec<_>>().join(",")
}

/// One finished piece of work: an object for programs, lines for people.
pub(super) fn tell(remote: &Remote, value: &serde_json::Value, lines: &[String]) {
    render::done(remote, value, &lines.join("\n"));
}

pub(super) fn display(dir: &Path) -> String {
    dir.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_ranges_and_nothing_else() {
        let gap = |from, to| Gap { from: Lsn(from), to: Lsn(to) };
        assert_eq!(losses("3-4"), Ok(Losses(vec![gap(3, 4)])));
        assert_eq!(losses("3-3, 7-9"), Ok(Losses(vec![gap(3, 3), gap(7, 9)])));
        for bad in ["", "3", "4-3", "a-b", "3-4,", "3-4;5-6", "-1-2"] {
            assert!(losses(bad).is_err(), "{bad}");
        }
        assert_eq!(ranges(&[gap(3, 4), gap(7, 7)]), "3-4,7-7");
    }
}
