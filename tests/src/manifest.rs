//! What a test deploys: the TOML of a manifest and the sources, built in the order of reading.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// A manifest with its scripts; the app's name is put in by the deploy.
#[derive(Clone, Debug, Default)]
pub struct Manifest {
    toml: String,
    scripts: BTreeMap<String, String>,
}

impl Manifest {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Manifest {
        Manifest::default()
    }

    /// A script that nothing names (for imports, direct runs).
    #[must_use]
    pub fn script(mut self, name: &str, source: &str) -> Manifest {
        self.scripts.insert(name.to_owned(), source.to_owned());
        self
    }

    /// A sync route, `METHOD /path`, whose script has the name `name`.
    #[must_use]
    pub fn sync(self, route: &str, name: &str, source: &str) -> Manifest {
        self.route(route, name, source, "sync", "")
    }

    /// An async route; `more` are further lines of TOML (`retry = …`).
    #[must_use]
    pub fn asynchronous(self, route: &str, name: &str, source: &str, more: &str) -> Manifest {
        self.route(route, name, source, "async", more)
    }

    /// A route of any kind; `more` are further lines of TOML.
    #[must_use]
    pub fn route(self, route: &str, name: &str, source: &str, mode: &str, more: &str) -> Manifest {
        let (method, path) = route.split_once(' ').unwrap_or(("GET", route));
        self.script(name, source).toml(&format!(
            "[[route]]\nmethod = \"{method}\"\npath = \"{path}\"\nscript = \"{name}.rhai\"\ndispatch_mode = \"{mode}\"\n{more}"
        ))
    }

    /// A KV trigger named like its script; `more` are further lines of TOML (`ops`, `key_prefix`, `retry`).
    #[must_use]
    pub fn on_kv(self, collection: &str, name: &str, source: &str, more: &str) -> Manifest {
        self.script(name, source).toml(&format!(
            "[[trigger]]\nname = \"{name}\"\nkind = \"kv\"\ncollection = \"{collection}\"\nscript = \"{name}.rhai\"\n{more}"
        ))
    }

    /// A dead-letter trigger named like its script; `more` are filters.
    #[must_use]
    pub fn on_dead_letter(self, name: &str, source: &str, more: &str) -> Manifest {
        self.script(name, source).toml(&format!(
            "[[trigger]]\nname = \"{name}\"\nkind = \"dead_letter\"\nscript = \"{name}.rhai\"\n{more}"
        ))
    }

    /// The consumer of a queue, named like its script and its queue; `more` are further lines of TOML.
    #[must_use]
    pub fn on_queue(self, name: &str, source: &str, more: &str) -> Manifest {
        self.script(name, source).toml(&format!(
            "[[trigger]]\nname = \"{name}\"\nkind = \"queue\"\nqueue = \"{name}\"\nscript = \"{name}.rhai\"\n{more}"
        ))
    }

    /// A cron trigger named like its script; `more` are further lines of TOML.
    #[must_use]
    pub fn on_cron(self, schedule: &str, name: &str, source: &str, more: &str) -> Manifest {
        self.script(name, source).toml(&format!(
            "[[trigger]]\nname = \"{name}\"\nkind = \"cron\"\nschedule = \"{schedule}\"\nscript = \"{name}.rhai\"\n{more}"
        ))
    }

    /// Any TOML.
    #[must_use]
    pub fn toml(mut self, text: &str) -> Manifest {
        self.toml.push_str(text);
        self.toml.push('\n');
        self
    }

    /// The TOML text for an app.
    #[must_use]
    pub fn text(&self, app: &str) -> String {
        format!("app = \"{app}\"\n\n{}", self.toml)
    }

    /// The sources by name.
    #[must_use]
    pub fn scripts(&self) -> &BTreeMap<String, String> {
        &self.scripts
    }

    /// The body of a deploy.
    #[must_use]
    pub fn body(&self, app: &str) -> Value {
        json!({ "manifest": self.text(app), "scripts": self.scripts })
    }
}

/// A script's text that keeps a core busy for about `rounds` milliseconds with few operations (host calls are one
/// each), so that time is used up before the budget of operations is.
#[must_use]
pub fn busy(rounds: u32) -> String {
    format!(
        "let big = \"x\"; for i in 0..19 {{ big += big; }}\nfor round in 0..{rounds} {{ crypto::sha256(big); }}\n"
    )
}

/// [`busy`] until something from outside ends it.
#[must_use]
pub fn forever() -> String {
    busy(1_000_000)
}
