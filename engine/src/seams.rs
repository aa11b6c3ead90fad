//! What the engine is handed because it may not reach for it: time and chance.
//!
//! Owns: the two traits. Both have two implementations: the server's (the system's clock and randomness) and
//! the simulation's (seeded). Never does: read a clock or draw a number itself.

use relive_log::UnixMicros;
use uuid::Uuid;

/// The wall clock. May step back: the log clamps commit times (K4), the engine orders by LSN only.
pub trait Clock: Send + Sync {
    /// Microseconds since the Unix epoch.
    fn now(&self) -> UnixMicros;
}

/// Randomness of the operating system (seeds, ids, jitter, nonces).
pub trait Entropy: Send + Sync {
    /// Fills `bytes` with unpredictable bytes.
    fn fill(&self, bytes: &mut [u8]);
}

/// A UUIDv7 from the seams: milliseconds of `now`, the rest random.
pub fn uuid_v7(now: UnixMicros, entropy: &dyn Entropy) -> Uuid {
    let mut random = [0_u8; 10];
    entropy.fill(&mut random);
    uuid::Builder::from_unix_timestamp_millis(now.as_millis(), &random).into_uuid()
}
