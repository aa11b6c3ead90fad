//! P8, P9: what was written is read back; damage is an error, never other data.

#![expect(
    clippy::disallowed_methods,
    clippy::cast_possible_truncation,
    reason = "tests harm files behind the seam's back, and count to small numbers"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use relive_log::Lsn;
use relive_log::disk::Disk;

use super::*;
use crate::error::RunError;
use crate::tests::disk::NoSync;

type Row = (Vec<u8>, Lsn, Vec<u8>);

struct Place {
    dir: tempfile::TempDir,
    disk: Arc<dyn Disk>,
}

fn place() -> Place {
    Place { dir: tempfile::tempdir().unwrap(), disk: Arc::new(NoSync::new()) }
}

fn id(number: u64) -> RunId {
    RunId { log_id: [3; 16], timeline: 2, kind: RunKind::Kv, number }
}

impl Place {
    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn file(&self, number: u64) -> PathBuf {
        self.path().join(id(number).file_name())
    }

    fn write(&self, number: u64, rows: &[Row]) -> RunMeta {
        let mut writer = RunWriter::create(&*self.disk, self.path(), id(number), 512).unwrap();
        for (key, lsn, value) in rows {
            writer.push(RowRef { key, lsn: *lsn, value }).unwrap();
        }
        writer.finish().unwrap().unwrap()
    }

    fn open(&self, number: u64, meta: RunMeta) -> Result<Arc<Run>, RunError> {
        Run::open(&self.disk, self.path(), id(number), meta, Arc::default()).map(Arc::new)
    }

    fn run(&self, number: u64, rows: &[Row]) -> Arc<Run> {
        let meta = self.write(number, rows);
        self.open(number, meta).unwrap()
    }
}

fn all(run: &Arc<Run>) -> Vec<Row> {
    let mut cursor = Cursor::new(run);
    cursor.seek(&[], Lsn::MAX).unwrap();
    let mut rows = Vec::new();
    while let Some(row) = cursor.row() {
        rows.push((row.key.to_vec(), row.lsn, row.value.to_vec()));
        cursor.advance().unwrap();
    }
    rows
}

/// Rows in the order of runs, without two of one place.
fn rows(max: usize) -> impl Strategy<Value = Vec<Row>> {
    let row = ("[ab]{0,12}", 1..60_u64, prop::collection::vec(any::<u8>(), 0..40));
    prop::collection::vec(row, 1..max).prop_map(|rows| {
        let mut rows: Vec<Row> = rows.into_iter().map(|(k, lsn, v)| (k.into_bytes(), Lsn(lsn), v)).collect();
        rows.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
        rows.dedup_by(|a, b| (&a.0, a.1) == (&b.0, b.1));
        rows
    })
}

fn samples() -> Vec<Row> {
    (0..60_u64)
        .map(|n| (format!("key-{:03}", n / 3).into_bytes(), Lsn(100 - n % 3), vec![n as u8; 9]))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn p8_rows_round_trip_and_seeks_find_their_place(rows in rows(120), probes in prop::collection::vec(("[ab]{0,12}", 0..61_u64), 30)) {
        let place = place();
        let run = place.run(1, &rows);
        run.verify().unwrap();
        prop_assert_eq!(&all(&run), &rows);
        let mut cursor = Cursor::new(&run);
        let probes = probes.into_iter().map(|(key, lsn)| (key.into_bytes(), Lsn(lsn)));
        for (key, lsn) in probes.chain(rows.iter().map(|(key, lsn, _)| (key.clone(), *lsn))) {
            let before = |row: &&Row| block::row_order((&row.0, row.1), (&key, lsn)).is_lt();
            let found = cursor.seek(&key, lsn).unwrap().map(|row| (row.key.to_vec(), row.lsn));
            prop_assert_eq!(found, rows.iter().find(|row| !before(row)).map(|row| (row.0.clone(), row.1)));
            let found = cursor.seek_before(&key, lsn).unwrap().map(|row| (row.key.to_vec(), row.lsn));
            prop_assert_eq!(found, rows.iter().rfind(before).map(|row| (row.0.clone(), row.1)));
            prop_assert!(run.may_contain(&key) || rows.iter().all(|row| row.0 != key), "P9");
        }
    }

    #[test]
    fn merges_keep_every_row_in_order(rows in rows(120), parts in prop::collection::vec(0..4_usize, 120)) {
        let place = place();
        let mut runs = Vec::new();
        for part in 0..4 {
            let mine: Vec<Row> = rows.iter().zip(&parts).filter(|(_, p)| **p == part).map(|(r, _)| r.clone()).collect();
            if !mine.is_empty() {
                runs.push(place.run(part as u64 + 1, &mine));
            }
        }
        let mut writer = RunWriter::create(&*place.disk, place.path(), id(9), 512).unwrap();
        let keep = Collapse::Versions { horizon: Lsn::ZERO, is_deleted: |_| false };
        merge(&runs, &mut writer, keep, Reach::OlderStay).unwrap();
        let merged = place.open(9, writer.finish().unwrap().unwrap()).unwrap();
        prop_assert_eq!(all(&merged), rows);
    }
}

