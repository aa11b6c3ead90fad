//! Recovery, one test per row of the classification table of `docs/recovery.md`, each on a whole directory, and one
//! per structural refusal. The pure table has its own tests beside it.

use std::path::Path;

use relive_log::disk::sim::{SimDisk, SimOptions};
use relive_log::evidence::{self, Applied};
use relive_log::recovery::Row;
use relive_log::{FramePos, Lsn, OpenError, OpenedLog, RecoveryReport, StepOutcome, UnixMicros};

use crate::sim::model::{Model, dir, image, open_sim, segment, small};

const LOG_ID: [u8; 16] = *b"simulated log id";

struct Case {
    disk: SimDisk,
    model: Model,
}

impl Case {
    fn new() -> Self {
        Self { disk: SimDisk::new(SimOptions::new(1)), model: Model::default() }
    }

    fn open(&self) -> OpenedLog {
        open_sim(&self.disk, &small(), 1).unwrap()
    }

    /// Appends and makes durable, without a sync of WATERMARK.
    fn commit(&mut self, log: &mut OpenedLog, sizes: &[usize]) -> FramePos {
        self.model.append_with_room(log, sizes, UnixMicros(5));
        let pos = self.model.submitted.last().unwrap().pos;
        loop {
            match log.committer.step() {
                StepOutcome::Synced { .. } => break,
                StepOutcome::Wrote { .. } => {}
                StepOutcome::WaitingForSegment { .. } => {
                    log.preparer.step();
                }
                other => panic!("{other:?}"),
            }
        }
        self.model.note_durable(log.durability.durable());
        pos
    }

    /// Appends and writes, without a sync.
    fn write(&mut self, log: &mut OpenedLog, sizes: &[usize]) -> FramePos {
        self.model.append(log, sizes, UnixMicros(5)).unwrap();
        assert!(matches!(log.committer.step(), StepOutcome::Wrote { .. }));
        self.model.submitted.last().unwrap().pos
    }

    fn damage(&self, pos: FramePos, offset: u32) {
        self.disk.rot(&segment(pos.segment), u64::from(pos.offset + offset), |b| b ^ 0xff);
    }

    /// The process dies; the cache stays.
    fn kill(&self, log: OpenedLog) {
        drop(log);
        self.disk.kill();
    }

    #[track_caller]
    fn recovers(mut self, row: Row) -> RecoveryReport {
        let log = open_sim(&self.disk, &small(), 9).unwrap();
        assert_eq!(log.report.row, row, "{:?}", log.report);
        self.model.check(&log.reader).unwrap();
        log.report
    }

    #[track_caller]
    fn refuses(self, row: Row, lsns: Option<(u64, u64)>) {
        let before = image(&self.disk);
        let Err(OpenError::Damaged { lsns: found, report: Some(report), evidence, .. }) =
            open_sim(&self.disk, &small(), 9)
        else {
            panic!("expected a refusal by {row:?}")
        };
        assert_eq!((report.row, found), (row, lsns.map(|(a, b)| (Lsn(a), Lsn(b)))));
        let end = FramePos { segment: report.end_segment, offset: report.end_offset };
        assert!(end.segment > 0 && evidence.contains(&format!("the log stops at {end} ")), "{evidence}");
        assert!(image(&self.disk) == before, "L11: a refusal touches nothing");
    }
}

#[test]
fn row_end() {
    let mut case = Case::new();
    let mut log = case.open();
    assert!(log.report.created);
    case.commit(&mut log, &[20]);
    case.kill(log);
    let report = case.recovers(Row::End);
    assert_eq!(
        (report.created, report.valid_lsn, report.reaffirmed_groups, report.epoch),
        (false, Lsn(1), 0, 2)
    );
    assert!(report.same_boot && !report.clean);
}

#[test]
fn row_end_after_a_clean_stop() {
    let mut case = Case::new();
    let mut log = case.open();
    case.commit(&mut log, &[20]);
    log.committer.close().unwrap();
    drop(log);
    case.disk.power_loss();
    let report = case.recovers(Row::End);
    assert!(report.clean && !report.same_boot);
}

#[test]
fn row_torn_sibling() {
    let mut case = Case::new();
    let mut log = case.open();
    case.commit(&mut log, &[20]);
    let pos = case.write(&mut log, &[600, 600]);
    case.kill(log);
    case.damage(pos, 700);
    let report = case.recovers(Row::TornSibling);
    assert_eq!((report.headers_after, report.truncated_lsns, report.truncated_bytes), (1, 2, 1536));
    assert!(report.quarantine.unwrap().starts_with("quarantine/cut-"));
}

