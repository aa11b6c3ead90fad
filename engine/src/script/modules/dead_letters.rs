//! `dead_letters`: work that used up its attempts, run again or closed by a script.
//!
//! Owns: redrive (also `replay`, its name in scripts written for the predecessor) and resolve. Never does: carry them
//! out; the effects are handed back and committed with the rest of the execution (D18).
//! Invariants: E43, E44.

use relive_log::LetterId;
use relive_log::events::{ErrorKind, ReadRecord, Scopes};
use rhai::{ImmutableString, NativeCallContext as Call};

use super::super::errors::{Answer, permission, runtime};
use super::super::host::Host;
use super::super::run::{LetterEffect, LetterVerb};
use super::Family;

type Text = ImmutableString;

pub(super) fn module() -> Family {
    let mut module = Family::new("dead_letters");
    module.add1("redrive", |call, id| redrive(call, &id, "dead_letters::redrive"));
    module.add1("replay", |call, id| redrive(call, &id, "dead_letters::replay"));
    module.add2("resolve", resolve);
    module
}

fn redrive(call: &Call<'_>, id: &Text, function: &str) -> Answer<String> {
    let host = Host::of(call)?;
    let letter = open_letter(&host, call, id, function)?;
    let effects = host.effects.lock();
    let caused = effects.sends.len() + effects.letters.len();
    drop(effects);
    let execution = host.caused_id(caused);
    close(&host, call, LetterEffect { letter, verb: LetterVerb::Redrive(execution) })?;
    Ok(execution.to_string())
}

fn resolve(call: &Call<'_>, id: Text, note: Text) -> Answer<()> {
    let host = Host::of(call)?;
    let letter = open_letter(&host, call, &id, "dead_letters::resolve")?;
    if note.len() > NOTE_BYTES_MAX {
        return Err(runtime(format!("dead_letters::resolve: the note has more than {NOTE_BYTES_MAX} bytes")));
    }
    close(&host, call, LetterEffect { letter, verb: LetterVerb::Resolve(note.to_string()) })
}

/// Longest note, bytes.
const NOTE_BYTES_MAX: usize = 4096;

/// The letter, if there is a principal that may close it and it is open.
fn open_letter(host: &Host, call: &Call<'_>, id: &str, function: &str) -> Answer<LetterId> {
    if host.context.principal.is_none() {
        return Err(permission(format!(
            "{function} needs a principal with the scope app:admin; this run has none"
        )));
    }
    host.allow(Scopes::APP_ADMIN, function)?;
    let letter: LetterId =
        id.parse().map_err(|_| runtime(format!("{function}: `{id}` is no id of a dead letter")))?;
    let open = host.snapshot.letter(letter).map_err(|failed| host.broken(call, &failed))?;
    let mut effects = host.effects.lock();
    effects.read(call, ReadRecord::Letter { letter, open });
    let mine = effects.letters.iter().any(|effect| effect.letter == letter);
    drop(effects);
    match open {
        None => Err(runtime(format!("{function}: there is no dead letter `{id}`"))),
        Some(true) if !mine => Ok(letter),
        Some(_) => Err(runtime(format!("{function}: dead letter `{id}` is resolved already"))),
    }
}

fn close(host: &Host, call: &Call<'_>, effect: LetterEffect) -> Answer<()> {
    let mut effects = host.effects.lock();
    effects.letters.push(effect);
    let count = effects.letters.len();
    drop(effects);
    let max = host.limits.writes_max;
    if count > max {
        let why = format!("more than {max} dead letters closed in one execution (RELIVE_MAX_WRITES)");
        return Err(host.end(call, ErrorKind::Writes, why));
    }
    Ok(())
}
