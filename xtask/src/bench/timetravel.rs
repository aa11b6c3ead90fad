//! `cargo xtask bench timetravel`: the past beside the present, in pairs that alternate, and what is promised of it.
//!
//! Every participant is a process of its own (`xtask/timebench`, and the server with the load generator for what
//! recording costs). `docs/performance.md` explains the method.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::process::{self, Server};
use super::report::{Goal, Load, median, print_goals, quartiles};
use super::scenario;
use crate::{Failure, Places, cargo};

/// Keys and versions of each: in all about as many versions as keys in the small ones.
const SHAPES: [(u64, u64); 3] = [(100_000, 1), (1000, 100), (1, 100_000)];
/// Connections of the load on the two routes.
const CONNECTIONS: u32 = 64;
/// Length of a window in which one of the two routes is asked, seconds.
const WINDOW_SECONDS: f64 = 0.1;
/// Keys of the apps that are forked, and how often each is.
const FORKED: [u64; 2] = [10_000, 1_000_000];
const FORKS: usize = 15;
/// Keys of one commit of the route that fills.
const FILL: u64 = 1000;

#[derive(Clone, Copy, Debug)]
struct Options {
    seconds: f64,
    pairs: usize,
    executions: usize,
    runs: usize,
    /// Windows of four in which recorded and unrecorded writes take turns.
    fours: usize,
}

