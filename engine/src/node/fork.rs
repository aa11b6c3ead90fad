//! What a fork takes along: an app's scripts, routes and triggers as of a moment, read before anything is locked.
//!
//! Owns: [`ForkPlan`]. Never does: write; what may have changed meanwhile is looked at when it is decided
//! (`decide/fork.rs`).

use relive_log::events::{ForkBase, Principal, RouteSpec, ScriptDeployed, TriggerSpec};
use relive_projections::{App, AsOf};

use super::Node;
use crate::refusal::{Failure, Refusal, SubmitError};

/// See the module.
#[derive(Clone, Debug)]
pub struct ForkPlan {
    /// Whose keys, as of when.
    pub base: ForkBase,
    /// A name for people.
    pub name: Option<String>,
    /// The versions that were current, under their numbers; app and author are those of the fork.
    pub scripts: Vec<ScriptDeployed>,
    /// Routes.
    pub routes: Vec<RouteSpec>,
    /// Triggers.
    pub triggers: Vec<TriggerSpec>,
}

impl Node {
    /// What forking an app as of `at` takes: its configuration then. No key is looked at.
    ///
    /// # Errors
    /// The app was not there yet, or stored data could not be read.
    pub fn fork_plan(&self, app: &App, at: AsOf) -> Result<ForkPlan, SubmitError> {
        let began_later = app.line.first().is_some_and(|fork| at.lsn < fork.lsn);
        if at.time < app.created_at || began_later {
            let problem = format!("app `{}` was not there yet at event {}", app.slug, at.lsn);
            return Err(Refusal::Invalid { field: "at".to_owned(), problem }.into());
        }
        let unreadable = |error: relive_projections::ReadError| Failure::Read { message: error.to_string() };
        let then = self.views.app_as_of(app, at.lsn).map_err(unreadable)?;
        let live = then.scripts.values().filter_map(|script| Some((script, script.current_version()?)));
        let scripts = live.map(|(script, version)| ScriptDeployed {
            app: app.id,
            name: script.name.clone(),
            version: version.version,
            sha256: version.sha256,
            source: script.source.as_ref().to_owned(),
            imports: version.imports.clone(),
            by: Principal::instance(),
        });
        Ok(ForkPlan {
            base: ForkBase { app: app.id, slug: app.slug.clone(), lsn: at.lsn, at: at.time },
            name: app.name.clone(),
            scripts: scripts.collect(),
            routes: then.routes.values().map(|route| route.spec.clone()).collect(),
            triggers: then.triggers.values().map(|trigger| trigger.spec.clone()).collect(),
        })
    }
}
