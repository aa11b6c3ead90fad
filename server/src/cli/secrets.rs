//! `relive secret`: values go in and never come out.

use clap::{Args, Subcommand};
use serde_json::json;

use super::remote::{Remote, text_of};
use super::render;
use crate::client::{Failed, segment};

/// `relive secret`
#[derive(Args)]
pub(crate) struct Secrets {
    #[command(flatten)]
    pub(crate) remote: Remote,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Names of all secrets
    List,
    /// Set a secret
    Create {
        /// Its name
        name: String,
        /// Its value: text, @FILE, or - for stdin (the default: it stays out of the shell's history)
        #[arg(long, default_value = "-")]
        value: String,
    },
    /// Delete a secret
    Delete {
        /// Its name
        name: String,
    },
}

const COLUMNS: &[render::Column] =
    &[("secret", "/name"), ("version", "/version"), ("set", "/set_at"), ("by", "/set_by/name")];

/// Runs it.
pub(crate) fn run(command: &Secrets) -> Result<(), Failed> {
    let remote = &command.remote;
    let client = remote.client()?;
    let path = |name: &str| remote.path(&format!("/secrets/{}", segment(name)));
    match &command.what {
        What::List => {
            let (items, more) = client.list(&remote.path("/secrets")?, &[], usize::MAX)?;
            render::list(remote, &items, COLUMNS, more);
        }
        What::Create { name, value } => {
            let text =
                String::from_utf8(text_of(value)?).map_err(|_| Failed::usage("the value is not UTF-8"))?;
            let text = if value == "-" { text.trim_end_matches(['\r', '\n']) } else { &text };
            let set = client.put(&path(name)?, json!({"value": text}).to_string().into_bytes(), &[])?;
            render::done(remote, &set, &format!("secret `{name}` set"));
        }
        What::Delete { name } => {
            client.delete(&path(name)?)?;
            render::done(remote, &json!({"deleted": name}), &format!("secret `{name}` deleted"));
        }
    }
    Ok(())
}
