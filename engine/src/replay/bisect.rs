//! Which version of a script first breaks a given execution.
//!
//! Owns: [`bisect`]. Never does: assume that versions only get worse: every version is tried, and the streak that
//! matters is named.

use relive_log::events::ErrorRecord;
use relive_projections::{App, ExecutionRow};

use super::archive::{Archive, NotReplayable};
use super::recording::{Candidate, Sealed};
use super::run::replay;

/// Most versions that are tried, the newest ones.
pub const BISECT_VERSIONS_MAX: usize = 500;

/// What one version makes of the execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TriedVersion {
    /// The version.
    pub version: u32,
    /// How it fails, if it does.
    pub error: Option<ErrorRecord>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bisected {
    /// The version that the attempt used.
    pub recorded_version: u32,
    /// The first version that breaks it: of the streak of failing versions around the recorded one; if the recorded
    /// one succeeds, the first failing one after it, else before it.
    pub first_bad: Option<u32>,
    /// The version before that one, which succeeds.
    pub last_good: Option<u32>,
    /// Every version that was tried, ascending.
    pub versions: Vec<TriedVersion>,
}

/// Tries every version of the script on the input, snapshot, seed and journal of an attempt. Needs a thread as
/// [`replay`] does.
///
/// # Errors
/// As [`Archive::recording`].
pub fn bisect(
    archive: &Archive,
    app: &App,
    row: &ExecutionRow,
    attempt: Option<u32>,
) -> Result<Bisected, NotReplayable> {
    let recorded =
        archive.recording(app, row, attempt, &Candidate::Recorded, Sealed::Opened)?.recorded_version;
    let all = app.scripts.get(&row.script).map_or(&[][..], |script| &script.versions);
    let newest = all.len().saturating_sub(BISECT_VERSIONS_MAX);
    let mut versions = Vec::new();
    for version in all.iter().skip(newest).map(|version| version.version) {
        let candidate = if version == recorded { Candidate::Recorded } else { Candidate::Version(version) };
        let recording = archive.recording(app, row, attempt, &candidate, Sealed::Opened)?;
        versions.push(TriedVersion { version, error: replay(&recording).result.err() });
    }
    let (first_bad, last_good) = found(&versions, recorded);
    Ok(Bisected { recorded_version: recorded, first_bad, last_good, versions })
}

fn found(versions: &[TriedVersion], recorded: u32) -> (Option<u32>, Option<u32>) {
    let fails = |at: usize| versions.get(at).is_some_and(|tried| tried.error.is_some());
    let at = versions.iter().position(|tried| tried.version == recorded).unwrap_or(0);
    let bad = if fails(at) { Some(at) } else { (at..versions.len()).find(|at| fails(*at)) };
    let bad = bad.or_else(|| (0..at).rev().find(|at| fails(*at)));
    let Some(mut bad) = bad else { return (None, None) };
    while bad > 0 && fails(bad - 1) {
        bad -= 1;
    }
    let version = |at: usize| versions.get(at).map(|tried| tried.version);
    (version(bad), bad.checked_sub(1).and_then(version))
}

#[cfg(test)]
mod tests {
    use relive_log::events::ErrorKind;

    use super::*;

    fn check(versions: &str, recorded: u32, expected: (Option<u32>, Option<u32>)) {
        let tried: Vec<TriedVersion> = (1..)
            .zip(versions.chars())
            .map(|(version, outcome)| TriedVersion {
                version,
                error: (outcome == 'x').then(|| ErrorRecord::without_place(ErrorKind::Throw, "no")),
            })
            .collect();
        assert_eq!(found(&tried, recorded), expected, "{versions} recorded {recorded}");
    }

    #[test]
    fn the_streak_around_the_recorded_version_is_named() {
        check("..xx", 4, (Some(3), Some(2)));
        check("..xx", 1, (Some(3), Some(2)));
        check("x.xx.", 4, (Some(3), Some(2)));
        check("x.xx.", 5, (Some(3), Some(2)));
        check("xx", 2, (Some(1), None));
        check("...", 2, (None, None));
        check("", 1, (None, None));
    }
}
