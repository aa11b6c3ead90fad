//! `relive deploy DIR`: an app brought to what its manifest says.

use std::path::PathBuf;

use clap::Args;
use relive_engine::settings::EngineSettings;
use relive_log::events::RetryPolicy;
use serde_json::{Map, Value, json};

use super::backtest;
use super::remote::Remote;
use crate::client::{Failed, segment};
use crate::out;
use crate::project::Project;

/// `relive deploy`
#[derive(Args)]
pub(crate) struct Deploy {
    #[command(flatten)]
    pub(crate) remote: Remote,
    /// Directory with relive.toml
    dir: PathBuf,
    /// Only show what would change
    #[arg(long)]
    dry_run: bool,
    /// Delete scripts, routes and triggers that the manifest does not name
    #[arg(long)]
    prune: bool,
    /// First run every changed script over what was recorded in this period (7d): deploy nothing and exit with 6 if an
    /// execution would have ended otherwise, except for the better
    #[arg(long, value_name = "PERIOD")]
    backtest: Option<String>,
}

/// Runs it.
pub(crate) fn run(command: &Deploy) -> Result<(), Failed> {
    // The server's defaults of retries are not known here (it reads the manifest again, with them): only what the
    // manifest itself says can contradict itself.
    let retry = RetryPolicy { base_ms: 0, max_ms: u64::MAX, ..EngineSettings::default().retry };
    let project = Project::read(&command.dir, retry).map_err(Failed::new)?;
    let scripts: Map<String, Value> =
        project.scripts.iter().map(|source| (source.name.clone(), source.text.as_str().into())).collect();
    let body = json!({
        "manifest": project.text,
        "scripts": scripts,
        "prune": command.prune,
        "dry_run": command.dry_run,
    });
    if let Some(period) = &command.backtest {
        let sources = project.scripts.iter().map(|source| (source.name.clone(), source.text.clone()));
        backtest::gate(&command.remote, &project.manifest.app, sources, period)?;
    }
    let path = format!("/apps/{}/deploy", segment(&project.manifest.app));
    let answer =
        command.remote.client()?.post(&path, &body).map_err(|failed| with_caret(failed, &project))?;
    if command.remote.json {
        out::say(&answer.to_string());
        return Ok(());
    }
    let changes: Vec<&Value> =
        answer.get("changes").and_then(Value::as_array).into_iter().flatten().collect();
    let real = changes.iter().filter(|change| change.get("action") != Some(&json!("unchanged")));
    let count = real.map(|change| out::say(&change_line(change))).count();
    let (app, lsn) = (&project.manifest.app, answer.get("lsn").cloned().unwrap_or_default());
    out::say(&match (count, command.dry_run) {
        (0, _) => format!("app `{app}` is as the manifest says (LSN {lsn})"),
        (_, true) => format!("app `{app}`: {count} changes planned, nothing done"),
        (_, false) => format!("app `{app}` deployed: {count} changes (LSN {lsn})"),
    });
    Ok(())
}

/// One change for people.
fn change_line(change: &Value) -> String {
    let text = |name: &str| change.get(name).and_then(Value::as_str).unwrap_or_default();
    let version =
        change.get("version").and_then(Value::as_u64).map(|v| format!(" (version {v})")).unwrap_or_default();
    format!("  {:<9} {:<7} {}{version}", text("action"), text("what"), text("name"))
}

fn with_caret(mut failed: Failed, project: &Project) -> Failed {
    let problem = failed.problem.clone().unwrap_or_default();
    let number = |name: &str| problem.get(name).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
    let text = |name: &str| problem.get(name).and_then(Value::as_str);
    if let (Some(script), Some(line), Some(column)) = (text("script"), number("line"), number("column")) {
        let message = text("message").unwrap_or(&failed.message);
        if let Some(shown) = project.script_error(script, line, column, message) {
            failed.message = shown;
        }
    }
    failed
}
