//! The manifest `relive.toml`, and the same as JSON: from text to routes and triggers.
//!
//! Owns: allowed names, types and values of every field, each error with line, column and what is allowed.
//! Never does: read files, know which scripts exist, or check what only the registry knows (the engine does).

mod fields;
mod tree;

use relive_log::events::{
    Backoff, DispatchMode, KvOps, Ordering, Pattern, Record, RetryPolicy, RouteSpec, TriggerSpec,
};

use fields::Fields;
use relive_engine::cron::Schedule;
use relive_engine::names;
use relive_engine::refusal::Refusal;
use relive_engine::script::Limits;
use relive_engine::settings::{RETRY_ATTEMPTS_MAX, RETRY_WAIT_MS_MAX};
use tree::Problem;
pub(crate) use tree::{ManifestError, Tree, from_json};

/// A manifest, understood.
#[derive(Debug)]
pub(crate) struct Manifest {
    /// Slug of the app.
    pub(crate) app: String,
    /// Routes.
    pub(crate) routes: Vec<RouteSpec>,
    /// Triggers.
    pub(crate) triggers: Vec<TriggerSpec>,
    /// The scripts that routes and triggers name, each once.
    pub(crate) scripts: Vec<ScriptRef>,
}

/// A script as a manifest names it.
#[derive(Debug)]
pub(crate) struct ScriptRef {
    /// Its name: the stem of the path.
    pub(crate) name: String,
    /// Its path.
    pub(crate) path: String,
    tree: Tree,
}

impl ScriptRef {
    /// An error at the place that names it first; `text` is the manifest's, if it is TOML.
    pub(crate) fn error(&self, text: Option<&str>, message: impl Into<String>) -> ManifestError {
        Problem::at(&self.tree, message).placed(text)
    }
}

/// How a `script` field names its script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScriptNames {
    /// By a path; the stem is the name (manifests).
    Paths,
    /// By its name (the API).
    Names,
}

/// The engine's bounds, in the numbers of TOML.
const WAIT_MS_MAX: i64 = RETRY_WAIT_MS_MAX.cast_signed();
const ATTEMPTS_MAX: i64 = RETRY_ATTEMPTS_MAX as i64;

/// Reads TOML text.
pub(crate) fn parse_toml(text: &str, retry: RetryPolicy) -> Result<Manifest, ManifestError> {
    tree::from_toml(text)
        .and_then(|tree| manifest(&tree, retry))
        .map_err(|problem| problem.placed(Some(text)))
}

/// Reads the same as a JSON object.
pub(crate) fn parse_json(value: &serde_json::Value, retry: RetryPolicy) -> Result<Manifest, ManifestError> {
    manifest(&from_json(value, ""), retry).map_err(|problem| problem.placed(None))
}

/// Reads a route of the API.
pub(crate) fn parse_route(value: &serde_json::Value, retry: RetryPolicy) -> Result<RouteSpec, ManifestError> {
    route(&from_json(value, ""), retry, ScriptNames::Names).map(|(spec, _)| spec).map_err(|p| p.placed(None))
}

/// Reads a trigger of the API.
pub(crate) fn parse_trigger(
    value: &serde_json::Value,
    retry: RetryPolicy,
) -> Result<TriggerSpec, ManifestError> {
    trigger(&from_json(value, ""), retry, ScriptNames::Names)
        .map(|(spec, _)| spec)
        .map_err(|p| p.placed(None))
}

/// The name of the script at `path`: the stem of the file.
pub(crate) fn stem(path: &str) -> &str {
    let file = path.rsplit(['/', '\\']).next().unwrap_or(path);
    file.strip_suffix(".rhai").unwrap_or(file)
}

fn manifest(tree: &Tree, retry: RetryPolicy) -> Result<Manifest, Problem> {
    let fields = Fields::of(tree, "the manifest", &["app", "route", "trigger"])?;
    let app = fields.text("app")?.ok_or_else(|| fields.missing("app"))?;
    legal(&fields, "app", names::slug(&app))?;
    let mut found = Manifest { app, routes: Vec::new(), triggers: Vec::new(), scripts: Vec::new() };
    for tree in fields.list("route")? {
        let (spec, script) = route(tree, retry, ScriptNames::Paths)?;
        let same =
            |other: &RouteSpec| other.method == spec.method && names::same_pattern(&other.path, &spec.path);
        if found.routes.iter().any(same) {
            return Err(Problem::at(tree, format!("`{} {}` stands twice", spec.method, spec.path)));
        }
        found.add_script(&spec.script, &script)?;
        found.routes.push(spec);
    }
    for tree in fields.list("trigger")? {
        let (spec, script) = trigger(tree, retry, ScriptNames::Paths)?;
        let same_queue = |other: &&TriggerSpec| matches!((&other.pattern, &spec.pattern), (Pattern::Queue { queue: a }, Pattern::Queue { queue: b }) if a == b);
        if let Some(other) = found.triggers.iter().find(same_queue) {
            let problem = format!("a queue has exactly one consumer, and `{}` is it already", other.name);
            return Err(Problem::at(tree, problem));
        }
        if found.triggers.iter().any(|other| other.name == spec.name) {
            return Err(Problem::at(tree, format!("a trigger `{}` stands twice", spec.name)));
        }
        found.add_script(&spec.script, &script)?;
        found.triggers.push(spec);
    }
    Ok(found)
}

