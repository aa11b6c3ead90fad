//! Settings: one table drives flags, environment, file, defaults and `config show`.
//!
//! Owns: names, defaults, precedence (flag > environment > file > default), parsing and checks. Never does:
//! open a data directory or start anything; a bad value is one line for stderr and exit 78.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use relive_engine::secrets::InstanceKey;
use relive_engine::settings::EngineSettings;
use relive_log::events::Backoff;
use relive_log::{NetworkFilesystem, Recycle, SEGMENT_ALIGNMENTS_MIN};

use crate::outgoing::Allow;
use crate::retention::History;

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
    def("max_string", "1MiB", "longest string in a script"),
    def("max_array", "100000", "elements of an array, bytes of a blob in a script"),
    def("max_map", "100000", "properties of a map in a script"),
    def("max_writes", "10000", "keys that one execution may write"),
    def("max_write_bytes", "8MiB", "bytes of keys and values that one execution may write"),
    def("max_fan_out", "10000", "executions that one commit may fire"),
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

    fn text(&self, key: &str) -> &str {
        self.0.iter().find(|(def, ..)| def.key == key).map_or("", |(_, value, _)| value)
    }

    fn bad(&self, key: &str, want: &str) -> BadSetting {
        let origin =
            self.0.iter().find(|(def, ..)| def.key == key).map_or(Origin::Default, |(.., origin)| *origin);
        let name = match origin {
            Origin::Flag => format!("--{}", flag_name(key)),
            Origin::Env => env_name(key),
            Origin::File | Origin::Default => key.to_owned(),
        };
        BadSetting(format!("{name} ({}): `{}` is not {want}", origin.name(), self.text(key)))
    }

    fn number(&self, key: &str, range: std::ops::RangeInclusive<u64>) -> Result<u64, BadSetting> {
        self.text(key).parse().ok().filter(|n| range.contains(n)).ok_or_else(|| {
            self.bad(key, &format!("a whole number from {} to {}", range.start(), range.end()))
        })
    }

    fn count(&self, key: &str, range: std::ops::RangeInclusive<u64>) -> Result<usize, BadSetting> {
        let number = self.number(key, range)?;
        usize::try_from(number).map_err(|_| self.bad(key, "a number that this machine can count to"))
    }

    fn bytes(&self, key: &str, range: std::ops::RangeInclusive<u64>) -> Result<u64, BadSetting> {
        parse_bytes(self.text(key)).filter(|n| range.contains(n)).ok_or_else(|| {
            self.bad(key, &format!("a size from {} to {} bytes (like 64MiB)", range.start(), range.end()))
        })
    }

    fn span_ms(&self, key: &str) -> Result<u64, BadSetting> {
        parse_span_ms(self.text(key))
            .filter(|ms| (1..=SPAN_MS_MAX).contains(ms))
            .ok_or_else(|| self.bad(key, "a time from 1ms to 36500d (like 30d)"))
    }

    fn switch(&self, key: &str) -> Result<bool, BadSetting> {
        self.text(key).parse().map_err(|_| self.bad(key, "`true` or `false`"))
    }

    fn address(&self, key: &str) -> Result<SocketAddr, BadSetting> {
        let text = self.text(key).replace("localhost:", "127.0.0.1:");
        text.parse().map_err(|_| self.bad(key, "an address like 127.0.0.1:7070"))
    }
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// Settings of a serving process, checked.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Data directory.
    pub(crate) data: PathBuf,
    /// Data plane.
    pub(crate) listen: SocketAddr,
    /// Control plane.
    pub(crate) admin_listen: SocketAddr,
    /// Instance token, if set.
    pub(crate) admin_token: Option<String>,
    /// Instance key, if set.
    pub(crate) instance_key: Option<InstanceKey>,
    /// Log format.
    pub(crate) log_format: LogFormat,
    /// Log filter.
    pub(crate) log_level: String,
    /// Whether the data directory may be on a network filesystem.
    pub(crate) network_filesystem: NetworkFilesystem,
    /// Size of segments.
    pub(crate) segment_bytes: u64,
    /// Alignment of groups in a new log, as a power of two; `None`: what the device wants.
    pub(crate) align_log2: Option<u8>,
    /// What becomes of segments that a cut retires.
    pub(crate) recycle: Recycle,
    /// How much history is kept.
    pub(crate) history: History,
    /// A snapshot is taken after so many bytes of log.
    pub(crate) snapshot_bytes: u64,
    /// How far the views on disk may lag behind.
    pub(crate) base_lag_bytes: u64,
    /// Largest batch of the log.
    pub(crate) batch_bytes_max: u64,
    /// Grace period of a shutdown.
    pub(crate) grace: Duration,
    /// Where scripts may call although it is not public.
    pub(crate) http_allow: Allow,
    /// The engine's.
    pub(crate) engine: EngineSettings,
}

