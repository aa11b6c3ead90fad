//! `relive app`: tenants.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::remote::Remote;
use super::render;
use crate::client::{Failed, segment};

/// `relive app`
#[derive(Args)]
pub(crate) struct Apps {
    #[command(flatten)]
    pub(crate) remote: Remote,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// All apps
    List,
    /// One app
    Show {
        /// Its slug; --app if absent
        slug: Option<String>,
    },
    /// Make an app
    Create {
        /// Its slug
        slug: String,
        /// A name for people
        #[arg(long)]
        name: Option<String>,
    },
    /// Pause an app: sync routes answer 503, other work is accepted and waits, what runs finishes
    Pause {
        /// Its slug; --app if absent
        slug: Option<String>,
    },
    /// Resume an app
    Resume {
        /// Its slug; --app if absent
        slug: Option<String>,
    },
    /// Let an app's scripts make outgoing calls, or not: every call then fails as `outgoing_calls_off`
    Calls {
        /// What they shall be
        to: Calls,
        /// Its slug; --app if absent
        slug: Option<String>,
    },
    /// Delete an app, its keys and its work
    Delete {
        /// Its slug
        slug: String,
    },
}

/// Whether outgoing calls are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Calls {
    /// They are
    On,
    /// They fail
    Off,
}

const COLUMNS: &[render::Column] = &[
    ("app", "/slug"),
    ("name", "/name"),
    ("scripts", "/scripts"),
    ("routes", "/routes"),
    ("triggers", "/triggers"),
    ("open dead letters", "/open_dead_letters"),
    ("paused", "/paused"),
    ("created", "/created_at"),
];

/// Runs it.
pub(crate) fn run(command: &Apps) -> Result<(), Failed> {
    let remote = &command.remote;
    let client = remote.client()?;
    match &command.what {
        What::List => {
            let (items, more) = client.list("/apps", &[], usize::MAX)?;
            render::list(remote, &items, COLUMNS, more);
        }
        What::Show { slug } => {
            let slug = slug.clone().map_or_else(|| remote.app(), Ok)?;
            render::object(remote, &client.get(&format!("/apps/{}", segment(&slug)))?.json()?);
        }
        What::Create { slug, name } => {
            let made = client.post("/apps", &json!({"slug": slug, "name": name}))?;
            render::done(remote, &made, &format!("app `{slug}` made"));
        }
        What::Pause { slug } => {
            let slug = slug.clone().map_or_else(|| remote.app(), Ok)?;
            let app = client.patch(&format!("/apps/{}", segment(&slug)), &json!({"paused": true}))?;
            render::done(remote, &app, &format!("app `{slug}` paused"));
        }
        What::Resume { slug } => {
            let slug = slug.clone().map_or_else(|| remote.app(), Ok)?;
            let app = client.patch(&format!("/apps/{}", segment(&slug)), &json!({"paused": false}))?;
            render::done(remote, &app, &format!("app `{slug}` resumed"));
        }
        What::Calls { to, slug } => {
            let slug = slug.clone().map_or_else(|| remote.app(), Ok)?;
            let (on, text) = match to {
                Calls::On => (true, "on"),
                Calls::Off => (false, "off"),
            };
            let app = client.patch(&format!("/apps/{}", segment(&slug)), &json!({"outgoing_calls": on}))?;
            render::done(remote, &app, &format!("outgoing calls of app `{slug}` are {text}"));
        }
        What::Delete { slug } => {
            client.delete(&format!("/apps/{}", segment(slug)))?;
            render::done(remote, &json!({"deleted": slug}), &format!("app `{slug}` deleted"));
        }
    }
    Ok(())
}
