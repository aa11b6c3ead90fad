//! What replays leave allocated for ever: a script that leaks does so in a replay, too, and a backtest makes many.
//!
//! Owns: the accounts of replayed scripts since the process began; one that is over the limit is not replayed again. Never
//! does: pause anything; a replay has no effect.
//!
//! Invariant: E171 replays of one script leave little more than the limit.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::archive::NotReplayable;
use crate::leaks::{Account, Suspicion};
use crate::script::Compiled;
use crate::settings::EngineSettings;

/// The accounts, by the digest of a script's source.
#[derive(Debug)]
pub(crate) struct Leaks {
    limit: u64,
    scripts: Mutex<BTreeMap<[u8; 32], Account>>,
}

impl Default for Leaks {
    /// With the limit of an instance that nobody set up.
    fn default() -> Leaks {
        Leaks::new(EngineSettings::default().leaked_bytes_max)
    }
}

impl Leaks {
    /// `limit`: bytes that replays of one script may leave (`RELIVE_MAX_LEAKED_MEMORY`).
    pub(crate) fn new(limit: u64) -> Leaks {
        Leaks { limit, scripts: Mutex::default() }
    }

    /// Whether a script is replayed.
    ///
    /// # Errors
    /// Its replays left too much.
    pub(super) fn allow(&self, script: &Compiled) -> Result<(), NotReplayable> {
        match self.scripts.lock().get(&script.sha256()).map(Account::leaked) {
            Some(bytes) if bytes >= self.limit => {
                let script = script.name().to_owned();
                Err(NotReplayable::Leaks { script, bytes, limit: self.limit })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Counts a replay that may have left something; whether it is to be looked at closely.
    pub(super) fn count(&self, script: &Compiled, held: u64) -> Option<Suspicion> {
        let mut scripts = self.scripts.lock();
        scripts.entry(script.sha256()).or_insert(Account::new(self.limit)).count(held)
    }

    /// What a close look came to, as [`Account::looked`].
    pub(super) fn looked(&self, script: &Compiled, suspicion: Suspicion, leaked: Option<u64>) {
        if let Some(account) = self.scripts.lock().get_mut(&script.sha256()) {
            account.looked(suspicion, leaked);
        }
    }
}
