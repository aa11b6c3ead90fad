//! The manifest is the architecture: which crate may depend on which, and what may never enter the core.

use std::path::Path;

use crate::Failure;

/// For every package of ours: which packages of ours it may depend on.
const ALLOWED: [(&str, &[&str]); 9] = [
    ("log", &[]),
    ("projections", &["relive-log"]),
    ("engine", &["relive-log", "relive-projections"]),
    ("server", &["relive-log", "relive-projections", "relive-engine"]),
    ("tests", &["relive-log", "relive-projections", "relive-engine", "relive-server"]),
    ("xtask", &[]),
    ("xtask/bench", &[]),
    // The log is measured alone, without a server around it; so is the fold.
    ("xtask/logbench", &["relive-log", "relive-projections"]),
    ("xtask/mutants", &[]),
];

/// Packages that the core is handed time, chance, threads and disk instead of.
const CORE: [&str; 3] = ["log", "projections", "engine"];
/// Crates that reach for the world: async runtimes, sockets, operating system randomness, wall clocks.
const WORLD: [&str; 14] = [
    "tokio",
    "axum",
    "hyper",
    "hyper-util",
    "reqwest",
    "mio",
    "async-std",
    "smol",
    "rand",
    "getrandom",
    "fastrand",
    "chrono",
    "time",
    "notify",
];

pub(crate) fn problems(root: &Path) -> Result<Vec<String>, Failure> {
    let mut problems = Vec::new();
    for (package, allowed) in ALLOWED {
        let path = root.join(package).join("Cargo.toml");
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        problems.extend(in_manifest(package, allowed, &text)?);
    }
    Ok(problems)
}

fn in_manifest(package: &str, allowed: &[&str], text: &str) -> Result<Vec<String>, Failure> {
    let mut problems = Vec::new();
    for name in dependencies(&toml::from_str(text)?) {
        let ours = name == "xtask" || name.starts_with("relive-");
        if ours && !allowed.contains(&name.as_str()) {
            problems.push(format!("{package}/Cargo.toml: {package} must not depend on {name}"));
        }
        if CORE.contains(&package) && WORLD.contains(&name.as_str()) {
            problems.push(format!("{package}/Cargo.toml: {name} must stay out of the core"));
        }
    }
    Ok(problems)
}

/// Names of all dependencies of whatever kind, for whatever target, renamed ones by their real name.
fn dependencies(manifest: &toml::Table) -> Vec<String> {
    let mut found = Vec::new();
    for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
        if let Some(table) = manifest.get(kind).and_then(toml::Value::as_table) {
            found.extend(table.iter().map(|(name, value)| {
                value.get("package").and_then(toml::Value::as_str).unwrap_or(name).to_owned()
            }));
        }
    }
    if let Some(targets) = manifest.get("target").and_then(toml::Value::as_table) {
        found.extend(targets.values().filter_map(toml::Value::as_table).flat_map(dependencies));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::in_manifest;

    fn check(package: &str, allowed: &[&str], manifest: &str, expected: usize) {
        let problems = in_manifest(package, allowed, manifest).unwrap();
        assert_eq!(problems.len(), expected, "{manifest}: {problems:?}");
    }

    #[test]
    fn forbidden_arrows_are_found_wherever_they_hide() {
        check("engine", &["relive-log"], "[dependencies]\nrelive-log.workspace = true\nrhai = \"1\"", 0);
        check("log", &[], "[dependencies]\nrelive-projections.workspace = true", 1);
        check("log", &[], "[dev-dependencies]\ntokio = { version = \"1\" }", 1);
        check("log", &[], "[target.'cfg(unix)'.dependencies]\nrand = \"1\"", 1);
        check("log", &[], "[dependencies]\nruntime = { package = \"tokio\", version = \"1\" }", 1);
        check("server", &["relive-log"], "[dependencies]\ntokio = \"1\"", 0);
    }
}
