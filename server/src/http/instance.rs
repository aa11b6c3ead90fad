//! `/instance`: version, positions, sizes, durability, what is stored and how sound it is; `/instance/log`: what the log
//! consists of.
//!
//! Owns: its JSON. Both answer while the views are being rebuilt (V10), with what the log alone says and how far the rebuild is.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::IntoResponse;
use relive_engine::script::SDK_VERSION;
use relive_log::{AppId, Lsn, ReadError, Reader, Recycle, UnixMicros};
use serde_json::{Map, Value, json};

use super::error::{ApiError, ApiResult, ErrorCode};
use super::health::{DURABILITY, space};
use super::query::Query;
use super::shared::{Shared, blocking, log_error};
use super::{Ctx, dto};
use crate::housekeeping::House;
use crate::log_counts::Counts;

/// `GET /instance`
pub(crate) async fn show(State(shared): Ctx, RawQuery(query): RawQuery) -> ApiResult {
    Query::parse(query.as_deref(), &[])?;
    let house = Arc::clone(looked_after(&shared)?);
    let snapshot = house.snapshots.newest();
    let node = shared.running();
    let views = if node.is_some() { Folded::All } else { Folded::InPart };
    let stored = {
        let house = Arc::clone(&house);
        blocking(move || stored(&house, views)).await?
    };
    let mut answer = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "sdk": SDK_VERSION,
        "started_at": dto::rfc3339(shared.parts.started_at),
        "data": shared.parts.data.display().to_string(),
        "durability": DURABILITY,
    });
    let (durable, horizon) = (house.reader.durable(), house.reader.first_lsn());
    let more = match node {
        Some(node) => json!({
            "lsn": {
                "last": node.applied(),
                "durable": node.durable(),
                "snapshot": snapshot,
                "horizon": horizon,
            },
            "space": {"state": space(node.supply().room()), "shortages": node.supply().shortages()},
            "holds": node.views().holds().count(),
            "views": {"lag_bytes": node.views().lag_bytes(), "damage": node.views().damage()},
            "apps": node.views().registry().apps.len(),
            "open_executions": node.views().executions().open_count(),
        }),
        None => json!({
            "lsn": {"last": durable, "durable": durable, "snapshot": snapshot, "horizon": horizon},
            "rebuild": shared.progressed().to_json(),
        }),
    };
    for part in [more, stored] {
        dto::add(&mut answer, part);
    }
    Ok(Json(answer).into_response())
}

/// Whether the views are whole.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Folded {
    All,
    InPart,
}

fn looked_after(shared: &Shared) -> ApiResult<&Arc<House>> {
    shared.house().ok_or_else(|| ApiError::new(ErrorCode::Internal, "nobody looks after the log"))
}

/// A day, in microseconds.
const DAY: u64 = 24 * 3600 * 1_000_000;

/// What the log holds, how fast it grows, when the disk will be full, what is damaged.
fn stored(house: &House, views: Folded) -> ApiResult<Value> {
    let (now, reader) = (crate::clock::now(), &house.reader);
    let segments = reader.segments();
    let file_bytes: u64 = segments.iter().map(|segment| segment.file_bytes).sum();
    let free = house.snapshots.free_space().ok();
    let per_day = growth(reader, now).map_err(|e| log_error(&e))?;
    let days = free.zip(per_day).filter(|(_, per_day)| *per_day > 0).map(|(free, per_day)| free / per_day);
    // Further away than a hundred years is never.
    let full_at = days.filter(|days| *days < 36_500).map(|days| UnixMicros(now.0 + days * DAY));
    let base = house.snapshots.base();
    let scrub = house.scrub.lock().clone();
    Ok(json!({
        "log": {
            "bytes": reader.bytes(),
            "file_bytes": file_bytes,
            "segments": segments.len(),
            "segment_bytes": house.snapshots.segment_bytes(),
            "align_bytes": reader.align_bytes(),
            "recycle": recycle(house.recycle),
            "retention": house.history.to_string(),
            "kept_from": if views == Folded::All { kept_from(house)? } else { Value::Null },
            "base_bytes": base.as_ref().map_or(0, |base| base.bytes),
            "base_events": base.as_ref().map_or(0, |base| base.items),
            "bytes_per_day": per_day,
            "disk_free_bytes": free,
            "disk_full_at": dto::maybe_time(full_at),
        },
        "snapshots": house.snapshots.list().iter().map(|info| json!({
            "lsn": info.last_lsn,
            "at": dto::rfc3339(info.created),
            "bytes": info.bytes,
        })).collect::<Vec<_>>(),
        "scrub": {
            "scrub_bytes": scrub.bytes,
            "scrub_errors": scrub.errors,
            "passes": scrub.passes,
            "oldest_unverified": dto::maybe_time(scrub.oldest_unverified),
            "damage": scrub.damage.iter().map(|found| json!({
                "file": found.file,
                "offset": found.offset,
                "first_lsn": found.lsns.map(|(first, _)| first),
                "last_lsn": found.lsns.map(|(_, last)| last),
                "check": found.check,
            })).collect::<Vec<_>>(),
        },
        "trouble": house.trouble.lock().clone(),
    }))
}

