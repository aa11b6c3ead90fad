//! `kv`: the app's state as of the snapshot, plus the run's own writes.
//!
//! Owns: get, has, set, delete, incr. Never does: commit; the effects are handed back.
//! Invariants: E43, E44.

use relive_log::UnixMicros;
use relive_log::events::{ErrorKind, ReadRecord, Scopes, SharedBytes};
use rhai::{Dynamic, ImmutableString, Map, NativeCallContext as Call};

use super::super::convert;
use super::super::errors::{Answer, place, runtime};
use super::super::host::{Effects, FullKey, Host};
use super::super::run::WriteEffect;
use super::super::types::Lapsed;
use super::{Family, kv_list, kv_past};
use crate::decide::expiry::TTL_MS_MAX;

type Text = ImmutableString;

pub(super) fn module() -> Family {
    let mut module = Family::new("kv");
    module.add2("get", get);
    module.add2("has", has);
    module.add3("set", set);
    module.add4("set", set_with);
    module.add2("delete", delete);
    module.add3("incr", incr);
    module.add1("list", kv_list::list);
    module.add2("list", kv_list::list_with);
    module.add3("get_at", kv_past::get_at);
    module.add3("history", kv_past::history);
    module
}

fn get(call: &Call<'_>, collection: Text, key: Text) -> Answer<Dynamic> {
    let host = Host::of(call)?;
    host.allow(Scopes::SCRIPT_READ, "kv::get")?;
    let key = full_key(&host, &collection, &key)?;
    match read(&host, call, &key)? {
        Some(value) => decode(&host, call, &value),
        None => Ok(Dynamic::UNIT),
    }
}

fn has(call: &Call<'_>, collection: Text, key: Text) -> Answer<bool> {
    let host = Host::of(call)?;
    host.allow(Scopes::SCRIPT_READ, "kv::has")?;
    let key = full_key(&host, &collection, &key)?;
    Ok(read(&host, call, &key)?.is_some())
}

fn set(call: &Call<'_>, collection: Text, key: Text, value: Dynamic) -> Answer<()> {
    set_with(call, collection, key, value, Map::new())
}

fn set_with(call: &Call<'_>, collection: Text, key: Text, value: Dynamic, options: Map) -> Answer<()> {
    let host = Host::of(call)?;
    host.allow(Scopes::SCRIPT_WRITE, "kv::set")?;
    let key = full_key(&host, &collection, &key)?;
    let expires_at = expires_at(call, &options)?;
    let limit = host.limits.value_bytes_max;
    let json = convert::to_json(&value, limit).map_err(|refused| runtime(unfit(&refused)))?;
    write(&host, call, key, Some(json.into()), expires_at)
}

/// When a value that is written now expires: the claim time and `ttl_ms` (K1, K2).
fn expires_at(call: &Call<'_>, options: &Map) -> Answer<Option<UnixMicros>> {
    let mut end = None;
    for (name, value) in options.iter().filter(|(_, value)| !value.is_unit()) {
        if name.as_str() != "ttl_ms" {
            return Err(runtime(format!("kv::set knows no option {name}; it knows ttl_ms")));
        }
        let ttl = value.as_int().ok().and_then(|ttl| u64::try_from(ttl).ok());
        let ttl = ttl.filter(|ttl| (1..=TTL_MS_MAX).contains(ttl)).ok_or_else(|| {
            runtime(format!("kv::set: ttl_ms is {value}, not a whole number from 1 to {TTL_MS_MAX}"))
        })?;
        end = Some(Host::of(call)?.claim_time.plus_millis(ttl));
    }
    Ok(end)
}

fn delete(call: &Call<'_>, collection: Text, key: Text) -> Answer<bool> {
    let host = Host::of(call)?;
    host.allow(Scopes::SCRIPT_WRITE, "kv::delete")?;
    let key = full_key(&host, &collection, &key)?;
    let was_there = read(&host, call, &key)?.is_some();
    if stored(&host, call, &key)?.is_some() {
        write(&host, call, key, None, None)?;
    } else {
        // The snapshot lacks it: nothing to delete, and an own write before this one is void.
        let mut effects = host.effects.lock();
        if let Some(own) = effects.writes.remove(&key) {
            effects.write_bytes = effects.write_bytes.saturating_sub(weight(&key, &own));
        }
    }
    Ok(was_there)
}

fn incr(call: &Call<'_>, collection: Text, key: Text, by: i64) -> Answer<i64> {
    let host = Host::of(call)?;
    host.allow(Scopes::SCRIPT_WRITE, "kv::incr")?;
    let key = full_key(&host, &collection, &key)?;
    let before = match read(&host, call, &key)? {
        None => 0,
        Some(value) => decode(&host, call, &value)?.as_int().map_err(|found| {
            runtime(format!("kv::incr: {}/{} holds a value of type {found}, not an integer", key.0, key.1))
        })?,
    };
    let after = before.checked_add(by).ok_or_else(|| {
        runtime(format!("kv::incr: {before} + {by} does not fit into a 64-bit integer ({}/{})", key.0, key.1))
    })?;
    let expires_at = expiry(&host, &key);
    write(&host, call, key, Some(after.to_string().into_bytes().into()), expires_at)?;
    Ok(after)
}

