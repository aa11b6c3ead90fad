//! What a run is handed (seams) and what bounds it (limits).
//!
//! Owns: [`Snapshot`], [`SecretSource`], [`Stopwatch`], [`Limits`], and the stopwatch [`Unhurried`]. Never does: implement another seam.
//! Invariants: E43.

use relive_log::events::SharedBytes;
use relive_log::{LetterId, Lsn, UnixMicros};

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

/// A moment of the past that a script asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// After the whole batch that contains this LSN.
    Lsn(Lsn),
    /// After the last batch up to the snapshot that was committed at or before this time.
    Time(UnixMicros),
}

/// Why there is no such moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoPast {
    /// It is after the snapshot.
    InTheFuture,
    /// Retention cut it off.
    BelowHorizon {
        /// The first LSN that there is.
        first: Lsn,
    },
    /// The log could not be read.
    Failed(ReadFailed),
}

/// One version of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastVersion {
    /// Its LSN.
    pub lsn: Lsn,
    /// When it was committed.
    pub at: UnixMicros,
    /// `insert`, `update`, `delete`, `expire`.
    pub op: &'static str,
    /// The value after it, JSON text.
    pub value: Option<SharedBytes>,
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

    /// The LSN that a moment of the past stands for: the last one of its batch, never above the snapshot (K3);
    /// [`Lsn::ZERO`] before the first batch.
    ///
    /// # Errors
    /// When there is no such moment, or the log cannot be read.
    fn resolve(&self, at: Moment) -> Result<Lsn, NoPast>;

    /// One key as of an LSN that [`Snapshot::resolve`] gave.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn get_at(&self, collection: &str, key: &str, at: Lsn) -> Result<Slot, ReadFailed>;

    /// The newest versions of a key up to the snapshot, newest first: at most `limit`, and at least one but no more
    /// than fit into `bytes_max` bytes of values.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn history(
        &self,
        collection: &str,
        key: &str,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<PastVersion>, ReadFailed>;

    /// Whether a dead letter of the app is open; `None`: there is none. As of now, not of the snapshot: a letter closes
    /// once, and the commit looks again.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn letter(&self, letter: LetterId) -> Result<Option<bool>, ReadFailed>;
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

    /// After how many operations it wants to be asked again.
    fn look_every(&self) -> u64 {
        STOPWATCH_EVERY_OPERATIONS
    }
}

/// Never ends a run: its operations do.
#[derive(Clone, Copy, Debug)]
pub struct Unhurried;

impl Stopwatch for Unhurried {
    fn expired(&self) -> Option<StopCause> {
        None
    }
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
    /// Outgoing calls of one attempt.
    pub http_calls_max: usize,
    /// Bytes of the body of one outgoing call.
    pub http_request_bytes_max: usize,
    /// Bytes of the body of one answer; a longer one fails the call.
    pub http_response_bytes_max: usize,
    /// Bytes of an attempt's journal of outgoing calls: questions as far as they are kept, answers in full. With the
    /// writes (`write_bytes_max`) it fits into one batch.
    pub http_journal_bytes_max: usize,
    /// Log lines kept per attempt; later ones are dropped with a note.
    pub log_lines_max: usize,
    /// Bytes of log text kept per attempt; later text is dropped with a note.
    pub log_bytes_max: usize,
    /// Length of the body that answers a caller, bytes.
    pub response_bytes_max: usize,
}

impl Limits {
    /// Those on which it depends what a run comes to, with the numbers under which records keep them (`docs/events.md`). Not
    /// operations and memory: where these ended a run its record says.
    const fn numbered(&mut self) -> [(u8, &mut usize); 20] {
        [
            (1, &mut self.call_levels),
            (2, &mut self.string_bytes),
            (3, &mut self.array_len),
            (4, &mut self.map_len),
            (5, &mut self.variables),
            (6, &mut self.writes_max),
            (7, &mut self.write_bytes_max),
            (8, &mut self.key_bytes_max),
            (9, &mut self.collection_bytes_max),
            (10, &mut self.value_bytes_max),
            (11, &mut self.list_page_default),
            (12, &mut self.list_page_max),
            (13, &mut self.list_bytes_max),
            (14, &mut self.http_calls_max),
            (15, &mut self.http_request_bytes_max),
            (16, &mut self.http_response_bytes_max),
            (17, &mut self.log_lines_max),
            (18, &mut self.log_bytes_max),
            (19, &mut self.response_bytes_max),
            (20, &mut self.http_journal_bytes_max),
        ]
    }

    /// What the record of a run keeps of its bounds: those that are not the defaults.
    pub(crate) fn recorded(mut self) -> Vec<(u8, u64)> {
        let mut defaults =
            Limits { operations: self.operations, memory_bytes: self.memory_bytes, ..Limits::default() };
        if self == defaults {
            return Vec::new();
        }
        let pairs = self.numbered().into_iter().zip(defaults.numbered());
        let other = pairs.filter(|((_, own), (_, default))| own != default);
        other.map(|((number, own), _)| (number, *own as u64)).collect()
    }

    /// These bounds, but for those that decide what a run comes to: they are as a record has them.
    pub(crate) fn as_recorded(self, record: &[(u8, u64)]) -> Limits {
        let mut limits =
            Limits { operations: self.operations, memory_bytes: self.memory_bytes, ..Limits::default() };
        for (number, bound) in limits.numbered() {
            if let Some((_, kept)) = record.iter().find(|(of, _)| *of == number) {
                *bound = usize::try_from(*kept).unwrap_or(usize::MAX);
            }
        }
        limits
    }
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
            http_calls_max: 100,
            http_request_bytes_max: 1 << 20,
            http_response_bytes_max: 1 << 20,
            http_journal_bytes_max: 4 << 20,
            log_lines_max: 1000,
            log_bytes_max: 256 << 10,
            response_bytes_max: 4 << 20,
        }
    }
}
