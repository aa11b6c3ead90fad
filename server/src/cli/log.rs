//! `relive log`: the app's events.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::remote::Remote;
use super::render;
use crate::client::{Client, Failed};
use crate::out;

/// Pause between looks at the end of the log.
const TAIL_PAUSE: Duration = Duration::from_millis(300);
/// Events of one look.
const TAIL_PAGE: usize = 1000;

/// `relive log`
#[derive(Args)]
pub(crate) struct Log {
    #[command(flatten)]
    pub(crate) remote: Remote,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Events, oldest first
    Show {
        /// From this LSN
        #[arg(long)]
        from: Option<u64>,
        /// Up to this LSN
        #[arg(long)]
        to: Option<u64>,
        #[command(flatten)]
        filter: Filter,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Events as they come, until Ctrl-C
    Tail {
        /// From this LSN; from now on if absent
        #[arg(long)]
        from: Option<u64>,
        #[command(flatten)]
        filter: Filter,
    },
}

#[derive(Args)]
struct Filter {
    /// Only this kind
    #[arg(long)]
    kind: Option<String>,
    /// Only of this execution
    #[arg(long)]
    execution: Option<String>,
}

const COLUMNS: &[render::Column] =
    &[("lsn", "/lsn"), ("at", "/at"), ("kind", "/kind"), ("execution", "/execution_id"), ("data", "/data")];

/// Runs it.
pub(crate) fn run(command: &Log) -> Result<(), Failed> {
    let remote = &command.remote;
    let client = remote.client()?;
    let path = remote.path("/log")?;
    match &command.what {
        What::Show { from, to, filter, limit } => {
            let query = [
                ("from", from.map(|lsn| lsn.to_string())),
                ("to", to.map(|lsn| lsn.to_string())),
                ("kind", filter.kind.clone()),
                ("execution", filter.execution.clone()),
            ];
            let (items, more) = client.list(&path, &query, *limit)?;
            render::list(remote, &items, COLUMNS, more);
            Ok(())
        }
        What::Tail { from, filter } => tail(remote, &client, &path, *from, filter),
    }
}

fn tail(
    remote: &Remote,
    client: &Client,
    path: &str,
    from: Option<u64>,
    filter: &Filter,
) -> Result<(), Failed> {
    let durable = |answer: &Value| answer.pointer("/lsn/durable").and_then(Value::as_u64);
    let mut from = match from {
        Some(from) => from,
        None => durable(&client.get("/instance")?.json()?).unwrap_or(0) + 1,
    };
    loop {
        let query = [
            ("from", Some(from.to_string())),
            ("kind", filter.kind.clone()),
            ("execution", filter.execution.clone()),
        ];
        let (items, more) = client.list(path, &query, TAIL_PAGE)?;
        for item in &items {
            out::say(&if remote.json { item.to_string() } else { line(item) });
        }
        if let Some(last) = items.last().and_then(|item| item.get("lsn")).and_then(Value::as_u64) {
            from = last + 1;
        }
        if !more {
            std::thread::sleep(TAIL_PAUSE);
        }
    }
}

fn line(item: &Value) -> String {
    let text = |name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default();
    let lsn = item.get("lsn").and_then(Value::as_u64).unwrap_or_default();
    let data = item.get("data").cloned().unwrap_or_default();
    format!("{lsn:>8}  {}  {:<26}  {:<36}  {data}", text("at"), text("kind"), text("execution_id"))
}
