//! `relive exec replay`: a recorded attempt run again, on the server or from a data directory.
//!
//! Owns: its flags, and how a replay is told to people. Never does: change anything.

use clap::Args;
use relive_engine::replay::{Candidate, replay as run_again};
use serde_json::{Map, Value, json};

use super::local::{self, Local, Opened};
use super::remote::{Remote, text_of};
use crate::client::{Failed, segment};
use crate::http::replay_dto;
use crate::out;

/// Exit code: a replay or backtest found differences.
pub(crate) const DIFFERENCES: u8 = 6;

/// Which attempt, and with which script.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Which {
    /// The execution
    pub(crate) id: String,
    /// The attempt; the last one if absent
    #[arg(long)]
    pub(crate) attempt: Option<u32>,
    /// With this version of the script instead of the recorded one
    #[arg(long, conflicts_with = "source")]
    pub(crate) script_version: Option<u32>,
    /// With the source in this file instead
    #[arg(long, value_name = "FILE")]
    pub(crate) source: Option<String>,
}

impl Which {
    /// The request's body.
    pub(crate) fn body(&self) -> Result<Map<String, Value>, Failed> {
        let mut body = Map::new();
        if let Some(attempt) = self.attempt {
            body.insert("attempt".into(), attempt.into());
        }
        if let Some(version) = self.script_version {
            body.insert("script_version".into(), version.into());
        }
        if let Some(source) = self.source_text()? {
            body.insert("source".into(), source.into());
        }
        Ok(body)
    }

    /// The source, read from its file.
    pub(crate) fn source_text(&self) -> Result<Option<String>, Failed> {
        self.source.as_deref().map(source_of).transpose()
    }

    /// What runs.
    pub(crate) fn candidate(&self) -> Result<Candidate, Failed> {
        Ok(match (self.source_text()?, self.script_version) {
            (Some(source), _) => Candidate::Source(source.into()),
            (None, Some(version)) => Candidate::Version(version),
            (None, None) => Candidate::Recorded,
        })
    }

    /// The path below its execution.
    pub(crate) fn path(&self, remote: &Remote, rest: &str) -> Result<String, Failed> {
        remote.path(&format!("/executions/{}/{rest}", segment(&self.id)))
    }
}

/// The text of a script's file.
pub(crate) fn source_of(path: &str) -> Result<String, Failed> {
    let path = path.strip_prefix('@').unwrap_or(path);
    let bytes = text_of(&format!("@{path}"))?;
    String::from_utf8(bytes).map_err(|_| Failed::usage(format!("{path} is not UTF-8")))
}

/// `relive exec replay`
#[derive(Args, Clone, Debug)]
pub(crate) struct Replay {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    local: Local,
}

/// Asks the server, or the data directory.
pub(crate) fn run(remote: &Remote, command: &Replay) -> Result<(), Failed> {
    let which = &command.which;
    let shown = match &command.local.data {
        None => remote.client()?.post(&which.path(remote, "replay")?, &which.body()?.into())?,
        Some(data) => {
            let opened = Opened::open(data)?;
            let app = remote.app().ok();
            let recording =
                opened.recording(app.as_deref(), &which.id, which.attempt, &which.candidate()?)?;
            local::scripted(move || replay_dto::replayed(&recording, &run_again(&recording)))?
        }
    };
    out::say(&if remote.json { shown.to_string() } else { told(&shown) });
    verdict(&shown)
}

/// Exit code 6 when something differs.
pub(crate) fn verdict(shown: &Value) -> Result<(), Failed> {
    if shown.get("faithful") != Some(&json!(false)) {
        return Ok(());
    }
    let why = match (shown.get("reason").and_then(Value::as_str), shown.pointer("/diverged_at/what")) {
        (Some(reason), _) => format!("the replay is not faithful: {reason}"),
        (None, Some(what)) => format!("the replay differs at the {}", text(Some(what))),
        (None, None) => "the replay differs".to_owned(),
    };
    Err(Failed { code: DIFFERENCES, message: why, problem: None })
}

/// A value in a line: text as it is.
pub(crate) fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// An error with its place.
pub(crate) fn error(error: &Value) -> String {
    let place = match error.get("line") {
        Some(Value::Number(line)) => format!(" (line {line})"),
        _ => String::new(),
    };
    format!("{}: {}{place}", text(error.get("kind")), text(error.get("message")))
}

fn told(shown: &Value) -> String {
    let mut lines = vec![format!(
        "{} {} attempt {}, as of LSN {}",
        text(shown.get("script")),
        shown
            .get("version")
            .filter(|v| !v.is_null())
            .map_or("(given source)".to_owned(), |v| format!("version {v}")),
        text(shown.get("attempt")),
        text(shown.get("snapshot_lsn")),
    )];
    lines.push(match shown.get("faithful") {
        Some(Value::Bool(true)) => "faithful: the same as recorded".to_owned(),
        Some(Value::Bool(false)) => format!("not the same as recorded{}", reason(shown)),
        _ => "nothing was recorded to compare with".to_owned(),
    });
    match shown.get("error").filter(|error| !error.is_null()) {
        Some(found) => lines.push(format!("error     {}", error(found))),
        None => lines.push(format!("result    {}", text(shown.get("result")))),
    }
    let items = |name: &str| shown.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    for write in items("writes").iter().chain(&items("discarded_writes")) {
        let value = if write.get("op") == Some(&json!("delete")) {
            "(deleted)".to_owned()
        } else {
            text(write.get("value"))
        };
        lines.push(format!(
            "write     {}/{} = {value} (line {})",
            text(write.get("collection")),
            text(write.get("key")),
            text(write.get("line"))
        ));
    }
    for line in items("logs") {
        lines.push(format!("{:<9} {}", text(line.get("level")), text(line.get("message"))));
    }
    for difference in items("differences") {
        lines.push(told_difference(&difference));
    }
    lines.join("\n")
}

fn reason(shown: &Value) -> String {
    match shown.get("reason").and_then(Value::as_str) {
        Some(reason) => format!(" ({reason})"),
        None => String::new(),
    }
}

/// One difference in a line.
pub(crate) fn told_difference(difference: &Value) -> String {
    let place = match difference.get("line") {
        Some(Value::Number(line)) => format!(" at line {line}"),
        _ => String::new(),
    };
    let key = match difference.get("key") {
        Some(Value::String(key)) => format!(" of {}/{key}", text(difference.get("collection"))),
        _ => String::new(),
    };
    format!(
        "differs   {}{key}{place}: recorded {}, now {}",
        text(difference.get("what")),
        text(difference.get("recorded")),
        text(difference.get("replayed")),
    )
}
