//! `relive log show|tail|stats|export` through the server.

use std::time::Duration;

use serde_json::Value;

use super::export::Sink;
use super::{Filter, Range};
use crate::cli::remote::Remote;
use crate::cli::render;
use crate::client::{Client, Failed};
use crate::out;

/// Pause between looks at the end of the log.
const TAIL_PAUSE: Duration = Duration::from_millis(300);
/// Events of one look.
const PAGE: usize = 1000;

pub(super) const COLUMNS: &[render::Column] =
    &[("lsn", "/lsn"), ("at", "/at"), ("kind", "/kind"), ("execution", "/execution_id"), ("data", "/data")];

fn query(range: &Range, filter: &Filter) -> [(&'static str, Option<String>); 4] {
    [
        ("from", range.from.map(|lsn| lsn.to_string())),
        ("to", range.to.map(|lsn| lsn.to_string())),
        ("kind", filter.kind.clone()),
        ("execution", filter.execution.clone()),
    ]
}

pub(super) fn show(remote: &Remote, range: &Range, filter: &Filter, limit: usize) -> Result<(), Failed> {
    let client = remote.client()?;
    let (items, more) = client.list(&remote.path("/log")?, &query(range, filter), limit)?;
    render::list(remote, &items, COLUMNS, more);
    Ok(())
}

pub(super) fn stats(remote: &Remote) -> Result<(), Failed> {
    render::object(remote, &remote.client()?.get("/instance")?.json()?);
    Ok(())
}

/// Page after page, as of the moment when it began.
pub(super) fn export(remote: &Remote, range: &Range, filter: &Filter, sink: &mut Sink) -> Result<(), Failed> {
    let client = remote.client()?;
    let path = remote.path("/log")?;
    let to = range.to.or(durable(&client)?);
    let mut range = Range { from: range.from, to };
    loop {
        let (items, more) = client.list(&path, &query(&range, filter), PAGE)?;
        for item in &items {
            sink.put(item)?;
        }
        let last = items.last().and_then(|item| item.get("lsn")).and_then(Value::as_u64);
        match last {
            Some(last) if more => range.from = Some(behind(&items, last)),
            _ => return Ok(()),
        }
    }
}

/// The LSN behind the last item: a gap is one item of many LSNs.
fn behind(items: &[Value], last: u64) -> u64 {
    let gap = items.last().and_then(|item| item.pointer("/data/to")).and_then(Value::as_u64);
    let is_gap = items.last().and_then(|item| item.get("kind")).and_then(Value::as_str) == Some("gap");
    gap.filter(|_| is_gap).unwrap_or(last) + 1
}

fn durable(client: &Client) -> Result<Option<u64>, Failed> {
    Ok(client.get("/instance")?.json()?.pointer("/lsn/durable").and_then(Value::as_u64))
}

pub(super) fn tail(remote: &Remote, from: Option<u64>, filter: &Filter) -> Result<(), Failed> {
    let client = remote.client()?;
    let path = remote.path("/log")?;
    let mut from = match from {
        Some(from) => from,
        None => durable(&client)?.unwrap_or(0) + 1,
    };
    loop {
        let range = Range { from: Some(from), to: None };
        let (items, more) = client.list(&path, &query(&range, filter), PAGE)?;
        for item in &items {
            out::say(&if remote.json { item.to_string() } else { line(item) });
        }
        if let Some(last) = items.last().and_then(|item| item.get("lsn")).and_then(Value::as_u64) {
            from = behind(&items, last);
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
