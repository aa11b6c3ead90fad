//! What scripts can call, one file per family.
//!
//! Owns: the list of modules. Never does: hold state; a function finds its run through the call's tag.
//! Invariants: E42.

pub(super) mod chance;
mod crypto;
mod kv;
mod kv_list;
pub(super) mod language;
mod later;
mod logs;
mod secrets;
pub(super) mod text;
pub(super) mod time;

use rhai::{Blob, Dynamic, FuncRegistration, Module, RhaiNativeFunc, Shared, Variant};

use super::errors::{Answer, runtime};

/// One module of host functions under the name that scripts write.
struct Family {
    name: &'static str,
    module: Module,
    functions: Vec<&'static str>,
}

impl Family {
    fn new(name: &'static str) -> Family {
        Family { name, module: Module::new(), functions: Vec::new() }
    }

    fn add<A, const N: usize, const X: bool, R, const F: bool, Function>(
        &mut self,
        name: &'static str,
        function: Function,
    ) where
        A: 'static,
        R: Variant + Clone,
        Function: RhaiNativeFunc<A, N, X, R, F> + Send + Sync + 'static,
    {
        self.functions.push(name);
        FuncRegistration::new(name).set_into_module(&mut self.module, function);
    }
}

fn families() -> Vec<Family> {
    let mut families = vec![
        text::base64(),
        crypto::module(),
        text::hex(),
        text::json(),
        kv::module(),
        logs::module(),
        chance::random(),
        secrets::module(),
        time::module(),
        chance::uuid(),
    ];
    later::add(&mut families);
    families
}

/// Every module by the name that scripts write, ready for an engine.
pub(super) fn all() -> Vec<(&'static str, Shared<Module>)> {
    families().into_iter().map(|family| (family.name, finished(family.name, family.module))).collect()
}

/// Every function as `module::function`.
#[cfg(test)]
pub(super) fn names() -> Vec<String> {
    let families = families();
    let names = families
        .iter()
        .flat_map(|family| family.functions.iter().map(|function| format!("{}::{function}", family.name)));
    names.collect()
}

/// Functions that only refuse, as (module, function, full name).
#[cfg(test)]
pub(super) fn not_yet() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    later::NOT_YET.into_iter()
}

fn finished(name: &str, mut module: Module) -> Shared<Module> {
    module.set_id(name);
    module.build_index();
    module.into()
}

/// The bytes of a string or a blob.
fn bytes_of(value: &Dynamic, function: &str) -> Answer<Vec<u8>> {
    if let Ok(text) = value.as_immutable_string_ref() {
        return Ok(text.as_bytes().to_vec());
    }
    let blob: Result<Blob, _> = value.flatten_clone().into_blob();
    blob.map_err(|kind| runtime(format!("{function} takes a string or a blob, not a value of type {kind}")))
}
