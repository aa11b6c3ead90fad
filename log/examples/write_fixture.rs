//! Writes the data directory of `log/tests/fixtures`: `cargo run -p relive-log --example write_fixture -- DIR`.
//!
//! Never run by a test. A fixture is written once by the commit that it is named after, and only read from then on.

#[path = "../tests/it/fixture_contents.rs"]
mod contents;

use std::path::Path;
use std::sync::Arc;

use relive_log::disk::RealDisk;
use relive_log::{FreshIdentity, Lsn, OpenedLog, StepOutcome, UnixMicros, open};

/// Batches of each of the two openings.
const BATCHES_PER_EPOCH: usize = 4;

#[expect(clippy::expect_used, clippy::print_stderr, reason = "a tool for people, not part of the log")]
fn main() {
    let Some(dir) = std::env::args_os().nth(1) else {
        eprintln!("write_fixture DIR");
        return;
    };
    let identity = FreshIdentity { log_id: *b"fixture's log id", frame_magic: [0x5a, 9, 8, 7] };
    for (epoch, batches) in contents::batches().chunks(BATCHES_PER_EPOCH).enumerate() {
        let now = UnixMicros(epoch as u64 + 1);
        let disk = Arc::new(RealDisk::new());
        let mut log = open(disk, Path::new(&dir), &contents::options(), identity, now).expect("opened");
        for batch in batches {
            log.appender.append(&batch.encoded(), batch.commit).expect("appended");
            settle(&mut log);
        }
        if epoch == 0 {
            let mut writer = log.snapshots.begin(Lsn(3), 7, UnixMicros(5)).expect("begun");
            for item in contents::SNAPSHOT_ITEMS {
                writer.push(item).expect("pushed");
            }
            writer.finish(contents::SNAPSHOT_DIGEST).expect("installed");
        }
        log.committer.close().expect("closed");
    }
}

fn settle(log: &mut OpenedLog) {
    while log.committer.step() != StepOutcome::Idle {
        log.preparer.step();
    }
}
