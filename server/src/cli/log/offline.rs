//! `relive log show|export --data DIR`: events of a data directory that nobody serves.
//!
//! Owns: the same events in the same shape as the API shows them, with `app_id`, of all apps. What cannot be read is
//! said with the exit code of a start, after everything before it was shown.

use std::collections::HashMap;
use std::path::Path;

use relive_log::events::{AppEvent, Event, decode_record, registry};
use relive_log::tools::{OfflineLog, Upto};
use relive_log::{AppId, ExecutionId, Lsn, ReadError, UnixMicros};
use serde_json::Value;

use super::export::Sink;
use super::progress::Progress;
use super::{Filter, Range, disk, failed};
use crate::cli::remote::Remote;
use crate::cli::render;
use crate::client::Failed;
use crate::http::event_dto;

/// Which events are wanted.
pub(super) struct Search {
    from: Lsn,
    to: Lsn,
    kind: Option<String>,
    execution: Option<ExecutionId>,
    app: Option<String>,
}

impl Search {
    pub(super) fn new(remote: &Remote, range: &Range, filter: &Filter) -> Result<Search, Failed> {
        if let Some(kind) = filter.kind.as_deref().filter(|kind| registry::by_name(kind).is_none()) {
            return Err(Failed::usage(format!("there is no kind of event `{kind}`")));
        }
        let execution = match &filter.execution {
            None => None,
            Some(text) => {
                let id = text.parse().map_err(|_| Failed::usage(format!("`{text}` is no execution id")))?;
                Some(id)
            }
        };
        Ok(Search {
            from: range.from.map_or(Lsn::FIRST, Lsn),
            to: range.to.map_or(Lsn::MAX, Lsn),
            kind: filter.kind.clone(),
            execution,
            app: remote.app_if_given(),
        })
    }

    fn takes(&self, apps: &Apps, event: &Event) -> bool {
        self.kind.as_ref().is_none_or(|kind| event.kind().name == kind)
            && self.execution.is_none_or(|wanted| event.execution() == Some(wanted))
            && self.app.as_ref().is_none_or(|slug| apps.0.get(&event.app()) == Some(slug))
    }

    /// Whether an event has to be seen to know later ones.
    fn starts_at(&self, first: Lsn) -> Lsn {
        if self.app.is_some() { first } else { self.from.max(first) }
    }
}

/// Slugs of apps, as their events tell.
#[derive(Default)]
struct Apps(HashMap<AppId, String>);

/// Whether to go on.
#[derive(PartialEq, Eq)]
pub(super) enum Next {
    More,
    Enough,
}

/// What [`each`] hands out.
pub(super) struct Seen<'a> {
    pub(super) lsn: Lsn,
    pub(super) at: UnixMicros,
    pub(super) event: &'a Event,
    pub(super) body_bytes: usize,
}

/// Every event from `from` on, gaps included.
pub(super) fn each(
    log: &OfflineLog,
    from: Lsn,
    on_event: &mut dyn FnMut(Seen<'_>) -> Result<Next, Failed>,
    on_gap: &mut dyn FnMut(relive_log::Gap) -> Result<Next, Failed>,
) -> Result<(), Failed> {
    let mut scan = log.reader.scan(from).map_err(|error| unreadable(&error))?;
    while let Some(frame) = scan.next() {
        let frame = match frame {
            Err(ReadError::Gap { gap }) => {
                if on_gap(gap)? == Next::Enough {
                    return Ok(());
                }
                scan.pass_gap(gap);
                continue;
            }
            frame => frame.map_err(|error| unreadable(&error))?,
        };
        for raw in frame.records().filter(|raw| raw.lsn >= from) {
            let event = decode_record(raw.type_, raw.type_version, raw.body)
                .map_err(|error| Failed { code: 78, ..Failed::new(format!("event {}: {error}", raw.lsn)) })?;
            let (at, body_bytes) = (frame.commit_time, raw.body.len());
            let seen = Seen { lsn: raw.lsn, at, event: &event, body_bytes };
            if on_event(seen)? == Next::Enough {
                return Ok(());
            }
        }
    }
    match &log.refusal {
        None => Ok(()),
        Some(refusal) => Err(failed(refusal)),
    }
}

fn unreadable(error: &ReadError) -> Failed {
    let code = match error {
        ReadError::Io { .. } | ReadError::Snapshot { .. } => 74,
        ReadError::Decode { .. } => 78,
        ReadError::BelowStart { .. } | ReadError::NotDurable { .. } | ReadError::Cut { .. } => 1,
        ReadError::Damaged { .. }
        | ReadError::DamagedSnapshot { .. }
        | ReadError::NotInFrame { .. }
        | ReadError::Gap { .. } => 65,
    };
    Failed { code, ..Failed::new(error.to_string()) }
}

/// Opens a data directory for reading.
pub(super) fn open(dir: &Path) -> Result<OfflineLog, Failed> {
    OfflineLog::open(disk(), dir, Upto::Valid).map_err(|error| failed(&error))
}

fn find(
    log: &OfflineLog,
    search: &Search,
    put: &mut dyn FnMut(Value) -> Result<Next, Failed>,
) -> Result<(), Failed> {
    let first = log.reader.first_lsn();
    if search.from < first && search.from > Lsn::FIRST {
        let durable = log.reader.durable();
        return Err(unreadable(&ReadError::BelowStart { lsn: search.from, first, durable }));
    }
    let put = std::cell::RefCell::new(put);
    let mut apps = Apps::default();
    let mut on_event = |seen: Seen<'_>| {
        if let Event::App(AppEvent::Created(created)) = seen.event {
            apps.0.insert(created.app, created.slug.clone());
        }
        if let Event::App(AppEvent::Forked(forked)) = seen.event {
            apps.0.insert(forked.app, forked.slug.clone());
        }
        if seen.lsn > search.to {
            return Ok(Next::Enough);
        }
        if seen.lsn < search.from || !search.takes(&apps, seen.event) {
            return Ok(Next::More);
        }
        let mut shown = event_dto::event(seen.lsn, seen.at, seen.event);
        if let (Some(fields), Ok(app)) = (shown.as_object_mut(), serde_json::to_value(seen.event.app())) {
            fields.insert("app_id".to_owned(), app);
        }
        (put.borrow_mut())(shown)
    };
    let mut on_gap = |gap: relive_log::Gap| {
        if gap.from > search.to {
            return Ok(Next::Enough);
        }
        let wanted = search.kind.is_none() && search.execution.is_none() && gap.to >= search.from;
        if wanted { (put.borrow_mut())(event_dto::gap(gap)) } else { Ok(Next::More) }
    };
    each(log, search.starts_at(first), &mut on_event, &mut on_gap)
}

pub(super) fn show(remote: &Remote, dir: &Path, search: &Search, limit: usize) -> Result<(), Failed> {
    let log = open(dir)?;
    let (mut items, mut more) = (Vec::new(), false);
    let done = find(&log, search, &mut |event| {
        if items.len() == limit {
            more = true;
            return Ok(Next::Enough);
        }
        items.push(event);
        Ok(Next::More)
    });
    render::list(remote, &items, super::online::COLUMNS, more);
    done
}

pub(super) fn export(dir: &Path, search: &Search, sink: &mut Sink) -> Result<(), Failed> {
    let log = open(dir)?;
    let mut progress = Progress::new("exporting");
    let last = log.reader.durable();
    find(&log, search, &mut |event| {
        let lsn = event.get("lsn").and_then(Value::as_u64).unwrap_or_default();
        progress.at(lsn, last.0);
        sink.put(&event)?;
        Ok(Next::More)
    })
}
