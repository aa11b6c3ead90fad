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
        What::Delete { id } => {
            client.delete(&remote.path(&format!("/triggers/{}", segment(id)))?)?;
            render::done(remote, &json!({"deleted": id}), &format!("trigger {id} deleted"));
        }
    }
    Ok(())
}
