//! Snapshots and the cut of the log's beginning, on the simulated disk: the container under damage, a crash at every
//! mutating call of an installation and of a cut, where the walk begins (R4), the scrubber.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use relive_log::disk::sim::{SimDisk, SimOptions, SimRng, When};
use relive_log::disk::{Disk, RealDisk};
use relive_log::snapshot::{ScrubStep, SnapshotKind};
use relive_log::{
    Batch, FreshIdentity, LogOptions, Lsn, OpenError, OpenedLog, ReadError, Recycle, SnapshotError,
    SnapshotSyncErrors, StepOutcome, UnixMicros,
};

use crate::sim::model::{Model, dir, image, open_sim, segment, small};

/// One segment at least is walked, and as little as that allows.
pub(crate) fn late() -> LogOptions {
    LogOptions { walk_bytes_min: 0, recycle: Recycle::Off, ..small() }
}

pub(crate) struct World {
    pub(crate) disk: SimDisk,
    pub(crate) model: Model,
    pub(crate) log: OpenedLog,
}

fn settle(log: &mut OpenedLog) {
    loop {
        match log.committer.step() {
            StepOutcome::Wrote { .. } | StepOutcome::Synced { .. } => {}
            StepOutcome::WaitingForSegment { .. } => {
                log.preparer.step();
            }
            _ => return,
        }
    }
}

impl World {
    /// `batches` batches, two to a segment.
    fn new(batches: usize) -> Self {
        let disk = SimDisk::new(SimOptions::new(1));
        let log = open_sim(&disk, &late(), 1).unwrap();
        let mut world = Self { disk, model: Model::default(), log };
        world.append(batches);
        world
    }

    pub(crate) fn append(&mut self, batches: usize) {
        for _ in 0..batches {
            self.model.append_with_room(&mut self.log, &[2000, 3000], UnixMicros(5));
            settle(&mut self.log);
        }
        self.model.note_durable(self.log.durability.durable());
    }

    pub(crate) fn snapshot(&mut self) -> Lsn {
        assert!(self.model.snapshot(&self.log.snapshots).unwrap());
        self.log.snapshots.newest()
    }

    /// Two snapshots and a cut below the older one.
    pub(crate) fn cut(batches: usize) -> Self {
        let mut world = World::new(batches);
        world.snapshot();
        world.append(1);
        world.snapshot();
        assert!(world.model.cut(&world.log.snapshots, Lsn::MAX).unwrap());
        world
    }

    fn reopen(mut self) -> Self {
        drop(self.log);
        self.disk.kill();
        self.log = open_sim(&self.disk, &late(), 9).unwrap();
        self.model.check(&self.log.reader).unwrap();
        self.model.check_snapshots(&self.log.snapshots, &self.log.reader).unwrap();
        self
    }
}

pub(crate) fn state_path(lsn: Lsn) -> PathBuf {
    dir().join(format!("snapshots/snap-{:020}.snap", lsn.0))
}

pub(crate) fn base_path(lsn: Lsn) -> PathBuf {
    dir().join(format!("snapshots/base-{:020}.snap", lsn.0))
}

fn exists(disk: &SimDisk, path: &PathBuf) -> bool {
    disk.files().iter().any(|(found, _)| found == path)
}

/// What a policy for snapshots goes by: how much log there is behind the newest one.
#[test]
fn bytes_behind_the_newest_snapshot() {
    let log = open_sim(&SimDisk::new(SimOptions::new(2)), &late(), 1).unwrap();
    assert_eq!(log.snapshots.free_space().unwrap(), u64::MAX, "a simulated disk without a limit");
    let mut world = World::new(1);
    let snapshots = world.log.snapshots.clone();
    assert_eq!(snapshots.segment_bytes(), small().segment_bytes);
    assert_eq!(snapshots.bytes_since_newest(), 512 + 5 * 1024, "an Open frame and a batch, padded");
    let newest = world.snapshot();
    assert_eq!(
        snapshots.list().last().map(|info| (info.last_lsn, info.log_start)),
        Some((newest, Lsn::FIRST))
    );
    let batch = snapshots.bytes_since_newest();
    world.append(2);
    assert!(world.model.exposed.last().unwrap().pos.segment == 2, "the last batch stands in another segment");
    assert!(snapshots.bytes_since_newest() > batch + small().segment_bytes / 2);
    world.snapshot();
    world.append(2);
    world.snapshot();
    assert!(world.model.cut(&snapshots, Lsn::MAX).unwrap());
    world.append(1);
    let newest = world.snapshot();
    let start = world.log.reader.first_lsn();
    assert!(start > Lsn::FIRST);
    assert_eq!(snapshots.list().last().map(|info| (info.last_lsn, info.log_start)), Some((newest, start)));
}

