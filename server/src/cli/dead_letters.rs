//! `relive dl`: work that used up its attempts.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::remote::Remote;
use super::render;
use crate::client::{Client, Failed, segment};
use crate::out;

/// `relive dl`
#[derive(Args)]
pub(crate) struct DeadLetters {
    #[command(flatten)]
    pub(crate) remote: Remote,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Dead letters, newest first
    List {
        /// open or resolved
        #[arg(long)]
        status: Option<String>,
        /// Of this script
        #[arg(long)]
        script: Option<String>,
        /// Of this trigger: name or id
        #[arg(long)]
        trigger: Option<String>,
        /// Whose error contains this text
        #[arg(long)]
        error: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// One dead letter: its error, its attempts, then its input
    Show {
        /// Its id
        id: String,
        /// All of the input, however long
        #[arg(long)]
        full: bool,
    },
    /// Errors alike, the most frequent first
    Groups {
        #[command(flatten)]
        filter: Filter,
        /// open or resolved
        #[arg(long)]
        status: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Run dead work again with its original input: one letter, or all open ones that a filter fits
    Redrive {
        /// One letter
        #[arg(conflicts_with_all = ["script", "trigger", "error", "fingerprint", "all"])]
        id: Option<String>,
        #[command(flatten)]
        filter: Filter,
        /// Every open letter of the app
        #[arg(long)]
        all: bool,
        /// Say how many it would be, and show some; nothing runs
        #[arg(long)]
        dry_run: bool,
        /// So many a second: 10/s
        #[arg(long)]
        rate: Option<String>,
        /// Stop when so many died again
        #[arg(long)]
        stop_after_failures: Option<u64>,
        /// current, original, or a version number
        #[arg(long, default_value = "current")]
        version: String,
        /// Do not wait for the end of the job
        #[arg(long)]
        detach: bool,
    },
    /// Close without running again: one letter, or all open ones that a filter fits
    Resolve {
        /// One letter
        #[arg(conflicts_with_all = ["script", "trigger", "error", "fingerprint", "all"])]
        id: Option<String>,
        #[command(flatten)]
        filter: Filter,
        /// Every open letter of the app
        #[arg(long)]
        all: bool,
        /// Say how many it would be, and show some; nothing happens
        #[arg(long)]
        dry_run: bool,
        /// So many a second: 10/s
        #[arg(long)]
        rate: Option<String>,
        /// As what
        #[arg(long, default_value = "ignored")]
        resolution: String,
        /// Why
        #[arg(long)]
        note: Option<String>,
        /// Do not wait for the end of the job
        #[arg(long)]
        detach: bool,
    },
    /// Bulk jobs, newest first
    Jobs {
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Cancel a bulk job
    Cancel {
        /// Its id
        job: String,
    },
}

/// Which letters.
#[derive(Args)]
struct Filter {
    /// Of this script
    #[arg(long)]
    script: Option<String>,
    /// Of this trigger: name or id
    #[arg(long)]
    trigger: Option<String>,
    /// Whose error contains this text, or is of this kind
    #[arg(long)]
    error: Option<String>,
    /// Of this group
    #[arg(long)]
    fingerprint: Option<String>,
}

impl Filter {
    fn pairs(&self) -> [(&'static str, Option<String>); 4] {
        [
            ("script", self.script.clone()),
            ("trigger", self.trigger.clone()),
            ("error", self.error.clone()),
            ("fingerprint", self.fingerprint.clone()),
        ]
    }

    /// The filter of a job. Nothing at all must be asked for with `--all`.
    fn body(&self, all: bool) -> Result<Value, Failed> {
        let fields: serde_json::Map<String, Value> = self
            .pairs()
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.into())))
            .collect();
        if fields.is_empty() && !all {
            return Err(Failed::usage("which? ID, or --script, --trigger, --error, --fingerprint, or --all"));
        }
        Ok(fields.into())
    }
}

const GROUPS: &[render::Column] = &[
    ("fingerprint", "/fingerprint"),
    ("count", "/count"),
    ("open", "/open"),
    ("script", "/script"),
    ("trigger", "/trigger"),
    ("error", "/last_error/message"),
    ("line", "/last_error/line"),
    ("last", "/last_at"),
];

const JOBS: &[render::Column] = &[
    ("job", "/id"),
    ("kind", "/kind"),
    ("status", "/status"),
    ("total", "/total"),
    ("done", "/done"),
    ("skipped", "/skipped"),
    ("succeeded", "/succeeded"),
    ("failed", "/failed"),
    ("created", "/created_at"),
];

const COLUMNS: &[render::Column] = &[
    ("dead letter", "/id"),
    ("status", "/status"),
    ("resolution", "/resolution"),
    ("script", "/script"),
    ("trigger", "/trigger"),
    ("attempts", "/attempts"),
    ("error", "/last_error/message"),
    ("line", "/last_error/line"),
    ("last attempt", "/last_attempt_at"),
];

/// How much of an input is shown, unless all of it is asked for.
const INPUT_BYTES_SHOWN: usize = 2048;
/// What a person wants to know first, in this order.
const FIRST: [&str; 7] =
    ["error", "attempts", "first_attempt_at", "last_attempt_at", "status", "resolution", "trigger"];

/// A dead letter for people: error, attempts and times first; the input last, at most `input_max` bytes of it.
fn shown(letter: &Value, input_max: usize) -> String {
    let mut fields = letter.as_object().cloned().unwrap_or_default();
    if let Some(error) = fields.remove("last_error") {
        let script = fields.get("script").and_then(Value::as_str).unwrap_or_default();
        fields.insert("error".to_owned(), error_line(script, &error).into());
    }
    let input = fields.remove("input").filter(|input| !input.is_null());
    let first = FIRST.iter().filter_map(|name| fields.remove(*name).map(|value| ((*name).to_owned(), value)));
    let rows: Vec<(String, Value)> = first.collect();
    let table = render::fields(rows.iter().map(|(name, value)| (name, value)).chain(&fields));
    let input = input.map_or_else(
        || "(not recorded)".to_owned(),
        |input| cut(serde_json::to_string_pretty(&input).unwrap_or_default(), input_max),
    );
    format!("{table}\n\ninput\n{input}")
}

/// `kind: message (script:line:column)`.
fn error_line(script: &str, error: &Value) -> String {
    let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| error.get(name).and_then(Value::as_u64).filter(|number| *number > 0);
    let place = match (number("line"), number("column")) {
        (Some(line), Some(column)) => format!(" ({script}:{line}:{column})"),
        (Some(line), None) => format!(" ({script}:{line})"),
        (None, _) => format!(" ({script})"),
    };
    format!("{}: {}{place}", text("kind"), text("message"))
}

/// At most `max` bytes of a text, and how many are missing.
fn cut(mut text: String, max: usize) -> String {
    if text.len() > max {
        let all = text.len();
        let end = (0..=max).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or_default());
        text.push_str(&format!("…\n({} of {all} bytes are not shown: --full)", all - text.len()));
    }
    text
}

