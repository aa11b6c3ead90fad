//! What the scripts of each app leave allocated for ever, and the end of it: an app that leaks is paused
//! (`docs/adr/0002`).
//!
//! Owns: the accounts since the process began or the app was resumed, and the pause. Never does: measure, or pause on a
//! suspicion.
//!
//! Invariants: E169 an app is paused only for memory that runs were shown to leave, at least twice; E170 one that leaks
//! is paused before its runs left much more than the limit: a quarter of it for each of its scripts, and what those at
//! that moment leave.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use relive_log::AppId;
use relive_log::events::Leak;

use super::Node;
use super::core::Job;
use crate::decide::pause;
use crate::leaks::{Account, Suspicion};
use crate::script::{Finished, Run, Watch, run, run_measured};

/// An app is paused only after its scripts were shown to leak so often.
const PROOFS_MIN: u32 = 2;

type OfApp = BTreeMap<(String, u32), Account>;

/// The accounts of all apps, by script and version.
#[derive(Debug)]
pub(super) struct Leaks {
    limit: u64,
    apps: Mutex<BTreeMap<AppId, OfApp>>,
}

/// A run that is to be looked at closely once it is over.
pub(super) struct Suspect {
    run: Run,
    operations: u64,
    app: AppId,
    suspicion: Suspicion,
}

impl Leaks {
    /// `limit`: bytes that the scripts of one app may leave.
    pub(super) fn new(limit: u64) -> Leaks {
        Leaks { limit, apps: Mutex::default() }
    }

    /// Counts a run; whether it is to be looked at closely.
    fn count(&self, app: AppId, script: &str, version: u32, held: u64) -> Option<Suspicion> {
        self.account(self.apps.lock().entry(app).or_default(), script, version).count(held)
    }

    /// What a close look came to, as [`Account::looked`]; answers what the app is to be paused for.
    fn looked(
        &self,
        app: AppId,
        script: &str,
        version: u32,
        suspicion: Suspicion,
        leaked: Option<u64>,
    ) -> Option<Leak> {
        let mut apps = self.apps.lock();
        let of_app = apps.entry(app).or_default();
        self.account(of_app, script, version).looked(suspicion, leaked);
        let bytes = of_app.values().map(Account::leaked).sum();
        let proofs: u32 = of_app.values().map(Account::proofs).sum();
        if bytes < self.limit || proofs < PROOFS_MIN {
            return None;
        }
        let ((script, version), _) = of_app.iter().max_by_key(|(_, account)| account.leaked())?;
        Some(Leak { script: script.clone(), version: *version, bytes, limit: self.limit })
    }

    fn account<'a>(&self, of_app: &'a mut OfApp, script: &str, version: u32) -> &'a mut Account {
        of_app.entry((script.to_owned(), version)).or_insert(Account::new(self.limit))
    }

    /// The app begins anew.
    fn forget(&self, app: AppId) {
        self.apps.lock().remove(&app);
    }
}

impl Node {
    /// Runs a script, and counts what the run may have left.
    pub(super) fn run_counted(&self, job: &Job, given: Run) -> (Finished, Option<Suspect>) {
        if !given.may_leak() {
            return (run(given), None);
        }
        let (finished, held) = run_measured(given.clone(), &Watch::default());
        let app = job.app.id;
        let suspicion = self.leaks.count(app, &job.ending.script, job.claim.version, held);
        let operations = finished.record.operations;
        (finished, suspicion.map(|suspicion| Suspect { run: given, operations, app, suspicion }))
    }

    /// Looks at a run closely, and pauses its app if that leaks. What the run asked of the world must be known to its calls.
    pub(super) fn look_closely(self: &Arc<Self>, suspect: Option<Suspect>) {
        let Some(Suspect { run, operations, app, suspicion }) = suspect else { return };
        let leaked = run.leaked_bytes(operations);
        let (script, version) = (&run.context.script, run.context.version);
        if let Some(leak) = self.leaks.looked(app, script, version, suspicion, leaked) {
            self.pause_leaking(app, leak);
        }
    }

    /// Leaves a run alone that cannot be made again: the next one is looked at.
    pub(super) fn look_later(&self, suspect: Option<Suspect>) {
        let Some(Suspect { run, app, suspicion, .. }) = suspect else { return };
        self.leaks.looked(app, &run.context.script, run.context.version, suspicion, None);
    }

    fn pause_leaking(self: &Arc<Self>, app: AppId, leak: Leak) {
        let Leak { script, version, bytes, limit } = leak.clone();
        let mut core = self.core.lock();
        let scene = self.scene();
        let mut decision = core.decision();
        pause::leaking(&scene, app, leak, &mut decision);
        if decision.is_empty() {
            return;
        }
        if let Err(why) = core.append(&decision, &self.views, scene.now) {
            tracing::error!(%app, script, ?why, "an app leaks and could not be paused; it is tried again");
            return;
        }
        self.leaks.forget(app);
        self.pump(&mut core);
        drop(core);
        let app = scene.registry.app(app).map(|app| app.slug.as_str());
        tracing::error!(
            app,
            script,
            version,
            bytes,
            limit,
            "an app was paused: its scripts leave memory that nothing frees (RELIVE_MAX_LEAKED_MEMORY)"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: AppId = AppId(uuid::Uuid::from_u128(1));
    const OTHER: AppId = AppId(uuid::Uuid::from_u128(2));
    const LIMIT: u64 = 64 << 20;

    #[test]
    fn e169_one_proof_is_not_enough_and_apps_do_not_pay_for_each_other() {
        let leaks = Leaks::new(LIMIT);
        let look = |app, script: &str, held, leaked| {
            let suspicion = leaks.count(app, script, 1, held).expect("it is looked at");
            leaks.looked(app, script, 1, suspicion, Some(leaked))
        };
        assert_eq!(look(APP, "s", LIMIT, LIMIT), None);
        assert_eq!(look(OTHER, "s", LIMIT, LIMIT), None);
        assert_eq!(look(APP, "t", LIMIT, 0), None);
        // Another script of the app, which leaks little: the one that leaks most is named.
        let leak = look(APP, "u", LIMIT, 500).expect("the app leaks");
        assert_eq!((leak.script.as_str(), leak.version, leak.limit), ("s", 1, LIMIT));
        assert!(leak.bytes > LIMIT);
        leaks.forget(APP);
        assert_eq!(look(APP, "s", LIMIT, LIMIT), None, "it begins anew");
    }
}
