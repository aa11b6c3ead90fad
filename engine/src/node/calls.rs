//! What callers want: sync and async route calls, direct runs (D1, D4, D6).
//!
//! Owns: the three ways in. Never does: decide what starts; letting in is `admission`, running at once is `brief`.

use std::sync::Arc;

use relive_log::events::{DispatchMode, Input, Record, RequestRecord, Source};
use relive_log::{ExecutionId, UnixMicros};

use super::admission::{Admission, Called};
use super::brief::Briefly;
use super::input::{Recorder, Withhold};
use super::keyed::Known;
use super::vault::AppVault;
use super::{Accepted, DirectRun, FirstCall, Node, ReplyTo, RouteCall};
use crate::refusal::{Refusal, SubmitError};
use crate::script::{ContextInput, Request};
use crate::seams::uuid_v7;
use crate::secrets::Masked;

/// Called when an async call's enqueue is durable, or refused.
pub type AcceptedTo = Box<dyn FnOnce(Result<Accepted, SubmitError>) + Send>;

impl Node {
    /// A sync call: `reply` is called exactly once, unless this refuses or the outcome is remembered.
    ///
    /// # Errors
    /// Not admitted ([`Refusal::Overloaded`], [`Refusal::ShuttingDown`]), or the log failed.
    pub fn call(self: &Arc<Self>, call: RouteCall, reply: ReplyTo) -> Result<Called, SubmitError> {
        let route = call.app.routes.get(&call.route).ok_or_else(|| gone(&call))?;
        let spec = &route.spec;
        let vault = self.vaults.of(&call.app);
        let input = match spec.record {
            Record::Full => Input::Request(Box::new(self.record(&vault, &call.request, Withhold::Digest))),
            Record::Off => Input::NotRecorded,
        };
        let idempotency = call.idempotency.map(|sent| sent.of(self.vaults.key(), spec, &call.request));
        let admission = Admission {
            script: spec.script.clone(),
            source: Source::Route { route: route.id, sync: true },
            input,
            principal: call.principal,
            timeout_ms: spec.timeout_ms.unwrap_or(self.settings.timeout_ms),
            app: Arc::clone(&call.app),
            vault,
            live: Some(ContextInput::Request(Arc::new(call.request))),
            idempotency,
        };
        match self.call_briefly(self.opening(admission), reply)? {
            Briefly::Ended(execution) => Ok(Called::Runs(execution)),
            Briefly::NotTried(opening, reply) => {
                let admitted = self.admit(opening, reply)?;
                if let Some(job) = admitted.starts {
                    self.attempt_here(job)?;
                }
                Ok(admitted.called)
            }
            Briefly::Elsewhere(mut opening, reply) => {
                self.claim_again(&mut opening);
                let admitted = self.admit(opening, reply)?;
                if let Some(mut job) = admitted.starts {
                    self.record_opening(&mut job)?;
                    self.jobs.push(job);
                }
                Ok(admitted.called)
            }
        }
    }

    /// A direct run; like a sync call.
    ///
    /// # Errors
    /// No such app or script, not admitted, or the log failed.
    pub fn run_direct(self: &Arc<Self>, run: DirectRun, reply: ReplyTo) -> Result<ExecutionId, SubmitError> {
        let registry = self.views.registry();
        let not_found = |what, name: &str| Refusal::NotFound { what, name: name.to_owned() };
        let app = registry.app_by_slug(&run.app).ok_or_else(|| not_found("app", &run.app))?;
        if app.live_script(&run.script).is_none() {
            return Err(not_found("script", &run.script).into());
        }
        let live = Some(ContextInput::Payload(run.payload.clone()));
        let vault = self.vaults.of(app);
        let masked = run.payload.map(|payload| {
            let mut text = payload.to_vec();
            match vault.masker().mask_bytes(&mut text) {
                Masked::Yes => text.into(),
                Masked::No => payload,
            }
        });
        let admission = Admission {
            app: Arc::clone(app),
            vault,
            script: run.script,
            source: Source::Direct,
            input: Input::Payload(masked),
            principal: Some(run.principal),
            live,
            timeout_ms: self.settings.timeout_ms,
            idempotency: None,
        };
        let admitted = self.admit(self.opening(admission), reply)?;
        if let Some(mut job) = admitted.starts {
            self.record_opening(&mut job)?;
            self.jobs.push(job);
        }
        match admitted.called {
            Called::Runs(execution) | Called::Follows(execution) => Ok(execution),
            Called::Remembered(row) => Ok(row.execution),
        }
    }

    /// An async call; `done` when the enqueue is durable, or refused.
    pub fn call_async(self: &Arc<Self>, call: RouteCall, done: AcceptedTo) {
        let Some(route) = call.app.routes.get(&call.route) else {
            done(Err(gone(&call).into()));
            return;
        };
        debug_assert_eq!(route.spec.mode, DispatchMode::Async, "the caller looked at the mode");
        let vault = self.vaults.of(&call.app);
        let record = self.record(&vault, &call.request, Withhold::Seal);
        let idempotency = call.idempotency.map(|sent| sent.of(self.vaults.key(), &route.spec, &call.request));
        let now = self.clock.now();
        let admission = Admission {
            app: Arc::clone(&call.app),
            vault,
            script: route.spec.script.clone(),
            source: Source::Route { route: route.id, sync: false },
            input: Input::Request(Box::new(record)),
            principal: call.principal,
            live: None,
            timeout_ms: 0,
            idempotency,
        };
        let execution = ExecutionId(uuid_v7(now, &*self.entropy));
        match self.enqueue_async(admission, execution, now) {
            Ok(accepted) => self.waiters.when_durable(
                accepted.lsn,
                Box::new(move |durable| done(durable.map(|()| accepted).map_err(Into::into))),
            ),
            Err(error) => done(Err(error)),
        }
    }

    fn enqueue_async(
        self: &Arc<Self>,
        admission: Admission,
        execution: ExecutionId,
        now: UnixMicros,
    ) -> Result<Accepted, SubmitError> {
        let mut core = self.core.lock();
        self.admissible(&core, &admission.app, &admission.source)?;
        if let Some(keyed) = &admission.idempotency {
            match self.known(&admission.app, keyed, now)? {
                Known::Free => {}
                // The route was a sync one when the first call came.
                Known::InFlight(first) => {
                    return Err(Refusal::Conflict {
                        code: "idempotency_in_flight",
                        message: format!(
                            "the first call with this Idempotency-Key ({first}) has no outcome yet"
                        ),
                    }
                    .into());
                }
                Known::First(row) => {
                    let (execution, at, lsn) = (row.execution, row.enqueued.time, row.enqueued.lsn);
                    return Ok(Accepted { execution, at, lsn, first: FirstCall::Earlier });
                }
            }
        }
        let mut decision = core.decision();
        decision.push(admission.enqueue(execution, now));
        let appended = core.append_new(&decision, &self.views, now)?;
        self.pump(&mut core);
        let (at, lsn) = (appended.commit_time, appended.last);
        Ok(Accepted { execution, at, lsn, first: FirstCall::This })
    }

    fn record(&self, vault: &AppVault, request: &Request, withhold: Withhold) -> RequestRecord {
        let recorder = Recorder {
            vaults: &self.vaults,
            vault,
            entropy: &*self.entropy,
            sensitive: &self.settings.sensitive_headers,
        };
        recorder.record(request, withhold)
    }
}

fn gone(call: &RouteCall) -> Refusal {
    Refusal::NotFound { what: "route", name: call.route.to_string() }
}
