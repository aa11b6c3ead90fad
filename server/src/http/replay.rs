//! `POST /apps/{app}/executions/{id}/replay` and `…/steps`: a recorded attempt run again, without any effect.
//!
//! Owns: their requests, the threads that replays run on, refusals. Never does: run anything on a thread of the
//! runtime; hold more than [`REPLAYS_AT_ONCE`] of them at a time.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::IntoResponse;
use relive_engine::replay::{
    Candidate, Direction, NoStep, NotReplayable, Recording, STEPS_MAX, Sealed, StepsWanted,
    replay as run_again, steps as walk,
};
use relive_log::ExecutionId;
use relive_log::events::Scopes;
use serde::Deserialize;
use tokio::sync::{Semaphore, oneshot};

use super::auth::Caller;
use super::error::{ApiError, ApiResult, ErrorCode, Plane};
use super::query::Query;
use super::replay_dto::WithSource;
use super::shared::{Shared, below_horizon, stopped};
use super::{Ctx, body, replay_dto};
use crate::threads;

/// Replays that run at once; others wait.
const REPLAYS_AT_ONCE: usize = 4;
static PLACES: Semaphore = Semaphore::const_new(REPLAYS_AT_ONCE);
/// Steps of a page when none is asked for.
const STEPS_DEFAULT: usize = 100;
/// Largest body: a source and its frame.
const BODY_MAX: usize = 1 << 20;

/// Which attempt, and which script.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplayAsked {
    attempt: Option<u32>,
    source: Option<String>,
    script_version: Option<u32>,
}

/// Which steps.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StepsAsked {
    attempt: Option<u32>,
    source: Option<String>,
    script_version: Option<u32>,
    from: Option<u64>,
    cursor: Option<String>,
    limit: Option<usize>,
    #[serde(default)]
    breakpoints: Vec<Breakpoint>,
    #[serde(default)]
    direction: DirectionAsked,
    /// Whether the text of the script is asked for, too.
    #[serde(default)]
    include_source: bool,
}

/// A line of the script, or of a script that it imports.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Breakpoint {
    Line(u32),
    Within(Within),
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Within {
    script: Option<String>,
    line: u32,
}

impl Breakpoint {
    fn place(&self) -> (Option<String>, u32) {
        match self {
            Breakpoint::Line(line) => (None, *line),
            Breakpoint::Within(Within { script, line }) => (script.clone(), *line),
        }
    }
}

