//! Small workloads, crashed before and after every mutating call, each crash resolved in many ways of which the
//! distinct ones are checked, and every recovery of some of them crashed at every call again.
//!
//! The ordinary run takes every sequence of up to two operations. With `RELIVE_SIM_EXHAUSTIVE=3`, as in the campaign,
//! it takes every sequence of up to three.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use relive_log::disk::sim::{DirMode, SimDisk, SimOptions, When};
use relive_log::{Lsn, OpenError, OpenedLog, UnixMicros};

use super::model::{Model, image, open_sim, small};

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
    Snapshot,
    /// Cuts the log's beginning as far as its snapshots allow.
    Cut,
}

const ALPHABET: [Op; 8] = [
    Op::Small,
    Op::Sector,
    Op::Large,
    Op::RollsOver,
    Op::WatermarkSync,
    Op::CleanStop,
    Op::Snapshot,
    Op::Cut,
];
/// Crashes of one point that are resolved, at most.
const RESOLUTIONS: u64 = 12;

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
            Op::Snapshot => {
                let _ = model.snapshot(&log.snapshots);
                continue;
            }
            Op::Cut => {
                let newest = model.exposed.last().map_or(1, |stored| stored.first.0);
                let _ = model.cut(&log.snapshots, Lsn(newest));
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

/// What a crashed disk shows to the next start, as one number.
fn state_of(disk: &SimDisk) -> u64 {
    let mut hasher = DefaultHasher::new();
    image(disk).hash(&mut hasher);
    hasher.finish()
}

fn crash_everywhere(ops: &[Op], dirs: DirMode, count: &mut Count) {
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
            let mut seen = BTreeSet::new();
            for seed in 0..RESOLUTIONS {
                let what = format!("{ops:?} {dirs:?} crash {when:?} call {n}, resolution {seed}");
                let lost = disk.fork(seed);
                if seed == 0 {
                    lost.kill();
                } else {
                    lost.power_loss();
                }
                if !seen.insert(state_of(&lost)) {
                    continue;
                }
                let deep = (count.points + seed).is_multiple_of(16);
                check(&lost, &model, seed, deep, count, &what);
            }
        }
    }
}

/// All sequences that begin with this operation.
fn beginning_with(first: Op) -> String {
    let mut count = Count::default();
    let deep = std::env::var("RELIVE_SIM_EXHAUSTIVE").is_ok_and(|length| length == "3");
    crash_everywhere(&[first], DirMode::Strict, &mut count);
    for second in ALPHABET {
        crash_everywhere(&[first, second], DirMode::Strict, &mut count);
        for third in ALPHABET.into_iter().filter(|_| deep) {
            crash_everywhere(&[first, second, third], DirMode::Strict, &mut count);
        }
    }
    let workloads = if deep { 73 } else { 9 };
    assert!(count.workloads == workloads && count.states >= 50 * workloads && count.double >= 10 * workloads);
    format!(
        "log exhaustive {first:?}: workloads={} crash_points={} states={} crashes_in_recovery={}",
        count.workloads, count.points, count.states, count.double
    )
}

macro_rules! every_crash_point_of_small_workloads {
    ($($name:ident: $op:ident,)*) => { $(
        #[test]
        fn $name() {
            println!("{}", beginning_with(Op::$op));
        }
    )* };
}

every_crash_point_of_small_workloads! {
    every_crash_point_after_a_small_batch: Small,
    every_crash_point_after_one_sector: Sector,
    every_crash_point_after_several_sectors: Large,
    every_crash_point_after_a_rollover: RollsOver,
    every_crash_point_after_a_watermark_sync: WatermarkSync,
    every_crash_point_after_a_clean_stop: CleanStop,
    every_crash_point_after_a_snapshot: Snapshot,
    every_crash_point_after_a_cut: Cut,
}

/// The other order of names: an ordered prefix of them survives.
#[test]
fn every_crash_point_with_names_in_order() {
    let mut count = Count::default();
    for ops in [
        [Op::RollsOver, Op::RollsOver, Op::Small],
        [Op::RollsOver, Op::Large, Op::RollsOver],
        [Op::Sector, Op::WatermarkSync, Op::Sector],
        [Op::Small, Op::CleanStop, Op::RollsOver],
        [Op::RollsOver, Op::Snapshot, Op::Cut],
    ] {
        crash_everywhere(&ops, DirMode::Ext4, &mut count);
    }
    println!("log exhaustive, names in order: points={} states={}", count.points, count.states);
    assert!(count.states >= 500);
}
