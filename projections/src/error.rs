//! Every error of the views, with the evidence that it was judged by.
//!
//! Owns: [`ViewsError`] (views could not be opened or written), [`ReadError`] (a read that has no sound answer),
//! [`RunError`] and [`StoreError`] (what stands behind both). Never does: log, retry, or exit; the caller does,
//! once. None of them is a loss of data: whatever stands under `views/` can be rebuilt from the log (V1).

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use relive_log::Lsn;

/// Why the views could not be opened, written or folded.
#[derive(Debug, thiserror::Error)]
pub enum ViewsError {
    /// The views hold events that the log does not have: evidence that the log lost something (R7, V7). Exit code
    /// 65: restore the log, or accept the loss.
    #[error("views are at LSN {applied}, the log ends at {last}: the log lost events")]
    AheadOfLog {
        /// What the views say.
        applied: Lsn,
        /// The last LSN of the log.
        last: Lsn,
    },
    /// The disk answered an error. Free space or look at the disk; the views catch up by themselves.
    #[error("{op} {path} failed: {source}")]
    Io {
        /// What was tried.
        op: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the disk said.
        #[source]
        source: io::Error,
    },
    /// A sorted run is damaged. The next start rebuilds the views.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The store answered an error or panicked. The next start rebuilds the views.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log could not be read.
    #[error("log cannot be read: {0}")]
    Log(#[from] relive_log::ReadError),
    /// A snapshot could not be read, or not be written.
    #[error(transparent)]
    Snapshot(#[from] relive_log::SnapshotError),
    /// The log was cut, and no snapshot is sound. Exit code 65: restore one.
    #[error("the log begins at LSN {start}, and no snapshot that is sound reaches to there")]
    NoSnapshot {
        /// The first LSN of the log.
        start: Lsn,
    },
    /// The views cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The bytes of an event could not be decoded.
    #[error("event {lsn} cannot be decoded: {source}")]
    Decode {
        /// Which event.
        lsn: Lsn,
        /// Why.
        #[source]
        source: relive_log::events::DecodeError,
    },
    /// An earlier failure ended the writing of these views: they go on in memory, the next start rebuilds them.
    #[error("views are no longer written: {0}")]
    Broken(Arc<str>),
    /// The options make no sense together.
    #[error("options of the views are invalid: {reason}")]
    Options {
        /// Which bound was violated.
        reason: &'static str,
    },
}

impl ViewsError {
    /// Whether it only says that the disk is full: what is stored is sound, and room is all that is missing.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        match self {
            ViewsError::Store(StoreError::NoSpace { .. }) => true,
            ViewsError::Io { source, .. } | ViewsError::Run(RunError::Io { source, .. }) => is_full(source),
            ViewsError::AheadOfLog { .. }
            | ViewsError::Run(RunError::Damaged { .. })
            | ViewsError::Store(_)
            | ViewsError::Log(_)
            | ViewsError::Snapshot(_)
            | ViewsError::NoSnapshot { .. }
            | ViewsError::Read(_)
            | ViewsError::Decode { .. }
            | ViewsError::Broken(_)
            | ViewsError::Options { .. } => false,
        }
    }

    /// The process exit code that tells the supervisor what to do (sysexits.h).
    #[must_use]
    pub const fn exit_code(&self) -> i32 {
        match self {
            ViewsError::AheadOfLog { .. } | ViewsError::NoSnapshot { .. } => 65,
            ViewsError::Io { .. }
            | ViewsError::Log(_)
            | ViewsError::Snapshot(_)
            | ViewsError::Read(_)
            | ViewsError::Store(StoreError::NoSpace { .. }) => 74,
            ViewsError::Run(_) | ViewsError::Store(_) | ViewsError::Broken(_) | ViewsError::Decode { .. } => {
                70
            }
            ViewsError::Options { .. } => 78,
        }
    }
}

/// Whether the disk is full or the quota used up.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Why a read has no answer. Never "not found": that is an answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The log has the value, and could not give it.
    #[error("value of LSN {lsn} cannot be read: {source}")]
    Log {
        /// Which event.
        lsn: Lsn,
        /// Why.
        #[source]
        source: relive_log::ReadError,
    },
    /// The event at that LSN is of another kind than the index says.
    #[error("event {lsn} is not what the index says it is")]
    WrongEvent {
        /// Which event.
        lsn: Lsn,
    },
    /// A sorted run is damaged. The next start rebuilds the views.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// Why a sorted run cannot be read. The bytes are never served.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The bytes are not those that were written.
    #[error("sorted run {path} is damaged at offset {offset}: {check}")]
    Damaged {
        /// The file.
        path: Arc<PathBuf>,
        /// Where.
        offset: u64,
        /// The first check that failed.
        check: &'static str,
    },
    /// The disk answered an error.
    #[error("sorted run {path} cannot be read at offset {offset}: {source}")]
    Io {
        /// The file.
        path: Arc<PathBuf>,
        /// Where.
        offset: u64,
        /// What the disk said.
        #[source]
        source: io::Error,
    },
}

/// Why the store of configuration and open work failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store answered an error.
    #[error("store failed to {op}: {message}")]
    Failed {
        /// What was tried.
        op: &'static str,
        /// What the store said.
        message: String,
    },
    /// The disk is full, or the quota used up. What is stored is as good as before.
    #[error("store failed to {op}, the disk is full: {message}")]
    NoSpace {
        /// What was tried.
        op: &'static str,
        /// What the store said.
        message: String,
    },
    /// The store panicked (sled does, on damaged files).
    #[error("store panicked on {op}: {message}")]
    Panicked {
        /// What was tried.
        op: &'static str,
        /// The panic's message.
        message: String,
    },
    /// The store did not open within the limit (V6).
    #[error("store did not open within {limit_ms} ms")]
    TimedOut {
        /// The limit.
        limit_ms: u64,
    },
    /// A row does not decode, or the rows do not add up to the digest.
    #[error("store holds rows that are not ours: {check}")]
    Damaged {
        /// The first check that failed.
        check: &'static str,
    },
}