#[test]
fn l13_a_snapshot_is_read_back_as_it_was_written_and_found_by_the_next_open() {
    let mut world = World::new(3);
    let lsn = world.snapshot();
    assert_eq!(world.log.snapshots.list().len(), 1);
    let info = world.log.snapshots.verify(lsn).unwrap();
    assert_eq!((info.kind, info.last_lsn, info.schema, info.items), (SnapshotKind::State, Lsn(6), 7, 4));
    assert_eq!((info.digest, info.log_start), (6, Lsn(1)));
    world.disk.power_loss();
    let log = open_sim(&world.disk, &late(), 9).unwrap();
    assert_eq!((log.report.snapshot_lsn, log.snapshots.list()), (Some(lsn), vec![info]));
    assert!(log.report.damaged_snapshots.is_empty());
}

#[test]
fn what_is_no_state_gets_no_snapshot() {
    let mut world = World::new(2);
    let begin = |world: &World, lsn| world.log.snapshots.begin(lsn, 1, UnixMicros(1)).map(|_| ());
    assert!(matches!(begin(&world, Lsn(9)), Err(SnapshotError::NotDurable { durable: Lsn(4), .. })));
    assert!(matches!(begin(&world, Lsn(0)), Err(SnapshotError::NotDurable { .. })));
    assert!(matches!(begin(&world, Lsn(3)), Err(SnapshotError::InsideBatch { ends: Lsn(4), .. })));
    let lsn = world.snapshot();
    assert!(matches!(begin(&world, lsn), Err(SnapshotError::Exists { .. })));
    assert!(matches!(world.log.snapshots.read(Lsn(2)), Err(SnapshotError::Missing { .. })));
    // A writer that is dropped leaves nothing.
    world.append(1);
    let before = image(&world.disk).len();
    begin(&world, Lsn(6)).unwrap();
    assert_eq!(image(&world.disk).len(), before);
}

#[test]
fn l14_two_are_kept_and_a_damaged_one_is_passed_over() {
    let mut world = World::new(1);
    let mut taken = Vec::new();
    for _ in 0..4 {
        taken.push(world.snapshot());
        world.append(1);
    }
    let names: Vec<_> = taken.iter().map(|lsn| exists(&world.disk, &state_path(*lsn))).collect();
    assert_eq!(names, [false, false, true, true]);
    let mut world = world.reopen();
    let newest = state_path(taken[3]);
    for offset in [10, 4100, 60_000, 69_600] {
        world.disk.rot(&newest, offset, |byte| byte ^ 1);
        let again = world.disk.fork(1);
        let log = open_sim(&again, &late(), 9).unwrap();
        assert_eq!(log.report.snapshot_lsn, Some(taken[2]), "byte {offset}");
        assert_eq!(log.report.damaged_snapshots.len(), 1);
        world.disk.rot(&newest, offset, |byte| byte ^ 1);
    }
    // Found while it is open.
    world.disk.rot(&newest, 4200, |byte| byte ^ 1);
    assert!(matches!(world.log.snapshots.verify(taken[3]), Err(SnapshotError::Damaged { .. })));
    assert_eq!(world.log.snapshots.newest(), taken[2]);
    assert!(world.log.snapshots.plan_cut(Lsn::MAX).unwrap().is_none(), "L14: one is not two");
    world.append(1);
    world.snapshot();
    assert_eq!(world.log.snapshots.list().len(), 2);
}

