//! `relive log stats`: what a log consists of; of a running instance also how fast it grows, and when the disk is full.

use std::collections::BTreeMap;
use std::path::Path;

use relive_log::SegmentInfo;
use relive_log::events::{AppEvent, Event};
use serde_json::{Value, json};

use super::offline::{self, Next};
use super::progress::Progress;
use super::{display, ranges, tell};
use crate::cli::remote::Remote;
use crate::client::Failed;
use crate::http::counted;
use crate::log_counts::Counts;

/// Prints what a data directory holds.
pub(super) fn offline(remote: &Remote, dir: &Path) -> Result<(), Failed> {
    let log = offline::open(dir)?;
    let last = log.reader.durable();
    let mut progress = Progress::new("counting");
    let (mut counts, mut slugs, mut gaps) = (Counts::default(), BTreeMap::new(), Vec::new());
    let done = offline::each(
        &log,
        log.reader.first_lsn(),
        &mut |seen| {
            progress.at(seen.lsn.0, last.0);
            if let Event::App(AppEvent::Created(created)) = seen.event {
                slugs.insert(created.app, created.slug.clone());
            }
            counts.add(seen.event, seen.body_bytes, seen.at);
            Ok(Next::More)
        },
        &mut |gap| {
            gaps.push(gap);
            Ok(Next::More)
        },
    );
    drop(progress);
    let mut value = json!({
        "data": display(dir),
        "first_lsn": log.reader.first_lsn(),
        "last_lsn": last,
        "proven_lsn": log.report.proven_lsn,
        "bytes": log.reader.bytes(),
        "timeline": log.timeline,
        "gaps": gaps,
        "segments": log.reader.segments().iter().map(segment).collect::<Vec<_>>(),
    });
    if let Value::Object(fields) = &mut value {
        fields.extend(counted(&counts, |app| slugs.get(&app).cloned()));
    }
    let mut lines = vec![format!(
        "LSN {} to {last}: {} events, {} bytes",
        log.reader.first_lsn(),
        counts.total.events,
        log.reader.bytes()
    )];
    lines.push(format!("from {} to {}", text(&value, "/first_at"), text(&value, "/last_at")));
    lines.push(format!("lost earlier: {}", ranges(&gaps)));
    for segment in log.reader.segments() {
        lines.push(format!(
            "segment {:>6}  from LSN {:>10}  {:>12} of {} bytes",
            segment.segment, segment.first_lsn, segment.used_bytes, segment.file_bytes
        ));
    }
    lines.extend(tables(&value));
    tell(remote, &value, &lines);
    done
}

fn segment(info: &SegmentInfo) -> Value {
    json!({
        "segment": info.segment,
        "first_lsn": info.first_lsn,
        "used_bytes": info.used_bytes,
        "file_bytes": info.file_bytes,
    })
}

/// Prints what the log of a running instance holds, how fast it grows, and when its disk is full.
pub(super) fn online(remote: &Remote) -> Result<(), Failed> {
    let value = remote.client()?.get("/instance/log")?.json()?;
    let at = |pointer: &str| text(&value, pointer);
    let mut lines = vec![
        format!(
            "LSN {} to {}: {} events, {} bytes in {} segments of {} bytes",
            at("/lsn/first"),
            at("/lsn/durable"),
            at("/events"),
            at("/log/bytes"),
            at("/log/segments"),
            at("/log/segment_bytes"),
        ),
        format!("from {} to {}", at("/first_at"), at("/last_at")),
        format!(
            "grows by {} bytes a day; {} bytes are free (space: {}); the disk is full at {}",
            at("/log/bytes_per_day"),
            at("/log/disk_free_bytes"),
            at("/space/state"),
            at("/log/disk_full_at"),
        ),
    ];
    lines.push(format!("history is kept: {}; holds: {}", at("/log/retention"), at("/holds")));
    if value.pointer("/log/kept_from").is_some_and(Value::is_object) {
        lines.push(format!(
            "kept from LSN {} by the setting, {} by open work and letters, {} by idempotency keys, {} by holds",
            at("/log/kept_from/retention"),
            at("/log/kept_from/work"),
            at("/log/kept_from/idempotency"),
            at("/log/kept_from/holds"),
        ));
    }
    for snapshot in value.pointer("/snapshots").and_then(Value::as_array).into_iter().flatten() {
        let at = |pointer: &str| text(snapshot, pointer);
        lines.push(format!("snapshot at LSN {}, {}, {} bytes", at("/lsn"), at("/at"), at("/bytes")));
    }
    lines.extend(tables(&value));
    tell(remote, &value, &lines);
    Ok(())
}

fn text(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// Events and bytes by kind and by app.
fn tables(value: &Value) -> Vec<String> {
    let row = |item: &Value, name: String| {
        format!("{:>12} events {:>14} bytes  {name}", text(item, "/events"), text(item, "/bytes"))
    };
    let kinds = value["kinds"].as_object().into_iter().flatten();
    let kinds = kinds.map(|(kind, item)| row(item, kind.clone()));
    let apps = value["by_app"].as_array().into_iter().flatten().map(|item| {
        let name = match (&item["app"], &item["id"]) {
            (Value::String(slug), _) => format!("app {slug}"),
            (_, Value::String(id)) => format!("app {id}"),
            (_, _) => "the instance itself".to_owned(),
        };
        row(item, name)
    });
    kinds.chain(apps).collect()
}
