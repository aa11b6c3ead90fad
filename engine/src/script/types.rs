//! What a run is handed (seams) and what bounds it (limits).
//!
//! Owns: [`Snapshot`], [`SecretSource`], [`Stopwatch`], [`Limits`]. Never does: implement a seam.
//! Invariants: E43.

use relive_log::events::SharedBytes;
use relive_log::{Lsn, UnixMicros};

/// Stack that a thread needs before it may call [`run`](super::run): dropping deeply nested values recurses.
pub const SCRIPT_STACK_BYTES: usize = 256 << 20;

/// The highest [`Limits::operations`] that [`SCRIPT_STACK_BYTES`] covers (nested captures, `docs/adr/0002`).
pub const OPERATIONS_UPPER_BOUND: u64 = 10_000_000;

/// One key as of the snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// LSN of its last write as of the snapshot, deletions too; [`Lsn::ZERO`] if it was never written.
    pub version: Lsn,
    /// Its value, JSON text; `None` when absent.
    pub value: Option<SharedBytes>,
    /// When the value's time to live ends.
    pub expires_at: Option<UnixMicros>,
    /// Absent only because its time to live is over: the log may not say so yet (K2).
    pub lapsed: bool,
}

/// A version that a run took for expired although the log may not say so yet (K2).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lapsed {
    /// Collection.
    pub collection: String,
    /// Key.
    pub key: String,
    /// The version whose time to live is over.
    pub version: Lsn,
}

/// One page of a listing, asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListQuery {
    /// Collection.
    pub collection: String,
    /// Keys start with this.
    pub prefix: String,
    /// Strictly after (before, when reverse) this key.
    pub cursor: Option<String>,
    /// From the highest key down.
    pub reverse: bool,
    /// At most so many items; at least 1.
    pub limit: usize,
}

/// One key of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListItem {
    /// The key.
    pub key: String,
    /// LSN of its last write as of the snapshot.
    pub version: Lsn,
    /// Its value, JSON text.
    pub value: SharedBytes,
}

/// One page of a listing, in bytewise key order (from the highest down when reverse).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListPage {
    /// The items; a page may end early, but is never empty when `more` is set.
    pub items: Vec<ListItem>,
    /// Whether the listing goes on after the last item.
    pub more: bool,
    /// Keys passed over with the version that is absent only because its time to live is over (K2).
    pub lapsed: Vec<(String, Lsn)>,
}

/// The store could not be read: ends the run as `internal`, scripts cannot catch it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ReadFailed {
    /// What went wrong, for people.
    pub message: String,
}

/// KV as of one LSN: the same question always has the same answer.
pub trait Snapshot: Send + Sync {
    /// One key.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn get(&self, collection: &str, key: &str) -> Result<Slot, ReadFailed>;

    /// One page.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn list(&self, query: &ListQuery) -> Result<ListPage, ReadFailed>;
}

/// What the store of secrets says.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretLookup {
    /// Here it is.
    Found {
        /// Its version, which goes into the journal.
        version: u32,
        /// Its value, which never does.
        value: String,
    },
    /// No such secret.
    Absent,
    /// It is sealed with a key that is not here.
    KeyMissing,
}

/// Secrets of the app, as of the claim.
pub trait SecretSource: Send + Sync {
    /// The secret of this name.
    fn get(&self, name: &str) -> SecretLookup;
}

/// Why something outside ends a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopCause {
    /// The wall-clock limit.
    Timeout,
    /// An orderly shutdown.
    ShuttingDown,
    /// It takes longer than its thread may be held up; it starts again on another one.
    NotBrief,
}

/// How many operations pass between two looks at the stopwatch.
pub const STOPWATCH_EVERY_OPERATIONS: u64 = 256;

/// Tells a run when to stop; the engine implements it over its clock. Asked every
/// [`STOPWATCH_EVERY_OPERATIONS`].
pub trait Stopwatch: Send + Sync {
    /// Why to stop now, if so.
    fn expired(&self) -> Option<StopCause>;
}

/// Every bound of one run (E43). Defaults: `semantics.md`, Limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Operations of the interpreter; capped at [`OPERATIONS_UPPER_BOUND`].
    pub operations: u64,
    /// Nested calls.
    pub call_levels: usize,
    /// Bytes held above the start of the run, where [`MeteredAlloc`](super::memory::MeteredAlloc) is installed.
    pub memory_bytes: u64,
    /// Length of one string, bytes.
    pub string_bytes: usize,
    /// Elements of one array (nested ones included), bytes of one blob.
    pub array_len: usize,
    /// Properties of one map (nested ones included).
    pub map_len: usize,
    /// Variables in scope at once.
    pub variables: usize,
    /// Keys written.
    pub writes_max: usize,
    /// Bytes of all keys and values written.
    pub write_bytes_max: usize,
    /// Length of a key, bytes.
    pub key_bytes_max: usize,
    /// Length of a collection's name, bytes.
    pub collection_bytes_max: usize,
    /// Length of a value as JSON, bytes.
    pub value_bytes_max: usize,
    /// Items of one page of `kv::list` when the script asks for no number.
    pub list_page_default: usize,
    /// The most items of one page of `kv::list`.
    pub list_page_max: usize,
    /// Bytes of keys and values in one page of `kv::list`; the page then ends early, with a cursor. Below
    /// `string_bytes`, because the interpreter counts all texts within one value together: a longer page could
    /// not be looked at. (A page of the admin API has up to 4 MiB.)
    pub list_bytes_max: usize,
    /// Log lines kept per attempt; later ones are dropped with a note.
    pub log_lines_max: usize,
    /// Bytes of log text kept per attempt; later text is dropped with a note.
    pub log_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            operations: 10_000_000,
            call_levels: 64,
            memory_bytes: 64 << 20,
            string_bytes: 1 << 20,
            array_len: 100_000,
            map_len: 100_000,
            variables: 1024,
            writes_max: 10_000,
            write_bytes_max: 8 << 20,
            key_bytes_max: 1024,
            collection_bytes_max: 256,
            value_bytes_max: 1 << 20,
            list_page_default: 100,
            list_page_max: 1000,
            list_bytes_max: 960 << 10,
            log_lines_max: 1000,
            log_bytes_max: 256 << 10,
        }
    }
}