#[test]
fn row_old_debris() {
    // A torn group of two frames in epoch 1; a cut whose erasure never reached the disk; then an end before the
    // second frame in epoch 2.
    let mut case = Case::new();
    let mut log = case.open();
    case.commit(&mut log, &[20]);
    let batch = |n| vec![n; 1];
    case.model.append(&mut log, &batch(440), UnixMicros(5)).unwrap();
    case.model.append(&mut log, &batch(440), UnixMicros(5)).unwrap();
    log.committer.step();
    let torn = case.model.submitted[0].pos;
    let second = case.model.submitted[1].pos;
    case.kill(log);
    let debris = case.disk.files().into_iter().find(|(path, _)| *path == segment(1)).unwrap().1;
    case.damage(torn, 100);
    let mut log = open_sim(&case.disk, &small(), 9).unwrap();
    case.model.check(&log.reader).unwrap();
    let end = case.commit(&mut log, &[8]);
    assert!(end.offset < second.offset);
    case.kill(log);
    for offset in second.offset..second.offset + 512 {
        let byte = debris[offset as usize];
        case.disk.rot(&segment(1), u64::from(offset), move |_| byte);
    }
    let report = case.recovers(Row::OldDebris);
    assert_eq!(report.headers_after, 1);
}

#[test]
fn row_torn_alone() {
    let mut case = Case::new();
    let mut log = case.open();
    case.commit(&mut log, &[20]);
    let pos = case.write(&mut log, &[600]);
    case.kill(log);
    case.damage(pos, 20);
    let report = case.recovers(Row::TornAlone);
    assert_eq!((report.headers_after, report.first_bad_check.as_str()), (0, "header checksum"));
}

#[test]
fn row_proven_by_frame() {
    let mut case = Case::new();
    let mut log = case.open();
    case.commit(&mut log, &[20]);
    let pos = case.commit(&mut log, &[30]);
    case.commit(&mut log, &[40]);
    case.kill(log);
    case.damage(pos, 80);
    // LSN 3 is in WATERMARK; the frame of LSN 3 alone already proves LSN 2.
    case.refuses(Row::ProvenByFrame, Some((2, 3)));
}

/// Only the second frame of the group behind the hole is left, which does not stand at an aligned offset.
#[test]
fn row_proven_by_frame_inside_a_group() {
    let mut case = Case::new();
    let mut log = case.open();
    case.commit(&mut log, &[20]);
    let pos = case.commit(&mut log, &[30]);
    log.preparer.step();
    case.model.append(&mut log, &[700], UnixMicros(5)).unwrap();
    case.model.append(&mut log, &[700], UnixMicros(5)).unwrap();
    log.committer.step();
    let next = case.model.submitted[0].pos;
    assert!(!case.model.submitted[1].pos.offset.is_multiple_of(512));
    case.kill(log);
    case.damage(pos, 80);
    case.damage(next, 10);
    case.refuses(Row::ProvenByFrame, Some((2, 2)));
}

#[test]
fn row_proven_by_evidence_watermark() {
    let mut case = Case::new();
    let mut log = case.open();
    case.commit(&mut log, &[20]);
    let pos = case.commit(&mut log, &[30]);
    case.kill(log);
    case.damage(pos, 80);
    case.refuses(Row::ProvenByEvidence, Some((2, 2)));
}

#[test]
fn row_proven_by_evidence_views() {
    let mut case = Case::new();
    let mut log = case.open();
    case.commit(&mut log, &[20]);
    case.kill(log);
    let applied = |lsn, log_id| evidence::encode(&Applied { log_id, timeline: 1, applied_lsn: Lsn(lsn) });
    put(&case.disk, "views/CURRENT", b"gen-1\n");
    put(&case.disk, "views/gen-1/applied", &applied(9, *b"another log's id"));
    let log = case.open();
    assert_eq!(log.report.applied_lsn, None, "evidence about another log");
    case.kill(log);
    put(&case.disk, "views/gen-1/applied", &applied(1, LOG_ID));
    let log = case.open();
    assert_eq!(log.report.applied_lsn, Some(Lsn(1)));
    case.kill(log);
    put(&case.disk, "views/gen-1/applied", &applied(4, LOG_ID));
    case.refuses(Row::ProvenByEvidence, Some((2, 4)));
}

/// A snapshot holds what was durable, and nothing else.
#[test]
fn row_proven_by_evidence_snapshot() {
    let mut case = Case::new();
    let mut log = case.open();
    case.commit(&mut log, &[20]);
    let files = case.disk.files();
    case.commit(&mut log, &[30]);
    case.model.snapshot(&log.snapshots).unwrap();
    case.kill(log);
    // Segment and WATERMARK of before the second batch; the snapshot stays.
    for (path, bytes) in files {
        let name = path.strip_prefix(dir()).unwrap().display().to_string();
        if name.starts_with("log/") || name == "WATERMARK" {
            put(&case.disk, &name, &bytes);
        }
    }
    case.refuses(Row::ProvenByEvidence, Some((2, 2)));
}

#[test]
fn row_clean_stop_broken() {
    let mut case = Case::new();
    let mut log = case.open();
    case.commit(&mut log, &[20]);
    let before =
        case.disk.files().into_iter().find(|(path, _)| path == Path::new("/data/WATERMARK")).unwrap().1;
    case.commit(&mut log, &[30]);
    log.committer.close().unwrap();
    drop(log);
    case.disk.kill();
    let stale = case.disk.fork(1);
    // An image of WATERMARK that says: stopped in order at LSN 1.
    let mut log = open_sim(&SimDisk::new(SimOptions::new(1)), &small(), 1).unwrap();
    Model::default().append(&mut log, &[20], UnixMicros(5)).unwrap();
    log.committer.close().unwrap();
    drop((log, before, stale));
    let one = clean_watermark_at_one();
    put(&case.disk, "WATERMARK", &one);
    case.refuses(Row::CleanStopBroken, None);
}

