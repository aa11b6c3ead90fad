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
}

/// Every variant.
pub const ALL: [Bug; 15] = [
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
];

#[cfg(feature = "planted-bugs")]
mod switch {
    use std::cell::Cell;

    thread_local! {
        static PLANTED: Cell<Option<super::Bug>> = const { Cell::new(None) };
    }

    /// Switches one bug on (or all off) for this thread: simulations run on one thread.
    pub fn plant(bug: Option<super::Bug>) {
        PLANTED.with(|cell| cell.set(bug));
    }

    pub(crate) fn is(bug: super::Bug) -> bool {
        PLANTED.with(|cell| cell.get() == Some(bug))
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
