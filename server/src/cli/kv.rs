//! `relive kv`: keys and values, now or as of any moment.

use clap::{Args, Subcommand};
use std::io::BufRead as _;

use hyper::Method;
use hyper::header::ETAG;
use serde_json::{Value, json};

use super::remote::{Remote, text_of};
use super::render;
use crate::client::{Call, Client, Failed, segment, with_query};
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
        /// Only if the key has this version
        #[arg(long)]
        if_version: Option<u64>,
    },
    /// Which executions read a version of a key
    Readers {
        /// Collection
        collection: String,
        /// Key
        key: String,
        /// Of the version that the key had as of this LSN; of the one that it has now by default
        #[arg(long)]
        lsn: Option<u64>,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// What differs between two instants
    Diff {
        /// Only in this collection
        collection: Option<String>,
        /// An LSN or RFC 3339 time
        #[arg(long)]
        from: String,
        /// An LSN or RFC 3339 time; now by default
        #[arg(long)]
        to: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// All keys of the app, or of one collection, one JSON object a line, as of one instant
    Export {
        /// Collection
        collection: Option<String>,
        /// Only keys that start with this
        #[arg(long)]
        prefix: Option<String>,
        /// As of this LSN or RFC 3339 time
        #[arg(long)]
        at: Option<String>,
    },
    /// Write keys from lines as `export` prints them, in batches
    Import {
        /// A file, or - for stdin
        file: String,
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

const READERS: &[render::Column] = &[
    ("ended", "/ended_at"),
    ("execution", "/execution_id"),
    ("attempt", "/attempt"),
    ("script", "/script"),
    ("version", "/version"),
    ("status", "/status"),
    ("via", "/via"),
];
const CHANGES: &[render::Column] = &[
    ("op", "/op"),
    ("collection", "/collection"),
    ("key", "/key"),
    ("before", "/before"),
    ("after", "/after"),
];

/// Bytes of lines that are sent at once.
const IMPORT_BYTES: usize = 2 * 1024 * 1024;

/// Sends the lines of a file, as many at once as the server takes.
fn import(remote: &Remote, client: &Client, file: &str) -> Result<(), Failed> {
    let opened: Box<dyn std::io::Read> = match file {
        "-" => Box::new(std::io::stdin()),
        path => Box::new(std::fs::File::open(path).map_err(|e| Failed::new(format!("{path}: {e}")))?),
    };
    let path = remote.path("/kv-import")?;
    let mut lines = std::io::BufReader::new(opened);
    let (mut imported, mut sent_lines, mut lsn) = (0, 0_u64, Value::Null);
    loop {
        let (mut part, mut count) = (Vec::new(), 0_u64);
        while part.len() < IMPORT_BYTES {
            let read = lines.read_until(b'\n', &mut part).map_err(|e| Failed::new(format!("{file}: {e}")))?;
            if read == 0 {
                break;
            }
            count += 1;
        }
        if part.is_empty() {
            break;
        }
        let done = client.post_raw(&path, part).map_err(|mut failed| {
            let done = format!("of the lines before line {}, all were imported", sent_lines + 1);
            failed.message = format!("lines from {} on: {}; {done}", sent_lines + 1, failed.message);
            failed
        })?;
        imported += done.get("imported").and_then(Value::as_u64).unwrap_or(0);
        lsn = done.get("lsn").cloned().unwrap_or_default();
        sent_lines += count;
    }
    let done = json!({"imported": imported, "lsn": lsn});
    render::done(remote, &done, &format!("{imported} keys imported"));
    Ok(())
}

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
        What::Delete { collection, key, if_version } => {
            let headers: Vec<(&str, String)> =
                if_version.iter().map(|version| ("if-match", format!("\"{version}\""))).collect();
            let path = path(collection, key)?;
            let call = Call { method: Method::DELETE, path: &path, body: Vec::new(), headers: &headers };
            let done = client.send(call)?.json()?;
            render::done(remote, &done, &format!("{collection}/{key} deleted at {}", lsn_of(&done)));
        }
        What::Readers { collection, key, lsn, limit } => {
            let path = format!("{}/readers", path(collection, key)?);
            let (items, more) = client.list(&path, &[("lsn", lsn.map(|lsn| lsn.to_string()))], *limit)?;
            render::list(remote, &items, READERS, more);
        }
        What::Diff { collection, from, to, limit } => {
            let query =
                [("from", Some(from.clone())), ("to", to.clone()), ("collection", collection.clone())];
            let (items, more) = client.list(&remote.path("/kv-diff")?, &query, *limit)?;
            render::list(remote, &items, CHANGES, more);
        }
        What::Export { collection, prefix, at } => {
            let query = [("collection", collection.clone()), ("prefix", prefix.clone()), ("at", at.clone())];
            client.download(&with_query(&remote.path("/kv-export")?, &query), out::write)?;
        }
        What::Import { file } => import(remote, &client, file)?,
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
