//! The reader: from an LSN, from a time, following, and what it does when the disk does not answer.

use std::time::Duration;

use relive_log::disk::sim::{SimDisk, SimOptions};
use relive_log::{Lsn, OpenedLog, ReadError, StepOutcome, TailError, UnixMicros};

use crate::sim::model::{Model, open_sim, segment, small};

fn commit(model: &mut Model, log: &mut OpenedLog, sizes: &[usize], now: u64) {
    model.append(log, sizes, UnixMicros(now)).unwrap();
    while !matches!(log.committer.step(), StepOutcome::Idle) {
        log.preparer.step();
    }
    model.note_durable(log.durability.durable());
}

fn built(batches: u64) -> (SimDisk, Model, OpenedLog) {
    let disk = SimDisk::new(SimOptions::new(1));
    let mut model = Model::default();
    let mut log = open_sim(&disk, &small(), 1).unwrap();
    for n in 1..=batches {
        commit(&mut model, &mut log, &[3000], n / 3 * 10);
    }
    (disk, model, log)
}

#[test]
fn from_a_time_across_segments() {
    let (_disk, _model, log) = built(20);
    assert!(log.reader.segments().len() > 3);
    // Commit times are n / 3 * 10 for n in 1..=20.
    for (since, first) in
        [(0, Some(1)), (1, Some(3)), (10, Some(3)), (11, Some(6)), (60, Some(18)), (61, None)]
    {
        let mut scan = log.reader.scan_from_time(UnixMicros(since));
        let found = scan.next().transpose().unwrap().map(|frame| frame.first_lsn.0);
        assert_eq!(found, first, "since {since}");
        if let Some(first) = first {
            assert_eq!(scan.count() as u64, 20 - first, "and everything behind it");
        }
    }
}

#[test]
fn a_tail_sleeps_until_something_is_durable_and_ends_with_the_log() {
    let (disk, mut model, mut log) = built(2);
    let mut tail = log.reader.tail(Lsn(2), &log.durability).unwrap();
    assert_eq!(tail.wait_next().unwrap().first_lsn, Lsn(2));
    let (told, heard) = std::sync::mpsc::channel();
    let following = std::thread::spawn(move || {
        loop {
            let next = tail.wait_next();
            let ended = matches!(next, Err(TailError::Ended(_)));
            told.send(next.map(|frame| frame.first_lsn)).unwrap();
            if ended {
                return;
            }
        }
    });
    assert!(heard.recv_timeout(Duration::from_millis(50)).is_err(), "nothing is durable");
    for n in 3..6 {
        commit(&mut model, &mut log, &[100], 100);
        assert_eq!(heard.recv().unwrap().unwrap(), Lsn(n));
    }
    model.append(&mut log, &[100], UnixMicros(100)).unwrap();
    assert!(heard.recv_timeout(Duration::from_millis(50)).is_err(), "L9: appended is not durable");
    disk.fail_at(disk.counts().calls + 1, 5);
    log.committer.step();
    assert!(matches!(heard.recv().unwrap(), Err(TailError::Ended(_))));
    following.join().unwrap();
}

#[test]
fn beyond_the_end_and_below_the_horizon_name_the_bounds() {
    let (_disk, _model, log) = built(3);
    let beyond = log.reader.frame_of(Lsn(4)).unwrap_err();
    assert!(beyond.to_string().contains("LSN 4") && beyond.to_string().contains("LSN 3"), "{beyond}");
    let below = ReadError::BelowStart { lsn: Lsn(4), first: Lsn(10), durable: Lsn(20) };
    assert_eq!(below.to_string(), "LSN 4 is below the horizon: the log holds LSN 10 to 20");
}

#[test]
fn damage_is_typed_names_its_place_marks_the_segment_and_is_never_skipped() {
    let (disk, model, log) = built(8);
    let hurt = model.exposed[4].clone();
    let next_segment = model.exposed.iter().find(|stored| stored.pos.segment > hurt.pos.segment).unwrap();
    disk.rot(&segment(hurt.pos.segment), u64::from(hurt.pos.offset + 100), |b| b ^ 1);
    // The page cache may still hold the good bytes; the reader must not depend on it.
    disk.adjust(|options| options.evict_per_mille = 1000);
    assert!(log.reader.damaged().is_empty());
    let mut scan = log.reader.scan(Lsn(1)).unwrap();
    assert_eq!(scan.by_ref().take_while(Result::is_ok).count(), 4);
    for _ in 0..2 {
        let error = scan.next().unwrap().unwrap_err();
        let ReadError::Damaged { pos, check, lsns } = error else { panic!("{error}") };
        assert_eq!((pos, check), (hurt.pos, "payload checksum"));
        assert_eq!((lsns.from, lsns.to), (hurt.first, next_segment.first.prev()));
    }
    let marked = log.reader.damaged();
    assert_eq!(marked.iter().map(|m| m.pos.segment).collect::<Vec<_>>(), [hurt.pos.segment]);
    assert!(log.reader.read_frame(model.exposed[5].pos).is_ok(), "what is sound is served");
}

#[test]
fn a_read_error_is_asked_again_then_typed_and_the_segment_marked() {
    let (disk, model, log) = built(8);
    let hurt = model.exposed[4].clone();
    disk.make_unreadable(&segment(hurt.pos.segment), u64::from(hurt.pos.offset + 1024));
    let mut scan = log.reader.scan(Lsn(1)).unwrap();
    assert_eq!(scan.by_ref().take_while(Result::is_ok).count(), 4, "what stands before it is served");
    let error = scan.next().unwrap().unwrap_err();
    let ReadError::Io { pos, lsns, .. } = &error else { panic!("{error}") };
    assert_eq!(pos.segment, hurt.pos.segment);
    assert!(lsns.from <= hurt.first && hurt.first <= lsns.to, "{lsns:?}");
    assert!(matches!(log.reader.read_frame(hurt.pos), Err(ReadError::Io { .. })));
    assert_eq!(log.reader.damaged().len(), 1);
    assert!(log.reader.read_frame(model.exposed[5].pos).is_ok(), "what is sound is served");
}
