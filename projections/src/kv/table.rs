//! The KV table in memory: every version since the last cut, with its value.
//!
//! Owns: versions by key, and the order in which they were written (validation asks what was written since an LSN:
//! few writes, whatever the size of the range). Never does: forget a version.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;
use relive_log::events::SharedBytes;
use relive_log::{FramePos, Lsn, UnixMicros};

use super::types::KvVersion;
use crate::layers::MemoryTable;

/// About what a row costs beside its key and its value.
const ROW_BYTES: usize = 160;

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) lsn: Lsn,
    pub(super) pos: FramePos,
    /// `None`: a deletion, or the end of a time to live.
    pub(super) value: Option<SharedBytes>,
    pub(super) expires_at: Option<UnixMicros>,
}

impl Write {
    pub(super) fn version(&self) -> KvVersion {
        KvVersion { lsn: self.lsn, pos: self.pos, deleted: self.value.is_none(), expires_at: self.expires_at }
    }
}

/// Versions of one key. Most keys have one: it needs no allocation of its own.
#[derive(Debug)]
struct Versions {
    newest: Write,
    /// Ascending.
    older: Vec<Write>,
}

impl Versions {
    fn newest_first(&self) -> impl Iterator<Item = &Write> {
        std::iter::once(&self.newest).chain(self.older.iter().rev())
    }

    /// Those at or before `at`, ascending, and whether the newest is one.
    fn up_to(&self, at: Lsn) -> (&[Write], Option<&Write>) {
        if self.newest.lsn <= at {
            return (&self.older, Some(&self.newest));
        }
        let end = self.older.partition_point(|write| write.lsn <= at);
        (self.older.get(..end).unwrap_or_default(), None)
    }
}

#[derive(Debug, Default)]
struct Rows {
    by_key: BTreeMap<Arc<[u8]>, Versions>,
    by_lsn: Vec<(Lsn, Arc<[u8]>)>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: RwLock<Rows>,
    count: AtomicUsize,
    bytes: AtomicUsize,
}

impl Table {
    /// Adds a write, which is the newest of all.
    pub(super) fn put(&self, key: &[u8], write: Write) {
        let bytes = ROW_BYTES + key.len() + write.value.as_ref().map_or(0, |value| value.len());
        let lsn = write.lsn;
        let mut guard = self.rows.write();
        let rows = &mut *guard;
        // One walk down the tree, whether the key is there or not: that is most of what a write costs.
        let shared = match rows.by_key.entry(key.into()) {
            Entry::Occupied(mut entry) => {
                let shared = Arc::clone(entry.key());
                let versions = entry.get_mut();
                versions.older.push(std::mem::replace(&mut versions.newest, write));
                shared
            }
            Entry::Vacant(entry) => {
                let shared = Arc::clone(entry.key());
                entry.insert(Versions { newest: write, older: Vec::new() });
                shared
            }
        };
        rows.by_lsn.push((lsn, shared));
        drop(guard);
        self.count.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The last write of a key at or before `at`.
    pub(super) fn write_at(&self, key: &[u8], at: Lsn) -> Option<Write> {
        let rows = self.rows.read();
        let (older, newest) = rows.by_key.get(key)?.up_to(at);
        newest.or_else(|| older.last()).cloned()
    }

    /// The first write of a key above `lsn`.
    pub(super) fn version_after(&self, key: &[u8], lsn: Lsn) -> Option<Lsn> {
        let rows = self.rows.read();
        let versions = rows.by_key.get(key)?;
        let at = versions.older.partition_point(|write| write.lsn <= lsn);
        let newest = Some(&versions.newest).filter(|newest| newest.lsn > lsn);
        versions.older.get(at).or(newest).map(|write| write.lsn)
    }

    /// Versions of a key at or before `at`, newest first.
    pub(super) fn versions(&self, key: &[u8], at: Lsn, limit: usize, out: &mut Vec<KvVersion>) {
        if let Some(versions) = self.rows.read().by_key.get(key) {
            let room = limit.saturating_sub(out.len());
            let (older, newest) = versions.up_to(at);
            out.extend(newest.into_iter().chain(older.iter().rev()).take(room).map(Write::version));
        }
    }

    /// Whether a key of the range was written above `since`.
    pub(super) fn written_since(&self, range: &Range<Vec<u8>>, since: Lsn) -> bool {
        let rows = self.rows.read();
        let from = rows.by_lsn.partition_point(|(lsn, _)| *lsn <= since);
        rows.by_lsn
            .get(from..)
            .unwrap_or_default()
            .iter()
            .any(|(_, key)| range.start.as_slice() <= &**key && **key < *range.end.as_slice())
    }

    /// Every row in the order of runs: key ascending, LSN descending.
    pub(super) fn for_each<E>(&self, mut take: impl FnMut(&[u8], &Write) -> Result<(), E>) -> Result<(), E> {
        let rows = self.rows.read();
        for (key, versions) in &rows.by_key {
            versions.newest_first().try_for_each(|write| take(key, write))?;
        }
        Ok(())
    }
}

impl MemoryTable for Table {
    fn rows(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn key_from(&self, bound: &[u8]) -> Option<Vec<u8>> {
        let rows = self.rows.read();
        rows.by_key.range::<[u8], _>((Included(bound), Unbounded)).next().map(|(key, _)| key.to_vec())
    }

    fn key_before(&self, bound: &[u8]) -> Option<Vec<u8>> {
        let rows = self.rows.read();
        rows.by_key.range::<[u8], _>((Unbounded, Excluded(bound))).next_back().map(|(key, _)| key.to_vec())
    }
}
