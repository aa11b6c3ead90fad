//! Salvage of a log whose beginning was cut: base and snapshots go with it, places in them are found by LSN, and what
//! cannot be saved is refused by name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use relive_log::disk::Disk;
use relive_log::disk::sim::SimDisk;
use relive_log::tools::{self, Depth, SalvageError, Salvaged, Survey};
use relive_log::{FreshIdentity, Gap, Lsn, OpenError, OpenedLog, ReadError, UnixMicros, open};

use crate::sim::model::{Model, Stored, image, segment};
use crate::snapshots::{World, base_path, late, state_path};

pub(crate) fn out() -> PathBuf {
    PathBuf::from("/out")
}

pub(crate) fn arc(disk: &SimDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

pub(crate) fn source(disk: &SimDisk) -> Vec<(PathBuf, Vec<u8>)> {
    image(disk).into_iter().filter(|(path, _)| path.starts_with("/data")).collect()
}

fn survey(disk: &SimDisk) -> Survey {
    tools::survey(&arc(disk), Path::new("/data"), &mut |_, _| {}).unwrap()
}

fn salvage(disk: &SimDisk, accepted: &[Gap]) -> Result<Salvaged, SalvageError> {
    let before = source(disk);
    let made = tools::salvage(&arc(disk), Path::new("/data"), &out(), accepted, &late(), &mut |_, _| {});
    assert!(source(disk) == before, "L41: the damaged log was touched");
    made
}

pub(crate) fn open_out(disk: &SimDisk) -> OpenedLog {
    let identity = FreshIdentity { log_id: [0; 16], frame_magic: [0; 4] };
    open(arc(disk), &out(), &late(), identity, UnixMicros(99)).unwrap()
}

/// Two snapshots, a cut, `batches` more batches, and a kill.
pub(crate) fn killed(batches: usize) -> (SimDisk, Model, [Lsn; 2]) {
    let mut world = World::cut(9);
    world.append(batches);
    let snapshots: Vec<Lsn> = world.log.snapshots.list().iter().map(|info| info.last_lsn).collect();
    drop(world.log);
    world.disk.kill();
    (world.disk, world.model, snapshots.try_into().unwrap())
}

fn hurt(disk: &SimDisk, batch: &Stored) -> Gap {
    disk.rot(&segment(batch.pos.segment), u64::from(batch.pos.offset + 80), |byte| byte ^ 1);
    Gap { from: batch.first, to: batch.last() }
}

/// Everything that was not lost is read as it was, by LSN and by the place that it had in the old log, which snapshots name
/// up to their last event.
#[track_caller]
pub(crate) fn check(log: &OpenedLog, model: &mut Model, losses: &[Gap]) {
    assert_eq!(log.report.gaps, losses);
    let newest = log.snapshots.newest();
    for batch in &mut model.exposed {
        if batch.first > newest {
            // No snapshot names its old place.
            match log.reader.frame_of(batch.first) {
                Ok(frame) => {
                    batch.pos = frame.pos;
                    assert_eq!(log.reader.read_frame(frame.pos).unwrap().first_lsn, batch.first);
                }
                Err(error) => {
                    let lost = |gap: &Gap| (gap.from..=gap.to).contains(&batch.first);
                    assert!(matches!(error, ReadError::Gap { .. }) && losses.iter().any(lost), "{error}");
                }
            }
            continue;
        }
        let read = log.reader.read_frame_of(batch.pos, batch.first);
        if let Some(lost) = losses.iter().find(|gap| (gap.from..=gap.to).contains(&batch.first)) {
            assert!(matches!(&read, Err(ReadError::Gap { gap }) if gap == lost), "{read:?}");
            assert!(log.reader.raw_event(batch.pos, batch.last()).is_err());
            continue;
        }
        let frame = read.unwrap();
        assert_ne!(frame.pos, batch.pos, "the old place and the new one are told apart");
        let bodies: Vec<_> = frame.records().map(|record| record.body.to_vec()).collect();
        assert_eq!(
            (frame.first_lsn, bodies, frame.commit_time),
            (batch.first, batch.bodies.clone(), batch.commit)
        );
        let event = log.reader.raw_event(batch.pos, batch.last()).unwrap();
        assert_eq!((&event.body, event.pos), (batch.bodies.last().unwrap(), frame.pos));
    }
    model.check_kept(&log.reader).unwrap();
}

#[test]
fn l41_l42_a_cut_log_takes_its_snapshots_and_its_base_along() {
    let (disk, mut model, snapshots) = killed(4);
    let lost = [hurt(&disk, &model.exposed[model.exposed.len() - 2].clone())];
    assert_eq!(survey(&disk).losses, lost);
    let refused = salvage(&disk, &[]).unwrap_err();
    assert!(matches!(refused, SalvageError::NotAccepted { .. }), "{refused}");
    let made = salvage(&disk, &lost).unwrap();
    let beginning = made.beginning.clone().unwrap();
    assert_eq!(beginning.snapshots, snapshots);
    assert!(
        beginning.left_behind.is_empty()
            && beginning.lost_below.is_empty()
            && beginning.base_damage.is_none()
    );
    let verified = tools::verify(&arc(&disk), &out(), Depth::Everything, &mut |_, _| {}).unwrap();
    assert_eq!((verified.exit_code(), verified.snapshots.len()), (0, 3), "{verified:?}");
    for _ in 0..2 {
        let log = open_out(&disk);
        assert_eq!((log.timeline, log.report.start_lsn), (2, made.first_lsn));
        check(&log, &mut model, &lost);
        model.check_snapshots(&log.snapshots, &log.reader).unwrap();
        drop(log);
        disk.power_loss();
    }
    // The model reads every batch; it knows of no gaps.
    model.exposed.retain(|stored| stored.first != lost[0].from);
    lives_on(&disk, model);
}

/// New snapshots, and a cut whose base takes values from places of the old log.
pub(crate) fn lives_on(disk: &SimDisk, model: Model) {
    let mut world = World { disk: disk.clone(), model, log: open_out(disk) };
    world.append(3);
    world.snapshot();
    world.append(1);
    world.snapshot();
    let start = world.log.reader.first_lsn();
    for stored in &mut world.model.exposed {
        stored.pos = world.log.reader.frame_of(stored.first).unwrap().pos;
    }
    assert!(world.model.cut(&world.log.snapshots, Lsn::MAX).unwrap());
    assert!(world.log.reader.first_lsn() > start);
    world.model.check_kept(&world.log.reader).unwrap();
}

/// A fold must meet the gap: a snapshot that holds what followed from lost events stays behind, if there is an older one.
#[test]
fn a_snapshot_above_the_first_loss_stays_behind() {
    let (disk, mut model, [older, newest]) = killed(2);
    let between =
        model.exposed.iter().find(|batch| batch.first > older && batch.last() <= newest).unwrap().clone();
    let lost = [hurt(&disk, &between)];
    let made = salvage(&disk, &lost).unwrap();
    let beginning = made.beginning.unwrap();
    assert_eq!(
        (beginning.snapshots, beginning.left_behind.len()),
        (vec![older], 1),
        "{:?}",
        beginning.left_behind
    );
    assert!(beginning.left_behind[0].contains(&format!("LSN {}", between.first)));
    check(&open_out(&disk), &mut model, &lost);
    // Both are above the loss: they are all there is, and the report says what that means.
    let (disk, mut model, snapshots) = killed(2);
    let below = model.exposed[0].clone();
    assert!(below.last() <= snapshots[0]);
    let lost = [hurt(&disk, &below)];
    let beginning = salvage(&disk, &lost).unwrap().beginning.unwrap();
    assert_eq!(
        (beginning.snapshots.as_slice(), beginning.lost_below.as_slice()),
        (&snapshots[..], &lost[..])
    );
    check(&open_out(&disk), &mut model, &lost);
}

#[test]
fn the_newest_sound_snapshot_is_taken_when_the_newest_is_damaged() {
    let (disk, mut model, [older, newest]) = killed(2);
    disk.rot(&state_path(newest), 4300, |byte| byte ^ 1);
    let lost = [hurt(&disk, &model.exposed.last().unwrap().clone())];
    let beginning = salvage(&disk, &lost).unwrap().beginning.unwrap();
    assert_eq!((beginning.snapshots, beginning.left_behind.len()), (vec![older], 1));
    check(&open_out(&disk), &mut model, &lost);
}

/// The rest of what stands in the base can be read; a damaged part is an error of its reads, in the copy too.
#[test]
fn a_damaged_base_goes_along_and_stays_damaged() {
    for unreadable in [false, true] {
        let (disk, model, _) = killed(2);
        let base = base_path(survey(&disk).log_start.prev());
        if unreadable {
            disk.make_unreadable(&base, 4096 + 512);
        } else {
            disk.rot(&base, 4096 + 500, |byte| byte ^ 1);
        }
        let lost = [hurt(&disk, &model.exposed.last().unwrap().clone())];
        let beginning = salvage(&disk, &lost).unwrap().beginning.unwrap();
        assert!(beginning.base_damage.is_some());
        let log = open_out(&disk);
        let error = model.check_kept(&log.reader).unwrap_err();
        assert!(error.contains("DamagedSnapshot"), "{error}");
        let verified = tools::verify(&arc(&disk), &out(), Depth::Everything, &mut |_, _| {});
        assert!(matches!(verified, Err(OpenError::Locked { .. })), "it is open");
        drop(log);
        let verified = tools::verify(&arc(&disk), &out(), Depth::Everything, &mut |_, _| {}).unwrap();
        assert_eq!(verified.exit_code(), 65);
    }
}

#[test]
fn what_cannot_be_saved_is_refused_by_name_and_nothing_is_written() {
    type Damage = dyn Fn(&SimDisk, [Lsn; 2]);
    let cases: [(&Damage, &str); 3] = [
        (
            &|disk, [older, newest]| [older, newest].iter().for_each(|lsn| disk.lose(&state_path(*lsn))),
            "no snapshot is sound",
        ),
        (&|disk, _| disk.lose(&base_path(survey(disk).log_start.prev())), "the file is missing"),
        (&|disk, _| disk.rot(&base_path(survey(disk).log_start.prev()), 20, |byte| byte ^ 1), "header"),
    ];
    for (damage, says) in cases {
        let (disk, model, snapshots) = killed(2);
        let lost = [hurt(&disk, &model.exposed.last().unwrap().clone())];
        damage(&disk, snapshots);
        let error = salvage(&disk, &lost).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, SalvageError::Open(OpenError::Damaged { .. })), "{text}");
        assert!(text.contains(says) && text.contains("from a backup"), "{text}");
        assert!(disk.files().iter().all(|(path, _)| !path.starts_with("/out")), "nothing was written");
    }
}

/// Every segment lost, and damage every 350 bytes: what is salvaged opens, and holds what was there.
#[test]
fn l41_damage_anywhere_in_a_cut_log() {
    let (disk, _, _) = killed(4);
    let segments: Vec<_> = survey(&disk).segments.iter().map(|found| found.segment).collect();
    let mut tried = 0;
    for segment_no in segments {
        for offset in std::iter::once(None).chain((0..16 << 10).step_by(350).map(Some)) {
            let (disk, mut model, _) = killed(4);
            match offset {
                None => disk.lose(&segment(segment_no)),
                Some(offset) => disk.rot(&segment(segment_no), offset, |byte| byte ^ 0x55),
            }
            let losses = survey(&disk).losses;
            let made =
                salvage(&disk, &losses).unwrap_or_else(|error| panic!("{segment_no} {offset:?}: {error}"));
            assert_eq!(made.lost, losses);
            check(&open_out(&disk), &mut model, &losses);
            tried += 1;
        }
    }
    println!("salvage of a cut log: damage={tried}");
    assert!(tried > 100);
}