impl Options {
    fn parse(arguments: &[&str]) -> Result<Self, Failure> {
        let mut options = Self { seconds: 4.0, pairs: 3, executions: 50_000, runs: 200, fours: 100 };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match *word {
                "--quick" => {
                    options = Self { seconds: 1.0, pairs: 1, executions: 20_000, runs: 40, fours: 25 }
                }
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

/// Answers per second of the same script on a route that records and on one that does not: four windows, the outer two
/// recorded.
#[derive(Clone, Debug, Serialize)]
struct Recorded {
    full: f64,
    off: f64,
}

/// How long it took to fork an app.
#[derive(Clone, Debug, Serialize)]
struct Forked {
    keys: u64,
    ms: Vec<f64>,
}

#[derive(Debug, Serialize)]
struct Report {
    cores: usize,
    pairs: Vec<Pair>,
    /// By script.
    replays: Vec<(&'static str, Replays)>,
    backtests: Vec<Backtested>,
    recording: Vec<Recorded>,
    forks: Vec<Forked>,
    goals: Vec<Goal>,
}

struct Bench {
    bin: PathBuf,
    work: PathBuf,
    options: Options,
}

pub(crate) fn run(places: &Places, arguments: &[&str]) -> Result<bool, Failure> {
    let options = Options::parse(arguments)?;
    for package in ["relive-server", "relive-bench", "relive-timebench"] {
        if !cargo::cargo(&places.root).args(["build", "--release", "-p", package]).status()?.success() {
            return Err(format!("{package} does not build").into());
        }
    }
    let work = super::empty(places.records.join("bench-timetravel"))?;
    let bench = Bench { bin: places.target.join("release"), work, options };
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

    fn measure(&self) -> Result<Report, Failure> {
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
        let forks = FORKED.iter().map(|keys| self.forks(*keys)).collect::<Result<Vec<_>, _>>()?;
        let cores = std::thread::available_parallelism()?.get();
        let goals = goals(&pairs, &replays, &backtests, &recording, &forks);
        Ok(Report { cores, pairs, replays, backtests, recording, forks, goals })
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

    /// Both routes of one process, asked in turn by the same connections.
    fn recording(&self) -> Result<Vec<Recorded>, Failure> {
        println!("writes that are recorded, and that are not");
        let data = self.work.join("data");
        let relive = Server::relive(&self.bin, &data)?;
        scenario::deploy(&self.bin, &self.work.join("app"), &relive, &data)?;
        let windows = self.options.fours * 4;
        let mut command = Command::new(self.bin.join("load"));
        command.args(["--address", &relive.data_plane, "--method", "POST"]);
        command.args(["--path", "/bench/write/key-{n}", "--beside", "/bench/write-unrecorded/key-{n}"]);
        command.args(["--body", r#"{"order":{n},"text":"about as much as a small webhook has to say"}"#]);
        command.args(["--connections", &CONNECTIONS.to_string(), "--warmup", "2"]);
        command.args(["--windows", &windows.to_string()]);
        command.args(["--seconds", &(windows as f64 * WINDOW_SECONDS).to_string()]);
        let load: Load = serde_json::from_str(&process::output(&mut command)?)?;
        relive.stop()?;
        if load.problems() > 0 {
            return Err(format!("{} of the writes failed", load.problems()).into());
        }
        let (fours, _) = load.windows.as_chunks();
        Ok(fours.iter().map(|[a, b, c, d]| Recorded { full: (a + d) / 2.0, off: (b + c) / 2.0 }).collect())
    }

    /// Forks of an app with so many keys, now.
    fn forks(&self, keys: u64) -> Result<Forked, Failure> {
        println!("forks of an app with {keys} keys");
        let data = self.work.join(format!("forked-{keys}"));
        let relive = Server::relive(&self.bin, &data)?;
        scenario::deploy(&self.bin, &self.work.join("app"), &relive, &data)?;
        let mut fill = Command::new(self.bin.join("load"));
        fill.args(["--address", &relive.data_plane, "--method", "POST", "--path", "/bench/fill/{n}"]);
        fill.args(["--connections", "4", "--warmup", "0", "--seconds", "600"]);
        fill.args(["--requests", &(keys / FILL).to_string()]);
        let load: Load = serde_json::from_str(&process::output(&mut fill)?)?;
        if load.problems() > 0 {
            return Err(format!("{} of the fills failed", load.problems()).into());
        }
        let mut ms = Vec::new();
        for n in 0..FORKS {
            let begin = Instant::now();
            let fork = format!(r#"{{"slug":"fork-{n}"}}"#);
            let _made = scenario::tell_control(&relive, &data, "/apps/bench/fork", &fork)?;
            ms.push(begin.elapsed().as_secs_f64() * 1000.0);
        }
        relive.stop()?;
        std::fs::remove_dir_all(data)?;
        Ok(Forked { keys, ms })
    }
}

fn goals(
    pairs: &[Pair],
    replays: &[(&'static str, Replays)],
    backtests: &[Backtested],
    recording: &[Recorded],
    forks: &[Forked],
) -> Vec<Goal> {
    let mut goals = Vec::new();
    for (what, name) in
        [("get", "one key as of then, times now"), ("list", "1,000 keys as of then, times now")]
    {
        for (_, versions) in SHAPES {
            let chosen = pairs.iter().filter(|pair| pair.what == what && pair.versions == versions);
            let ratios: Vec<f64> = chosen.map(|pair| pair.past.us / pair.now.us).collect();
            if !ratios.is_empty() {
                goals.push(Goal::at_most(format!("{name}, {versions} versions a key"), median(ratios), 2.0));
            }
        }
    }
    for script in ["computes", "reads"] {
        let chosen = replays.iter().filter(|(of, _)| *of == script);
        let ratios = chosen.map(|(_, one)| one.replay_us / one.live_us).collect();
        goals.push(Goal::at_most(
            format!("replay of a script that {script}, times live"),
            median(ratios),
            1.2,
        ));
    }
    let rates = backtests.iter().map(|one| one.per_second).collect();
    goals.push(Goal::at_least("backtest, two threads: executions/s", median(rates), 20_000.0));
    let shares = recording.iter().map(|one| one.full / one.off).collect();
    goals.push(Goal::at_least("recorded writes, of the rate without", median(shares), 0.95));
    let forked = |keys: u64| forks.iter().find(|fork| fork.keys == keys).map(|fork| median(fork.ms.clone()));
    if let [Some(small), Some(large)] = FORKED.map(forked) {
        goals.push(Goal::at_most("fork of a million keys, times one of ten thousand", large / small, 1.5));
    }
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
    let rate = |of: fn(&Recorded) -> f64| median(report.recording.iter().map(of).collect());
    let [low, middle, high] = quartiles(report.recording.iter().map(|one| one.full / one.off).collect());
    println!(
        "writes: recorded {:.0}/s, not recorded {:.0}/s; {} times four windows, ratio {middle:.3}, quartiles {low:.3} and {high:.3}",
        rate(|one| one.full),
        rate(|one| one.off),
        report.recording.len(),
    );
    for Forked { keys, ms } in &report.forks {
        println!("fork of an app with {keys} keys: {:.2} ms", median(ms.clone()));
    }
    println!();
    print_goals(&report.goals);
}