/// Runs it.
pub(crate) fn run(command: &DeadLetters) -> Result<(), Failed> {
    let remote = &command.remote;
    let client = remote.client()?;
    let path = |id: &str, rest: &str| remote.path(&format!("/dead-letters/{}{rest}", segment(id)));
    match &command.what {
        What::List { status, script, trigger, error, limit } => {
            let query = [
                ("status", status.clone()),
                ("script", script.clone()),
                ("trigger", trigger.clone()),
                ("error", error.clone()),
            ];
            let (items, more) = client.list(&remote.path("/dead-letters")?, &query, *limit)?;
            render::list(remote, &items, COLUMNS, more);
        }
        What::Show { id, full } => {
            let letter = client.get(&path(id, "")?)?.json()?;
            if remote.json {
                out::say(&letter.to_string());
            } else {
                out::say(&shown(&letter, if *full { usize::MAX } else { INPUT_BYTES_SHOWN }));
            }
        }
        What::Groups { filter, status, limit } => {
            let mut query = filter.pairs().to_vec();
            query.push(("status", status.clone()));
            let (items, more) = client.list(&remote.path("/dead-letters/groups")?, &query, *limit)?;
            render::list(remote, &items, GROUPS, more);
        }
        What::Redrive { id: Some(id), version, .. } => {
            let done = client.post(&path(id, "/redrive")?, &json!({"version": version_of(version)}))?;
            let execution = done.get("execution_id").and_then(Value::as_str).unwrap_or_default().to_owned();
            render::done(remote, &done, &format!("redriven as execution {execution}"));
        }
        What::Redrive { id: None, filter, all, dry_run, rate, stop_after_failures, version, detach } => {
            let body = json!({
                "filter": filter.body(*all)?,
                "dry_run": dry_run,
                "rate": rate,
                "stop_after_failures": stop_after_failures,
                "version": version_of(version),
            });
            bulk(remote, &client, "/dead-letters/redrive", &body, *detach)?;
        }
        What::Resolve { id: Some(id), resolution, note, .. } => {
            let done =
                client.post(&path(id, "/resolve")?, &json!({"resolution": resolution, "note": note}))?;
            render::done(remote, &done, &format!("dead letter {id} resolved as {resolution}"));
        }
        What::Resolve { id: None, filter, all, dry_run, rate, resolution, note, detach } => {
            let body = json!({
                "filter": filter.body(*all)?,
                "dry_run": dry_run,
                "rate": rate,
                "resolution": resolution,
                "note": note,
            });
            bulk(remote, &client, "/dead-letters/resolve", &body, *detach)?;
        }
        What::Jobs { limit } => {
            let (items, more) = client.list(&remote.path("/jobs")?, &[], *limit)?;
            render::list(remote, &items, JOBS, more);
        }
        What::Cancel { job } => {
            client.delete(&remote.path(&format!("/jobs/{}", segment(job)))?)?;
            render::done(remote, &json!({"cancelled": job}), &format!("job {job} cancelled"));
        }
    }
    Ok(())
}

