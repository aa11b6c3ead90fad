//! `relive log verify` and `relive log repair`: what a start would find, and what it would do.
//!
//! Owns: their reports, for people and for programs. Never says "repaired" without the LSNs and the reason.

use std::path::Path;

use relive_log::recovery::RecoveryReport;
use relive_log::tools::{self, Depth, SegmentSurvey, SnapshotCheck, SpanStatus, Survey, Verified};
use relive_log::{LogOptions, Lsn};
use serde_json::{Value, json};

use super::progress::Progress;
use super::views::{self, Compared};
use super::{disk, display, failed, ranges, tell};
use crate::cli::remote::Remote;
use crate::client::Failed;
use crate::clock;

/// Prints what was found; the exit code says how bad it is.
pub(super) fn verify(remote: &Remote, dir: &Path, deep: bool) -> Result<(), Failed> {
    let depth = if deep { Depth::Everything } else { Depth::Start };
    let mut progress = Progress::new("verifying");
    let verified = tools::verify(&disk(), dir, depth, &mut |done, total| progress.at(done, total))
        .map_err(|error| failed(&error))?;
    drop(progress);
    let compared = if deep && verified.exit_code() == 0 { Some(views::compare(dir)?) } else { None };
    let code = exit_code(&verified, compared.as_ref());
    let value = json!({
        "data": display(dir),
        "exit_code": code,
        "status": status(code),
        "report": verified.report,
        "refusal": verified.refusal.as_ref().map(ToString::to_string),
        "survey": verified.survey,
        "snapshots": verified.snapshots,
        "views": compared.as_ref().map(Compared::name),
    });
    tell(remote, &value, &lines(dir, &verified, compared.as_ref(), code));
    if code == 0 { Ok(()) } else { Err(failure(dir, &verified, code)) }
}

fn exit_code(verified: &Verified, compared: Option<&Compared>) -> u8 {
    match (verified.exit_code(), compared) {
        (0, Some(Compared::Differ)) => 1,
        (code, _) => u8::try_from(code).unwrap_or(70),
    }
}

const fn status(code: u8) -> &'static str {
    match code {
        0 => "sound",
        1 => "views_differ",
        74 => "unreadable",
        _ => "damaged",
    }
}

fn failure(dir: &Path, verified: &Verified, code: u8) -> Failed {
    let message = match (&verified.refusal, &verified.survey) {
        (Some(refusal), _) => failed(refusal).message,
        (None, _) if code == 1 => {
            "the views do not say what the log says: relive log rebuild-views".to_owned()
        }
        (None, Some(survey)) if !survey.is_sound() => {
            format!("{} is damaged: LSN {} would be lost", display(dir), ranges(&survey.losses))
        }
        (None, _) => match verified.snapshots.iter().find(|found| found.problem.is_some()) {
            Some(found) => {
                format!("{}: snapshots/{} is damaged; the log itself is sound", display(dir), found.file)
            }
            None => format!("{} is damaged", display(dir)),
        },
    };
    Failed { code, message, problem: None }
}

fn lines(dir: &Path, verified: &Verified, compared: Option<&Compared>, code: u8) -> Vec<String> {
    let mut lines = vec![format!("{}: {}", display(dir), status(code))];
    if let Some(report) = &verified.report {
        lines.extend(report_lines(report));
    }
    if let Some(survey) = &verified.survey {
        lines.extend(survey_lines(survey));
        if !survey.losses.is_empty() {
            lines.push(format!(
                "to go on without them: relive log salvage --data {} --out NEW --accept-loss {}",
                display(dir),
                ranges(&survey.losses)
            ));
        } else if !survey.is_sound() {
            lines.push(format!("no event is lost: relive log salvage --data {} --out NEW", display(dir)));
        }
    }
    lines.extend(verified.snapshots.iter().map(snapshot_line));
    if let Some(compared) = compared {
        lines.push(format!("views      {}", compared.text()));
    }
    lines
}

fn snapshot_line(found: &SnapshotCheck) -> String {
    let what = if found.is_base { "base" } else { "snapshot" };
    let Some(problem) = &found.problem else {
        return format!("{what:<10} {}: sound", found.file);
    };
    let advice = if found.is_base {
        "values that were current when the log was cut stand in it alone: restore this file from a backup"
    } else {
        "no event is lost: a start uses the older one and folds more of the log, and later snapshots replace it"
    };
    format!("{what:<10} {}: DAMAGED: {problem}; {advice}", found.file)
}