impl Manifest {
    fn add_script(&mut self, name: &str, named: &Named) -> Result<(), Problem> {
        match self.scripts.iter().find(|known| known.name == name) {
            Some(known) if known.path != named.path => Err(Problem::at(
                &named.tree,
                format!(
                    "`{}` and `{}` have the same stem `{name}`, which is the script's name",
                    named.path, known.path
                ),
            )),
            Some(_) => Ok(()),
            None => {
                self.scripts.push(ScriptRef {
                    name: name.to_owned(),
                    path: named.path.clone(),
                    tree: named.tree.clone(),
                });
                Ok(())
            }
        }
    }
}

/// A script field: its path and where it stands.
struct Named {
    path: String,
    tree: Tree,
}

fn script(fields: &Fields<'_>, script_names: ScriptNames) -> Result<(String, Named), Problem> {
    let path = fields.text("script")?.ok_or_else(|| fields.missing("script"))?;
    let name = match script_names {
        ScriptNames::Paths => stem(&path).to_owned(),
        ScriptNames::Names => path.clone(),
    };
    let tree = fields.tree("script").cloned().unwrap_or_else(|| fields.whole().clone());
    if name.is_empty() {
        return Err(Problem::at(&tree, "names no script"));
    }
    legal(fields, "script", names::name("script", &name))?;
    Ok((name, Named { path, tree }))
}

/// A refusal of the engine's rules for names, placed at its field.
fn legal(fields: &Fields<'_>, field: &str, checked: Result<(), Refusal>) -> Result<(), Problem> {
    checked.map_err(|refusal| {
        if let Refusal::Invalid { problem, .. } = refusal {
            fields.problem(field, problem)
        } else {
            fields.problem(field, refusal.to_string())
        }
    })
}

fn route(tree: &Tree, retry: RetryPolicy, script_names: ScriptNames) -> Result<(RouteSpec, Named), Problem> {
    const NAMES: &[&str] = &["method", "path", "script", "dispatch_mode", "timeout_ms", "record", "retry"];
    let fields = Fields::of(tree, "a route", NAMES)?;
    let method = fields.text("method")?.ok_or_else(|| fields.missing("method"))?.to_ascii_uppercase();
    if !names::METHODS.contains(&method.as_str()) {
        return Err(
            fields.problem("method", format!("`{method}` is not one of {}", names::METHODS.join(", ")))
        );
    }
    let path = fields.text("path")?.ok_or_else(|| fields.missing("path"))?;
    legal(&fields, "path", names::path(&path))?;
    let (name, named) = script(&fields, script_names)?;
    let mode =
        fields.choice("dispatch_mode", &[("sync", DispatchMode::Sync), ("async", DispatchMode::Async)])?;
    let mode = mode.unwrap_or(DispatchMode::Sync);
    let record =
        fields.choice("record", &[("full", Record::Full), ("off", Record::Off)])?.unwrap_or(Record::Full);
    if record == Record::Off && mode == DispatchMode::Async {
        return Err(fields
            .problem("record", "`off` needs `dispatch_mode = \"sync\"`: async work is run from its record"));
    }
    let policy = retry_policy(&fields, retry)?;
    if policy.is_some() && mode == DispatchMode::Sync {
        return Err(
            fields.problem("retry", "sync routes never retry: remove it or set `dispatch_mode = \"async\"`")
        );
    }
    let timeout_ms = fields.number("timeout_ms", 1..=WAIT_MS_MAX)?;
    let spec = RouteSpec { method, path, script: name, mode, timeout_ms, record, retry: policy };
    Ok((spec, named))
}