#[test]
fn p8_every_bit_of_a_run_is_covered() {
    let place = place();
    let meta = place.write(1, &samples());
    let good = std::fs::read(place.file(1)).unwrap();
    assert!(good.len() > 1500, "several blocks");
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(place.file(1), &bad).unwrap();
        let result = place.open(1, meta).and_then(|run| run.verify());
        assert!(matches!(result, Err(RunError::Damaged { .. })), "bit {bit}: {result:?}");
    }
}

#[test]
fn p8_every_truncation_and_extension_is_an_error() {
    let place = place();
    let meta = place.write(1, &samples());
    let good = std::fs::read(place.file(1)).unwrap();
    for len in 0..good.len() {
        std::fs::write(place.file(1), &good[..len]).unwrap();
        assert!(place.open(1, meta).is_err(), "length {len}");
        // Even if the list of runs agreed with the length.
        assert!(place.open(1, RunMeta { bytes: len as u64, ..meta }).is_err(), "length {len}");
    }
    std::fs::write(place.file(1), [good.as_slice(), b"x"].concat()).unwrap();
    assert!(place.open(1, meta).is_err());
}

#[test]
fn p8_a_run_of_another_number_timeline_or_log_is_an_error() {
    let place = place();
    let meta = place.write(1, &samples());
    std::fs::copy(place.file(1), place.file(2)).unwrap();
    assert!(place.open(2, meta).is_err());
    for other in [RunId { timeline: 3, ..id(1) }, RunId { log_id: [4; 16], ..id(1) }] {
        let result = Run::open(&place.disk, place.path(), other, meta, Arc::default());
        assert!(matches!(result, Err(RunError::Damaged { check: "header", .. })));
    }
}

#[test]
fn damage_found_by_a_read_raises_the_flag() {
    let place = place();
    let meta = place.write(1, &samples());
    let common = Arc::new(Common::default());
    let run = Arc::new(Run::open(&place.disk, place.path(), id(1), meta, Arc::clone(&common)).unwrap());
    let mut bytes = std::fs::read(place.file(1)).unwrap();
    bytes[100] ^= 1;
    std::fs::write(place.file(1), bytes).unwrap();
    assert!(Cursor::new(&run).seek(b"key-000", Lsn::MAX).is_err());
    assert!(common.is_damaged());
}

#[test]
fn blocks_are_kept_for_readers_of_a_few_rows_only() {
    let place = place();
    let meta = place.write(1, &samples());
    let run = Arc::new(Run::open(&place.disk, place.path(), id(1), meta, Arc::default()).unwrap());
    assert!(Cursor::scanning(&run).seek(b"key-000", Lsn::MAX).is_ok());
    let whole = std::fs::read(place.file(1)).unwrap();
    let mut broken = whole.clone();
    broken[100] ^= 1;
    std::fs::write(place.file(1), &broken).unwrap();
    assert!(Cursor::new(&run).seek(b"key-000", Lsn::MAX).is_err(), "a scan keeps nothing");
    std::fs::write(place.file(1), whole).unwrap();
    assert!(Cursor::new(&run).seek(b"key-000", Lsn::MAX).is_ok());
    std::fs::write(place.file(1), broken).unwrap();
    assert!(Cursor::new(&run).seek(b"key-000", Lsn::MAX).is_ok(), "verified once, kept");
    assert!(run.verify().is_err(), "a verification reads the disk");
}

#[test]
fn p4_a_retired_run_is_readable_until_its_last_reader_is_gone() {
    let place = place();
    let run = place.run(1, &samples());
    let reader = Arc::clone(&run);
    run.retire();
    drop(run);
    assert_eq!(all(&reader), samples());
    assert!(place.file(1).exists());
    drop(reader);
    assert!(!place.file(1).exists());
}

#[test]
fn collapse_makes_one_row_of_all_newest_first() {
    let place = place();
    let row = |key: &str, lsn, value: &str| (key.as_bytes().to_vec(), Lsn(lsn), value.as_bytes().to_vec());
    let newer = place.run(2, &[row("a", 9, "9"), row("c", 8, "8")]);
    let older = place.run(1, &[row("a", 3, "3"), row("b", 2, "2")]);
    let mut writer = RunWriter::create(&*place.disk, place.path(), id(3), 512).unwrap();
    let make = |values: &[Vec<u8>], _: Lsn| Some(values.concat());
    let into = Collapse::Into { horizon: Lsn::ZERO, make: &make };
    merge(&[newer, older], &mut writer, into, Reach::OlderStay).unwrap();
    let merged = place.open(3, writer.finish().unwrap().unwrap()).unwrap();
    assert_eq!(all(&merged), [row("a", 9, "93"), row("b", 2, "2"), row("c", 8, "8")]);
}
