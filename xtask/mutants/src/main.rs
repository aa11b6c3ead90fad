//! `cargo xtask mutants`: whether the tests of recovery, frames and snapshots can fail.
//!
//! Owns: which files are mutated and which tests are asked. cargo-mutants says what could be changed; all of it is woven
//! into one build (`weave`, `build`), and each mutant is chosen at run time (`trial`), so that one costs the tests alone:
//! first those of seconds, and if none notices, many lives on the simulated disk. Results stand in `results.jsonl`: a run
//! goes on where the last one was interrupted. A survivor that `xtask/mutants.txt` does not name, with the reason why no
//! test could see it, is a failure.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool talks to its terminal")]

mod build;
mod list;
mod results;
mod trial;
mod weave;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use crate::list::Mutant;
use crate::results::Line;
use crate::trial::{Ended, Outcome, Suite};

/// What went wrong, said for a person.
type Failure = Box<dyn std::error::Error>;

/// What is mutated.
const FILES: [&str; 3] = ["log/src/recovery/**", "log/src/format/frame.rs", "log/src/snapshot/**"];
/// What programmers are shown is nothing that a test should hold on to.
const NOT_MUTATED: &str = "fmt::Debug for";
/// Of the unit tests those that have nothing to do with these files.
const UNIT_SKIPPED: [&str; 4] = ["events::", "disk::points", "options::", "fuzzing"];
/// Tests that take long and would only notice what shorter ones do, or that are about the seams of others.
const SKIPPED: [&str; 6] =
    ["sim::exhaustive", "i7_every_single_bit", "rot_under_a_torn_tail", "fault_points", "fuzzing", "planted"];
/// Lives on the simulated disk, first; and those for what survived them.
const FEW_SEEDS: &str = "100";
const MANY_SEEDS: &str = "400";
/// Survivors with their reasons.
const KNOWN: &str = "xtask/mutants.txt";

const USAGE: &str = "options: [--file PART]… only files whose name contains it; [--shard K/N] every Nth mutant, from the Kth, \
                     counted from 0; [--survivors] only those that survived before; [--again] forget what is known; \
                     [--report] run nothing";

#[derive(Default)]
struct Options {
    files: Vec<String>,
    shard: Option<(usize, usize)>,
    survivors: bool,
    again: bool,
    report: bool,
}

impl Options {
    /// Whether a mutant is asked now, when those that are left get the outcome `left`.
    fn wants(&self, n: usize, mutant: &Mutant, before: Option<Outcome>, left: Outcome) -> bool {
        let of_files = self.files.is_empty() || self.files.iter().any(|part| mutant.file.contains(part));
        let of_shard = self.shard.is_none_or(|(k, of)| n % of == k);
        let survived = matches!(before, Some(Outcome::Survived | Outcome::Doubtful));
        let due = match left {
            Outcome::Doubtful => before == Some(Outcome::Survived) || (before.is_none() && !self.survivors),
            Outcome::Survived | Outcome::Caught | Outcome::Endless | Outcome::Unviable | Outcome::LeftOut => {
                before == Some(Outcome::Doubtful)
            }
        };
        of_files && of_shard && due && (survived || !self.survivors)
    }
}

fn main() -> ExitCode {
    match options().and_then(|options| run(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("mutants: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options, Failure> {
    let mut options = Options::default();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--file" => options.files.push(words.next().ok_or(USAGE)?),
            "--shard" => {
                let shard = words.next().ok_or(USAGE)?;
                let (k, n) = shard.split_once('/').ok_or(USAGE)?;
                let (k, n) = (k.parse()?, n.parse()?);
                if k >= n {
                    return Err(USAGE.into());
                }
                options.shard = Some((k, n));
            }
            "--survivors" => options.survivors = true,
            "--again" => options.again = true,
            "--report" => options.report = true,
            _ => return Err(USAGE.into()),
        }
    }
    Ok(options)
}

fn run(options: &Options) -> Result<bool, Failure> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).ok_or("no workspace")?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let work = std::path::absolute(target.join("xtask/mutants"))?;
    std::fs::create_dir_all(&work)?;
    let file = work.join("results.jsonl");
    if options.again && file.exists() {
        std::fs::remove_file(&file)?;
    }
    let mutants = list(root)?;
    let mut lines = results::read(&file)?;
    if !options.report {
        let built = build::build(root, &work, &mutants)?;
        println!("{} mutants in one build, {} do not compile", mutants.len(), built.unviable.len());
        let suites = suites(&built.binaries);
        let limits = baseline(&built.package, &suites)?;
        let (quick, long) = limits.split_at(limits.len().saturating_sub(1));
        // First all of them before the tests of seconds, then what is left before the long ones.
        for (suites, left) in [(quick, Outcome::Doubtful), (long, Outcome::Survived)] {
            for (n, mutant) in mutants.iter().enumerate() {
                let before = lines.get(&mutant.key).map(|line| line.outcome);
                if !options.wants(n, mutant, before, left) {
                    continue;
                }
                let ended = match () {
                    () if built.unviable.contains(&mutant.id) => Ended::at_once(Outcome::Unviable),
                    () if built.left_out.contains(&mutant.id) => Ended::at_once(Outcome::LeftOut),
                    () => ask(&built.package, suites, mutant, left)?,
                };
                let by = ended.by.as_deref().unwrap_or_default();
                println!("{:?} {:.1} s {by}: {}", ended.outcome, ended.seconds, mutant.place);
                let Ended { outcome, by, seconds } = ended;
                let line = Line { key: mutant.key.clone(), outcome, by, seconds };
                results::append(&file, &line)?;
                lines.insert(mutant.key.clone(), line);
            }
        }
    }
    let known = known(&std::fs::read_to_string(root.join(KNOWN))?);
    Ok(results::report(&mutants, &lines, &|mutant| known.contains(&mutant.name)))
}

