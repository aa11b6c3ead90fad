//! The table of settings, and where the value of each comes from.
//!
//! Owns: names, defaults, precedence (flag > environment > file > default), and reading numbers, sizes and times. Never
//! does: know what a value is for.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The command line.
    Flag,
    /// An environment variable.
    Env,
    /// The `--config` file.
    File,
    /// Built in.
    Default,
}

impl Origin {
    /// The name that `config show` prints.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Origin::Flag => "flag",
            Origin::Env => "environment",
            Origin::File => "file",
            Origin::Default => "default",
        }
    }
}

/// One setting. Its flag is the key with dashes, its variable `RELIVE_` and the key in capitals.
#[derive(Debug)]
pub(crate) struct Def {
    /// Name in the file.
    pub(crate) key: &'static str,
    /// Value when nobody says anything; empty for unset.
    pub(crate) default: &'static str,
    /// Help text.
    pub(crate) help: &'static str,
}

impl Def {
    /// Whether it is true or false: its flag may stand without a value.
    pub(crate) fn is_switch(&self) -> bool {
        matches!(self.default, "true" | "false")
    }
}

const fn def(key: &'static str, default: &'static str, help: &'static str) -> Def {
    Def { key, default, help }
}

/// Every setting that this version knows.
pub(crate) const DEFS: &[Def] = &[
    def("data", "./relive-data", "data directory"),
    def("listen", "127.0.0.1:7070", "address of the data plane; port 0 picks a free one"),
    def("admin_listen", "127.0.0.1:7071", "address of the control plane; port 0 picks a free one"),
    def("admin_token", "", "the instance token; unset: DATA/admin.token, made on a new data directory"),
    def(
        "instance_key",
        "",
        "32 bytes as hex or base64; unset: DATA/instance.key, made on a new data directory",
    ),
    def("log_format", "pretty", "format of the logs on stderr: pretty or json"),
    def("log_level", "info", "what is logged: error, warn, info, debug, trace, or a tracing filter"),
    def("durability", "sync", "sync: fdatasync before any answer"),
    def(
        "allow_network_filesystem",
        "false",
        "true: start on a network filesystem too, whose locks and syncs do not keep what Relive promises",
    ),
    def("segment_bytes", "64MiB", "size of a log segment; shapes a new log only"),
    def(
        "log_align",
        "",
        "groups of a new log start at multiples of it, 512B to 64KiB; unset: the larger of 512B and the device's block",
    ),
    def(
        "log_recycle",
        "zero",
        "segments that a cut retires: `zero` (used again, zeroed first), `reuse` (as they are: deleted events stay \
         readable on the raw disk for a while) or `off` (removed)",
    ),
    def(
        "history_retention",
        "forever",
        "how much history is kept: `forever`, an age, a size, or both (90d, 50GiB, `90d,50GiB`)",
    ),
    def(
        "snapshot_bytes",
        "128MiB",
        "a snapshot of the state is taken after so many bytes of log; what a start without views folds",
    ),
    def(
        "base_lag_bytes",
        "64MiB",
        "how far the views on disk may lag behind; past it admissions slow down, then 503",
    ),
    def("shutdown_grace_ms", "10000", "how long a shutdown lets running executions finish"),
    def("retry_max_attempts", "3", "attempts in all, where a trigger or route says nothing"),
    def("retry_backoff", "exponential", "none, fixed, linear or exponential"),
    def("retry_base_ms", "1000", "unit of the wait before a retry"),
    def("retry_max_ms", "60000", "upper bound of the wait before a retry"),
    def("retry_jitter_pct", "20", "spread of the wait, percent"),
    def("dead_letter_retention", "30d", "how long dead letters are kept: a number with ms, s, m, h or d"),
    def("abandoned_retention", "7d", "how long abandoned records are kept"),
    def("max_trigger_depth", "8", "the deepest execution that still runs"),
    def("max_concurrent_executions", "", "executions that run at once; unset: 2 x cores"),
    def("max_waiting_calls", "1024", "sync calls that may wait for a place"),
    def("execution_timeout_ms", "10000", "wall-clock limit of an execution"),
    def(
        "http_allow",
        "",
        "hosts (host, host:port, address, CIDR) that scripts may call although they are not public",
    ),
    def("max_operations", "10000000", "operations of one execution"),
    def("max_request_body", "1MiB", "largest request body"),
    def("max_response_body", "4MiB", "largest response body"),
    def("max_script_source", "256KiB", "largest script source"),
    def("max_key", "1KiB", "longest key"),
    def("max_collection_name", "256B", "longest name of a collection"),
    def("max_value", "1MiB", "largest value of a key, as JSON"),
    def("max_batch", "16MiB", "largest batch of one commit in the log"),
    def("max_call_levels", "64", "nested calls of functions in a script"),
    def("max_memory", "64MiB", "memory that one execution may hold"),
    def(
        "max_leaked_memory",
        "64MiB",
        "memory that the scripts of an app may leave for ever before it is paused",
    ),
    def("max_string", "1MiB", "longest string in a script"),
    def("max_array", "100000", "elements of an array, bytes of a blob in a script"),
    def("max_map", "100000", "properties of a map in a script"),
    def("max_writes", "10000", "keys that one execution may write"),
    def("max_write_bytes", "8MiB", "bytes of keys and values that one execution may write"),
    def("max_fan_out", "10000", "executions that one commit may fire"),
    def("list_page", "100", "items of a page of a list where the caller names no number"),
    def("max_list_page", "1000", "the most items of a page of a list"),
    def(
        "max_list_bytes",
        "4MiB",
        "bytes of keys and values after which a page of keys ends early; of `kv::list`, 15/16 of max_string at most",
    ),
    def(
        "sensitive_headers",
        "authorization,cookie,proxy-authorization,x-api-key",
        "request headers that are withheld from the record",
    ),
];