fn report_lines(report: &RecoveryReport) -> Vec<String> {
    let evidence = |lsn: Option<Lsn>| lsn.map_or_else(|| "nothing".to_owned(), |lsn| lsn.to_string());
    let mut lines = vec![
        format!(
            "valid      up to LSN {}, in segment {} at offset {}",
            report.valid_lsn, report.end_segment, report.end_offset
        ),
        format!(
            "proven     up to LSN {}: frames say {}, WATERMARK says {}, views say {}, snapshots say {}",
            report.proven_lsn,
            report.frames_lsn,
            report.watermark_lsn,
            evidence(report.applied_lsn),
            evidence(report.snapshot_lsn),
        ),
        format!("judgement  {}", report.reason),
    ];
    if report.truncated_bytes > 0 {
        lines.push(format!("unproven   {}", tail(report, "the next start cuts")));
    }
    if !report.gaps.is_empty() {
        lines.push(format!("lost before LSN {}, in earlier salvages", ranges(&report.gaps)));
    }
    lines
}

/// What is cut, and why nothing proves it.
fn tail(report: &RecoveryReport, verb: &str) -> String {
    let lsns = if report.truncated_lsns > 0 {
        format!("LSN {} to {}", report.valid_lsn.next(), report.last_lsn_after)
    } else {
        "no LSN that can be read".to_owned()
    };
    format!(
        "{verb} {lsns}, {} bytes behind segment {} offset {}: {}; the first bad check there: {}; \
         the evidence reaches LSN {} only",
        report.truncated_bytes,
        report.end_segment,
        report.end_offset,
        report.reason,
        report.first_bad_check,
        report.proven_lsn,
    )
}

fn survey_lines(survey: &Survey) -> Vec<String> {
    let mut lines = vec![format!(
        "survey     {} events in {} batches can be kept, up to LSN {}; lost: LSN {}",
        survey.events,
        survey.batches,
        survey.last_lsn,
        ranges(&survey.losses)
    )];
    lines.extend(survey.segments.iter().flat_map(segment_lines));
    lines
}

fn segment_lines(segment: &SegmentSurvey) -> Vec<String> {
    let mut lines = vec![format!(
        "segment    {}{}",
        segment.file,
        segment.problem.as_ref().map_or_else(String::new, |problem| format!(": {problem}"))
    )];
    for offset in &segment.unreadable {
        lines.push(format!("  {offset:>10}  unreadable: the disk answered an error"));
    }
    for span in &segment.spans {
        let status = match span.status {
            SpanStatus::Sound => "sound",
            SpanStatus::Unproven => "sound, unproven",
            SpanStatus::Damaged => "DAMAGED",
            SpanStatus::Cut => "unproven, cut by the next start",
            SpanStatus::Leftover => "leftover of an earlier cut",
        };
        let lsns = span.lsns.map_or_else(String::new, |gap| format!("  LSN {gap}"));
        let check =
            span.check.as_ref().map_or_else(String::new, |check| format!("  first bad check: {check}"));
        lines.push(format!("  {:>10}..{:<10}  {status}{lsns}{check}", span.from, span.to));
    }
    lines
}

/// Does what a start does, and says it.
pub(super) fn repair(remote: &Remote, dir: &Path) -> Result<(), Failed> {
    let report = tools::repair(&disk(), dir, &LogOptions::default(), clock::now())
        .map_err(|error| failed(&error))?
        .report;
    let cut = report.truncated_bytes > 0;
    let value: Value = json!({
        "data": display(dir),
        "cut": cut,
        "removed_lsns": (report.truncated_lsns > 0).then(|| format!("{}-{}", report.valid_lsn.next(), report.last_lsn_after)),
        "reason": report.reason,
        "report": report,
    });
    let mut lines = Vec::new();
    if cut {
        lines.push(format!("repaired: {}", tail(&report, "removed")));
        if let Some(kept) = &report.quarantine {
            lines.push(format!("a copy of the bytes: {kept}"));
        }
    } else {
        lines.push(format!("nothing had to be removed: {}", report.reason));
    }
    if report.reaffirmed_groups > 0 {
        lines.push(format!(
            "{} groups that nothing proved durable were written and synced again",
            report.reaffirmed_groups
        ));
    }
    if report.manifest_restored {
        lines.push("MANIFEST and its copy were made the same again".to_owned());
    }
    if !report.removed_files.is_empty() {
        lines.push(format!("leftover files removed: {}", report.removed_files.join(", ")));
    }
    lines.push(format!("the log is valid and proven up to LSN {}", report.valid_lsn));
    tell(remote, &value, &lines);
    Ok(())
}
