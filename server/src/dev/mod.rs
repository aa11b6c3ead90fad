//! `relive dev DIR`: one directory, served, deployed on every change, followed in the terminal.
//!
//! Owns: what dev does beside serving: deploys, secrets of `dev-secrets.toml`, `client.json`, the greeting.
//! Never does: serve differently, apart from showing scripts' errors to callers.

mod deployer;
mod follow;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use relive_engine::command::Switch;
use relive_engine::node::Node;

use crate::cli::ClientFile;
use crate::http::Internals;
use crate::project::MANIFEST_FILE;
use crate::run::{Instance, dev_data};
use crate::settings::Settings;
use crate::{keys, out, threads};

use deployer::Deployer;

/// File with what to try first.
const TRY_FILE: &str = "try.txt";

/// Runs until a signal; the exit code.
pub(crate) fn run(settings: Settings, dir: &Path) -> u8 {
    if !dir.join(MANIFEST_FILE).is_file() {
        out::complain(&format!("relive: there is no {MANIFEST_FILE} in {}", dir.display()));
        return 2;
    }
    let retry = settings.engine.retry;
    let instance = match Instance::start(settings, Internals::Shown, Switch::Running) {
        Ok(instance) => instance,
        Err(error) => {
            out::complain(&error.message);
            return error.code;
        }
    };
    instance.announce();
    let Some(node) = instance.node() else { return instance.wait_and_stop() };
    let started = start(&instance, &node, Deployer::new(dir, retry));
    // The node ends when nobody holds it any more.
    drop(node);
    if let Err(message) = started {
        out::complain(&message);
    }
    instance.wait_and_stop()
}

fn start(instance: &Instance, node: &Arc<Node>, mut deployer: Deployer) -> Result<(), String> {
    let follower = follow::Follower::new(&instance.durability);
    deployer.deploy(node);
    let client = ClientFile {
        url: instance.admin_url.clone(),
        data_url: instance.data_url.clone(),
        token: instance.token.clone(),
        app: deployer.app().to_owned(),
    };
    let text = serde_json::to_string_pretty(&client).map_err(|e| e.to_string())?;
    keys::install(&dev_data(deployer.dir()).join(crate::cli::CLIENT_FILE), &text).map_err(|e| e.message)?;
    greet(&client, deployer.dir());
    let weak = Arc::downgrade(node);
    threads::spawn("follow", move || follower.run(&weak)).map_err(|e| e.message)?;
    let weak = Arc::downgrade(node);
    threads::spawn("watch", move || deployer.watch(&weak)).map_err(|e| e.message)?;
    Ok(())
}

fn greet(client: &ClientFile, dir: &Path) {
    let ClientFile { url, data_url, token, app } = client;
    out::say(&format!("\napp `{app}` is at {data_url}/{app}/, the API at {url}/api/v1"));
    out::say(&format!("export RELIVE_URL={url} RELIVE_TOKEN={token} RELIVE_APP={app}"));
    out::say("relive commands in this directory find all of that by themselves. Ctrl-C stops.\n");
    if let Ok(text) = fs::read_to_string(dir.join(TRY_FILE)) {
        let text = [("{data}", data_url), ("{control}", url), ("{app}", app), ("{token}", token)]
            .into_iter()
            .fold(text, |text, (name, value)| text.replace(name, value));
        out::say(text.trim_end());
        out::say("");
    }
}
