//! The project's chores: `cargo xtask test`, `cargo xtask bench` and their parts.
//!
//! Owns: which checks make a change acceptable, in what order, with what floors. Knows the product only from
//! outside (its sources as text, its binary as a process), so that it builds in seconds on a new machine.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool talks to its terminal")]

mod bench;
mod budget;
mod cargo;
mod counts;
mod dap;
mod fuzz;
mod mutants;
mod record;
mod soak;
mod test;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask test [--quick] [--job NAME]…   everything that a change must pass; --quick: fmt, clippy, unit tests
cargo xtask bench [--quick]                everything that is promised about speed: `bench log`, `engine` and `timetravel`
cargo xtask fuzz [TARGET] [--seconds N]    coverage-guided fuzzing of one target or of all, N seconds each (60)
cargo xtask mutants [--file PART]… [--shard K/N] [--survivors] [--again] [--report]   changes recovery, frames and
                                           snapshots of the log, one by one: do the tests notice? Goes on where it stopped
cargo xtask soak [--hours N]               lives of the log with fresh seeds, for hours (8); prints a seed that fails
cargo xtask bench log [--quick] [--seconds N] [--pairs N] [--mib N]   the log alone beside the bare disk
cargo xtask bench timetravel [--quick] [--seconds N] [--pairs N]   reads of the past, replays, backtests, what recording costs
cargo xtask bench calls [--quick] [--seconds N] [--pairs N]   sync routes beside their floors
cargo xtask bench engine [--quick] [--only LINE] [--backlog N] [--keys N] [--pairs N] [--build]   calls, background work,
                                           a backlog, the fold, idleness, starts after kills; --build: a clean build too
cargo xtask dap                            of the tests, those of the debugger with the client that tests VS Code's adapters
cargo xtask tidy                           the style checks alone, with their report
cargo xtask events                         writes the table in docs/events.md from the registry
";

/// What went wrong, said for a person; there is nobody who could handle it.
type Failure = Box<dyn std::error::Error>;

/// Where the sources and the results are.
struct Places {
    root: PathBuf,
    /// `target/xtask`: records, logs of the jobs, work directories.
    records: PathBuf,
    target: PathBuf,
}

impl Places {
    fn find() -> Result<Self, Failure> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest.parent().ok_or("xtask stands in no workspace")?.to_path_buf();
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let target = if target.is_absolute() { target } else { std::env::current_dir()?.join(target) };
        let records = target.join("xtask");
        std::fs::create_dir_all(&records)?;
        Ok(Self { root, records, target })
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut words = arguments.iter().map(String::as_str);
    let command = words.next().unwrap_or("help");
    let rest: Vec<&str> = words.collect();
    let done = Places::find().and_then(|places| match command {
        "test" => test::run(&places, &rest),
        "bench" => bench::run(&places, &rest),
        "dap" => test::run(&places, &["--job", "binary", "--job", "dap"]),
        "fuzz" => fuzz::run(&places, &rest),
        "mutants" => mutants::run(&places, &rest),
        "soak" => soak::run(&places, &rest),
        "tidy" => tidy::run(&places),
        "events" => tidy::events::write(&places.root),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(true)
        }
        other => Err(format!("unknown command `{other}`\n{USAGE}").into()),
    });
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::from(2)
        }
    }
}
