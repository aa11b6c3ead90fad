//! `relive instance`: what serves, how far it is, how much it holds.

use clap::{Args, Subcommand};

use super::remote::Remote;
use super::render;
use crate::client::Failed;

/// `relive instance`
#[derive(Args)]
pub(crate) struct Instance {
    #[command(flatten)]
    pub(crate) remote: Remote,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Version, positions in the log, sizes, durability
    Show,
}

/// Runs it.
pub(crate) fn run(command: &Instance) -> Result<(), Failed> {
    let remote = &command.remote;
    match command.what {
        What::Show => render::object(remote, &remote.client()?.get("/instance")?.json()?),
    }
    Ok(())
}