/// What a policy asks before it takes a snapshot for the sake of a cut.
#[test]
fn a_cut_waits_for_snapshots_only_while_they_would_let_more_go() {
    let mut world = World::new(6);
    let waits = |world: &World, keep_from| world.log.snapshots.waits_for_snapshots(keep_from);
    assert!(waits(&world, Lsn::MAX), "there is none, and whole segments could go");
    assert!(!waits(&world, Lsn::FIRST), "everything is kept");
    world.append(1);
    let older = world.snapshot();
    assert!(waits(&world, Lsn::MAX), "one is not two");
    world.append(1);
    world.snapshot();
    assert!(!waits(&world, Lsn::MAX), "all but the last segment can go already");
    world.append(3);
    assert!(waits(&world, Lsn::MAX), "newer ones would let another one go");
    assert!(!waits(&world, older), "which is kept");
}

/// Every part of a file matters: whatever is changed or cut off is noticed by a full read.
#[test]
fn every_truncation_and_bit_flip_of_an_installed_snapshot_is_noticed() {
    let mut world = World::new(1);
    let lsn = world.snapshot();
    let path = state_path(lsn);
    let len = world.disk.files().into_iter().find(|(p, _)| *p == path).unwrap().1.len() as u64;
    let mut rng = SimRng::stream(1, "bits");
    let edges = (0..160).chain(4090..4130).chain(len - 80..len);
    let mut flips = 0;
    for offset in edges.chain((0..200).map(|_| rng.below(len))).collect::<Vec<_>>() {
        let disk = world.disk.fork(1);
        let bit = rng.index(8);
        disk.rot(&path, offset, |byte| byte ^ (1 << bit));
        disk.kill();
        let log = open_sim(&disk, &late(), 9).unwrap();
        assert!(log.snapshots.list().is_empty(), "byte {offset} bit {bit}");
        flips += 1;
    }
    for cut in [0, 1, 4095, 4096, 5000, len - 64, len - 1] {
        let disk = world.disk.fork(1);
        disk.cut(&path, cut);
        disk.kill();
        assert!(open_sim(&disk, &late(), 9).unwrap().snapshots.list().is_empty(), "cut to {cut}");
    }
    println!("snapshot damage: bytes={len} flips={flips}");
}

#[test]
fn l10_l14_a_cut_goes_by_whole_segments_below_the_older_snapshot_and_keeps_what_it_is_told() {
    let mut world = World::cut(7);
    let start = world.log.reader.first_lsn();
    assert!(start > Lsn(1) && start <= Lsn(15));
    world.model.check_kept(&world.log.reader).unwrap();
    assert!(
        matches!(world.log.reader.scan(Lsn(1)), Err(ReadError::BelowStart { lsn: Lsn(1), first, .. }) if first == start)
    );
    assert!(matches!(world.log.reader.frame_of(start.prev()), Err(ReadError::BelowStart { .. })));
    assert!(matches!(world.log.reader.frame_of(Lsn(99)), Err(ReadError::NotDurable { .. })));
    assert!(!exists(&world.disk, &segment(1)));
    assert_eq!(world.log.snapshots.base().map(|base| base.last_lsn), Some(start.prev()));
    // Again: nothing to cut before there are newer snapshots.
    assert!(!world.model.cut(&world.log.snapshots, Lsn::MAX).unwrap());
    let mut world = world.reopen();
    assert_eq!(world.log.report.start_lsn, start);
    // What was kept is kept by the next base, or given up.
    world.append(5);
    world.snapshot();
    world.append(1);
    world.snapshot();
    assert!(world.model.cut(&world.log.snapshots, Lsn::MAX).unwrap());
    let world = world.reopen();
    assert!(world.log.reader.first_lsn() > start);
    assert!(!exists(&world.disk, &base_path(start.prev())));
}

