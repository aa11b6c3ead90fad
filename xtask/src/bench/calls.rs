//! Calls of sync routes: Relive beside floors that are measured in the same run, in pairs that alternate.
//!
//! Absolute figures move from machine to machine and from hour to hour; the ratio of two neighbours in time moves
//! little. Every participant is a process of its own.

use std::path::{Path, PathBuf};

use super::process::{self, Server};
use super::report::{self, Disk, Load, Pair, Report, Usage};
use super::scenario;
use crate::{Failure, Places, cargo};

/// Sizes of the bare synced writes.
const DISK_SIZES: [&str; 3] = ["512", "4096", "65536"];

/// How long, how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Of the main measurement; the others take a sixth, at least 3 s.
    pub(crate) seconds: f64,
    pub(crate) pairs: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { seconds: 60.0, pairs: 3 }
    }
}

impl Options {
    /// For a first impression.
    pub(crate) const fn quick() -> Self {
        Self { seconds: 5.0, pairs: 3 }
    }

    fn parse(arguments: &[&str]) -> Result<Self, Failure> {
        let mut options = Self::default();
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match *word {
                "--quick" => options = Self::quick(),
                "--seconds" => options.seconds = value()?.parse()?,
                "--pairs" => options.pairs = value()?.parse()?,
                other => {
                    return Err(format!("unknown option `{other}`: --quick, --seconds N, --pairs N").into());
                }
            }
        }
        if options.pairs == 0 || options.seconds < 1.0 {
            return Err("at least one pair and one second".into());
        }
        Ok(options)
    }

    fn side_seconds(self) -> f64 {
        (self.seconds / 6.0).max(3.0)
    }
}

/// One kind of measurement: what is asked, of whom, how.
#[derive(Clone, Copy, Debug)]
struct Workload {
    name: &'static str,
    connections: u32,
    /// Whether what is asked for commits something.
    effect: Effect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Writes,
    Reads,
}

const WRITE: Workload = Workload { name: report::WRITE, connections: 64, effect: Effect::Writes };
const ALONE: Workload = Workload { name: report::ALONE, connections: 1, effect: Effect::Writes };
const READ: Workload = Workload { name: report::READ, connections: 64, effect: Effect::Reads };

/// See the module.
pub(crate) struct Calls {
    bin: PathBuf,
    work: PathBuf,
    options: Options,
    /// No two requests of a run write the same key.
    next_key: u64,
}

pub(crate) fn run(places: &Places, arguments: &[&str]) -> Result<bool, Failure> {
    let options = Options::parse(arguments)?;
    build(&places.root, &["relive-server", "relive-bench"])?;
    let work = super::empty(places.records.join("bench-calls"))?;
    let report = Calls::new(&places.target.join("release"), &work, options).measure()?;
    std::fs::write(places.records.join("bench-calls.json"), serde_json::to_string_pretty(&report)? + "\n")?;
    print!("{report}");
    println!();
    super::report::print_goals(&report.goals());
    std::fs::remove_dir_all(&work)?;
    Ok(report.is_clean())
}

/// Builds what is measured, each package by itself: together they would unify features.
pub(crate) fn build(root: &Path, packages: &[&str]) -> Result<(), Failure> {
    for package in packages {
        let built = cargo::cargo(root).args(["build", "--release", "-p", package]).status()?;
        if !built.success() {
            return Err(format!("{package} does not build").into());
        }
    }
    Ok(())
}

impl Calls {
    pub(crate) fn new(bin: &Path, work: &Path, options: Options) -> Self {
        Self { bin: bin.to_path_buf(), work: work.to_path_buf(), options, next_key: 0 }
    }

    pub(crate) fn measure(mut self) -> Result<Report, Failure> {
        let disk = self.disk()?;
        let data = self.work.join("data");
        let relive = Server::relive(&self.bin, &data)?;
        scenario::deploy(&self.bin, &self.work.join("app"), &relive, &data)?;
        std::thread::sleep(std::time::Duration::from_secs(1));
        let idle = relive.usage()?;
        // One key to read, and everything warm that a first call warms.
        self.load(&relive.data_plane, "POST", "/bench/write/read-me", ALONE, 1.0)?;
        let read_first = self.ours(&relive, READ, self.options.side_seconds())?;

        let mut pairs = Vec::new();
        for round in 0..self.options.pairs {
            for workload in [WRITE, ALONE, READ] {
                pairs.push(self.pair(&relive, workload, round)?);
            }
        }
        let read_last = self.ours(&relive, READ, self.options.side_seconds())?;
        let end = relive.usage()?;
        let log_bytes = process::bytes_below(&data)?;
        relive.stop()?;
        Ok(Report {
            seconds: self.options.seconds,
            cores: std::thread::available_parallelism()?.get(),
            disk,
            pairs,
            idle_rss_bytes: idle.rss_bytes,
            end_rss_bytes: end.rss_bytes,
            peak_rss_bytes: end.peak_rss_bytes,
            data_bytes: log_bytes,
            read_first,
            read_last,
        })
    }

