//! Commands: what somebody asks for, imperative. `decide` answers each with events or a refusal.
//!
//! Owns: the shapes of commands and of what they answer. Never does: check or carry out anything.

use relive_log::events::{
    JobFilter, JobKind, OutgoingCalls, RedriveProof, RouteSpec, Scopes, SharedBytes, TriggerSpec,
};
use relive_log::{ExecutionId, JobId, LetterId, Lsn, PrincipalId, RouteId, TriggerId, UnixMicros};

use crate::node::ForkPlan;

/// A change that a principal asks for. Apps are named by slug, as the caller knows them.
#[derive(Clone, Debug)]
pub enum Command {
    /// Make an app.
    CreateApp {
        /// Its slug.
        slug: String,
        /// A name for people.
        name: Option<String>,
    },
    /// Rename an app (the slug stays).
    ChangeApp {
        /// The app.
        slug: String,
        /// The new name for people.
        name: Option<String>,
    },
    /// Make an app that begins with another one's keys as of a moment.
    Fork {
        /// Its slug.
        slug: String,
        /// What it takes along, as [`Node::fork_plan`](crate::node::Node::fork_plan) found it.
        plan: ForkPlan,
    },
    /// Let the scripts of an app reach the outside, or not.
    SwitchCalls {
        /// The app.
        app: String,
        /// What it shall be.
        to: OutgoingCalls,
    },
    /// Delete an app and drop its work.
    DeleteApp {
        /// The app.
        slug: String,
    },
    /// Bring an app to what a manifest says, in one batch or not at all.
    Deploy {
        /// The app.
        app: String,
        /// What it shall be.
        plan: DeployPlan,
    },
    /// Deploy one script.
    PutScript {
        /// The app.
        app: String,
        /// The script.
        name: String,
        /// Its source.
        source: String,
    },
    /// Delete a script.
    DeleteScript {
        /// The app.
        app: String,
        /// The script.
        name: String,
    },
    /// Make a route.
    CreateRoute {
        /// The app.
        app: String,
        /// What it is.
        spec: RouteSpec,
    },
    /// Delete a route.
    DeleteRoute {
        /// The app.
        app: String,
        /// The route.
        route: RouteId,
    },
    /// Make a trigger.
    CreateTrigger {
        /// The app.
        app: String,
        /// What it is.
        spec: TriggerSpec,
    },
    /// Delete a trigger.
    DeleteTrigger {
        /// The app.
        app: String,
        /// The trigger.
        trigger: TriggerId,
    },
    /// Pause or resume an app (D15).
    SwitchApp {
        /// The app.
        app: String,
        /// What it shall be.
        to: Switch,
    },
    /// Pause or resume a trigger (D15).
    SwitchTrigger {
        /// The app.
        app: String,
        /// The trigger.
        trigger: TriggerId,
        /// What it shall be.
        to: Switch,
    },
    /// Send a message to a queue (D18).
    Send {
        /// The app.
        app: String,
        /// The queue.
        queue: String,
        /// JSON text.
        message: SharedBytes,
        /// Not before so many milliseconds are over.
        delay_ms: u64,
        /// The key of its line, where the consumer is ordered by key.
        key: Option<String>,
    },
    /// Set a secret.
    SetSecret {
        /// The app.
        app: String,
        /// The secret.
        name: String,
        /// The value, in clear; sealed before it gets near the log.
        value: String,
    },
    /// Delete a secret.
    DeleteSecret {
        /// The app.
        app: String,
        /// The secret.
        name: String,
    },
    /// Make a token.
    CreateToken(NewToken),
    /// Delete a token.
    DeleteToken {
        /// The token.
        token: PrincipalId,
    },
    /// Write a key.
    PutKey {
        /// The app.
        app: String,
        /// Collection.
        collection: String,
        /// Key.
        key: String,
        /// JSON text.
        value: SharedBytes,
        /// It expires after so many milliseconds; `None`: never.
        ttl_ms: Option<u64>,
        /// Only if.
        condition: Condition,
    },
    /// Write many keys; of several rows of one key the last counts.
    ImportKeys {
        /// The app.
        app: String,
        /// What.
        rows: Vec<ImportRow>,
    },
    /// Undo an execution.
    Undo {
        /// The app.
        app: String,
        /// Which.
        execution: ExecutionId,
        /// The inverse of its writes, as [`Node::undo_plan`](crate::node::Node::undo_plan) found it.
        changes: Vec<UndoChange>,
    },
    /// Delete a key.
    DeleteKey {
        /// The app.
        app: String,
        /// Collection.
        collection: String,
        /// Key.
        key: String,
        /// Only if.
        condition: Condition,
    },
    /// Run a dead letter's input again (D12).
    Redrive {
        /// The app.
        app: String,
        /// The letter.
        letter: LetterId,
        /// With which version.
        version: RedriveVersion,
        /// What proved that it succeeds: kept with the resolution.
        proof: Option<Box<RedriveProof>>,
    },
    /// Close a dead letter without running it again (D12).
    ResolveLetter {
        /// The app.
        app: String,
        /// The letter.
        letter: LetterId,
        /// As what; `ignored` if absent.
        resolution: Option<String>,
        /// Why, for people.
        note: Option<String>,
    },
    /// Close dead letters in bulk (D12).
    StartJob {
        /// The app.
        app: String,
        /// What with which.
        plan: JobPlan,
    },
    /// End a job before it is through.
    CancelJob {
        /// The app.
        app: String,
        /// The job.
        job: JobId,
    },
    /// Keep history from an LSN on, whatever retention asks for.
    SetHold {
        /// Its name.
        name: String,
        /// The first LSN that stays.
        from: Lsn,
        /// Why, for people.
        reason: Option<String>,
    },
    /// Let retention cut again what a hold kept.
    ReleaseHold {
        /// The hold.
        name: String,
    },
}