#[test]
fn a_scan_that_a_cut_overtakes_gets_an_error_and_skips_nothing() {
    let mut world = World::new(7);
    world.snapshot();
    world.append(1);
    world.snapshot();
    let mut scan = world.log.reader.scan(Lsn(1)).unwrap();
    assert_eq!(scan.next().unwrap().unwrap().first_lsn, Lsn(1));
    assert!(world.model.cut(&world.log.snapshots, Lsn::MAX).unwrap());
    let start = world.log.reader.first_lsn();
    let next = scan.find_map(|frame| match frame {
        Ok(frame) => (frame.first_lsn >= start).then_some(Ok(frame.first_lsn)),
        Err(error) => Some(Err(error)),
    });
    assert!(matches!(next, Some(Err(ReadError::Cut { .. }))), "{next:?}");
}

/// L13, L15: a crash before or after every mutating call of an installation and of a cut, resolved in several ways.
#[test]
fn l15_every_crash_point_of_an_installation_and_of_a_cut() {
    type Act = fn(&mut Model, &OpenedLog);
    let install: Act = |model, log| model.snapshot(&log.snapshots).map(|_| ()).unwrap();
    let cut: Act = |model, log| model.cut(&log.snapshots, Lsn::MAX).map(|_| ()).unwrap();
    let (mut points, mut states) = (0, 0);
    for act in [install, cut] {
        let prepare = || {
            let mut world = World::new(7);
            world.snapshot();
            world.append(1);
            world.snapshot();
            world.append(1);
            world
        };
        let mut whole = prepare();
        let start = whole.disk.counts().calls;
        act(&mut whole.model, &whole.log);
        let calls = whole.disk.counts().calls - start;
        assert!(calls > 8);
        for n in 1..=calls {
            for when in [When::Before, When::After] {
                let mut world = prepare();
                world.disk.crash_at(start + n, when);
                act(&mut world.model, &world.log);
                assert!(world.disk.crashed(), "call {n}");
                points += 1;
                for seed in 0..12 {
                    let disk = world.disk.fork(seed);
                    if seed == 0 {
                        disk.kill()
                    } else {
                        disk.power_loss()
                    }
                    let mut model = world.model.clone();
                    let what = format!("{when:?} call {n}, resolution {seed}");
                    check_recovers(&disk, &mut model, &what);
                    states += 1;
                }
            }
        }
    }
    println!("snapshot crash points: points={points} states={states}");
}

/// Opens, checks; and again, since an open removes what was left behind.
#[track_caller]
fn check_recovers(disk: &SimDisk, model: &mut Model, what: &str) {
    for _ in 0..2 {
        let log = open_sim(disk, &late(), 9).unwrap_or_else(|e| panic!("{what}: {e}"));
        model.check(&log.reader).unwrap_or_else(|e| panic!("{what}: {e}"));
        model.check_snapshots(&log.snapshots, &log.reader).unwrap_or_else(|e| panic!("{what}: {e}"));
        let unfinished = |path: &Path| path.display().to_string().contains("snapshots/tmp-");
        assert!(!disk.files().iter().any(|(path, _)| unfinished(path)), "{what}");
        drop(log);
        disk.kill();
    }
}

#[test]
fn failures_of_a_snapshot_and_of_a_cut() {
    // create, header, block, block, footer, sync, rename, sync directory, …
    let mut world = World::new(2);
    world.snapshot();
    world.append(1);
    for (nth, errno, poisons) in [(1, 28, false), (3, 28, false), (4, 5, false), (6, 5, true)] {
        let disk = world.disk.fork(1);
        disk.kill();
        let log = open_sim(&disk, &late(), 9).unwrap();
        disk.fail_at(disk.counts().calls + nth, errno);
        assert!(!world.model.clone().snapshot(&log.snapshots).unwrap(), "call {nth}");
        assert_eq!(log.durability.poisoned().is_some(), poisons, "call {nth}");
        if !poisons {
            assert!(!disk.files().iter().any(|(path, _)| path.display().to_string().contains("tmp-")));
            assert!(world.model.clone().snapshot(&log.snapshots).unwrap(), "it works again");
        }
    }
    let disk = world.disk.fork(1);
    disk.kill();
    let options = LogOptions { snapshot_sync_errors: SnapshotSyncErrors::Report, ..late() };
    let log = open_sim(&disk, &options, 9).unwrap();
    disk.fail_at(disk.counts().calls + 6, 5);
    assert!(!world.model.clone().snapshot(&log.snapshots).unwrap());
    assert!(log.durability.poisoned().is_none(), "a device of its own");
}

