//! `time`: the claim time, and RFC 3339 text.
//!
//! Owns: `now`, `rfc3339`, `parse`. Never does: read a clock (K1).
//! Invariants: E42.

use jiff::Timestamp;
use rhai::{ImmutableString, NativeCallContext as Call};

use super::super::errors::{Answer, runtime};
use super::super::host::Host;
use super::Family;
use crate::planted::{self, Bug};

pub(super) fn module() -> Family {
    let mut module = Family::new("time");
    module.add0("now", now);
    module.add1("rfc3339", text);
    module.add1("parse", parse);
    module
}

fn now(call: &Call<'_>) -> Answer<i64> {
    if planted::is(Bug::UnrecordedClock) {
        return Ok(planted::clock());
    }
    Ok(i64::try_from(Host::of(call)?.claim_time.as_millis()).unwrap_or(i64::MAX))
}

/// UTC with milliseconds; `None` outside the years that RFC 3339 can write.
pub(in crate::script) fn rfc3339(ms: i64) -> Option<String> {
    let at = Timestamp::from_millisecond(ms).ok()?;
    let text = format!("{at:.3}");
    // Years before 0 and after 9999 are outside RFC 3339.
    (text.len() == "2026-01-01T00:00:00.000Z".len()).then_some(text)
}

fn text(_: &Call<'_>, ms: i64) -> Answer<String> {
    rfc3339(ms).ok_or_else(|| runtime(format!("time::rfc3339: {ms} ms is outside the years 0 to 9999")))
}

/// Milliseconds since the epoch; digits below a millisecond are cut off.
fn parse(_: &Call<'_>, text: ImmutableString) -> Answer<i64> {
    let at: Timestamp = text.parse().map_err(|_| {
        runtime(format!("time::parse: {:?} is not an RFC 3339 time with an offset", text.as_str()))
    })?;
    Ok(at.as_microsecond().div_euclid(1000))
}

/// Microseconds since the epoch; `None` for what is no time, or one before the epoch.
pub(super) fn micros(text: &str) -> Option<u64> {
    let at: Timestamp = text.parse().ok()?;
    u64::try_from(at.as_microsecond()).ok()
}