fn clean_watermark_at_one() -> Vec<u8> {
    let mut case = Case::new();
    let mut log = case.open();
    case.commit(&mut log, &[20]);
    log.committer.close().unwrap();
    case.disk.files().into_iter().find(|(path, _)| path == Path::new("/data/WATERMARK")).unwrap().1
}

fn put(disk: &SimDisk, name: &str, bytes: &[u8]) {
    use relive_log::disk::{Disk, OpenMode};
    let path = dir().join(name);
    disk.mkdir(path.parent().unwrap()).unwrap();
    let file = disk.open(&path, OpenMode::Truncate).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file.sync_all().unwrap();
}

#[track_caller]
fn refused(disk: &SimDisk, code: i32, says: &str) {
    let before = image(disk);
    let error = open_sim(disk, &small(), 9).map(|log| log.report).unwrap_err();
    assert_eq!(error.exit_code(), code, "{error}");
    assert!(error.to_string().contains(says), "{error} does not say {says:?}");
    assert!(image(disk) == before, "L11: a refusal touches nothing");
}

#[test]
fn structure_missing_or_foreign_segments() {
    let mut case = Case::new();
    let mut log = case.open();
    for _ in 0..4 {
        case.commit(&mut log, &[7000]);
    }
    case.kill(log);
    let lost = case.disk.fork(1);
    lost.lose(&segment(2));
    refused(&lost, 65, "is missing");
    let other = case.disk.fork(1);
    let bytes = other.files().into_iter().find(|(path, _)| *path == segment(1)).unwrap().1;
    put(&other, "log/seg-0000000000000002.log", &bytes);
    refused(&other, 65, "says that it is number 1");
}

#[test]
fn structure_a_foreign_directory_is_left_alone() {
    let disk = SimDisk::new(SimOptions::new(1));
    put(&disk, "thesis.doc", b"precious");
    refused(&disk, 78, "thesis.doc");
    assert!(!disk.files().iter().any(|(path, _)| path.ends_with("LOCK")));
}

#[test]
fn structure_frames_without_a_manifest() {
    let mut case = Case::new();
    let mut log = case.open();
    case.commit(&mut log, &[20]);
    case.kill(log);
    for name in ["MANIFEST", "MANIFEST.bak", "WATERMARK"] {
        case.disk.lose(&dir().join(name));
    }
    refused(&case.disk, 65, "holds frames");
}

#[test]
fn structure_a_new_directory_keeps_its_keys() {
    let disk = SimDisk::new(SimOptions::new(1));
    put(&disk, "instance.key", b"key");
    put(&disk, "log/tmp-1.log", b"leftover");
    let log = open_sim(&disk, &small(), 1).unwrap();
    assert!(log.report.created);
    let names: Vec<_> = disk.files().into_iter().map(|(path, _)| path.display().to_string()).collect();
    assert!(names.contains(&"/data/instance.key".to_owned()) && !names.iter().any(|n| n.contains("tmp-1")));
}

/// Without MANIFEST, views that applied something say that there was a log; views that applied nothing do not.
#[test]
fn structure_views_without_a_manifest() {
    let applied = |lsn| evidence::encode(&Applied { log_id: LOG_ID, timeline: 1, applied_lsn: Lsn(lsn) });
    for lsn in [0, 1] {
        let disk = SimDisk::new(SimOptions::new(1));
        put(&disk, "views/CURRENT", b"gen-1\n");
        put(&disk, "views/gen-1/applied", &applied(lsn));
        if lsn == 0 {
            assert!(open_sim(&disk, &small(), 1).unwrap().report.created);
        } else {
            refused(&disk, 65, "the views have applied LSN 1");
        }
    }
}

#[test]
fn structure_a_newer_format_is_refused() {
    let case = Case::new();
    drop(case.open());
    case.disk.kill();
    for name in ["MANIFEST", "log/seg-0000000000000001.log"] {
        let path = dir().join(name);
        let mut bytes = case.disk.files().into_iter().find(|(p, _)| *p == path).unwrap().1;
        bytes[8] = 9;
        let crc = crc32fast::hash(&bytes[..4092]);
        bytes[4092..4096].copy_from_slice(&crc.to_le_bytes());
        let newer = case.disk.fork(1);
        put(&newer, name, &bytes);
        refused(&newer, 78, "format 9.0");
    }
}

#[test]
fn locked_while_open() {
    let case = Case::new();
    let log = case.open();
    let error = open_sim(&case.disk, &small(), 1).map(|log| log.report).unwrap_err();
    assert_eq!(error.exit_code(), 75);
    drop(log);
    drop(case.open());
}
