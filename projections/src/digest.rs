//! A digest of a set of rows that does not depend on their order: the sum, modulo 2^128, of a hash of each row.
//! Adding and taking away a row is one hash, whatever the size of the set (V8).

use xxhash_rust::xxh3::Xxh3;

/// Digest of a set of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digest(pub(crate) u128);

impl Digest {
    fn row(key: &[u8], value: &[u8]) -> u128 {
        let mut hasher = Xxh3::new();
        // The length keeps (ab, c) and (a, bc) apart.
        hasher.update(&u64::try_from(key.len()).unwrap_or(u64::MAX).to_le_bytes());
        hasher.update(key);
        hasher.update(value);
        hasher.digest128()
    }

    pub(crate) fn add(&mut self, key: &[u8], value: &[u8]) {
        self.0 = self.0.wrapping_add(Digest::row(key, value));
    }

    /// A row of which there may be several versions.
    pub(crate) fn add_versioned(&mut self, key: &[u8], lsn: u64, value: &[u8]) {
        let mut hasher = Xxh3::new();
        hasher.update(&u64::try_from(key.len()).unwrap_or(u64::MAX).to_le_bytes());
        hasher.update(key);
        hasher.update(&lsn.to_le_bytes());
        hasher.update(value);
        self.0 = self.0.wrapping_add(hasher.digest128());
    }

    pub(crate) fn remove(&mut self, key: &[u8], value: &[u8]) {
        self.0 = self.0.wrapping_sub(Digest::row(key, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v8_order_does_not_matter_and_removal_undoes() {
        let (mut a, mut b) = (Digest::default(), Digest::default());
        a.add(b"k1", b"v1");
        a.add(b"k2", b"v2");
        b.add(b"k2", b"v2");
        b.add(b"k3", b"x");
        b.add(b"k1", b"v1");
        assert_ne!(a, b);
        b.remove(b"k3", b"x");
        assert_eq!(a, b);
        let mut c = Digest::default();
        c.add(b"k", b"1v1");
        c.add(b"k2v", b"2");
        assert_ne!(a, c);
    }
}
