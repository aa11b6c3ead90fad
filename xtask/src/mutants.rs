//! `cargo xtask mutants`: whether the tests of recovery, frames and snapshots can fail.
//!
//! Owns: which files are mutated, and with which tests: those of the log that take seconds, so that a mutant costs a
//! build and little more. A survivor that is not named in `xtask/mutants.txt`, with the reason why no test could see it,
//! is a failure.

use std::collections::BTreeSet;
use std::path::Path;

use crate::{Failure, Places, cargo};

/// What is mutated.
const FILES: [&str; 3] = ["log/src/recovery/**", "log/src/format/frame.rs", "log/src/snapshot/**"];
/// Tests that take long and would only notice what shorter ones do.
const SKIPPED: [&str; 5] =
    ["sim::exhaustive", "i7_every_single_bit", "rot_under_a_torn_tail", "fault_points", "fuzzing"];
/// Lives on the simulated disk (`RELIVE_SIM_SEEDS`).
const SEEDS: &str = "200";
/// A mutant whose tests take longer runs for ever: it is noticed.
const SECONDS_MAX: &str = "90";
/// A build that takes longer is a failure of the machine.
const BUILD_SECONDS_MAX: &str = "400";
/// Survivors with their reasons.
const KNOWN: &str = "xtask/mutants.txt";

pub(crate) fn run(places: &Places, arguments: &[&str]) -> Result<bool, Failure> {
    let shard = match arguments {
        [] => None,
        ["--shard", shard] => Some(*shard),
        _ => return Err("options: --shard K/N (every Nth mutant, from the Kth, counted from 0)".into()),
    };
    cargo::install_tool(&places.root, "mutants", "cargo-mutants")?;
    let known = known(&std::fs::read_to_string(places.root.join(KNOWN))?);
    let mut command = cargo::cargo(&places.root);
    command.args(["mutants", "--package", "relive-log", "--baseline", "skip"]);
    command.args(["--timeout", SECONDS_MAX, "--build-timeout", BUILD_SECONDS_MAX, "--output"]);
    command.arg(&places.records);
    for files in FILES {
        command.args(["--file", files]);
    }
    if let Some(shard) = shard {
        command.args(["--shard", shard, "--sharding", "round-robin"]);
    }
    command.args(["--", "--lib", "--test", "it", "--"]);
    for test in SKIPPED {
        command.args(["--skip", test]);
    }
    command.env("RELIVE_SIM_SEEDS", SEEDS).env("CARGO_INCREMENTAL", "1");
    let ended = command.status()?;
    // 2: mutants were missed; 3: some timed out. Which ones is read below; everything else is no result.
    if !matches!(ended.code(), Some(0 | 2 | 3)) {
        return Err(format!("`cargo mutants` ended with {ended}").into());
    }
    report(&places.records.join("mutants.out"), &known)
}

/// Prints the score; whether every survivor is known.
fn report(out: &Path, known: &BTreeSet<String>) -> Result<bool, Failure> {
    let lines = |name: &str| -> Result<Vec<String>, Failure> {
        Ok(std::fs::read_to_string(out.join(name))?.lines().map(without_place).collect())
    };
    let (missed, caught, timeout) = (lines("missed.txt")?, lines("caught.txt")?, lines("timeout.txt")?);
    let unknown: Vec<_> = missed.iter().filter(|mutant| !known.contains(*mutant)).collect();
    println!(
        "mutants: {} noticed, {} of them by never ending; {} survived, {} of them for a known reason",
        caught.len() + timeout.len(),
        timeout.len(),
        missed.len(),
        missed.len() - unknown.len()
    );
    for mutant in &unknown {
        println!("survived: {mutant}");
    }
    Ok(unknown.is_empty())
}

/// `file:line:column: what` without line and column, which change with every edit.
fn without_place(line: &str) -> String {
    let mut parts = line.splitn(4, ':');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(file), Some(_), Some(_), Some(what)) => format!("{file}:{what}"),
        _ => line.to_owned(),
    }
}

/// The file's lines up to ` # `, which begins the reason.
fn known(text: &str) -> BTreeSet<String> {
    let lines = text.lines().map(|line| line.split(" # ").next().unwrap_or_default().trim());
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::{known, without_place};

    #[test]
    fn survivors_are_known_without_their_lines() {
        let line = "log/src/a.rs:12:9: replace x::y -> u64 with 0";
        assert_eq!(without_place(line), "log/src/a.rs: replace x::y -> u64 with 0");
        let known = known("# Survivors.\n\nlog/src/a.rs: replace x::y -> u64 with 0 # a hint\n");
        assert!(known.len() == 1 && known.contains(&without_place(line)));
    }

    /// A reason for each, so that the list cannot become a place to put what nobody looked at.
    #[test]
    fn every_known_survivor_has_a_reason() {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/mutants.txt")).unwrap();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (_, reason) = line.split_once(" # ").unwrap_or_else(|| panic!("no reason: {line}"));
            assert!(reason.len() > 20, "{line}");
        }
    }
}
