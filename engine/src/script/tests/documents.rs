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
