//! What handlers share: the node once it runs, the token, cursors; and how they wait for what the node does.
//!
//! Owns: [`Shared`], the bridge from the node's callbacks to futures, and the rule that an answer waits until
//! what it depends on is durable (S3). Never does: hold a lock over an await.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use relive_engine::command::{Command, Committed};
use relive_engine::node::Node;
use relive_log::{Lsn, UnixMicros};
use relive_projections::{App, Registry};
use tokio::sync::{Notify, Semaphore, oneshot, watch};

use super::auth::{Caller, Token};
use super::cursor::CursorKey;
use super::error::{ApiError, ApiResult, ErrorCode, Internals, Plane};
use super::log_stream::STREAMS_MAX;
use super::progress::{Progress, Progressed};
use super::query::PageLimits;
use super::serve::Stop;
use crate::housekeeping::House;

/// How long a call waits for views that are being rebuilt before it is 503 `rebuilding`.
const REBUILD_WAIT: Duration = Duration::from_secs(10);

/// What [`Shared`] is made of.
pub(crate) struct SharedParts {
    /// The instance token.
    pub(crate) token: Token,
    /// Tells when answers without an end have to end.
    pub(crate) stop: Stop,
    /// A secret of the instance, for cursors.
    pub(crate) cursor_secret: [u8; 16],
    /// What anonymous callers see of a script's error.
    pub(crate) internals: Internals,
    /// Data directory, for `/instance`.
    pub(crate) data: std::path::PathBuf,
    /// How far the views on disk may lag behind before admissions slow down.
    pub(crate) base_lag_bytes: u64,
    /// How long a page of a list is.
    pub(crate) pages: PageLimits,
    /// When the process started.
    pub(crate) started_at: UnixMicros,
}

/// What handlers share.
pub(crate) struct Shared {
    node: OnceLock<Arc<Node>>,
    house: OnceLock<Arc<House>>,
    ready: watch::Sender<bool>,
    progress: Progress,
    /// Notified when more of the log is durable.
    pub(crate) grown: Arc<Notify>,
    /// Places for streams of the log.
    pub(crate) streams: Arc<Semaphore>,
    /// What it was made of.
    pub(crate) parts: SharedParts,
    /// Makes and checks cursors.
    pub(crate) cursors: CursorKey,
}

impl Shared {
    /// Without a node yet.
    pub(crate) fn new(parts: SharedParts) -> Arc<Shared> {
        let cursors = CursorKey::derive(&parts.cursor_secret);
        let ready = watch::Sender::new(false);
        Arc::new(Shared {
            node: OnceLock::new(),
            house: OnceLock::new(),
            ready,
            progress: Progress::default(),
            grown: Arc::new(Notify::new()),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            parts,
            cursors,
        })
    }

    /// What is stored is looked after.
    pub(crate) fn set_house(&self, house: Arc<House>) {
        let _first = self.house.set(house);
    }

    /// What looks after what is stored.
    pub(crate) fn house(&self) -> Option<&Arc<House>> {
        self.house.get()
    }

    /// The views reach `lsn` of `target`.
    pub(crate) fn progress(&self, lsn: Lsn, target: Lsn) {
        self.progress.report(lsn, target);
    }

    /// How far the views are.
    pub(crate) fn progressed(&self) -> Progressed {
        self.progress.now()
    }

    /// The node runs: calls that waited go on.
    pub(crate) fn open(&self, node: Arc<Node>) {
        let _first = self.node.set(node);
        let _before = self.ready.send_replace(true);
    }

    /// The node, if it runs.
    pub(crate) fn running(&self) -> Option<&Arc<Node>> {
        self.node.get()
    }

    /// The node; waits for a rebuild.
    pub(crate) async fn node(&self) -> ApiResult<&Arc<Node>> {
        if let Some(node) = self.node.get() {
            return Ok(node);
        }
        let mut ready = self.ready.subscribe();
        let opened = tokio::time::timeout(REBUILD_WAIT, ready.wait_for(|ready| *ready)).await;
        match (opened, self.node.get()) {
            (Ok(Ok(_)), Some(node)) => Ok(node),
            _ => {
                let progressed @ Progressed { folded, target, per_second, .. } = self.progressed();
                let text = format!(
                    "the views are being rebuilt: LSN {folded} of {target}, {per_second} events a second"
                );
                let error = ApiError::new(ErrorCode::Rebuilding, text);
                let fields = progressed.fields().into_iter();
                Err(fields.fold(error, |error, (name, value)| error.with(name, value)))
            }
        }
    }

