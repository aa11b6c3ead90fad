//! The same attempts, live and replayed.

use std::path::Path;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use relive_engine::replay::{Candidate, Sealed, replay};
use relive_engine::script::SCRIPT_STACK_BYTES;
use relive_engine::settings::EngineSettings;
use relive_projections::ExecutionFilter;
use serde::Serialize;

use crate::Failure;
use crate::rig::{Live, Rig, app};

/// Scripts that run so long that what is around them does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Heavy {
    /// Computes.
    Computes,
    /// Reads and writes many keys.
    Reads,
}

const COMPUTES: &str = r#"
fn digits(n) { let sum = 0; while n > 0 { sum += n % 10; n /= 10; } sum }
let total = 0;
let seen = #{};
for i in 0..4000 {
  let d = digits(i * 7919);
  total += d;
  seen[`d${d}`] = (seen[`d${d}`] ?? 0) + 1;
}
#{ total: total, kinds: seen.len(), dice: random::int(1, 6) }
"#;

const READS: &str = r#"
let sum = 0;
for i in 0..400 {
  sum += kv::get("orders", `order-${i}`) ?? 0;
  kv::set("orders", `order-${i}`, i + random::int(0, 9));
}
let page = kv::list("orders", #{ limit: 200 });
#{ sum: sum, items: page.items.len() }
"#;

/// What was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Medians, microseconds: a run with its commit, and its replay.
    live_us: f64,
    replay_us: f64,
    /// Putting one recording together.
    recording_us: f64,
    runs: usize,
}

pub(crate) fn measure(dir: &Path, script: Heavy, runs: usize) -> Result<Report, Failure> {
    let dir = dir.to_path_buf();
    let runner = std::thread::Builder::new().stack_size(SCRIPT_STACK_BYTES);
    let runner = runner.spawn(move || on_this_thread(&dir, script, runs))?;
    runner.join().map_err(|_| "the runner panicked")?
}

fn on_this_thread(dir: &Path, script: Heavy, runs: usize) -> Result<Report, Failure> {
    let settings = EngineSettings { brief_operations: 0, ..EngineSettings::default() };
    let live = Live::start(Rig::open(dir)?, settings, 0)?;
    live.deploy("heavy", if script == Heavy::Computes { COMPUTES } else { READS })?;
    let (mut ran, mut replayed, mut put_together) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        let (told, done) = std::sync::mpsc::channel();
        live.call("{}", move |good| {
            // Whoever asked waits below.
            let _told = told.send(good);
        })?;
        let begin = Instant::now();
        if !live.node.step_scripts() {
            return Err("the call does not wait for this thread".into());
        }
        ran.push(begin.elapsed());
        if !done.recv()? {
            return Err("the script failed".into());
        }
        // One that only read is answered before its own record is durable.
        while live.node.durable() < live.node.applied() {
            std::thread::yield_now();
        }
        let filter = ExecutionFilter { limit: 1, ..ExecutionFilter::default() };
        let bench = app(&live.views)?;
        let row = live.views.executions().list(bench.id, &filter)?.pop().ok_or("no execution")?;
        let begin = Instant::now();
        let archive = live.node.archive();
        let recording = archive.recording(&bench, &row, None, &Candidate::Recorded, Sealed::Opened)?;
        put_together.push(begin.elapsed());
        let begin = Instant::now();
        let got = replay(&recording);
        replayed.push(begin.elapsed());
        if got.faithful != Some(true) {
            return Err(format!("not faithful: {:?}", got.differences).into());
        }
    }
    live.stop()?;
    Ok(Report { live_us: median(ran), replay_us: median(replayed), recording_us: median(put_together), runs })
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times.get(times.len() / 2).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
}
