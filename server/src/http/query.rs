//! Query strings of the admin API: every name is known or refused, nothing is ignored.
//!
//! Owns: [`Query`], paging parameters, `at`. Never does: read anything that a parameter names.

use jiff::Timestamp;
use percent_encoding::percent_decode;
use relive_log::{Lsn, UnixMicros};

use super::error::{ApiError, ErrorCode};

/// How long a page of a list is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageLimits {
    /// Items when the caller names no number (`RELIVE_LIST_PAGE`).
    pub(crate) items: usize,
    /// The most items (`RELIVE_MAX_LIST_PAGE`).
    pub(crate) items_max: usize,
    /// Bytes of keys and values, after which a page of keys ends early (`RELIVE_MAX_LIST_BYTES`).
    pub(crate) bytes_max: usize,
}

/// Parameters of one request.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

/// An instant: an LSN or a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Instant {
    /// After the batch that holds this event.
    Lsn(Lsn),
    /// After the last batch that was committed by then.
    Time(UnixMicros),
}

/// Splits and decodes a query string (`+` is a space).
pub(crate) fn pairs(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_decode(spaced.as_bytes()).decode_utf8_lossy().into_owned()
    };
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

impl Query {
    /// Takes a query string whose names are all `allowed`.
    pub(crate) fn parse(query: Option<&str>, allowed: &[&str]) -> Result<Query, ApiError> {
        let pairs = pairs(query.unwrap_or(""));
        for (at, (name, _)) in pairs.iter().enumerate() {
            if !allowed.contains(&name.as_str()) {
                let known = if allowed.is_empty() { "none".to_owned() } else { allowed.join(", ") };
                let text = format!("there is no query parameter `{name}` here; known are: {known}");
                return Err(ApiError::new(ErrorCode::UnknownParameter, text).with("field", name.as_str()));
            }
            if pairs.iter().take(at).any(|(earlier, _)| earlier == name) {
                return Err(ApiError::invalid(name, "stands twice"));
            }
        }
        Ok(Query(pairs))
    }

    /// A parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A parameter that parses.
    pub(crate) fn parsed<T: std::str::FromStr>(&self, name: &str, want: &str) -> Result<Option<T>, ApiError> {
        self.get(name)
            .map(|text| text.parse().map_err(|_| ApiError::invalid(name, format!("`{text}` is not {want}"))))
            .transpose()
    }

    /// An instant: a whole number is an LSN, anything else an RFC 3339 time.
    pub(crate) fn instant(&self, name: &str) -> Result<Option<Instant>, ApiError> {
        self.get(name)
            .map(|text| {
                parse_instant(text).ok_or_else(|| {
                    ApiError::invalid(name, format!("`{text}` is neither an LSN nor an RFC 3339 time"))
                })
            })
            .transpose()
    }

    /// A time.
    pub(crate) fn time(&self, name: &str) -> Result<Option<UnixMicros>, ApiError> {
        self.get(name)
            .map(|text| {
                parse_time(text)
                    .ok_or_else(|| ApiError::invalid(name, format!("`{text}` is not an RFC 3339 time")))
            })
            .transpose()
    }

    /// `limit`.
    pub(crate) fn limit(&self, limits: PageLimits) -> Result<usize, ApiError> {
        let want = format!("a whole number from 1 to {} (RELIVE_MAX_LIST_PAGE)", limits.items_max);
        match self.parsed::<usize>("limit", &want)? {
            None => Ok(limits.items),
            Some(limit) if (1..=limits.items_max).contains(&limit) => Ok(limit),
            Some(limit) => Err(ApiError::invalid("limit", format!("{limit} is not {want}"))
                .with("limit", limits.items_max)
                .with("setting", "RELIVE_MAX_LIST_PAGE")),
        }
    }

    /// What a cursor is bound to: the parameters apart from paging.
    pub(crate) fn scope(&self) -> String {
        let mut pairs: Vec<_> =
            self.0.iter().filter(|(name, _)| !matches!(name.as_str(), "cursor" | "limit")).collect();
        pairs.sort();
        pairs.iter().map(|(name, value)| format!("&{}={name}={value}", value.len())).collect()
    }
}

/// An LSN or a time.
pub(crate) fn parse_instant(text: &str) -> Option<Instant> {
    match text.parse::<u64>() {
        Ok(lsn) => Some(Instant::Lsn(Lsn(lsn))),
        Err(_) => parse_time(text).map(Instant::Time),
    }
}

/// An RFC 3339 time. A `+` of the offset that was sent unencoded arrives as a space.
pub(crate) fn parse_time(text: &str) -> Option<UnixMicros> {
    let time: Timestamp = text.replace(' ', "+").parse().ok()?;
    u64::try_from(time.as_microsecond()).ok().map(UnixMicros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_and_repeated_names_are_refused() {
        for (query, field) in [("ttl_ms=3", "ttl_ms"), ("limit=1&limit=2", "limit")] {
            let error = Query::parse(Some(query), &["limit"]).unwrap_err();
            assert!(format!("{error:?}").contains(field));
        }
    }

    #[test]
    fn instants_and_limits() {
        for (text, want) in [
            ("0", Some(Instant::Lsn(Lsn(0)))),
            ("1970-01-01T00:00:01Z", Some(Instant::Time(UnixMicros(1_000_000)))),
            ("1970-01-01T01:00:00 01:00", Some(Instant::Time(UnixMicros(0)))),
            ("-1", None),
            ("yesterday", None),
        ] {
            assert_eq!(parse_instant(text), want, "{text}");
        }
        let limits = PageLimits { items: 100, items_max: 1000, bytes_max: 1 };
        for (query, want) in
            [("", Some(100)), ("limit=1000", Some(1000)), ("limit=1001", None), ("limit=0", None)]
        {
            assert_eq!(Query::parse(Some(query), &["limit"]).unwrap().limit(limits).ok(), want, "{query}");
        }
    }

    #[test]
    fn pairs_are_decoded_in_order() {
        let got = pairs("a=1&b=x%20y+z&a=2&c");
        let want = [("a", "1"), ("b", "x y z"), ("a", "2"), ("c", "")];
        assert_eq!(got, want.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
