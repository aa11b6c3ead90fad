//! Style that a compiler does not check: what a review would otherwise have to look for every time.
//!
//! Each check says what is wrong and where; lengths are reported and fail only far out. Sources are read as text.

mod arrows;
pub(crate) mod events;
mod headers;
mod invariants;
mod lengths;
mod source;

use std::fmt;
use std::path::Path;

use crate::counts::Counts;
use crate::{Failure, Places};

/// One check and what it found.
pub(crate) struct Finding {
    check: &'static str,
    /// Each fails the check.
    problems: Vec<String>,
    /// Worth reading, never a failure.
    remarks: Vec<String>,
}

impl Finding {
    fn of(check: &'static str, problems: Result<Vec<String>, Failure>) -> Self {
        Self {
            check,
            problems: problems.unwrap_or_else(|error| vec![error.to_string()]),
            remarks: Vec::new(),
        }
    }
}

/// All checks.
pub(crate) struct Report(Vec<Finding>);

impl Report {
    pub(crate) fn counts(&self) -> Counts {
        let failed = self.0.iter().filter(|finding| !finding.problems.is_empty()).count() as u64;
        Counts { passed: self.0.len() as u64 - failed, failed }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.0 {
            let verdict = if finding.problems.is_empty() { "ok" } else { "FAILED" };
            writeln!(f, "{}: {verdict}", finding.check)?;
            for problem in &finding.problems {
                writeln!(f, "  {problem}")?;
            }
            for remark in &finding.remarks {
                writeln!(f, "  (report) {remark}")?;
            }
        }
        Ok(())
    }
}

/// Runs every check on the sources below `root`.
pub(crate) fn check(root: &Path) -> Report {
    let files = match source::all(root) {
        Ok(files) => files,
        Err(error) => return Report(vec![Finding::of("sources can be read", Err(error))]),
    };
    Report(vec![
        Finding::of("every .rs opens with //!", Ok(headers::problems(&files))),
        Finding::of("arrows between crates", arrows::problems(root)),
        Finding::of("every invariant is quoted by a test", invariants::problems(root, &files)),
        Finding::of("docs/events.md agrees with the registry", events::problems(root)),
        lengths::finding(&files),
    ])
}

/// `cargo xtask tidy`.
pub(crate) fn run(places: &Places) -> Result<bool, Failure> {
    let report = check(&places.root);
    print!("{report}");
    let counts = report.counts();
    println!("{} passed, {} failed", counts.passed, counts.failed);
    Ok(counts.failed == 0)
}
