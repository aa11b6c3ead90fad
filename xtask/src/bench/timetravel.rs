//! `cargo xtask bench timetravel`: the past beside the present, in pairs that alternate, and what is promised of it.
//!
//! Every participant is a process of its own (`xtask/timebench`, and the server with the load generator for what
//! recording costs). `docs/performance.md` explains the method.

use std::path::PathBuf;
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::process::{self, Server};
use super::report::{Load, median};
use super::scenario;
use crate::{Failure, Places, cargo};

/// Keys and versions of each: in all about as many versions as keys in the small ones.
const SHAPES: [(u64, u64); 3] = [(100_000, 1), (1000, 100), (1, 100_000)];
/// Connections of the load on the two routes.
const CONNECTIONS: u32 = 64;

#[derive(Clone, Copy, Debug)]
struct Options {
    seconds: f64,
    pairs: usize,
    executions: usize,
    runs: usize,
}

impl Options {
    fn parse(arguments: &[&str]) -> Result<Self, Failure> {
        let mut options = Self { seconds: 4.0, pairs: 3, executions: 50_000, runs: 200 };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match *word {
                "--quick" => options = Self { seconds: 1.0, pairs: 1, executions: 20_000, runs: 40 },
                "--seconds" => options.seconds = value()?.parse()?,
                "--pairs" => options.pairs = value()?.parse()?,
                other => {
                    return Err(format!("unknown option `{other}`: --quick, --seconds N, --pairs N").into());
                }
            }
        }
        if options.pairs == 0 || options.seconds <= 0.0 {
            return Err("at least one pair and some time".into());
        }
        Ok(options)
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Reads {
    us: f64,
}

/// The same read as of now and as of then, two neighbours in time.
#[derive(Clone, Debug, Serialize)]
struct Pair {
    what: &'static str,
    versions: u64,
    now: Reads,
    past: Reads,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Replays {
    live_us: f64,
    replay_us: f64,
    recording_us: f64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Backtested {
    executions: usize,
    per_second: f64,
    same: usize,
}

/// Answers per second of the same script on a route that records and on one that does not.
#[derive(Clone, Debug, Serialize)]
struct Recorded {
    full: f64,
    off: f64,
}

/// One figure beside what it should be.
#[derive(Clone, Debug, Serialize)]
struct Goal {
    what: String,
    value: f64,
    goal: f64,
    met: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    cores: usize,
    pairs: Vec<Pair>,
    /// By script.
    replays: Vec<(&'static str, Replays)>,
    backtests: Vec<Backtested>,
    recording: Vec<Recorded>,
    goals: Vec<Goal>,
}

struct Bench {
    bin: PathBuf,
    work: PathBuf,
    options: Options,
    next_key: u64,
}

pub(crate) fn run(places: &Places, arguments: &[&str]) -> Result<bool, Failure> {
    let options = Options::parse(arguments)?;
    for package in ["relive-server", "relive-bench", "relive-timebench"] {
        if !cargo::cargo(&places.root).args(["build", "--release", "-p", package]).status()?.success() {
            return Err(format!("{package} does not build").into());
        }
    }
    let work = super::empty(places.records.join("bench-timetravel"))?;
    let mut bench = Bench { bin: places.target.join("release"), work, options, next_key: 0 };
    let report = bench.measure();
    std::fs::remove_dir_all(&bench.work)?;
    let report = report?;
    let json = serde_json::to_string_pretty(&report)? + "\n";
    std::fs::write(places.records.join("bench-timetravel.json"), json)?;
    print(&report);
    Ok(true)
}

impl Bench {
    fn ask<T: for<'a> Deserialize<'a>>(
        &self,
        mode: &str,
        dir: &str,
        rest: &[(&str, String)],
    ) -> Result<T, Failure> {
        process::ask(&self.bin.join("relive-timebench"), mode, &self.work.join(dir), rest)
    }

    fn measure(&mut self) -> Result<Report, Failure> {
        let mut pairs = Vec::new();
        for (keys, versions) in SHAPES {
            println!("filling: {keys} keys with {versions} versions each");
            let dir = format!("versions-{versions}");
            let shape = [("--keys", keys.to_string()), ("--versions", versions.to_string())];
            let _filled: serde_json::Value = self.ask("versions", &dir, &shape)?;
            for round in 0..self.options.pairs {
                println!("round {}: single reads, {versions} versions", round + 1);
                pairs.push(self.pair("get", versions, &[("--keys", keys.to_string())], &dir, round)?);
                if keys >= 1000 {
                    println!("round {}: listings, {versions} versions", round + 1);
                    pairs.push(self.pair("list", versions, &[], &dir, round)?);
                }
            }
            std::fs::remove_dir_all(self.work.join(dir))?;
        }
        let mut replays = Vec::new();
        for _ in 0..self.options.pairs {
            for script in ["computes", "reads"] {
                println!("replays: a script that {script}");
                let dir = format!("replays-{script}");
                let runs = [("--script", script.to_owned()), ("--runs", self.options.runs.to_string())];
                replays.push((script, self.ask("replays", &dir, &runs)?));
                std::fs::remove_dir_all(self.work.join(dir))?;
            }
        }
        println!("backtests: {} small executions", self.options.executions);
        let many = [("--executions", self.options.executions.to_string())];
        let _filled: serde_json::Value = self.ask("executions", "backtest", &many)?;
        let two = [("--threads", "2".to_owned())];
        let backtests: Result<Vec<Backtested>, Failure> =
            (0..self.options.pairs).map(|_| self.ask("backtest", "backtest", &two)).collect();
        let backtests = backtests?;
        let recording = self.recording()?;
        let cores = std::thread::available_parallelism()?.get();
        let goals = goals(&pairs, &replays, &backtests, &recording);
        Ok(Report { cores, pairs, replays, backtests, recording, goals })
    }

    /// Now and then, one right after the other; who begins alternates.
    fn pair(
        &self,
        what: &'static str,
        versions: u64,
        options: &[(&str, String)],
        dir: &str,
        round: usize,
    ) -> Result<Pair, Failure> {
        let read = |when: &str| -> Result<Reads, Failure> {
            let mut all = options.to_vec();
            all.extend([("--when", when.to_owned()), ("--seconds", self.options.seconds.to_string())]);
            self.ask(what, dir, &all)
        };
        let (now, past) = if round.is_multiple_of(2) {
            let now = read("now")?;
            (now, read("past")?)
        } else {
            let past = read("past")?;
            (read("now")?, past)
        };
        Ok(Pair { what, versions, now, past })
    }

    fn recording(&mut self) -> Result<Vec<Recorded>, Failure> {
        let data = self.work.join("data");
        let relive = Server::relive(&self.bin, &data)?;
        scenario::deploy(&self.bin, &self.work.join("app"), &relive, &data)?;
        self.load(&relive, "write", 1.0)?;
        self.load(&relive, "write-unrecorded", 1.0)?;
        let mut found = Vec::new();
        // A ratio near one needs more pairs than one of two.
        for round in 0..self.options.pairs * 3 {
            println!("round {}: writes that are recorded, and that are not", round + 1);
            let (full, off) = if round.is_multiple_of(2) {
                let full = self.load(&relive, "write", self.options.seconds)?;
                (full, self.load(&relive, "write-unrecorded", self.options.seconds)?)
            } else {
                let off = self.load(&relive, "write-unrecorded", self.options.seconds)?;
                (self.load(&relive, "write", self.options.seconds)?, off)
            };
            found.push(Recorded { full, off });
        }
        relive.stop()?;
        Ok(found)
    }

    fn load(&mut self, server: &Server, route: &str, seconds: f64) -> Result<f64, Failure> {
        let mut command = Command::new(self.bin.join("load"));
        let path = format!("/bench/{route}/key-{{n}}");
        command.args(["--address", &server.data_plane, "--method", "POST", "--path", &path]);
        command.args(["--connections", &CONNECTIONS.to_string(), "--seconds", &seconds.to_string()]);
        command.args(["--first", &self.next_key.to_string()]);
        command.args(["--body", r#"{"order":{n},"text":"about as much as a small webhook has to say"}"#]);
        let load: Load = serde_json::from_str(&process::output(&mut command)?)?;
        self.next_key = self.next_key.max(load.next);
        Ok(load.rate)
    }
}

fn goals(
    pairs: &[Pair],
    replays: &[(&'static str, Replays)],
    backtests: &[Backtested],
    recording: &[Recorded],
) -> Vec<Goal> {
    let at_most = |what: String, value: f64, goal: f64| Goal { what, value, goal, met: value <= goal };
    let at_least = |what: String, value: f64, goal: f64| Goal { what, value, goal, met: value >= goal };
    let mut goals = Vec::new();
    for (what, name) in
        [("get", "one key as of then, times now"), ("list", "1,000 keys as of then, times now")]
    {
        for (_, versions) in SHAPES {
            let chosen = pairs.iter().filter(|pair| pair.what == what && pair.versions == versions);
            let ratios: Vec<f64> = chosen.map(|pair| pair.past.us / pair.now.us).collect();
            if !ratios.is_empty() {
                goals.push(at_most(format!("{name}, {versions} versions a key"), median(ratios), 2.0));
            }
        }
    }
    for script in ["computes", "reads"] {
        let chosen = replays.iter().filter(|(of, _)| *of == script);
        let ratios = chosen.map(|(_, one)| one.replay_us / one.live_us).collect();
        goals.push(at_most(format!("replay of a script that {script}, times live"), median(ratios), 1.2));
    }
    let rates = backtests.iter().map(|one| one.per_second).collect();
    goals.push(at_least("backtest, two threads: executions/s".to_owned(), median(rates), 20_000.0));
    let shares = recording.iter().map(|one| one.full / one.off).collect();
    goals.push(at_least("recorded writes, of the rate without".to_owned(), median(shares), 0.95));
    goals
}

fn print(report: &Report) {
    println!("\n{} cores; every line a process of its own\n", report.cores);
    for Pair { what, versions, now, past } in &report.pairs {
        println!("{what:>4} {versions:>6} versions: now {:>8.2} µs, then {:>8.2} µs", now.us, past.us);
    }
    for (script, one) in &report.replays {
        println!(
            "script that {script}: live {:.0} µs, replayed {:.0} µs (and {:.0} µs to put the recording together)",
            one.live_us, one.replay_us, one.recording_us
        );
    }
    for one in &report.backtests {
        println!("backtest: {} executions, {:.0}/s, {} same", one.executions, one.per_second, one.same);
    }
    for Recorded { full, off } in &report.recording {
        println!("writes: recorded {full:.0}/s, not recorded {off:.0}/s");
    }
    println!();
    for Goal { what, value, goal, met } in &report.goals {
        println!("{} {what}: {value:.2} (goal {goal})", if *met { "met   " } else { "MISSED" });
    }
}
