//! The scoreboard: each planted bug must be noticed, and the seed that did it first is printed.
//!
//! *Lives* are the random campaign. *Rot* is damage to proven data, which only some bugs let through. Layers that stand
//! behind other layers are not noticed when removed alone: they are removed in pairs here, and each is tested alone
//! beside the walk (`log/src/recovery/walk.rs`).
#![cfg(feature = "planted-bugs")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use relive_log::planted::{ALL, Bug, plant};

use super::campaign::run_seed;
use super::corruption;

/// What notices.
#[derive(Clone, Copy, Debug)]
enum By {
    /// The random campaign, within so many seeds.
    Lives(u64),
    /// Damage at rest.
    Rot,
}

const SCOREBOARD: &[(&[Bug], By)] = &[
    (&[Bug::AckBeforeSync], By::Lives(200)),
    (&[Bug::WatermarkBeforeSync], By::Lives(2_000)),
    (&[Bug::NoDirSync], By::Lives(200)),
    (&[Bug::RetrySync], By::Lives(2_000)),
    (&[Bug::PartialGroup], By::Lives(2_000)),
    (&[Bug::NoReaffirm], By::Lives(2_000)),
    (&[Bug::SyncWithoutRewrite], By::Lives(4_000)),
    (&[Bug::RenameBeforeSync], By::Lives(2_000)),
    (&[Bug::PayloadCrcIgnored], By::Lives(2_000)),
    (&[Bug::SnapshotNotSynced], By::Lives(2_000)),
    (&[Bug::SnapshotNoDirSync], By::Lives(2_000)),
    (&[Bug::UnlinkBeforeManifest], By::Lives(2_000)),
    (&[Bug::NoRecoverySync], By::Lives(2_000)),
    (&[Bug::LeftoversKept], By::Lives(2_000)),
    (&[Bug::WatermarkNotSyncedAtOpen], By::Lives(4_000)),
    (&[Bug::DurableOverclaimed], By::Lives(200)),
    (&[Bug::AckTooMuch], By::Lives(2_000)),
    (&[Bug::WriteErrorIgnored], By::Lives(2_000)),
    (&[Bug::SyncErrorIgnored], By::Lives(2_000)),
    (&[Bug::SyncEveryOther], By::Lives(2_000)),
    (&[Bug::RefusalBurnsLsn], By::Lives(2_000)),
    (&[Bug::CommitTimeNotClamped], By::Lives(200)),
    (&[Bug::ShortWriteAccepted], By::Lives(2_000)),
    (&[Bug::CutAboveOlder], By::Lives(2_000)),
    (&[Bug::ManifestNotSynced], By::Lives(2_000)),
    (&[Bug::ManifestNoDirSync], By::Lives(2_000)),
    (&[Bug::NoEpochBump], By::Lives(4_000)),
    (&[Bug::NoDRule], By::Rot),
    (&[Bug::HeaderCrcIgnored], By::Rot),
    (&[Bug::PayloadCrcIgnored], By::Rot),
    (&[Bug::WatermarkIgnored], By::Rot),
    (&[Bug::WatermarkNeverSynced], By::Rot),
    (&[Bug::NoScanAhead, Bug::WatermarkIgnored], By::Rot),
];

/// What noticed, in words.
fn notice(bugs: &[Bug], by: By) -> Option<String> {
    plant(bugs);
    let found = catch_unwind(AssertUnwindSafe(|| match by {
        By::Lives(seeds) => (0..seeds)
            .find_map(|seed| run_seed(seed).err().map(|violation| format!("seed {seed}: {violation}"))),
        By::Rot => {
            corruption::sweep_payloads();
            corruption::sweep_headers();
            corruption::sweep_ends();
            corruption::sweep_snapshots();
            None
        }
    }));
    plant(&[]);
    found.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Some(text.unwrap_or("a panic").to_owned())
    })
}

#[test]
fn planted_bugs_are_noticed() {
    let (mut missed, mut alone) = (Vec::new(), 0);
    for (bugs, by) in SCOREBOARD {
        match notice(bugs, *by) {
            Some(what) => println!("planted {bugs:?}: noticed by {by:?}: {what}"),
            None => missed.push(bugs),
        }
        alone += u32::from(bugs.len() == 1);
    }
    println!(
        "log scoreboard: bugs={} noticed={} of {}",
        ALL.len(),
        SCOREBOARD.len() - missed.len(),
        SCOREBOARD.len()
    );
    assert!(missed.is_empty(), "not noticed: {missed:?}");
    assert!(alone >= 30, "{alone}");
}

/// Behind other layers, or rarer than a short run; `cargo test -- --ignored` prints what notices them.
#[test]
#[ignore = "tens of thousands of seeds"]
fn subtle_planted_bugs() {
    for bugs in [
        &[Bug::NoErase][..],
        &[Bug::BlindWatermark],
        &[Bug::EraseFirstOnly],
        &[Bug::SegmentStartIgnored],
        &[Bug::SnapshotEvidenceIgnored],
        &[Bug::NoErase, Bug::ChainIgnored, Bug::EpochIgnored],
        &[Bug::NoErase, Bug::GroupFlagsIgnored, Bug::ChainIgnored, Bug::EpochIgnored],
    ] {
        println!("planted {bugs:?}: {:?}", notice(bugs, By::Lives(20_000)));
    }
}
