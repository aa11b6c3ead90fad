//! Where a client command goes: flag, environment, the `client.json` of a dev instance, default.
//!
//! Owns: [`Remote`] and finding `.relive/client.json` in this directory or one above. Never does: talk.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::client::{Client, Failed, segment};

/// File that `relive dev` leaves for client commands.
pub(crate) const CLIENT_FILE: &str = "client.json";
const DEFAULT_URL: &str = "http://127.0.0.1:7071";

/// Flags of every client command.
#[derive(Args, Clone, Debug)]
pub(crate) struct Remote {
    /// Control plane of the instance
    #[arg(long, env = "RELIVE_URL", global = true)]
    url: Option<String>,
    /// Token
    #[arg(long, env = "RELIVE_TOKEN", hide_env_values = true, global = true)]
    token: Option<String>,
    /// App
    #[arg(long, env = "RELIVE_APP", global = true)]
    app: Option<String>,
    /// Machine output: one JSON object, or one a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// What a dev instance tells client commands.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct ClientFile {
    /// Control plane.
    pub(crate) url: String,
    /// Data plane.
    pub(crate) data_url: String,
    /// Instance token.
    pub(crate) token: String,
    /// App.
    pub(crate) app: String,
}

/// The nearest `client.json`, from `start` upwards.
fn find(start: &Path) -> Option<ClientFile> {
    let paths = start.ancestors().map(|dir: &Path| -> PathBuf { dir.join(".relive").join(CLIENT_FILE) });
    paths.filter_map(|path| std::fs::read(path).ok()).find_map(|bytes| serde_json::from_slice(&bytes).ok())
}

impl Remote {
    fn file(&self) -> Option<ClientFile> {
        std::env::current_dir().ok().as_deref().and_then(find)
    }

    /// The client.
    pub(crate) fn client(&self) -> Result<Client, Failed> {
        let file = self.file();
        let url = self.url.clone().or_else(|| file.as_ref().map(|file| file.url.clone()));
        let token = self.token.clone().or_else(|| file.map(|file| file.token));
        Client::new(url.as_deref().unwrap_or(DEFAULT_URL), token)
    }

    /// The app's slug.
    pub(crate) fn app(&self) -> Result<String, Failed> {
        self.app
            .clone()
            .or_else(|| self.file().map(|file| file.app))
            .filter(|app| !app.is_empty())
            .ok_or_else(|| Failed::usage("which app? --app SLUG, or RELIVE_APP"))
    }

    /// The app's slug where it was said, by flag or environment.
    pub(crate) fn app_if_given(&self) -> Option<String> {
        self.app.clone().filter(|app| !app.is_empty())
    }

    /// `/apps/{app}` and the rest.
    pub(crate) fn path(&self, rest: &str) -> Result<String, Failed> {
        Ok(format!("/apps/{}{rest}", segment(&self.app()?)))
    }
}

/// The text of an argument: itself, `@FILE`, or `-` for stdin.
pub(crate) fn text_of(argument: &str) -> Result<Vec<u8>, Failed> {
    use std::io::Read as _;
    if argument == "-" {
        let mut bytes = Vec::new();
        let read = std::io::stdin().read_to_end(&mut bytes);
        return read.map(|_| bytes).map_err(|e| Failed::new(format!("stdin cannot be read: {e}")));
    }
    match argument.strip_prefix('@') {
        Some(path) => std::fs::read(path).map_err(|e| Failed::new(format!("{path} cannot be read: {e}"))),
        None => Ok(argument.as_bytes().to_vec()),
    }
}

/// The JSON of an argument.
pub(crate) fn json_of(argument: &str) -> Result<Value, Failed> {
    serde_json::from_slice(&text_of(argument)?).map_err(|e| Failed::usage(format!("--data is not JSON: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_file_wins() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b");
        std::fs::create_dir_all(&deep).unwrap();
        assert!(find(&deep).is_none_or(|file| file.app != "near"));
        let home = dir.path().join(".relive");
        std::fs::create_dir_all(&home).unwrap();
        let file = ClientFile { app: "near".into(), ..ClientFile::default() };
        std::fs::write(home.join(CLIENT_FILE), serde_json::to_vec(&file).unwrap()).unwrap();
        assert_eq!(find(&deep).unwrap().app, "near");
    }
}
