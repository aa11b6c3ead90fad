//! Random long runs: many lives of one log on one simulated disk, with crashes at any mutating call, in recovery
//! too, failed syncs, and swarm profiles that switch kinds of faults on and off.

use relive_log::disk::sim::{DirMode, FailedSync, SimDisk, SimOptions, SimRng, Tearing, When};
use relive_log::recovery::Row;
use relive_log::{AppendError, LogOptions, OpenError, OpenedLog, Purpose, Recycle, Room, StepOutcome};

use super::model::{Model, open_sim, small};

/// What a campaign did; every floor in the tests is on these.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) seeds: u64,
    pub(crate) crashes: u64,
    pub(crate) recoveries: u64,
    pub(crate) crashes_in_recovery: u64,
    pub(crate) sync_errors: u64,
    pub(crate) batches: u64,
    pub(crate) torn_tails: u64,
    pub(crate) old_debris: u64,
    pub(crate) torn_rollovers: u64,
    pub(crate) reaffirmed: u64,
    pub(crate) clean_stops: u64,
    pub(crate) no_space: u64,
    pub(crate) recycled: u64,
    pub(crate) tail_survived: u64,
    pub(crate) snapshots: u64,
    pub(crate) cuts: u64,
    pub(crate) late_walks: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, o: &Tally) {
        for (to, from) in [
            (&mut self.seeds, o.seeds),
            (&mut self.crashes, o.crashes),
            (&mut self.recoveries, o.recoveries),
            (&mut self.crashes_in_recovery, o.crashes_in_recovery),
            (&mut self.sync_errors, o.sync_errors),
            (&mut self.batches, o.batches),
            (&mut self.torn_tails, o.torn_tails),
            (&mut self.old_debris, o.old_debris),
            (&mut self.torn_rollovers, o.torn_rollovers),
            (&mut self.reaffirmed, o.reaffirmed),
            (&mut self.clean_stops, o.clean_stops),
            (&mut self.no_space, o.no_space),
            (&mut self.recycled, o.recycled),
            (&mut self.tail_survived, o.tail_survived),
            (&mut self.snapshots, o.snapshots),
            (&mut self.cuts, o.cuts),
            (&mut self.late_walks, o.late_walks),
        ] {
            *to += from;
        }
    }

    pub(crate) fn line(&self) -> String {
        format!(
            "seeds={} crashes={} recoveries={} crashes_in_recovery={} sync_errors={} batches={} torn_tails={} \
             old_debris={} torn_rollovers={} reaffirmed={} tail_survived={} clean_stops={} no_space={} recycled={} \
             snapshots={} cuts={} late_walks={}",
            self.seeds,
            self.crashes,
            self.recoveries,
            self.crashes_in_recovery,
            self.sync_errors,
            self.batches,
            self.torn_tails,
            self.old_debris,
            self.torn_rollovers,
            self.reaffirmed,
            self.tail_survived,
            self.clean_stops,
            self.no_space,
            self.recycled,
            self.snapshots,
            self.cuts,
            self.late_walks,
        )
    }
}

/// One seed's world.
pub(crate) struct World {
    pub(crate) disk: SimDisk,
    pub(crate) model: Model,
    pub(crate) options: LogOptions,
    rng: SimRng,
    sizes: Sizes,
    /// The disk is full now and then.
    fills_up: bool,
    now: u64,
    /// Of the last recovery that completed.
    epoch: u32,
    pub(crate) tally: Tally,
}

