//! Scripts that mean harm, each in a process of its own: none ends it, hangs it, or passes its budget of memory or time.
//!
//! Owns: the judge (a child process of this test binary runs one script and reports) and the list in `scripts.rs`.
//! What an abort looks like from inside a process cannot be tested from inside it, hence the child.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]
#![expect(clippy::print_stderr, clippy::indexing_slicing, reason = "a child reports, its parent reads")]
#![expect(clippy::disallowed_methods, reason = "children, threads, clocks and files are what this is about")]

mod leaks;
mod scripts;
mod world;

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use relive_engine::script::memory::MeteredAlloc;
use relive_log::events::ErrorKind;

#[global_allocator]
static ALLOCATOR: MeteredAlloc = MeteredAlloc;

const NAME: &str = "RELIVE_HOSTILE_SCRIPT";
const REPORT: &str = "hostile-report";
/// A child that is not done by then hangs; far above what any script takes alone on a busy machine.
const HANG: Duration = Duration::from_secs(120);
/// CPU time of a child: its script's wall clock is 2 s, and no single step between two looks takes long.
const CPU_SECONDS_MAX: f64 = 10.0;
/// Memory of a child: the budget of a script is 64 MiB, one step may go over it by some tens of MiB, the process
/// itself has some.
const PEAK_MIB_MAX: u64 = 200;
/// What freeing deeply nested values may touch of the stack (256 MiB), on top of that.
const STACK_MIB_MAX: u64 = 256;

/// How a script may end.
pub(crate) enum Ends {
    /// With a result.
    Well,
    /// With an error of one of these kinds.
    With(&'static [ErrorKind]),
    /// Either way, as long as the process is none the worse.
    Anyhow,
}

/// What a child says about its script.
struct Report {
    outcome: String,
    peak_mib: u64,
    cpu_seconds: f64,
    leaked_bytes: i64,
}

impl Report {
    fn parse(text: &str) -> Option<Report> {
        let line = text.lines().find_map(|line| line.split_once(REPORT).map(|(_, rest)| rest))?;
        let mut fields = line.split_whitespace();
        Some(Report {
            outcome: fields.next()?.to_owned(),
            peak_mib: fields.next()?.parse().ok()?,
            cpu_seconds: fields.next()?.parse().ok()?,
            leaked_bytes: fields.next()?.parse().ok()?,
        })
    }
}

/// Runs one script in a child and judges what it left.
#[track_caller]
pub(crate) fn judge(name: &str, ends: &Ends) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(NAME, name)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let since = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if since.elapsed() > HANG {
            child.kill().unwrap();
            panic!("{name} hangs");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let (mut out, mut err) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert!(status.success(), "{name} ended the process: {status}\n{err}");
    let report = Report::parse(&out).unwrap_or_else(|| panic!("{name}: no report in {out}"));
    let kind = |kind: &ErrorKind| kind.name();
    match ends {
        Ends::Well => assert_eq!(report.outcome, "ok", "{name}"),
        Ends::With(kinds) => {
            let kinds: Vec<_> = kinds.iter().map(kind).collect();
            assert!(
                kinds.contains(&report.outcome.as_str()),
                "{name}: {} is not of {kinds:?}",
                report.outcome
            );
        }
        Ends::Anyhow => assert_ne!(report.outcome, kind(&ErrorKind::Internal), "{name}"),
    }
    let peak_max = if scripts::is_deep(name) { PEAK_MIB_MAX + STACK_MIB_MAX } else { PEAK_MIB_MAX };
    assert!(report.peak_mib <= peak_max, "{name}: {} MiB at its peak", report.peak_mib);
    assert!(report.cpu_seconds <= CPU_SECONDS_MAX, "{name}: {} s of CPU time", report.cpu_seconds);
    let budget = i64::try_from(world::MEMORY_BYTES).unwrap();
    assert!(report.leaked_bytes <= budget, "{name}: {} bytes stay allocated", report.leaked_bytes);
}

/// The child's part; does nothing when it is run as a test of its own.
#[test]
fn child() {
    let Ok(name) = std::env::var(NAME) else { return };
    let source = scripts::source(&name).unwrap_or_else(|| panic!("no script {name}"));
    let (outcome, leaked) = world::run(source);
    println!("{REPORT} {outcome} {} {} {leaked}", peak_mib(), cpu_seconds());
}

fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
}

fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // utime and stime, in hundredths of a second.
    let ticks: f64 = [11, 12].map(|at| fields[at].parse::<f64>().unwrap()).iter().sum();
    ticks / 100.0
}
