//! The scoreboard: each planted bug must be caught by the campaign, and the seed that did it is printed.
#![cfg(feature = "planted-bugs")]

use relive_log::planted::{Bug, plant};

use super::campaign::run_seed;

/// The first seed that notices the bug.
fn first_failing_seed(bug: Bug, seeds: u64) -> Option<(u64, String)> {
    plant(Some(bug));
    let found = (0..seeds).find_map(|seed| run_seed(seed).err().map(|violation| (seed, violation)));
    plant(None);
    found
}

#[test]
fn planted_bugs_are_caught() {
    let budgets = [
        (Bug::AckBeforeSync, 200),
        (Bug::WatermarkBeforeSync, 2_000),
        (Bug::NoDirSync, 200),
        (Bug::RetrySync, 2_000),
        (Bug::PartialGroup, 2_000),
        (Bug::NoReaffirm, 2_000),
        (Bug::SyncWithoutRewrite, 4_000),
        (Bug::RenameBeforeSync, 2_000),
        (Bug::PayloadCrcIgnored, 2_000),
        (Bug::SnapshotNotSynced, 2_000),
        (Bug::SnapshotNoDirSync, 2_000),
        (Bug::UnlinkBeforeManifest, 2_000),
    ];
    let mut missed = Vec::new();
    for (bug, seeds) in budgets {
        match first_failing_seed(bug, seeds) {
            Some((seed, violation)) => println!("planted {bug:?}: caught by seed {seed}: {violation}"),
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}

/// Bugs that only matter when proven data is damaged: the corruption sweep must notice.
#[test]
fn planted_bugs_are_caught_by_rot() {
    for bug in [Bug::NoDRule, Bug::PayloadCrcIgnored] {
        plant(Some(bug));
        let noticed = std::panic::catch_unwind(super::corruption::sweep_payloads);
        plant(None);
        let violation = noticed.expect_err("the sweep notices");
        println!("planted {bug:?}: caught by rot: {:?}", violation.downcast_ref::<String>());
    }
    super::corruption::sweep_payloads();
}

/// Too subtle, or covered by other layers, to be demanded of a short run; run it by hand with `--ignored`.
#[test]
#[ignore = "thousands of seeds"]
fn subtle_planted_bugs() {
    for bug in [Bug::NoErase, Bug::BlindWatermark] {
        println!("planted {bug:?}: {:?}", first_failing_seed(bug, 20_000));
    }
}
