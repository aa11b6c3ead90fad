//! Small workloads, crashed before and after every mutating call, each crash resolved in several ways, and every
//! recovery of some of them crashed at every call again.

use relive_log::disk::sim::{DirMode, SimDisk, SimOptions, When};
use relive_log::{OpenError, OpenedLog, UnixMicros};

use super::model::{Model, open_sim, small};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    /// One small event.
    Small,
    /// A frame of exactly one sector.
    Sector,
    /// Several sectors.
    Large,
    /// Too large for what is left of a segment that holds anything else.
    RollsOver,
    WatermarkSync,
    CleanStop,
}

const ALPHABET: [Op; 6] = [Op::Small, Op::Sector, Op::Large, Op::RollsOver, Op::WatermarkSync, Op::CleanStop];

/// Runs the workload until its end or the crash. After a clean stop it opens again.
fn run(disk: &SimDisk, model: &mut Model, ops: &[Op]) {
    let Ok(mut log) = open_sim(disk, &small(), 1) else { return };
    for op in ops {
        let sizes: &[usize] = match op {
            Op::Small => &[20],
            Op::Sector => &[440],
            Op::Large => &[700, 900],
            Op::RollsOver => &[7000],
            Op::WatermarkSync => {
                log.preparer.step();
                log.preparer.step();
                continue;
            }
            Op::CleanStop => {
                let _ = log.committer.close();
                model.note_durable(log.durability.durable());
                drop(log);
                let Ok(again) = open_sim(disk, &small(), 1) else { return };
                log = again;
                continue;
            }
        };
        let _ = model.append(&mut log, sizes, UnixMicros(5));
        for _ in 0..3 {
            log.committer.step();
            log.preparer.step();
            log.committer.step();
        }
        model.note_durable(log.durability.durable());
    }
}

#[derive(Default)]
struct Count {
    workloads: u64,
    points: u64,
    states: u64,
    double: u64,
}

/// Opens a crashed disk and checks it; then crashes its recovery at every call and checks those.
fn check(crashed: &SimDisk, model: &Model, seed: u64, deep: bool, count: &mut Count, what: &str) {
    let recover = |disk: &SimDisk| -> Result<OpenedLog, OpenError> { open_sim(disk, &small(), 9) };
    let disk = crashed.fork(seed);
    let start = disk.counts().calls;
    let log = recover(&disk).unwrap_or_else(|e| panic!("{what}: refused: {e}"));
    let mut found = model.clone();
    found.check(&log.reader).unwrap_or_else(|e| panic!("{what}: {e}"));
    count.states += 1;
    let calls = disk.counts().calls - start;
    drop(log);
    if !deep {
        return;
    }
    for n in 1..=calls {
        let again = crashed.fork(seed);
        again.crash_at(start + n, When::After);
        assert!(recover(&again).is_err(), "{what}: recovery ignores a crash at its call {n}");
        again.power_loss();
        let log = recover(&again).unwrap_or_else(|e| panic!("{what}, recovery crashed at {n}: refused: {e}"));
        let mut found = model.clone();
        found.check(&log.reader).unwrap_or_else(|e| panic!("{what}, recovery crashed at {n}: {e}"));
        count.double += 1;
    }
}

fn crash_everywhere(ops: &[Op], dirs: DirMode, resolutions: u64, count: &mut Count) {
    let fresh = || SimDisk::new(SimOptions { dirs, ..SimOptions::new(1) });
    let whole = fresh();
    run(&whole, &mut Model::default(), ops);
    count.workloads += 1;
    for n in 1..=whole.counts().calls {
        for when in [When::Before, When::After] {
            let disk = fresh();
            disk.crash_at(n, when);
            let mut model = Model::default();
            run(&disk, &mut model, ops);
            assert!(disk.crashed(), "{ops:?}: call {n} of the same run does not come");
            count.points += 1;
            for seed in 0..resolutions {
                let what = format!("{ops:?} {dirs:?} crash {when:?} call {n}, resolution {seed}");
                let lost = disk.fork(seed);
                if seed == 0 {
                    lost.kill();
                } else {
                    lost.power_loss();
                }
                let deep = (count.points + seed).is_multiple_of(16);
                check(&lost, &model, seed, deep, count, &what);
            }
        }
    }
}

#[test]
fn every_crash_point_of_small_workloads() {
    let mut count = Count::default();
    for first in ALPHABET {
        for second in ALPHABET {
            crash_everywhere(&[first, second], DirMode::Strict, 5, &mut count);
        }
    }
    for ops in [
        [Op::RollsOver, Op::RollsOver, Op::Small],
        [Op::RollsOver, Op::Large, Op::RollsOver],
        [Op::Sector, Op::WatermarkSync, Op::Sector],
        [Op::Small, Op::CleanStop, Op::RollsOver],
    ] {
        crash_everywhere(&ops, DirMode::Strict, 12, &mut count);
        crash_everywhere(&ops, DirMode::Ext4, 5, &mut count);
    }
    println!(
        "log exhaustive: workloads={} crash_points={} states={} crashes_in_recovery={}",
        count.workloads, count.points, count.states, count.double
    );
    assert!(count.workloads >= 44 && count.states >= 10_000 && count.double >= 1_000);
}
