//! Manifest errors as a table: text, the line they stand at, and words that the message holds.

use relive_engine::settings::EngineSettings;

use super::*;

fn parse(text: &str) -> Result<Manifest, ManifestError> {
    parse_toml(text, EngineSettings::default().retry)
}

const FULL: &str = r#"
app = "shop"

[[route]]
method = "post"
path = "/orders/{id}"
script = "api/orders.rhai"
timeout_ms = 5000
record = "off"

[[route]]
method = "PUT"
path = "/later"
script = "later.rhai"
dispatch_mode = "async"
retry = { max_attempts = 5, backoff = "fixed" }

[[trigger]]
name = "on-order"
kind = "kv"
collection = "orders"
ops = ["insert", "delete"]
script = "on_order.rhai"
ordering = "none"

[[trigger]]
name = "alert"
kind = "dead_letter"
from_script = "on_order"
script = "alert.rhai"
"#;

#[test]
fn a_full_manifest_is_understood() {
    let manifest = parse(FULL).unwrap();
    assert_eq!(manifest.app, "shop");
    let [orders, later] = manifest.routes.as_slice() else { panic!("two routes") };
    assert_eq!(
        (orders.method.as_str(), orders.script.as_str(), orders.record),
        ("POST", "orders", Record::Off)
    );
    let retry = later.retry.unwrap();
    assert_eq!((retry.max_attempts, retry.backoff, retry.base_ms), (5, Backoff::Fixed, 1000));
    let [on_order, alert] = manifest.triggers.as_slice() else { panic!("two triggers") };
    assert_eq!(
        on_order.pattern,
        Pattern::Kv { collection: "orders".into(), ops: KvOps(5), key_prefix: String::new() }
    );
    assert_eq!(
        alert.pattern,
        Pattern::DeadLetter { from_script: Some("on_order".into()), from_trigger: None }
    );
    assert_eq!(manifest.scripts.len(), 4);
}

