//! The scoreboard: each planted bug must be noticed, and the seed that did it first is printed.
//!
//! *Lives* are the random campaign. *Rot* is damage to proven data, which only some bugs let through. *Twins* are
//! directed lives. Layers that stand behind other layers are not noticed when removed alone: they are removed together
//! here, it is shown that any one of them that stays is enough, and each is tested alone beside the walk
//! (`log/src/recovery/walk.rs`).
#![cfg(feature = "planted-bugs")]

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use relive_log::planted::{ALL, Bug, plant};

use super::campaign::run_seed;
use super::corruption;
use super::twins::{self, Twins};

/// What notices.
#[derive(Clone, Copy, Debug)]
enum By {
    /// The random campaign, within so many seeds.
    Lives(u64),
    /// Damage at rest.
    Rot,
    /// The loss of a last group that a snapshot holds.
    EndBehindSnapshot,
    /// Directed lives of that shape, within so many seeds.
    Twins(Twins, u64),
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
    (&[Bug::BlindWatermark], By::Twins(Twins::TornWatermark, 500)),
];

/// Layers behind each other: removed together they are noticed, and while one of them stays they are not.
const REDUNDANT: &[(&[Bug], By)] = &[
    (&[Bug::NoScanAhead, Bug::WatermarkIgnored], By::Rot),
    (&[Bug::SnapshotEvidenceIgnored, Bug::WatermarkIgnored], By::EndBehindSnapshot),
    (&[Bug::NoErase, Bug::ChainIgnored], By::Twins(Twins::Equal, 100)),
    (&[Bug::EraseFirstOnly, Bug::ChainIgnored, Bug::EpochIgnored], By::Twins(Twins::Equal, 200)),
    (&[Bug::NoErase, Bug::ChainIgnored, Bug::LsnIgnored], By::Twins(Twins::OtherCounts, 100)),
];

/// Layers that no crash comes to need, for reasons that stand in `docs/reliability.md`: a write to the wrong place would.
/// Their frames are made by hand beside the walk, where each is shown to be stopped by its layer and to pass without it.
const BY_HAND: &[Bug] = &[Bug::PlaceNotInChecksum, Bug::SegmentStartIgnored, Bug::GroupFlagsIgnored];

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
        By::EndBehindSnapshot => {
            corruption::sweep_end_behind_snapshot();
            None
        }
        By::Twins(shape, seeds) => (0..seeds).find_map(|seed| {
            twins::run_seed(seed, shape).err().map(|violation| format!("seed {seed}: {violation}"))
        }),
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
    let mut missed = Vec::new();
    for (bugs, by) in SCOREBOARD {
        match notice(bugs, *by) {
            Some(what) => println!("planted {bugs:?}: noticed by {by:?}: {what}"),
            None => missed.push(bugs),
        }
    }
    let alone: BTreeSet<_> = SCOREBOARD.iter().filter(|(bugs, _)| bugs.len() == 1).map(names).collect();
    println!("log scoreboard: bugs={} noticed alone={} missed={}", ALL.len(), alone.len(), missed.len());
    assert!(missed.is_empty(), "not noticed: {missed:?}");
    assert!(alone.len() >= 32, "{}", alone.len());
}

/// Removed together they are noticed; any one of them is enough.
#[test]
fn redundant_layers_are_needed_together_and_enough_alone() {
    let mut kept = 0;
    for (bugs, by) in REDUNDANT {
        let what = notice(bugs, *by);
        println!("planted {bugs:?}: noticed by {by:?}: {what:?}");
        assert!(what.is_some(), "not noticed: {bugs:?}");
        for stays in *bugs {
            let removed: Vec<Bug> = bugs.iter().copied().filter(|bug| bug != stays).collect();
            // One of these layers alone is noticed by other rot, and is on the scoreboard for it.
            let alone = if matches!(by, By::Rot) { None } else { notice(&removed, *by) };
            assert!(alone.is_none(), "{stays:?} is still there, and {removed:?} was noticed: {alone:?}");
            kept += 1;
        }
    }
    println!("log redundant layers: sets={} each enough alone={kept}", REDUNDANT.len());
}

/// No bug of the list goes without something that notices it.
#[test]
fn every_planted_bug_is_noticed_somewhere() {
    let noticed = SCOREBOARD.iter().chain(REDUNDANT).flat_map(|(bugs, _)| *bugs).chain(BY_HAND);
    let noticed: BTreeSet<String> = noticed.map(|bug| format!("{bug:?}")).collect();
    for bug in ALL {
        assert!(noticed.contains(&format!("{bug:?}")), "{bug:?}");
    }
}

fn names((bugs, _): &(&[Bug], By)) -> String {
    format!("{bugs:?}")
}

/// How often lives by chance come to what only directed ones show; `cargo test -- --ignored` prints it.
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