/// Which body sizes a profile uses.
#[derive(Clone, Copy, Debug)]
enum Sizes {
    /// Every frame exactly one sector: the profile that lets old frames line up with new ones.
    OneSector,
    Small,
    Mixed,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = SimRng::stream(seed, "profile");
        let pick = |rng: &mut SimRng, chance: u32, value: u32| if rng.per_mille(chance) { value } else { 0 };
        let disk_options = SimOptions {
            dirs: if rng.per_mille(700) { DirMode::Strict } else { DirMode::Ext4 },
            tearing: if rng.per_mille(500) { Tearing::Sectors } else { Tearing::InsideSectors },
            failed_sync: if rng.per_mille(700) { FailedSync::KeepCache } else { FailedSync::RevertCache },
            sync_error_per_mille: pick(&mut rng, 500, 12),
            write_error_per_mille: pick(&mut rng, 200, 4),
            short_io_per_mille: pick(&mut rng, 300, 60),
            evict_per_mille: pick(&mut rng, 500, 200),
            ..SimOptions::new(seed)
        };
        let sizes = match rng.below(3) {
            0 => Sizes::OneSector,
            1 => Sizes::Small,
            _ => Sizes::Mixed,
        };
        let options = LogOptions {
            segment_bytes: if rng.per_mille(700) { 16 << 10 } else { 32 << 10 },
            align_log2: Some([9, 9, 9, 9, 12][rng.index(5)]),
            spares: if rng.per_mille(500) { 1 } else { 2 },
            walk_bytes_min: [0, 20 << 10, 64 << 20][rng.index(3)],
            recycle: [Recycle::Zero, Recycle::Reuse, Recycle::Off][rng.index(3)],
            ..small()
        };
        let tally = Tally { seeds: 1, ..Tally::default() };
        Self {
            disk: SimDisk::new(disk_options),
            model: Model::default(),
            options,
            fills_up: rng.per_mille(300),
            rng,
            sizes,
            now: 1_000_000,
            epoch: 0,
            tally,
        }
    }

    fn batch_sizes(&mut self) -> Vec<usize> {
        let rng = &mut self.rng;
        match self.sizes {
            Sizes::OneSector => vec![440],
            Sizes::Small => (0..1 + rng.below(3)).map(|_| 8 + rng.index(200)).collect(),
            Sizes::Mixed => {
                const EDGES: [usize; 10] = [8, 9, 100, 439, 440, 441, 1000, 4023, 4024, 7000];
                let n = if rng.per_mille(800) { 1 } else { 3 };
                let all: Vec<_> = (0..n).map(|_| EDGES[rng.index(EDGES.len())]).collect();
                if all.iter().sum::<usize>() > 8000 { vec![440] } else { all }
            }
        }
    }

    fn crash(&mut self) {
        self.tally.crashes += 1;
        if self.rng.per_mille(600) {
            self.disk.power_loss();
        } else {
            self.disk.kill();
        }
    }

    /// Opens until a recovery completes, crashing inside it now and then; then checks what is there.
    pub(crate) fn open(&mut self) -> Result<OpenedLog, String> {
        // A recovery writes a few small files; that they find no room is not what is tried here.
        self.disk.adjust(|o| o.capacity_bytes = None);
        for attempt in 0..60 {
            if attempt < 12 && self.rng.per_mille(400) {
                let when = if self.rng.per_mille(500) { When::Before } else { When::After };
                self.disk.crash_at(self.disk.counts().calls + 1 + self.rng.below(25), when);
            }
            if attempt == 12 {
                self.disk.adjust(|o| {
                    o.sync_error_per_mille = 0;
                    o.write_error_per_mille = 0;
                });
            }
            self.now += self.rng.below(50);
            match open_sim(&self.disk, &self.options, self.now) {
                Ok(log) => {
                    self.disk.disarm();
                    self.note_recovery(&log);
                    let before = self.model.exposed.len();
                    self.model.check(&log.reader)?;
                    self.model.check_snapshots(&log.snapshots, &log.reader)?;
                    self.check_opened(&log)?;
                    self.tally.tail_survived += u64::from(self.model.exposed.len() > before);
                    return Ok(log);
                }
                Err(OpenError::Io { .. }) => {
                    self.tally.crashes_in_recovery += 1;
                    self.crash();
                }
                Err(error) => return Err(format!("refused without corruption: {error}")),
            }
        }
        Err("recovery does not complete".to_owned())
    }

    /// I4: a new epoch with every open. R12: nothing of an earlier life is left lying about.
    fn check_opened(&mut self, log: &OpenedLog) -> Result<(), String> {
        if log.report.epoch <= self.epoch {
            return Err(format!("I4: epoch {} after {}", log.report.epoch, self.epoch));
        }
        self.epoch = log.report.epoch;
        let leftover = self.disk.files().into_iter().map(|(path, _)| path).find(|path| {
            path.starts_with("/data/log")
                && path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"tmp-"))
        });
        leftover.map_or(Ok(()), |path| Err(format!("R12: {} was left", path.display())))
    }

    fn note_recovery(&mut self, log: &OpenedLog) {
        self.tally.recoveries += 1;
        let report = &log.report;
        self.tally.torn_tails += u64::from(matches!(report.row, Row::TornSibling | Row::TornAlone));
        self.tally.old_debris += u64::from(report.row == Row::OldDebris);
        self.tally.reaffirmed += report.reaffirmed_groups;
        self.tally.late_walks += u64::from(report.walked_from > report.start_lsn);
        let lost = self.model.submitted.first().is_some_and(|s| s.first > report.valid_lsn);
        let rolled = self.model.submitted.first().is_some_and(|s| s.pos.segment > report.end_segment);
        self.tally.torn_rollovers += u64::from(lost && rolled && report.truncated_bytes > 0);
    }

    /// One random thing.
    fn act(&mut self, log: &mut OpenedLog) -> Result<(), String> {
        self.now = if self.rng.per_mille(50) {
            self.now - self.now.min(500)
        } else {
            self.now + self.rng.below(100)
        };
        if self.rng.per_mille(25) {
            self.tally.snapshots += u64::from(self.model.snapshot(&log.snapshots)?);
        }
        if self.rng.per_mille(25) {
            let newest = self.model.exposed.last().map_or(1, |stored| stored.first.0);
            let keep_from = relive_log::Lsn(newest - self.rng.below(20).min(newest - 1));
            self.tally.cuts += u64::from(self.model.cut(&log.snapshots, keep_from)?);
        }
        if self.disk.crashed() || log.durability.poisoned().is_some() {
            return Ok(());
        }
        match self.rng.below(10) {
            0..=3 => {
                let sizes = self.batch_sizes();
                self.tally.batches += 1;
                let purpose = if self.rng.per_mille(500) { Purpose::NewWork } else { Purpose::Ending };
                let done = self.model.append_for(log, purpose, &sizes, relive_log::UnixMicros(self.now))?;
                if done == Err(AppendError::NoSpace) {
                    self.tally.no_space += 1;
                    if log.supply.room() == Room::Ample {
                        return Err("L20: refused for room that is ample".to_owned());
                    }
                }
            }
            4..=7 => {
                if log.committer.step() == StepOutcome::Poisoned && log.durability.poisoned().is_none() {
                    return Err("poisoned without a reason".to_owned());
                }
            }
            8 => {
                if self.fills_up {
                    let full = self.rng.per_mille(500);
                    self.disk.adjust(|o| o.capacity_bytes = full.then_some(1));
                }
                log.preparer.step();
            }
            _ => self.read_one(log)?,
        }
        self.model.note_durable(log.durability.durable());
        Ok(())
    }

    /// Reads a batch by position and by LSN; what was shown must be readable and the same.
    fn read_one(&mut self, log: &OpenedLog) -> Result<(), String> {
        if self.disk.crashed() || self.model.exposed.is_empty() {
            return Ok(());
        }
        let n = self.rng.index(self.model.exposed.len());
        let expect = &self.model.exposed[n];
        let frame = log.reader.read_frame(expect.pos).map_err(|e| format!("I5: {e}"))?;
        let bodies: Vec<_> = frame.records().map(|record| record.body.to_vec()).collect();
        let info = log.reader.frame_of(expect.last()).map_err(|e| format!("I5: {e}"))?;
        if bodies != expect.bodies || info.pos != expect.pos || info.first_lsn != expect.first {
            return Err(format!("I5: LSN {} reads differently", expect.first));
        }
        Ok(())
    }

    /// One life: from an open log to its end, in order or not.
    pub(crate) fn live(&mut self, mut log: OpenedLog) -> Result<(), String> {
        if self.rng.per_mille(700) {
            let when = if self.rng.per_mille(500) { When::Before } else { When::After };
            self.disk.crash_at(self.disk.counts().calls + 1 + self.rng.below(80), when);
        }
        for _ in 0..20 + self.rng.below(80) {
            self.act(&mut log)?;
            if self.disk.crashed() || log.durability.poisoned().is_some() {
                break;
            }
        }
        if !self.disk.crashed() && log.durability.poisoned().is_none() && self.rng.per_mille(300) {
            while matches!(
                log.committer.step(),
                StepOutcome::WaitingForSegment { .. } | StepOutcome::Wrote { .. }
            ) {
                log.preparer.step();
            }
            let closed = log.committer.close();
            self.disk.adjust(|o| o.capacity_bytes = None);
            self.model.note_durable(log.durability.durable());
            self.tally.clean_stops += u64::from(closed.is_ok());
        }
        self.tally.recycled += log.supply.recycled();
        drop(log);
        self.crash();
        Ok(())
    }

    /// I6: opening what was just recovered changes nothing.
    fn open_twice(&mut self) -> Result<(), String> {
        let log = self.open()?;
        drop(log);
        self.disk.kill();
        let log = self.open()?;
        drop(log);
        self.crash();
        Ok(())
    }
}

