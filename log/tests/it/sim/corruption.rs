//! Rot of proven data: a start refuses and changes nothing (I7), or everything that was shown is still there.

use relive_log::disk::sim::{SimDisk, SimOptions, SimRng};
use relive_log::{OpenError, UnixMicros};

use super::campaign::seed_count;
use super::model::{Model, dir, image, open_sim, segment, small};

/// A log of several segments, everything acknowledged and synced, WATERMARK too; stopped in order or killed.
fn build(clean: bool) -> (SimDisk, Model) {
    build_on(SimDisk::new(SimOptions::new(3)), clean)
}

fn build_on(disk: SimDisk, clean: bool) -> (SimDisk, Model) {
    let mut model = Model::default();
    let mut log = open_sim(&disk, &small(), 1).unwrap();
    for sizes in [&[20][..], &[440], &[700, 900], &[3000], &[7000], &[100, 100, 100], &[5000], &[8]] {
        model.append(&mut log, sizes, UnixMicros(5)).unwrap();
        for _ in 0..4 {
            log.committer.step();
            log.preparer.step();
        }
    }
    assert_eq!(log.durability.durable(), log.appender.next_lsn().prev());
    if clean {
        log.committer.close().unwrap();
    }
    model.note_durable(log.durability.durable());
    drop(log);
    disk.power_loss();
    (disk, model)
}

/// Opens a damaged copy; `true` when it refused.
fn outcome(disk: &SimDisk, model: &Model, what: &str) -> bool {
    let before = image(disk);
    match open_sim(disk, &small(), 9) {
        Ok(log) => {
            let exposed = model.exposed.len();
            let mut found = model.clone();
            found.check(&log.reader).unwrap_or_else(|e| panic!("{what}: accepted, and {e}"));
            assert_eq!(found.exposed.len(), exposed, "{what}");
            false
        }
        Err(OpenError::Io { op, path, source }) => panic!("{what}: {op} {}: {source}", path.display()),
        Err(error) => {
            assert!(matches!(error.exit_code(), 65 | 78), "{what}: {error}");
            assert!(image(disk) == before, "I7: {what}: a refusal changed the disk");
            true
        }
    }
}

#[test]
fn i7_every_single_bit_of_headers_and_every_byte_of_the_rest() {
    // L11: the image after a refusal is the image before it.
    for clean in [true, false] {
        let (disk, model) = build(clean);
        let (mut flips, mut refused) = (0, 0);
        for (path, bytes) in image(&disk) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            for (offset, byte) in bytes.iter().enumerate() {
                // Unused zeros are sampled, everything else is flipped.
                let quiet = *byte == 0 && offset % 61 != 0;
                if quiet {
                    continue;
                }
                let bits: &[u8] = if offset % 512 < 64 { &[0, 3, 7] } else { &[1] };
                for bit in bits {
                    let damaged = disk.fork(1);
                    damaged.rot(&path, offset as u64, |b| b ^ (1 << bit));
                    flips += 1;
                    refused +=
                        u64::from(outcome(&damaged, &model, &format!("{name} offset {offset} bit {bit}")));
                }
            }
        }
        println!("log corruption: clean={clean} flips={flips} refused={refused}");
        assert!(flips > 5_000 && refused * 2 > flips, "{refused} of {flips} refused");
    }
}

/// Flips one bit in the payload of every batch.
pub(crate) fn sweep_payloads() {
    let (disk, model) = build(false);
    for stored in &model.exposed {
        let damaged = disk.fork(1);
        damaged.rot(&segment(stored.pos.segment), u64::from(stored.pos.offset) + 75, |b| b ^ 4);
        assert!(outcome(&damaged, &model, &format!("payload of LSN {}", stored.first)), "accepted");
    }
}

/// Flips one bit in every byte of the header of every batch: no field is served as it is not.
pub(crate) fn sweep_headers() {
    let (disk, model) = build(false);
    for stored in &model.exposed {
        for byte in 0..64 {
            let damaged = disk.fork(1);
            let at = u64::from(stored.pos.offset) + byte;
            damaged.rot(&segment(stored.pos.segment), at, |b| b ^ 4);
            outcome(&damaged, &model, &format!("byte {byte} of the header of LSN {}", stored.first));
        }
    }
}

/// Loses the last group, in part and as a whole: only WATERMARK says that it ever was.
pub(crate) fn sweep_ends() {
    for (clean, seed) in [true, false].into_iter().flat_map(|clean| (0..6).map(move |seed| (clean, seed))) {
        let (disk, model) = build_on(SimDisk::new(SimOptions::new(seed)), clean);
        let last = model.exposed.last().unwrap();
        for lost in [20, 64, 512] {
            let damaged = disk.fork(1);
            for byte in 0..lost {
                damaged.rot(&segment(last.pos.segment), u64::from(last.pos.offset) + byte, |_| 0);
            }
            assert!(outcome(&damaged, &model, &format!("the last group lost {lost} bytes")), "accepted");
        }
    }
}

