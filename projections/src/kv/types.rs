//! What reads of the KV view take and give.

use relive_log::events::SharedBytes;
use relive_log::{FramePos, Lsn};

/// One key as of an LSN.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KvSlot {
    /// The last write at or before the LSN, deletions included; [`Lsn::ZERO`]: there never was one.
    pub version: Lsn,
    /// The value, JSON text; `None` if absent or deleted.
    pub value: Option<SharedBytes>,
    /// Where the write stands in the log (meaningless without one).
    pub pos: FramePos,
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
}

/// One page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KvPage {
    /// The items, in the order asked for.
    pub items: Vec<KvItem>,
    /// Whether more keys follow; the last item's key is the cursor.
    pub more: bool,
}

/// One version of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvVersion {
    /// The write.
    pub lsn: Lsn,
    /// Where it stands.
    pub pos: FramePos,
    /// Whether it deleted the key.
    pub deleted: bool,
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
