//! `relive log salvage|rebuild-manifest|rebuild-watermark`.

use std::path::Path;

use relive_log::tools::{self, Beginning, Rebuilt, SalvageError};
use relive_log::{Gap, LogOptions, OpenError};
use serde_json::json;

use super::progress::Progress;
use super::{disk, display, failed, ranges, tell};
use crate::cli::remote::Remote;
use crate::client::Failed;

/// Files of a data directory that are no part of the log, and that its successor needs to serve the same callers and
/// to open the same secrets.
const KEYS: [&str; 2] = ["instance.key", "admin.token"];

/// Copies what validates to a new directory.
pub(super) fn salvage(remote: &Remote, dir: &Path, out: &Path, accepted: &[Gap]) -> Result<(), Failed> {
    let mut progress = Progress::new("salvaging");
    let options = LogOptions::default();
    let made = tools::salvage(&disk(), dir, out, accepted, &options, &mut |done, total| {
        progress.at(done, total);
    })
    .map_err(|error| not_salvaged(&error))?;
    drop(progress);
    let keys = copy_keys(dir, out)?;
    let value = json!({"data": display(dir), "out": display(out), "salvaged": made, "keys": keys});
    let mut lines = vec![
        format!(
            "{}: {} events in {} batches, LSN {} to {}, timeline {}",
            display(out),
            made.events,
            made.batches,
            made.first_lsn,
            made.last_lsn,
            made.timeline
        ),
        format!("lost, with a gap in their place: LSN {}", ranges(&made.lost)),
    ];
    if !made.lost_before.is_empty() {
        lines.push(format!("lost in earlier salvages: LSN {}", ranges(&made.lost_before)));
    }
    if let Some(beginning) = &made.beginning {
        lines.extend(beginning_of(beginning));
    }
    if !keys.is_empty() {
        lines.push(format!("copied too: {}", keys.join(", ")));
    }
    if !made.lost.is_empty() {
        lines.push("what was open when they were lost becomes a dead letter at the next start".to_owned());
    }
    tell(remote, &value, &lines);
    Ok(())
}

/// What stands for a beginning that was cut.
fn beginning_of(beginning: &Beginning) -> Vec<String> {
    let snapshots: Vec<_> = beginning.snapshots.iter().map(ToString::to_string).collect();
    let mut lines = vec![format!(
        "the log's beginning was cut: copied with it are its base and the snapshots at LSN {}; the next start begins from \
         the last one",
        snapshots.join(", ")
    )];
    lines.extend(beginning.left_behind.iter().map(|why| format!("left behind: {why}")));
    if let Some(damage) = &beginning.base_damage {
        lines.push(format!(
            "the base is damaged, and so is its copy: {damage}. Values from before the log's start that stand there cannot be \
             read; put that file back from a backup of the old directory before salvaging, if there is one"
        ));
    }
    if !beginning.lost_below.is_empty() {
        lines.push(format!(
            "no snapshot is older than LSN {}: values written there and not since cannot be read, and work that those events \
             ended or began is what the snapshot says",
            ranges(&beginning.lost_below)
        ));
    }
    lines
}

fn not_salvaged(error: &SalvageError) -> Failed {
    match error {
        SalvageError::Open(error) => failed(error),
        SalvageError::NotAccepted { losses, .. } if losses.is_empty() => {
            Failed::new("nothing was written: no event is lost, so there is nothing to accept")
        }
        SalvageError::NotAccepted { losses, accepted } => {
            let accepted =
                if accepted.is_empty() { String::new() } else { format!(", not {}", ranges(accepted)) };
            let losses = ranges(losses);
            Failed::new(format!(
                "nothing was written: these events are lost and their loss must be accepted by name: \
                 --accept-loss {losses}{accepted}"
            ))
        }
        SalvageError::NotEmpty { .. } | SalvageError::Changed { .. } => {
            Failed::new(format!("nothing was salvaged: {error}"))
        }
    }
}

/// Copies the keys with their modes; which there were.
fn copy_keys(dir: &Path, out: &Path) -> Result<Vec<&'static str>, Failed> {
    let mut copied = Vec::new();
    for name in KEYS {
        match std::fs::copy(dir.join(name), out.join(name)) {
            Ok(_) => copied.push(name),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(Failed::new(format!(
                    "the log was salvaged, but {name} could not be copied: {error}"
                )));
            }
        }
    }
    Ok(copied)
}

pub(super) fn manifest(remote: &Remote, dir: &Path) -> Result<(), Failed> {
    rebuilt(remote, dir, tools::rebuild_manifest(&disk(), dir))
}

pub(super) fn watermark(remote: &Remote, dir: &Path) -> Result<(), Failed> {
    rebuilt(remote, dir, tools::rebuild_watermark(&disk(), dir))
}

fn rebuilt(remote: &Remote, dir: &Path, done: Result<Rebuilt, OpenError>) -> Result<(), Failed> {
    let done = done.map_err(|error| failed(&error))?;
    let value = json!({"data": display(dir), "written": done.written, "reason": done.reason});
    let written = if done.written.is_empty() {
        "nothing written".to_owned()
    } else {
        format!("written: {}", done.written.join(", "))
    };
    tell(remote, &value, &[written, done.reason]);
    Ok(())
}
