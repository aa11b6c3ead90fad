//! An ordered map for what is written with every call and hardly ever read: rows of executions and of readers, between two cuts.
//!
//! Owns: [`LazyMap`]. Never does: lose a row, or show them in another order than that of their keys: what arrived is put in
//! order when somebody looks. Of several values of a key the last one counts (P26).
//!
//! Whoever folds holds the sequencer's lock; to find a row's place among hundred thousands costs it more than all the rest.

use std::collections::BTreeMap;
use std::mem::take;

use parking_lot::{MappedRwLockReadGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// See the module.
#[derive(Debug)]
pub(crate) struct LazyMap<K, V>(RwLock<Parts<K, V>>);

#[derive(Debug)]
struct Parts<K, V> {
    ordered: BTreeMap<K, V>,
    /// In the order in which it came.
    arrived: Vec<(K, V)>,
}

impl<K: Ord, V> Default for LazyMap<K, V> {
    fn default() -> LazyMap<K, V> {
        LazyMap(RwLock::new(Parts { ordered: BTreeMap::new(), arrived: Vec::new() }))
    }
}

impl<K: Ord, V> LazyMap<K, V> {
    /// Adds a value, over an older one of the same key.
    pub(crate) fn put(&self, key: K, value: V) {
        self.0.write().arrived.push((key, value));
    }

    /// Everything in order. Nothing is added before this is given back.
    pub(crate) fn ordered(&self) -> MappedRwLockReadGuard<'_, BTreeMap<K, V>> {
        let parts = self.0.read();
        if parts.arrived.is_empty() {
            return RwLockReadGuard::map(parts, |parts| &parts.ordered);
        }
        drop(parts);
        let mut parts = self.0.write();
        let arrived = take(&mut parts.arrived);
        if parts.ordered.is_empty() {
            // Sorted once and put together from below, which takes a fraction of as many insertions.
            parts.ordered = arrived.into_iter().collect();
        } else {
            parts.ordered.extend(arrived);
        }
        RwLockReadGuard::map(RwLockWriteGuard::downgrade(parts), |parts| &parts.ordered)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn p26_it_is_an_ordered_map_whenever_somebody_looks(
            steps in vec((0_u8..16, any::<u16>(), any::<bool>()), 0..64)
        ) {
            let (lazy, mut model) = (LazyMap::default(), BTreeMap::new());
            for (key, value, look) in steps {
                lazy.put(key, value);
                model.insert(key, value);
                if look {
                    prop_assert_eq!(&*lazy.ordered(), &model);
                }
            }
            prop_assert_eq!(&*lazy.ordered(), &model);
        }
    }
}