/// Settings of the contract that this version does not have; set, they are refused rather than ignored.
pub(crate) const NOT_YET: &[&str] = &["metrics_auth"];

/// The environment variable of a key.
pub(crate) fn env_name(key: &str) -> String {
    format!("RELIVE_{}", key.to_ascii_uppercase())
}

/// The flag of a key, without dashes in front.
pub(crate) fn flag_name(key: &str) -> String {
    key.replace('_', "-")
}

/// Why settings make no sense; one line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadSetting(pub(crate) String);

/// What a kind of process wants different from the table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overrides(pub(crate) BTreeMap<&'static str, String>);

/// Values as text with their origin, by key, in the order of the table.
#[derive(Debug)]
pub(crate) struct Resolved(Vec<(&'static Def, String, Origin)>);

impl Resolved {
    /// Resolves every key: flag > environment > file > default.
    pub(crate) fn new(
        flags: &BTreeMap<String, String>,
        env: &dyn Fn(&str) -> Option<String>,
        file: Option<(&Path, &str)>,
        overrides: &Overrides,
    ) -> Result<Resolved, BadSetting> {
        let file = match file {
            Some((path, text)) => read_file(path, text)?,
            None => BTreeMap::new(),
        };
        if let Some(key) = NOT_YET.iter().find(|key| env(&env_name(key)).is_some()) {
            return Err(BadSetting(format!(
                "{} is not supported yet by this version: unset it",
                env_name(key)
            )));
        }
        let values = DEFS.iter().map(|def| {
            let default = || overrides.0.get(def.key).cloned().unwrap_or_else(|| def.default.to_owned());
            let (value, origin) = None
                .or_else(|| flags.get(def.key).map(|value| (value.clone(), Origin::Flag)))
                .or_else(|| env(&env_name(def.key)).map(|value| (value, Origin::Env)))
                .or_else(|| file.get(def.key).map(|value| (value.clone(), Origin::File)))
                .unwrap_or_else(|| (default(), Origin::Default));
            (def, value, origin)
        });
        Ok(Resolved(values.collect()))
    }

    /// Every setting with its value and origin; secrets hidden.
    pub(crate) fn shown(&self) -> impl Iterator<Item = (&'static str, String, Origin)> {
        self.0.iter().map(|(def, value, origin)| {
            let secret = matches!(def.key, "admin_token" | "instance_key") && !value.is_empty();
            let value = if secret { "(set, not shown)".to_owned() } else { value.clone() };
            (def.key, value, *origin)
        })
    }

    pub(super) fn text(&self, key: &str) -> &str {
        self.0.iter().find(|(def, ..)| def.key == key).map_or("", |(_, value, _)| value)
    }

    pub(super) fn bad(&self, key: &str, want: &str) -> BadSetting {
        let origin =
            self.0.iter().find(|(def, ..)| def.key == key).map_or(Origin::Default, |(.., origin)| *origin);
        let name = match origin {
            Origin::Flag => format!("--{}", flag_name(key)),
            Origin::Env => env_name(key),
            Origin::File | Origin::Default => key.to_owned(),
        };
        BadSetting(format!("{name} ({}): `{}` is not {want}", origin.name(), self.text(key)))
    }

    pub(super) fn number(&self, key: &str, range: std::ops::RangeInclusive<u64>) -> Result<u64, BadSetting> {
        self.text(key).parse().ok().filter(|n| range.contains(n)).ok_or_else(|| {
            self.bad(key, &format!("a whole number from {} to {}", range.start(), range.end()))
        })
    }

    pub(super) fn count(&self, key: &str, range: std::ops::RangeInclusive<u64>) -> Result<usize, BadSetting> {
        let number = self.number(key, range)?;
        usize::try_from(number).map_err(|_| self.bad(key, "a number that this machine can count to"))
    }

    pub(super) fn bytes(&self, key: &str, range: std::ops::RangeInclusive<u64>) -> Result<u64, BadSetting> {
        parse_bytes(self.text(key)).filter(|n| range.contains(n)).ok_or_else(|| {
            self.bad(key, &format!("a size from {} to {} bytes (like 64MiB)", range.start(), range.end()))
        })
    }

    pub(super) fn span_ms(&self, key: &str) -> Result<u64, BadSetting> {
        parse_span_ms(self.text(key))
            .filter(|ms| (1..=SPAN_MS_MAX).contains(ms))
            .ok_or_else(|| self.bad(key, "a time from 1ms to 36500d (like 30d)"))
    }

    pub(super) fn switch(&self, key: &str) -> Result<bool, BadSetting> {
        self.text(key).parse().map_err(|_| self.bad(key, "`true` or `false`"))
    }

    pub(super) fn address(&self, key: &str) -> Result<SocketAddr, BadSetting> {
        let text = self.text(key).replace("localhost:", "127.0.0.1:");
        text.parse().map_err(|_| self.bad(key, "an address like 127.0.0.1:7070"))
    }
}

/// The longest time that anything may be kept: a hundred years.
const SPAN_MS_MAX: u64 = 36_500 * 24 * 3600 * 1000;

/// Parses `30d`, `12h`, `5m`, `10s`, `500ms`.
pub(crate) fn parse_span_ms(text: &str) -> Option<u64> {
    let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    let (number, ms) = units.iter().find_map(|(unit, ms)| Some((text.trim().strip_suffix(unit)?, ms)))?;
    number.trim().parse::<u64>().ok()?.checked_mul(*ms)
}

/// Parses `64MiB`, `512KiB`, `1GiB`, `4096`.
pub(crate) fn parse_bytes(text: &str) -> Option<u64> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)];
    let text = text.trim();
    for (unit, bytes) in units {
        if let Some(number) = text.strip_suffix(unit) {
            return number.trim().parse::<u64>().ok()?.checked_mul(bytes);
        }
    }
    text.parse().ok()
}

