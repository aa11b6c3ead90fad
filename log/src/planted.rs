//! Deliberately broken variants of the log, to show that the simulation would notice.
//!
//! Owns: the list, and which one is switched on. Never does: exist in an ordinary build; without the feature
//! `planted-bugs` every question is answered `false` at compile time.

/// A mistake that a log could make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Acknowledges before fdatasync returned.
    AckBeforeSync,
    /// Writes the watermark before fdatasync returned.
    WatermarkBeforeSync,
    /// Cuts at the first bad frame, whatever the evidence says.
    NoDRule,
    /// Leaves the bytes behind the end of the log where they are.
    NoErase,
    /// Does not sync what was accepted without proof.
    NoReaffirm,
    /// Syncs what was accepted without proof, and does not write it again first.
    SyncWithoutRewrite,
    /// Does not sync the directory after a rename.
    NoDirSync,
    /// Takes a failed fdatasync for a success when the second try succeeds.
    RetrySync,
    /// Accepts the sound frames of a group whose end is missing.
    PartialGroup,
    /// Does not look at payload checksums.
    PayloadCrcIgnored,
    /// Switches watermark slots on every write.
    BlindWatermark,
    /// Renames a prepared segment before it is synced.
    RenameBeforeSync,
    /// Installs a snapshot without a sync of its bytes.
    SnapshotNotSynced,
    /// Installs a snapshot without a sync of its name.
    SnapshotNoDirSync,
    /// Removes segments before MANIFEST names the new start.
    UnlinkBeforeManifest,
    /// Accepts frames that do not name the one before them.
    ChainIgnored,
    /// Accepts frames of older epochs behind newer ones.
    EpochIgnored,
    /// Accepts frames whose first LSN does not continue the one before.
    LsnIgnored,
    /// Accepts a segment that does not name the end of the one before.
    SegmentStartIgnored,
    /// Leaves the place of a frame out of its checksum.
    PlaceNotInChecksum,
    /// Does not look at the checksums of headers.
    HeaderCrcIgnored,
    /// Does not count what headers behind the end say.
    NoScanAhead,
    /// Does not count what WATERMARK says.
    WatermarkIgnored,
    /// Does not count what snapshots say.
    SnapshotEvidenceIgnored,
    /// Opens without a new epoch.
    NoEpochBump,
    /// Does not sync what recovery wrote.
    NoRecoverySync,
    /// Erases the first of the regions behind the end only.
    EraseFirstOnly,
    /// Leaves files of an earlier life where they are.
    LeftoversKept,
    /// Does not sync WATERMARK before it hands out the log.
    WatermarkNotSyncedAtOpen,
    /// Writes frames that claim to be durable themselves.
    DurableOverclaimed,
    /// Acknowledges what was appended after the group was taken.
    AckTooMuch,
    /// Goes on after a failed write.
    WriteErrorIgnored,
    /// Goes on after a failed sync.
    SyncErrorIgnored,
    /// Syncs every other group only.
    SyncEveryOther,
    /// Uses an LSN for a batch that it refuses.
    RefusalBurnsLsn,
    /// Lets commit times step back with the clock.
    CommitTimeNotClamped,
    /// Takes a short write for a whole one.
    ShortWriteAccepted,
    /// Cuts up to the newest snapshot, not the older one.
    CutAboveOlder,
    /// Renames MANIFEST before its bytes are synced.
    ManifestNotSynced,
    /// Does not sync the name of MANIFEST.
    ManifestNoDirSync,
    /// Never syncs WATERMARK while it writes.
    WatermarkNeverSynced,
    /// Accepts frames inside a group that say they begin one, and the other way round.
    GroupFlagsIgnored,
}

/// Every variant.
pub const ALL: [Bug; 42] = [
    Bug::AckBeforeSync,
    Bug::WatermarkBeforeSync,
    Bug::NoDRule,
    Bug::NoErase,
    Bug::NoReaffirm,
    Bug::SyncWithoutRewrite,
    Bug::NoDirSync,
    Bug::RetrySync,
    Bug::PartialGroup,
    Bug::PayloadCrcIgnored,
    Bug::BlindWatermark,
    Bug::RenameBeforeSync,
    Bug::SnapshotNotSynced,
    Bug::SnapshotNoDirSync,
    Bug::UnlinkBeforeManifest,
    Bug::ChainIgnored,
    Bug::EpochIgnored,
    Bug::LsnIgnored,
    Bug::SegmentStartIgnored,
    Bug::PlaceNotInChecksum,
    Bug::HeaderCrcIgnored,
    Bug::NoScanAhead,
    Bug::WatermarkIgnored,
    Bug::SnapshotEvidenceIgnored,
    Bug::NoEpochBump,
    Bug::NoRecoverySync,
    Bug::EraseFirstOnly,
    Bug::LeftoversKept,
    Bug::WatermarkNotSyncedAtOpen,
    Bug::DurableOverclaimed,
    Bug::AckTooMuch,
    Bug::WriteErrorIgnored,
    Bug::SyncErrorIgnored,
    Bug::SyncEveryOther,
    Bug::RefusalBurnsLsn,
    Bug::CommitTimeNotClamped,
    Bug::ShortWriteAccepted,
    Bug::CutAboveOlder,
    Bug::ManifestNotSynced,
    Bug::ManifestNoDirSync,
    Bug::WatermarkNeverSynced,
    Bug::GroupFlagsIgnored,
];

#[cfg(feature = "planted-bugs")]
mod switch {
    use std::cell::Cell;

    use super::Bug;

    const _: () = assert!(super::ALL.len() <= 64, "one bit each");

    thread_local! {
        static PLANTED: Cell<u64> = const { Cell::new(0) };
    }

    const fn bit(bug: Bug) -> u64 {
        1 << bug as u64
    }

    /// Switches these bugs on, and all others off, for this thread: simulations run on one thread.
    pub fn plant(bugs: &[Bug]) {
        PLANTED.with(|cell| cell.set(bugs.iter().fold(0, |set, bug| set | bit(*bug))));
    }

    pub(crate) fn is(bug: Bug) -> bool {
        PLANTED.with(|cell| cell.get() & bit(bug) != 0)
    }
}

#[cfg(feature = "planted-bugs")]
pub use switch::plant;

#[cfg(feature = "planted-bugs")]
pub(crate) fn is(bug: Bug) -> bool {
    switch::is(bug)
}

#[cfg(not(feature = "planted-bugs"))]
pub(crate) const fn is(_bug: Bug) -> bool {
    false
}