impl StepsAsked {
    /// What is wanted, and whether with the script's text.
    pub(crate) fn wanted(&self) -> ApiResult<(StepsWanted, WithSource)> {
        let limit = self.limit.unwrap_or(STEPS_DEFAULT);
        if !(1..=STEPS_MAX).contains(&limit) {
            return Err(ApiError::invalid("limit", format!("{limit} is not 1 to {STEPS_MAX}")));
        }
        let cursor = self.cursor.as_ref().map(|cursor| {
            cursor.parse().map_err(|_| ApiError::new(ErrorCode::BadCursor, "cursor: not one of this walk"))
        });
        let wanted = StepsWanted {
            from: cursor.transpose()?.or(self.from),
            limit,
            breakpoints: self.breakpoints.iter().map(Breakpoint::place).collect(),
            direction: match self.direction {
                DirectionAsked::Forward => Direction::Forwards,
                DirectionAsked::Backward => Direction::Backwards,
            },
        };
        Ok((wanted, if self.include_source { WithSource::Yes } else { WithSource::No }))
    }
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum DirectionAsked {
    #[default]
    Forward,
    Backward,
}

/// The script that a request names.
pub(super) fn candidate(source: Option<String>, version: Option<u32>) -> ApiResult<Candidate> {
    match (source, version) {
        (Some(_), Some(_)) => Err(ApiError::invalid("source", "`source` and a version exclude each other")),
        (Some(source), None) => Ok(Candidate::Source(source.into())),
        (None, Some(version)) => Ok(Candidate::Version(version)),
        (None, None) => Ok(Candidate::Recorded),
    }
}

/// `POST /apps/{app}/executions/{id}/replay`
pub(crate) async fn replay(
    State(shared): Ctx,
    caller: Caller,
    Path((app, id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    body: Body,
) -> ApiResult {
    Query::parse(query.as_deref(), &[])?;
    let asked: ReplayAsked = body::optional(body, BODY_MAX, "the limit of this request").await?;
    let candidate = candidate(asked.source, asked.script_version)?;
    let sealed = sealed(&caller, &candidate)?;
    let shown = recorded(&shared, &app, &id, asked.attempt, (candidate, sealed), |recording| {
        Ok(replay_dto::replayed(recording, &run_again(recording)))
    })
    .await?;
    Ok(Json(shown).into_response())
}

/// `POST /apps/{app}/executions/{id}/steps`
pub(crate) async fn steps(
    State(shared): Ctx,
    caller: Caller,
    Path((app, id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    body: Body,
) -> ApiResult {
    Query::parse(query.as_deref(), &[])?;
    let asked: StepsAsked = body::optional(body, BODY_MAX, "the limit of this request").await?;
    let wanted = asked.wanted();
    let candidate = candidate(asked.source, asked.script_version)?;
    let sealed = sealed(&caller, &candidate)?;
    let (wanted, with) = wanted?;
    let shown = recorded(&shared, &app, &id, asked.attempt, (candidate, sealed), move |recording| {
        let stepped = walk(recording, &wanted).map_err(no_step)?;
        Ok(replay_dto::stepped(recording, &stepped, with))
    })
    .await?;
    Ok(Json(shown).into_response())
}

/// What the caller may see and run (T6): another source needs `script:write`, and gets withheld values only with
/// `app:admin`.
pub(super) fn sealed(caller: &Caller, candidate: &Candidate) -> ApiResult<Sealed> {
    if !matches!(candidate, Candidate::Source(_)) {
        return Ok(Sealed::Opened);
    }
    caller.require(Scopes::SCRIPT_WRITE)?;
    Ok(if caller.may(Scopes::APP_ADMIN) { Sealed::Opened } else { Sealed::Placeholders })
}

/// Puts a recorded attempt together and works on it, on a thread of its own.
async fn recorded<T: Send + 'static>(
    shared: &Shared,
    app: &str,
    id: &str,
    attempt: Option<u32>,
    (candidate, sealed): (Candidate, Sealed),
    work: impl FnOnce(&Recording) -> ApiResult<T> + Send + 'static,
) -> ApiResult<T> {
    let execution: ExecutionId = id.parse().map_err(|_| ApiError::not_found("execution", id))?;
    let node = Arc::clone(shared.node().await?);
    let (app, _) = shared.app(app).await?;
    scripted(move || {
        let archive = node.archive();
        let row = archive.row(app.id, execution).map_err(not_replayable)?;
        let recording = archive.recording(&app, &row, attempt, &candidate, sealed).map_err(not_replayable)?;
        work(&recording)
    })
    .await
}

/// Runs work that runs scripts on a thread with the stack that they need.
pub(super) async fn scripted<T: Send + 'static>(
    work: impl FnOnce() -> ApiResult<T> + Send + 'static,
) -> ApiResult<T> {
    let _place = PLACES.acquire().await.map_err(|_| stopped())?;
    let (done, wait) = oneshot::channel();
    threads::scripted("replay", move || drop(done.send(work())))
        .map_err(|error| ApiError::new(ErrorCode::Internal, error.message))?;
    wait.await.map_err(|_| ApiError::new(ErrorCode::Internal, "a replay panicked"))?
}

/// Why an attempt cannot be replayed, for the outside.
pub(crate) fn not_replayable(why: NotReplayable) -> ApiError {
    let text = why.to_string();
    match why {
        NotReplayable::NotFound { what, name } => ApiError::not_found(what, name),
        NotReplayable::NoAttempt { known, .. } => {
            ApiError::new(ErrorCode::NotFound, text).with("field", "attempt").with("attempts", known)
        }
        NotReplayable::NotRecorded(_) => ApiError::new(ErrorCode::NotRecorded, text),
        NotReplayable::StillRunning(_) => ApiError::new(ErrorCode::NotEnded, text),
        NotReplayable::Source(error) => ApiError::new(ErrorCode::Parse, text)
            .with("kind", "parse")
            .with("message", error.message)
            .with("line", error.line)
            .with("column", error.column),
        NotReplayable::Leaks { limit, .. } => ApiError::new(ErrorCode::Memory, text)
            .with("limit", limit)
            .with("setting", "RELIVE_MAX_LEAKED_MEMORY"),
        NotReplayable::BelowHorizon(first) => below_horizon(first),
        NotReplayable::Failed(failure) => ApiError::of_failure(&failure, Plane::Control),
    }
}

pub(crate) fn no_step(why: NoStep) -> ApiError {
    let text = why.to_string();
    match why {
        NoStep::OutOfRange { total, .. } => {
            ApiError::new(ErrorCode::StepOutOfRange, text).with("field", "from").with("total", total)
        }
        NoStep::NoScript { script } => {
            ApiError::new(ErrorCode::NoCode, text).with("field", "breakpoints").with("script", script)
        }
        NoStep::NoCode { script, line, next } => ApiError::new(ErrorCode::NoCode, text)
            .with("field", "breakpoints")
            .with("script", serde_json::json!(script))
            .with("line", line)
            .with("next_line", serde_json::json!(next)),
        NoStep::NothingRan(_) => ApiError::new(ErrorCode::NotRecorded, text),
    }
}
