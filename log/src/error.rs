//! Every error of the log, with the evidence that it was judged by.
//!
//! Owns: [`OpenError`] (a start that did not happen), [`AppendError`] (a batch that was not taken),
//! [`ReadError`] (a read that found no sound frame), [`SnapshotError`] (a snapshot or a cut that was not made),
//! [`Poisoned`] (the end of this writer). Never does: log,
//! retry, or exit; the caller does, once.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::recovery::RecoveryReport;
use crate::{FramePos, Gap, Lsn};

/// Why a data directory was not opened. Nothing in the directory was modified, except by `Io`, which may have
/// struck in the middle of a recovery (running recovery again is always safe).
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the directory. Exit code 75: try again later.
    #[error("data directory {dir} is in use by another process")]
    Locked {
        /// The data directory.
        dir: PathBuf,
    },
    /// Acknowledged data is damaged or missing. Exit code 65: restore data or salvage.
    #[error("data directory {dir} is damaged: {evidence}")]
    Damaged {
        /// The data directory.
        dir: PathBuf,
        /// First and last LSN that were acknowledged and are damaged or missing, where that is known.
        lsns: Option<(Lsn, Lsn)>,
        /// What was found, in words: file, offset, expected, found.
        evidence: String,
        /// What the walk over the log established, where it got that far.
        report: Option<Box<RecoveryReport>>,
    },
    /// The directory was written in a format that this build does not know. Exit code 78: use another version.
    #[error("data format of {file} is not supported: found {found}, this build supports {supported}")]
    Format {
        /// The file that says so.
        file: PathBuf,
        /// The version or flags found.
        found: String,
        /// What this build supports.
        supported: String,
    },
    /// The directory exists and holds something else than a data directory. Exit code 78: name another one.
    #[error("{dir} is not a data directory: it holds {entry} and no MANIFEST")]
    NotADataDir {
        /// The directory.
        dir: PathBuf,
        /// One entry that does not belong.
        entry: String,
    },
    /// There is no log in the directory, or no directory. Exit code 78: name another one.
    #[error("there is no log in {dir}")]
    NoLog {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory is on a network filesystem. Exit code 78: name another one, or force it.
    #[error(
        "{dir} is on a network filesystem ({kind}): its locks and syncs do not keep what Relive promises"
    )]
    NetworkFilesystem {
        /// The directory.
        dir: PathBuf,
        /// The filesystem.
        kind: &'static str,
    },
    /// The options make no sense together. Exit code 78: fix the configuration.
    #[error("log options are invalid: {reason}")]
    Options {
        /// Which bound was violated.
        reason: String,
    },
    /// The disk answered an error. Exit code 74: look at the disk, then start again.
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
}

impl OpenError {
    /// The process exit code that tells the supervisor what to do (sysexits.h).
    #[must_use]
    pub const fn exit_code(&self) -> i32 {
        match self {
            OpenError::Damaged { .. } => 65,
            OpenError::Io { .. } => 74,
            OpenError::Locked { .. } => 75,
            OpenError::Format { .. }
            | OpenError::NotADataDir { .. }
            | OpenError::NoLog { .. }
            | OpenError::NetworkFilesystem { .. }
            | OpenError::Options { .. } => 78,
        }
    }
}

/// Why a batch was not appended. No LSN was used up.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AppendError {
    /// The batch can never fit: split it or refuse the request.
    #[error("batch of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// Payload bytes of the batch.
        bytes: u64,
        /// The limit of this log.
        limit: u64,
    },
    /// The batch holds no event.
    #[error("batch is empty")]
    Empty,
    /// The bounded buffer is full, or the next segment is not prepared yet: `Appender::wait_for_room`, then again.
    #[error("append buffer is full")]
    Busy,
    /// The disk is low: what is left is reserved for what ends work (or used up, for that). Free space; appends work
    /// again by themselves.
    #[error("the disk is low: no room for another segment of the log")]
    NoSpace,
    /// This writer is finished: exit and start again.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}

/// Why a wait for an LSN ended before it was durable. Whether its event survives is unknown.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum WaitError {
    /// This writer is finished: exit and start again.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
    /// The log was closed in order; that LSN was never appended.
    #[error("the log was closed before LSN {lsn} was appended; durable is LSN {durable}")]
    Closed {
        /// What was waited for.
        lsn: Lsn,
        /// The last LSN of the log.
        durable: Lsn,
    },
}

/// The end of this writer: a write, sync or rename on the log's path failed. Nothing was acknowledged since;
/// nothing will be. The process exits (70) and the next start recovers.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("log is poisoned: {op} {path} failed: {message}")]
pub struct Poisoned {
    /// What was tried.
    pub op: &'static str,
    /// On which file.
    pub path: Arc<PathBuf>,
    /// What the disk said.
    pub message: Arc<str>,
}

