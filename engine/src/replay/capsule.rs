//! A recorded attempt as one portable file: a capsule.
//!
//! Owns: the format (JSON, `relive_capsule`); `take.rs` writes one ([`capsule`]), `open.rs` reads it ([`opened`]). Never does:
//! put a secret or a withheld header into it: placeholders stand for both.
//!
//! A capsule has what the run read, not the app: the scripts, the input, the seed, the claim time, the keys and pages
//! that it asked for, and what was recorded of its end. What a run asks for beyond that ends it, by name. Events stand
//! in it as the log encodes them, so that comparing loses nothing.
//!
//! Invariants: E126 a capsule replays as its recording does, unless it needs what was withheld; then it says so.

mod open;
mod take;
mod text;

use std::collections::BTreeMap;

use relive_log::{ExecutionId, LetterId, Lsn, UnixMicros};
use serde::{Deserialize, Serialize};

pub use self::open::opened;
pub use self::take::capsule;
use self::text::{ClosedText, EventText, InputText, KeyText, PageText, PastText, SendText, WriteText};
use crate::script::{ListPage, ListQuery, Moment, NoPast, PastVersion, Slot};

/// The format that this version writes and reads.
pub const CAPSULE_FORMAT: u64 = 1;

/// Why a file is no capsule for this version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCapsule {
    /// It is something else.
    #[error("this is no Relive capsule: {0}")]
    Foreign(String),
    /// Another version wrote it.
    #[error("the capsule has format {found} (written by {by}); this version reads format {CAPSULE_FORMAT}")]
    Format {
        /// Its format.
        found: u64,
        /// Who wrote it.
        by: String,
    },
    /// Its parts do not fit together.
    #[error("the capsule is damaged: {0}")]
    Damaged(String),
    /// The source to be tried does not compile.
    #[error("the source does not compile: {0}")]
    Source(crate::script::CompileError),
}

#[derive(Serialize, Deserialize)]
struct Head {
    relive_capsule: u64,
    #[serde(default)]
    made_by: String,
}

#[derive(Serialize, Deserialize)]
struct Capsule {
    #[serde(flatten)]
    head: Head,
    app: String,
    script: String,
    version: u32,
    execution_id: ExecutionId,
    attempt: u32,
    /// Sources by name; `script` is among them unless it was missing.
    scripts: BTreeMap<String, String>,
    input: InputText,
    withheld_headers: Vec<String>,
    input_masked: bool,
    snapshot_lsn: Lsn,
    claimed_at_us: UnixMicros,
    seed: String,
    keys: Vec<KeyText>,
    pages: Vec<PageText>,
    #[serde(default)]
    past: PastText,
    writes: Vec<WriteText>,
    #[serde(default)]
    sends: Vec<SendText>,
    #[serde(default)]
    sends_too_deep: usize,
    /// The dead letters that it closed.
    #[serde(default)]
    letters: Vec<ClosedText>,
    /// Who and where from, as the log encodes it.
    enqueued: EventText,
    /// How it ended; absent when nothing was recorded.
    ended: Option<EventText>,
}

/// What a run asked of the store, and was answered.
#[derive(Default)]
struct Seen {
    keys: BTreeMap<(String, String), Slot>,
    pages: BTreeMap<ListQuery, ListPage>,
    moments: BTreeMap<String, Result<Lsn, NoPast>>,
    past: BTreeMap<(String, String, Lsn), Slot>,
    histories: BTreeMap<(String, String, usize, usize), Vec<PastVersion>>,
    letters: BTreeMap<LetterId, Option<bool>>,
}

/// A moment as the name of an entry.
fn moment_text(at: &Moment) -> String {
    match at {
        Moment::Lsn(lsn) => format!("lsn {lsn}"),
        Moment::Time(time) => format!("us {}", time.0),
    }
}
