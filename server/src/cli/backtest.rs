//! `relive exec backtest`, `bisect`, `export`, and `relive test`: candidates against what was recorded.
//!
//! Owns: their flags, progress, and exit code 6. Never does: run anything itself that a server was asked for.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use relive_engine::replay::{
    Candidate, Replayed, Sealed, bisect as find_first, capsule, opened, replay as run_again,
};
use serde_json::{Map, Value, json};

use super::local::{self, Local, Opened};
use super::remote::Remote;
use super::replay::{DIFFERENCES, error, source_of, text, told_difference};
use crate::client::{Client, Failed, segment};
use crate::clock::{self, SystemClock};
use crate::http::backtest::MADE_BY;
use crate::http::replay::not_replayable;
use crate::http::{replay_dto, rfc3339};
use crate::out;

/// Executions of one request: progress is told between two.
const PAGE: usize = 500;

/// `relive exec backtest`
#[derive(Args, Clone, Debug)]
pub(crate) struct Backtest {
    /// The script
    script: String,
    /// The source in this file
    #[arg(long, value_name = "FILE", conflicts_with = "version")]
    source: Option<String>,
    /// This version; the current one if neither is given
    #[arg(long)]
    version: Option<u32>,
    /// Enqueued at or after: a time, or how long ago (7d, 12h, 30m)
    #[arg(long)]
    since: Option<String>,
    /// Enqueued before
    #[arg(long)]
    until: Option<String>,
    /// Only executions of this status
    #[arg(long)]
    status: Option<String>,
    /// Only executions whose dead letter is open
    #[arg(long)]
    dead_letters: bool,
    /// At most so many, newest first
    #[arg(long, default_value_t = 10_000)]
    limit: usize,
    /// Redrive the dead letters that it repairs (the candidate must be the current version)
    #[arg(long, requires = "dead_letters")]
    redrive: bool,
}

/// Sums of a backtest.
#[derive(Default)]
struct Sums(Map<String, Value>);

impl Sums {
    fn add(&mut self, page: &Value) {
        for (name, count) in page.get("summary").and_then(Value::as_object).into_iter().flatten() {
            let sum = self.get(name) + count.as_u64().unwrap_or(0);
            self.0.insert(name.clone(), sum.into());
        }
    }

    fn get(&self, name: &str) -> u64 {
        self.0.get(name).and_then(Value::as_u64).unwrap_or(0)
    }

    fn told(&self) -> String {
        let names = ["same", "changed", "fixed", "broken", "unmatched", "skipped"];
        let counts: Vec<String> = names.iter().map(|name| format!("{} {name}", self.get(name))).collect();
        format!("{} executions: {}", self.get("executions"), counts.join(", "))
    }

    /// Whatever is not as it was, and no repair.
    fn differences(&self) -> u64 {
        self.get("changed") + self.get("broken") + self.get("unmatched")
    }
}

/// A time, or how long before now.
pub(crate) fn since(text: &str) -> Result<String, Failed> {
    let ago = |unit: u64| {
        let number = text.get(..text.len().saturating_sub(1))?.parse::<u64>().ok()?;
        Some(number.saturating_mul(unit).saturating_mul(1_000_000))
    };
    let micros = match text.chars().last() {
        Some('d') => ago(86_400),
        Some('h') => ago(3600),
        Some('m') => ago(60),
        Some('s') => ago(1),
        _ => return Ok(text.to_owned()),
    };
    let micros =
        micros.ok_or_else(|| Failed::usage(format!("`{text}` is neither a time nor a period (7d)")))?;
    Ok(rfc3339(relive_log::UnixMicros(clock::now().0.saturating_sub(micros))))
}

