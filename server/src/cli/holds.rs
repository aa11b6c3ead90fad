//! `relive hold`: history that has to stay, whatever retention asks for.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::remote::Remote;
use super::render;
use crate::client::{Failed, segment};

/// `relive hold`
#[derive(Args)]
pub(crate) struct Holds {
    #[command(flatten)]
    pub(crate) remote: Remote,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// What has to stay
    List,
    /// Keep all history from an instant on until the hold is released
    Set {
        /// A name: letters, digits, `_`, `-`, `.`
        name: String,
        /// An LSN or an RFC 3339 time; from now on if absent
        #[arg(long, value_name = "LSN|TIME")]
        at: Option<String>,
        /// Why, for people
        #[arg(long)]
        reason: Option<String>,
    },
    /// Let retention cut again what a hold kept
    Release {
        /// Its name
        name: String,
    },
}

const COLUMNS: &[render::Column] = &[
    ("name", "/name"),
    ("from", "/from_lsn"),
    ("reason", "/reason"),
    ("set", "/set_at"),
    ("by", "/set_by/name"),
];

/// Runs it.
pub(crate) fn run(command: &Holds) -> Result<(), Failed> {
    let remote = &command.remote;
    let client = remote.client()?;
    match &command.what {
        What::List => {
            let (items, more) = client.list("/holds", &[], usize::MAX)?;
            render::list(remote, &items, COLUMNS, more);
        }
        What::Set { name, at, reason } => {
            let mut body = json!({"name": name});
            for (field, value) in [("at", at), ("reason", reason)] {
                if let (Some(fields), Some(value)) = (body.as_object_mut(), value) {
                    fields.insert(field.to_owned(), value.as_str().into());
                }
            }
            let hold = client.post("/holds", &body)?;
            let from = hold.pointer("/from_lsn").unwrap_or(&Value::Null);
            let text = format!("{name}: history from LSN {from} on stays");
            render::done(remote, &hold, &text);
        }
        What::Release { name } => {
            client.delete(&format!("/holds/{}", segment(name)))?;
            let text = format!("{name}: released; retention may cut what it kept");
            render::done(remote, &json!({"name": name, "released": true}), &text);
        }
    }
    Ok(())
}
