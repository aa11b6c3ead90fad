//! `secrets`: values that are never recorded.
//!
//! Owns: `get`, its journal entry (name and version). Never does: hand a value to anything but the script and
//! the masker.

use relive_log::events::ErrorKind;
use rhai::{ImmutableString, NativeCallContext as Call};

use super::super::errors::{Answer, runtime};
use super::super::host::Host;
use super::super::types::SecretLookup;
use super::Family;

pub(super) fn module() -> Family {
    let mut module = Family::new("secrets");
    module.add1("get", get);
    module
}

/// An unknown name is an error that scripts can catch; a missing key ends the run, because the same script
/// works again once the secret is set again (`semantics.md`, Secrets and keys).
fn get(call: &Call<'_>, name: ImmutableString) -> Answer<String> {
    let host = Host::of(call)?;
    match host.secrets.get(&name) {
        SecretLookup::Found { version, value } => {
            let mut effects = host.effects.lock();
            let taken = (name.to_string(), version);
            if !effects.secrets.contains(&taken) {
                effects.secrets.push(taken);
                effects.secret_values.push((name.to_string(), value.clone()));
            }
            Ok(value)
        }
        SecretLookup::Absent => {
            // That there was none is part of what the run depended on: version 0 (T1).
            let mut effects = host.effects.lock();
            let asked = (name.to_string(), 0);
            if !effects.secrets.contains(&asked) {
                effects.secrets.push(asked);
            }
            drop(effects);
            Err(runtime(format!("secrets::get: there is no secret {name}")))
        }
        SecretLookup::KeyMissing => {
            let why =
                format!("the secret {name} is sealed with an instance key that is not here; set it again");
            Err(host.end(call, ErrorKind::KeyMissing, why))
        }
    }
}
