//! Family `job`: dead letters redriven or resolved in bulk by the server, step by step (D12).

use bincode::{Decode, Encode};

use super::common::Principal;
use crate::ids::{AppId, JobId, LetterId, TriggerId};

/// Which letters a job is about: open ones that all of these fit; absent fields fit all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct JobFilter {
    /// Of this script.
    pub script: Option<String>,
    /// Of work that this trigger fired.
    pub trigger: Option<TriggerId>,
    /// With this fingerprint.
    pub fingerprint: Option<u64>,
    /// Whose error's message contains this text, or whose kind it is.
    pub error: Option<String>,
}

/// Which script version a redrive runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum VersionChoice {
    /// The one that is current at the claim.
    Current,
    /// The one that failed.
    Original,
    /// This one.
    Number(u32),
}

/// What a job does with each letter.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum JobKind {
    /// Its input is enqueued again.
    Redrive {
        /// With which version.
        version: VersionChoice,
    },
    /// It is closed.
    Resolve {
        /// As what.
        resolution: String,
        /// Why, for people.
        note: Option<String>,
    },
}

/// `job_created`
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct JobCreated {
    /// The app.
    pub app: AppId,
    /// The new id.
    pub job: JobId,
    /// What it does.
    pub kind: JobKind,
    /// With which letters: those that are there now.
    pub filter: JobFilter,
    /// How many those are.
    pub total: u64,
    /// From one letter to the next, microseconds; 0: as fast as it goes.
    pub interval_us: u64,
    /// It ends after so many redriven executions failed; never more are under way than may fail.
    pub stop_after_failures: Option<u64>,
    /// Who asked for it.
    pub by: Principal,
}

/// `job_progressed`: one step, in one batch with what it did.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct JobProgressed {
    /// The app.
    pub app: AppId,
    /// The job.
    pub job: JobId,
    /// Letters that this step redrove or resolved.
    pub done: u64,
    /// Letters that it could not.
    pub skipped: u64,
    /// The last letter that it looked at.
    pub cursor: LetterId,
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum JobOutcome {
    /// Every letter was looked at, and what was redriven has ended.
    Completed,
    /// Too many redriven executions failed.
    Stopped,
    /// Somebody asked for it.
    Cancelled,
}

impl JobOutcome {
    /// The name on the outside.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            JobOutcome::Completed => "completed",
            JobOutcome::Stopped => "stopped",
            JobOutcome::Cancelled => "cancelled",
        }
    }
}

/// `job_ended`
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct JobEnded {
    /// The app.
    pub app: AppId,
    /// The job.
    pub job: JobId,
    /// How.
    pub outcome: JobOutcome,
    /// Who cancelled it.
    pub by: Option<Principal>,
}

/// `job_expired`: an ended job is no longer listed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct JobExpired {
    /// The app.
    pub app: AppId,
    /// The job.
    pub job: JobId,
}

/// Events of the family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobEvent {
    /// `job_created`
    Created(Box<JobCreated>),
    /// `job_progressed`
    Progressed(JobProgressed),
    /// `job_ended`
    Ended(JobEnded),
    /// `job_expired`
    Expired(JobExpired),
}
