//! An app's scripts, routes and triggers as of any LSN, folded from the events that changed them.
//!
//! Owns: that fold, which is the one of the registry itself. Never does: say what an app's keys were (the KV view does), or
//! who held which token or secret.

use std::sync::Arc;

use relive_log::Lsn;
use relive_log::events::Event;

use super::RegistryView;
use super::fold::new_app;
use super::types::App;
use crate::error::ReadError;
use crate::source::{At, ValueSource};

/// The configuration of an app after the event `lsn`; pauses, secrets and its name are not part of it.
///
/// # Errors
/// The log could not be read.
pub(crate) fn app_as_of(app: &App, lsn: Lsn, source: &dyn ValueSource) -> Result<App, ReadError> {
    let view = RegistryView::default();
    let bare = |lsn, pos| At { lsn, pos, time: app.created_at };
    let begin = new_app(app.id, &app.slug, app.name.clone(), bare(Lsn::ZERO, Default::default()));
    view.app_begins(begin);
    for (at, pos) in app.changes.iter().take_while(|(at, _)| *at <= lsn) {
        let event = source.event(*pos, *at).map_err(|source| ReadError::Log { lsn: *at, source })?;
        let at = bare(*at, *pos);
        match &event {
            Event::Script(event) => view.fold_script(event, at),
            Event::Route(event) => view.fold_route(event, at),
            Event::Trigger(event) => view.fold_trigger(event, at),
            Event::App(_)
            | Event::Token(_)
            | Event::Secret(_)
            | Event::Kv(_)
            | Event::Execution(_)
            | Event::DeadLetter(_)
            | Event::Job(_)
            | Event::Retention(_)
            | Event::Cron(_) => return Err(ReadError::WrongEvent { lsn: at.lsn }),
        }
    }
    let folded = view.now().app(app.id).cloned();
    folded.map(Arc::unwrap_or_clone).ok_or(ReadError::WrongEvent { lsn })
}
