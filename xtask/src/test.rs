//! `cargo xtask test`: the jobs, their order and their lanes.
//!
//! Two lanes run beside each other (checks that compile without running, and tests); the tests that drive the
//! real binary come after both, alone, because they measure time. Every job leaves a record; a job without one fails.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::budget::Budget;
use crate::cargo::{self, Ended};
use crate::record::{self, Record};
use crate::{Failure, Places, counts, dap, tidy};

/// Crates whose invariants have planted bugs and failure points for the tests.
const TEST_FEATURES: &str = "relive-log/planted-bugs,relive-log/fault-points";
/// The same where the whole workspace is built.
const WORKSPACE_FEATURES: &str = "relive-log/planted-bugs,relive-log/fault-points,relive-engine/planted-bugs";
/// Lines of a failed job's log that are shown.
const TAIL_LINES: usize = 60;

/// One job; the order here is the order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Job {
    Fmt,
    Clippy,
    ClippyFeatures,
    Tidy,
    Binary,
    Unit,
    Campaign,
    Schedules,
    System,
    Dap,
    Doc,
}

impl Job {
    const ALL: [Self; 11] = [
        Self::Fmt,
        Self::Clippy,
        Self::ClippyFeatures,
        Self::Tidy,
        Self::Binary,
        Self::Unit,
        Self::Campaign,
        Self::Schedules,
        Self::System,
        Self::Dap,
        Self::Doc,
    ];
    const QUICK: [Self; 3] = [Self::Fmt, Self::Clippy, Self::Unit];

    fn name(self) -> &'static str {
        match self {
            Self::Fmt => "fmt",
            Self::Clippy => "clippy",
            Self::ClippyFeatures => "clippy-features",
            Self::Tidy => "tidy",
            Self::Binary => "binary",
            Self::Unit => "unit",
            Self::Campaign => "campaign",
            Self::Schedules => "schedules",
            Self::System => "system",
            Self::Dap => "dap",
            Self::Doc => "doc",
        }
    }

    fn lane(self) -> Lane {
        match self {
            Self::Fmt | Self::Clippy | Self::ClippyFeatures | Self::Tidy => Lane::Checks,
            Self::Binary | Self::Unit | Self::Campaign | Self::Schedules => Lane::Tests,
            Self::System | Self::Dap | Self::Doc => Lane::Alone,
        }
    }

    /// Whether its output counts tests; the others count as one check each.
    fn counts_tests(self) -> bool {
        matches!(self, Self::Unit | Self::Campaign | Self::Schedules | Self::System | Self::Dap | Self::Doc)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    Checks,
    Tests,
    Alone,
}

/// How much of the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    Quick,
    Full,
}

struct Run<'a> {
    places: &'a Places,
    budget: Budget,
    extent: Extent,
    nextest: bool,
}

pub(crate) fn run(places: &Places, arguments: &[&str]) -> Result<bool, Failure> {
    let (extent, jobs) = parse(arguments)?;
    let names: Vec<&str> = jobs.iter().map(|job| job.name()).collect();
    let budget = Budget::read(&places.root)?;
    for name in &names {
        budget.share(name)?;
    }
    cargo::install_components(&places.root)?;
    record::clear(&places.records, &names)?;
    let run = Run { places, budget, extent, nextest: cargo::has_nextest(&places.root) };
    std::thread::scope(|scope| {
        scope.spawn(|| run.lane(&jobs, Lane::Checks));
        scope.spawn(|| run.lane(&jobs, Lane::Tests));
    });
    run.lane(&jobs, Lane::Alone);
    Ok(record::verdict(&places.records, &names))
}

fn parse(arguments: &[&str]) -> Result<(Extent, Vec<Job>), Failure> {
    let (mut extent, mut chosen) = (Extent::Full, Vec::new());
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match *word {
            "--quick" => extent = Extent::Quick,
            "--job" => {
                let name = words.next().ok_or("--job needs a name")?;
                let job = Job::ALL.into_iter().find(|job| job.name() == *name);
                chosen.push(job.ok_or_else(|| format!("no job `{name}`; there are {}", names(&Job::ALL)))?);
            }
            other => return Err(format!("unknown option `{other}`: --quick, --job NAME").into()),
        }
    }
    let jobs = match (chosen.is_empty(), extent) {
        (false, _) => chosen,
        (true, Extent::Quick) => Job::QUICK.to_vec(),
        (true, Extent::Full) => Job::ALL.to_vec(),
    };
    Ok((extent, jobs))
}

