//! `relive trigger`: event pattern to script.

use clap::{Args, Subcommand};
use serde_json::json;

use super::remote::{Remote, json_of};
use super::render;
use crate::client::{Failed, segment};

/// `relive trigger`
#[derive(Args)]
pub(crate) struct Triggers {
    #[command(flatten)]
    pub(crate) remote: Remote,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// All triggers
    List,
    /// One trigger
    Show {
        /// Its name or id
        id: String,
    },
    /// Make a trigger
    Create {
        /// Fields as in the manifest: JSON, or @FILE
        #[arg(long)]
        data: String,
    },
    /// Pause a trigger: what it fires waits, a schedule enqueues nothing
    Pause {
        /// Its name or id
        id: String,
    },
    /// Resume a trigger; if its registrant's token was deleted, it runs in your name from then on
    Resume {
        /// Its name or id
        id: String,
    },
    /// Delete a trigger
    Delete {
        /// Its name or id
        id: String,
    },
}

const COLUMNS: &[render::Column] = &[
    ("trigger", "/name"),
    ("kind", "/kind"),
    ("collection", "/collection"),
    ("ops", "/ops"),
    ("prefix", "/key_prefix"),
    ("queue", "/queue"),
    ("schedule", "/schedule"),
    ("next", "/next_at"),
    ("paused", "/paused"),
    ("script", "/script"),
    ("id", "/id"),
];

/// Runs it.
pub(crate) fn run(command: &Triggers) -> Result<(), Failed> {
    let remote = &command.remote;
    let client = remote.client()?;
    match &command.what {
        What::List => {
            let (items, more) = client.list(&remote.path("/triggers")?, &[], usize::MAX)?;
            render::list(remote, &items, COLUMNS, more);
        }
        What::Show { id } => {
            render::object(
                remote,
                &client.get(&remote.path(&format!("/triggers/{}", segment(id)))?)?.json()?,
            );
        }
        What::Create { data } => {
            render::object(remote, &client.post(&remote.path("/triggers")?, &json_of(data)?)?);
        }
        What::Pause { id } => {
            let path = remote.path(&format!("/triggers/{}", segment(id)))?;
            render::done(
                remote,
                &client.patch(&path, &json!({"paused": true}))?,
                &format!("trigger {id} paused"),
            );
        }
        What::Resume { id } => {
            let path = remote.path(&format!("/triggers/{}", segment(id)))?;
            let resumed = client.patch(&path, &json!({"paused": false}))?;
            render::done(remote, &resumed, &format!("trigger {id} resumed"));
        }
        What::Delete { id } => {
            client.delete(&remote.path(&format!("/triggers/{}", segment(id)))?)?;
            render::done(remote, &json!({"deleted": id}), &format!("trigger {id} deleted"));
        }
    }
    Ok(())
}