/// Why a value cannot be kept.
fn unfit(refused: &convert::Refused) -> String {
    let setting = if matches!(refused, convert::Refused::Length(_)) { " (RELIVE_MAX_VALUE)" } else { "" };
    format!("kv::set: {refused}{setting}")
}

/// The value that the run sees: its own write, else the snapshot.
fn read(host: &Host, call: &Call<'_>, key: &FullKey) -> Answer<Option<SharedBytes>> {
    if let Some(own) = host.effects.lock().writes.get(key) {
        return Ok(own.value.clone());
    }
    stored(host, call, key)
}

/// When the value that the run sees expires; it was read before.
fn expiry(host: &Host, key: &FullKey) -> Option<UnixMicros> {
    let effects = host.effects.lock();
    match effects.writes.get(key) {
        Some(own) => own.expires_at,
        None => effects.seen.get(key).filter(|seen| seen.value.is_some())?.expires_at,
    }
}

/// The value in the snapshot; the first look at a key is the one that is recorded (E44).
pub(super) fn stored(host: &Host, call: &Call<'_>, key: &FullKey) -> Answer<Option<SharedBytes>> {
    if let Some(seen) = host.effects.lock().seen.get(key) {
        return Ok(seen.value.clone());
    }
    let slot = host.snapshot.get(&key.0, &key.1).map_err(|failed| host.broken(call, &failed))?;
    let value = slot.value.clone();
    let mut effects = host.effects.lock();
    effects.depends_on = effects.depends_on.max(slot.version);
    let read = ReadRecord::Key {
        collection: key.0.clone(),
        key: key.1.clone(),
        version: slot.version,
        present: value.is_some(),
    };
    effects.read(call, read);
    if slot.lapsed {
        let (collection, key) = key.clone();
        effects.lapsed.insert(Lapsed { collection, key, version: slot.version });
    }
    effects.seen.insert(key.clone(), slot);
    Ok(value)
}

fn write(
    host: &Host,
    call: &Call<'_>,
    key: FullKey,
    value: Option<SharedBytes>,
    expires_at: Option<UnixMicros>,
) -> Answer<()> {
    let (line, _) = place(call.call_position());
    let effect = WriteEffect { value, line, expires_at };
    let mut effects = host.effects.lock();
    let Effects { writes, write_bytes, .. } = &mut *effects;
    let weight_before = writes.get(&key).map_or(0, |before| weight(&key, before));
    *write_bytes = write_bytes.saturating_sub(weight_before) + weight(&key, &effect);
    writes.insert(key, effect);
    let (keys, bytes, limits) = (writes.len(), *write_bytes, &host.limits);
    drop(effects);
    if keys > limits.writes_max {
        let why =
            format!("more than {} keys written in one execution (RELIVE_MAX_WRITES)", limits.writes_max);
        return Err(host.end(call, ErrorKind::Writes, why));
    }
    if bytes > limits.write_bytes_max {
        let why = format!(
            "more than {} bytes written in one execution (RELIVE_MAX_WRITE_BYTES)",
            limits.write_bytes_max
        );
        return Err(host.end(call, ErrorKind::Writes, why));
    }
    Ok(())
}

fn weight(key: &FullKey, effect: &WriteEffect) -> usize {
    key.0.len() + key.1.len() + effect.value.as_ref().map_or(0, |value| value.len())
}

/// What the store holds is JSON; anything else is our fault, not the script's.
pub(super) fn decode(host: &Host, call: &Call<'_>, value: &[u8]) -> Answer<Dynamic> {
    convert::from_json(value)
        .map_err(|why| host.end(call, ErrorKind::Internal, format!("a stored value is not JSON: {why}")))
}

pub(super) fn full_key(host: &Host, collection: &str, key: &str) -> Answer<FullKey> {
    check_collection(host, collection)?;
    if key.is_empty() {
        return Err(runtime("kv: the key is empty"));
    }
    let (len, max) = (key.len(), host.limits.key_bytes_max);
    if len > max {
        return Err(runtime(format!("kv: the key has {len} bytes, the limit is {max} (RELIVE_MAX_KEY)")));
    }
    Ok((collection.to_owned(), key.to_owned()))
}

pub(super) fn check_collection(host: &Host, collection: &str) -> Answer<()> {
    if collection.is_empty() {
        return Err(runtime("kv: the collection's name is empty"));
    }
    let (len, max) = (collection.len(), host.limits.collection_bytes_max);
    if len > max {
        return Err(runtime(format!(
            "kv: the collection's name has {len} bytes, the limit is {max} (RELIVE_MAX_COLLECTION_NAME)"
        )));
    }
    Ok(())
}
