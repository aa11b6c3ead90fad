//! `cargo xtask fuzz`: long campaigns with libFuzzer over the targets in `fuzz/`.
//!
//! The ordinary tests replay the committed corpora and run random inputs through the same bodies; this is for hours.
//! With the address sanitizer where a nightly toolchain is installed, without one otherwise; `cargo-fuzz` is installed
//! when it is missing.

use std::process::Command;

use crate::{Failure, Places, cargo};

/// Seconds of each target.
const SECONDS_DEFAULT: u64 = 60;
/// An input that makes a target hold more than this is a finding.
const MEGABYTES_MAX: u64 = 512;

pub(crate) fn run(places: &Places, arguments: &[&str]) -> Result<bool, Failure> {
    let (wanted, seconds) = parse(arguments)?;
    let all = targets(places)?;
    if let Some(wanted) = wanted.filter(|wanted| !all.iter().any(|target| target == wanted)) {
        return Err(format!("no target `{wanted}`; there are {}", all.join(", ")).into());
    }
    cargo::install_tool(&places.root, "fuzz", "cargo-fuzz")?;
    let nightly = cargo::answers(Command::new("rustup").args(["run", "nightly", "cargo", "--version"]));
    let mut sound = true;
    for target in all.iter().filter(|target| wanted.is_none_or(|wanted| wanted == *target)) {
        println!("{target}: {seconds} s");
        let mut command = fuzz_run(places, nightly);
        command.args([target, "--"]);
        command.arg(format!("-max_total_time={seconds}"));
        command.arg(format!("-rss_limit_mb={MEGABYTES_MAX}"));
        let ended = command.status()?;
        if !ended.success() {
            eprintln!("{target}: FAILED; the input stands in fuzz/artifacts/{target}");
            sound = false;
        }
    }
    Ok(sound)
}

fn fuzz_run(places: &Places, nightly: bool) -> Command {
    let mut command = cargo::cargo(&places.root.join("fuzz"));
    if nightly {
        command = Command::new("rustup");
        command.current_dir(places.root.join("fuzz")).args(["run", "nightly", "cargo"]);
    }
    let sanitizer = if nightly { "address" } else { "none" };
    command.args(["fuzz", "run", "--sanitizer", sanitizer]);
    command
}

fn parse<'a>(arguments: &[&'a str]) -> Result<(Option<&'a str>, u64), Failure> {
    let (mut target, mut seconds) = (None, SECONDS_DEFAULT);
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match *word {
            "--seconds" => seconds = words.next().ok_or("--seconds needs a number")?.parse()?,
            option if option.starts_with('-') => {
                return Err(format!("unknown option `{option}`: --seconds N").into());
            }
            name if target.is_none() => target = Some(name),
            other => return Err(format!("one target at a time, or all: `{other}`").into()),
        }
    }
    Ok((target, seconds))
}

/// The targets by their files.
fn targets(places: &Places) -> Result<Vec<String>, Failure> {
    let dir = places.root.join("fuzz/fuzz_targets");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&dir).map_err(|error| format!("{}: {error}", dir.display()))? {
        let path = entry?.path();
        if let Some(name) = path.file_stem().and_then(|name| name.to_str()) {
            found.push(name.to_owned());
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn arguments() {
        assert_eq!(parse(&[]).unwrap(), (None, 60));
        assert_eq!(parse(&["frame", "--seconds", "5"]).unwrap(), (Some("frame"), 5));
        for bad in [&["--seconds"][..], &["--seconds", "x"], &["a", "b"], &["--fast"]] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