    /// Waits until everything up to `lsn` is durable (S3).
    pub(crate) async fn durable(&self, lsn: Lsn) -> ApiResult<()> {
        let node = self.node().await?;
        if lsn <= node.durable() {
            return Ok(());
        }
        let (done, wait) = oneshot::channel();
        node.when_durable(lsn, Box::new(move |result| drop(done.send(result))));
        match wait.await {
            Ok(result) => result.map_err(|failure| ApiError::of_failure(&failure, Plane::Control)),
            Err(_) => Err(stopped()),
        }
    }

    /// How long a page of a list is.
    pub(crate) const fn pages(&self) -> PageLimits {
        self.parts.pages
    }

    /// Waits until what a read of the views may have seen is durable; answers as of which LSN that is.
    pub(crate) async fn seen(&self) -> ApiResult<Lsn> {
        let applied = self.node().await?.applied();
        self.durable(applied).await?;
        Ok(applied)
    }

    /// The registry, durable, and as of which LSN.
    pub(crate) async fn registry(&self) -> ApiResult<(Arc<Registry>, Lsn)> {
        let registry = self.node().await?.views().registry();
        let lsn = self.seen().await?;
        Ok((registry, lsn))
    }

    /// The app with this slug, durable, and as of which LSN.
    pub(crate) async fn app(&self, slug: &str) -> ApiResult<(Arc<App>, Lsn)> {
        let (registry, lsn) = self.registry().await?;
        let app = registry.app_by_slug(slug).ok_or_else(|| ApiError::not_found("app", slug))?;
        Ok((Arc::clone(app), lsn))
    }

    /// Carries a command out on a caller's behalf; answers when it is durable.
    pub(crate) async fn submit(&self, caller: &Caller, command: Command) -> ApiResult<Committed> {
        let node = self.node().await?;
        self.admit().await?;
        let (done, wait) = oneshot::channel();
        node.submit(command, &caller.principal, Box::new(move |result| drop(done.send(result))));
        match wait.await {
            Ok(result) => result.map_err(|error| ApiError::of_submit(error, Plane::Control)),
            Err(_) => Err(stopped()),
        }
    }
}

/// The node went away before it answered.
pub(crate) fn stopped() -> ApiError {
    ApiError::new(ErrorCode::ShuttingDown, "the instance is shutting down")
}

/// Runs reads that may touch the disk where they block nobody.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> ApiResult<T> + Send + 'static,
) -> ApiResult<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(ApiError::new(ErrorCode::Internal, "a read panicked")),
    }
}

/// A read of the views that has no sound answer.
pub(crate) fn view_error(error: &relive_projections::ReadError) -> ApiError {
    use relive_log::ReadError::{BelowStart, Cut};
    if let relive_projections::ReadError::Log {
        source: BelowStart { first, .. } | Cut { first, .. }, ..
    } = error
    {
        return below_horizon(*first);
    }
    tracing::error!(%error, "a view could not be read");
    ApiError::new(ErrorCode::ReadFailed, error.to_string())
}

/// A read of the log that has no sound answer.
pub(crate) fn log_error(error: &relive_log::ReadError) -> ApiError {
    match error {
        relive_log::ReadError::BelowStart { first, .. } | relive_log::ReadError::Cut { first, .. } => {
            below_horizon(*first)
        }
        relive_log::ReadError::NotDurable { .. } => in_the_future(error.to_string()),
        relive_log::ReadError::Damaged { .. }
        | relive_log::ReadError::DamagedSnapshot { .. }
        | relive_log::ReadError::Snapshot { .. }
        | relive_log::ReadError::Gap { .. }
        | relive_log::ReadError::NotInFrame { .. }
        | relive_log::ReadError::Decode { .. }
        | relive_log::ReadError::Io { .. } => {
            tracing::error!(%error, "the log could not be read");
            ApiError::new(ErrorCode::ReadFailed, error.to_string())
        }
    }
}

/// 410, naming the horizon.
pub(crate) fn below_horizon(first: Lsn) -> ApiError {
    ApiError::new(ErrorCode::BelowHorizon, format!("history goes back to LSN {first} only"))
        .with("horizon", first.0)
}

/// 422: not yet.
pub(crate) fn in_the_future(detail: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::InTheFuture, detail)
}