/// Runs one seed; returns its tally and trace hash, or the violation.
pub(crate) fn run_seed(seed: u64) -> Result<(Tally, u64), String> {
    let mut world = World::new(seed);
    for life in 0..8 {
        let log = world.open()?;
        world.live(log)?;
        if life % 4 == 3 {
            world.open_twice()?;
        }
    }
    drop(world.open()?);
    world.tally.sync_errors = world.disk.counts().sync_errors;
    Ok((world.tally, world.disk.trace_hash()))
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|n| n.parse().ok())
}

/// Seeds to run: `RELIVE_SIM_SEEDS`, or 400.
pub(crate) fn seed_count() -> u64 {
    number("RELIVE_SIM_SEEDS").unwrap_or(400)
}

/// The first of them: `RELIVE_SIM_FIRST_SEED`, or 0.
pub(crate) fn first_seed() -> u64 {
    number("RELIVE_SIM_FIRST_SEED").unwrap_or(0)
}

/// The seeds of one quarter: the quarters run beside each other.
fn quarter(part: u64) -> String {
    // L4: the model compares whole batches; a part of one, or of a group, is a violation.
    let mut tally = Tally::default();
    for seed in (part..seed_count()).step_by(4).map(|n| first_seed() + n) {
        match run_seed(seed) {
            Ok((one, _)) => tally.add(&one),
            Err(violation) => panic!("SEED={seed}: {violation}"),
        }
    }
    let floors = [
        ("recoveries", tally.recoveries, 9 * tally.seeds),
        ("crashes in recovery", tally.crashes_in_recovery, tally.seeds),
        ("sync errors", tally.sync_errors, tally.seeds / 8),
        ("torn tails", tally.torn_tails, tally.seeds / 8),
        ("torn rollovers", tally.torn_rollovers, tally.seeds / 80),
        ("reaffirmed groups", tally.reaffirmed, tally.seeds / 4),
        ("tails that survived without an acknowledgement", tally.tail_survived, tally.seeds / 8),
        ("clean stops", tally.clean_stops, tally.seeds / 16),
        ("snapshots", tally.snapshots, tally.seeds / 2),
        ("cuts of the log's beginning", tally.cuts, tally.seeds / 20),
        ("walks that begin late", tally.late_walks, tally.seeds / 20),
        ("appends refused for want of room", tally.no_space, tally.seeds / 8),
        ("recycled segments", tally.recycled, tally.seeds / 40),
    ];
    for (what, got, floor) in floors {
        assert!(got >= floor, "{what}: {got} is under the floor of {floor}");
    }
    format!("log campaign, quarter {part}: {}", tally.line())
}

#[test]
fn l12_random_lives_keep_every_acknowledged_event_1() {
    println!("{}", quarter(0));
}

#[test]
fn l12_random_lives_keep_every_acknowledged_event_2() {
    println!("{}", quarter(1));
}

#[test]
fn l12_random_lives_keep_every_acknowledged_event_3() {
    println!("{}", quarter(2));
}

#[test]
fn l12_random_lives_keep_every_acknowledged_event_4() {
    println!("{}", quarter(3));
}

/// Found once by chance among fresh seeds.
const FAILED_ONCE: [u64; 1] = [
    // Leftovers were removed while the MANIFEST that does not name them stood in the page cache only.
    1_795_732_005_960_270,
];

#[test]
fn seeds_that_failed_once() {
    for seed in FAILED_ONCE {
        run_seed(seed).unwrap_or_else(|violation| panic!("SEED={seed}: {violation}"));
    }
}

#[test]
fn same_seed_same_trace() {
    for seed in [0, 7, 99] {
        assert_eq!(run_seed(seed).map(|r| r.1), run_seed(seed).map(|r| r.1), "I19: seed {seed}");
    }
    assert_ne!(run_seed(1).map(|r| r.1), run_seed(2).map(|r| r.1), "the trace says something");
}
