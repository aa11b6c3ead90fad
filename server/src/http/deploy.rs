//! `POST /apps/{app}/deploy`: an app brought to what a manifest says, in one batch.
//!
//! Owns: the request's shape and the check that manifest and sources fit. Never does: plan or apply.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::IntoResponse;
use relive_engine::command::{Answer, Change, Command, DeployMode, DeployPlan, MissingApp, Others};
use relive_log::events::Scopes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::auth::Caller;
use super::error::{ApiError, ApiResult};
use super::query::Query;
use super::{Ctx, body};
use crate::manifest::{self, Manifest};

/// Largest body of a deploy.
const DEPLOY_MAX: usize = 8 * 1024 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Deploy {
    manifest: Value,
    #[serde(default)]
    scripts: Map<String, Value>,
    #[serde(default)]
    prune: bool,
    #[serde(default)]
    dry_run: bool,
}

/// `POST /apps/{app}/deploy`
pub(crate) async fn deploy(
    State(shared): Ctx,
    caller: Caller,
    Path(slug): Path<String>,
    RawQuery(query): RawQuery,
    body: Body,
) -> ApiResult {
    Query::parse(query.as_deref(), &[])?;
    let asked: Deploy = body::fields(body::json(body, DEPLOY_MAX, "the limit of a deploy").await?)?;
    let node = shared.node().await?;
    let retry = node.settings().retry;
    let manifest = match asked.manifest.as_str() {
        Some(text) => manifest::parse_toml(text, retry)?,
        None => manifest::parse_json(&asked.manifest, retry)?,
    };
    if manifest.app != slug {
        return Err(ApiError::invalid(
            "app",
            format!("the manifest is of app `{}`, the request is for `{slug}`", manifest.app),
        ));
    }
    let scripts = sources(&asked.scripts)?;
    let known = node.views().registry();
    let live = |name: &str| known.app_by_slug(&slug).is_some_and(|app| app.live_script(name).is_some());
    for script in &manifest.scripts {
        let name = &script.name;
        let stands = live(name) && !asked.prune;
        if !stands && !scripts.iter().any(|(given, _)| given == name) {
            let message = format!(
                "`{}` is named, but there is no script `{name}` in the request or the app",
                script.path
            );
            return Err(script.error(asked.manifest.as_str(), message).into());
        }
    }
    let plan = plan(manifest, scripts, &asked, &caller);
    let done = shared.submit(&caller, Command::Deploy { app: slug, plan }).await?;
    let changes = match done.answer {
        Answer::Changes(changes) => changes,
        Answer::Done
        | Answer::Route(_)
        | Answer::Trigger(_)
        | Answer::Token(_)
        | Answer::Job(_)
        | Answer::Version(_)
        | Answer::Key(_)
        | Answer::Execution(_) => Vec::new(),
    };
    let shown: Vec<Value> = changes.iter().map(change).collect();
    Ok(Json(json!({"changes": shown, "lsn": done.lsn, "dry_run": asked.dry_run})).into_response())
}

fn plan(manifest: Manifest, scripts: Vec<(String, String)>, asked: &Deploy, caller: &Caller) -> DeployPlan {
    DeployPlan {
        scripts,
        routes: manifest.routes,
        triggers: manifest.triggers,
        others: if asked.prune { Others::Prune } else { Others::Keep },
        mode: if asked.dry_run { DeployMode::DryRun } else { DeployMode::Apply },
        missing_app: if caller.may(Scopes::INSTANCE_ADMIN) { MissingApp::Create } else { MissingApp::Refuse },
    }
}

/// Sources by stem; two with one stem are refused.
fn sources(scripts: &Map<String, Value>) -> ApiResult<Vec<(String, String)>> {
    let mut found: Vec<(String, String)> = Vec::with_capacity(scripts.len());
    for (path, source) in scripts {
        let field = format!("scripts.{path}");
        let Value::String(source) = source else { return Err(ApiError::invalid(&field, "is not a text")) };
        let name = manifest::stem(path);
        if found.iter().any(|(known, _)| known == name) {
            return Err(ApiError::invalid(&field, format!("another script has the stem `{name}` too")));
        }
        found.push((name.to_owned(), source.clone()));
    }
    Ok(found)
}

fn change(change: &Change) -> Value {
    json!({"action": change.action, "what": change.what, "name": change.name, "version": change.version})
}
