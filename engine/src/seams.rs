//! What the engine is handed because it may not reach for it: time, chance and the network.
//!
//! Owns: the traits. Each has two implementations: the server's (the system's clock, randomness and sockets) and
//! the simulation's (seeded, scripted). Never does: read a clock, draw a number or open a socket itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use relive_log::UnixMicros;
use relive_log::events::CallAnswer;
use uuid::Uuid;

use crate::script::CallRequest;

/// The wall clock. May step back: the log clamps commit times (K4), the engine orders by LSN only.
pub trait Clock: Send + Sync {
    /// Microseconds since the Unix epoch.
    fn now(&self) -> UnixMicros;
}

/// A clock that never steps back: that of expiry, claims and commits (K1, K4). While the wall clock stands below what
/// was seen of it before, this one stands still.
pub(crate) struct Steady {
    clock: Arc<dyn Clock>,
    highest: AtomicU64,
}

impl Steady {
    /// Over a clock; `seen` is the last commit time of the log.
    pub(crate) fn new(clock: Arc<dyn Clock>, seen: UnixMicros) -> Steady {
        Steady { clock, highest: AtomicU64::new(seen.0) }
    }

    /// It is this late already: the latest that it ever was.
    pub(crate) fn raise(&self, seen: UnixMicros) -> UnixMicros {
        UnixMicros(self.highest.fetch_max(seen.0, Ordering::Relaxed).max(seen.0))
    }

    /// The time, at least what it ever was.
    pub(crate) fn now(&self) -> UnixMicros {
        self.raise(self.clock.now())
    }
}

/// Randomness of the operating system (seeds, ids, jitter, nonces).
pub trait Entropy: Send + Sync {
    /// Fills `bytes` with unpredictable bytes.
    fn fill(&self, bytes: &mut [u8]);
}

/// How long an outgoing call may take and how much may come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallBounds {
    /// From `start` to `done`, everything included, milliseconds.
    pub timeout_ms: u64,
    /// Bytes of the answer's body.
    pub response_bytes_max: usize,
}

/// Why an outgoing call has no answer: refused, no connection, a timeout, an answer over its bound.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CallFailed {
    /// For people: the script gets it as a run-time error.
    pub message: String,
}

/// What came of an outgoing call.
pub type CallResult = Result<CallAnswer, CallFailed>;
/// Takes what came of an outgoing call; must not block.
pub type CallDone = Box<dyn FnOnce(CallResult) + Send>;

/// The way outside for `http::` in scripts. The implementation judges addresses: it resolves a name, checks what it
/// resolved to, and connects to exactly that; redirects too.
pub trait Outgoing: Send + Sync {
    /// Starts a call; does not block. `done` is called exactly once, on any thread and within `bounds.timeout_ms`
    /// (before this returns, too). Answers have lower-case header names and `masked: false`.
    fn start(&self, request: CallRequest, bounds: CallBounds, done: CallDone);
}

/// No way outside: every call fails with this text.
#[derive(Debug)]
pub struct NoOutgoing(pub &'static str);

impl Outgoing for NoOutgoing {
    fn start(&self, _: CallRequest, _: CallBounds, done: CallDone) {
        done(Err(CallFailed { message: self.0.to_owned() }));
    }
}

/// A UUIDv7 from the seams: milliseconds of `now`, then the microseconds within it in the 12 bits of `rand_a`
/// (RFC 9562, 6.2, method 3), the rest random. Ids made in a row sort in that order, to the microsecond.
pub fn uuid_v7(now: UnixMicros, entropy: &dyn Entropy) -> Uuid {
    let mut tail = [0_u8; 10];
    entropy.fill(&mut tail);
    let fraction = (now.0 % 1000) * 4096 / 1000;
    let [high, low] = u16::try_from(fraction).unwrap_or(0xFFF).to_be_bytes();
    if let Some(sub_millisecond) = tail.first_chunk_mut::<2>() {
        *sub_millisecond = [high, low];
    }
    uuid::Builder::from_unix_timestamp_millis(now.as_millis(), &tail).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Ones;
    impl Entropy for Ones {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(0xFF);
        }
    }

    #[test]
    fn ids_sort_by_the_microsecond() {
        let at = |us| uuid_v7(UnixMicros(us), &Ones);
        let start = 1_800_000_000_000_000;
        let ids: Vec<Uuid> = (0..3000).map(|us| at(start + us)).collect();
        assert!(ids.is_sorted());
        assert!(ids.iter().all(|id| id.get_version_num() == 7));
    }
}
