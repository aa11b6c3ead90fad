//! `relive fork`: an app, or a whole data directory, as it was at any moment.
//!
//! Owns: its flags. Never does: the work (the server does, or `fork_directory`).

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::fork_directory;
use super::remote::Remote;
use super::render;
use crate::client::{Failed, segment};

/// Fork an app: its keys, scripts, routes and triggers as of any moment, under a new slug
///
/// The fork begins paused, with its triggers paused and outgoing calls off; secrets, tokens, work and dead letters stay
/// behind. It costs the same however much data there is: keys that the fork has not written are read from the app that
/// it came from, as they were.
///
/// `relive app resume SLUG` opens its routes; `relive trigger resume` and `relive app calls on SLUG` let the rest go.
///
/// With --data and --to a whole data directory that nobody serves is copied, up to any moment, into one of its own:
/// everything paused, outgoing calls off, without secrets and tokens, with a new `admin.token` and `instance.key`.
#[derive(Args)]
pub(crate) struct Fork {
    #[command(flatten)]
    pub(crate) remote: Remote,
    /// The new app's slug
    #[arg(required_unless_present = "data", conflicts_with = "data")]
    slug: Option<String>,
    /// Fork this data directory instead of an app; nobody may serve it
    #[arg(long, value_name = "DIR", requires = "to")]
    data: Option<PathBuf>,
    /// The new data directory: empty, or not there yet
    #[arg(long, value_name = "DIR", requires = "data")]
    to: Option<PathBuf>,
    /// As of this LSN or RFC 3339 time; now if absent
    #[arg(long)]
    at: Option<String>,
}

/// Runs it.
pub(crate) fn run(command: &Fork) -> Result<(), Failed> {
    let remote = &command.remote;
    if let (Some(from), Some(to)) = (&command.data, &command.to) {
        return fork_directory::run(remote, from, to, command.at.as_deref());
    }
    let slug = command.slug.as_deref().unwrap_or_default();
    let body = json!({"slug": slug, "at": command.at});
    let app = remote.app()?;
    let made = remote.client()?.post(&format!("/apps/{}/fork", segment(&app)), &body)?;
    let lsn = made.pointer("/forked_from/lsn").cloned().unwrap_or_default();
    let text = format!(
        "app `{slug}` is `{app}` as of event {lsn}; it is paused and makes no outgoing calls: \
         `relive app resume {slug}`, `relive app calls on {slug}`"
    );
    render::done(remote, &made, &text);
    Ok(())
}