/// What a sync call may do on the HTTP thread that took it, before it moves to a script thread: a millisecond or two.
pub(crate) const BRIEF_OPERATIONS: u64 = 10_000;
const MAX_MS: u64 = 365 * 24 * 3600 * 1000;

impl Settings {
    /// Checks every value.
    pub(crate) fn check(from: &Resolved, cores: usize) -> Result<Settings, BadSetting> {
        let text = |key| Some(from.text(key)).filter(|text| !text.is_empty()).map(str::to_owned);
        if from.text("durability") != "sync" {
            let unsupported = from.text("durability").starts_with("interval:");
            let want = if unsupported { "supported yet: only `sync` is" } else { "`sync`" };
            return Err(from.bad("durability", want));
        }
        let key = text("instance_key").map(|text| InstanceKey::from_text(&text)).transpose();
        let key = key.map_err(|error| BadSetting(format!("{}: {error}", env_name("instance_key"))))?;
        let token = text("admin_token");
        if token.as_ref().is_some_and(|t| t.len() < 8 || !t.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(BadSetting(format!(
                "{}: needs at least 8 visible ASCII characters without spaces",
                env_name("admin_token")
            )));
        }
        let segment_bytes = from.bytes("segment_bytes", 16 * 1024..=1 << 30)?;
        if segment_bytes % 4096 != 0 {
            return Err(from.bad("segment_bytes", "a multiple of 4096"));
        }
        Ok(Settings {
            data: PathBuf::from(from.text("data")),
            listen: from.address("listen")?,
            admin_listen: from.address("admin_listen")?,
            admin_token: token,
            instance_key: key,
            log_format: match from.text("log_format") {
                "pretty" => LogFormat::Pretty,
                "json" => LogFormat::Json,
                _ => return Err(from.bad("log_format", "`pretty` or `json`")),
            },
            log_level: from.text("log_level").to_owned(),
            network_filesystem: if from.switch("allow_network_filesystem")? {
                NetworkFilesystem::Allow
            } else {
                NetworkFilesystem::Refuse
            },
            segment_bytes,
            align_log2: align_log2(from, segment_bytes)?,
            recycle: match from.text("log_recycle") {
                "zero" => Recycle::Zero,
                "reuse" => Recycle::Reuse,
                "off" => Recycle::Off,
                _ => return Err(from.bad("log_recycle", "`zero`, `reuse` or `off`")),
            },
            history: History::parse(from.text("history_retention")).ok_or_else(|| {
                from.bad("history_retention", "`forever`, an age, a size, or both (like `90d,50GiB`)")
            })?,
            snapshot_bytes: from.bytes("snapshot_bytes", 4096..=1 << 50)?,
            base_lag_bytes: from.bytes("base_lag_bytes", 1 << 20..=1 << 40)?,
            batch_bytes_max: from.bytes("max_batch", 64 << 10..=16 << 20)?,
            grace: Duration::from_millis(from.number("shutdown_grace_ms", 0..=MAX_MS)?),
            http_allow: http_allow(from)?,
            engine: engine_settings(from, cores)?,
        })
    }
}

