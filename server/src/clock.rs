//! The system's clock and randomness, behind the engine's seams.
//!
//! Owns: the only place of the workspace that reads either. Never does: sleep.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use relive_engine::seams::{Clock, Entropy};
use relive_log::UnixMicros;

/// The system's wall clock.
#[derive(Debug)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixMicros {
        now()
    }
}

/// Microseconds since the Unix epoch; 0 on a machine whose clock stands before it.
pub(crate) fn now() -> UnixMicros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMicros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// The operating system's randomness, drawn ahead: every byte is given out once, and wiped where it was.
#[derive(Debug)]
pub(crate) struct SystemEntropy;

/// Bytes drawn ahead by one thread.
const POOL_BYTES: usize = 2048;

thread_local! {
    static POOL: RefCell<([u8; POOL_BYTES], usize)> = const { RefCell::new(([0; POOL_BYTES], POOL_BYTES)) };
}

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        POOL.with_borrow_mut(|(pool, used)| {
            let mut rest = bytes;
            while !rest.is_empty() {
                if *used == POOL_BYTES {
                    fill(pool);
                    *used = 0;
                }
                let ahead = pool.get_mut(*used..).unwrap_or_default();
                let count = ahead.len().min(rest.len());
                let (now, later) = rest.split_at_mut(count);
                let (taken, _) = ahead.split_at_mut(count);
                now.copy_from_slice(taken);
                taken.fill(0);
                *used += count;
                rest = later;
            }
        });
    }
}

/// Fills `bytes` from the operating system.
///
/// # Panics
/// When the system has no randomness: nothing here may go on without.
pub(crate) fn fill(bytes: &mut [u8]) {
    let mut rest = bytes;
    while !rest.is_empty() {
        match rustix::rand::getrandom(&mut *rest, rustix::rand::GetRandomFlags::empty()) {
            Ok(read) => rest = rest.get_mut(read..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            #[expect(clippy::panic, reason = "without randomness, seeds and nonces would repeat")]
            Err(error) => panic!("the system has no randomness: {error}"),
        }
    }
}

/// An array of random bytes.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill(&mut bytes);
    bytes
}
