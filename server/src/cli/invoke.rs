//! `relive invoke`: a direct run.

use clap::Args;
use serde_json::{Value, json};

use super::remote::{Remote, json_of};
use crate::client::{Failed, segment};
use crate::out;

/// `relive invoke`
#[derive(Args)]
pub(crate) struct Invoke {
    #[command(flatten)]
    pub(crate) remote: Remote,
    /// The script
    script: String,
    /// Payload: JSON, @FILE, or - for stdin
    #[arg(long)]
    data: Option<String>,
}

/// Runs it: the result on stdout, what the script logged on stderr.
pub(crate) fn run(command: &Invoke) -> Result<(), Failed> {
    let remote = &command.remote;
    let path = remote.path(&format!("/scripts/{}/execute", segment(&command.script)))?;
    let body = match &command.data {
        Some(data) => json!({"payload": json_of(data)?}),
        None => json!({}),
    };
    let answer = remote.client()?.post(&path, &body).map_err(|failed| with_place(failed, &command.script))?;
    if remote.json {
        out::say(&answer.to_string());
        return Ok(());
    }
    for line in answer.get("logs").and_then(Value::as_array).into_iter().flatten() {
        let text = |name: &str| line.get(name).and_then(Value::as_str).unwrap_or_default();
        out::complain(&format!("{}: {}", text("level"), text("message")));
    }
    match answer.get("result") {
        None | Some(Value::Null) => {}
        Some(Value::String(text)) => out::say(text),
        Some(result) => out::say(&serde_json::to_string_pretty(result).unwrap_or_default()),
    }
    Ok(())
}

fn with_place(mut failed: Failed, script: &str) -> Failed {
    let problem = failed.problem.as_ref();
    let member = |name: &str| problem.and_then(|problem| problem.get(name)).cloned();
    if let (Some(line), Some(kind)) = (member("line"), member("code")) {
        let kind = kind.as_str().unwrap_or_default().to_owned();
        failed.message = format!("{script}:{line}: {kind}: {}", failed.message);
    }
    failed
}
