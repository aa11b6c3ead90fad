//! Data directories that earlier commits wrote are opened, read and continued. Each stands in `log/tests/fixtures` under
//! the commit that wrote it; from 0.1.0 on they stay for ever, before that a change of the format replaces them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use relive_log::disk::{Disk, RealDisk};
use relive_log::tools::{self, Depth};
use relive_log::{FreshIdentity, Lsn, UnixMicros, open};

use crate::fixture_contents::{self as contents, SNAPSHOT_DIGEST, SNAPSHOT_ITEMS};

fn fixtures() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut found: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    found.retain(|path| path.is_dir());
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn directories_of_earlier_commits_are_opened_read_and_continued() {
    let found = fixtures();
    assert!(!found.is_empty());
    for fixture in found {
        let name = fixture.display().to_string();
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("data");
        copy(&fixture, &dir);
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
        let verified = tools::verify(&disk, &dir, Depth::Everything, &mut |_, _| {}).unwrap();
        assert_eq!(verified.exit_code(), 0, "{name}: {verified:?}");
        let expected = contents::batches();
        let mut last = Lsn(expected.iter().map(|batch| batch.bodies.len() as u64).sum());
        for now in [1_000, 2_000] {
            let identity = FreshIdentity { log_id: [0; 16], frame_magic: [0; 4] };
            let mut log =
                open(Arc::clone(&disk), &dir, &contents::options(), identity, UnixMicros(now)).unwrap();
            assert_eq!((log.report.valid_lsn, log.report.clean), (last, true), "{name}");
            let mut scan = log.reader.scan(Lsn(1)).unwrap();
            for batch in &expected {
                let frame = scan.next().unwrap().unwrap();
                let bodies: Vec<_> = frame.records().map(|record| record.body.to_vec()).collect();
                assert_eq!((frame.commit_time, bodies), (batch.commit, batch.bodies.clone()), "{name}");
            }
            let info = log.snapshots.list();
            assert_eq!(
                info.iter().map(|i| (i.last_lsn, i.digest)).collect::<Vec<_>>(),
                [(Lsn(3), SNAPSHOT_DIGEST)]
            );
            let mut items = log.snapshots.read(Lsn(3)).unwrap();
            for item in SNAPSHOT_ITEMS {
                assert_eq!(items.next_item().unwrap().as_deref(), Some(item), "{name}");
            }
            drop(items);
            log.appender.append(&expected[0].encoded(), UnixMicros(now)).unwrap();
            while log.committer.step() != relive_log::StepOutcome::Idle {
                log.preparer.step();
            }
            last = last.next();
            log.committer.close().unwrap();
        }
    }
}
