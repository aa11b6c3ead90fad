//! `POST /apps/{app}/scripts/{name}/backtest`, `…/executions/{id}/bisect`, `GET …/capsule`.
//!
//! Owns: their requests, the threads of a backtest, and redriving what a backtest proved. Never does: an effect,
//! except the redrives that were asked for by name.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::IntoResponse;
use hyper::header;
use relive_engine::command::{Answer, Command, RedriveVersion};
use relive_engine::replay::{
    BACKTEST_MAX, Backtest, BacktestAsked, Candidate, Report, Sealed, bisect as find_first, capsule as wrap,
};
use relive_log::events::Scopes;
use relive_log::{BacktestId, ExecutionId, UnixMicros};
use relive_projections::{App, Script, Status};
use serde::Deserialize;
use serde_json::{Value, json};

use super::auth::Caller;
use super::error::{ApiError, ApiResult, ErrorCode};
use super::query::{Query, parse_time};
use super::replay::{candidate, not_replayable, scripted, sealed};
use super::shared::Shared;
use super::{Ctx, body, replay_dto};
use crate::threads;

/// Executions of a backtest when no number is asked for.
const LIMIT_DEFAULT: usize = 1000;
/// Largest body: a source and its frame.
const BODY_MAX: usize = 1 << 20;
/// Most threads of one backtest.
const THREADS_MAX: usize = 8;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    source: Option<String>,
    version: Option<u32>,
    since: Option<String>,
    until: Option<String>,
    limit: Option<usize>,
    status: Option<String>,
    #[serde(default)]
    dead_letters: bool,
    cursor: Option<String>,
    /// Redrives the dead letters that it repairs.
    #[serde(default)]
    redrive: bool,
}

fn time(field: &str, text: Option<&String>) -> ApiResult<Option<UnixMicros>> {
    text.map(|text| {
        parse_time(text).ok_or_else(|| ApiError::invalid(field, format!("`{text}` is not an RFC 3339 time")))
    })
    .transpose()
}

fn status(text: Option<&String>) -> ApiResult<Option<Status>> {
    text.map(|name| {
        Status::by_name(name).ok_or_else(|| ApiError::invalid("status", format!("`{name}` is no status")))
    })
    .transpose()
}

impl Asked {
    fn parsed(&self, script: &str) -> ApiResult<BacktestAsked> {
        let limit = self.limit.unwrap_or(LIMIT_DEFAULT);
        if !(1..=BACKTEST_MAX).contains(&limit) {
            return Err(ApiError::invalid("limit", format!("{limit} is not 1 to {BACKTEST_MAX}")));
        }
        let candidate = candidate(self.source.clone(), self.version)?;
        if candidate == Candidate::Recorded {
            return Err(ApiError::invalid("source", "a backtest needs `source` or `version`"));
        }
        let cursor = self.cursor.as_ref().map(|cursor| cursor.parse()).transpose();
        Ok(BacktestAsked {
            script: script.to_owned(),
            candidate,
            since: time("since", self.since.as_ref())?,
            until: time("until", self.until.as_ref())?,
            status: status(self.status.as_ref())?,
            dead_letters: self.dead_letters,
            limit,
            cursor: cursor
                .map_err(|_| ApiError::new(ErrorCode::BadCursor, "cursor: not one of a backtest"))?,
        })
    }
}