/// R4: what lies below the walk is found by one small read a segment, and read as before.
#[test]
fn r4_the_walk_begins_at_the_newest_snapshot() {
    let mut world = World::new(12);
    world.snapshot();
    world.append(1);
    let world = world.reopen();
    let report = &world.log.report;
    assert!(report.walked_from > Lsn(1) && report.walked_from <= Lsn(25), "{report:?}");
    assert!(report.batches < 6);
    for stored in &world.model.exposed {
        let found = world.log.reader.frame_of(stored.last()).unwrap();
        assert_eq!((found.pos, found.first_lsn), (stored.pos, stored.first));
    }
    let at = |time| world.log.reader.frame_at_time(UnixMicros(time)).unwrap().map(|frame| frame.last_lsn);
    assert_eq!((at(4), at(5)), (None, Some(Lsn(26))));
    let segments = world.log.reader.segments();
    assert!(segments.len() >= 6 && segments.windows(2).all(|w| w[0].first_lsn < w[1].first_lsn));
    // Without a snapshot everything is walked.
    world.disk.lose(&state_path(Lsn(24)));
    let disk = world.disk.fork(1);
    disk.kill();
    let log = open_sim(&disk, &late(), 9).unwrap();
    assert_eq!((log.report.walked_from, log.report.batches), (Lsn(1), 13));
}

/// Damage below the walk is an error of the reads that meet it, found by the scrubber, and does not keep the log shut.
#[test]
fn l16_deep_damage_is_a_typed_error_of_reads_and_found_by_the_scrubber() {
    let mut world = World::new(12);
    world.snapshot();
    world.append(1);
    let pos = world.model.exposed[3].pos;
    world.disk.rot(&segment(pos.segment), u64::from(pos.offset + 100), |byte| byte ^ 1);
    drop(world.log);
    world.disk.kill();
    let mut log = open_sim(&world.disk, &late(), 9).unwrap();
    assert!(matches!(log.reader.read_frame(pos), Err(ReadError::Damaged { pos: at, .. }) if at == pos));
    assert!(log.reader.read_frame(world.model.exposed[4].pos).is_ok());
    let status = log.scrubber.status();
    let mut steps = 0;
    let until = loop {
        match log.scrubber.step(UnixMicros(77), 3000) {
            ScrubStep::Read { bytes } => assert!(bytes < 100_000),
            ScrubStep::Idle { until } => break until,
            ScrubStep::Poisoned => panic!(),
        }
        steps += 1;
    };
    assert!(steps > 10 && until > UnixMicros(77));
    let found = status.lock().clone();
    assert_eq!((found.errors, found.passes, found.oldest_unverified), (1, 1, Some(UnixMicros(77))));
    let first = &found.damage[0];
    assert_eq!((first.offset, first.check.as_str()), (Some(pos.offset), "payload checksum"));
    let (from, to) = first.lsns.unwrap();
    assert!(from <= Lsn(7) && to >= Lsn(8), "{from} {to}");
    assert!(found.bytes > 60_000);
    // Put back: the next pass takes the mark away.
    world.disk.rot(&segment(pos.segment), u64::from(pos.offset + 100), |byte| byte ^ 1);
    while !matches!(log.scrubber.step(until, 1 << 20), ScrubStep::Idle { .. }) {}
    let found = status.lock().clone();
    assert_eq!((found.damage.len(), found.passes, found.errors), (0, 2, 1));
}

