//! `relive log stats --data DIR`: what a log consists of.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use relive_log::UnixMicros;
use serde_json::{Value, json};

use super::offline::{self, Next};
use super::progress::Progress;
use super::{display, ranges, tell};
use crate::cli::remote::Remote;
use crate::client::Failed;
use crate::http::dto;

#[derive(Default)]
struct Counted {
    events: u64,
    kinds: BTreeMap<&'static str, u64>,
    first_at: Option<UnixMicros>,
    last_at: Option<UnixMicros>,
    gaps: Vec<relive_log::Gap>,
}

/// Prints it.
pub(super) fn offline(remote: &Remote, dir: &Path) -> Result<(), Failed> {
    let log = offline::open(dir)?;
    let last = log.reader.durable();
    let mut progress = Progress::new("counting");
    let counted = RefCell::new(Counted::default());
    let done = offline::each(
        &log,
        log.reader.first_lsn(),
        &mut |seen| {
            progress.at(seen.lsn.0, last.0);
            let mut counted = counted.borrow_mut();
            counted.events += 1;
            *counted.kinds.entry(seen.event.kind().name).or_default() += 1;
            counted.first_at.get_or_insert(seen.at);
            counted.last_at = Some(seen.at);
            Ok(Next::More)
        },
        &mut |gap| {
            counted.borrow_mut().gaps.push(gap);
            Ok(Next::More)
        },
    );
    drop(progress);
    let counted = counted.into_inner();
    let segments: Vec<Value> = log
        .reader
        .segments()
        .iter()
        .map(|segment| {
            json!({
                "segment": segment.segment,
                "first_lsn": segment.first_lsn,
                "used_bytes": segment.used_bytes,
                "file_bytes": segment.file_bytes,
            })
        })
        .collect();
    let value = json!({
        "data": display(dir),
        "first_lsn": log.reader.first_lsn(),
        "last_lsn": last,
        "proven_lsn": log.report.proven_lsn,
        "events": counted.events,
        "bytes": log.reader.bytes(),
        "first_at": counted.first_at.map(dto::rfc3339),
        "last_at": counted.last_at.map(dto::rfc3339),
        "timeline": log.timeline,
        "gaps": counted.gaps,
        "kinds": counted.kinds,
        "segments": segments,
    });
    tell(remote, &value, &lines(&log, &counted));
    done
}

fn lines(log: &relive_log::tools::OfflineLog, counted: &Counted) -> Vec<String> {
    let time = |at: Option<UnixMicros>| at.map_or_else(|| "-".to_owned(), dto::rfc3339);
    let (first, last) = (log.reader.first_lsn(), log.reader.durable());
    let mut lines = vec![
        format!("LSN {first} to {last}: {} events, {} bytes", counted.events, log.reader.bytes()),
        format!("from {} to {}", time(counted.first_at), time(counted.last_at)),
        format!("lost earlier: {}", ranges(&counted.gaps)),
    ];
    for segment in log.reader.segments() {
        lines.push(format!(
            "segment {:>6}  from LSN {:>10}  {:>12} of {} bytes",
            segment.segment, segment.first_lsn, segment.used_bytes, segment.file_bytes
        ));
    }
    for (kind, count) in &counted.kinds {
        lines.push(format!("{count:>12}  {kind}"));
    }
    lines
}
