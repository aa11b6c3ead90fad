//! `relive token`: who may do what. The text of a token is shown once, when it is made.

use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::remote::Remote;
use super::render;
use crate::client::{Failed, segment};
use crate::out;

/// `relive token`
#[derive(Args)]
pub(crate) struct Tokens {
    #[command(flatten)]
    pub(crate) remote: Remote,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Tokens that you may see: of your app, or of all apps
    List {
        /// Of this app only
        #[arg(long)]
        of: Option<String>,
    },
    /// One token
    Show {
        /// Its id
        id: String,
    },
    /// Make a token for the app; its text is printed once
    Create {
        /// A name for people
        name: String,
        /// What it allows: instance:admin, app:admin, app:read, script:read, script:write, script:execute, log:read
        #[arg(long = "scope", required = true, value_delimiter = ',')]
        scopes: Vec<String>,
        /// Good for every app instead of one
        #[arg(long)]
        all_apps: bool,
        /// Until when: an RFC 3339 time
        #[arg(long)]
        expires_at: Option<String>,
        /// For how long: 12h, 30d
        #[arg(long, conflicts_with = "expires_at")]
        expires_in: Option<String>,
    },
    /// Delete a token: it opens nothing any more, and triggers that it registered pause
    Delete {
        /// Its id
        id: String,
    },
}

const COLUMNS: &[render::Column] = &[
    ("token", "/id"),
    ("name", "/name"),
    ("app", "/app"),
    ("scopes", "/scopes"),
    ("live", "/live"),
    ("expires", "/expires_at"),
    ("created", "/created_at"),
    ("by", "/created_by/name"),
];

/// The time after a span like `90m`, `12h`, `30d`, from now on.
fn after(span: &str) -> Result<String, Failed> {
    let bad = || Failed::usage(format!("--expires-in `{span}` is not a number with s, m, h or d"));
    let (number, unit) = span.split_at_checked(span.len().saturating_sub(1)).ok_or_else(bad)?;
    let seconds: i64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(bad()),
    };
    let span = number.parse::<u32>().ok().and_then(|n| i64::from(n).checked_mul(seconds)).ok_or_else(bad)?;
    let now = i64::try_from(crate::clock::now().0).map_err(|_| bad())?;
    let now = Timestamp::from_microsecond(now).map_err(|_| bad())?;
    let at = now.checked_add(SignedDuration::from_secs(span)).map_err(|_| bad())?;
    Ok(at.to_string())
}

/// Runs it.
pub(crate) fn run(command: &Tokens) -> Result<(), Failed> {
    let remote = &command.remote;
    let client = remote.client()?;
    match &command.what {
        What::List { of } => {
            let (items, more) = client.list("/tokens", &[("app", of.clone())], usize::MAX)?;
            render::list(remote, &items, COLUMNS, more);
        }
        What::Show { id } => {
            let (items, _) = client.list("/tokens", &[], usize::MAX)?;
            let found = items.iter().find(|item| item.get("id").and_then(Value::as_str) == Some(id));
            let missing = || Failed { code: 3, ..Failed::new(format!("there is no token `{id}`")) };
            render::object(remote, found.ok_or_else(missing)?);
        }
        What::Create { name, scopes, all_apps, expires_at, expires_in } => {
            let mut body = json!({"name": name, "scopes": scopes});
            let expires_at = match expires_in {
                Some(span) => Some(after(span)?),
                None => expires_at.clone(),
            };
            if let Value::Object(fields) = &mut body {
                if !all_apps {
                    fields.insert("app".to_owned(), remote.app()?.into());
                }
                if let Some(at) = expires_at {
                    fields.insert("expires_at".to_owned(), at.into());
                }
            }
            let made = client.post("/tokens", &body)?;
            let text = |name: &str| made.get(name).and_then(Value::as_str).unwrap_or_default();
            if !remote.json {
                out::complain(&format!("token `{}` made ({}); it is shown this once:", name, text("id")));
            }
            render::done(remote, &made, text("token"));
        }
        What::Delete { id } => {
            client.delete(&format!("/tokens/{}", segment(id)))?;
            render::done(remote, &json!({"deleted": id}), &format!("token `{id}` deleted"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_a_number_and_a_unit() {
        for (span, good) in [
            ("30d", true),
            ("12h", true),
            ("5m", true),
            ("1s", true),
            ("d", false),
            ("3", false),
            ("-1d", false),
            ("1w", false),
            ("", false),
        ] {
            assert_eq!(after(span).is_ok(), good, "{span}");
        }
    }
}
