//! `relive fork`: an app as it was at any moment, under another name.
//!
//! Owns: its flags. Never does: the work (the server does).

use clap::Args;
use serde_json::json;

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
#[derive(Args)]
pub(crate) struct Fork {
    #[command(flatten)]
    pub(crate) remote: Remote,
    /// The new app's slug
    slug: String,
    /// As of this LSN or RFC 3339 time; now if absent
    #[arg(long)]
    at: Option<String>,
}

/// Runs it.
pub(crate) fn run(command: &Fork) -> Result<(), Failed> {
    let remote = &command.remote;
    let body = json!({"slug": command.slug, "at": command.at});
    let app = remote.app()?;
    let made = remote.client()?.post(&format!("/apps/{}/fork", segment(&app)), &body)?;
    let lsn = made.pointer("/forked_from/lsn").cloned().unwrap_or_default();
    let slug = &command.slug;
    let text = format!(
        "app `{slug}` is `{app}` as of event {lsn}; it is paused and makes no outgoing calls: \
         `relive app resume {slug}`, `relive app calls on {slug}`"
    );
    render::done(remote, &made, &text);
    Ok(())
}
