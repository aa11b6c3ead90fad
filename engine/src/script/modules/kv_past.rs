//! `kv::get_at`, `kv::history`: state as it was.
//!
//! Owns: what may be asked, and what is recorded of it. Never does: reach past the snapshot (K3); own writes of the run
//! have no LSN yet and are not in the past.
//! Invariants: E43, E44. A read as of the snapshot itself is an ordinary read and validated like one; the past below
//! it does not change. A history is validated like a read of its key.

use relive_log::events::{ReadRecord, Scopes};
use relive_log::{Lsn, UnixMicros};
use rhai::{Array, Dynamic, ImmutableString, Map, NativeCallContext as Call};

use super::super::errors::{Answer, runtime};
use super::super::host::Host;
use super::super::types::{Moment, NoPast, PastVersion};
use super::kv::{decode, full_key, stored};
use super::time;

/// `at`: an integer is an LSN, a string an RFC 3339 time.
pub(super) fn get_at(
    call: &Call<'_>,
    collection: ImmutableString,
    key: ImmutableString,
    at: Dynamic,
) -> Answer<Dynamic> {
    let host = Host::of(call)?;
    host.allow(Scopes::LOG_READ, "kv::get_at")?;
    let key = full_key(&host, &collection, &key)?;
    let at = resolve(&host, call, as_of(&host, &at)?)?;
    if at == host.context.lsn {
        let now = stored(&host, call, &key)?;
        return now.map_or(Ok(Dynamic::UNIT), |value| decode(&host, call, &value));
    }
    let slot = host.snapshot.get_at(&key.0, &key.1, at).map_err(|failed| host.broken(call, &failed))?;
    let mut effects = host.effects.lock();
    effects.depends_on = effects.depends_on.max(slot.version);
    let (collection, key) = key;
    let (version, present) = (slot.version, slot.value.is_some());
    effects.read(call, ReadRecord::KeyAt { collection, key, at, version, present });
    drop(effects);
    slot.value.map_or(Ok(Dynamic::UNIT), |value| decode(&host, call, &value))
}

fn as_of(host: &Host, at: &Dynamic) -> Answer<Moment> {
    if let Ok(lsn) = at.as_int() {
        let lsn = u64::try_from(lsn).map_err(|_| runtime(format!("kv::get_at: {lsn} is no LSN")))?;
        return Ok(Moment::Lsn(Lsn(lsn)));
    }
    let Ok(text) = at.as_immutable_string_ref() else {
        return Err(runtime(format!(
            "kv::get_at: `at` is an LSN (an integer) or a time (RFC 3339 text), not a value of type {}",
            at.type_name()
        )));
    };
    let micros = time::micros(&text).ok_or_else(|| {
        runtime(format!("kv::get_at: {:?} is not an RFC 3339 time with an offset", text.as_str()))
    })?;
    if micros > host.claim_time.0 {
        return Err(runtime(format!("kv::get_at: in_the_future: {} is after the claim time", text.as_str())));
    }
    Ok(Moment::Time(UnixMicros(micros)))
}

fn resolve(host: &Host, call: &Call<'_>, at: Moment) -> Answer<Lsn> {
    host.snapshot.resolve(at).map_err(|refused| match refused {
        NoPast::InTheFuture => runtime(format!(
            "kv::get_at: in_the_future: the snapshot of this attempt is LSN {}",
            host.context.lsn
        )),
        NoPast::BelowHorizon { first } => {
            runtime(format!("kv::get_at: below_horizon: the history starts at LSN {first}"))
        }
        NoPast::Failed(failed) => host.broken(call, &failed),
    })
}

/// The newest versions of a key, newest first.
pub(super) fn history(
    call: &Call<'_>,
    collection: ImmutableString,
    key: ImmutableString,
    limit: i64,
) -> Answer<Array> {
    let host = Host::of(call)?;
    host.allow(Scopes::LOG_READ, "kv::history")?;
    let key = full_key(&host, &collection, &key)?;
    let max = host.limits.list_page_max;
    let asked = usize::try_from(limit).ok().filter(|limit| (1..=max).contains(limit));
    let asked = asked.ok_or_else(|| runtime(format!("kv::history: limit is {limit}, not 1 to {max}")))?;
    let bytes_max = host.limits.list_bytes_max;
    let found = host.snapshot.history(&key.0, &key.1, asked, bytes_max);
    let versions = found.map_err(|failed| host.broken(call, &failed))?;
    let mut effects = host.effects.lock();
    effects.depends_on = effects.depends_on.max(host.context.lsn);
    let (collection, key) = key;
    let limit = u32::try_from(asked).unwrap_or(u32::MAX);
    let lsns = versions.iter().map(|version| version.lsn).collect();
    effects.read(call, ReadRecord::History { collection, key, limit, versions: lsns });
    drop(effects);
    versions.iter().map(|version| shown(&host, call, version)).collect()
}

fn shown(host: &Host, call: &Call<'_>, version: &PastVersion) -> Answer<Dynamic> {
    let mut map = Map::new();
    map.insert("lsn".into(), i64::try_from(version.lsn.0).unwrap_or(i64::MAX).into());
    let ms = i64::try_from(version.at.as_millis()).unwrap_or(i64::MAX);
    map.insert("at".into(), time::rfc3339(ms).map_or(Dynamic::UNIT, Dynamic::from));
    map.insert("op".into(), version.op.into());
    let value = version.value.as_ref().map(|value| decode(host, call, value)).transpose()?;
    map.insert("value".into(), value.unwrap_or(Dynamic::UNIT));
    Ok(Dynamic::from_map(map))
}
