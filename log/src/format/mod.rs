//! Sizes that the whole format agrees on, checked against each other at compile time.
//!
//! Owns: the constants; one file per structure owns its bytes. Never does: I/O. `docs/format.md` is normative.

/// Bytes of a record header in a batch payload.
pub(crate) const RECORD_HEADER_LEN: usize = 8;
/// Upper bound of a batch payload in every log.
pub(crate) const BATCH_BYTES_MAX: u64 = 16 << 20;
/// Smallest segment.
pub(crate) const SEGMENT_BYTES_MIN: u64 = 16 << 10;
/// What a segment needs beside the largest payload: its header, control frames, frame headers, padding.
pub(crate) const SEGMENT_SLACK_BYTES: u64 = 8 << 10;