fn trigger(
    tree: &Tree,
    retry: RetryPolicy,
    script_names: ScriptNames,
) -> Result<(TriggerSpec, Named), Problem> {
    const KV: &[&str] = &["name", "kind", "collection", "ops", "key_prefix", "script", "ordering", "retry"];
    const DEAD_LETTER: &[&str] = &["name", "kind", "from_script", "from_trigger", "script"];
    const CRON: &[&str] = &["name", "kind", "schedule", "timezone", "script", "retry"];
    const QUEUE: &[&str] = &["name", "kind", "queue", "script", "ordering", "retry"];
    let Some(kind) = Fields::peek_text(tree, "kind")? else {
        return Err(Fields::any(tree)?.missing("kind"));
    };
    let fields = match kind.as_str() {
        "kv" => Fields::of(tree, "a kv trigger", KV)?,
        "cron" => Fields::of(tree, "a cron trigger", CRON)?,
        "queue" => Fields::of(tree, "a queue trigger", QUEUE)?,
        "dead_letter" => {
            let any = Fields::any(tree)?;
            if any.tree("retry").is_some() {
                return Err(any.problem("retry", "a handler of dead letters runs once (D10): remove it"));
            }
            Fields::of(tree, "a dead_letter trigger", DEAD_LETTER)?
        }
        other => {
            let problem = format!("`{other}` is not one of kv, dead_letter, cron, queue");
            return Err(Fields::any(tree)?.problem("kind", problem));
        }
    };
    let name = fields.text("name")?.ok_or_else(|| fields.missing("name"))?;
    legal(&fields, "name", names::name("name", &name))?;
    let (script, named) = script(&fields, script_names)?;
    let pattern = match kind.as_str() {
        "kv" => kv_pattern(&fields)?,
        "cron" => cron_pattern(&fields)?,
        "queue" => {
            let queue = fields.text("queue")?.ok_or_else(|| fields.missing("queue"))?;
            legal(&fields, "queue", names::name("queue", &queue))?;
            Pattern::Queue { queue }
        }
        _ => Pattern::DeadLetter {
            from_script: fields.text("from_script")?,
            from_trigger: fields.text("from_trigger")?,
        },
    };
    let orders = [("none", Ordering::None), ("key", Ordering::Key)];
    let ordering = fields.choice("ordering", &orders)?.unwrap_or_default();
    let retry = retry_policy(&fields, retry)?;
    Ok((TriggerSpec { name, pattern, script, ordering, retry }, named))
}

/// A schedule is read as the engine reads it: what makes no sense is refused where it stands.
fn cron_pattern(fields: &Fields<'_>) -> Result<Pattern, Problem> {
    let schedule = fields.text("schedule")?.ok_or_else(|| fields.missing("schedule"))?;
    let timezone = fields.text("timezone")?;
    match Schedule::parse(&schedule, timezone.as_deref()) {
        Ok(_) => Ok(Pattern::Cron { schedule, timezone }),
        Err(Refusal::Invalid { field, problem }) => Err(fields.problem(&field, problem)),
        Err(refusal) => Err(fields.problem("schedule", refusal.to_string())),
    }
}

fn kv_pattern(fields: &Fields<'_>) -> Result<Pattern, Problem> {
    let collection = fields.text("collection")?.ok_or_else(|| fields.missing("collection"))?;
    legal(fields, "collection", names::collection(&collection, &Limits::default()))?;
    let mut ops = KvOps::default();
    for tree in fields.list("ops")? {
        let op = tree.value.as_text();
        let op = op.ok_or_else(|| Problem::at(tree, format!("is {}, not a text", tree.value.type_name())))?;
        ops.0 |= match op {
            "insert" => KvOps::INSERT.0,
            "update" => KvOps::UPDATE.0,
            "delete" => KvOps::DELETE.0,
            "expire" => KvOps::EXPIRE.0,
            other => {
                let known = "insert, update, delete, expire";
                return Err(Problem::at(tree, format!("`{other}` is not one of {known}")));
            }
        };
    }
    if fields.tree("ops").is_none() {
        ops = KvOps::DEFAULT;
    } else if ops == KvOps::default() {
        return Err(fields.problem("ops", "is empty: name at least one of insert, update, delete, expire"));
    }
    let key_prefix = fields.text("key_prefix")?.unwrap_or_default();
    Ok(Pattern::Kv { collection, ops, key_prefix })
}

fn retry_policy(fields: &Fields<'_>, default: RetryPolicy) -> Result<Option<RetryPolicy>, Problem> {
    const NAMES: &[&str] = &["max_attempts", "backoff", "base_ms", "max_ms", "jitter_pct"];
    const BACKOFFS: &[(&str, Backoff)] = &[
        ("none", Backoff::None),
        ("fixed", Backoff::Fixed),
        ("linear", Backoff::Linear),
        ("exponential", Backoff::Exponential),
    ];
    let Some(tree) = fields.tree("retry") else { return Ok(None) };
    let fields = Fields::of(tree, "retry", NAMES)?;
    let policy = RetryPolicy {
        max_attempts: fields.number("max_attempts", 1..=ATTEMPTS_MAX)?.unwrap_or(default.max_attempts),
        backoff: fields.choice("backoff", BACKOFFS)?.unwrap_or(default.backoff),
        base_ms: fields.number("base_ms", 0..=WAIT_MS_MAX)?.unwrap_or(default.base_ms),
        max_ms: fields.number("max_ms", 0..=WAIT_MS_MAX)?.unwrap_or(default.max_ms),
        jitter_pct: fields.number("jitter_pct", 0..=100)?.unwrap_or(default.jitter_pct),
    };
    let (base, max) = (policy.base_ms, policy.max_ms);
    if base > max {
        let field = if fields.tree("base_ms").is_some() { "base_ms" } else { "max_ms" };
        return Err(fields.problem(field, format!("base_ms ({base}) is greater than max_ms ({max})")));
    }
    Ok(Some(policy))
}

#[cfg(test)]
mod tests;
