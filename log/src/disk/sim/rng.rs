//! Chance for the simulated disk: SplitMix64, one independent stream per kind of fault, so that adding a kind does
//! not shift the others.

/// A deterministic stream of numbers.
#[derive(Clone, Debug)]
pub struct SimRng(u64);

impl SimRng {
    /// The stream of that name under that seed.
    #[must_use]
    pub fn stream(seed: u64, name: &str) -> Self {
        let mut rng =
            Self(seed ^ u64::from(crc32fast::hash(name.as_bytes())).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        rng.next_u64();
        rng
    }

    /// 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n` (0 when `n` is 0).
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.next_u64() % n }
    }

    /// Whether something of that probability happens.
    pub fn per_mille(&mut self, chance: u32) -> bool {
        chance > 0 && self.below(1000) < u64::from(chance)
    }

    /// An index below `n` (0 when `n` is 0).
    pub fn index(&mut self, n: usize) -> usize {
        usize::try_from(self.below(n as u64)).unwrap_or_default()
    }
}
