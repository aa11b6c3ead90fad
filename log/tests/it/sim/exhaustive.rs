//! Small workloads, crashed before and after every mutating call; each crash resolved in every way that the fault
//! model allows; some recoveries crashed at every call again.
//!
//! What a power loss may leave is enumerated ([`SimDisk::outcomes`]): every set of names, every length, every version
//! of every unsynced sector, up to a number per crash point and a seeded sample of that many above it. A disk that was
//! seen before under the same demands, after whatever workload, is not checked again. Files named `tmp-…` count as lost
//! or kept as a whole: no recovery reads them, which is checked by making them unreadable.
//!
//! The ordinary run takes every sequence of up to two operations and up to 100 outcomes of a crash. With
//! `RELIVE_SIM_EXHAUSTIVE=3`, as in the campaign, it takes every sequence of up to three and up to 5,000.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::path::{Path, PathBuf};

use relive_log::disk::sim::{DirMode, SimDisk, SimOptions, SimRng, When};
use relive_log::{Lsn, UnixMicros};

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
/// Every so many states the log is opened twice (I6).
const TWICE_EVERY: u64 = 8;
/// Every so many states the recovery is crashed at each of its calls.
const DEEP_EVERY: u64 = 16;
/// States that one campaign must come to see, at least, whatever operation its workloads begin with.
const STATES_MIN: u64 = 40_000;

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

/// Numbers that stand for disks and demands: already spread evenly.
type Seen = HashSet<u64, std::hash::BuildHasherDefault<DefaultHasher>>;

/// What was done.
#[derive(Default)]
struct Count {
    workloads: u64,
    /// Crash points, and those of them that differ from all others in what may follow.
    points: u64,
    distinct_points: u64,
    /// Of the distinct ones: those that have more outcomes than are looked at.
    capped: u64,
    /// Outcomes that were looked at, and those of them that were new and checked.
    enumerated: u64,
    states: u64,
    twice: u64,
    double: u64,
}

impl Count {
    fn line(&self) -> String {
        format!(
            "workloads={} crash_points={} distinct_points={} sampled_points={} enumerated={} states={} \
             opened_twice={} crashes_in_recovery={}",
            self.workloads,
            self.points,
            self.distinct_points,
            self.capped,
            self.enumerated,
            self.states,
            self.twice,
            self.double
        )
    }
}

/// One walk through many workloads.
struct Explorer {
    dirs: DirMode,
    /// Outcomes of one crash that are looked at.
    outcomes_max: usize,
    count: Count,
    points: Seen,
    states: Seen,
}

fn hash_of(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// A file that a recovery removes unread.
fn is_tmp(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"tmp-"))
}

/// The segments, as bytes.
fn segments(disk: &SimDisk) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = disk.files();
    files.retain(|(path, _)| path.starts_with("/data/log"));
    files
}

/// Opens the disk and checks what is there; the number of mutating calls that it took.
fn recover(disk: &SimDisk, model: &mut Model, what: &dyn Fn() -> String) -> u64 {
    for (path, bytes) in disk.files() {
        for sector in (0..bytes.len()).step_by(512).filter(|_| is_tmp(&path)) {
            disk.make_unreadable(&path, sector as u64);
        }
    }
    let start = disk.counts().calls;
    let log = open_sim(disk, &small(), 9).unwrap_or_else(|e| panic!("{}: refused: {e}", what()));
    let calls = disk.counts().calls - start;
    model.check(&log.reader).unwrap_or_else(|e| panic!("{}: {e}", what()));
    let snapshots = model.check_snapshots(&log.snapshots, &log.reader);
    snapshots.unwrap_or_else(|e| panic!("{}: {e}", what()));
    calls
}

impl Explorer {
    fn new(dirs: DirMode, outcomes_max: usize) -> Self {
        let (count, points, states) = (Count::default(), Seen::default(), Seen::default());
        Self { dirs, outcomes_max, count, points, states }
    }

    fn fresh(&self) -> SimDisk {
        SimDisk::new(SimOptions { dirs: self.dirs, ..SimOptions::new(1) })
    }

    /// Crashes the workload at every call after those of its first operations, which were a workload themselves.
    fn workload(&mut self, ops: &[Op]) {
        let calls = |ops: &[Op]| {
            let disk = self.fresh();
            run(&disk, &mut Model::default(), ops);
            disk.counts().calls
        };
        let (before, whole) = match ops {
            [_] => (0, calls(ops)),
            [first @ .., _] => (calls(first), calls(ops)),
            [] => return,
        };
        self.count.workloads += 1;
        for n in before + 1..=whole {
            for when in [When::Before, When::After] {
                let disk = self.fresh();
                disk.crash_at(n, when);
                let mut model = Model::default();
                run(&disk, &mut model, ops);
                assert!(disk.crashed(), "{ops:?}: call {n} of the same run does not come");
                let dirs = self.dirs;
                self.point(&disk, &model, &|| format!("{ops:?} {dirs:?} crash {when:?} call {n}"));
            }
        }
    }

