//! Decisions: state and command in, events or a refusal out. Pure: no clock, no effect, nothing appended.
//!
//! Owns: one file per family of commands. Never does: apply, append or carry out; it may read the views, and
//! it is handed the time and the source of ids.
//!
//! Invariants: E1 a refusal leaves nothing behind; E2 the events of one decision are one batch, all or nothing;
//! E3 `Decision` knows the LSN of each event that it pushes (causes and inputs refer to events of the same batch).

pub(crate) mod bulk;
pub(crate) mod commit;
pub(crate) mod cron;
pub(crate) mod deploy;
pub(crate) mod expiry;
pub(crate) mod failure;
pub(crate) mod fire;
pub(crate) mod fork;
pub(crate) mod holds;
pub(crate) mod imports;
pub(crate) mod kv;
pub(crate) mod letters;
pub(crate) mod pause;
pub(crate) mod registry;
pub(crate) mod retention;
pub(crate) mod send;
pub(crate) mod tokens;
pub(crate) mod undo;

use std::sync::Arc;

use relive_log::events::{Event, Principal, VersionChoice};
use relive_log::{Batch, ExecutionId, LetterId, Lsn, UnixMicros};
use relive_projections::{App, Registry, Views};
use uuid::Uuid;

use crate::command::{Answer, Command};
use crate::refusal::{Refusal, SubmitError};
use crate::script::CompileCache;
use crate::seams::{Entropy, uuid_v7};
use crate::secrets::InstanceKey;
use crate::settings::EngineSettings;

/// Room for the events of a small call as the log takes them, bytes.
pub(crate) const ENCODED_BYTES: usize = 1024;

/// What a decision may look at.
pub(crate) struct Scene<'a> {
    /// State as of the last applied batch.
    pub views: &'a Views,
    /// The registry of that state.
    pub registry: Arc<Registry>,
    /// Settings.
    pub settings: &'a EngineSettings,
    /// Chance, for ids and jitter.
    pub entropy: &'a dyn Entropy,
    /// Seals secrets.
    pub key: &'a InstanceKey,
    /// Checks sources; a command's are in here before the sequencer's lock is taken.
    pub compiled: &'a CompileCache,
    /// The time of the decision.
    pub now: UnixMicros,
    /// The same, never below a commit time: that of expiry (K1, K4).
    pub steady: UnixMicros,
}

impl Scene<'_> {
    /// A fresh id.
    pub(crate) fn mint(&self) -> Uuid {
        uuid_v7(self.now, self.entropy)
    }

    /// The app with this slug.
    pub(crate) fn app(&self, slug: &str) -> Result<Arc<App>, Refusal> {
        self.registry
            .app_by_slug(slug)
            .cloned()
            .ok_or_else(|| Refusal::NotFound { what: "app", name: slug.to_owned() })
    }
}

/// Events of one batch in the making; each knows its LSN (E3).
pub(crate) struct Decision {
    first: Lsn,
    events: Vec<Event>,
    /// The first of them, as the log takes them.
    encoded: Batch,
}

impl Decision {
    /// Starts a batch whose first event will have the LSN `next`.
    pub(crate) fn starting_at(first: Lsn) -> Decision {
        Decision { first, events: Vec::new(), encoded: Batch::new() }
    }

    /// Adds an event; the answer is its LSN.
    pub(crate) fn push(&mut self, event: Event) -> Lsn {
        let lsn = self.first.plus(self.events.len() as u64);
        self.events.push(event);
        lsn
    }

    /// Puts two events in front of those that are there, which were decided for LSNs behind them; `encoded` is what the
    /// log takes them as, or empty.
    pub(crate) fn precede(&mut self, earlier: [Event; 2], encoded: Batch) {
        self.first = Lsn(self.first.0 - earlier.len() as u64);
        self.events.splice(..0, earlier);
        self.encoded = encoded;
    }

    /// Takes those two away again; the first of them.
    pub(crate) fn take_opening(&mut self) -> Option<Event> {
        let first = self.events.drain(..2.min(self.events.len())).next();
        self.first = self.first.plus(2);
        self.encoded.clear();
        first
    }

    /// Encodes what is there, so that this need not be done under the sequencer's lock.
    pub(crate) fn encode(&mut self) {
        let Decision { events, encoded, .. } = self;
        if encoded.is_empty() {
            *encoded = Batch::with_room(ENCODED_BYTES);
        }
        events.iter().skip(encoded.len() as usize).for_each(|event| encoded.push(event));
    }

    /// The first events, as the log takes them.
    pub(crate) fn encoded(&self) -> &Batch {
        &self.encoded
    }

    /// It starts there: for events that say nothing of their LSNs.
    pub(crate) fn move_to(&mut self, first: Lsn) {
        self.first = first;
    }

    /// The LSN of the first event.
    pub(crate) fn first(&self) -> Lsn {
        self.first
    }

    /// Events so far.
    pub(crate) fn events(&self) -> &[Event] {
        &self.events
    }

