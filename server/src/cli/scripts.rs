//! `relive script`: sources and their versions.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::remote::{Remote, text_of};
use super::render;
use crate::client::{Failed, segment, with_query};
use crate::out;

/// `relive script`
#[derive(Args)]
pub(crate) struct Scripts {
    #[command(flatten)]
    pub(crate) remote: Remote,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// All scripts
    List,
    /// The source of a script
    Show {
        /// Its name
        name: String,
        /// A version; the current one if absent
        #[arg(long)]
        version: Option<u32>,
    },
    /// All versions of a script
    Versions {
        /// Its name
        name: String,
    },
    /// Deploy one script
    Create {
        /// Its name
        name: String,
        /// File with the source; - for stdin
        file: String,
    },
    /// Delete a script
    Delete {
        /// Its name
        name: String,
    },
}

const COLUMNS: &[render::Column] = &[
    ("script", "/name"),
    ("version", "/version"),
    ("bytes", "/bytes"),
    ("deployed", "/deployed_at"),
    ("by", "/deployed_by/name"),
    ("sha256", "/sha256"),
];

/// Runs it.
pub(crate) fn run(command: &Scripts) -> Result<(), Failed> {
    let remote = &command.remote;
    let client = remote.client()?;
    let path = |name: &str, rest: &str| remote.path(&format!("/scripts/{}{rest}", segment(name)));
    match &command.what {
        What::List => {
            let (items, more) = client.list(&remote.path("/scripts")?, &[], usize::MAX)?;
            render::list(remote, &items, COLUMNS, more);
        }
        What::Show { name, version } => {
            let path = with_query(&path(name, "")?, &[("version", version.map(|v| v.to_string()))]);
            let script = client.get(&path)?.json()?;
            if remote.json {
                out::say(&script.to_string());
            } else {
                out::write(script.get("source").and_then(Value::as_str).unwrap_or_default().as_bytes());
            }
        }
        What::Versions { name } => {
            let (items, more) = client.list(&path(name, "/versions")?, &[], usize::MAX)?;
            render::list(remote, &items, COLUMNS, more);
        }
        What::Create { name, file } => {
            let argument = if file == "-" { file.clone() } else { format!("@{file}") };
            let made = client.put(&path(name, "")?, text_of(&argument)?, &[])?;
            let version = made.get("version").cloned().unwrap_or_default();
            render::done(remote, &made, &format!("script `{name}` is at version {version}"));
        }
        What::Delete { name } => {
            client.delete(&path(name, "")?)?;
            render::done(remote, &json!({"deleted": name}), &format!("script `{name}` deleted"));
        }
    }
    Ok(())
}
