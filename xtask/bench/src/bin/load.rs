//! The load generator: N keep-alive connections, in one process, that ask as fast as they are answered (closed loop), or
//! at a rate (`--rate`: each request is due at its own time; what is late is asked at once and its wait counts).
//!
//! With `--beside PATH` the connections ask for two paths in turn, window by window (A B B A A B B A …): what comes and goes
//! meanwhile, on the machine or in the server, meets both alike.
//!
//! `{n}` in the path or the body becomes a number that no other request of this process has. Prints one JSON object.
//! A closed loop understates the tail of an overloaded server; all sides of a comparison are measured the same way.
#![expect(clippy::print_stdout, reason = "its result goes to stdout")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use relive_bench::client::Connection;
use relive_bench::histogram::{Histogram, Summary};
use serde::Serialize;

#[derive(Clone, Debug, Parser)]
struct Options {
    /// HOST:PORT of the listener
    #[arg(long)]
    address: SocketAddr,
    #[arg(long, default_value = "GET")]
    method: String,
    /// Path, with `{n}` for a fresh number
    #[arg(long)]
    path: String,
    /// The path of every second and third of four windows
    #[arg(long)]
    beside: Option<String>,
    /// Equal parts of the duration whose rates are told apart, so that a decline is seen
    #[arg(long, default_value_t = 10)]
    windows: usize,
    /// Body, with `{n}` for a fresh number
    #[arg(long, default_value = "")]
    body: String,
    #[arg(long, default_value_t = 64)]
    connections: usize,
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Asked before the measurement, not counted
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    /// Where the fresh numbers begin
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Requests per second in all; as fast as they are answered if absent
    #[arg(long)]
    rate: Option<f64>,
    /// Ends after so many requests, if the time is not over before
    #[arg(long)]
    requests: Option<u64>,
}

#[derive(Debug, Default)]
struct Tally {
    latencies: Histogram,
    statuses: BTreeMap<u16, u64>,
    windows: Vec<u64>,
    errors: u64,
    first_error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Report {
    connections: usize,
    seconds: f64,
    /// Answers with a status below 400, per second.
    rate: f64,
    ms: Summary,
    statuses: BTreeMap<u16, u64>,
    /// Requests without an understood answer.
    errors: u64,
    first_error: Option<String>,
    /// Rate in each window.
    windows: Vec<f64>,
    /// The next fresh number.
    next: u64,
}

/// What all connections share.
struct Plan {
    options: Options,
    next: AtomicU64,
    start: Instant,
    begin: Instant,
    end: Instant,
    window: Duration,
}

impl Plan {
    /// The number of the next request and when it is due; `None` when there are enough.
    fn take(&self) -> Option<(u64, Option<Instant>)> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let nth = number - self.options.first;
        if self.options.requests.is_some_and(|requests| nth >= requests) {
            return None;
        }
        let due = self.options.rate.map(|rate| self.start + Duration::from_secs_f64(nth as f64 / rate));
        Some((number, due))
    }
}

impl Plan {
    /// The window that this moment is in; during the warm-up the first.
    fn window_of(&self, now: Instant) -> usize {
        let since = now.saturating_duration_since(self.begin).as_nanos();
        let window = usize::try_from(since / self.window.as_nanos().max(1)).unwrap_or(usize::MAX);
        window.min(self.options.windows.saturating_sub(1))
    }

    /// What is asked for at this moment.
    fn path(&self, now: Instant) -> &str {
        match &self.options.beside {
            Some(beside) if matches!(self.window_of(now) % 4, 1 | 2) => beside,
            Some(_) | None => &self.options.path,
        }
    }
}

// One thread, as wrk would be given: two would take a core each from what is measured.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();
    let start = Instant::now();
    let begin = start + Duration::from_secs_f64(options.warmup);
    let end = begin + Duration::from_secs_f64(options.seconds);
    let window = Duration::from_secs_f64(options.seconds / options.windows as f64);
    let plan = Arc::new(Plan { next: AtomicU64::new(options.first), options, start, begin, end, window });
    let tasks: Vec<_> =
        (0..plan.options.connections).map(|_| tokio::spawn(drive(Arc::clone(&plan)))).collect();
    let mut total = Tally::default();
    for task in tasks {
        merge(&mut total, &task.await?);
    }
    println!("{}", serde_json::to_string(&report(&plan, total))?);
    Ok(())
}

/// One connection until the end; opened again after an error, which is counted.
async fn drive(plan: Arc<Plan>) -> Tally {
    let mut tally = Tally { windows: vec![0; plan.options.windows], ..Tally::default() };
    let mut open: Option<Connection> = None;
    loop {
        let mut sent = Instant::now();
        if sent >= plan.end {
            return tally;
        }
        let answer = match open.take() {
            Some(mut connection) => {
                let Some((number, due)) = plan.take() else { return tally };
                if let Some(due) = due {
                    if due >= plan.end {
                        return tally;
                    }
                    tokio::time::sleep_until(due.into()).await;
                    sent = due;
                }
                let answer = connection.call(&request(&plan.options, plan.path(sent), number)).await;
                open = answer.is_ok().then_some(connection);
                answer.map(Some)
            }
            None => Connection::open(plan.options.address).await.map(|connection| {
                open = Some(connection);
                None
            }),
        };
        let now = Instant::now();
        match answer {
            Ok(None) => {}
            Ok(Some(answer)) if sent >= plan.begin && now <= plan.end => {
                *tally.statuses.entry(answer.status).or_default() += 1;
                tally.latencies.record(u64::try_from((now - sent).as_nanos()).unwrap_or(u64::MAX));
                if let Some(window) = tally.windows.get_mut(plan.window_of(now)) {
                    *window += u64::from(answer.status < 400);
                }
            }
            Ok(Some(_)) => {}
            Err(error) => {
                tally.errors += 1;
                tally.first_error.get_or_insert(error.to_string());
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

fn request(options: &Options, path: &str, number: u64) -> Vec<u8> {
    let number = number.to_string();
    let path = path.replace("{n}", &number);
    let body = options.body.replace("{n}", &number);
    format!(
        "{} {path} HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n\r\n{body}",
        options.method,
        options.address,
        body.len()
    )
    .into_bytes()
}

fn merge(total: &mut Tally, one: &Tally) {
    total.latencies.merge(&one.latencies);
    total.errors += one.errors;
    if total.first_error.is_none() {
        total.first_error.clone_from(&one.first_error);
    }
    for (status, count) in &one.statuses {
        *total.statuses.entry(*status).or_default() += count;
    }
    total.windows.resize(one.windows.len(), 0);
    for (sum, count) in total.windows.iter_mut().zip(&one.windows) {
        *sum += count;
    }
}

fn report(plan: &Plan, total: Tally) -> Report {
    let seconds = plan.options.seconds;
    let good: u64 = total.statuses.iter().filter(|(status, _)| **status < 400).map(|(_, count)| count).sum();
    Report {
        connections: plan.options.connections,
        seconds,
        rate: (good as f64 / seconds).round(),
        ms: total.latencies.summary(),
        statuses: total.statuses,
        errors: total.errors,
        first_error: total.first_error,
        windows: total
            .windows
            .iter()
            .map(|count| (*count as f64 / plan.window.as_secs_f64()).round())
            .collect(),
        next: plan.next.load(Ordering::Relaxed),
    }
}
