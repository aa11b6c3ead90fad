//! `random` and `uuid`: reproducible chance.
//!
//! Owns: the expansion of the recorded seed and everything drawn from it. Never does: ask the OS for chance.
//! The 16 recorded bytes become a ChaCha20 key as SHA-256(`relive-script-chance-v1` ‖ seed); all functions draw
//! from that one stream in the order of their calls (T1), so a replay draws the same.
//! Invariants: E40, E42.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use rhai::{Blob, NativeCallContext as Call};
use sha2::{Digest, Sha256};

use super::super::errors::{Answer, runtime};
use super::super::host::Host;
use super::Family;

const DOMAIN: &[u8] = b"relive-script-chance-v1";
/// Bytes of one call of `random::bytes`.
const BYTES_MAX: i64 = 65_536;

pub(in crate::script) fn generator(seed: [u8; 16]) -> ChaCha20Rng {
    let key: [u8; 32] = Sha256::new().chain_update(DOMAIN).chain_update(seed).finalize().into();
    ChaCha20Rng::from_seed(key)
}

pub(super) fn random() -> Family {
    let mut module = Family::new("random");
    module.add2("int", int);
    module.add0("float", float);
    module.add1("bytes", bytes);
    module
}

pub(super) fn uuid() -> Family {
    let mut module = Family::new("uuid");
    module.add0("v4", v4);
    module.add0("v7", v7);
    module
}

/// An integer from `lo` to `hi`, both included, each as likely as any other.
fn int(call: &Call<'_>, lo: i64, hi: i64) -> Answer<i64> {
    if lo > hi {
        return Err(runtime(format!("random::int: {lo} is above {hi}")));
    }
    let host = Host::of(call)?;
    let mut chance = host.chance();
    let span = hi.wrapping_sub(lo).cast_unsigned();
    let Some(values) = span.checked_add(1) else { return Ok(chance.next_u64().cast_signed()) };
    // Draws in the last, incomplete stretch of `values` would favour low results: drawn again.
    let whole = u64::MAX - (u64::MAX % values + 1) % values;
    loop {
        let drawn = chance.next_u64();
        if drawn <= whole {
            return Ok(lo.wrapping_add((drawn % values).cast_signed()));
        }
    }
}

/// A float from 0 (included) to 1 (not included), 53 random bits.
#[expect(clippy::cast_precision_loss, reason = "53 bits fit into a float exactly")]
fn float(call: &Call<'_>) -> Answer<f64> {
    let host = Host::of(call)?;
    let bits = host.chance().next_u64() >> 11;
    Ok(bits as f64 / (1_u64 << 53) as f64)
}

fn bytes(call: &Call<'_>, len: i64) -> Answer<Blob> {
    let host = Host::of(call)?;
    let size = usize::try_from(len)
        .ok()
        .filter(|_| len <= BYTES_MAX)
        .ok_or_else(|| runtime(format!("random::bytes: {len} is not 0 to {BYTES_MAX}")))?;
    let mut blob = vec![0; size];
    host.chance().fill_bytes(&mut blob);
    Ok(blob)
}

fn v4(call: &Call<'_>) -> Answer<String> {
    let host = Host::of(call)?;
    let mut random = [0; 16];
    host.chance().fill_bytes(&mut random);
    Ok(uuid::Builder::from_random_bytes(random).into_uuid().to_string())
}

/// Its time is the claim time, so ids of one run do not sort among themselves.
fn v7(call: &Call<'_>) -> Answer<String> {
    let host = Host::of(call)?;
    let mut random = [0; 10];
    host.chance().fill_bytes(&mut random);
    let ms = host.claim_time.as_millis();
    Ok(uuid::Builder::from_unix_timestamp_millis(ms, &random).into_uuid().to_string())
}
