//! The few functions of Rhai's core package that scripts keep, and safe versions of what prints.
//!
//! Owns: `exit`, `take`, `parse_json`, `to_json`, `print`, `debug`, `to_string` and `to_debug` of containers.
//! Also `replace`, bounded before it allocates. Never does: sleep. A map can hold the same long string thousands of times at no cost (assignment to an index
//! escapes Rhai's size limits), so printing one must be bounded while it is written, not after.
//! Invariants: E42, E43.

use std::fmt::{self, Write};

use relive_log::events::{ErrorKind, LogLevel};
use rhai::{Array, Blob, Dynamic, EvalAltResult, FnPtr, FuncRegistration, ImmutableString, Map, Module};
use rhai::{NativeCallContext as Call, Position, Shared};

use super::super::blob;
use super::super::errors::{Answer, runtime, terminated};
use super::super::host::Host;
use super::{finished, iterate, logs, text};

pub(in crate::script) fn module() -> Shared<Module> {
    let mut module = Module::new();
    FuncRegistration::new("exit")
        .with_volatility(true)
        .set_into_module(&mut module, || -> Answer<Dynamic> { exit(Dynamic::UNIT) });
    FuncRegistration::new("exit").with_volatility(true).set_into_module(&mut module, exit);
    FuncRegistration::new("take").set_into_module(&mut module, take);
    FuncRegistration::new("parse_json")
        .set_into_module(&mut module, |call: Call<'_>, text: ImmutableString| -> Answer<Dynamic> {
            text::parse(&call, text)
        });
    FuncRegistration::new("to_json").set_into_module(&mut module, to_json);
    for name in ["to_string", "to_debug"] {
        container::<Array>(&mut module, name);
        container::<Map>(&mut module, name);
        container::<Blob>(&mut module, name);
    }
    for (name, level) in [("print", LogLevel::Info), ("debug", LogLevel::Debug)] {
        printing::<Dynamic>(&mut module, name, level);
        printing::<ImmutableString>(&mut module, name, level);
        printing::<char>(&mut module, name, level);
        printing::<bool>(&mut module, name, level);
        printing::<()>(&mut module, name, level);
        printing::<i64>(&mut module, name, level);
        printing::<f64>(&mut module, name, level);
        printing::<FnPtr>(&mut module, name, level);
        printing::<Array>(&mut module, name, level);
        printing::<Map>(&mut module, name, level);
        printing::<Blob>(&mut module, name, level);
        FuncRegistration::new(name)
            .with_volatility(true)
            .set_into_module(&mut module, move |call: Call<'_>| -> Answer<()> {
                logs::write(&call, level, &"".into())
            });
    }
    FuncRegistration::new("replace").set_into_module(&mut module, replace);
    let by_char = |call: Call<'_>, text: &mut ImmutableString, find: char, with: ImmutableString| {
        replace(call, text, find.to_string().into(), with)
    };
    FuncRegistration::new("replace").set_into_module(&mut module, by_char);
    sleepless(&mut module);
    iterate::register(&mut module);
    blob::register(&mut module);
    finished("language", module)
}

/// A megabyte in which every letter is replaced by a megabyte would be built before it is measured.
fn replace(
    call: Call<'_>,
    text: &mut ImmutableString,
    find: ImmutableString,
    with: ImmutableString,
) -> Answer<()> {
    let host = Host::of(&call)?;
    let limit = host.limits.string_bytes;
    let found = text.matches(find.as_str()).count();
    let bytes = (text.len() - found * find.len()).saturating_add(found.saturating_mul(with.len()));
    if bytes > limit {
        let why = format!("replace: the text would have {bytes} bytes, the limit is {limit}");
        return Err(host.end(&call, ErrorKind::Size, why));
    }
    if found > 0 {
        *text = text.replace(find.as_str(), &with).into();
    }
    Ok(())
}

/// A script that sleeps would hold a thread for nothing.
fn sleepless(module: &mut Module) {
    let why = "sleep does not exist: a script holds its thread; do the rest later, as work of its own";
    FuncRegistration::new("sleep")
        .with_volatility(true)
        .set_into_module(module, move |_: i64| -> Answer<()> { Err(runtime(why)) });
    FuncRegistration::new("sleep")
        .with_volatility(true)
        .set_into_module(module, move |_: f64| -> Answer<()> { Err(runtime(why)) });
}

fn exit(value: Dynamic) -> Answer<Dynamic> {
    Err(Box::new(EvalAltResult::Exit(value, Position::NONE)))
}

fn take(value: &mut Dynamic) -> Answer<Dynamic> {
    if value.is_read_only() {
        let name = "take".to_owned();
        return Err(Box::new(EvalAltResult::ErrorNonPureMethodCallOnConstant(name, Position::NONE)));
    }
    Ok(std::mem::take(value))
}

fn to_json(call: Call<'_>, map: &mut Map) -> Answer<String> {
    text::stringify(&call, Dynamic::from_map(map.clone()))
}

/// Every kind that Rhai prints by a version of its own needs one here, or its version would win.
fn printing<T: rhai::Variant + Clone>(module: &mut Module, name: &str, level: LogLevel) {
    let print =
        move |call: Call<'_>, value: T| -> Answer<()> { logs::write(&call, level, &Dynamic::from(value)) };
    FuncRegistration::new(name).with_volatility(true).set_into_module(module, print);
}

fn container<T: rhai::Variant + Clone>(module: &mut Module, name: &str) {
    let show = move |call: Call<'_>, value: &mut T| -> Answer<String> {
        let host = Host::of(&call)?;
        let mut out = Bounded { text: String::new(), bytes_max: host.limits.string_bytes };
        match write!(out, "{:?}", Dynamic::from(value.clone())) {
            Ok(()) => Ok(out.text),
            Err(fmt::Error) => {
                let why = format!("a value is longer than {} bytes as text", host.limits.string_bytes);
                let _ends = host.end(&call, ErrorKind::Size, why);
                Err(terminated())
            }
        }
    };
    FuncRegistration::new(name).with_purity(true).set_into_module(module, show);
}

/// Text that refuses to grow past its bound.
struct Bounded {
    text: String,
    bytes_max: usize,
}

impl Write for Bounded {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        if self.text.len() + more.len() > self.bytes_max {
            return Err(fmt::Error);
        }
        self.text.push_str(more);
        Ok(())
    }
}
