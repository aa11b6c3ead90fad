//! Settings: one table drives flags, environment, file, defaults and `config show`.
//!
//! Owns: [`Settings`], and what makes sense for each. Never does: open a data directory or start anything; a bad value
//! is one line for stderr and exit 78.

mod table;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use relive_engine::secrets::InstanceKey;
use relive_engine::settings::EngineSettings;
use relive_log::events::Backoff;
use relive_log::{NetworkFilesystem, Recycle, SEGMENT_ALIGNMENTS_MIN};

use crate::http::PageLimits;
use crate::outgoing::Allow;
use crate::retention::History;

pub(crate) use table::*;

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
    /// How long a page of a list is.
    pub(crate) pages: PageLimits,
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
            pages: pages(from)?,
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

fn pages(from: &Resolved) -> Result<PageLimits, BadSetting> {
    let items_max = from.count("max_list_page", 1..=100_000)?;
    let items = from.count("list_page", 1..=100_000)?;
    if items > items_max {
        return Err(from.bad("list_page", &format!("at most max_list_page ({items_max})")));
    }
    Ok(PageLimits { items, items_max, bytes_max: from.bytes("max_list_bytes", 1..=64 << 20).map(narrow)? })
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
    engine.leaked_bytes_max = from.bytes("max_leaked_memory", 1 << 20..=1 << 40)?;
    engine.limits.string_bytes = size("max_string", 64 << 20)?;
    engine.limits.array_len = from.count("max_array", 1..=10_000_000)?;
    engine.limits.map_len = from.count("max_map", 1..=10_000_000)?;
    engine.limits.writes_max = from.count("max_writes", 1..=1_000_000)?;
    engine.limits.write_bytes_max = size("max_write_bytes", 15 << 20)?;
    engine.fan_out_max = from.count("max_fan_out", 1..=100_000)?;
    let pages = pages(from)?;
    (engine.limits.list_page_default, engine.limits.list_page_max) = (pages.items, pages.items_max);
    // A page of a listing stays below the longest string: the interpreter counts all texts of a value together.
    engine.limits.list_bytes_max = pages.bytes_max.min(engine.limits.string_bytes / 16 * 15);
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

#[cfg(test)]
mod tests {
    use std::path::Path;

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
            (("RELIVE_LIST_PAGE", "2000"), None, "at most max_list_page (1000)"),
            (("RELIVE_MAX_LIST_BYTES", "1GiB"), None, "RELIVE_MAX_LIST_BYTES"),
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
