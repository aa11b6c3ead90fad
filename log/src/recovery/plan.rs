//! The plan: what a recovery that goes on will write, in full, before it writes anything. Pure.
//!
//! Owns: which groups are reaffirmed, which bytes are erased, which files go, the next epoch and the next state of
//! WATERMARK. Never does: I/O.

use std::path::PathBuf;

use crate::format::manifest::Manifest;
use crate::format::watermark::{Clean, Slot};
use crate::planted::{self, Bug};
use crate::{FramePos, Lsn};

use super::ahead::Extent;
use super::gather::{Gathered, ManifestCopies};
use super::walk::{GroupRef, drop_proven};

/// Everything that will be written.
#[derive(Debug)]
pub(crate) struct Plan {
    /// R10: copied to quarantine before they are erased.
    pub(crate) quarantine: Vec<Extent>,
    /// R11: written again with the same bytes, so that a sync means something.
    pub(crate) reaffirm: Vec<GroupRef>,
    /// R12.
    pub(crate) erase: Vec<Extent>,
    /// R12.
    pub(crate) remove: Vec<PathBuf>,
    pub(crate) restore_manifest: Option<Manifest>,
    /// R14.
    pub(crate) watermark: WatermarkPlan,
}

/// How WATERMARK is brought to the new epoch without ever having both slots at risk.
#[derive(Debug)]
pub(crate) struct WatermarkPlan {
    /// Written and synced first: the newest slot again, when only the page cache may hold it.
    pub(crate) reaffirm: Option<(u64, Slot)>,
    /// Then this one.
    pub(crate) next: (u64, Slot),
}

/// Plans the recovery of a directory that was judged recoverable.
pub(crate) fn plan(gathered: &Gathered, boot_id: [u8; 16]) -> Plan {
    let walked = &gathered.walked;
    let mut unproven = walked.unproven.clone();
    drop_proven(&mut unproven, gathered.facts().proven());
    if planted::is(Bug::NoReaffirm) {
        unproven.clear();
    }
    let erase = if planted::is(Bug::NoErase) { Vec::new() } else { gathered.ahead.nonzero.clone() };
    let erased = if planted::is(Bug::EraseFirstOnly) {
        erase.iter().take(1).copied().collect()
    } else {
        erase.clone()
    };
    let restore = (gathered.copies == ManifestCopies::OneMissing).then(|| gathered.manifest.clone());
    Plan {
        quarantine: erase,
        reaffirm: unproven.into(),
        erase: erased,
        remove: if planted::is(Bug::LeftoversKept) { Vec::new() } else { gathered.leftovers.clone() },
        restore_manifest: restore,
        watermark: plan_watermark(gathered, walked.valid, walked.end, boot_id),
    }
}

/// The newest slot may be in the page cache only; then the other one is durable (L7). So the newest is written again
/// and synced first, and only then the other one is given up. If the other one is unreadable, a write to it was torn,
/// which the rule allows only when the newest was durable.
fn plan_watermark(gathered: &Gathered, valid: Lsn, end: FramePos, boot_id: [u8; 16]) -> WatermarkPlan {
    let marks = &gathered.watermarks;
    let epoch = marks.best.epoch.max(gathered.walked.epoch).max(gathered.ahead.epoch)
        + u32::from(!planted::is(Bug::NoEpochBump));
    let next = Slot {
        counter: marks.best.counter + 1,
        epoch,
        durable: valid,
        end,
        chain: gathered.walked.chain,
        boot_id,
        clean: Clean::No,
        ..marks.best
    };
    WatermarkPlan {
        reaffirm: marks.other_is_sound.then_some((marks.best_slot, marks.best)),
        next: (1 - marks.best_slot, next),
    }
}