fn list(root: &Path) -> Result<Vec<Mutant>, Failure> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root).args(["mutants", "--list", "--json", "--package", "relive-log"]);
    for files in FILES {
        command.args(["--file", files]);
    }
    command.args(["--exclude-re", NOT_MUTATED]);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err("`cargo mutants --list` failed".into());
    }
    list::read(root, &String::from_utf8(output.stdout)?)
}

/// In the order in which they are asked; the next one only about what survived the one before.
fn suites(binaries: &[PathBuf]) -> Vec<Suite<'_>> {
    let suite = |binary, skipped, seeds| Suite { binary, skipped, seeds, cpu_seconds_max: 600 };
    let mut suites = Vec::new();
    if let [unit, it] = binaries {
        suites.push(suite(unit, UNIT_SKIPPED.as_slice(), FEW_SEEDS));
        suites.push(suite(it, SKIPPED.as_slice(), FEW_SEEDS));
        suites.push(suite(it, SKIPPED.as_slice(), MANY_SEEDS));
    }
    suites
}

/// Runs every suite with nothing changed; they get three times that of processor time, and five seconds at least, before
/// they are endless.
fn baseline<'a>(package: &Path, suites: &[Suite<'a>]) -> Result<Vec<Suite<'a>>, Failure> {
    let mut limits = Vec::new();
    for suite in suites {
        let ended = trial::run(package, suite, 0)?;
        if ended.outcome != Outcome::Survived {
            return Err(
                format!("the tests fail with nothing changed: {}", ended.by.unwrap_or_default()).into()
            );
        }
        println!("nothing changed: {:.1} s", ended.seconds);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of a test run")]
        let seconds = (ended.seconds * 3.0) as u64;
        limits.push(Suite { cpu_seconds_max: seconds.clamp(5, 60), ..suite.clone() });
    }
    Ok(limits)
}

/// Asks one suite after the other; a mutant that nothing notices gets the outcome `left`.
fn ask(package: &Path, suites: &[Suite<'_>], mutant: &Mutant, left: Outcome) -> Result<Ended, Failure> {
    let mut seconds = 0.0;
    for suite in suites {
        let ended = trial::run(package, suite, mutant.id)?;
        seconds += ended.seconds;
        if ended.outcome != Outcome::Survived {
            return Ok(Ended { seconds, ..ended });
        }
    }
    Ok(Ended { outcome: left, by: None, seconds })
}

/// The file's lines up to ` # `, which begins the reason.
fn known(text: &str) -> BTreeSet<String> {
    let lines = text.lines().map(|line| line.split(" # ").next().unwrap_or_default().trim());
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::known;

    #[test]
    fn survivors_are_known_by_name() {
        let known = known("# Survivors.\n\nlog/src/a.rs: replace x::y -> u64 with 0 # a hint\n");
        assert!(known.len() == 1 && known.contains("log/src/a.rs: replace x::y -> u64 with 0"));
    }

    /// A reason for each, so that the list cannot become a place to put what nobody looked at.
    #[test]
    fn every_known_survivor_has_a_reason() {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../mutants.txt")).unwrap();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (_, reason) = line.split_once(" # ").unwrap_or_else(|| panic!("no reason: {line}"));
            assert!(reason.len() > 20, "{line}");
        }
    }
}