fn version_of(text: &str) -> Value {
    text.parse::<u32>().map_or_else(|_| text.into(), Value::from)
}

/// How long between two looks at a job.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(200);

/// Starts a job and follows it to its end, or shows what it would be about.
fn bulk(remote: &Remote, client: &Client, rest: &str, body: &Value, detach: bool) -> Result<(), Failed> {
    let mut job = client.post(&remote.path(rest)?, body)?;
    let number = |value: &Value, name: &str| value.get(name).and_then(Value::as_u64).unwrap_or_default();
    if let Some(sample) = job.get("sample").and_then(Value::as_array) {
        if remote.json {
            out::say(&job.to_string());
        } else {
            out::say(&format!("{} dead letters; the first of them:", number(&job, "count")));
            render::list(remote, sample, COLUMNS, false);
        }
        return Ok(());
    }
    let id = job.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
    let path = remote.path(&format!("/jobs/{}", segment(&id)))?;
    let progress = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let running = |job: &Value| job.get("status").and_then(Value::as_str) == Some("running");
    while running(&job) && !detach {
        std::thread::sleep(LOOK_EVERY);
        job = client.get(&path)?.json()?;
        if progress {
            let (done, total) = (number(&job, "done") + number(&job, "skipped"), number(&job, "total"));
            out::progress(&format!(
                "{done} of {total}, {} under way, {} failed",
                number(&job, "in_flight"),
                number(&job, "failed")
            ));
        }
    }
    if progress && !detach {
        out::progress_ended();
    }
    let status = job.get("status").and_then(Value::as_str).unwrap_or_default();
    let text = format!(
        "job {id} {status}: {} done, {} skipped, {} succeeded, {} failed",
        number(&job, "done"),
        number(&job, "skipped"),
        number(&job, "succeeded"),
        number(&job, "failed"),
    );
    render::done(remote, &job, &text);
    match status {
        "stopped" | "cancelled" => Err(Failed::new(format!("the job was {status} before it was through"))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_stands_first_and_a_long_input_last_and_cut() {
        let letter = json!({
            "attempts": 3, "first_attempt_at": "T1", "id": "ID", "input": {"body": "ü".repeat(3000)},
            "last_attempt_at": "T2", "script": "worker",
            "last_error": {"kind": "throw", "message": "cannot do k", "line": 2, "column": 1},
        });
        let text = shown(&letter, INPUT_BYTES_SHOWN);
        let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("{text} lacks {part}"));
        assert!(text.starts_with("error") || text.starts_with(" error"), "{text}");
        let order = ["throw: cannot do k (worker:2:1)", "attempts", "T1", "T2", "ID", "\ninput\n", "--full"];
        assert!(order.map(at).is_sorted(), "{text}");
        assert!(text.len() < INPUT_BYTES_SHOWN + 500, "{}", text.len());
        let full = shown(&letter, usize::MAX);
        assert!(full.contains(&"ü".repeat(3000)) && !full.contains("--full"));
    }

    #[test]
    fn errors_without_a_line_and_inputs_that_were_not_recorded_are_shown() {
        let letter = json!({
            "script": "worker", "input": null, "last_error": {"kind": "timeout", "message": "too slow", "line": 0},
        });
        let text = shown(&letter, INPUT_BYTES_SHOWN);
        assert!(text.contains("timeout: too slow (worker)") && text.contains("(not recorded)"), "{text}");
    }
}
