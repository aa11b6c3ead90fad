//! Secrets: sealing with the instance key, digests of withheld headers, masking.
//!
//! Owns: [`InstanceKey`], [`seal`], [`open`], [`Masker`]. Never does: make keys or nonces (handed in), read files.
//!
//! Invariants:
//! * **E48** What was sealed opens only under the same key, nonce and associated data, unchanged to the last bit.
//! * **E49** After masking, no secret of [`Masker::VALUE_BYTES_MIN`] bytes or more is left in the text.

mod masker;
mod sealing;

pub use masker::{Masked, Masker};
pub use sealing::{InstanceKey, KeyTextError, OpenError, SealError, open, seal};
