//! The journal of outgoing calls: what an attempt asked of the world and what came back (T1).
//!
//! Every type here is part of the format on disk (bincode, field order matters). An attempt's calls stand in
//! [`AttemptRecord::calls`](super::AttemptRecord::calls) in the order in which they were asked: position 0 is the
//! first call of the run that ended the attempt. A run on the same input, snapshot, versions and seed asks the same
//! requests in the same order, so whoever runs it again hands out outcome *n* to question *n* and compares the
//! digests; the first difference is where the two runs part.
//!
//! A call that was in flight when something outside ended the attempt (timeout, shutdown) has no entry: the
//! journal's length is the position that was reached.

use bincode::{Decode, Encode};

use super::common::SharedBytes;

/// One outgoing call: the question as people may see it, its digest, and the outcome in full.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct CallRecord {
    /// SHA-256 of the whole request (method, URL, headers, body, time limit) after the values of the secrets that
    /// the run had taken by then were replaced by `‹secret:NAME›`: a run that is handed these placeholders instead
    /// of the values asks with the same digest.
    pub digest: [u8; 32],
    /// Method, upper case.
    pub method: String,
    /// The URL as it was asked for, secrets masked.
    pub url: String,
    /// Headers in order, lower-case names, secrets masked; sensitive ones hold `‹header:NAME›` only.
    pub headers: Vec<(String, String)>,
    /// Length of the request's body, bytes.
    pub body_len: u64,
    /// The first bytes of the request's body (at most [`CallRecord::HEAD_BYTES_MAX`]), secrets masked.
    pub body_head: Vec<u8>,
    /// Line of the call in the script, 0 when unknown.
    pub line: u32,
    /// How long the caller waited, milliseconds.
    pub took_ms: u64,
    /// What came of it.
    pub outcome: CallOutcome,
}

impl CallRecord {
    /// How much of a request's body is kept.
    pub const HEAD_BYTES_MAX: usize = 4 * 1024;
}

/// What came of an outgoing call.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum CallOutcome {
    /// An answer, whatever its status.
    Answered(CallAnswer),
    /// None: refused, no connection, a timeout, a body over its limit. The script got a run-time error that it
    /// could catch; this is its text, secrets masked.
    Failed(String),
}

/// An answer in full: a replay needs all of it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct CallAnswer {
    /// HTTP status.
    pub status: u16,
    /// Headers in order, lower-case names, secrets masked.
    pub headers: Vec<(String, String)>,
    /// The whole body, secrets masked.
    pub body: SharedBytes,
    /// Whether a secret's value was masked in the headers or the body: a replay that cannot put it back is not
    /// exact.
    pub masked: bool,
}
