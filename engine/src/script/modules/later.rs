//! Functions of the contract that are not built yet: their names, and a clear refusal.
//!
//! Owns: the table. Never does: behave. A line leaves the table when its function is built.

use rhai::{Dynamic, NativeCallContext as Call};

use super::super::errors::{Answer, runtime};
use super::Family;

/// Module, function, full name.
pub(super) const NOT_YET: [(&str, &str, &str); 3] = [
    ("dead_letters", "redrive", "dead_letters::redrive"),
    ("dead_letters", "replay", "dead_letters::replay"),
    ("dead_letters", "resolve", "dead_letters::resolve"),
];

pub(super) fn add(families: &mut Vec<Family>) {
    for (module, function, full) in NOT_YET {
        if !families.iter().any(|family| family.name == module) {
            families.push(Family::new(module));
        }
        if let Some(family) = families.iter_mut().find(|family| family.name == module) {
            refuse(family, function, full);
        }
    }
}

/// With one to four arguments of any kind: no function of the contract takes more.
fn refuse(module: &mut Family, function: &'static str, full: &'static str) {
    type D = Dynamic;
    let not_yet = move || -> Answer<D> { Err(runtime(format!("{full} is not supported yet"))) };
    module.add1(function, move |_: &Call<'_>, _: D| not_yet());
    module.add2(function, move |_: &Call<'_>, _: D, _: D| not_yet());
    module.add3(function, move |_: &Call<'_>, _: D, _: D, _: D| not_yet());
    module.add4(function, move |_: &Call<'_>, _: D, _: D, _: D, _: D| not_yet());
}