const fn recycle(recycle: Recycle) -> &'static str {
    match recycle {
        Recycle::Zero => "zero",
        Recycle::Reuse => "reuse",
        Recycle::Off => "off",
    }
}

/// What keeps history from being cut: the first LSN that each reason keeps; null where it keeps none.
fn kept_from(house: &House) -> ApiResult<Value> {
    let floors = house.floors().map_err(|error| {
        tracing::error!(%error, "what has to stay is not known");
        ApiError::new(ErrorCode::ReadFailed, error.to_string())
    })?;
    let lsn = |lsn: Lsn| (lsn != Lsn::MAX).then_some(lsn);
    Ok(floors.map_or(Value::Null, |floors| {
        json!({
            "retention": floors.asked,
            "work": lsn(floors.work),
            "idempotency": lsn(floors.idempotency),
            "holds": lsn(floors.holds),
        })
    }))
}

/// `GET /instance/log`: events and bytes of the log by kind and by app. The first time it reads the whole log, later
/// what came since.
pub(crate) async fn log(State(shared): Ctx, RawQuery(query): RawQuery) -> ApiResult {
    Query::parse(query.as_deref(), &[])?;
    let house = Arc::clone(looked_after(&shared)?);
    let answer = blocking(move || {
        let reader = &house.reader;
        let counts = house.counts.count(reader).map_err(|e| log_error(&e))?;
        let mut answer = json!({"lsn": {"first": reader.first_lsn(), "durable": reader.durable()}});
        let (views, more) = match shared.running() {
            Some(node) => (
                Folded::All,
                json!({
                    "space": {"state": space(node.supply().room()), "shortages": node.supply().shortages()},
                    "holds": node.views().holds().count(),
                }),
            ),
            None => (Folded::InPart, json!({"rebuild": shared.progressed().to_json()})),
        };
        dto::add(&mut answer, more);
        if let (Value::Object(answer), Value::Object(stored)) = (&mut answer, stored(&house, views)?) {
            answer
                .extend(stored.into_iter().filter(|(name, _)| matches!(name.as_str(), "log" | "snapshots")));
        }
        let registry = shared.running().map(|node| node.views().registry());
        let slug = |app: AppId| Some(registry.as_ref()?.app(app)?.slug.clone());
        dto::add(&mut answer, counted(&counts, slug).into());
        Ok(answer)
    });
    Ok(Json(answer.await?).into_response())
}

/// Counts as JSON; of apps that are gone only the id is known.
pub(crate) fn counted(counts: &Counts, slug: impl Fn(AppId) -> Option<String>) -> Map<String, Value> {
    let kinds = counts.kinds.iter();
    let kinds: Map<String, Value> = kinds
        .map(|(kind, tally)| ((*kind).to_owned(), json!({"events": tally.events, "bytes": tally.bytes})))
        .collect();
    let apps = counts.apps.iter().map(|(app, tally)| {
        let id = (*app != AppId::INSTANCE).then_some(app);
        json!({"app": slug(*app), "id": id, "events": tally.events, "bytes": tally.bytes})
    });
    let fields = [
        ("events", json!(counts.total.events)),
        ("event_bytes", json!(counts.total.bytes)),
        ("first_at", dto::maybe_time(counts.first_at)),
        ("last_at", dto::maybe_time(counts.last_at)),
        ("kinds", kinds.into()),
        ("by_app", apps.collect()),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Bytes of log of the last day; of a younger log, as many as a day at its rate would bring. `None`: too young.
fn growth(reader: &Reader, now: UnixMicros) -> Result<Option<u64>, ReadError> {
    let since = UnixMicros(now.0.saturating_sub(DAY));
    let total = reader.bytes();
    let from = match reader.frame_at_time(since)? {
        Some(frame) => {
            let before = reader.segments().into_iter().take_while(|s| s.segment < frame.pos.segment);
            return Ok(Some(total.saturating_sub(
                before.map(|segment| segment.used_bytes).sum::<u64>() + u64::from(frame.pos.offset),
            )));
        }
        None => reader.scan(reader.first_lsn())?.next().transpose()?,
    };
    let age = from.map_or(0, |frame| now.0.saturating_sub(frame.commit_time.0));
    // A minute at least, else one burst at the start looks like a flood.
    Ok((age >= 60_000_000).then(|| total.saturating_mul(DAY / 1_000_000) / (age / 1_000_000)))
}
