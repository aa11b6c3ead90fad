//! The secrets of each app in clear, in memory only: for scripts that ask and for masking what is recorded.
//!
//! Owns: the cache by app (made anew when the app changes) and what is authenticated with a sealed value.
//! Never does: let a clear value near the log, a view or an answer.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use relive_log::{AppId, Lsn};
use relive_projections::App;

use crate::script::{SecretLookup, SecretSource};
use crate::secrets::{InstanceKey, Masker, open};

/// What is authenticated with a sealed secret: it opens for this app, name and version only.
pub(crate) fn secret_aad(app: AppId, name: &str, version: u32) -> Vec<u8> {
    let mut aad = b"relive secret\0".to_vec();
    aad.extend_from_slice(app.as_bytes());
    aad.extend_from_slice(&version.to_le_bytes());
    aad.extend_from_slice(name.as_bytes());
    aad
}

/// The secrets of one app as of one change of it.
pub(crate) struct AppVault {
    /// Name to version and value; no value if it is sealed with another key.
    secrets: HashMap<String, (u32, Option<String>)>,
    masker: Masker,
}

impl AppVault {
    fn new(app: &App, key: &InstanceKey) -> AppVault {
        let mut secrets = HashMap::new();
        for secret in app.secrets.values() {
            let aad = secret_aad(app.id, &secret.name, secret.version);
            let value = open(key, &aad, &secret.sealed).ok().and_then(|plain| String::from_utf8(plain).ok());
            secrets.insert(secret.name.clone(), (secret.version, value));
        }
        let masker =
            Masker::new(secrets.iter().filter_map(|(name, (_, value))| Some((name.clone(), value.clone()?))));
        AppVault { secrets, masker }
    }

    /// Masks the live secrets of the app.
    pub(crate) fn masker(&self) -> &Masker {
        &self.masker
    }
}

impl SecretSource for AppVault {
    fn get(&self, name: &str) -> SecretLookup {
        match self.secrets.get(name) {
            Some((version, Some(value))) => SecretLookup::Found { version: *version, value: value.clone() },
            Some((_, None)) => SecretLookup::KeyMissing,
            None => SecretLookup::Absent,
        }
    }
}

/// Vaults by app.
pub(crate) struct Vaults {
    key: InstanceKey,
    by_app: RwLock<HashMap<AppId, (Lsn, Arc<AppVault>)>>,
}

impl Vaults {
    pub(crate) fn new(key: InstanceKey) -> Vaults {
        Vaults { key, by_app: RwLock::default() }
    }

    pub(crate) fn key(&self) -> &InstanceKey {
        &self.key
    }

    pub(crate) fn of(&self, app: &App) -> Arc<AppVault> {
        if let Some((lsn, vault)) = self.by_app.read().get(&app.id)
            && *lsn == app.changed_lsn
        {
            return Arc::clone(vault);
        }
        let vault = Arc::new(AppVault::new(app, &self.key));
        self.by_app.write().insert(app.id, (app.changed_lsn, Arc::clone(&vault)));
        vault
    }
}
