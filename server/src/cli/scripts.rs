//! `relive script`: sources and their versions.

use std::path::Path;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::remote::{Remote, text_of};
use super::render;
use crate::client::{Failed, segment, with_query};
use crate::out;
use crate::project::caret;

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

/// Shows where a source does not compile.
fn with_caret(mut failed: Failed, file: &str, source: &str) -> Failed {
    let problem = failed.problem.clone().unwrap_or_default();
    let number = |name: &str| problem.get(name).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
    if let (Some(line), Some(column)) = (number("line"), number("column")) {
        let message = problem.get("message").and_then(Value::as_str).unwrap_or(&failed.message);
        failed.message = caret(Path::new(file), source, line, column, message);
    }
    failed
}

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
            let source = text_of(&argument)?;
            let shown = |failed| with_caret(failed, file, &String::from_utf8_lossy(&source));
            let made = client.put(&path(name, "")?, source.clone(), &[]).map_err(shown)?;
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