/// `POST /apps/{app}/scripts/{name}/backtest`
pub(crate) async fn backtest(
    State(shared): Ctx,
    caller: Caller,
    Path((app, script)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    body: Body,
) -> ApiResult {
    Query::parse(query.as_deref(), &[])?;
    let asked: Asked = body::optional(body, BODY_MAX, "the limit of this request").await?;
    let wanted = asked.parsed(&script)?;
    let sealed = sealed(&caller, &wanted.candidate)?;
    let node = Arc::clone(shared.node().await?);
    let (app, _) = shared.app(&app).await?;
    if asked.redrive {
        caller.require(Scopes::APP_ADMIN)?;
        may_redrive(&app, &wanted)?;
    }
    let (tested_app, id) = (Arc::clone(&app), node.backtest_id());
    let report = scripted(move || {
        let backtest = Backtest::new(node.archive(), tested_app, &wanted, sealed).map_err(not_replayable)?;
        in_parallel(Arc::new(backtest), id)
    })
    .await?;
    let mut shown = replay_dto::report(&report);
    if asked.redrive {
        let redriven = redrive(&shared, &caller, (&app, &script), &report).await?;
        if let Some(fields) = shown.as_object_mut() {
            fields.insert("redriven".into(), redriven);
        }
    }
    Ok(Json(shown).into_response())
}

/// What is redriven runs the current version: the proof must be of that one.
fn may_redrive(app: &App, asked: &BacktestAsked) -> ApiResult<()> {
    if !asked.dead_letters {
        return Err(ApiError::invalid("redrive", "needs `dead_letters: true`"));
    }
    let current = app.live_script(&asked.script);
    let is_current = match &asked.candidate {
        Candidate::Recorded => false,
        Candidate::Version(version) => current.is_some_and(|script| script.current == *version),
        Candidate::Source(source) => current.is_some_and(|script| script.source == *source),
    };
    if is_current {
        return Ok(());
    }
    Err(ApiError::new(
        ErrorCode::Conflict,
        "what is redriven runs the current version of the script: deploy the candidate first",
    ))
}

/// Redrives what was proven, each with its proof; `app` as it was when the backtest began.
async fn redrive(
    shared: &Shared,
    caller: &Caller,
    (app, script): (&App, &str),
    report: &Report,
) -> ApiResult<Value> {
    let mut redriven = Vec::new();
    let Some(current) = app.live_script(script).and_then(Script::current_version) else {
        return Ok(redriven.into());
    };
    for tested in &report.tested {
        let (Some(letter), Some(proof)) = (tested.letter, report.proof(tested, current)) else { continue };
        let proof = Some(Box::new(proof));
        let version = RedriveVersion::Current;
        let command = Command::Redrive { app: app.slug.clone(), letter, version, proof };
        let committed = shared.submit(caller, command).await?;
        let execution =
            if let Answer::Execution(execution) = committed.answer { Some(execution) } else { None };
        redriven.push(json!({"dead_letter_id": letter, "execution_id": execution, "lsn": committed.lsn}));
    }
    Ok(redriven.into())
}

/// Runs a backtest, under this name, on as many threads as there are processors.
pub(crate) fn in_parallel(backtest: Arc<Backtest>, id: BacktestId) -> ApiResult<Report> {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let others: Vec<_> = (1..processors.min(THREADS_MAX).min(backtest.len().max(1)))
        .filter_map(|_| {
            let backtest = Arc::clone(&backtest);
            threads::scripted("backtest", move || backtest.run()).ok()
        })
        .collect();
    backtest.run();
    for other in others {
        // One that panicked left its execution out; the report says how many there are.
        let _ended = other.join();
    }
    backtest.report(id).map_err(not_replayable)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BisectAsked {
    attempt: Option<u32>,
}

/// `POST /apps/{app}/executions/{id}/bisect`
pub(crate) async fn bisect(
    State(shared): Ctx,
    Path((app, id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    body: Body,
) -> ApiResult {
    Query::parse(query.as_deref(), &[])?;
    let asked: BisectAsked = body::optional(body, BODY_MAX, "the limit of this request").await?;
    let execution: ExecutionId = id.parse().map_err(|_| ApiError::not_found("execution", &id))?;
    let node = Arc::clone(shared.node().await?);
    let (app, _) = shared.app(&app).await?;
    let shown = scripted(move || {
        let archive = node.archive();
        let row = archive.row(app.id, execution).map_err(not_replayable)?;
        let found = find_first(&archive, &app, &row, asked.attempt).map_err(not_replayable)?;
        Ok(replay_dto::bisected(&row, &found))
    })
    .await?;
    Ok(Json(shown).into_response())
}

/// `GET /apps/{app}/executions/{id}/capsule`
pub(crate) async fn capsule(
    State(shared): Ctx,
    Path((app, id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> ApiResult {
    let query = Query::parse(query.as_deref(), &["attempt"])?;
    let attempt: Option<u32> = query.parsed("attempt", "a number")?;
    let execution: ExecutionId = id.parse().map_err(|_| ApiError::not_found("execution", &id))?;
    let node = Arc::clone(shared.node().await?);
    let (app, _) = shared.app(&app).await?;
    let text = scripted(move || {
        let archive = node.archive();
        let row = archive.row(app.id, execution).map_err(not_replayable)?;
        let with = |sealed| archive.recording(&app, &row, attempt, &Candidate::Recorded, sealed);
        let placeholders = with(Sealed::Placeholders).map_err(not_replayable)?;
        let original = with(Sealed::Opened).map_err(not_replayable)?;
        Ok(wrap(&placeholders, &original, MADE_BY))
    })
    .await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

/// Who writes capsules.
pub(crate) const MADE_BY: &str = concat!("relive ", env!("CARGO_PKG_VERSION"));