#[test]
fn errors_name_line_field_and_what_is_allowed() {
    for (text, line, words) in [
        ("app = ", 1, ""),
        ("", 1, "needs a field `app`"),
        ("app = \"x\"\nrouts = []", 2, "allowed are app, route, trigger"),
        ("app = 3", 1, "is a whole number, not a text"),
        ("app = \"x\"\n[[route]]\nmethod = \"GET\"\npath = \"/\"", 2, "needs a field `script`"),
        (
            "app = \"x\"\n[[route]]\nmethod = \"FETCH\"\npath = \"/\"\nscript = \"a.rhai\"",
            3,
            "not one of GET, POST",
        ),
        ("app = \"x\"\n[[route]]\nmethod = \"GET\"\npath = \"a\"\nscript = \"a.rhai\"", 4, "start with `/`"),
        (
            "app = \"x\"\n[[route]]\nmethod = \"GET\"\npath = \"/\"\nscript = \"a.rhai\"\ntimeout = 3",
            6,
            "timeout_ms",
        ),
        (
            "app = \"x\"\n[[route]]\nmethod = \"GET\"\npath = \"/\"\nscript = \"a b.rhai\"",
            5,
            "`a b` is no name",
        ),
        (
            "app = \"x\"\n[[trigger]]\nname = \"t\"\nkind = \"kv\"\nscript = \"a\"\ncollection = \"\"",
            6,
            "it is empty",
        ),
        (
            "app = \"x\"\n[[trigger]]\nname = \"t\"\nkind = \"kv\"\nscript = \"a\"\ncollection = \"c\"\nretry = { base_ms = 5, max_ms = 4 }",
            7,
            "base_ms (5) is greater than max_ms (4)",
        ),
        (
            "app = \"x\"\n[[trigger]]\nname = \"t\"\nkind = \"kv\"\nscript = \"a\"\ncollection = \"c\"\nretry = { max_ms = 86400001 }",
            7,
            "from 0 to 86400000",
        ),
        ("app = \"From CLI\"", 1, "`From CLI` is no slug"),
        (
            "app = \"x\"\n[[route]]\nmethod = \"GET\"\npath = \"/a//b\"\nscript = \"a.rhai\"",
            4,
            "empty segment",
        ),
        (
            "app = \"x\"\n[[route]]\nmethod = \"GET\"\npath = \"/{a}\"\nscript = \"a.rhai\"\n\
             [[route]]\nmethod = \"GET\"\npath = \"/{b}\"\nscript = \"a.rhai\"",
            6,
            "`GET /{b}` stands twice",
        ),
        (
            "app = \"x\"\n[[trigger]]\nname = \"t\"\nkind = \"dead_letter\"\nscript = \"a\"\nretry = {}",
            6,
            "runs once",
        ),
        (
            "app = \"x\"\n[[trigger]]\nname = \"t\"\nkind = \"dead_letter\"\nscript = \"a\"\n\
             [[trigger]]\nname = \"t\"\nkind = \"dead_letter\"\nscript = \"a\"",
            6,
            "`t` stands twice",
        ),
        (
            "app = \"x\"\n[[trigger]]\nname = \"a b\"\nkind = \"dead_letter\"\nscript = \"a\"",
            3,
            "`a b` is no name",
        ),
        (
            "app = \"x\"\n[[route]]\nmethod = \"GET\"\npath = \"/\"\nscript = \"a.rhai\"\ntimeout_ms = 0",
            6,
            "from 1",
        ),
        (
            "app = \"x\"\n[[route]]\nmethod = \"GET\"\npath = \"/\"\nscript = \"a.rhai\"\nretry = {}",
            6,
            "sync routes never retry",
        ),
        (
            "app = \"x\"\n[[trigger]]\nname = \"t\"\nscript = \"a\"\nkind = \"cron\"",
            2,
            "needs a field `schedule`",
        ),
        (
            "app = \"x\"\n[[trigger]]\nname = \"t\"\nscript = \"a\"\nkind = \"cron\"\nschedule = \"0 0 30 2 *\"",
            6,
            "never comes",
        ),
        (
            "app = \"x\"\n[[trigger]]\nname = \"t\"\nscript = \"a\"\nkind = \"cron\"\nschedule = \"* * * * *\"\ntimezone = \"Mars\"",
            7,
            "`Mars` is no time zone",
        ),
        (
            "app = \"x\"\n[[trigger]]\nname = \"t\"\nscript = \"a\"\nkind = \"cron\"\nschedule = \"* * * * *\"\nordering = \"key\"",
            7,
            "ordering",
        ),
        (
            "app = \"x\"\n[[trigger]]\nname = \"t\"\nscript = \"a\"\nkind = \"queue\"",
            2,
            "needs a field `queue`",
        ),
        (
            "app = \"x\"\n[[trigger]]\nname = \"t\"\nscript = \"a\"\nkind = \"queue\"\nqueue = \"q\"\n[[trigger]]\nname = \"u\"\nscript = \"a\"\nkind = \"queue\"\nqueue = \"q\"",
            7,
            "exactly one consumer",
        ),
        (
            "app = \"x\"\n[[trigger]]\nname = \"t\"\nkind = \"kx\"",
            4,
            "not one of kv, dead_letter, cron, queue",
        ),
        ("app = \"x\"\n[[trigger]]\nname = \"t\"", 2, "needs a field `kind`"),
        (
            "app = \"x\"\n[[trigger]]\nname = \"t\"\nkind = \"kv\"\nscript = \"a\"\ncollection = \"c\"\nordering = \"kee\"",
            7,
            "not one of none, key",
        ),
        (
            "app = \"x\"\n[[trigger]]\nname = \"t\"\nkind = \"kv\"\nscript = \"a\"\ncollection = \"c\"\nops = []",
            7,
            "is empty",
        ),
        (
            "app = \"x\"\n[[trigger]]\nname = \"t\"\nkind = \"kv\"\nscript = \"a\"\ncollection = \"c\"\nretry = { backoff = \"x\" }",
            7,
            "none, fixed, linear, exponential",
        ),
    ] {
        let error = parse(text).unwrap_err();
        assert_eq!(error.at.map(|(line, _)| line), Some(line), "{text}: {error}");
        assert!(error.message.contains(words), "{error} lacks {words}");
    }
}

#[test]
fn two_paths_with_one_stem_are_refused() {
    let text = "app = \"x\"\n[[route]]\nmethod = \"GET\"\npath = \"/a\"\nscript = \"a/x.rhai\"\n[[route]]\nmethod = \"GET\"\npath = \"/b\"\nscript = \"b/x.rhai\"";
    let error = parse(text).unwrap_err();
    assert_eq!(error.at.map(|(line, _)| line), Some(9));
    assert!(error.message.contains("same stem `x`"), "{error}");
}

#[test]
fn json_is_the_same_without_lines() {
    let value = serde_json::json!({"app": "x", "route": [{"method": "GET", "path": "/", "script": "a.rhai", "no": 1}]});
    let error = parse_json(&value, EngineSettings::default().retry).unwrap_err();
    assert_eq!((error.at, error.field.as_str()), (None, "route[0].no"));
    let value = serde_json::json!({"name": "t", "kind": "dead_letter", "script": "alert"});
    let spec = parse_trigger(&value, EngineSettings::default().retry).unwrap();
    assert_eq!(spec.script, "alert");
}
