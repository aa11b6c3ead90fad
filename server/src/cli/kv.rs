//! `relive kv`: keys and values, now or as of any moment.

use clap::{Args, Subcommand};
use hyper::header::ETAG;
use serde_json::{Value, json};

use super::remote::{Remote, text_of};
use super::render;
use crate::client::{Failed, segment, with_query};
use crate::out;

/// `relive kv`
#[derive(Args)]
pub(crate) struct Kv {
    #[command(flatten)]
    pub(crate) remote: Remote,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// The value of a key
    Get {
        /// Collection
        collection: String,
        /// Key
        key: String,
        /// As of this LSN or RFC 3339 time
        #[arg(long)]
        at: Option<String>,
    },
    /// Write a key
    Put {
        /// Collection
        collection: String,
        /// Key
        key: String,
        /// JSON, @FILE, or - for stdin
        value: String,
        /// Only if the key has this version
        #[arg(long, conflicts_with = "if_absent")]
        if_version: Option<u64>,
        /// Only if the key is absent
        #[arg(long)]
        if_absent: bool,
        /// The key expires after so many milliseconds
        #[arg(long)]
        ttl_ms: Option<u64>,
    },
    /// Delete a key
    Delete {
        /// Collection
        collection: String,
        /// Key
        key: String,
    },
    /// Collections, or the keys of one
    List {
        /// Collection
        collection: Option<String>,
        /// Only keys that start with this
        #[arg(long, requires = "collection")]
        prefix: Option<String>,
        /// As of this LSN or RFC 3339 time
        #[arg(long)]
        at: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// All versions of a key, newest first
    History {
        /// Collection
        collection: String,
        /// Key
        key: String,
        /// As of this LSN or RFC 3339 time
        #[arg(long)]
        at: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
}

const COLLECTIONS: &[render::Column] = &[("collection", "/collection"), ("keys", "/keys")];
const KEYS: &[render::Column] = &[
    ("key", "/key"),
    ("value", "/value"),
    ("lsn", "/lsn"),
    ("updated", "/updated_at"),
    ("expires", "/expires_at"),
];
const VERSIONS: &[render::Column] = &[
    ("lsn", "/lsn"),
    ("at", "/at"),
    ("op", "/op"),
    ("value", "/value"),
    ("script", "/script"),
    ("version", "/version"),
    ("line", "/line"),
    ("principal", "/principal/name"),
    ("execution", "/execution_id"),
];

fn lsn_of(done: &Value) -> String {
    done.get("lsn").map(Value::to_string).unwrap_or_default()
}

/// The text of a value, which is JSON.
fn json_text(argument: &str) -> Result<Vec<u8>, Failed> {
    let text = text_of(argument)?;
    match serde_json::from_slice::<serde::de::IgnoredAny>(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(Failed::usage(format!(
            "the value is not JSON: {error}; a text stands in double quotes, as in '\"text\"'"
        ))),
    }
}

/// Runs it.
pub(crate) fn run(command: &Kv) -> Result<(), Failed> {
    let remote = &command.remote;
    let client = remote.client()?;
    let path =
        |collection: &str, key: &str| remote.path(&format!("/kv/{}/{}", segment(collection), segment(key)));
    match &command.what {
        What::Get { collection, key, at } => {
            let answer = client.get(&with_query(&path(collection, key)?, &[("at", at.clone())]))?;
            if remote.json {
                let tag = answer.headers.get(ETAG).and_then(|tag| tag.to_str().ok()).unwrap_or_default();
                let lsn: Option<u64> = tag.trim_matches('"').parse().ok();
                out::say(&json!({"key": key, "value": answer.json()?, "lsn": lsn}).to_string());
            } else {
                out::say(&String::from_utf8_lossy(&answer.body));
            }
        }
        What::Put { collection, key, value, if_version, if_absent, ttl_ms } => {
            let headers: Vec<(&str, String)> = match (if_version, if_absent) {
                (Some(version), _) => vec![("if-match", format!("\"{version}\""))],
                (None, true) => vec![("if-none-match", "*".to_owned())],
                (None, false) => Vec::new(),
            };
            let ttl = [("ttl_ms", ttl_ms.map(|ttl| ttl.to_string()))];
            let path = with_query(&path(collection, key)?, &ttl);
            let done = client.put(&path, json_text(value)?, &headers)?;
            render::done(remote, &done, &format!("{collection}/{key} has version {}", lsn_of(&done)));
        }
        What::Delete { collection, key } => {
            let done = client.delete(&path(collection, key)?)?.json()?;
            render::done(remote, &done, &format!("{collection}/{key} deleted at {}", lsn_of(&done)));
        }
        What::List { collection: None, at, limit, .. } => {
            let (items, more) = client.list(&remote.path("/kv")?, &[("at", at.clone())], *limit)?;
            render::list(remote, &items, COLLECTIONS, more);
        }
        What::List { collection: Some(collection), prefix, at, limit } => {
            let path = remote.path(&format!("/kv/{}", segment(collection)))?;
            let query = [("prefix", prefix.clone()), ("at", at.clone())];
            let (items, more) = client.list(&path, &query, *limit)?;
            render::list(remote, &items, KEYS, more);
        }
        What::History { collection, key, at, limit } => {
            let path = format!("{}/history", path(collection, key)?);
            let (items, more) = client.list(&path, &[("at", at.clone())], *limit)?;
            render::list(remote, &items, VERSIONS, more);
        }
    }
    Ok(())
}
