//! `/apps/{app}/dead-letters/redrive`, `…/resolve` and `/apps/{app}/jobs`: dead letters closed in bulk (D12).
//!
//! Owns: requests of jobs, their previews, their JSON. Never does: take a step of one.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::IntoResponse;
use hyper::StatusCode;
use relive_engine::command::{Answer, Command, JobPlan, RedriveVersion};
use relive_log::JobId;
use relive_log::events::{JobFilter, JobKind};
use relive_projections::{App, JobRow, LetterFilter};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::apps::no_content;
use super::auth::Caller;
use super::error::{ApiError, ApiResult, ErrorCode};
use super::page::{PAGING, Page};
use super::query::Query;
use super::shared::Shared;
use super::{Ctx, body, dead_letters, dto, triggers};

/// Letters of a preview.
const SAMPLE: usize = 10;
/// The slowest rate: one in a day.
const RATE_MIN: f64 = 1.0 / 86_400.0;
/// The fastest rate that is not "as fast as it goes".
const RATE_MAX: f64 = 1_000_000.0;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    status: Option<String>,
    script: Option<String>,
    trigger: Option<String>,
    error: Option<String>,
    fingerprint: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Redrive {
    filter: Filter,
    #[serde(default)]
    dry_run: bool,
    rate: Option<Value>,
    stop_after_failures: Option<u64>,
    version: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resolve {
    filter: Filter,
    #[serde(default)]
    dry_run: bool,
    rate: Option<Value>,
    resolution: Option<String>,
    note: Option<String>,
}

fn filter(app: &App, asked: Filter) -> ApiResult<JobFilter> {
    if asked.status.as_deref().is_some_and(|status| status != "open") {
        return Err(ApiError::invalid("filter.status", "only open letters can be closed"));
    }
    let fingerprint = asked.fingerprint.as_deref().map(dead_letters::parse_fingerprint).transpose()?;
    Ok(JobFilter {
        script: asked.script,
        trigger: asked.trigger.map(|name| triggers::find(app, &name).unwrap_or_default()),
        fingerprint,
        error: asked.error,
    })
}

/// A rate as the time from one letter to the next: `5`, `0.5`, `"10/s"`; none is as fast as it goes.
fn interval_us(rate: Option<&Value>) -> ApiResult<u64> {
    let number = match rate {
        None | Some(Value::Null) => return Ok(0),
        Some(Value::String(text)) => text.trim().trim_end_matches("/s").trim().parse().ok(),
        Some(value) => value.as_f64(),
    };
    let Some(number) = number.filter(|n: &f64| (RATE_MIN..=RATE_MAX).contains(n)) else {
        return Err(ApiError::invalid("rate", "it is a number of letters per second, or a text like `10/s`"));
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 86,400,000,000")]
    Ok((1_000_000.0 / number).round().max(1.0) as u64)
}

/// What a job would be about.
async fn preview(shared: &Shared, app: &App, filter: &JobFilter) -> ApiResult {
    let seen = shared.seen().await?;
    let wanted = LetterFilter {
        open: Some(true),
        script: filter.script.clone(),
        trigger: filter.trigger,
        fingerprint: filter.fingerprint,
        error: filter.error.clone(),
        cursor: None,
        limit: SAMPLE,
    };
    let node = shared.node().await?;
    let letters = node.views().dead_letters();
    let sample: Vec<Value> = letters
        .next(app.id, &wanted, None, seen)
        .iter()
        .map(|row| dead_letters::shown(app, row).into())
        .collect();
    Ok(Json(json!({"count": letters.count(app.id, &wanted), "sample": sample})).into_response())
}

async fn start(shared: &Shared, caller: &Caller, slug: String, plan: JobPlan) -> ApiResult {
    let done = shared.submit(caller, Command::StartJob { app: slug.clone(), plan }).await?;
    let Answer::Job(job) = done.answer else {
        return Err(ApiError::new(ErrorCode::Internal, "the new job has no id"));
    };
    let (app, _) = shared.app(&slug).await?;
    let row = shared.node().await?.views().jobs().get(app.id, job);
    let row = row.ok_or_else(|| ApiError::not_found("job", job))?;
    Ok((StatusCode::ACCEPTED, Json(shown(&app, &row))).into_response())
}

/// `POST /apps/{app}/dead-letters/redrive`
pub(crate) async fn redrive(
    State(shared): Ctx,
    caller: Caller,
    Path(slug): Path<String>,
    RawQuery(query): RawQuery,
    body: Body,
) -> ApiResult {
    Query::parse(query.as_deref(), &[])?;
    let asked: Redrive = body::object(body).await?;
    let (app, _) = shared.app(&slug).await?;
    let filter = filter(&app, asked.filter)?;
    let version = dead_letters::version(asked.version.as_ref())?;
    let interval_us = interval_us(asked.rate.as_ref())?;
    if asked.stop_after_failures == Some(0) {
        return Err(ApiError::invalid("stop_after_failures", "it is at least 1"));
    }
    if asked.dry_run {
        return preview(&shared, &app, &filter).await;
    }
    let stop_after_failures = asked.stop_after_failures;
    let plan = JobPlan { kind: JobKind::Redrive { version }, filter, interval_us, stop_after_failures };
    start(&shared, &caller, slug, plan).await
}

/// `POST /apps/{app}/dead-letters/resolve`
pub(crate) async fn resolve(
    State(shared): Ctx,
    caller: Caller,
    Path(slug): Path<String>,
    RawQuery(query): RawQuery,
    body: Body,
) -> ApiResult {
    Query::parse(query.as_deref(), &[])?;
    let asked: Resolve = body::object(body).await?;
    let (app, _) = shared.app(&slug).await?;
    let filter = filter(&app, asked.filter)?;
    let interval_us = interval_us(asked.rate.as_ref())?;
    if asked.dry_run {
        return preview(&shared, &app, &filter).await;
    }
    let resolution = asked.resolution.unwrap_or_else(|| "ignored".to_owned());
    let kind = JobKind::Resolve { resolution, note: asked.note };
    let plan = JobPlan { kind, filter, interval_us, stop_after_failures: None };
    start(&shared, &caller, slug, plan).await
}

fn shown(app: &App, row: &JobRow) -> Value {
    let mut shown = Map::new();
    let mut put = |name: &str, value: Value| drop(shown.insert(name.to_owned(), value));
    put("id", json!(row.job));
    match &row.kind {
        JobKind::Redrive { version } => {
            put("kind", "redrive".into());
            put(
                "version",
                match version {
                    RedriveVersion::Current => "current".into(),
                    RedriveVersion::Original => "original".into(),
                    RedriveVersion::Number(number) => (*number).into(),
                },
            );
        }
        JobKind::Resolve { resolution, note } => {
            put("kind", "resolve".into());
            put("resolution", resolution.as_str().into());
            put("note", json!(note));
        }
    }
    let looked_at = row.done.saturating_add(row.skipped);
    put("status", row.ended.map_or("running", |(outcome, _)| outcome.name()).into());
    put(
        "filter",
        json!({
            "script": row.filter.script,
            "trigger": row.filter.trigger.map(|id| {
                app.triggers.get(&id).map_or_else(|| id.to_string(), |trigger| trigger.spec.name.clone())
            }),
            "fingerprint": row.filter.fingerprint.map(|fingerprint| format!("{fingerprint:016x}")),
            "error": row.filter.error,
        }),
    );
    put("total", row.total.into());
    put("done", row.done.into());
    put("skipped", row.skipped.into());
    put("remaining", row.total.saturating_sub(looked_at).into());
    put("succeeded", row.succeeded.into());
    put("failed", row.failed.into());
    put("in_flight", row.in_flight().into());
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    put("rate", if row.interval_us == 0 { Value::Null } else { json!(1_000_000.0 / row.interval_us as f64) });
    put("stop_after_failures", json!(row.stop_after_failures));
    put("created_at", dto::rfc3339(row.created.time).into());
    put("created_by", dto::principal(&row.by));
    put("ended_at", dto::maybe_time(row.ended.map(|(_, at)| at.time)));
    put("lsn", json!(row.created.lsn));
    shown.into()
}

/// `GET /apps/{app}/jobs`: newest first.
pub(crate) async fn list(
    State(shared): Ctx,
    Path(app): Path<String>,
    RawQuery(query): RawQuery,
) -> ApiResult {
    let query = Query::parse(query.as_deref(), &PAGING)?;
    let (app, now) = shared.app(&app).await?;
    let page = Page::of(&shared, &query, "jobs", Some(app.id))?;
    let pinned = page.pinned(now);
    let mut rows = shared.node().await?.views().jobs().list(app.id, page.position_as(), page.limit + 1);
    shared.seen().await?;
    let more = rows.len() > page.limit;
    rows.truncate(page.limit);
    let next = rows.last().filter(|_| more).map(|row| row.job.to_string());
    let items = rows.iter().filter(|row| row.created.lsn <= pinned).map(|row| shown(&app, row));
    Ok(page.answer(&shared, items.collect(), next, pinned))
}

fn parse(id: &str) -> ApiResult<JobId> {
    id.parse().map_err(|_| ApiError::not_found("job", id))
}

/// `GET /apps/{app}/jobs/{id}`
pub(crate) async fn show(
    State(shared): Ctx,
    Path((app, id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> ApiResult {
    Query::parse(query.as_deref(), &[])?;
    let (app, _) = shared.app(&app).await?;
    let row = shared.node().await?.views().jobs().get(app.id, parse(&id)?);
    let row = row.ok_or_else(|| ApiError::not_found("job", &id))?;
    shared.seen().await?;
    Ok(Json(shown(&app, &row)).into_response())
}

/// `DELETE /apps/{app}/jobs/{id}`: cancels it.
pub(crate) async fn cancel(
    State(shared): Ctx,
    caller: Caller,
    Path((app, id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> ApiResult {
    Query::parse(query.as_deref(), &[])?;
    shared.submit(&caller, Command::CancelJob { app, job: parse(&id)? }).await?;
    Ok(no_content())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_numbers_or_texts() {
        for (rate, want) in [
            (json!(null), Some(0)),
            (json!(10), Some(100_000)),
            (json!(0.5), Some(2_000_000)),
            (json!("10/s"), Some(100_000)),
            (json!("2.5 /s"), Some(400_000)),
            (json!(0), None),
            (json!(-1), None),
            (json!("fast"), None),
            (json!([]), None),
        ] {
            assert_eq!(interval_us(Some(&rate)).ok(), want, "{rate}");
        }
    }
}