    fn disk(&self) -> Result<Vec<Disk>, Failure> {
        let dir = self.work.join("floor");
        std::fs::create_dir_all(&dir)?;
        let mut found = Vec::new();
        for size in DISK_SIZES {
            println!("floor: {size} bytes, pwrite + fdatasync");
            let mut command = std::process::Command::new(self.bin.join("floor"));
            command.arg("fdatasync").arg("--dir").arg(&dir).args(["--size", size, "--seconds", "3"]);
            found.push(serde_json::from_str(&process::output(&mut command)?)?);
        }
        Ok(found)
    }

    /// Ours and the floor, one right after the other; who begins alternates.
    fn pair(&mut self, relive: &Server, workload: Workload, round: usize) -> Result<Pair, Failure> {
        let main = workload.connections == WRITE.connections && workload.effect == Effect::Writes;
        let seconds = if main { self.options.seconds } else { self.options.side_seconds() };
        let (ours, floor) = if round.is_multiple_of(2) {
            let ours = self.ours(relive, workload, seconds)?;
            (ours, self.floor(workload, seconds)?)
        } else {
            let floor = self.floor(workload, seconds)?;
            (self.ours(relive, workload, seconds)?, floor)
        };
        Ok(Pair { workload: workload.name.to_owned(), ours, floor })
    }

    fn ours(&mut self, relive: &Server, workload: Workload, seconds: f64) -> Result<Usage, Failure> {
        println!("relive: {}, {seconds:.0} s", workload.name);
        let (method, path) = match workload.effect {
            Effect::Writes => ("POST", "/bench/write/key-{n}"),
            Effect::Reads => ("GET", "/bench/read/read-me"),
        };
        self.measured(relive, method, path, workload, seconds)
    }

    fn floor(&mut self, workload: Workload, seconds: f64) -> Result<Usage, Failure> {
        println!("floor:  {}, {seconds:.0} s", workload.name);
        let (mode, method) = match workload.effect {
            Effect::Writes => ("http", "POST"),
            Effect::Reads => ("http-read", "GET"),
        };
        let server = Server::floor(&self.bin, mode, &self.work.join("floor"))?;
        self.measured(&server, method, "/bench/key-{n}", workload, seconds)
    }

    fn measured(
        &mut self,
        server: &Server,
        method: &str,
        path: &str,
        workload: Workload,
        seconds: f64,
    ) -> Result<Usage, Failure> {
        let before = server.usage()?;
        let load = self.load(&server.data_plane, method, path, workload, seconds)?;
        let after = server.usage()?;
        // The load warms up for a second outside of what it counts, at about the same rate.
        let answers = load.rate * (seconds + 1.0);
        let cpu_us_per_answer = (after.cpu_seconds - before.cpu_seconds) * 1e6 / answers.max(1.0);
        Ok(Usage {
            load,
            cpu_us_per_answer: (cpu_us_per_answer * 10.0).round() / 10.0,
            rss_bytes: after.rss_bytes,
        })
    }

    fn load(
        &mut self,
        address: &str,
        method: &str,
        path: &str,
        workload: Workload,
        seconds: f64,
    ) -> Result<Load, Failure> {
        let mut command = std::process::Command::new(self.bin.join("load"));
        command.args(["--address", address, "--method", method, "--path", path]);
        command.args(["--connections", &workload.connections.to_string()]);
        command.args(["--seconds", &seconds.to_string(), "--first", &self.next_key.to_string()]);
        if workload.effect == Effect::Writes {
            command.args(["--body", r#"{"order":{n},"text":"about as much as a small webhook has to say"}"#]);
        }
        let load: Load = serde_json::from_str(&process::output(&mut command)?)?;
        self.next_key = self.next_key.max(load.next);
        Ok(load)
    }
}
