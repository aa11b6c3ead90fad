//! Deploys a directory on every change.
//!
//! Owns: noticing changes (modification times, three times a second), deploying, and the secrets of
//! `dev-secrets.toml`. Never does: prune, since scripts that were deployed by hand are somebody's work.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak, mpsc};
use std::time::{Duration, SystemTime};

use relive_engine::command::{
    Answer, Change, Command, Committed, DeployMode, DeployPlan, MissingApp, Others,
};
use relive_engine::node::Node;
use relive_engine::refusal::{Refusal, SubmitError};
use relive_log::events::{Principal, RetryPolicy};
use sha2::{Digest as _, Sha256};

use crate::project::{MANIFEST_FILE, Project, script_files};
use crate::run::dev_data;
use crate::{keys, out};

/// Pause between looks at the files.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// How long a deploy may take.
const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// File with secrets for development.
const SECRETS_FILE: &str = "dev-secrets.toml";
/// Digests of the secrets that were set, so that unchanged ones are not set again.
const SECRETS_SET_FILE: &str = "dev-secrets.set.json";

/// Files and when they were changed.
type Seen = BTreeMap<PathBuf, Option<SystemTime>>;

/// Deploys one directory.
pub(super) struct Deployer {
    dir: PathBuf,
    retry: RetryPolicy,
    app: String,
    seen: Seen,
}

impl Deployer {
    /// Of a directory.
    pub(super) fn new(dir: &Path, retry: RetryPolicy) -> Deployer {
        Deployer { dir: dir.to_owned(), retry, app: String::new(), seen: Seen::new() }
    }

    /// The directory.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The app's slug, as far as a manifest could be read.
    pub(super) fn app(&self) -> &str {
        &self.app
    }

    /// Deploys what the directory holds now; errors go to the terminal.
    pub(super) fn deploy(&mut self, node: &Arc<Node>) {
        self.seen = self.look();
        match self.try_deploy(node).and_then(|()| self.set_secrets(node)) {
            Ok(()) => {}
            Err(message) => out::complain(&format!("not deployed: {message}")),
        }
    }

    /// Looks at the files until the node is gone, and deploys when they changed.
    pub(super) fn watch(mut self, node: &Weak<Node>) {
        loop {
            std::thread::sleep(LOOK_EVERY);
            let Some(node) = node.upgrade() else { return };
            if self.look() != self.seen {
                self.deploy(&node);
            }
        }
    }

    fn look(&self) -> Seen {
        let fixed = [MANIFEST_FILE, SECRETS_FILE].map(|name| self.dir.join(name));
        let changed = |path: &PathBuf| fs::metadata(path).and_then(|meta| meta.modified()).ok();
        fixed.into_iter().chain(script_files(&self.dir)).map(|path| (path.clone(), changed(&path))).collect()
    }

    fn try_deploy(&mut self, node: &Arc<Node>) -> Result<(), String> {
        let project = Project::read(&self.dir, self.retry)?;
        self.app.clone_from(&project.manifest.app);
        let plan = DeployPlan {
            scripts: project
                .scripts
                .iter()
                .map(|source| (source.name.clone(), source.text.clone()))
                .collect(),
            routes: project.manifest.routes.clone(),
            triggers: project.manifest.triggers.clone(),
            others: Others::Keep,
            mode: DeployMode::Apply,
            missing_app: MissingApp::Create,
        };
        let done = submit(node, Command::Deploy { app: self.app.clone(), plan })
            .map_err(|error| explained(error, &project))?;
        if let Answer::Changes(changes) = &done.answer {
            show(&self.app, changes, &done);
        }
        Ok(())
    }

    fn set_secrets(&self, node: &Arc<Node>) -> Result<(), String> {
        let path = self.dir.join(SECRETS_FILE);
        let Ok(text) = fs::read_to_string(&path) else { return Ok(()) };
        let wanted: BTreeMap<String, String> =
            toml::from_str(&text).map_err(|e| format!("{}: {}", path.display(), e.message()))?;
        let state = dev_data(&self.dir).join(SECRETS_SET_FILE);
        let mut set: BTreeMap<String, String> =
            fs::read(&state).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        for (name, value) in wanted {
            let digest = hex::encode(Sha256::digest(format!("{}\n{name}\n{value}", self.app)));
            let registry = node.views().registry();
            let there = registry.app_by_slug(&self.app).is_some_and(|app| app.secrets.contains_key(&name));
            if there && set.get(&name) == Some(&digest) {
                continue;
            }
            let command = Command::SetSecret { app: self.app.clone(), name: name.clone(), value };
            submit(node, command).map_err(|error| format!("secret `{name}`: {error}"))?;
            out::say(&format!("deploy    secret {name} set from {SECRETS_FILE}"));
            set.insert(name, digest);
        }
        let text = serde_json::to_string(&set).map_err(|e| e.to_string())?;
        keys::install(&state, &text).map_err(|e| e.message)
    }
}

fn submit(node: &Arc<Node>, command: Command) -> Result<Committed, SubmitError> {
    let (done, wait) = mpsc::channel();
    node.submit(command, &Principal::instance(), Box::new(move |result| drop(done.send(result))));
    wait.recv_timeout(ANSWER_WAIT).unwrap_or(Err(SubmitError::Refused(Refusal::ShuttingDown)))
}

fn explained(error: SubmitError, project: &Project) -> String {
    if let SubmitError::Refused(Refusal::Source { script, message, line, column }) = &error {
        let number = |n: u32| usize::try_from(n).unwrap_or_default();
        if let Some(shown) = project.script_error(script, number(*line), number(*column), message) {
            return shown;
        }
    }
    error.to_string()
}

fn show(app: &str, changes: &[Change], done: &Committed) {
    let real: Vec<&Change> = changes.iter().filter(|change| change.action != "unchanged").collect();
    for change in &real {
        let version = change.version.map(|v| format!(" (version {v})")).unwrap_or_default();
        out::say(&format!("deploy    {} {} {}{version}", change.action, change.what, change.name));
    }
    if real.is_empty() {
        out::say(&format!("deploy    app `{app}` is as the manifest says"));
    } else {
        out::say(&format!("deploy    app `{app}`: {} changes at LSN {}", real.len(), done.lsn));
    }
}
