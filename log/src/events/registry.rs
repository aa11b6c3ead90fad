//! Every kind of event with its number, whether it is written by now, who writes it and which views fold it.
//!
//! Owns: the table; `docs/events.md` is checked against it by a test. Numbers are `family << 8 | kind`, never
//! reused, and reserved before they are written so that a number never means two things in two versions.

/// One kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The type number in the record header.
    pub number: u16,
    /// The name as it shows on the outside.
    pub name: &'static str,
    /// Whether this version writes it; a reserved kind has a number only.
    pub written: bool,
    /// Who decides that it happened; empty for reserved kinds.
    pub writer: &'static str,
    /// Views that fold it.
    pub folds: &'static [&'static str],
}

/// Stands for an event without an entry; the tests show that there is none.
pub(super) const UNKNOWN: Kind = Kind { number: 0, name: "unknown", written: false, writer: "", folds: &[] };

const fn written(
    number: u16,
    name: &'static str,
    writer: &'static str,
    folds: &'static [&'static str],
) -> Kind {
    Kind { number, name, written: true, writer, folds }
}

/// All kinds, by number.
pub const KINDS: &[Kind] = &[
    written(0x0101, "app_created", "decide/registry", &["registry"]),
    written(0x0102, "app_changed", "decide/registry", &["registry"]),
    written(0x0103, "app_paused", "decide/pause", &["registry"]),
    written(0x0104, "app_resumed", "decide/pause", &["registry"]),
    written(
        0x0105,
        "app_deleted",
        "decide/registry",
        &["registry", "kv", "outbox", "dead_letters", "executions", "cron"],
    ),
    written(0x0106, "app_forked", "decide/fork", &["registry", "kv"]),
    written(0x0201, "script_deployed", "decide/registry", &["registry"]),
    written(0x0202, "script_deleted", "decide/registry", &["registry"]),
    written(0x0301, "route_created", "decide/registry", &["registry"]),
    written(0x0302, "route_deleted", "decide/registry", &["registry"]),
    written(0x0401, "trigger_created", "decide/registry", &["registry", "cron"]),
    written(0x0402, "trigger_changed", "decide/registry", &["registry", "cron"]),
    written(0x0403, "trigger_paused", "decide/pause", &["registry"]),
    written(0x0404, "trigger_resumed", "decide/pause", &["registry"]),
    written(0x0405, "trigger_deleted", "decide/registry", &["registry", "cron"]),
    written(0x0501, "token_created", "decide/tokens", &["registry"]),
    written(0x0502, "token_deleted", "decide/tokens", &["registry"]),
    written(0x0601, "secret_set", "decide/registry", &["registry"]),
    written(0x0602, "secret_deleted", "decide/registry", &["registry"]),
    written(0x0701, "kv_put", "decide/commit", &["kv", "index"]),
    written(0x0702, "kv_deleted", "decide/commit", &["kv"]),
    written(0x0703, "kv_expired", "decide/expiry", &["kv"]),
    written(0x0801, "enqueued", "decide/enqueue", &["outbox", "executions", "idempotency", "index"]),
    written(0x0802, "claimed", "dispatch", &["outbox", "executions"]),
    written(0x0803, "released", "dispatch", &["outbox", "executions"]),
    written(0x0804, "completed", "decide/commit", &["outbox", "executions", "index"]),
    written(0x0805, "attempt_failed", "decide/failure", &["outbox", "executions", "index"]),
    written(0x0806, "abandoned", "decide/failure", &["outbox", "executions", "abandoned"]),
    written(0x0807, "dropped", "decide/registry", &["outbox", "executions"]),
    written(0x0808, "depth_exceeded", "decide/enqueue", &["executions", "index"]),
    written(0x0809, "alone_ended", "dispatch", &["outbox"]),
    written(0x0901, "dead_lettered", "decide/failure", &["dead_letters", "executions"]),
    written(0x0902, "dead_letter_handler_failed", "decide/failure", &["dead_letters"]),
    written(0x0903, "dead_letter_redriven", "decide/letters", &["dead_letters", "jobs"]),
    written(0x0904, "dead_letter_resolved", "decide/letters", &["dead_letters"]),
    written(0x0905, "dead_letter_expired", "decide/retention", &["dead_letters"]),
    written(0x0a01, "cron_ticked", "decide/cron", &["cron"]),
    written(0x0b01, "job_created", "decide/bulk", &["jobs"]),
    written(0x0b02, "job_progressed", "decide/bulk", &["jobs"]),
    written(0x0b03, "job_ended", "decide/bulk", &["jobs"]),
    written(0x0b04, "job_expired", "decide/retention", &["jobs"]),
    written(0x0c01, "abandoned_expired", "decide/retention", &["abandoned"]),
    written(0x0c02, "hold_set", "decide/holds", &["holds"]),
    written(0x0c03, "hold_released", "decide/holds", &["holds"]),
];

/// The kind with this number.
#[must_use]
pub fn by_number(number: u16) -> Option<&'static Kind> {
    KINDS.binary_search_by_key(&number, |kind| kind.number).ok().and_then(|at| KINDS.get(at))
}

/// The kind with this name.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}
