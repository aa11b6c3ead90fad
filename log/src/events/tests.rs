//! Codec and registry of events: round trips, truncations, bit flips, hostile lengths, golden bytes (L30 to L32).
//!
//! The samples stand in [`samples`]; their bytes in `log/tests/golden/events/`, which no test ever writes (the
//! example `golden_events` prints them for a person).

mod samples;

/// What the samples are made of.
mod vocabulary {
    pub(super) use crate::events::*;
    pub(super) use crate::ids::{
        AppId, BacktestId, ExecutionId, JobId, LetterId, PrincipalId, RouteId, TriggerId,
    };
    pub(super) use crate::types::{Lsn, UnixMicros};
}

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use samples::samples;

use super::codec::WRITTEN;
use super::*;

type Checked = Result<(), Box<dyn std::error::Error>>;

/// A length that no body can hold, as the varint that stands for it.
const HOSTILE_LEN: [u8; 9] = {
    let [a, b, c, d, e, f, g, h] = (1_u64 << 36).to_le_bytes();
    [253, a, b, c, d, e, f, g, h]
};

fn encoded(event: &Event) -> (u16, Vec<u8>) {
    let mut body = Vec::new();
    let (number, version) = encode_record(event, &mut body);
    assert_eq!(version, 1);
    (number, body)
}

#[test]
fn l30_registry_is_sorted_unique_and_agrees_with_the_codec() {
    assert!(registry::KINDS.is_sorted_by(|a, b| a.number < b.number));
    let mut names: Vec<_> = registry::KINDS.iter().map(|kind| kind.name).collect();
    names.sort_unstable();
    assert!(names.is_sorted_by(|a, b| a < b), "a name stands twice");
    let written: Vec<_> = registry::KINDS.iter().filter(|k| k.written).map(|k| (k.number, k.name)).collect();
    assert_eq!(written, WRITTEN);
}

#[test]
fn l30_every_written_kind_has_a_sample_under_its_name() {
    let names: BTreeSet<_> = WRITTEN.iter().map(|(_, name)| *name).collect();
    let sampled: BTreeSet<_> = samples().iter().map(|(kind, ..)| *kind).collect();
    assert_eq!(sampled, names);
    for (kind, sample, event) in samples() {
        assert_eq!(event.kind().name, kind, "{sample}");
    }
}

#[test]
fn l30_reserved_and_unheard_of_numbers_are_unknown() {
    let reserved = registry::KINDS.iter().filter(|kind| !kind.written).map(|kind| (kind.number, 1));
    let newer = WRITTEN.iter().flat_map(|(number, _)| [(*number, 0), (*number, 2), (*number, u16::MAX)]);
    for (number, version) in reserved.chain(newer).chain([(0, 1), (u16::MAX, 1)]) {
        let decoded = decode_record(number, version, &[]);
        assert!(
            matches!(decoded, Err(DecodeError::Unknown { type_number, version: v }) if (type_number, v) == (number, version)),
            "{number:#06x} version {version}: {decoded:?}"
        );
    }
}

#[test]
fn l31_every_sample_survives_the_round_trip() -> Checked {
    for (kind, sample, event) in samples() {
        let (number, body) = encoded(&event);
        let decoded = decode_record(number, 1, &body).map_err(|e| format!("{kind} {sample}: {e}"))?;
        assert_eq!(decoded, event, "{kind} {sample}");
    }
    Ok(())
}

#[test]
fn l31_every_truncation_and_every_trailing_byte_is_an_error() {
    let mut truncations = 0_usize;
    for (kind, sample, event) in samples() {
        let (number, mut body) = encoded(&event);
        for len in 0..body.len() {
            let decoded = decode_record(number, 1, body.get(..len).unwrap_or_default());
            assert!(
                matches!(decoded, Err(DecodeError::Body { .. })),
                "{kind} {sample} cut to {len}: {decoded:?}"
            );
            truncations += 1;
        }
        for extra in [0, 1, 0xff] {
            body.push(extra);
            let decoded = decode_record(number, 1, &body);
            assert!(
                matches!(decoded, Err(DecodeError::Trailing { left: 1, .. })),
                "{kind} {sample} and {extra:#04x}: {decoded:?}"
            );
            body.pop();
        }
    }
    assert!(truncations > 4000, "{truncations} truncations");
}

#[test]
fn l32_no_single_bit_flip_panics_or_goes_unseen() -> Checked {
    let (mut flips, mut refused) = (0_usize, 0_usize);
    for (kind, sample, event) in samples() {
        let (number, mut body) = encoded(&event);
        for at in 0..body.len() {
            for bit in 0..8 {
                flip(&mut body, at, bit);
                match decode_record(number, 1, &body) {
                    Ok(other) => {
                        assert_ne!(other, event, "{kind} {sample}: bit {bit} of byte {at} means nothing");
                        let (_, again) = encoded(&other);
                        assert_eq!(decode_record(number, 1, &again)?, other, "{kind} {sample}");
                    }
                    Err(_) => refused += 1,
                }
                flip(&mut body, at, bit);
                flips += 1;
            }
        }
    }
    assert!(flips > 32_000 && refused > 1000, "{flips} flips, {refused} refused");
    Ok(())
}

