//! Route matching: literal beats `{name}` beats `{*rest}`, segment by segment.
//!
//! Owns: the compiled table of one app's routes and the cache of tables. Never does: dispatch anything.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use relive_log::{AppId, Lsn, RouteId};
use relive_projections::App;

use super::RouteMatch;

#[derive(Debug)]
enum Segment {
    Literal(String),
    Name(String),
    Rest(String),
}

#[derive(Debug)]
struct Pattern {
    segments: Vec<Segment>,
    /// Compared lexicographically, the lowest wins: 0 literal, 1 `{name}`, 2 `{*rest}` per segment.
    rank: Vec<u8>,
    methods: Vec<(String, RouteId)>,
}

/// The routes of one app, most specific patterns first.
#[derive(Debug)]
pub(crate) struct RouteTable {
    patterns: Vec<Pattern>,
}

impl RouteTable {
    pub(crate) fn new(app: &App) -> RouteTable {
        let mut patterns: Vec<Pattern> = Vec::new();
        for route in app.routes.values() {
            let segments: Vec<Segment> = route.spec.path.split('/').skip(1).map(parse).collect();
            let shape = |s: &Segment| match s {
                Segment::Literal(text) => (0, text.clone()),
                Segment::Name(_) => (1, String::new()),
                Segment::Rest(_) => (2, String::new()),
            };
            let same = |p: &&mut Pattern| {
                p.segments.len() == segments.len()
                    && p.segments.iter().map(shape).eq(segments.iter().map(shape))
            };
            let method = (route.spec.method.clone(), route.id);
            match patterns.iter_mut().find(same) {
                // Names of parameters are the first route's; deploys refuse two patterns that differ in names only.
                Some(pattern) => pattern.methods.push(method),
                None => {
                    let rank = segments.iter().map(|s| shape(s).0).collect();
                    patterns.push(Pattern { segments, rank, methods: vec![method] });
                }
            }
        }
        patterns.sort_by(|a, b| a.rank.cmp(&b.rank));
        RouteTable { patterns }
    }

    /// The route for a method and an undecoded path.
    pub(crate) fn find(&self, method: &str, path: &str) -> RouteMatch {
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let mut allow: Vec<String> = Vec::new();
        for pattern in &self.patterns {
            let Some(params) = params(&pattern.segments, &segments) else { continue };
            if let Some((_, route)) = pattern.methods.iter().find(|(m, _)| m == method) {
                return RouteMatch::Found { route: *route, params };
            }
            allow.extend(pattern.methods.iter().map(|(m, _)| m.clone()));
        }
        if allow.is_empty() {
            return RouteMatch::NotFound;
        }
        allow.sort_unstable();
        allow.dedup();
        RouteMatch::WrongMethod { allow }
    }
}

fn parse(segment: &str) -> Segment {
    match segment.strip_prefix('{').and_then(|s| s.strip_suffix('}')) {
        Some(inner) => match inner.strip_prefix('*') {
            Some(rest) => Segment::Rest(rest.to_owned()),
            None => Segment::Name(inner.to_owned()),
        },
        None => Segment::Literal(decode(segment)),
    }
}

fn params(pattern: &[Segment], path: &[&str]) -> Option<Vec<(String, String)>> {
    let mut params = Vec::new();
    let mut at = 0;
    for segment in pattern {
        match segment {
            Segment::Rest(name) => {
                let rest = path.get(at..).filter(|rest| !rest.is_empty() && *rest != [""])?;
                params.push((name.clone(), decode(&rest.join("/"))));
                return Some(params);
            }
            Segment::Literal(text) => {
                let given = path.get(at)?;
                if *given != text.as_str() && decode(given) != *text {
                    return None;
                }
            }
            Segment::Name(name) => {
                let given = path.get(at).filter(|given| !given.is_empty())?;
                params.push((name.clone(), decode(given)));
            }
        }
        at += 1;
    }
    (at == path.len()).then_some(params)
}

/// Percent-decodes; what is no UTF-8 afterwards is replaced, what is no escape stays.
fn decode(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escape = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match escape.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(decoded) if byte == b'%' => {
                out.push(decoded);
                at += 3;
            }
            Some(_) | None => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Tables by app, made anew when the app changes.
#[derive(Default)]
pub(crate) struct RouteCache {
    tables: RwLock<HashMap<AppId, (Lsn, Arc<RouteTable>)>>,
}

impl RouteCache {
    pub(crate) fn table(&self, app: &App) -> Arc<RouteTable> {
        if let Some((lsn, table)) = self.tables.read().get(&app.id)
            && *lsn == app.changed_lsn
        {
            return Arc::clone(table);
        }
        let table = Arc::new(RouteTable::new(app));
        self.tables.write().insert(app.id, (app.changed_lsn, Arc::clone(&table)));
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(patterns: &[(&str, &str)]) -> RouteTable {
        let mut patterns: Vec<Pattern> = patterns
            .iter()
            .zip(1_u8..)
            .map(|((method, path), n)| {
                let segments: Vec<Segment> = path.split('/').skip(1).map(parse).collect();
                let rank = segments
                    .iter()
                    .map(|s| match s {
                        Segment::Literal(_) => 0,
                        Segment::Name(_) => 1,
                        Segment::Rest(_) => 2,
                    })
                    .collect();
                Pattern {
                    segments,
                    rank,
                    methods: vec![((*method).to_owned(), RouteId::from_bytes([n; 16]))],
                }
            })
            .collect();
        patterns.sort_by(|a, b| a.rank.cmp(&b.rank));
        RouteTable { patterns }
    }

    fn check(table: &RouteTable, method: &str, path: &str, expect: &str) {
        let got = match table.find(method, path) {
            RouteMatch::Found { route, params } => {
                let params: Vec<String> = params.iter().map(|(k, v)| format!("{k}={v}")).collect();
                format!("{} {}", route.as_bytes()[0], params.join(","))
            }
            RouteMatch::WrongMethod { allow } => format!("405 {}", allow.join(",")),
            RouteMatch::NotFound => "404".to_owned(),
        };
        assert_eq!(got.trim(), expect, "{method} {path}");
    }

    #[test]
    fn literal_beats_name_beats_rest() {
        let table = table(&[
            ("GET", "/{*rest}"),
            ("GET", "/orders/{id}"),
            ("GET", "/orders/new"),
            ("POST", "/orders/{id}"),
            ("GET", "/"),
            ("GET", "/a b"),
        ]);
        check(&table, "GET", "/orders/new", "3");
        check(&table, "GET", "/orders/7", "2 id=7");
        check(&table, "GET", "/orders/a%2Fb", "2 id=a/b");
        check(&table, "GET", "/orders/7/lines", "1 rest=orders/7/lines");
        check(&table, "GET", "/", "5");
        check(&table, "GET", "/a%20b", "6");
        check(&table, "DELETE", "/orders/new", "405 GET,POST");
        check(&table, "DELETE", "/x", "405 GET");
        check(&table, "GET", "/orders/", "1 rest=orders/");
    }

    #[test]
    fn nothing_matches() {
        let table = table(&[("GET", "/a"), ("GET", "/a/{id}")]);
        for path in ["/", "/b", "/a/", "/a/1/2"] {
            check(&table, "GET", path, "404");
        }
    }
}