#[test]
fn l16_the_scrubber_reads_snapshots_and_the_base() {
    for which in [0, 1] {
        let mut world = World::cut(7).reopen();
        let newest = world.log.snapshots.newest();
        let path =
            if which == 0 { state_path(newest) } else { base_path(world.log.reader.first_lsn().prev()) };
        world.disk.rot(&path, 4110, |byte| byte ^ 1);
        while !matches!(world.log.scrubber.step(UnixMicros(5), 1 << 16), ScrubStep::Idle { .. }) {}
        let found = world.log.scrubber.status().lock().clone();
        assert_eq!(found.damage.len(), 1, "{found:?}");
        assert_eq!(found.damage[0].file, path.file_name().unwrap().to_string_lossy());
        assert_eq!(world.log.snapshots.newest() == newest, which == 1);
    }
}

#[track_caller]
fn refuses(world: World, damage: impl Fn(&SimDisk), says: &str) {
    drop(world.log);
    world.disk.kill();
    damage(&world.disk);
    let before = image(&world.disk);
    let error = open_sim(&world.disk, &late(), 9).map(|log| log.report).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }) && error.to_string().contains(says), "{error}");
    assert!(image(&world.disk) == before, "L11: a refusal touches nothing");
}

#[test]
fn r4_a_gap_or_a_missing_base_refuses() {
    let world = World::cut(7);
    let states: Vec<_> = world.log.snapshots.list().iter().map(|info| state_path(info.last_lsn)).collect();
    refuses(world, |disk| states.iter().for_each(|path| disk.lose(path)), "no snapshot that is sound");
    let world = World::cut(7);
    let base = base_path(world.log.reader.first_lsn().prev());
    refuses(world, |disk| disk.lose(&base), "the file is missing");
    let world = World::cut(7);
    let base = base_path(world.log.reader.first_lsn().prev());
    refuses(world, |disk| disk.rot(&base, 20, |byte| byte ^ 1), "header");
}

#[test]
fn r4_a_damaged_first_frame_below_the_walk_refuses() {
    let mut world = World::new(12);
    world.snapshot();
    world.append(1);
    refuses(
        world,
        |disk| disk.rot(&segment(3), 4100, |byte| byte ^ 1),
        "first frame of segment seg-0000000000000003.log",
    );
}

/// A snapshot of another history, as a restored image of the log leaves it behind.
#[test]
fn r4_a_snapshot_of_another_history_is_passed_over() {
    let mut world = World::new(2);
    let lsn = world.snapshot();
    let mut other = World::new(1);
    other.model.append(&mut other.log, &[2000, 3001], UnixMicros(5)).unwrap();
    settle(&mut other.log);
    other.model.note_durable(other.log.durability.durable());
    assert!(other.model.snapshot(&other.log.snapshots).unwrap());
    let bytes = other.disk.files().into_iter().find(|(path, _)| *path == state_path(lsn)).unwrap().1;
    for (offset, byte) in bytes.into_iter().enumerate() {
        world.disk.rot(&state_path(lsn), offset as u64, |_| byte);
    }
    drop(world.log);
    world.disk.kill();
    let log = open_sim(&world.disk, &late(), 9).unwrap();
    assert!(log.snapshots.list().is_empty());
    assert!(log.report.damaged_snapshots[0].contains("history"), "{:?}", log.report.damaged_snapshots);
}