impl Command {
    /// Whether it stops or takes away what makes work or lets somebody in: it is accepted while the disk is low, so that
    /// an instance can be brought to rest.
    #[must_use]
    pub const fn lets_shrink(&self) -> bool {
        matches!(
            self,
            Command::DeleteApp { .. }
                | Command::DeleteScript { .. }
                | Command::DeleteRoute { .. }
                | Command::DeleteTrigger { .. }
                | Command::DeleteSecret { .. }
                | Command::DeleteToken { .. }
                | Command::SwitchApp { .. }
                | Command::SwitchTrigger { .. }
                | Command::ResolveLetter { .. }
                | Command::CancelJob { .. }
                | Command::ReleaseHold { .. }
        )
    }
}

/// A token to be made. Its text never gets here.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Slug of the app that it is bound to; `None`: it is good for every app.
    pub app: Option<String>,
    /// A name for people.
    pub name: String,
    /// What it shall allow.
    pub scopes: Scopes,
    /// SHA-256 of its text.
    pub digest: [u8; 32],
    /// From then on it is no longer live.
    pub expires_at: Option<UnixMicros>,
}

impl Command {
    /// App and keys, if this writes keys and nothing else.
    pub(crate) fn writes(&self) -> Option<(&str, Vec<(&str, &str)>)> {
        match self {
            Command::PutKey { app, collection, key, .. }
            | Command::DeleteKey { app, collection, key, .. } => Some((app, vec![(collection, key)])),
            Command::ImportKeys { app, rows } => {
                Some((app, rows.iter().map(|row| (row.collection.as_str(), row.key.as_str())).collect()))
            }
            Command::Undo { app, changes, .. } => {
                Some((app, changes.iter().map(|one| (one.collection.as_str(), one.key.as_str())).collect()))
            }
            Command::CreateApp { .. }
            | Command::ChangeApp { .. }
            | Command::Fork { .. }
            | Command::SwitchCalls { .. }
            | Command::DeleteApp { .. }
            | Command::Deploy { .. }
            | Command::PutScript { .. }
            | Command::DeleteScript { .. }
            | Command::CreateRoute { .. }
            | Command::DeleteRoute { .. }
            | Command::CreateTrigger { .. }
            | Command::DeleteTrigger { .. }
            | Command::SwitchApp { .. }
            | Command::SwitchTrigger { .. }
            | Command::Send { .. }
            | Command::SetSecret { .. }
            | Command::DeleteSecret { .. }
            | Command::CreateToken(_)
            | Command::DeleteToken { .. }
            | Command::Redrive { .. }
            | Command::ResolveLetter { .. }
            | Command::StartJob { .. }
            | Command::CancelJob { .. }
            | Command::SetHold { .. }
            | Command::ReleaseHold { .. } => None,
        }
    }
}

