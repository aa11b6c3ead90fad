//! `cargo xtask bench engine`: what the engine promises, each line beside its goal.
//!
//! Owns: which lines there are, in what order, and their goals. The scenarios are beside: sync calls in pairs with
//! their floors (`calls.rs` one folder up), background work (`work.rs`), starts and idleness (`starts.rs`).

mod starts;
mod work;

use std::path::PathBuf;

use serde::Serialize;

use super::calls::{self, Calls};
use super::report::{Goal, Report, print_goals};
use crate::{Failure, Places, cargo};

/// How long, how often, how much.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) calls: calls::Options,
    /// Seconds of each line of background work.
    seconds: f64,
    /// Jobs that wait before they are drained.
    backlog: u64,
    /// Keys of the instance that is killed and started.
    keys: u64,
    /// Events that are folded in memory.
    fold_events: u64,
    /// Whether a release build in an empty target directory is timed too.
    build: Build,
    only: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Build {
    Skip,
    Time,
}

/// The names of the lines, for `--only`.
const LINES: [&str; 6] = ["calls", "work", "backlog", "fold", "idle", "keys"];

impl Options {
    pub(crate) fn parse(arguments: &[&str]) -> Result<Self, Failure> {
        let mut options = Self {
            calls: calls::Options::default(),
            seconds: 20.0,
            backlog: 1_000_000,
            keys: 10_000_000,
            fold_events: 4_000_000,
            build: Build::Skip,
            only: None,
        };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match *word {
                "--quick" => {
                    options.calls = calls::Options::quick();
                    options.seconds = 5.0;
                    options.backlog = 100_000;
                    options.keys = 500_000;
                    options.fold_events = 1_000_000;
                }
                "--pairs" => options.calls.pairs = value()?.parse()?,
                "--backlog" => options.backlog = value()?.parse()?,
                "--keys" => options.keys = value()?.parse()?,
                "--build" => options.build = Build::Time,
                "--only" => options.only = Some((*value()?).to_owned()),
                other => {
                    let known = "--quick, --pairs N, --backlog N, --keys N, --only LINE, --build";
                    return Err(format!("unknown option `{other}`: {known}").into());
                }
            }
        }
        match &options.only {
            Some(only) if !LINES.contains(&only.as_str()) => {
                Err(format!("no line `{only}`: {}", LINES.join(", ")).into())
            }
            _ => Ok(options),
        }
    }

    fn wants(&self, line: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only == line)
    }
}

/// Everything that was measured.
#[derive(Debug, Default, Serialize)]
struct Figures {
    calls: Option<Report>,
    work: Option<work::Work>,
    backlog: Option<work::Backlog>,
    fold: Option<starts::Fold>,
    idle: Option<starts::Idle>,
    keys: Option<starts::AfterKill>,
    build_seconds: Option<f64>,
    goals: Vec<Goal>,
}

/// Where things are.
struct Bench<'a> {
    /// The folder of the binaries.
    bin: PathBuf,
    work: PathBuf,
    options: &'a Options,
}

pub(crate) fn run(places: &Places, arguments: &[&str]) -> Result<bool, Failure> {
    let options = Options::parse(arguments)?;
    calls::build(&places.root, &["relive-server", "relive-bench", "relive-logbench"])?;
    let work = super::empty(places.records.join("bench-engine"))?;
    let bench = Bench { bin: places.target.join("release"), work, options: &options };
    let mut figures = Figures::default();
    if options.wants("idle") {
        figures.idle = Some(bench.idle()?);
    }
    if options.wants("work") {
        figures.work = Some(bench.work()?);
    }
    if options.wants("backlog") {
        figures.backlog = Some(bench.backlog()?);
    }
    if options.wants("fold") {
        figures.fold = Some(bench.fold()?);
    }
    if options.wants("keys") {
        figures.keys = Some(bench.after_kill()?);
    }
    if options.wants("calls") {
        let report = Calls::new(&bench.bin, &bench.work, options.calls).measure()?;
        print!("{report}");
        figures.calls = Some(report);
    }
    if options.build == Build::Time {
        figures.build_seconds = Some(time_build(places, &bench)?);
    }
    figures.goals = figures.judged();
    std::fs::remove_dir_all(&bench.work)?;
    std::fs::write(places.records.join("bench-engine.json"), serde_json::to_string_pretty(&figures)? + "\n")?;
    figures.print();
    Ok(figures.calls.as_ref().is_none_or(Report::is_clean))
}

/// Seconds of a release build of the server alone, dependencies included.
fn time_build(places: &Places, bench: &Bench<'_>) -> Result<f64, Failure> {
    println!("a clean release build");
    let target = bench.work.join("target");
    let begin = std::time::Instant::now();
    let mut command = cargo::cargo(&places.root);
    command.args(["build", "--release", "-p", "relive-server", "--target-dir"]).arg(&target);
    if !command.status()?.success() {
        return Err("relive-server does not build".into());
    }
    Ok(begin.elapsed().as_secs_f64())
}

impl Figures {
    fn judged(&self) -> Vec<Goal> {
        let mut goals = Vec::new();
        if let Some(calls) = &self.calls {
            goals.extend(calls.goals());
        }
        if let Some(work) = &self.work {
            goals.extend(work.goals());
        }
        if let Some(backlog) = &self.backlog {
            goals.extend(backlog.goals());
        }
        if let Some(fold) = &self.fold {
            goals.extend(fold.goals());
        }
        if let Some(keys) = &self.keys {
            goals.extend(keys.goals());
        }
        if let Some(idle) = &self.idle {
            goals.extend(idle.goals());
        }
        if let Some(seconds) = self.build_seconds {
            goals.push(Goal::below("a clean release build, s", seconds, 420.0));
        }
        goals
    }

    fn print(&self) {
        println!();
        if let Some(work) = &self.work {
            work.print();
        }
        if let Some(backlog) = &self.backlog {
            backlog.print();
        }
        if let Some(fold) = &self.fold {
            fold.print();
        }
        if let Some(idle) = &self.idle {
            idle.print();
        }
        if let Some(keys) = &self.keys {
            keys.print();
        }
        println!();
        print_goals(&self.goals);
    }
}