fn align_log2(from: &Resolved, segment_bytes: u64) -> Result<Option<u8>, BadSetting> {
    if from.text("log_align").is_empty() {
        return Ok(None);
    }
    let align = from.bytes("log_align", 512..=64 << 10)?;
    if !align.is_power_of_two() {
        return Err(from.bad("log_align", "a power of two"));
    }
    if !segment_bytes.is_multiple_of(align) || segment_bytes < SEGMENT_ALIGNMENTS_MIN * align {
        let want = format!("a part of segment_bytes ({segment_bytes}), a quarter of it at most");
        return Err(from.bad("log_align", &want));
    }
    Ok(u8::try_from(align.trailing_zeros()).ok())
}

fn http_allow(from: &Resolved) -> Result<Allow, BadSetting> {
    Allow::parse(from.text("http_allow")).map_err(|entry| {
        let want = format!("a list of hosts, addresses and blocks: `{entry}` is none of them");
        from.bad("http_allow", &want)
    })
}

fn engine_settings(from: &Resolved, cores: usize) -> Result<EngineSettings, BadSetting> {
    let gate = if from.text("max_concurrent_executions").is_empty() {
        (cores * 2).clamp(2, 256)
    } else {
        from.count("max_concurrent_executions", 1..=256)?
    };
    let mut engine = EngineSettings { gate, brief_operations: BRIEF_OPERATIONS, ..EngineSettings::default() };
    engine.waiting_calls_max = from.count("max_waiting_calls", 0..=1_000_000)?;
    engine.depth_max = narrow(from.number("max_trigger_depth", 0..=1000)?);
    engine.retry.max_attempts = narrow(from.number("retry_max_attempts", 1..=1000)?);
    engine.retry.backoff = match from.text("retry_backoff") {
        "none" => Backoff::None,
        "fixed" => Backoff::Fixed,
        "linear" => Backoff::Linear,
        "exponential" => Backoff::Exponential,
        _ => return Err(from.bad("retry_backoff", "`none`, `fixed`, `linear` or `exponential`")),
    };
    engine.retry.base_ms = from.number("retry_base_ms", 0..=MAX_MS)?;
    engine.retry.max_ms = from.number("retry_max_ms", 0..=MAX_MS)?;
    engine.retry.jitter_pct = narrow(from.number("retry_jitter_pct", 0..=100)?);
    engine.dead_letter_retention_ms = from.span_ms("dead_letter_retention")?;
    engine.abandoned_retention_ms = from.span_ms("abandoned_retention")?;
    engine.timeout_ms = from.number("execution_timeout_ms", 1..=MAX_MS)?;
    engine.limits.operations =
        from.number("max_operations", 1..=relive_engine::script::OPERATIONS_UPPER_BOUND)?;
    let size = |key, max| from.bytes(key, 1..=max).map(narrow::<usize>);
    engine.request_body_max = size("max_request_body", 8 << 20)?;
    engine.limits.response_bytes_max = size("max_response_body", 64 << 20)?;
    engine.source_bytes_max = size("max_script_source", 4 << 20)?;
    engine.limits.key_bytes_max = size("max_key", 16 << 10)?;
    engine.limits.collection_bytes_max = size("max_collection_name", 4 << 10)?;
    engine.limits.value_bytes_max = size("max_value", 8 << 20)?;
    engine.limits.call_levels = from.count("max_call_levels", 1..=64)?;
    engine.limits.memory_bytes = from.bytes("max_memory", 1 << 20..=16 << 30)?;
    engine.limits.string_bytes = size("max_string", 64 << 20)?;
    engine.limits.array_len = from.count("max_array", 1..=10_000_000)?;
    engine.limits.map_len = from.count("max_map", 1..=10_000_000)?;
    engine.limits.writes_max = from.count("max_writes", 1..=1_000_000)?;
    engine.limits.write_bytes_max = size("max_write_bytes", 15 << 20)?;
    engine.fan_out_max = from.count("max_fan_out", 1..=100_000)?;
    // A page of a listing stays below the longest string: the interpreter counts all texts of a value together.
    engine.limits.list_bytes_max = engine.limits.list_bytes_max.min(engine.limits.string_bytes / 16 * 15);
    engine.sensitive_headers = from
        .text("sensitive_headers")
        .split(',')
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| !name.is_empty())
        .collect();
    Ok(engine)
}

