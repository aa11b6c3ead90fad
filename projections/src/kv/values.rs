//! Values that were read back from the log lately.
//!
//! Owns: [`Values`], a cache bounded in bytes. Never does: read the log, or hold what was written but never read back.
//! An entry is never stale: an LSN names one event for ever, and its frame was verified when it was read (P23).

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use relive_log::Lsn;
use relive_log::events::SharedBytes;

/// Bytes of values that are kept.
const VALUES_BYTES_MAX: u64 = 8 << 20;
/// Larger values are read again: one of them would push out what many others have use for.
const VALUE_BYTES_MAX: usize = 64 << 10;
/// About how many values that is; sizes the cache's tables.
const VALUES_ESTIMATE: usize = 16 << 10;
/// What an entry takes beside its bytes.
const ENTRY_BYTES: u64 = 64;

#[derive(Clone)]
struct ByBytes;

impl Weighter<Lsn, SharedBytes> for ByBytes {
    fn weight(&self, _: &Lsn, value: &SharedBytes) -> u64 {
        u64::try_from(value.len()).unwrap_or(u64::MAX).saturating_add(ENTRY_BYTES)
    }
}

/// See the module.
pub(super) struct Values(Cache<Lsn, SharedBytes, ByBytes>);

impl Default for Values {
    fn default() -> Values {
        Values(Cache::with_weighter(VALUES_ESTIMATE, VALUES_BYTES_MAX, ByBytes))
    }
}

impl Values {
    /// The value that the event wrote.
    pub(super) fn get(&self, lsn: Lsn) -> Option<SharedBytes> {
        self.0.get(&lsn)
    }

    /// Keeps what was read back.
    pub(super) fn keep(&self, lsn: Lsn, value: &SharedBytes) {
        if value.len() <= VALUE_BYTES_MAX {
            self.0.insert(lsn, SharedBytes::clone(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p23_what_was_read_back_is_kept_by_its_lsn_unless_it_is_large() {
        let values = Values::default();
        let (small, large): (SharedBytes, SharedBytes) =
            (b"1"[..].into(), vec![b'x'; VALUE_BYTES_MAX + 1].into());
        values.keep(Lsn(1), &small);
        values.keep(Lsn(2), &large);
        assert_eq!((values.get(Lsn(1)), values.get(Lsn(2)), values.get(Lsn(3))), (Some(small), None, None));
    }

    #[test]
    fn p23_the_cache_is_bounded() {
        let values = Values::default();
        let value: SharedBytes = vec![b'x'; 1024].into();
        (0..20_000).for_each(|lsn| values.keep(Lsn(lsn), &value));
        assert!(values.0.weight() <= VALUES_BYTES_MAX, "{} bytes", values.0.weight());
    }
}