/// How long an open of a long real log takes, with a snapshot near its end. `RELIVE_OPEN_MIB` says how long (a small
/// one by default); `RELIVE_OPEN_DIR` where.
#[test]
#[ignore = "writes a log of gigabytes; run it by hand in a release build"]
fn time_to_open_a_long_log() {
    let mib: u64 = std::env::var("RELIVE_OPEN_MIB").map_or(512, |text| text.parse().unwrap());
    let folder = std::env::var("RELIVE_OPEN_DIR").map_or_else(|_| std::env::temp_dir(), PathBuf::from);
    let temp = tempfile::tempdir_in(folder).unwrap();
    let dir = temp.path().join("data");
    let open = || {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
        let identity = FreshIdentity { log_id: [9; 16], frame_magic: [1, 2, 3, 4] };
        relive_log::open(disk, &dir, &LogOptions::default(), identity, UnixMicros(1)).unwrap()
    };
    let mut log = open();
    let mut batch = Batch::new();
    (0..16).for_each(|n| batch.push_raw(1, 1, &[n; 1000]));
    while log.reader.bytes() < mib << 20 {
        for _ in 0..400 {
            log.appender.append(&batch, UnixMicros(5)).unwrap();
        }
        settle(&mut log);
        log.preparer.step();
    }
    let last = log.durability.durable();
    let mut writer = log.snapshots.begin(last, 1, UnixMicros(6)).unwrap();
    (0..1000).for_each(|_| writer.push(&[1; 4096]).unwrap());
    writer.finish(0).unwrap();
    log.appender.append(&batch, UnixMicros(7)).unwrap();
    settle(&mut log);
    let bytes = log.reader.bytes();
    drop(log);
    for cached in ["after a kill", "again", "again"] {
        let begun = std::time::Instant::now();
        let log = open();
        let took = begun.elapsed();
        println!(
            "open {cached}: {} MiB, {} segments, walked from {} of {}: {took:?}",
            bytes >> 20,
            log.report.segments,
            log.report.walked_from,
            log.reader.durable()
        );
        let begun = std::time::Instant::now();
        log.reader.frame_of(Lsn(last.0 / 2)).unwrap();
        println!("first look-up in the middle: {:?}", begun.elapsed());
    }
}

/// MANIFEST and its copy as reads show them.
fn manifests(disk: &SimDisk) -> [Option<Vec<u8>>; 2] {
    ["MANIFEST", "MANIFEST.bak"].map(|name| {
        disk.files().into_iter().find(|(path, _)| *path == dir().join(name)).map(|(_, bytes)| bytes)
    })
}

/// A cut is killed before the name of its MANIFEST was synced, the recovery after it is killed before the name of the copy
/// was; then both agree, in the page cache only. The next recovery must not remove what the older MANIFEST still names
/// before that one cannot come back.
#[test]
fn l15_nothing_goes_while_the_older_manifest_may_come_back() {
    let mut outcomes_checked = 0;
    for n in 1..60 {
        let mut world = World::new(7);
        world.snapshot();
        world.append(1);
        world.snapshot();
        world.disk.crash_at(world.disk.counts().calls + n, When::After);
        assert!(!world.model.cut(&world.log.snapshots, Lsn::MAX).unwrap() || !world.disk.crashed());
        if !world.disk.crashed() {
            break;
        }
        drop(world.log);
        world.disk.kill();
        let [first, copy] = manifests(&world.disk);
        if first == copy {
            continue;
        }
        for m in 1..30 {
            let again = world.disk.fork(1);
            again.crash_at(again.counts().calls + m, When::After);
            if open_sim(&again, &late(), 9).is_ok() {
                break;
            }
            again.kill();
            let [first, copy] = manifests(&again);
            if first != copy {
                continue;
            }
            for k in 1..30 {
                let third = again.fork(1);
                third.crash_at(third.counts().calls + k, When::After);
                if open_sim(&third, &late(), 9).is_ok() {
                    break;
                }
                let outcomes = third.outcomes(|_| false);
                let found = outcomes.all(2_000);
                for outcome in
                    found.unwrap_or_else(|| outcomes.sample(2_000, &mut SimRng::stream(k, "names")))
                {
                    let lost = outcomes.disk(&outcome);
                    let log = open_sim(&lost, &late(), 9).unwrap_or_else(|error| {
                        panic!("cut {n}, recoveries {m} and {k}, {outcome:?}: {error}")
                    });
                    world.model.clone().check(&log.reader).unwrap();
                    outcomes_checked += 1;
                }
            }
        }
    }
    println!("log names of MANIFEST: outcomes={outcomes_checked}");
    assert!(outcomes_checked > 100);
}
