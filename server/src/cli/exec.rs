//! `relive exec`: executions and their attempts.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::execution::{Extent, told};
use super::remote::Remote;
use super::{backtest, debug, render, replay};
use crate::client::{Failed, segment};

/// `relive exec`
#[derive(Args)]
pub(crate) struct Exec {
    #[command(flatten)]
    pub(crate) remote: Remote,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Executions, newest first
    List(Filter),
    /// What runs or waits, by due time, and what it waits for
    Outbox,
    /// One execution with its input, outcome and every attempt
    Show {
        /// Its id
        id: String,
        /// All of it, however long
        #[arg(long)]
        full: bool,
    },
    /// The causal tree of an execution: what caused it and what it caused
    Trace {
        /// Its id
        id: String,
    },
    /// The inverse of an execution's writes, as a new transaction
    Undo {
        /// Its id
        id: String,
        /// Only show what would be written, and what stands against it
        #[arg(long)]
        dry_run: bool,
    },
    /// Run a recorded attempt again, without any effect; exit code 6 if it differs from what was recorded
    Replay(replay::Replay),
    /// Walk through a recorded attempt, forwards and backwards; with --dap for an editor
    Debug(debug::Debug),
    /// Run another version or source over what was recorded, without any effect; exit code 6 if something other
    /// than a repair differs
    Backtest(backtest::Backtest),
    /// Find the version of the script that first breaks an execution
    Bisect(backtest::Bisect),
    /// Write a recorded attempt to stdout as one portable file, for `relive test`
    Export(backtest::Export),
}

#[derive(Args)]
struct Filter {
    /// pending, running, retrying, completed, failed, dead_lettered, abandoned, dropped
    #[arg(long)]
    status: Option<String>,
    /// Of this script
    #[arg(long)]
    script: Option<String>,
    /// Of this trigger: name or id
    #[arg(long)]
    trigger: Option<String>,
    /// Of the causal tree of this execution
    #[arg(long)]
    root: Option<String>,
    /// Enqueued at or after this RFC 3339 time
    #[arg(long)]
    since: Option<String>,
    /// Enqueued before this RFC 3339 time
    #[arg(long)]
    until: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 100)]
    limit: usize,
}

const COLUMNS: &[render::Column] = &[
    ("execution", "/execution_id"),
    ("status", "/status"),
    ("script", "/script"),
    ("source", "/source"),
    ("trigger", "/trigger"),
    ("attempts", "/attempt_count"),
    ("enqueued", "/enqueued_at"),
    ("waiting for", "/waiting_for"),
    ("last error", "/last_error/message"),
];

const OUTBOX: &[render::Column] = &[
    ("execution", "/execution_id"),
    ("status", "/status"),
    ("script", "/script"),
    ("trigger", "/trigger"),
    ("due", "/due_at"),
    ("waiting for", "/waiting_for"),
    ("blocked by", "/blocked_by"),
    ("because", "/waiting_reason"),
];

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The tree, a line an execution, indented by its level; the one that was asked for is marked.
fn trace_lines(trace: &Value) -> Vec<String> {
    let all = trace.pointer("/executions").and_then(Value::as_array);
    let line = |one: &Value| {
        let level = one.pointer("/level").and_then(Value::as_u64).unwrap_or(0);
        let indent = "  ".repeat(usize::try_from(level).unwrap_or(0).min(40));
        let mark = if text(one, "/execution_id") == text(trace, "/execution_id") { "*" } else { " " };
        let (id, script, status) = (text(one, "/execution_id"), text(one, "/script"), text(one, "/status"));
        let mut line = format!("{mark} {indent}{script}  {status}  {id}  {}", text(one, "/enqueued_at"));
        if !text(one, "/cause/kind").is_empty() {
            line += &format!("  by {} {}", text(one, "/cause/kind"), text(one, "/cause/collection"));
            line += if text(one, "/cause/key").is_empty() { "" } else { "/" };
            line += text(one, "/cause/key");
        }
        if !text(one, "/last_error/message").is_empty() {
            line += &format!("  ({})", text(one, "/last_error/message").replace('\n', " "));
        }
        line.trim_end().to_owned()
    };
    let mut lines: Vec<String> = all.into_iter().flatten().map(line).collect();
    if trace.pointer("/truncated") == Some(&Value::Bool(true)) {
        lines.push("… there are more".to_owned());
    }
    lines
}

fn undo_lines(done: &Value) -> Vec<String> {
    let list = |name: &str| done.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut lines = Vec::new();
    for change in list("changes") {
        let show = |name: &str| {
            change.get(name).filter(|v| !v.is_null()).map_or("(absent)".to_owned(), Value::to_string)
        };
        let key = format!("{}/{}", text(&change, "/collection"), text(&change, "/key"));
        lines.push(format!("{} {key}: {} -> {}", text(&change, "/op"), show("before"), show("after")));
    }
    for conflict in list("conflicts") {
        let key = format!("{}/{}", text(&conflict, "/collection"), text(&conflict, "/key"));
        lines.push(format!(
            "conflict {key}: it has version {}",
            conflict.get("current").unwrap_or(&Value::Null)
        ));
    }
    lines.push(match done.get("lsn") {
        Some(lsn) => format!("undone at {lsn}"),
        None => "nothing was written (--dry-run)".to_owned(),
    });
    lines
}

/// Runs it.
pub(crate) fn run(command: &Exec) -> Result<(), Failed> {
    let remote = &command.remote;
    match &command.what {
        What::List(filter) => {
            let client = remote.client()?;
            let query = [
                ("status", filter.status.clone()),
                ("script", filter.script.clone()),
                ("trigger", filter.trigger.clone()),
                ("root", filter.root.clone()),
                ("since", filter.since.clone()),
                ("until", filter.until.clone()),
            ];
            let (items, more) = client.list(&remote.path("/executions")?, &query, filter.limit)?;
            render::list(remote, &items, COLUMNS, more);
        }
        What::Outbox => {
            let (items, more) = remote.client()?.list(&remote.path("/outbox")?, &[], usize::MAX)?;
            render::list(remote, &items, OUTBOX, more);
        }
        What::Trace { id } => {
            let path = remote.path(&format!("/executions/{}/trace", segment(id)))?;
            let trace = remote.client()?.get(&path)?.json()?;
            if remote.json {
                render::object(remote, &trace);
            } else {
                trace_lines(&trace).iter().for_each(|line| crate::out::say(line));
            }
        }
        What::Undo { id, dry_run } => {
            let path = remote.path(&format!("/executions/{}/undo", segment(id)))?;
            let done = remote.client()?.post(&path, &json!({"dry_run": dry_run}))?;
            if remote.json {
                render::object(remote, &done);
            } else {
                undo_lines(&done).iter().for_each(|line| crate::out::say(line));
            }
        }
        What::Show { id, full } => {
            let path = remote.path(&format!("/executions/{}", segment(id)))?;
            let shown = remote.client()?.get(&path)?.json()?;
            if remote.json {
                render::object(remote, &shown);
            } else {
                crate::out::say(&told(&shown, if *full { Extent::Full } else { Extent::Short }));
            }
        }
        What::Debug(debug) => debug::run(remote, debug)?,
        What::Backtest(asked) => backtest::backtest(remote, asked)?,
        What::Bisect(asked) => backtest::bisect(remote, asked)?,
        What::Export(asked) => backtest::export(remote, asked)?,
        What::Replay(which) => replay::run(remote, which)?,
    }
    Ok(())
}
