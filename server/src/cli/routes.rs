//! `relive route`: method and path pattern to script.

use clap::{Args, Subcommand};
use serde_json::json;

use super::remote::{Remote, json_of};
use super::render;
use crate::client::{Failed, segment};

/// `relive route`
#[derive(Args)]
pub(crate) struct Routes {
    #[command(flatten)]
    pub(crate) remote: Remote,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// All routes
    List,
    /// One route
    Show {
        /// Its id
        id: String,
    },
    /// Make a route
    Create {
        /// Fields as in the manifest: JSON, or @FILE
        #[arg(long)]
        data: String,
    },
    /// Delete a route
    Delete {
        /// Its id
        id: String,
    },
}

const COLUMNS: &[render::Column] = &[
    ("method", "/method"),
    ("path", "/path"),
    ("script", "/script"),
    ("mode", "/dispatch_mode"),
    ("record", "/record"),
    ("id", "/id"),
];

/// Runs it.
pub(crate) fn run(command: &Routes) -> Result<(), Failed> {
    let remote = &command.remote;
    let client = remote.client()?;
    match &command.what {
        What::List => {
            let (items, more) = client.list(&remote.path("/routes")?, &[], usize::MAX)?;
            render::list(remote, &items, COLUMNS, more);
        }
        What::Show { id } => {
            render::object(remote, &client.get(&remote.path(&format!("/routes/{}", segment(id)))?)?.json()?);
        }
        What::Create { data } => {
            render::object(remote, &client.post(&remote.path("/routes")?, &json_of(data)?)?);
        }
        What::Delete { id } => {
            client.delete(&remote.path(&format!("/routes/{}", segment(id)))?)?;
            render::done(remote, &json!({"deleted": id}), &format!("route {id} deleted"));
        }
    }
    Ok(())
}