    /// Whether nothing happened.
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

/// Decides a command: its events go into `out`, which is dropped if this refuses.
pub(crate) fn decide(
    scene: &Scene<'_>,
    command: Command,
    by: &Principal,
    out: &mut Decision,
) -> Result<Answer, SubmitError> {
    match command {
        Command::CreateApp { slug, name } => Ok(registry::create_app(scene, slug, name, by, out)?),
        Command::ChangeApp { slug, name } => Ok(registry::change_app(scene, &slug, name, by, out)?),
        Command::Fork { slug, plan } => Ok(fork::fork(scene, slug, plan, by, out)?),
        Command::SwitchCalls { app, to } => Ok(registry::switch_calls(scene, &app, to, by, out)?),
        Command::DeleteApp { slug } => Ok(registry::delete_app(scene, &slug, by, out)?),
        Command::Deploy { app, plan } => Ok(deploy::deploy(scene, &app, plan, by, out)?),
        Command::PutScript { app, name, source } => {
            Ok(registry::put_script(scene, &app, &name, source, by, out)?)
        }
        Command::DeleteScript { app, name } => Ok(registry::delete_script(scene, &app, &name, by, out)?),
        Command::CreateRoute { app, spec } => Ok(registry::create_route(scene, &app, spec, by, out)?),
        Command::DeleteRoute { app, route } => Ok(registry::delete_route(scene, &app, route, by, out)?),
        Command::CreateTrigger { app, spec } => Ok(registry::create_trigger(scene, &app, spec, by, out)?),
        Command::DeleteTrigger { app, trigger } => {
            Ok(registry::delete_trigger(scene, &app, trigger, by, out)?)
        }
        Command::SwitchApp { app, to } => Ok(pause::app(scene, &app, to, by, out)?),
        Command::SwitchTrigger { app, trigger, to } => Ok(pause::trigger(scene, &app, trigger, to, by, out)?),
        Command::Send { app, queue, message, delay_ms, key } => {
            let app = scene.app(&app)?;
            let execution = ExecutionId(scene.mint());
            let message = send::Message { execution, queue, message, delay_ms, key };
            send::send(scene, &app, message, &fire::Cause::nothing(), out)?;
            Ok(Answer::Execution(execution))
        }
        Command::SetSecret { app, name, value } => {
            Ok(registry::set_secret(scene, &app, &name, &value, by, out)?)
        }
        Command::DeleteSecret { app, name } => Ok(registry::delete_secret(scene, &app, &name, by, out)?),
        Command::CreateToken(new) => Ok(tokens::create(scene, new, by, out)?),
        Command::DeleteToken { token } => Ok(tokens::delete(scene, token, by, out)?),
        Command::PutKey { app, collection, key, value, ttl_ms, condition } => kv::put(
            scene,
            &kv::Target { app: &app, collection: &collection, key: &key },
            kv::New { value, ttl_ms },
            condition,
            by,
            out,
        ),
        Command::ImportKeys { app, rows } => kv::import(scene, &app, rows, by, out),
        Command::Undo { app, execution, changes } => undo::undo(scene, &app, execution, changes, by, out),
        Command::DeleteKey { app, collection, key, condition } => kv::delete(
            scene,
            &kv::Target { app: &app, collection: &collection, key: &key },
            condition,
            by,
            out,
        ),
        Command::Redrive { app, letter, version, proof } => {
            let actor = letters::Actor { proof, ..letters::Actor::person(by) };
            Ok(redrive(scene, &app, (letter, version), &actor, out)?)
        }
        Command::ResolveLetter { app, letter, resolution, note } => {
            let found = scene.app(&app)?;
            let resolution = resolution.as_deref().unwrap_or("ignored");
            letters::check_resolution(resolution, note.as_deref())?;
            let row = letters::open_letter(scene, &found, letter)?;
            letters::resolve(&row, resolution, note.as_deref(), &letters::Actor::person(by), out);
            Ok(Answer::Done)
        }
        Command::StartJob { app, plan } => Ok(bulk::start(scene, &app, plan, by, out)?),
        Command::CancelJob { app, job } => Ok(bulk::cancel(scene, &app, job, by, out)?),
        Command::SetHold { name, from, reason } => Ok(holds::set(scene, (name, from), reason, by, out)?),
        Command::ReleaseHold { name } => Ok(holds::release(scene, name, by, out)?),
    }
}

fn redrive(
    scene: &Scene<'_>,
    slug: &str,
    (letter, version): (LetterId, VersionChoice),
    actor: &letters::Actor<'_>,
    out: &mut Decision,
) -> Result<Answer, Refusal> {
    let app = scene.app(slug)?;
    let row = letters::open_letter(scene, &app, letter)?;
    let execution = ExecutionId(scene.mint());
    letters::redrive(scene, &app, &row, (execution, version), actor, out)?;
    Ok(Answer::Execution(execution))
}