/// Runs it.
pub(crate) fn backtest(remote: &Remote, command: &Backtest) -> Result<(), Failed> {
    let client = remote.client()?;
    let mut body = Map::new();
    let version = match (&command.source, command.version) {
        (Some(path), _) => {
            body.insert("source".into(), source_of(path)?.into());
            None
        }
        (None, Some(version)) => Some(version.into()),
        (None, None) => {
            let path = remote.path(&format!("/scripts/{}", segment(&command.script)))?;
            client.get(&path)?.json()?.get("version").cloned()
        }
    };
    let optional = [
        ("version", version),
        ("since", command.since.as_deref().map(since).transpose()?.map(Value::from)),
        ("until", command.until.as_deref().map(since).transpose()?.map(Value::from)),
        ("status", command.status.clone().map(Value::from)),
    ];
    body.extend(optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    body.insert("dead_letters".into(), command.dead_letters.into());
    body.insert("redrive".into(), command.redrive.into());
    let run = Run {
        client: &client,
        path: remote.path(&format!("/scripts/{}/backtest", segment(&command.script)))?,
    };
    let found = run.all(body, command.limit)?;
    if remote.json {
        let (items, redriven) = (&found.items, &found.redriven);
        out::say(&json!({"summary": found.sums.0, "items": items, "redriven": redriven}).to_string());
    } else {
        found.tell();
    }
    found.verdict()
}

struct Run<'a> {
    client: &'a Client,
    path: String,
}

struct Found {
    sums: Sums,
    items: Vec<Value>,
    redriven: Vec<Value>,
}

impl Run<'_> {
    /// Page after page, telling a terminal how far it is.
    fn all(&self, mut body: Map<String, Value>, limit: usize) -> Result<Found, Failed> {
        use std::io::IsTerminal as _;
        let mut found = Found { sums: Sums::default(), items: Vec::new(), redriven: Vec::new() };
        let watched = std::io::stderr().is_terminal();
        let mut left = limit;
        loop {
            body.insert("limit".into(), left.clamp(1, PAGE).into());
            let mut page = self.client.post(&self.path, &body.clone().into())?;
            found.sums.add(&page);
            let mut take = |name: &str| match page.get_mut(name).map(Value::take) {
                Some(Value::Array(items)) => items,
                _ => Vec::new(),
            };
            found.items.extend(take("items"));
            found.redriven.extend(take("redriven"));
            left = left.saturating_sub(PAGE);
            if watched {
                out::complain(&found.sums.told());
            }
            match page.get("cursor").filter(|cursor| !cursor.is_null() && left > 0) {
                Some(cursor) => body.insert("cursor".into(), cursor.clone()),
                None => return Ok(found),
            };
        }
    }
}

impl Found {
    fn tell(&self) {
        for item in self.items.iter().filter(|item| item.get("verdict") != Some(&json!("same"))) {
            out::say(&told(item));
        }
        for one in &self.redriven {
            out::say(&format!(
                "redriven  {} as {}",
                text(one.get("dead_letter_id")),
                text(one.get("execution_id"))
            ));
        }
        out::say(&self.sums.told());
    }

    fn verdict(&self) -> Result<(), Failed> {
        match self.sums.differences() {
            0 => Ok(()),
            count => Err(Failed {
                code: DIFFERENCES,
                message: format!("{count} executions would have ended otherwise"),
                problem: None,
            }),
        }
    }
}

fn told(item: &Value) -> String {
    let mut line = format!("{:<9} {}", text(item.get("verdict")), text(item.get("execution_id")));
    for (name, pointer) in [("was", "/error/before"), ("now", "/error/after")] {
        if let Some(found) = item.pointer(pointer).filter(|found| !found.is_null()) {
            line.push_str(&format!("\n          {name} {}", error(found)));
        }
    }
    for write in item.get("writes").and_then(Value::as_array).into_iter().flatten() {
        line.push_str(&format!("\n          {}", told_difference(write)));
    }
    line
}

/// The gate of `relive deploy --backtest`: every script that the deploy changes, over the period.
pub(crate) fn gate(
    remote: &Remote,
    app: &str,
    scripts: impl IntoIterator<Item = (String, String)>,
    period: &str,
) -> Result<(), Failed> {
    let client = remote.client()?;
    let since = since(period)?;
    let mut differences = 0;
    for (name, source) in scripts {
        let base = format!("/apps/{}/scripts/{}", segment(app), segment(&name));
        let before = match client.get(&base) {
            Ok(answer) => answer.json()?,
            // Not deployed yet: there is nothing that it could break.
            Err(failed) if failed.code == 3 => continue,
            Err(failed) => return Err(failed),
        };
        if before.get("source").and_then(Value::as_str) == Some(source.as_str()) {
            continue;
        }
        let body = Map::from_iter([
            ("source".to_owned(), source.into()),
            ("since".to_owned(), since.clone().into()),
        ]);
        let run = Run { client: &client, path: format!("{base}/backtest") };
        let found = run.all(body, usize::MAX)?;
        if !remote.json {
            out::say(&format!("backtest of {name} since {since}"));
            found.tell();
        }
        differences += found.sums.differences();
    }
    if differences == 0 {
        return Ok(());
    }
    Err(Failed {
        code: DIFFERENCES,
        message: format!("nothing was deployed: {differences} executions would have ended otherwise"),
        problem: None,
    })
}