/// Whether something works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// It does.
    Running,
    /// It does not, for now.
    Paused,
}

/// One row of an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportRow {
    /// Collection.
    pub collection: String,
    /// Key.
    pub key: String,
    /// JSON text.
    pub value: SharedBytes,
    /// When it expires.
    pub expires_at: Option<UnixMicros>,
}

/// The inverse of one write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UndoChange {
    /// Collection.
    pub collection: String,
    /// Key.
    pub key: String,
    /// The version that the execution left: the undo is carried out only on it.
    pub wrote: Lsn,
    /// The value that it wrote; `None`: it deleted the key.
    pub before: Option<SharedBytes>,
    /// The value that comes back, and when it expires; `None`: the key goes.
    pub after: Option<(SharedBytes, Option<UnixMicros>)>,
}

/// Condition of a KV write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// None.
    Always,
    /// The key is present and has this version (`If-Match`).
    Version(Lsn),
    /// The key is present (`If-Match: *`).
    Present,
    /// The key is absent (`If-None-Match: *`).
    Absent,
}

/// Which script version a redrive runs.
pub use relive_log::events::VersionChoice as RedriveVersion;

/// Dead letters to be closed in bulk.
#[derive(Clone, Debug)]
pub struct JobPlan {
    /// What to do with them.
    pub kind: JobKind,
    /// Which.
    pub filter: JobFilter,
    /// From one to the next, microseconds; 0: as fast as it goes.
    pub interval_us: u64,
    /// Stop after so many redriven executions failed.
    pub stop_after_failures: Option<u64>,
}

/// What an app shall be.
#[derive(Clone, Debug, Default)]
pub struct DeployPlan {
    /// Name and source of each script.
    pub scripts: Vec<(String, String)>,
    /// Routes.
    pub routes: Vec<RouteSpec>,
    /// Triggers.
    pub triggers: Vec<TriggerSpec>,
    /// What to do with scripts, routes and triggers that the plan does not name.
    pub others: Others,
    /// Whether to carry it out.
    pub mode: DeployMode,
    /// What if there is no such app.
    pub missing_app: MissingApp,
}

/// What a deploy does with what it does not name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Others {
    /// Left alone.
    #[default]
    Keep,
    /// Deleted.
    Prune,
}

/// Whether a deploy is carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeployMode {
    /// It is.
    #[default]
    Apply,
    /// Only the plan is answered.
    DryRun,
}

/// What a deploy does without its app.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissingApp {
    /// Refuses.
    #[default]
    Refuse,
    /// Creates it.
    Create,
}

/// One change of a deploy, for people and programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// `create`, `update`, `delete`, `unchanged`.
    pub action: &'static str,
    /// `app`, `script`, `route`, `trigger`.
    pub what: &'static str,
    /// Which one: name, or `METHOD path`.
    pub name: String,
    /// The new version, for scripts.
    pub version: Option<u32>,
}

/// What a carried-out command answers beside its LSN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing more.
    Done,
    /// The new route.
    Route(RouteId),
    /// The new trigger.
    Trigger(TriggerId),
    /// The new job.
    Job(JobId),
    /// The new token.
    Token(PrincipalId),
    /// Version of the script or secret; unchanged source answers the version that stands.
    Version(u32),
    /// The key's new version.
    Key(Lsn),
    /// What a deploy changed (would change).
    Changes(Vec<Change>),
    /// The new execution.
    Execution(ExecutionId),
}

/// A command that was carried out and is durable (S3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The last LSN of its batch; the durable LSN if nothing had to change.
    pub lsn: Lsn,
    /// The commit time of its batch; the time of the decision if nothing had to change.
    pub at: UnixMicros,
    /// What it answers.
    pub answer: Answer,
}
