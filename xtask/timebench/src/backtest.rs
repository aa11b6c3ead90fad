//! Many small executions, and a backtest over them.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use relive_engine::replay::{Archive, BACKTEST_MAX, Backtest, BacktestAsked, Candidate, Sealed, Verdict};
use relive_engine::script::SCRIPT_STACK_BYTES;
use relive_engine::settings::EngineSettings;
use serde::Serialize;

use crate::Failure;
use crate::rig::{Live, Rig, SystemClock, app, key};

/// A small execution: looks, decides, writes, answers.
const SCRIPT: &str = r#"// Keeps an order, once.
let order = ctx.request.json;
let id = `order-${order.id}`;
if kv::has("orders", id) { throw "known already"; }
kv::set("orders", id, #{ total: order.price * order.count, at: time::now() });
#{ ok: true, id: id }
"#;

/// Calls under way at once while the log is made.
const AT_ONCE: usize = 128;

/// What was made.
#[derive(Debug, Serialize)]
pub(crate) struct Filled {
    executions: usize,
    per_second: f64,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    executions: usize,
    per_second: f64,
    same: usize,
    seconds: f64,
}

#[expect(clippy::cast_precision_loss, reason = "a count of executions is far below 2^52")]
fn rate(executions: usize, seconds: f64) -> f64 {
    executions as f64 / seconds
}

pub(crate) fn fill(dir: &Path, executions: usize) -> Result<Filled, Failure> {
    let settings = EngineSettings { brief_operations: 10_000, ..EngineSettings::default() };
    let live = Live::start(Rig::open(dir)?, settings, 2)?;
    live.deploy("order", SCRIPT)?;
    let begin = Instant::now();
    let under_way = Arc::new((Mutex::new(0_usize), Condvar::new()));
    for n in 0..executions {
        let (count, changed) = &*under_way;
        {
            let mut count = count.lock();
            while *count >= AT_ONCE {
                changed.wait(&mut count);
            }
            *count += 1;
        }
        let under_way = Arc::clone(&under_way);
        live.call(&format!("{{\"id\":{n},\"price\":{},\"count\":2}}", n % 90), move |_| {
            let (count, changed) = &*under_way;
            *count.lock() -= 1;
            changed.notify_one();
        })?;
    }
    let (count, changed) = &*under_way;
    let mut count = count.lock();
    while *count > 0 {
        changed.wait(&mut count);
    }
    drop(count);
    let seconds = begin.elapsed().as_secs_f64();
    live.stop()?;
    Ok(Filled { executions, per_second: rate(executions, seconds) })
}

pub(crate) fn measure(dir: &Path, threads: usize) -> Result<Report, Failure> {
    let rig = Rig::open(dir)?;
    let archive = Archive::new(Arc::clone(&rig.views), rig.reader.clone(), key()?, Arc::new(SystemClock));
    let bench = app(&rig.views)?;
    let candidate = SCRIPT.replace("known already", "seen before");
    let mut asked = BacktestAsked {
        script: "order".into(),
        candidate: Candidate::Source(candidate.into()),
        limit: BACKTEST_MAX,
        ..BacktestAsked::default()
    };
    let (begin, mut executions, mut same) = (Instant::now(), 0, 0);
    loop {
        let backtest = Backtest::new(archive.clone(), Arc::clone(&bench), &asked, Sealed::Opened)?;
        std::thread::scope(|scope| -> Result<(), Failure> {
            for _ in 0..threads {
                let thread = std::thread::Builder::new().stack_size(SCRIPT_STACK_BYTES);
                thread.spawn_scoped(scope, || backtest.run())?;
            }
            Ok(())
        })?;
        let report = backtest.report(Default::default())?;
        executions += report.tested.len();
        same += report.count(Verdict::Same);
        asked.cursor = report.cursor;
        if asked.cursor.is_none() {
            break;
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    drop(archive);
    rig.close()?;
    Ok(Report { executions, per_second: rate(executions, seconds), same, seconds })
}