/// `relive exec bisect`
#[derive(Args, Clone, Debug)]
pub(crate) struct Bisect {
    /// The execution
    id: String,
    /// The attempt; the last one if absent
    #[arg(long)]
    attempt: Option<u32>,
    #[command(flatten)]
    local: Local,
}

/// Runs it.
pub(crate) fn bisect(remote: &Remote, command: &Bisect) -> Result<(), Failed> {
    let attempt = command.attempt;
    let shown = match &command.local.data {
        None => {
            let path = remote.path(&format!("/executions/{}/bisect", segment(&command.id)))?;
            let body = attempt.map_or_else(|| json!({}), |attempt| json!({"attempt": attempt}));
            remote.client()?.post(&path, &body)?
        }
        Some(data) => {
            let opened = Opened::open(data)?;
            let (app, row) = opened.find(remote.app().ok().as_deref(), &command.id)?;
            let archive = opened.archive().clone();
            local::scripted(move || {
                let found = find_first(&archive, &app, &row, attempt);
                found.map(|found| replay_dto::bisected(&row, &found)).map_err(not_replayable)
            })?
            .map_err(|problem| Failed::new(problem.text()))?
        }
    };
    if remote.json {
        out::say(&shown.to_string());
        return Ok(());
    }
    for tried in shown.get("versions").and_then(Value::as_array).into_iter().flatten() {
        let why = tried.get("error").filter(|found| !found.is_null()).map_or_else(String::new, error);
        out::say(&format!(
            "version {:<5} {:<5} {why}",
            text(tried.get("version")),
            text(tried.get("verdict"))
        ));
    }
    out::say(&match shown.get("first_bad_version").filter(|version| !version.is_null()) {
        Some(version) => format!("first broken by version {version}"),
        None => "no version breaks it".to_owned(),
    });
    Ok(())
}

/// `relive exec export`
#[derive(Args, Clone, Debug)]
pub(crate) struct Export {
    /// The execution
    id: String,
    /// The attempt; the last one if absent
    #[arg(long)]
    attempt: Option<u32>,
    #[command(flatten)]
    local: Local,
}

/// Runs it.
pub(crate) fn export(remote: &Remote, command: &Export) -> Result<(), Failed> {
    let text = match &command.local.data {
        None => {
            let mut path = remote.path(&format!("/executions/{}/capsule", segment(&command.id)))?;
            if let Some(attempt) = command.attempt {
                path.push_str(&format!("?attempt={attempt}"));
            }
            remote.client()?.get(&path)?.body.to_vec()
        }
        Some(data) => {
            let opened = Opened::open(data)?;
            let (app, row) = opened.find(remote.app().ok().as_deref(), &command.id)?;
            let (archive, attempt) = (opened.archive().clone(), command.attempt);
            let made = local::scripted(move || {
                let with = |sealed| archive.recording(&app, &row, attempt, &Candidate::Recorded, sealed);
                let recording = with(Sealed::Placeholders).map_err(not_replayable)?;
                let original = with(Sealed::Opened).map_err(not_replayable)?;
                Ok(capsule(&recording, &original, MADE_BY))
            })?;
            made.map_err(|problem: crate::http::ApiError| Failed::new(problem.text()))?.into_bytes()
        }
    };
    out::write(&text);
    if !text.ends_with(b"\n") {
        out::write(b"\n");
    }
    Ok(())
}

