//! One mutant before the tests: noticed, or survived.
//!
//! Owns: how the test binaries are run: they are stopped at their first failure, may use so much processor time and
//! memory, and so much time if they wait for something. Processor time, because a loaded machine must not look like a
//! mutant that never ends.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::Failure;

/// Of the simulated disk a mutant may fill so much.
const MEMORY_KIB_MAX: u64 = 6 << 20;
/// Tests that are not over by then wait for something that does not come.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// What the tests said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// A test failed, or the process ended badly.
    Caught,
    /// The tests did not end.
    Endless,
    Survived,
    /// It survived the tests of seconds and waits for the long ones.
    Doubtful,
    Unviable,
    /// It stands in a constant.
    LeftOut,
}

/// Some of the tests, and how long they may take.
#[derive(Clone, Debug)]
pub(crate) struct Suite<'a> {
    pub(crate) binary: &'a Path,
    pub(crate) skipped: &'a [&'a str],
    /// Lives on the simulated disk.
    pub(crate) seeds: &'a str,
    pub(crate) cpu_seconds_max: u64,
}

/// How a suite ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) outcome: Outcome,
    /// The test that failed first.
    pub(crate) by: Option<String>,
    pub(crate) seconds: f64,
}

impl Ended {
    pub(crate) const fn at_once(outcome: Outcome) -> Self {
        Self { outcome, by: None, seconds: 0.0 }
    }
}

/// Runs a suite with a mutant; 0 for none.
pub(crate) fn run(package: &Path, suite: &Suite<'_>, mutant: u32) -> Result<Ended, Failure> {
    let limits = format!(
        "ulimit -S -t {}; ulimit -v {MEMORY_KIB_MAX}; ulimit -c 0; exec \"$0\" \"$@\"",
        suite.cpu_seconds_max
    );
    let mut command = Command::new("sh");
    command.args(["-c", &limits]).arg(suite.binary).args(["--test-threads", "1"]);
    for skipped in suite.skipped {
        command.args(["--skip", skipped]);
    }
    command.env("RELIVE_MUTANT", mutant.to_string()).env("RELIVE_SIM_SEEDS", suite.seeds);
    command.env("RUST_BACKTRACE", "0").current_dir(package);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let started = Instant::now();
    let mut child = command.spawn()?;
    let id = child.id();
    let (told, tell) = std::sync::mpsc::channel();
    let output = child.stdout.take().ok_or("no output")?;
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if line.starts_with("test ") && line.ends_with(" FAILED") {
                let name = line.trim_start_matches("test ").trim_end_matches(" ... FAILED").to_owned();
                let _nobody_waits = told.send(name);
            }
        }
    });
    // Else the output ended, or nothing was heard in time: how it ended says which.
    let by = tell.recv_timeout(WAIT_MAX).ok();
    let waited_too_long = started.elapsed() >= WAIT_MAX;
    if by.is_some() || waited_too_long {
        Command::new("kill").arg("-KILL").arg(id.to_string()).status()?;
    }
    let status = child.wait()?;
    reader.join().map_err(|_| "the reader of the tests' output panicked")?;
    const OUT_OF_TIME: i32 = 24; // SIGXCPU
    let outcome = if by.is_some() {
        Outcome::Caught
    } else if waited_too_long || status.signal() == Some(OUT_OF_TIME) {
        Outcome::Endless
    } else if status.success() {
        Outcome::Survived
    } else {
        Outcome::Caught
    };
    Ok(Ended { outcome, by, seconds: started.elapsed().as_secs_f64() })
}
