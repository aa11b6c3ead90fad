//! `relive exec`: executions and their attempts.

use clap::{Args, Subcommand};

use super::remote::Remote;
use super::{render, replay};
use crate::client::{Failed, segment};

/// `relive exec`
#[derive(Args)]
pub(crate) struct Exec {
    #[command(flatten)]
    pub(crate) remote: Remote,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Executions, newest first
    List(Filter),
    /// What runs or waits, by due time, and what it waits for
    Outbox,
    /// One execution with its input, outcome and every attempt
    Show {
        /// Its id
        id: String,
    },
    /// Run a recorded attempt again, without any effect; exit code 6 if it differs from what was recorded
    Replay(replay::Which),
}

#[derive(Args)]
struct Filter {
    /// pending, running, retrying, completed, failed, dead_lettered, abandoned, dropped
    #[arg(long)]
    status: Option<String>,
    /// Of this script
    #[arg(long)]
    script: Option<String>,
    /// Of this trigger: name or id
    #[arg(long)]
    trigger: Option<String>,
    /// Of the causal tree of this execution
    #[arg(long)]
    root: Option<String>,
    /// Enqueued at or after this RFC 3339 time
    #[arg(long)]
    since: Option<String>,
    /// Enqueued before this RFC 3339 time
    #[arg(long)]
    until: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 100)]
    limit: usize,
}

const COLUMNS: &[render::Column] = &[
    ("execution", "/execution_id"),
    ("status", "/status"),
    ("script", "/script"),
    ("source", "/source"),
    ("trigger", "/trigger"),
    ("attempts", "/attempt_count"),
    ("enqueued", "/enqueued_at"),
    ("waiting for", "/waiting_for"),
    ("last error", "/last_error/message"),
];

const OUTBOX: &[render::Column] = &[
    ("execution", "/execution_id"),
    ("status", "/status"),
    ("script", "/script"),
    ("trigger", "/trigger"),
    ("due", "/due_at"),
    ("waiting for", "/waiting_for"),
    ("blocked by", "/blocked_by"),
    ("because", "/waiting_reason"),
];

/// Runs it.
pub(crate) fn run(command: &Exec) -> Result<(), Failed> {
    let remote = &command.remote;
    let client = remote.client()?;
    match &command.what {
        What::List(filter) => {
            let query = [
                ("status", filter.status.clone()),
                ("script", filter.script.clone()),
                ("trigger", filter.trigger.clone()),
                ("root", filter.root.clone()),
                ("since", filter.since.clone()),
                ("until", filter.until.clone()),
            ];
            let (items, more) = client.list(&remote.path("/executions")?, &query, filter.limit)?;
            render::list(remote, &items, COLUMNS, more);
        }
        What::Outbox => {
            let (items, more) = client.list(&remote.path("/outbox")?, &[], usize::MAX)?;
            render::list(remote, &items, OUTBOX, more);
        }
        What::Show { id } => {
            let path = remote.path(&format!("/executions/{}", segment(id)))?;
            render::object(remote, &client.get(&path)?.json()?);
        }
        What::Replay(which) => replay::run(remote, which)?,
    }
    Ok(())
}