/// Flips bits in a snapshot: what is read from it is what was written, or an error.
pub(crate) fn sweep_snapshots() {
    let (disk, mut model) = build(false);
    let log = open_sim(&disk, &small(), 9).unwrap();
    assert!(model.snapshot(&log.snapshots).unwrap());
    let newest = log.snapshots.newest();
    let path = dir().join("snapshots").join(format!("snap-{:020}.snap", newest.0));
    for offset in [10, 4100, 4104, 4105, 4120] {
        disk.rot(&path, offset, |b| b ^ 1);
        assert!(
            log.snapshots.read(newest).is_err() || log.snapshots.verify(newest).is_err(),
            "byte {offset}"
        );
        disk.rot(&path, offset, |b| b ^ 1);
        if log.snapshots.newest() != newest {
            return;
        }
    }
}

/// Loses the last group behind a snapshot of it: WATERMARK and the snapshot say that it was, no frame does.
pub(crate) fn sweep_end_behind_snapshot() {
    let (disk, mut model) = build(false);
    let log = open_sim(&disk, &small(), 9).unwrap();
    assert!(model.snapshot(&log.snapshots).unwrap());
    drop(log);
    disk.power_loss();
    let last = model.exposed.last().unwrap();
    for byte in 0..512 {
        disk.rot(&segment(last.pos.segment), u64::from(last.pos.offset) + byte, |_| 0);
    }
    assert!(outcome(&disk, &model, "the last group lost behind a snapshot"), "accepted");
}

#[test]
fn i7_every_payload_header_end_and_snapshot() {
    sweep_payloads();
    sweep_headers();
    sweep_ends();
    sweep_end_behind_snapshot();
    sweep_snapshots();
}

#[test]
fn i7_files_cut_lost_or_unreadable() {
    for clean in [true, false] {
        let (disk, model) = build(clean);
        let last_used = model.exposed.last().unwrap().pos.segment;
        assert!(last_used >= 3);
        for n in 1..=last_used {
            let lost = disk.fork(1);
            lost.lose(&segment(n));
            assert!(outcome(&lost, &model, &format!("segment {n} lost")), "segment {n} lost");
            for len in [0, 100, 4096, 8192, 16383] {
                let cut = disk.fork(1);
                cut.cut(&segment(n), len);
                assert!(outcome(&cut, &model, &format!("segment {n} cut to {len}")));
            }
        }
        let unreadable = disk.fork(1);
        unreadable.make_unreadable(&segment(1), 5000);
        let before = image(&unreadable);
        match open_sim(&unreadable, &small(), 9) {
            Err(OpenError::Io { .. }) => assert!(image(&unreadable) == before, "I7: changed on a read error"),
            other => panic!("a read error is not the end of the log: {:?}", other.map(|log| log.report)),
        }
    }
}

#[test]
fn manifest_and_watermark_lost() {
    let (disk, model) = build(false);
    for (names, refuses) in [
        (&["MANIFEST"][..], false),
        (&["MANIFEST.bak"], false),
        (&["MANIFEST", "MANIFEST.bak"], true),
        (&["WATERMARK"], true),
        (&["MANIFEST", "MANIFEST.bak", "WATERMARK"], true),
    ] {
        let lost = disk.fork(1);
        for name in names {
            lost.lose(&dir().join(name));
        }
        assert_eq!(outcome(&lost, &model, &format!("{names:?} lost")), refuses, "{names:?}");
    }
}

/// Each takes as long as a few lives.
fn rounds() -> u64 {
    seed_count().min(2_000)
}

/// Rot in one place together with an unsynced tail: still never an acknowledged event lost or served wrong.
#[test]
fn rot_under_a_torn_tail() {
    let (mut refused, mut survived) = (0, 0);
    for seed in 0..rounds() {
        let mut rng = SimRng::stream(seed, "rot");
        let (disk, mut model) = build(rng.per_mille(300));
        let mut log = open_sim(&disk, &small(), 9).unwrap();
        for _ in 0..1 + rng.below(4) {
            model.append(&mut log, &[8 + rng.index(900)], UnixMicros(20)).unwrap();
        }
        log.committer.step();
        drop(log);
        let disk = disk.fork(seed);
        disk.power_loss();
        let n = rng.index(model.exposed.len());
        let at = model.exposed[n].pos;
        let offset = u64::from(at.offset) + rng.below(64 + model.exposed[n].bodies[0].len() as u64);
        disk.rot(&segment(at.segment), offset, |b| b ^ 0x10);
        if outcome_with_tail(&disk, &model, seed) {
            refused += 1;
        } else {
            survived += 1;
        }
    }
    println!("log rot under a torn tail: refused={refused} harmless={survived}");
    assert!(refused > rounds() / 2);
}

fn outcome_with_tail(disk: &SimDisk, model: &Model, seed: u64) -> bool {
    let before = image(disk);
    match open_sim(disk, &small(), 30) {
        Ok(log) => {
            model.clone().check(&log.reader).unwrap_or_else(|e| panic!("SEED={seed}: accepted, and {e}"));
            false
        }
        Err(error) => {
            assert_eq!(error.exit_code(), 65, "SEED={seed}: {error}");
            assert!(image(disk) == before, "I7: SEED={seed}");
            true
        }
    }
}
