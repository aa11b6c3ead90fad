//! The judgement: is what stands after the valid prefix an unproven tail, or damage to acknowledged data?
//!
//! Owns: the classification table of `docs/recovery.md`, as data. Pure. Never does: I/O, guess from the shape of
//! the bad bytes; only evidence decides (the D-rule).

use serde::Serialize;

use crate::Lsn;

/// What gathering established. V is the last LSN of the valid prefix; H = V + 1 is the LSN expected at the hole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// V.
    pub valid: Lsn,
    /// Df: the highest `durable_lsn` in any frame that validates.
    pub frames: Lsn,
    /// Dw: WATERMARK.
    pub watermark: Lsn,
    /// Epoch in WATERMARK.
    pub watermark_epoch: u32,
    /// Dp: the views' `applied`, if readable.
    pub applied: Option<Lsn>,
    /// Ds: the newest snapshot that verifies; only what was durable is ever in one.
    pub snapshot: Option<Lsn>,
    /// WATERMARK says that the log was stopped in order.
    pub clean: bool,
    /// Epoch of the last accepted frame.
    pub epoch: u32,
    /// Headers after T that validate.
    pub headers_after: u64,
    /// The highest epoch among them.
    pub epoch_after: u32,
    /// Whether any byte after T is not zero.
    pub bytes_after: bool,
}

impl Facts {
    /// D: everything up to here is proven durable.
    #[must_use]
    pub fn proven(&self) -> Lsn {
        let written = self.applied.max(self.snapshot).unwrap_or_default();
        self.frames.max(self.watermark).max(written)
    }
}

/// The rows of the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Row {
    /// Nothing stands after T, nothing says that anything should: go on at T.
    #[default]
    End,
    /// Headers of the newest epoch that do not claim H: sectors of the unsynced group. Cut.
    TornSibling,
    /// Only headers of older epochs: leftovers of an earlier cut. Cut.
    OldDebris,
    /// Bytes that are no header, and no evidence that H ever was durable. Cut.
    TornAlone,
    /// A validating header after the hole claims that H was durable. Refuse.
    ProvenByFrame,
    /// WATERMARK, the views or a snapshot claim that H was durable. Refuse.
    ProvenByEvidence,
    /// The log was stopped in order, and its end is not where it was. Refuse.
    CleanStopBroken,
}

impl Row {
    /// Every row, for the documentation and the tests.
    pub const ALL: [Row; 7] = [
        Row::End,
        Row::TornSibling,
        Row::OldDebris,
        Row::TornAlone,
        Row::ProvenByFrame,
        Row::ProvenByEvidence,
        Row::CleanStopBroken,
    ];

    /// What follows from the row.
    #[must_use]
    pub const fn verdict(self) -> Verdict {
        match self {
            Row::End | Row::TornSibling | Row::OldDebris | Row::TornAlone => Verdict::Recover,
            Row::ProvenByFrame | Row::ProvenByEvidence | Row::CleanStopBroken => Verdict::Refuse,
        }
    }

    /// The row in words.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Row::End => "the log ends where its last group ends",
            Row::TornSibling => "a group was being written and never synced; its remains are cut",
            Row::OldDebris => "remains of an earlier cut are removed",
            Row::TornAlone => "unreadable bytes after the end, which nothing proves durable, are cut",
            Row::ProvenByFrame => "a later frame proves that damaged or missing events were durable",
            Row::ProvenByEvidence => {
                "WATERMARK, the views or a snapshot prove that damaged or missing events were durable"
            }
            Row::CleanStopBroken => "the log was stopped in order and does not end where it was stopped",
        }
    }
}

/// What follows from a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Cut what is unproven, reaffirm, go on.
    Recover,
    /// Touch nothing; say which LSNs are affected.
    Refuse,
}

/// Chooses the row (R8, R9).
#[must_use]
pub fn classify(facts: &Facts) -> Row {
    if facts.frames > facts.valid {
        return Row::ProvenByFrame;
    }
    if facts.proven() > facts.valid {
        return Row::ProvenByEvidence;
    }
    // Headers of older epochs after a clean end are leftovers whose erasure did not reach the disk.
    let newer_after = facts.headers_after > 0 && facts.epoch_after >= facts.watermark_epoch;
    if facts.clean && (facts.valid != facts.watermark || newer_after) {
        return Row::CleanStopBroken;
    }
    match (facts.headers_after, facts.bytes_after) {
        (0, false) => Row::End,
        (0, true) => Row::TornAlone,
        _ if facts.epoch_after >= facts.epoch => Row::TornSibling,
        _ => Row::OldDebris,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: Facts = Facts {
        valid: Lsn(10),
        frames: Lsn(9),
        watermark: Lsn(10),
        watermark_epoch: 3,
        applied: None,
        snapshot: None,
        clean: false,
        epoch: 3,
        headers_after: 0,
        epoch_after: 0,
        bytes_after: false,
    };
    const TORN: Facts = Facts { headers_after: 1, epoch_after: 3, bytes_after: true, ..SOUND };

    #[track_caller]
    fn check(facts: Facts, expect: Row) {
        assert_eq!(classify(&facts), expect, "{facts:?}");
    }

    #[test]
    fn row_end() {
        check(SOUND, Row::End);
        check(Facts { clean: true, ..SOUND }, Row::End);
        check(Facts { watermark: Lsn(0), frames: Lsn(0), ..SOUND }, Row::End);
    }

    #[test]
    fn row_torn_sibling() {
        check(TORN, Row::TornSibling);
        check(Facts { epoch_after: 4, ..TORN }, Row::TornSibling);
    }

    #[test]
    fn row_old_debris() {
        check(Facts { epoch_after: 2, ..TORN }, Row::OldDebris);
        check(Facts { epoch_after: 2, clean: true, ..TORN }, Row::OldDebris);
    }

    #[test]
    fn row_torn_alone() {
        check(Facts { bytes_after: true, ..SOUND }, Row::TornAlone);
    }

    #[test]
    fn row_proven_by_frame() {
        check(Facts { frames: Lsn(11), ..TORN }, Row::ProvenByFrame);
        check(Facts { frames: Lsn(11), watermark: Lsn(20), clean: true, ..TORN }, Row::ProvenByFrame);
    }

    #[test]
    fn row_proven_by_evidence() {
        check(Facts { watermark: Lsn(11), ..SOUND }, Row::ProvenByEvidence);
        check(Facts { applied: Some(Lsn(11)), ..TORN }, Row::ProvenByEvidence);
        check(Facts { applied: Some(Lsn(10)), ..SOUND }, Row::End);
        check(Facts { snapshot: Some(Lsn(11)), ..SOUND }, Row::ProvenByEvidence);
        check(Facts { snapshot: Some(Lsn(10)), applied: Some(Lsn(9)), ..SOUND }, Row::End);
    }

    #[test]
    fn row_clean_stop_broken() {
        check(Facts { clean: true, watermark: Lsn(9), ..SOUND }, Row::CleanStopBroken);
        check(Facts { clean: true, ..TORN }, Row::CleanStopBroken);
    }

    #[test]
    fn refusing_rows_are_exactly_those_that_prove_something() {
        for row in Row::ALL {
            let refuses = matches!(row, Row::ProvenByFrame | Row::ProvenByEvidence | Row::CleanStopBroken);
            assert_eq!(row.verdict() == Verdict::Refuse, refuses, "{row:?}");
        }
    }
}
