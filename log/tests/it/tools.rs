//! The operator's tools on the simulated disk: looking never writes, a repair is what a start does, a salvage holds
//! what its input held and names what it lost.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use relive_log::disk::Disk;
use relive_log::disk::sim::{SimDisk, SimOptions};
use relive_log::tools::{
    self, Depth, OfflineLog, SalvageError, Salvaged, SpanStatus, Survey, Upto, Verified,
};
use relive_log::{
    FreshIdentity, Gap, LogOptions, Lsn, OpenError, OpenedLog, ReadError, Reader, StepOutcome, UnixMicros,
    open,
};

use crate::sim::model::{Model, Stored, dir, image, open_sim, segment, small};

fn out() -> PathBuf {
    PathBuf::from("/out")
}

/// A log of several segments and two epochs; everything is acknowledged, WATERMARK is synced.
fn build() -> (SimDisk, Model) {
    let disk = SimDisk::new(SimOptions::new(3));
    let mut model = Model::default();
    for (now, sizes) in [
        (1, &[&[20][..], &[440], &[700, 900], &[3000], &[7000]][..]),
        (2, &[&[100, 100, 100][..], &[5000], &[8], &[20, 20]][..]),
    ] {
        let mut log = open_sim(&disk, &small(), now).unwrap();
        for sizes in sizes {
            model.append(&mut log, sizes, UnixMicros(now * 10)).unwrap();
            drain(&mut log);
        }
        log.committer.close().unwrap();
        model.note_durable(log.durability.durable());
        drop(log);
        disk.power_loss();
    }
    (disk, model)
}

fn drain(log: &mut OpenedLog) {
    loop {
        match log.committer.step() {
            StepOutcome::Idle => return,
            StepOutcome::Poisoned => panic!("poisoned"),
            _ => {
                log.preparer.step();
            }
        }
    }
}

