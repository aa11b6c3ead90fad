//! The committed corpora, and random inputs: as many as `RELIVE_FUZZ_RUNS` says, for each target.

use std::path::Path;

use super::TARGETS;
use crate::disk::sim::SimRng;

/// Runs of each target where nobody says.
const RUNS_DEFAULT: u64 = 150;

#[expect(clippy::disallowed_methods, reason = "tests read their corpora")]
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut files: Vec<_> =
        std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect();
    files.sort();
    files.iter().filter_map(|path| std::fs::read(path).ok()).collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long to look is the caller's choice, nobody configures it"
)]
fn runs() -> u64 {
    std::env::var("RELIVE_FUZZ_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(RUNS_DEFAULT)
}

/// A seed of the corpus with a few bytes changed, or nothing but chance.
fn input(rng: &mut SimRng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = match seeds.get(rng.index(seeds.len() + 1)) {
        Some(seed) => seed.clone(),
        None => vec![0; rng.index(160)],
    };
    for _ in 0..=rng.index(12) {
        let at = rng.index(bytes.len());
        let value = (rng.next_u64() & 0xff) as u8;
        match rng.index(4) {
            0 => bytes.insert(at, value),
            1 if !bytes.is_empty() => drop(bytes.remove(at)),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
        }
    }
    bytes
}

fn check(target: &str) {
    let seeds = corpus(target);
    assert!(!seeds.is_empty(), "fuzz/corpus/{target} is empty");
    for seed in &seeds {
        super::run(target, seed);
    }
    let mut rng = SimRng::stream(1, target);
    for _ in 0..runs() {
        super::run(target, &input(&mut rng, &seeds));
    }
    println!("fuzz {target}: corpus={} runs={}", seeds.len(), runs());
}

#[test]
fn every_target_has_a_test() {
    let tested =
        ["frame", "segment_scan", "recovery", "manifest", "watermark", "snapshot", "event", "salvage"];
    assert_eq!(TARGETS.map(|(name, _)| name), tested);
}

#[test]
fn fuzz_frame() {
    check("frame");
}

#[test]
fn fuzz_segment_scan() {
    check("segment_scan");
}

#[test]
fn fuzz_recovery() {
    check("recovery");
}

#[test]
fn fuzz_manifest() {
    check("manifest");
}

#[test]
fn fuzz_watermark() {
    check("watermark");
}

#[test]
fn fuzz_snapshot() {
    check("snapshot");
}

/// Upholds L22: decoding never panics and never allocates by an unchecked length.
#[test]
fn fuzz_l22_event() {
    check("event");
}

#[test]
fn fuzz_salvage() {
    check("salvage");
}
