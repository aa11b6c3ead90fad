//! `docs/scripts.md` names every function that scripts can call.

use super::super::modules::names;

#[test]
fn every_host_function_is_documented() {
    let text = include_str!("../../../../docs/scripts.md");
    let missing: Vec<String> = names()
        .into_iter()
        .filter(|name| !name.ends_with("DEBUG") && !text.contains(name.as_str()))
        .collect();
    assert!(missing.is_empty(), "docs/scripts.md lacks {missing:?}");
}

/// What the reference promises exists: every `module::function(` in it can be called.
#[test]
fn every_documented_function_exists() {
    let text = include_str!("../../../../docs/scripts.md");
    let known = names();
    let modules: Vec<&str> = known.iter().filter_map(|name| name.split("::").next()).collect();
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut checked = 0;
    for (at, _) in text.match_indices("::") {
        let (before, after) = (&text[..at], &text[at + 2..]);
        let module = before.rsplit(|c| !word(c)).next().unwrap_or_default();
        let function = after.split(|c| !word(c)).next().unwrap_or_default();
        if !modules.contains(&module) || function.is_empty() {
            continue;
        }
        let name = format!("{module}::{function}");
        assert!(known.contains(&name), "docs/scripts.md has {name}, which does not exist");
        checked += 1;
    }
    assert!(checked > 60, "{checked} names");
}