/// Why a read returned no frame.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The position or LSN is not durable yet (or never existed): nothing of it may be seen.
    #[error("nothing durable at {wanted}; durable is LSN {durable}")]
    NotDurable {
        /// What was asked for.
        wanted: String,
        /// The durable LSN at that moment.
        durable: Lsn,
    },
    /// The LSN is below the start of this log.
    #[error("LSN {lsn} is below the horizon: the log holds LSN {first} to {durable}")]
    BelowStart {
        /// What was asked for.
        lsn: Lsn,
        /// The first LSN that the log still holds.
        first: Lsn,
        /// The durable LSN at that moment.
        durable: Lsn,
    },
    /// The events were lost and a salvage put a gap in their place. Whoever reads must say that it knows.
    #[error("LSN {gap} was lost: the log has a gap there, left by a salvage")]
    Gap {
        /// Which events.
        gap: Gap,
    },
    /// The frame was cut with the beginning of the log, and nothing kept the event.
    #[error("frame at {pos} was cut: the log begins at LSN {first}")]
    Cut {
        /// What was asked for.
        pos: FramePos,
        /// The first LSN that the log still holds.
        first: Lsn,
    },
    /// The base, which holds what is left of the events below the log's start, is damaged.
    #[error("{path} is damaged: {check}")]
    DamagedSnapshot {
        /// Which file.
        path: PathBuf,
        /// The first check that failed.
        check: String,
    },
    /// The base could not be read.
    #[error("{path} cannot be read: {message}")]
    Snapshot {
        /// Which file.
        path: PathBuf,
        /// Why.
        message: String,
    },
    /// The bytes on disk are not the bytes that were written. They are never served.
    #[error("{pos} is damaged: {check}; LSN {} to {} may be affected", lsns.from, lsns.to)]
    Damaged {
        /// Where.
        pos: FramePos,
        /// The first check that failed.
        check: &'static str,
        /// The events that may stand there: from the damage to the end of its segment at most.
        lsns: Gap,
    },
    /// The frame is sound but does not contain that LSN: the index entry is wrong.
    #[error("frame at {pos} does not contain LSN {lsn}")]
    NotInFrame {
        /// Where.
        pos: FramePos,
        /// What was asked for.
        lsn: Lsn,
    },
    /// The bytes are those that were written, but this build cannot read the event.
    #[error("event {lsn} cannot be decoded")]
    Decode {
        /// Which event.
        lsn: Lsn,
        /// Why.
        #[source]
        source: crate::events::DecodeError,
    },
    /// The disk answered an error, twice: the second time past the page cache.
    #[error("read at {pos} failed: {source}; LSN {} to {} may be affected", lsns.from, lsns.to)]
    Io {
        /// Where.
        pos: FramePos,
        /// The events that may stand there.
        lsns: Gap,
        /// What the disk said.
        #[source]
        source: io::Error,
    },
}

impl ReadError {
    /// The first LSN that the log still holds, if what was asked for is below it.
    #[must_use]
    pub const fn horizon(&self) -> Option<Lsn> {
        match self {
            ReadError::BelowStart { first, .. } | ReadError::Cut { first, .. } => Some(*first),
            ReadError::NotDurable { .. }
            | ReadError::Gap { .. }
            | ReadError::DamagedSnapshot { .. }
            | ReadError::Snapshot { .. }
            | ReadError::Damaged { .. }
            | ReadError::NotInFrame { .. }
            | ReadError::Decode { .. }
            | ReadError::Io { .. } => None,
        }
    }
}

/// Why a snapshot, or a cut of the log, was not made, or not read. Only after `Poisoned` is the log affected.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// A snapshot of what is not durable would be a lie.
    #[error("LSN {lsn} is not durable; durable is LSN {durable}")]
    NotDurable {
        /// As of which LSN.
        lsn: Lsn,
        /// The durable LSN.
        durable: Lsn,
    },
    /// A state is that at the end of a batch.
    #[error("LSN {lsn} is inside a batch, which ends at LSN {ends}")]
    InsideBatch {
        /// As of which LSN.
        lsn: Lsn,
        /// The last LSN of that batch.
        ends: Lsn,
    },
    /// There is one as of this LSN already.
    #[error("there is a snapshot as of LSN {lsn} already")]
    Exists {
        /// As of which LSN.
        lsn: Lsn,
    },
    /// No snapshot as of this LSN is in force.
    #[error("there is no snapshot as of LSN {lsn}")]
    Missing {
        /// As of which LSN.
        lsn: Lsn,
    },
    /// What stands in the file is not what was written.
    #[error("snapshot {path} is damaged: {check}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// The first check that failed.
        check: String,
    },
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// The disk is full: nothing changed, try again later.
    #[error("no space left to {op} {path}")]
    NoSpace {
        /// What was tried.
        op: &'static str,
        /// On which file.
        path: PathBuf,
    },
    /// The disk answered an error: nothing that is in force changed, try again later.
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
    /// A sync failed: this writer is finished.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
}

impl SnapshotError {
    pub(crate) fn io(op: &'static str, path: &std::path::Path, source: io::Error) -> Self {
        let path = path.to_owned();
        if crate::writer::segment_file::is_no_space(&source) {
            SnapshotError::NoSpace { op, path }
        } else {
            SnapshotError::Io { op, path, source }
        }
    }
}

/// Why a tail ended.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// What stands next cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Nothing will become durable any more.
    #[error(transparent)]
    Ended(#[from] WaitError),
}