fn names(jobs: &[Job]) -> String {
    jobs.iter().map(|job| job.name()).collect::<Vec<_>>().join(", ")
}

impl Run<'_> {
    fn lane(&self, jobs: &[Job], lane: Lane) {
        for job in jobs.iter().filter(|job| job.lane() == lane) {
            if let Err(error) = self.job(*job) {
                eprintln!("{}: {error}", job.name());
            }
        }
    }

    fn job(&self, job: Job) -> Result<(), Failure> {
        let share = self.budget.share(job.name())?;
        println!("{:<16} …", job.name());
        let started = Instant::now();
        let (counts, problem) = if job == Job::Tidy {
            self.tidy()
        } else {
            self.cargo_job(job, Duration::from_secs_f64(share.minutes * 60.0 * self.budget.limit))?
        };
        let seconds = started.elapsed().as_secs_f64();
        let floor = if self.extent == Extent::Full { share.floor } else { 0 };
        let budget_seconds = share.minutes * 60.0;
        let too_few = counts.ran() < floor;
        let ok = problem.is_none() && counts.failed == 0 && !too_few;
        let note = match problem {
            Some(problem) => problem,
            None if too_few => format!("ran {} tests, floor {floor}", counts.ran()),
            None if seconds > budget_seconds => "over its share of time".to_owned(),
            None => String::new(),
        };
        let record = Record {
            job: job.name().to_owned(),
            ok,
            seconds,
            passed: counts.passed,
            failed: counts.failed,
            floor,
            budget_seconds,
            note,
        };
        record.write(&self.places.records)?;
        println!("{:<16} {} in {seconds:.0} s {}", job.name(), if ok { "ok" } else { "FAILED" }, record.note);
        if !ok {
            self.show_tail(job);
        }
        Ok(())
    }

    fn tidy(&self) -> (counts::Counts, Option<String>) {
        let report = tidy::check(&self.places.root);
        let text = report.to_string();
        // The log is for reading afterwards; if it cannot be written, the terminal has the same text.
        if std::fs::write(self.log(Job::Tidy), &text).is_err() {
            println!("{text}");
        }
        (report.counts(), None)
    }

    fn cargo_job(&self, job: Job, limit: Duration) -> Result<(counts::Counts, Option<String>), Failure> {
        let log = self.log(job);
        std::fs::write(&log, "")?;
        let mut problem = None;
        for mut command in self.commands(job)? {
            match cargo::run(&mut command, &log, limit)? {
                Ended::Well => {}
                Ended::Badly(code) => problem = Some(format!("exit code {code}")),
                Ended::TimedOut => problem = Some(format!("stopped after {:.0} s", limit.as_secs_f64())),
            }
            if problem.is_some() {
                break;
            }
        }
        if job == Job::Binary && problem.is_none() {
            self.keep_binary()?;
        }
        let mut counts = counts::read(&String::from_utf8_lossy(&std::fs::read(&log)?));
        if !job.counts_tests() {
            counts =
                counts::Counts { passed: u64::from(problem.is_none()), failed: u64::from(problem.is_some()) };
        }
        Ok((counts, problem))
    }

    fn commands(&self, job: Job) -> Result<Vec<Command>, Failure> {
        Ok(match job {
            Job::Fmt => vec![self.cargo(&["fmt", "--all", "--check"])],
            Job::Clippy => vec![self.clippy(&["--workspace", "--all-targets"])],
            Job::ClippyFeatures => vec![
                self.clippy(&["--workspace", "--all-targets", "--features", WORKSPACE_FEATURES]),
                self.clippy(&["-p", "relive-log", "--features", "shuttle", "--test", "schedules"]),
            ],
            Job::Tidy => Vec::new(),
            Job::Binary => vec![self.cargo(&["build", "-p", "relive-server", "--features", "fault-points"])],
            Job::Unit => vec![self.unit()],
            Job::Campaign => {
                let packages = ["-p", "relive-log", "--features", TEST_FEATURES];
                let mut command = self.tests(&packages);
                command.env("RELIVE_SIM_SEEDS", self.budget.seeds.campaign.to_string());
                command.env("RELIVE_FUZZ_RUNS", self.budget.seeds.fuzz.to_string());
                command.env("RELIVE_SIM_EXHAUSTIVE", "3");
                vec![command]
            }
            Job::Schedules => {
                vec![self.tests(&["-p", "relive-log", "--features", "shuttle", "--test", "schedules"])]
            }
            Job::System => vec![self.tests(&["-p", "relive-tests", "--features", "relive-log/fault-points"])],
            Job::Dap => vec![self.dap()?],
            Job::Doc => vec![self.cargo(&["test", "--doc", "--workspace"])],
        })
    }

    /// The tests of the debug adapter, which are ignored elsewhere: they need more than Rust.
    fn dap(&self) -> Result<Command, Failure> {
        let client = dap::install(self.places)?;
        let mut command =
            self.tests(&["-p", "relive-tests", "--features", "relive-log/fault-points", "--test", "system"]);
        if self.nextest {
            command.args(["--run-ignored", "only", "-E", "test(/^dap::/)"]);
        } else {
            command.args(["--", "--ignored", "dap::"]);
        }
        command.env("RELIVE_NODE", client.node).env("RELIVE_DAP_CLIENT", client.script);
        Ok(command)
    }

    fn clippy(&self, packages: &[&str]) -> Command {
        let mut command = self.cargo(&["clippy"]);
        command.args(packages).args(["--", "-D", "warnings"]);
        command
    }

    /// The crates' own tests: with the same features as the binary, so that both share one build.
    fn unit(&self) -> Command {
        let features = "relive-server/fault-points,relive-engine/planted-bugs";
        let mut packages = vec!["--workspace", "--exclude", "relive-tests", "--features", features];
        if self.extent == Extent::Quick {
            packages.extend(["--lib", "--bins"]);
        }
        let mut command = self.tests(&packages);
        command.env("RELIVE_SIM_SEEDS", self.budget.seeds.unit.to_string());
        command
    }

    fn tests(&self, packages: &[&str]) -> Command {
        let mut command = if self.nextest {
            let mut command =
                self.cargo(&["nextest", "run", "--no-fail-fast", "--no-tests=pass", "--color=never"]);
            command.args(packages);
            command
        } else {
            let mut command = self.cargo(&["test", "--no-fail-fast", "--color=never"]);
            command.args(packages);
            // Doc tests are a job of their own.
            if !packages.contains(&"--lib") && !packages.contains(&"--test") {
                command.args(["--lib", "--bins", "--tests"]);
            }
            command
        };
        command.env("RELIVE_BIN", self.binary());
        command
    }

    fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = cargo::cargo(&self.places.root);
        command.args(arguments);
        command
    }

    /// The binary that the tests drive: a copy, since other jobs build one without fault points in its place.
    fn binary(&self) -> PathBuf {
        self.places.records.join("bin/relive")
    }

    fn keep_binary(&self) -> Result<(), Failure> {
        let kept = self.binary();
        if let Some(parent) = kept.parent() {
            std::fs::create_dir_all(parent)?;
        }
        // A new file, not a changed one: an older copy may still be running somewhere.
        let fresh = kept.with_extension("new");
        std::fs::copy(self.places.target.join("debug/relive"), &fresh)?;
        std::fs::rename(&fresh, &kept)?;
        Ok(())
    }

    fn log(&self, job: Job) -> PathBuf {
        self.places.records.join(format!("{}.log", job.name()))
    }

    fn show_tail(&self, job: Job) {
        let path = self.log(job);
        let text = std::fs::read(&path)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or_default().join("\n");
        eprintln!("---- {}: the end of {} ----\n{tail}\n----", job.name(), path.display());
    }
}
