//! A Bloom filter on whole keys, without the LSN: most runs do not hold the key that is asked for, and this says
//! so without a read. About ten bits a key, seven probes: one wrong "maybe" in a hundred.

use super::codec::{Bytes, len32};

const BITS_PER_KEY: u64 = 10;
const PROBES: u32 = 7;

/// The hash that the filter goes by.
pub(super) fn hash(key: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(key)
}

/// Which keys may be in the run.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Filter {
    words: Box<[u64]>,
    probes: u32,
}

impl Filter {
    /// Over the hashes of all keys.
    pub(super) fn build(hashes: &[u64]) -> Filter {
        let bits = super::codec::len64(hashes.len()).saturating_mul(BITS_PER_KEY).max(64);
        let words = usize::try_from(bits.div_ceil(64)).unwrap_or(1);
        let mut filter = Filter { words: vec![0; words].into_boxed_slice(), probes: PROBES };
        for &hash in hashes {
            for (word, mask) in places(hash, filter.words.len(), filter.probes) {
                if let Some(word) = filter.words.get_mut(word) {
                    *word |= mask;
                }
            }
        }
        filter
    }

    /// Whether the key with this hash may be there; `false` is certain.
    pub(super) fn may_contain(&self, hash: u64) -> bool {
        places(hash, self.words.len(), self.probes)
            .all(|(word, mask)| self.words.get(word).is_none_or(|word| word & mask != 0))
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(8 + self.words.len() * 8 + 4);
        out.extend_from_slice(&len32(self.words.len()).to_le_bytes());
        out.extend_from_slice(&self.probes.to_le_bytes());
        for word in &self.words {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Filter> {
        let mut rest = Bytes(bytes);
        let words = usize::try_from(rest.u32()?).ok()?;
        let probes = rest.u32()?;
        if words == 0 || rest.0.len() != words.checked_mul(8)? || probes > 64 {
            return None;
        }
        let mut out = Vec::with_capacity(words);
        while let Some(word) = rest.u64() {
            out.push(word);
        }
        Some(Filter { words: out.into_boxed_slice(), probes })
    }
}

/// Kirsch and Mitzenmacher, "Less hashing, same performance" (2006): two halves of one hash make all probes.
fn places(hash: u64, words: usize, probes: u32) -> impl Iterator<Item = (usize, u64)> {
    let bits = super::codec::len64(words).saturating_mul(64).max(1);
    let step = hash.rotate_left(32) | 1;
    (0..u64::from(probes)).map(move |probe| {
        let bit = hash.wrapping_add(step.wrapping_mul(probe)) % bits;
        (usize::try_from(bit / 64).unwrap_or(usize::MAX), 1 << (bit % 64))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p9_no_false_negative_and_few_false_positives() {
        let hashes: Vec<u64> = (0..20_000_u64).map(|n| hash(&n.to_le_bytes())).collect();
        let filter = Filter::build(&hashes);
        assert!(hashes.iter().all(|&h| filter.may_contain(h)));
        let wrong = (20_000..40_000_u64).filter(|n| filter.may_contain(hash(&n.to_le_bytes()))).count();
        assert!(wrong < 400, "{wrong} of 20000");
        assert_eq!(Filter::decode(&filter.encode()), Some(filter));
    }
}