fn read_file(path: &Path, text: &str) -> Result<BTreeMap<String, String>, BadSetting> {
    let table: toml::Table = toml::from_str(text).map_err(|e| {
        let line = e.span().map_or(1, |span| 1 + text.get(..span.start).unwrap_or("").matches('\n').count());
        BadSetting(format!("{}:{line}: {}", path.display(), e.message()))
    })?;
    let mut values = BTreeMap::new();
    for (key, value) in table {
        if NOT_YET.contains(&key.as_str()) {
            return Err(BadSetting(format!(
                "{}: `{key}` is not supported yet by this version",
                path.display()
            )));
        }
        let def = DEFS.iter().find(|def| def.key == key);
        if def.is_none() {
            let known: Vec<_> = DEFS.iter().map(|def| def.key).collect();
            return Err(BadSetting(format!(
                "{}: there is no setting `{key}`; known are {}",
                path.display(),
                known.join(", ")
            )));
        }
        let value = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Boolean(truth) if def.is_some_and(Def::is_switch) => truth.to_string(),
            toml::Value::Array(items) if items.iter().all(toml::Value::is_str) => {
                items.iter().filter_map(toml::Value::as_str).collect::<Vec<_>>().join(",")
            }
            toml::Value::Float(_)
            | toml::Value::Boolean(_)
            | toml::Value::Datetime(_)
            | toml::Value::Array(_)
            | toml::Value::Table(_) => {
                let found = value.type_str();
                return Err(BadSetting(format!(
                    "{}: `{key}` is a {found}, not a text or a number",
                    path.display()
                )));
            }
        };
        values.insert(key, value);
    }
    Ok(values)
}