/// `relive test`
#[derive(Args, Clone, Debug)]
pub(crate) struct Test {
    /// Capsules (`relive exec export`), or directories of them
    #[arg(required = true)]
    capsules: Vec<PathBuf>,
    /// Run the scripts in this directory instead of those in the capsules: what succeeded must come to the same, what
    /// failed may be repaired
    #[arg(long, value_name = "DIR")]
    scripts: Option<PathBuf>,
    /// Machine output: one JSON object a capsule
    #[arg(long)]
    pub(crate) json: bool,
}

/// Runs every capsule.
pub(crate) fn test(command: &Test) -> Result<(), Failed> {
    let mut files = Vec::new();
    for path in &command.capsules {
        collect(path, &mut files)?;
    }
    if files.is_empty() {
        return Err(Failed::usage("there is no capsule (*.json) in there"));
    }
    let mut failed = 0;
    for file in &files {
        let outcome = test_one(file, command.scripts.as_deref())?;
        failed += usize::from(!outcome.passed);
        let name = file.display();
        out::say(&if command.json {
            let mut shown = outcome.shown;
            if let Some(fields) = shown.as_object_mut() {
                fields.insert("capsule".into(), name.to_string().into());
                fields.insert("verdict".into(), outcome.verdict.into());
            }
            shown.to_string()
        } else {
            format!("{:<9} {name}{}", outcome.verdict, outcome.why)
        });
    }
    if !command.json {
        out::say(&format!("{} capsules, {failed} differ", files.len()));
    }
    if failed == 0 {
        return Ok(());
    }
    Err(Failed { code: DIFFERENCES, message: format!("{failed} capsules differ"), problem: None })
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failed> {
    let unreadable = |e: std::io::Error| Failed::new(format!("{} cannot be read: {e}", path.display()));
    if !std::fs::metadata(path).map_err(unreadable)?.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(path).map_err(unreadable)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    entries.sort();
    for entry in entries {
        if entry.is_dir() || entry.extension().is_some_and(|extension| extension == "json") {
            collect(&entry, files)?;
        }
    }
    Ok(())
}

struct Outcome {
    passed: bool,
    verdict: &'static str,
    why: String,
    shown: Value,
}

fn test_one(file: &Path, scripts: Option<&Path>) -> Result<Outcome, Failed> {
    let unreadable = |e: &dyn std::fmt::Display| Failed::new(format!("{}: {e}", file.display()));
    let bytes = std::fs::read(file).map_err(|e| unreadable(&e))?;
    let clock = Arc::new(SystemClock);
    let mut candidate = Candidate::Recorded;
    if let Some(dir) = scripts {
        let recorded = opened(&bytes, &candidate, Arc::clone(&clock) as _).map_err(|e| unreadable(&e))?;
        let path = dir.join(format!("{}.rhai", recorded.context.script));
        candidate = Candidate::Source(source_of(&path.to_string_lossy())?.into());
    }
    let recording = opened(&bytes, &candidate, clock).map_err(|e| unreadable(&e))?;
    local::scripted(move || {
        let got = run_again(&recording);
        let (passed, verdict) = judged(&got, candidate == Candidate::Recorded, &recording);
        let why = match (passed, got.reason, got.differences.first()) {
            (true, ..) => String::new(),
            (false, Some(reason), _) => format!(": {}", reason.name()),
            (false, None, Some(first)) => {
                format!("\n          {}", told_difference(&replay_dto::difference(first)))
            }
            (false, None, None) => String::new(),
        };
        Outcome { passed, verdict, why, shown: replay_dto::replayed(&recording, &got) }
    })
}

fn judged(
    got: &Replayed,
    as_recorded: bool,
    recording: &relive_engine::replay::Recording,
) -> (bool, &'static str) {
    if as_recorded {
        return if got.faithful == Some(false) { (false, "differs") } else { (true, "faithful") };
    }
    let succeeded = recording.recorded.as_ref().is_some_and(|recorded| recorded.result.is_ok());
    let same =
        !got.differences.iter().any(|found| matches!(found.what, "error" | "write" | "send" | "output"));
    match (succeeded, got.result.is_ok()) {
        (false, true) => (true, "fixed"),
        (true, false) => (false, "broken"),
        _ if same => (true, "same"),
        _ => (false, "changed"),
    }
}
