//! P7, P10: the process dies at every single change of the disk, in turn; the next start is none the wiser.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use relive_log::Lsn;
use relive_log::events::Source;

use super::disk::NoSync;
use super::generator::{app, app_created, claimed, completed, enqueued, execution, put};
use super::rig::{Rig, settle};
use crate::{Views, ViewsError};

/// A history in which every kind of write to the disk happens: checkpoints, merges, removal of what was merged.
fn live(rig: &Rig, views: &Views) -> Result<(), ViewsError> {
    rig.log.commit(views, vec![app_created(app(0), "shop")]);
    for n in 0..14_u8 {
        let key = format!("k{}", n % 5);
        rig.log
            .commit(views, vec![put(app(0), "c", &key, "1"), enqueued(app(0), execution(n), Source::Direct)]);
        if n % 2 == 0 {
            rig.log.commit(views, vec![claimed(app(0), execution(n), 1), completed(app(0), execution(n), 1)]);
        }
        for _ in 0..4 {
            views.maintain(rig.log.last())?;
        }
    }
    views.close(rig.log.last())
}

/// Lives until the fuse blows; whether it lived through.
fn live_with(fuse: i64) -> bool {
    let mut rig = Rig::new();
    let left = Arc::new(AtomicI64::new(fuse));
    rig.options.disk = Arc::new(NoSync::with_fuse(Arc::clone(&left)));
    let survived = match rig.try_open() {
        Ok((views, _)) => live(&rig, &views).is_ok(),
        Err(_) => false,
    };
    left.store(i64::MAX, Ordering::Relaxed);
    let (views, opened) = rig.open();
    // Before the first generation was announced there was nothing in force: begun anew.
    if fuse > 12 {
        assert_eq!(opened.rebuilt, None, "killed at change {fuse}");
    }
    let fresh = rig.log.rebuilt(rig.log.last());
    assert_eq!(views.digest().unwrap(), fresh.digest().unwrap(), "killed at change {fuse}");
    settle(&views, rig.log.last());
    assert_eq!(views.digest().unwrap(), fresh.digest().unwrap(), "killed at change {fuse}");
    drop(views);
    let (_, opened) = rig.try_open().unwrap();
    assert_eq!((opened.applied, opened.rebuilt), (rig.log.last(), None));
    survived && rig.log.last() > Lsn(40)
}

#[test]
fn p7_killed_at_every_change_of_the_disk() {
    let through = (0..2000).find(|&fuse| live_with(fuse)).expect("the history ends");
    assert!(through > 100, "{through} changes");
}