fn arc(disk: &SimDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

/// Looks, and checks that nothing changed.
#[track_caller]
fn verify(disk: &SimDisk, depth: Depth) -> Verified {
    let before = disk.files();
    let found = tools::verify(&arc(disk), &dir(), depth, &mut |_, _| {}).unwrap();
    assert!(disk.files() == before, "L40: verify changed the disk");
    found
}

#[track_caller]
fn survey(disk: &SimDisk) -> Survey {
    let before = disk.files();
    let found = tools::survey(&arc(disk), &dir(), &mut |_, _| {}).unwrap();
    assert!(disk.files() == before, "L40: survey changed the disk");
    found
}

fn salvage(disk: &SimDisk, accepted: &[Gap]) -> Result<Salvaged, SalvageError> {
    tools::salvage(&arc(disk), &dir(), &out(), accepted, &small(), &mut |_, _| {})
}

fn open_out(disk: &SimDisk) -> Result<OpenedLog, OpenError> {
    let identity = FreshIdentity { log_id: [0; 16], frame_magic: [0; 4] };
    open(arc(disk), &out(), &small(), identity, UnixMicros(99))
}

/// Every batch, and every gap where it stands.
fn read_with_gaps(reader: &Reader) -> (Vec<Stored>, Vec<Gap>) {
    let (mut batches, mut gaps, mut next) = (Vec::new(), Vec::new(), reader.first_lsn());
    let mut scan = reader.scan(next).unwrap();
    while let Some(frame) = scan.next() {
        match frame {
            Err(ReadError::Gap { gap }) => {
                assert_eq!(gap.from, next);
                next = gap.to.next();
                gaps.push(gap);
                scan.pass_gap(gap);
            }
            frame => {
                let frame = frame.unwrap();
                assert_eq!(frame.first_lsn, next, "gap-free but for the gaps");
                next = frame.last_lsn.next();
                let bodies = frame.records().map(|record| record.body.to_vec()).collect();
                batches.push(Stored {
                    first: frame.first_lsn,
                    commit: frame.commit_time,
                    pos: frame.pos,
                    bodies,
                });
            }
        }
    }
    assert_eq!(next.prev(), reader.durable());
    (batches, gaps)
}

/// L41: what is kept is what was there; what is not is a gap, and the gaps are the losses.
#[track_caller]
fn check_salvaged(disk: &SimDisk, model: &Model, losses: &[Gap], what: &str) {
    let before = image_of(disk, &dir());
    let made = salvage(disk, losses).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(image_of(disk, &dir()) == before, "{what}: the damaged log was touched");
    assert_eq!(made.lost, losses, "L41: {what}");
    let verified = tools::verify(&arc(disk), &out(), Depth::Everything, &mut |_, _| {}).unwrap();
    assert_eq!(verified.exit_code(), 0, "{what}: {verified:?}");
    for _ in 0..2 {
        let mut log = open_out(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!((log.report.gaps.as_slice(), log.timeline), (losses, 2), "L41: {what}");
        let (found, gaps) = read_with_gaps(&log.reader);
        assert_eq!((gaps.as_slice(), found.len() as u64), (losses, made.batches), "L41: {what}");
        let lost = |lsn: Lsn| losses.iter().any(|gap| gap.from <= lsn && lsn <= gap.to);
        for batch in &found {
            let original = model.exposed.iter().find(|stored| stored.first == batch.first);
            let same = original.is_some_and(|o| o.bodies == batch.bodies && o.commit == batch.commit);
            assert!(same, "L41: {what}: LSN {} is not what it was", batch.first);
        }
        for batch in &model.exposed {
            let kept = found.iter().any(|found| found.first == batch.first);
            assert!(
                kept != lost(batch.first),
                "L41: {what}: LSN {} is neither kept nor lost, or both",
                batch.first
            );
        }
        log.committer.close().unwrap();
        drop(log);
        disk.power_loss();
    }
}

fn image_of(disk: &SimDisk, dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    image(disk).into_iter().filter(|(path, _)| path.starts_with(dir)).collect()
}

fn gap(from: u64, to: u64) -> Gap {
    Gap { from: Lsn(from), to: Lsn(to) }
}

#[test]
fn a_sound_log_verifies_and_its_survey_names_every_event() {
    let (disk, model) = build();
    for depth in [Depth::Start, Depth::Everything] {
        let found = verify(&disk, depth);
        assert_eq!(found.exit_code(), 0, "{found:?}");
        assert!(found.report.is_some_and(|report| report.clean));
    }
    let survey = survey(&disk);
    let last = model.exposed.last().unwrap().last();
    assert!(survey.is_sound() && survey.losses.is_empty());
    assert_eq!((survey.last_lsn, survey.proven_lsn, survey.events), (last, last, last.0));
    assert_eq!(survey.batches, model.exposed.len() as u64);
    let spans = survey.segments.iter().flat_map(|segment| &segment.spans);
    assert!(spans.clone().all(|span| span.status == SpanStatus::Sound), "{:?}", survey.segments);
    assert_eq!(spans.filter_map(|span| span.lsns).map(|gap| gap.to.0 - gap.from.0 + 1).sum::<u64>(), last.0);
}

#[test]
fn damage_is_named_by_segment_offset_lsns_and_check() {
    let (disk, model) = build();
    let hurt = model.exposed[2].clone();
    disk.rot(&segment(hurt.pos.segment), u64::from(hurt.pos.offset + 80), |b| b ^ 1);
    let found = verify(&disk, Depth::Start);
    assert_eq!(found.exit_code(), 65);
    let survey = found.survey.expect("a refusal comes with a survey");
    assert_eq!(survey.losses, [Gap { from: hurt.first, to: hurt.last() }]);
    let of_segment = survey.segments.iter().find(|s| s.segment == hurt.pos.segment).unwrap();
    let span = of_segment.spans.iter().find(|span| span.status == SpanStatus::Damaged).unwrap();
    assert_eq!((span.lsns, span.check.as_deref()), (Some(survey.losses[0]), Some("payload checksum")));
    assert!(span.from <= hurt.pos.offset && hurt.pos.offset < span.to, "{span:?}");
    check_salvaged(&disk, &model, &survey.losses, "one batch");
}

#[test]
fn l41_losses_must_be_accepted_exactly_and_nothing_is_written_before() {
    let (disk, model) = build();
    for n in [1, 4] {
        let pos = model.exposed[n].pos;
        disk.rot(&segment(pos.segment), u64::from(pos.offset + 70), |b| b ^ 1);
    }
    let losses = survey(&disk).losses;
    assert_eq!(losses, [gap(2, 2), gap(6, 6)]);
    let before = disk.files();
    for accepted in [&[][..], &[gap(2, 2)], &[gap(2, 6)], &[gap(6, 6), gap(2, 2)], &[gap(2, 2), gap(6, 7)]] {
        let error = salvage(&disk, accepted).unwrap_err();
        assert!(matches!(error, SalvageError::NotAccepted { .. }), "{error}");
        assert!(error.to_string().contains("2-2,6-6"), "{error}");
    }
    assert!(disk.files() == before);
    check_salvaged(&disk, &model, &losses, "two batches");
    let again = salvage(&disk, &losses).unwrap_err();
    assert!(matches!(again, SalvageError::NotEmpty { .. }), "{again}");
}

/// Every sector flipped, every sector zeroed, every segment lost or cut: the survey never changes anything, and the
/// salvage keeps exactly what it says.
#[test]
fn l40_l41_hold_for_damage_anywhere() {
    let (disk, model) = build();
    let (mut cases, mut lossy) = (0, 0);
    let mut check = |hurt: SimDisk, what: String| {
        let found = survey(&hurt);
        cases += 1;
        lossy += u64::from(!found.losses.is_empty());
        check_salvaged(&hurt, &model, &found.losses, &what);
    };
    for (path, bytes) in image(&disk) {
        if !path.starts_with("/data/log") {
            continue;
        }
        for sector in (0..bytes.len()).step_by(512).filter(|&at| bytes[at..at + 512].iter().any(|&b| b != 0))
        {
            for inner in [0, 17, 70, 300] {
                let hurt = disk.fork(1);
                hurt.rot(&path, (sector + inner) as u64, |b| b ^ 0x10);
                check(hurt, format!("{} byte {}", path.display(), sector + inner));
            }
            let hurt = disk.fork(1);
            for at in sector..sector + 512 {
                hurt.rot(&path, at as u64, |_| 0);
            }
            check(hurt, format!("{} sector {sector} zeroed", path.display()));
            let hurt = disk.fork(1);
            hurt.make_unreadable(&path, sector as u64);
            check(hurt, format!("{} sector {sector} unreadable", path.display()));
        }
        if path != segment(1) {
            let hurt = disk.fork(1);
            hurt.lose(&path);
            check(hurt, format!("{} lost", path.display()));
        }
        let hurt = disk.fork(1);
        hurt.cut(&path, 6000);
        check(hurt, format!("{} cut", path.display()));
    }
    println!("salvage sweep: cases={cases} with_losses={lossy}");
    assert!(cases > 300 && lossy > 100, "{cases} {lossy}");
}

#[test]
fn a_salvage_of_a_salvage_keeps_the_earlier_gaps() {
    let (disk, model) = build();
    let pos = model.exposed[2].pos;
    disk.rot(&segment(pos.segment), u64::from(pos.offset + 80), |b| b ^ 1);
    let first = survey(&disk).losses;
    salvage(&disk, &first).unwrap();
    let found = tools::survey(&arc(&disk), &out(), &mut |_, _| {}).unwrap();
    assert!(found.is_sound() && found.losses.is_empty());
    assert_eq!(found.gaps, first);
    let third = PathBuf::from("/third");
    let made = tools::salvage(&arc(&disk), &out(), &third, &[], &small(), &mut |_, _| {}).unwrap();
    assert_eq!((made.lost, made.lost_before, made.timeline), (Vec::new(), first, 3));
}

#[test]
fn l19_no_read_goes_over_lost_events_without_saying_so() {
    let (disk, model) = build();
    let hurt = model.exposed[2].clone();
    disk.rot(&segment(hurt.pos.segment), u64::from(hurt.pos.offset + 80), |b| b ^ 1);
    let lost = Gap { from: hurt.first, to: hurt.last() };
    salvage(&disk, &[lost]).unwrap();
    let mut log = open_out(&disk).unwrap();
    assert_eq!(log.reader.gaps(), [lost]);
    let mut scan = log.reader.scan(Lsn(1)).unwrap();
    assert_eq!(scan.by_ref().take_while(Result::is_ok).count(), 2);
    for _ in 0..3 {
        assert!(
            matches!(scan.next(), Some(Err(ReadError::Gap { gap })) if gap == lost),
            "L19: again and again"
        );
    }
    scan.pass_gap(lost);
    assert_eq!(scan.next().unwrap().unwrap().first_lsn, lost.to.next());
    for lsn in [lost.from, lost.to] {
        assert!(matches!(log.reader.frame_of(lsn), Err(ReadError::Gap { gap }) if gap == lost));
    }
    assert!(matches!(log.reader.scan(lost.to).unwrap().next(), Some(Err(ReadError::Gap { .. }))));
    assert_eq!(log.reader.scan(lost.to.next()).unwrap().next().unwrap().unwrap().first_lsn, lost.to.next());
    let mut later = Model::default();
    later.append(&mut log, &[33], UnixMicros(500)).unwrap();
    drain(&mut log);
    assert_eq!(log.durability.durable(), model.exposed.last().unwrap().last().next(), "the log goes on");
}

#[test]
fn a_lost_tail_becomes_a_gap_at_the_end() {
    let (disk, model) = build();
    let last = model.exposed.last().unwrap().clone();
    disk.rot(&segment(last.pos.segment), u64::from(last.pos.offset + 3), |b| b ^ 1);
    let losses = survey(&disk).losses;
    assert_eq!(losses, [Gap { from: last.first, to: last.last() }]);
    check_salvaged(&disk, &model, &losses, "the tail");
    assert_eq!(open_out(&disk).unwrap().durability.durable(), last.last());
}

/// A torn tail: not a loss. Verify says so and leaves it, repair cuts it and says what and why.
#[test]
fn l40_an_unproven_tail_is_left_by_verify_and_cut_by_repair() {
    let (disk, mut model) = build();
    let mut log = open_sim(&disk, &small(), 3).unwrap();
    model.append(&mut log, &[600, 600], UnixMicros(30)).unwrap();
    log.committer.step();
    let pos = model.submitted[0].pos;
    drop(log);
    disk.kill();
    disk.rot(&segment(pos.segment), u64::from(pos.offset + 700), |b| b ^ 1);
    let found = verify(&disk, Depth::Everything);
    assert_eq!(found.exit_code(), 0, "{found:?}");
    let survey = found.survey.unwrap();
    assert!(survey.is_sound());
    let spans: Vec<_> = survey.segments.iter().flat_map(|s| &s.spans).map(|span| span.status).collect();
    assert!(spans.contains(&SpanStatus::Cut), "{spans:?}");
    let report = tools::repair(&arc(&disk), &dir(), &small(), UnixMicros(31)).unwrap().report;
    assert_eq!(
        (report.truncated_lsns, report.valid_lsn, report.last_lsn_after.0),
        (2, survey.last_lsn, survey.last_lsn.0 + 2)
    );
    assert!(report.truncated_bytes > 0 && !report.reason.is_empty());
    let report = verify(&disk, Depth::Everything).report.unwrap();
    assert_eq!((report.truncated_bytes, report.truncated_lsns), (0, 0));
    model.submitted.clear();
    model.check(&open_sim(&disk, &small(), 32).unwrap().reader).unwrap();
}

#[test]
fn repair_refuses_what_a_start_refuses_and_changes_nothing() {
    let (disk, model) = build();
    let pos = model.exposed[3].pos;
    disk.rot(&segment(pos.segment), u64::from(pos.offset + 80), |b| b ^ 1);
    let before = disk.files();
    let error = tools::repair(&arc(&disk), &dir(), &small(), UnixMicros(31)).unwrap_err();
    assert_eq!(error.exit_code(), 65, "{error}");
    assert!(disk.files() == before);
}

#[test]
fn a_lost_manifest_is_rebuilt_as_it_was() {
    let (disk, mut model) = build();
    let nothing = tools::rebuild_manifest(&arc(&disk), &dir()).unwrap();
    assert!(nothing.written.is_empty());
    let original = image(&disk);
    for name in ["MANIFEST", "MANIFEST.bak"] {
        disk.lose(&dir().join(name));
    }
    assert_eq!(verify(&disk, Depth::Start).exit_code(), 65);
    assert_eq!(survey(&disk).parameters, "segment headers");
    let made = tools::rebuild_manifest(&arc(&disk), &dir()).unwrap();
    assert_eq!(made.written, ["MANIFEST.bak", "MANIFEST"]);
    assert!(image(&disk) == original, "byte for byte");
    disk.rot(&dir().join("MANIFEST"), 50, |b| b ^ 1);
    tools::rebuild_manifest(&arc(&disk), &dir()).unwrap();
    assert!(image(&disk) == original, "from its copy");
    model.check(&open_sim(&disk, &small(), 9).unwrap().reader).unwrap();
}

#[test]
fn l2_a_rebuilt_watermark_claims_what_frames_prove_and_no_more() {
    let (disk, mut model) = build();
    assert!(tools::rebuild_watermark(&arc(&disk), &dir()).unwrap().written.is_empty());
    disk.lose(&dir().join("WATERMARK"));
    assert_eq!(verify(&disk, Depth::Start).exit_code(), 65);
    let made = tools::rebuild_watermark(&arc(&disk), &dir()).unwrap();
    assert_eq!(made.written, ["WATERMARK"]);
    let report = verify(&disk, Depth::Start).report.unwrap();
    let last = model.exposed.last().unwrap();
    assert_eq!((report.valid_lsn, report.watermark_lsn), (last.last(), last.first.prev()), "L2");
    model.check(&open_sim(&disk, &small(), 9).unwrap().reader).unwrap();
}

#[test]
fn a_running_engine_keeps_every_tool_out() {
    let (disk, _) = build();
    let log = open_sim(&disk, &small(), 9).unwrap();
    let before = disk.files();
    let refusals = [
        tools::verify(&arc(&disk), &dir(), Depth::Start, &mut |_, _| {}).map(drop).unwrap_err(),
        tools::survey(&arc(&disk), &dir(), &mut |_, _| {}).map(drop).unwrap_err(),
        tools::repair(&arc(&disk), &dir(), &small(), UnixMicros(1)).map(drop).unwrap_err(),
        tools::rebuild_manifest(&arc(&disk), &dir()).map(drop).unwrap_err(),
        tools::rebuild_watermark(&arc(&disk), &dir()).map(drop).unwrap_err(),
        OfflineLog::open(arc(&disk), &dir(), Upto::Valid).map(drop).unwrap_err(),
    ];
    assert!(refusals.iter().all(|error| error.exit_code() == 75), "{refusals:?}");
    assert!(matches!(salvage(&disk, &[]), Err(SalvageError::Open(OpenError::Locked { .. }))));
    assert!(disk.files() == before);
    drop(log);
}

#[test]
fn a_directory_without_a_log_or_of_a_newer_format_is_left_alone() {
    let disk = SimDisk::new(SimOptions::new(1));
    let none = tools::verify(&arc(&disk), &dir(), Depth::Start, &mut |_, _| {}).unwrap_err();
    assert_eq!(none.exit_code(), 78, "{none}");
    disk.mkdir(&dir()).unwrap();
    relive_log::disk::replace_small(&disk, &dir(), "thesis.doc", b"precious").unwrap();
    let foreign = tools::rebuild_manifest(&arc(&disk), &dir()).unwrap_err();
    assert_eq!(foreign.exit_code(), 78, "{foreign}");
    assert_eq!(disk.files().len(), 1);
    let (disk, _) = build();
    let path = dir().join("MANIFEST");
    let mut bytes = disk.files().into_iter().find(|(p, _)| *p == path).unwrap().1;
    bytes[8] = 9;
    let crc = crc32fast::hash(&bytes[..4092]);
    bytes[4092..].copy_from_slice(&crc.to_le_bytes());
    relive_log::disk::replace_small(&disk, &dir(), "MANIFEST", &bytes).unwrap();
    let before = disk.files();
    for error in [
        tools::verify(&arc(&disk), &dir(), Depth::Start, &mut |_, _| {}).map(drop).unwrap_err(),
        tools::rebuild_manifest(&arc(&disk), &dir()).map(drop).unwrap_err(),
        tools::repair(&arc(&disk), &dir(), &LogOptions::default(), UnixMicros(1)).map(drop).unwrap_err(),
    ] {
        assert_eq!(error.exit_code(), 78, "{error}");
    }
    assert!(disk.files() == before);
}

#[test]
fn an_offline_reader_sees_what_a_start_would_keep_or_what_is_proven() {
    let (disk, model) = build();
    disk.lose(&dir().join("WATERMARK"));
    tools::rebuild_watermark(&arc(&disk), &dir()).unwrap();
    let before = disk.files();
    let last = model.exposed.last().unwrap();
    for (upto, durable) in [(Upto::Valid, last.last()), (Upto::Proven, last.first.prev())] {
        let log = OfflineLog::open(arc(&disk), &dir(), upto).unwrap();
        assert!(log.refusal.is_none());
        assert_eq!(log.reader.durable(), durable);
        assert_eq!(read_with_gaps(&log.reader).0.last().unwrap().last(), durable);
    }
    let pos = model.exposed[3].pos;
    disk.rot(&segment(pos.segment), u64::from(pos.offset + 80), |b| b ^ 1);
    let log = OfflineLog::open(arc(&disk), &dir(), Upto::Valid).unwrap();
    assert_eq!(log.refusal.map(|error| error.exit_code()), Some(65));
    assert_eq!(log.reader.durable(), model.exposed[3].first.prev());
    drop(before);
}

/// A start goes on with the older snapshot; the deep look says that one is damaged, and where.
#[test]
fn l40_a_damaged_snapshot_is_found_by_the_deep_look() {
    let (disk, _) = build();
    let mut log = open_sim(&disk, &small(), 3).unwrap();
    let mut writer = log.snapshots.begin(Lsn(4), 1, UnixMicros(9)).unwrap();
    writer.push(&[7; 900]).unwrap();
    writer.finish(1).unwrap();
    log.committer.close().unwrap();
    drop(log);
    disk.power_loss();
    let found = verify(&disk, Depth::Everything);
    assert_eq!((found.exit_code(), found.snapshots.len()), (0, 1), "{found:?}");
    let path = dir().join("snapshots/snap-00000000000000000004.snap");
    disk.rot(&path, 4096 + 100, |b| b ^ 1);
    let found = verify(&disk, Depth::Everything);
    assert_eq!((found.exit_code(), verify(&disk, Depth::Start).exit_code()), (65, 0), "{found:?}");
    let snapshot = &found.snapshots[0];
    assert_eq!((snapshot.lsn, snapshot.is_base, snapshot.unreadable), (Lsn(4), false, false));
    assert!(snapshot.problem.as_ref().is_some_and(|problem| problem.contains("snap-")), "{snapshot:?}");
    assert!(found.survey.is_some_and(|survey| survey.is_sound()));
}