fn flip(body: &mut [u8], at: usize, bit: u8) {
    if let Some(byte) = body.get_mut(at) {
        *byte ^= 1 << bit;
    }
}

#[test]
fn l32_a_hostile_length_is_refused_before_anything_is_allocated() {
    // Wherever a byte is replaced by the length 2^36, nothing panics, and where a length belongs there the
    // refusal is the limit's, which bincode claims before it allocates.
    let mut by_the_limit: BTreeMap<&str, usize> = BTreeMap::new();
    for (kind, _, event) in samples() {
        let (number, body) = encoded(&event);
        for at in 0..body.len() {
            let (before, after) = body.split_at(at);
            let hostile = [before, &HOSTILE_LEN, after.get(1..).unwrap_or_default()].concat();
            if let Err(DecodeError::Body { source: bincode::error::DecodeError::LimitExceeded, .. }) =
                decode_record(number, 1, &hostile)
            {
                *by_the_limit.entry(kind).or_default() += 1;
            }
        }
    }
    // Kinds without any text, list or blob have no length to lie about.
    let without: BTreeSet<_> =
        WRITTEN.iter().map(|(_, name)| *name).filter(|k| !by_the_limit.contains_key(k)).collect();
    let fixed = [
        "abandoned",
        "abandoned_expired",
        "alone_ended",
        "cron_ticked",
        "dead_letter_expired",
        "dead_letter_handler_failed",
        "job_expired",
        "job_progressed",
        "released",
    ];
    assert_eq!(without, BTreeSet::from(fixed));
    // Eleven lists, and the blobs or texts inside them: the journal is the deepest there is.
    assert!(by_the_limit.get("completed").is_some_and(|n| *n >= 30), "{by_the_limit:?}");
}

proptest! {
    #[test]
    fn l32_bytes_of_any_origin_never_panic(kind in 0..WRITTEN.len(), body in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Some((number, name)) = WRITTEN.get(kind)
            && let Ok(event) = decode_record(*number, 1, &body)
        {
            prop_assert_eq!(event.kind().name, *name);
            let (_, again) = encoded(&event);
            prop_assert_eq!(decode_record(*number, 1, &again).ok(), Some(event));
        }
    }
}

/// The golden files, compiled in: a missing one does not build, a kind without one does not pass.
macro_rules! golden_files {
    ($($kind:literal)*) => {
        const GOLDEN: &[(&str, &str)] =
            &[$(($kind, include_str!(concat!("../../tests/golden/events/", $kind, ".v1.hex")))),*];
    };
}

golden_files! {
    "app_created" "app_changed" "app_paused" "app_resumed" "app_deleted" "app_forked" "script_deployed" "script_deleted" "route_created" "route_deleted"
    "trigger_created" "trigger_changed" "trigger_paused" "trigger_resumed" "trigger_deleted" "token_created" "token_deleted" "secret_set" "secret_deleted" "kv_put" "kv_deleted" "kv_expired"
    "enqueued" "claimed" "released" "completed" "attempt_failed" "abandoned" "dropped" "depth_exceeded" "alone_ended"
    "dead_lettered" "dead_letter_handler_failed" "dead_letter_redriven" "dead_letter_resolved" "dead_letter_expired" "cron_ticked"
    "job_created" "job_progressed" "job_ended" "job_expired" "abandoned_expired" "hold_set" "hold_released"
}

#[test]
fn l31_golden_bytes_of_every_kind_are_what_they_were() -> Checked {
    let files: Vec<_> = GOLDEN.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(files, WRITTEN.iter().map(|(_, name)| *name).collect::<Vec<_>>());
    let mut golden: BTreeMap<(&str, &str), Vec<u8>> = BTreeMap::new();
    for (kind, text) in GOLDEN {
        for line in text.lines() {
            let (sample, bytes) = line.split_once(' ').ok_or(format!("{kind}: no sample in `{line}`"))?;
            golden.insert((kind, sample), hex::decode(bytes)?);
        }
    }
    let mut sampled = BTreeSet::new();
    for (kind, sample, event) in samples() {
        let (number, body) = encoded(&event);
        let bytes = golden.get(&(kind, sample)).ok_or(format!("{kind} {sample}: no golden bytes"))?;
        assert_eq!(hex::encode(&body), hex::encode(bytes), "{kind} {sample}: the format on disk changed");
        assert_eq!(
            decode_record(number, 1, bytes)?,
            event,
            "{kind} {sample}: golden bytes mean something else"
        );
        assert!(sampled.insert((kind, sample)), "{kind} {sample} stands twice");
    }
    assert_eq!(sampled, golden.keys().copied().collect(), "golden bytes without a sample");
    Ok(())
}
