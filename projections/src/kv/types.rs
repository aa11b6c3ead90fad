//! What reads of the KV view take and give.

use relive_log::events::SharedBytes;
use relive_log::{FramePos, Lsn, UnixMicros};

/// The instant that a read is as of: what was written up to an LSN, with times to live as of a time (K1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsOf {
    /// Everything up to here was written.
    pub lsn: Lsn,
    /// A key whose time to live ended at or before this time is absent (K2).
    pub time: UnixMicros,
}

/// One key as of an LSN.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KvSlot {
    /// The last write at or before the LSN, deletions included; [`Lsn::ZERO`]: there never was one.
    pub version: Lsn,
    /// The value, JSON text; `None` if absent or deleted.
    pub value: Option<SharedBytes>,
    /// Where the write stands in the log (meaningless without one).
    pub pos: FramePos,
    /// When the value's time to live ends.
    pub expires_at: Option<UnixMicros>,
    /// The write left a value, and its time to live is over: absent, although the log does not say so yet (K2).
    pub lapsed: bool,
}

/// Which part of a collection a listing wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KvRange {
    /// Keys start with this.
    pub prefix: String,
    /// Strictly after this key; strictly before it when `reverse`.
    pub cursor: Option<String>,
    /// From the highest key down.
    pub reverse: bool,
    /// At most so many items.
    pub limit: usize,
    /// At most so many bytes of keys and values, but at least one item.
    pub bytes_max: usize,
}

/// One item of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvItem {
    /// The key.
    pub key: String,
    /// The LSN of its last write.
    pub version: Lsn,
    /// The value, JSON text.
    pub value: SharedBytes,
    /// When its time to live ends.
    pub expires_at: Option<UnixMicros>,
}

/// One page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KvPage {
    /// The items, in the order asked for.
    pub items: Vec<KvItem>,
    /// Whether more keys follow; the last item's key is the cursor.
    pub more: bool,
    /// Keys passed over with the version that is absent only because its time to live is over (K2).
    pub lapsed: Vec<(String, Lsn)>,
}

/// One version of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvVersion {
    /// The write.
    pub lsn: Lsn,
    /// Where it stands.
    pub pos: FramePos,
    /// Whether it deleted the key, or ended its time to live.
    pub deleted: bool,
    /// When the time to live of the value that it wrote ends.
    pub expires_at: Option<UnixMicros>,
}

impl KvVersion {
    /// Whether it left a value that is there at this time.
    #[must_use]
    pub fn is_present_at(&self, time: UnixMicros) -> bool {
        !self.deleted && !self.is_lapsed_at(time)
    }

    /// Whether it left a value whose time to live is over at this time.
    #[must_use]
    pub fn is_lapsed_at(&self, time: UnixMicros) -> bool {
        !self.deleted && self.expires_at.is_some_and(|end| end <= time)
    }
}

/// The keys of a listing, for validation: `prefix` and, within it, the bounds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KvBounds {
    /// Keys start with this.
    pub prefix: String,
    /// Strictly above this key, if given.
    pub after: Option<String>,
    /// At or above this key, if given.
    pub from: Option<String>,
    /// At or below this key, if given.
    pub to: Option<String>,
    /// Strictly below this key, if given.
    pub before: Option<String>,
}
