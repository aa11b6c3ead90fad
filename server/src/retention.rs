//! How much history is kept: `forever`, an age, a size, or both.
//!
//! Owns: [`History`], its text, and which LSN it asks to keep. Never does: cut; what else is still needed may keep
//! more.

use std::time::Duration;

use relive_log::{Lsn, ReadError, Reader, UnixMicros};

use crate::settings::parse_bytes;

/// `RELIVE_HISTORY_RETENTION`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct History {
    /// Nothing older.
    pub(crate) age: Option<Duration>,
    /// No more of the log.
    pub(crate) bytes: Option<u64>,
}

impl History {
    /// Parses `forever`, `90d`, `50GiB` or both.
    pub(crate) fn parse(text: &str) -> Option<History> {
        if text == "forever" {
            return Some(History::default());
        }
        let mut history = History::default();
        for part in text.split(',').map(str::trim) {
            if let Some(age) = parse_age(part).filter(|_| history.age.is_none()) {
                history.age = Some(age);
            } else {
                let bytes = parse_bytes(part).filter(|bytes| *bytes > 0 && history.bytes.is_none())?;
                history.bytes = Some(bytes);
            }
        }
        Some(history)
    }

    /// Whether anything is ever to be cut.
    pub(crate) const fn is_forever(&self) -> bool {
        self.age.is_none() && self.bytes.is_none()
    }

    /// The first LSN that is to be kept; the higher one of age and size.
    pub(crate) fn keep_from(&self, reader: &Reader, now: UnixMicros) -> Result<Lsn, ReadError> {
        let mut keep = reader.first_lsn();
        if let Some(age) = self.age {
            let micros = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
            let before = UnixMicros(now.0.saturating_sub(micros));
            if let Some(frame) = reader.frame_at_time(before)? {
                keep = keep.max(frame.last_lsn.next());
            }
        }
        if let Some(bytes) = self.bytes {
            let mut total = 0;
            for segment in reader.segments().iter().rev() {
                total += segment.used_bytes;
                if total > bytes {
                    break;
                }
                keep = keep.max(segment.first_lsn);
            }
        }
        Ok(keep)
    }
}

impl std::fmt::Display for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let age = self.age.map(|age| format!("{}s", age.as_secs()));
        let bytes = self.bytes.map(|bytes| format!("{bytes}B"));
        let parts: Vec<String> = age.into_iter().chain(bytes).collect();
        f.write_str(if parts.is_empty() { "forever" } else { "" })?;
        f.write_str(&parts.join(","))
    }
}

/// Parses `30d`, `12h`, `15m`, `90s`.
pub(crate) fn parse_age(text: &str) -> Option<Duration> {
    let units = [("d", 24 * 3600), ("h", 3600), ("m", 60), ("s", 1)];
    units.iter().find_map(|(unit, seconds)| {
        let number: u64 = text.strip_suffix(unit)?.trim().parse().ok()?;
        number.checked_mul(*seconds).filter(|seconds| *seconds > 0).map(Duration::from_secs)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_sizes_parse() {
        let check = |text: &str, expected: Option<(Option<u64>, Option<u64>)>| {
            let got = History::parse(text).map(|h| (h.age.map(|age| age.as_secs()), h.bytes));
            assert_eq!(got, expected, "{text}");
        };
        check("forever", Some((None, None)));
        check("90d", Some((Some(90 * 86_400), None)));
        check("50GiB", Some((None, Some(50 << 30))));
        check("90d,50GiB", Some((Some(90 * 86_400), Some(50 << 30))));
        check("1MiB, 12h", Some((Some(43_200), Some(1 << 20))));
        for bad in ["", "0d", "d", "1d,2d", "1GiB,2GiB", "forever,1d", "soon", "0", "-1d"] {
            check(bad, None);
        }
    }
}