    /// One crash: a kill, and every power loss.
    fn point(&mut self, crashed: &SimDisk, model: &Model, what: &dyn Fn() -> String) {
        self.count.points += 1;
        let demands = hash_of(model);
        let killed = crashed.fork(1);
        killed.kill();
        let cache = hash_of(image(&killed));
        let outcomes = crashed.outcomes(is_tmp);
        if !self.points.insert(hash_of((demands, cache, outcomes.fingerprint()))) {
            return;
        }
        self.count.distinct_points += 1;
        self.state((demands, cache), &killed, model, &|| format!("{}, kill", what()));
        let found = outcomes.all(self.outcomes_max as u128).unwrap_or_else(|| {
            self.count.capped += 1;
            outcomes.sample(self.outcomes_max, &mut SimRng::stream(self.count.points, "outcomes"))
        });
        for outcome in found {
            self.count.enumerated += 1;
            if self.states.insert(hash_of((demands, outcome.hash))) {
                let lost = outcomes.disk(&outcome);
                self.check(&lost, model, &|| format!("{}, power loss {outcome:?}", what()));
            }
        }
    }

    fn state(&mut self, key: (u64, u64), disk: &SimDisk, model: &Model, what: &dyn Fn() -> String) {
        self.count.enumerated += 1;
        if self.states.insert(hash_of(key)) {
            self.check(disk, model, what);
        }
    }

    /// Opens a crashed disk and checks it; sometimes twice; sometimes crashing that recovery at every call.
    fn check(&mut self, crashed: &SimDisk, model: &Model, what: &dyn Fn() -> String) {
        let n = self.count.states;
        self.count.states += 1;
        let disk = crashed.fork(n);
        let mut found = model.clone();
        let calls = recover(&disk, &mut found, what);
        if n.is_multiple_of(TWICE_EVERY) {
            // I6: what was just recovered is recovered as it is, and nothing is written to it.
            let before = segments(&disk);
            disk.kill();
            recover(&disk, &mut found, &|| format!("{}, opened twice", what()));
            assert!(segments(&disk) == before, "I6: {}: the second open changed a segment", what());
            self.count.twice += 1;
        }
        if !n.is_multiple_of(DEEP_EVERY) {
            return;
        }
        for call in 1..=calls {
            let again = crashed.fork(n);
            again.crash_at(again.counts().calls + call, When::After);
            let stopped = open_sim(&again, &small(), 9).is_err();
            assert!(stopped, "{}: recovery ignores a crash at its call {call}", what());
            again.power_loss();
            let what = || format!("{}, recovery crashed at its call {call}", what());
            recover(&again, &mut model.clone(), &what);
            self.count.double += 1;
        }
    }
}

/// All sequences that begin with this operation.
fn beginning_with(first: Op) -> Count {
    let deep = std::env::var("RELIVE_SIM_EXHAUSTIVE").is_ok_and(|length| length == "3");
    let mut explorer = Explorer::new(DirMode::Strict, if deep { 5_000 } else { 100 });
    explorer.workload(&[first]);
    for second in ALPHABET {
        explorer.workload(&[first, second]);
        for third in ALPHABET.into_iter().filter(|_| deep) {
            explorer.workload(&[first, second, third]);
        }
    }
    let count = explorer.count;
    let (workloads, states) = if deep { (73, STATES_MIN) } else { (9, 200) };
    assert_eq!(count.workloads, workloads);
    assert!(count.states >= states && count.twice >= states / TWICE_EVERY, "{}", count.line());
    assert!(count.double >= count.states, "{}", count.line());
    count
}

macro_rules! every_crash_point_of_small_workloads {
    ($($name:ident: $op:ident,)*) => { $(
        #[test]
        fn $name() {
            println!("log exhaustive {}: {}", stringify!($op), beginning_with(Op::$op).line());
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
    let mut explorer = Explorer::new(DirMode::Ext4, 500);
    for ops in [
        [Op::RollsOver, Op::RollsOver, Op::Small],
        [Op::RollsOver, Op::Large, Op::RollsOver],
        [Op::Sector, Op::WatermarkSync, Op::Sector],
        [Op::Small, Op::CleanStop, Op::RollsOver],
        [Op::RollsOver, Op::Snapshot, Op::Cut],
    ] {
        for n in 1..=ops.len() {
            explorer.workload(&ops[..n]);
        }
    }
    println!("log exhaustive, names in order: {}", explorer.count.line());
    assert!(explorer.count.states >= 500);
}

/// The enumeration is of the fault model: whatever a power loss by chance leaves is one of the outcomes.
#[test]
fn a_power_loss_by_chance_is_an_outcome() {
    let ops = [Op::Small, Op::RollsOver, Op::Snapshot];
    let whole = SimDisk::new(SimOptions::new(1));
    run(&whole, &mut Model::default(), &ops);
    let (mut points, mut losses) = (0, 0);
    for n in (1..=whole.counts().calls).step_by(3) {
        let disk = SimDisk::new(SimOptions::new(1));
        disk.crash_at(n, When::After);
        run(&disk, &mut Model::default(), &ops);
        let Some(all) = disk.outcomes(|_| false).all(20_000) else { continue };
        let known: HashSet<u64> = all.iter().map(|outcome| outcome.hash).collect();
        let mut met = HashSet::new();
        for seed in 0..100 {
            let lost = disk.fork(seed);
            lost.power_loss();
            let alone = lost.outcomes(|_| false).all(1).expect("nothing is unsynced after a power loss");
            assert!(known.contains(&alone[0].hash), "call {n}, seed {seed}");
            met.insert(alone[0].hash);
            losses += 1;
        }
        assert!(known.len() < 4 || met.len() > 1, "call {n}: one outcome of {}", known.len());
        points += 1;
    }
    println!("log outcomes: points={points} losses={losses}");
    assert!(points >= 10);
}
