//! Fork of a log whose beginning was cut: base and snapshots go along under the new identity (L43), places in them are found
//! by LSN (L42), and what cannot be forked is refused by name.

use std::path::Path;

use relive_log::disk::sim::SimDisk;
use relive_log::tools::{self, Depth, ForkError, ForkPlan, ForkedLog, OfflineLog, Upto};
use relive_log::{Batch, FreshIdentity, Lsn, OpenError, UnixMicros};

use crate::salvage_cut::{arc, check, killed, lives_on, open_out, out, source};
use crate::sim::model::{Model, dir, image};
use crate::snapshots::{base_path, late, state_path};

fn fork(disk: &SimDisk, upto: Lsn) -> Result<ForkedLog, ForkError> {
    let before = source(disk);
    let log = OfflineLog::open(arc(disk), &dir(), Upto::Proven)?;
    let identity = FreshIdentity { log_id: [7; 16], frame_magic: [9; 4] };
    let plan = ForkPlan { upto, then: &Batch::new(), at: UnixMicros(77), identity };
    let made = tools::fork(&arc(disk), &log, &out(), &plan, &late(), &mut |_| {});
    assert!(source(disk) == before, "the log that is forked was touched");
    made
}

fn proven(disk: &SimDisk) -> Lsn {
    OfflineLog::open(arc(disk), &dir(), Upto::Proven).unwrap().reader.durable()
}

/// What a fork as of `upto` holds of what there was.
fn as_of(mut model: Model, upto: Lsn) -> Model {
    model.exposed.retain(|batch| batch.first <= upto);
    model
}

#[test]
fn l42_l43_a_fork_of_a_cut_log_takes_its_snapshots_and_its_base_along() {
    let (disk, model, snapshots) = killed(4);
    let upto = proven(&disk);
    let mut model = as_of(model, upto);
    let made = fork(&disk, upto).unwrap();
    assert_eq!(made.copied_lsn, upto);
    let verified = tools::verify(&arc(&disk), &out(), Depth::Everything, &mut |_, _| {}).unwrap();
    assert_eq!((verified.exit_code(), verified.snapshots.len()), (0, 3), "{verified:?}");
    for _ in 0..2 {
        let log = open_out(&disk);
        let listed: Vec<Lsn> = log.snapshots.list().iter().map(|info| info.last_lsn).collect();
        assert_eq!((log.timeline, log.log_id, listed), (1, [7; 16], snapshots.to_vec()));
        check(&log, &mut model, &[]);
        model.check_snapshots(&log.snapshots, &log.reader).unwrap();
        drop(log);
        disk.power_loss();
    }
    lives_on(&disk, model);
}

/// Every moment that can be asked for: as of it, or refused with the first one that can.
#[test]
fn a_cut_log_is_forked_as_of_its_oldest_snapshot_or_later() {
    let (disk, _, [older, newest]) = killed(4);
    let (last, mut forked) = (proven(&disk), 0);
    for upto in (0..=last.0).map(Lsn) {
        let (disk, model, _) = killed(4);
        match fork(&disk, upto) {
            Ok(_) => {
                assert!(upto >= older);
                let log = open_out(&disk);
                let kept = if upto >= newest { vec![older, newest] } else { vec![older] };
                let listed: Vec<Lsn> = log.snapshots.list().iter().map(|info| info.last_lsn).collect();
                assert_eq!(listed, kept, "as of {upto}");
                check(&log, &mut as_of(model, upto), &[]);
                forked += 1;
            }
            Err(ForkError::TooEarly { earliest, .. }) => {
                assert!(upto < older && earliest == older, "{upto}");
                assert!(
                    image(&disk).iter().all(|(path, _)| !path.starts_with("/out")),
                    "nothing was written"
                );
            }
            Err(error) => panic!("{upto}: {error}"),
        }
    }
    assert_eq!(forked, last.0 - older.0 + 1);
}

/// L43: a block, a header or a segment of one is refused in the other.
#[test]
fn l43_nothing_of_a_fork_validates_in_the_log_that_it_was_made_of() {
    let (disk, _, [_, newest]) = killed(4);
    let start = OfflineLog::open(arc(&disk), &dir(), Upto::Proven).unwrap().reader.first_lsn();
    fork(&disk, proven(&disk)).unwrap();
    for path in [state_path(newest), base_path(start.prev())] {
        let theirs = Path::new("/out").join(path.strip_prefix(dir()).unwrap());
        let (ours, forked) = (read(&disk, &path), read(&disk, &theirs));
        assert_eq!(ours.len(), forked.len());
        let blocks = |bytes: &[u8]| -> Vec<Vec<u8>> { bytes.chunks(512).map(<[u8]>::to_vec).collect() };
        let differ = blocks(&ours).iter().zip(&blocks(&forked)).filter(|(a, b)| a != b).count();
        assert!(differ >= 3, "header, checksums of blocks and footer: {differ}");
        plant(&disk, &theirs, &ours);
        let verified = tools::verify(&arc(&disk), &out(), Depth::Everything, &mut |_, _| {}).unwrap();
        assert_eq!(verified.exit_code(), 65, "{}", path.display());
        plant(&disk, &theirs, &forked);
    }
    let verified = tools::verify(&arc(&disk), &out(), Depth::Everything, &mut |_, _| {}).unwrap();
    assert_eq!(verified.exit_code(), 0);
}

fn plant(disk: &SimDisk, path: &Path, bytes: &[u8]) {
    for (offset, (&byte, old)) in bytes.iter().zip(read(disk, path)).enumerate() {
        if byte != old {
            disk.rot(path, offset as u64, |_| byte);
        }
    }
}

fn read(disk: &SimDisk, path: &Path) -> Vec<u8> {
    image(disk).into_iter().find(|(name, _)| name == path).unwrap().1
}

/// A fork seals anew what it copies: what is damaged is refused instead, and nothing is written.
#[test]
fn what_a_cut_log_lacks_is_refused_by_name() {
    type Damage = dyn Fn(&SimDisk, Lsn, [Lsn; 2]);
    let cases: [(&Damage, &str); 3] = [
        (
            &|disk, _, [older, newest]| {
                [older, newest].iter().for_each(|lsn| disk.rot(&state_path(*lsn), 4300, |byte| byte ^ 1));
            },
            "that is sound",
        ),
        (&|disk, start, _| disk.rot(&base_path(start.prev()), 4096 + 500, |byte| byte ^ 1), "log salvage"),
        (&|disk, start, _| disk.lose(&base_path(start.prev())), "the file is missing"),
    ];
    for (damage, says) in cases {
        let (disk, _, snapshots) = killed(2);
        let start = OfflineLog::open(arc(&disk), &dir(), Upto::Proven).unwrap().reader.first_lsn();
        let upto = proven(&disk);
        damage(&disk, start, snapshots);
        let error = fork(&disk, upto).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, ForkError::Open(OpenError::Damaged { .. })), "{text}");
        assert!(text.contains(says), "{says}: {text}");
        assert!(disk.files().iter().all(|(path, _)| !path.starts_with("/out")), "nothing was written");
    }
    // One of both is enough.
    let (disk, model, [older, newest]) = killed(2);
    disk.rot(&state_path(newest), 4300, |byte| byte ^ 1);
    fork(&disk, proven(&disk)).unwrap();
    let log = open_out(&disk);
    assert_eq!(log.snapshots.list().iter().map(|info| info.last_lsn).collect::<Vec<_>>(), [older]);
    check(&log, &mut as_of(model, proven(&disk)), &[]);
}
