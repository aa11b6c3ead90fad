//! `relive log show|tail|export` through the server.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::export::Sink;
use super::{Filter, Range};
use crate::cli::remote::Remote;
use crate::cli::render;
use crate::client::{Client, Failed, Followed, with_query};
use crate::out;

/// Pause before a stream that broke off is asked for again.
const TAIL_PAUSE: Duration = Duration::from_millis(500);
/// How long it is asked for again.
const TAIL_WAIT_MAX: Duration = Duration::from_secs(60);
/// Events of one page.
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

/// Follows the log until Ctrl-C. A stream that breaks off is taken up again behind what was printed.
pub(super) fn tail(remote: &Remote, from: Option<u64>, filter: &Filter) -> Result<(), Failed> {
    let client = remote.client()?;
    let path = remote.path("/log/stream")?;
    let mut from = match from {
        Some(from) => from,
        None => durable(&client)?.unwrap_or(0) + 1,
    };
    let mut lost: Option<Instant> = None;
    loop {
        let range = Range { from: Some(from), to: None };
        let done = client.follow(&with_query(&path, &query(&range, filter)), &mut |event| {
            lost = None;
            if event.name == "error" {
                return Err(Failed::of_problem(&event.data));
            }
            let Ok(item) = serde_json::from_str::<Value>(&event.data) else { return Ok(()) };
            out::say(&if remote.json { item.to_string() } else { line(&item) });
            from = event.id.parse().map_or(from, |id: u64| id + 1);
            Ok(())
        });
        let why = match done {
            Ok(why) => why,
            // Nobody answers: whoever answered before is on his way back.
            Err(Followed::Unreachable(failed)) if lost.is_some() => failed.message,
            Err(Followed::Unreachable(failed) | Followed::Refused(failed)) => return Err(failed),
        };
        let since = *lost.get_or_insert_with(|| {
            out::complain(&format!("{why}; trying again"));
            Instant::now()
        });
        if since.elapsed() > TAIL_WAIT_MAX {
            return Err(Failed::new(format!("{why}; given up after {} s", TAIL_WAIT_MAX.as_secs())));
        }
        std::thread::sleep(TAIL_PAUSE);
    }
}

fn line(item: &Value) -> String {
    let text = |name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default();
    let lsn = item.get("lsn").and_then(Value::as_u64).unwrap_or_default();
    let data = item.get("data").cloned().unwrap_or_default();
    format!("{lsn:>8}  {}  {:<26}  {:<36}  {data}", text("at"), text("kind"), text("execution_id"))
}
