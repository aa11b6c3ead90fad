//! `relive dl`: work that used up its attempts.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::remote::Remote;
use super::render;
use crate::client::{Failed, segment};

/// `relive dl`
#[derive(Args)]
pub(crate) struct DeadLetters {
    #[command(flatten)]
    pub(crate) remote: Remote,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Dead letters, newest first
    List {
        /// open or resolved
        #[arg(long)]
        status: Option<String>,
        /// Of this script
        #[arg(long)]
        script: Option<String>,
        /// Of this trigger: name or id
        #[arg(long)]
        trigger: Option<String>,
        /// Whose error contains this text
        #[arg(long)]
        error: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// One dead letter with its input
    Show {
        /// Its id
        id: String,
    },
    /// Run its input again
    Redrive {
        /// Its id
        id: String,
        /// current, original, or a version number
        #[arg(long, default_value = "current")]
        version: String,
    },
}

const COLUMNS: &[render::Column] = &[
    ("dead letter", "/id"),
    ("status", "/status"),
    ("resolution", "/resolution"),
    ("script", "/script"),
    ("trigger", "/trigger"),
    ("attempts", "/attempts"),
    ("error", "/last_error/message"),
    ("line", "/last_error/line"),
    ("last attempt", "/last_attempt_at"),
];

/// Runs it.
pub(crate) fn run(command: &DeadLetters) -> Result<(), Failed> {
    let remote = &command.remote;
    let client = remote.client()?;
    let path = |id: &str, rest: &str| remote.path(&format!("/dead-letters/{}{rest}", segment(id)));
    match &command.what {
        What::List { status, script, trigger, error, limit } => {
            let query = [
                ("status", status.clone()),
                ("script", script.clone()),
                ("trigger", trigger.clone()),
                ("error", error.clone()),
            ];
            let (items, more) = client.list(&remote.path("/dead-letters")?, &query, *limit)?;
            render::list(remote, &items, COLUMNS, more);
        }
        What::Show { id } => render::object(remote, &client.get(&path(id, "")?)?.json()?),
        What::Redrive { id, version } => {
            let version: Value = version.parse::<u32>().map_or_else(|_| version.as_str().into(), Value::from);
            let done = client.post(&path(id, "/redrive")?, &json!({"version": version}))?;
            let execution = done.get("execution_id").and_then(Value::as_str).unwrap_or_default().to_owned();
            render::done(remote, &done, &format!("redriven as execution {execution}"));
        }
    }
    Ok(())
}
