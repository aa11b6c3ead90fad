//! What scripts can call, one file per family.
//!
//! Owns: the list of modules. Never does: hold state; a function finds its run through the call's tag.
//! Invariants: E42.

pub(super) mod chance;
mod crypto;
mod dead_letters;
mod http;
mod iterate;
mod kv;
mod kv_list;
mod kv_past;
pub(super) mod language;
mod logs;
mod patterns;
mod queue;
mod secrets;
pub(super) mod text;
pub(super) mod time;
mod web;

use rhai::{Dynamic, FuncRegistration, Module, NativeCallContext as Call, Shared, Variant};

use super::blob;
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

    /// Functions of each arity are handed the call by reference; their errors get its position, which Rhai
    /// fills in for operators and methods, but not for qualified calls.
    fn add0<R: Kind>(&mut self, name: &'static str, f: impl Fn(&Call<'_>) -> Answer<R> + SendSync) {
        self.keep(name);
        FuncRegistration::new(name).set_into_module(&mut self.module, move |call: Call<'_>| -> Answer<R> {
            located(&call, f(&call))
        });
    }

    fn add1<A: Kind, R: Kind>(
        &mut self,
        name: &'static str,
        f: impl Fn(&Call<'_>, A) -> Answer<R> + SendSync,
    ) {
        self.keep(name);
        let f = move |call: Call<'_>, a: A| -> Answer<R> { located(&call, f(&call, a)) };
        FuncRegistration::new(name).set_into_module(&mut self.module, f);
    }

    fn add2<A: Kind, B: Kind, R: Kind>(
        &mut self,
        name: &'static str,
        f: impl Fn(&Call<'_>, A, B) -> Answer<R> + SendSync,
    ) {
        self.keep(name);
        let f = move |call: Call<'_>, a: A, b: B| -> Answer<R> { located(&call, f(&call, a, b)) };
        FuncRegistration::new(name).set_into_module(&mut self.module, f);
    }

    fn add3<A: Kind, B: Kind, C: Kind, R: Kind>(
        &mut self,
        name: &'static str,
        f: impl Fn(&Call<'_>, A, B, C) -> Answer<R> + SendSync,
    ) {
        self.keep(name);
        let f = move |call: Call<'_>, a: A, b: B, c: C| -> Answer<R> { located(&call, f(&call, a, b, c)) };
        FuncRegistration::new(name).set_into_module(&mut self.module, f);
    }

    fn add4<A: Kind, B: Kind, C: Kind, D: Kind, R: Kind>(
        &mut self,
        name: &'static str,
        f: impl Fn(&Call<'_>, A, B, C, D) -> Answer<R> + SendSync,
    ) {
        self.keep(name);
        let f = move |call: Call<'_>, a: A, b: B, c: C, d: D| -> Answer<R> {
            located(&call, f(&call, a, b, c, d))
        };
        FuncRegistration::new(name).set_into_module(&mut self.module, f);
    }

    fn keep(&mut self, name: &'static str) {
        if !self.functions.contains(&name) {
            self.functions.push(name);
        }
    }
}

/// What scripts can pass and get.
trait Kind: Variant + Clone {}
impl<T: Variant + Clone> Kind for T {}
trait SendSync: Send + Sync + 'static {}
impl<T: Send + Sync + 'static> SendSync for T {}

/// An answer whose error says where it was asked for.
fn located<T>(call: &Call<'_>, answer: Answer<T>) -> Answer<T> {
    answer.map_err(|mut error| {
        if error.position().is_none() {
            error.set_position(call.call_position());
        }
        error
    })
}

fn families() -> Vec<Family> {
    vec![
        text::base64(),
        crypto::module(),
        dead_letters::module(),
        text::hex(),
        http::module(),
        text::json(),
        kv::module(),
        logs::module(),
        patterns::module(),
        queue::module(),
        chance::random(),
        secrets::module(),
        time::module(),
        web::module(),
        chance::uuid(),
    ]
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
    blob::bytes(value).ok_or_else(|| {
        runtime(format!("{function} takes a string or a blob, not a value of type {}", value.type_name()))
    })
}