/// Narrows a number whose range was checked.
fn narrow<T: TryFrom<u64> + Default>(number: u64) -> T {
    T::try_from(number).unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(
        flags: &[(&str, &str)],
        env: &[(&str, &str)],
        file: Option<&str>,
    ) -> Result<Resolved, BadSetting> {
        let flags = flags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let env = |name: &str| env.iter().find(|(k, _)| *k == name).map(|(_, v)| (*v).to_owned());
        Resolved::new(&flags, &env, file.map(|text| (Path::new("r.toml"), text)), &Overrides::default())
    }

    #[test]
    fn flag_beats_environment_beats_file_beats_default() {
        let flag: &[(&str, &str)] = &[("listen", "1.1.1.1:1")];
        let env: &[(&str, &str)] = &[("RELIVE_LISTEN", "2.2.2.2:2")];
        let file = Some("listen = \"3.3.3.3:3\"");
        for (flags, env, file, want, origin) in [
            (flag, env, file, "1.1.1.1:1", Origin::Flag),
            (&[], env, file, "2.2.2.2:2", Origin::Env),
            (&[], &[], file, "3.3.3.3:3", Origin::File),
            (&[], &[], None, "127.0.0.1:7070", Origin::Default),
        ] {
            let resolved = resolve(flags, env, file).unwrap();
            let got = resolved.shown().find(|(key, ..)| *key == "listen").unwrap();
            assert_eq!(got, ("listen", want.to_owned(), origin));
        }
    }

    #[test]
    fn bad_settings_are_one_line_that_names_the_setting() {
        for (env, file, want) in [
            (("RELIVE_LISTEN", "nowhere"), None, "RELIVE_LISTEN (environment): `nowhere` is not an address"),
            (("RELIVE_MAX_OPERATIONS", "0"), None, "RELIVE_MAX_OPERATIONS"),
            (("RELIVE_RETRY_BACKOFF", "cubic"), None, "RELIVE_RETRY_BACKOFF"),
            (("RELIVE_SEGMENT_BYTES", "5000000"), None, "a multiple of 4096"),
            (("RELIVE_DURABILITY", "interval:10"), None, "not supported yet"),
            (
                ("RELIVE_LOG_RECYCLE", "shred"),
                None,
                "RELIVE_LOG_RECYCLE (environment): `shred` is not `zero`",
            ),
            (
                ("RELIVE_LOG_ALIGN", "256"),
                None,
                "RELIVE_LOG_ALIGN (environment): `256` is not a size from 512",
            ),
            (("RELIVE_LOG_ALIGN", "3KiB"), None, "a power of two"),
            (("RELIVE_LOG_ALIGN", "64KiB"), Some("segment_bytes = \"128KiB\""), "a quarter of it at most"),
            (("RELIVE_HTTP_ALLOW", "10.0.0.0/8, *"), None, "RELIVE_HTTP_ALLOW (environment)"),
            (("RELIVE_HTTP_ALLOW", "10.0.0.0/8, *"), None, "`*` is none of them"),
            (("RELIVE_HISTORY_RETENTION", "soon"), None, "`soon` is not `forever`, an age, a size, or both"),
            (("RELIVE_SNAPSHOT_BYTES", "1"), None, "RELIVE_SNAPSHOT_BYTES"),
            (("RELIVE_BASE_LAG_BYTES", "1KiB"), None, "RELIVE_BASE_LAG_BYTES"),
            (
                ("RELIVE_ALLOW_NETWORK_FILESYSTEM", "perhaps"),
                None,
                "RELIVE_ALLOW_NETWORK_FILESYSTEM (environment): `perhaps` is not `true` or `false`",
            ),
            (("RELIVE_ADMIN_TOKEN", "short"), None, "RELIVE_ADMIN_TOKEN"),
            (("RELIVE_INSTANCE_KEY", "abc"), None, "64 hexadecimal digits"),
            (("X", ""), Some("lisen = 1"), "there is no setting `lisen`"),
            (("X", ""), Some("a = 1\nb = ["), "r.toml:"),
            (("X", ""), Some("metrics_auth = true"), "not supported yet"),
            (("X", ""), Some("listen = true"), "a boolean"),
        ] {
            let got =
                resolve(&[], &[env], file).and_then(|r| Settings::check(&r, 2)).unwrap_err().to_string();
            assert!(got.contains(want), "{got} lacks {want}");
            assert!(!got.contains('\n'), "{got}");
        }
    }

    #[test]
    fn r0_a_network_filesystem_is_refused_unless_it_is_asked_for() {
        use NetworkFilesystem::{Allow, Refuse};
        let name = "RELIVE_ALLOW_NETWORK_FILESYSTEM";
        for (env, file, want) in [
            (None, None, Refuse),
            (Some((name, "true")), None, Allow),
            (Some((name, "false")), Some("allow_network_filesystem = true"), Refuse),
            (None, Some("allow_network_filesystem = true"), Allow),
            (None, Some("allow_network_filesystem = \"true\""), Allow),
        ] {
            let resolved = resolve(&[], env.as_slice(), file).unwrap();
            assert_eq!(Settings::check(&resolved, 2).unwrap().network_filesystem, want, "{env:?} {file:?}");
        }
    }

    #[test]
    fn the_shape_of_a_log_is_set() {
        let shape = |env: &[(&str, &str)]| {
            let settings = Settings::check(&resolve(&[], env, None).unwrap(), 2).unwrap();
            (settings.align_log2, settings.recycle)
        };
        assert_eq!(shape(&[]), (None, Recycle::Zero));
        for (align, recycle, want) in [
            ("512", "reuse", (Some(9), Recycle::Reuse)),
            ("4KiB", "off", (Some(12), Recycle::Off)),
            ("64KiB", "zero", (Some(16), Recycle::Zero)),
        ] {
            let env = [("RELIVE_LOG_ALIGN", align), ("RELIVE_LOG_RECYCLE", recycle)];
            assert_eq!(shape(&env), want, "{align} {recycle}");
        }
    }

    #[test]
    fn spans_parse() {
        for (text, want) in [
            ("30d", Some(30 * 86_400_000)),
            ("12 h", Some(12 * 3_600_000)),
            ("500ms", Some(500)),
            ("5m", Some(300_000)),
            ("10s", Some(10_000)),
            ("7", None),
            ("forever", None),
            ("-1d", None),
        ] {
            assert_eq!(parse_span_ms(text), want, "{text}");
        }
        let bad = resolve(&[], &[("RELIVE_DEAD_LETTER_RETENTION", "0d")], None)
            .and_then(|r| Settings::check(&r, 2))
            .unwrap_err();
        assert!(bad.to_string().contains("RELIVE_DEAD_LETTER_RETENTION"), "{bad}");
    }

    #[test]
    fn sizes_parse() {
        for (text, want) in [
            ("64MiB", Some(64 << 20)),
            ("1 KiB", Some(1024)),
            ("4096", Some(4096)),
            ("1MB", None),
            ("", None),
        ] {
            assert_eq!(parse_bytes(text), want, "{text}");
        }
    }

    #[test]
    fn defaults_pass_and_secrets_are_hidden() {
        let resolved = resolve(&[], &[("RELIVE_ADMIN_TOKEN", "0123456789")], None).unwrap();
        let settings = Settings::check(&resolved, 2).unwrap();
        assert_eq!(settings.engine.gate, 4);
        assert!(resolved.shown().all(|(_, value, _)| !value.contains("0123456789")));
    }
}
