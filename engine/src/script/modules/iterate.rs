//! The functions of arrays and maps that call a function of the script: `map`, `filter`, `sort`, …
//!
//! Owns: versions of Rhai's that hand the end of a run on as it is. Rhai's own wrap every error of the function that they
//! call, the end of a run included, and what is wrapped can be caught (E41); its `sort` and `dedup` swallow errors. They
//! behave alike otherwise (a test compares them), and shadow Rhai's, being registered later.
//! Never does: anything that has no function in it; that stays Rhai's.
//! Invariants: E41.

use std::cmp::Ordering;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rhai::{Array, Dynamic, EvalAltResult, FnPtr, FuncRegistration, Map, Module, NativeCallContext as Call};
use rhai::{Position, Variant};

use super::super::errors::{Answer, runtime};

/// Where the element goes among the arguments when the function does not take it as `this`.
#[derive(Clone, Copy)]
enum Element {
    /// It is `this` or nothing.
    This,
    /// Before the argument of this number.
    At(usize),
}

/// A function of the script on its way through a container.
struct Each<'a, 'c> {
    call: &'a Call<'c>,
    name: &'static str,
    function: &'a FnPtr,
}

impl Each<'_, '_> {
    /// Calls the function with the element as `this`; if it takes another number of arguments, with the element as an
    /// argument; if it takes one more still, with the index as the last one.
    fn of(
        &self,
        item: &mut Dynamic,
        args: &[Dynamic],
        index: Option<usize>,
        element: Element,
    ) -> Answer<Dynamic> {
        let mut answer = self.function.call_raw(self.call, Some(item), args.to_vec());
        let mut full = args.to_vec();
        if let Element::At(at) = element
            && self.is_other_arity(&answer)
        {
            full.insert(at.min(full.len()), item.clone());
            answer = self.function.call_raw(self.call, None, full.clone());
        }
        if self.is_other_arity(&answer) {
            full.extend(index.map(position));
            let this = if matches!(element, Element::This) { Some(item) } else { None };
            answer = self.function.call_raw(self.call, this, full);
        }
        answer.map_err(|error| self.unless_it_ends(error))
    }

    /// Calls the function with these arguments alone.
    fn with(&self, args: [Dynamic; 2]) -> Answer<Dynamic> {
        self.function.call_raw(self.call, None, args).map_err(|error| self.unless_it_ends(error))
    }

    fn is_true(&self, item: &mut Dynamic, index: usize) -> Answer<bool> {
        Ok(self.of(item, &[], Some(index), Element::At(0))?.as_bool().unwrap_or(false))
    }

    fn is_other_arity(&self, answer: &Answer<Dynamic>) -> bool {
        let name = self.function.fn_name();
        answer.as_ref().is_err_and(
            |error| matches!(&**error, EvalAltResult::ErrorFunctionNotFound(sig, _) if sig.starts_with(name)),
        )
    }

    /// An error says which function called the one that failed; the end of a run stays what it is.
    fn unless_it_ends(&self, error: Box<EvalAltResult>) -> Box<EvalAltResult> {
        if error.is_system_exception() || matches!(*error, EvalAltResult::Exit(..)) {
            return error;
        }
        let source = self.call.call_source().unwrap_or_default().to_owned();
        EvalAltResult::ErrorInFunctionCall(self.name.to_owned(), source, error, Position::NONE).into()
    }
}

fn position(index: usize) -> Dynamic {
    i64::try_from(index).unwrap_or(i64::MAX).into()
}

/// Where a search starts: from the end if negative.
fn start_of(len: usize, start: i64) -> usize {
    let back = usize::try_from(start.unsigned_abs()).unwrap_or(usize::MAX);
    if start < 0 { len.saturating_sub(back) } else { back.min(len) }
}

pub(super) fn register(module: &mut Module) {
    searches(module);
    copies(module);
    folds(module);
    changes(module);
    maps(module);
}

/// Registers a function of a container and a function of the script; `pure` ones work on constants too.
fn add<T: Variant + Clone, R: Variant + Clone>(
    module: &mut Module,
    name: &'static str,
    purity: Purity,
    f: impl Fn(&Each<'_, '_>, &mut T) -> Answer<R> + Send + Sync + 'static,
) {
    FuncRegistration::new(name).with_purity(purity == Purity::Pure).with_volatility(true).set_into_module(
        module,
        move |call: Call<'_>, container: &mut T, function: FnPtr| -> Answer<R> {
            f(&Each { call: &call, name, function: &function }, container)
        },
    );
}

/// The same with one more argument.
fn add_with<T: Variant + Clone, A: Variant + Clone, R: Variant + Clone>(
    module: &mut Module,
    name: &'static str,
    f: impl Fn(&Each<'_, '_>, &mut T, A) -> Answer<R> + Send + Sync + 'static,
) {
    FuncRegistration::new(name).with_purity(true).with_volatility(true).set_into_module(
        module,
        move |call: Call<'_>, container: &mut T, function: FnPtr, more: A| -> Answer<R> {
            f(&Each { call: &call, name, function: &function }, container, more)
        },
    );
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Purity {
    Pure,
    Changes,
}

fn searches(module: &mut Module) {
    add(module, "some", Purity::Pure, |each, array: &mut Array| Ok(index_of(each, array, 0)?.is_some()));
    add(module, "all", Purity::Pure, |each, array: &mut Array| {
        for (index, item) in array.iter_mut().enumerate() {
            if !each.is_true(item, index)? {
                return Ok(false);
            }
        }
        Ok(true)
    });
    add(module, "index_of", Purity::Pure, |each, array: &mut Array| Ok(number(index_of(each, array, 0)?)));
    add_with(module, "index_of", |each, array: &mut Array, start: i64| {
        Ok(number(index_of(each, array, start)?))
    });
    add(module, "find", Purity::Pure, |each, array: &mut Array| find(each, array, 0));
    add_with(module, "find", find);
    add(module, "find_map", Purity::Pure, |each, array: &mut Array| find_map(each, array, 0));
    add_with(module, "find_map", find_map);
}

fn number(index: Option<usize>) -> i64 {
    index.and_then(|index| i64::try_from(index).ok()).unwrap_or(-1)
}

fn index_of(each: &Each<'_, '_>, array: &mut Array, start: i64) -> Answer<Option<usize>> {
    let start = start_of(array.len(), start);
    for (index, item) in array.iter_mut().enumerate().skip(start) {
        if each.is_true(item, index)? {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

fn find(each: &Each<'_, '_>, array: &mut Array, start: i64) -> Answer<Dynamic> {
    let index = index_of(each, array, start)?;
    Ok(index.and_then(|index| array.get(index).cloned()).unwrap_or(Dynamic::UNIT))
}

fn find_map(each: &Each<'_, '_>, array: &mut Array, start: i64) -> Answer<Dynamic> {
    let start = start_of(array.len(), start);
    for (index, item) in array.iter_mut().enumerate().skip(start) {
        let value = each.of(item, &[], Some(index), Element::At(0))?;
        if !value.is_unit() {
            return Ok(value);
        }
    }
    Ok(Dynamic::UNIT)
}

fn copies(module: &mut Module) {
    add(module, "map", Purity::Pure, |each, array: &mut Array| {
        let mut out = Array::with_capacity(array.len());
        for (index, item) in array.iter_mut().enumerate() {
            out.push(each.of(item, &[], Some(index), Element::At(0))?);
        }
        Ok(out)
    });
    add(module, "filter", Purity::Pure, |each, array: &mut Array| {
        let mut out = Array::new();
        for (index, item) in array.iter_mut().enumerate() {
            if each.is_true(item, index)? {
                out.push(item.clone());
            }
        }
        Ok(out)
    });
    for name in ["order", "order_by"] {
        add(module, name, Purity::Pure, |each, array: &mut Array| {
            let mut out = array.clone();
            sort(each, &mut out)?;
            Ok(out)
        });
    }
    FuncRegistration::new("zip").with_purity(true).with_volatility(true).set_into_module(module, zip);
}

fn zip(call: Call<'_>, one: &mut Array, other: Array, function: FnPtr) -> Answer<Array> {
    let each = Each { call: &call, name: "zip", function: &function };
    let mut out = Array::new();
    for (index, (a, b)) in one.iter().zip(other).enumerate() {
        let mut answer = function.call_raw(&call, None, [a.clone(), b.clone()]);
        if each.is_other_arity(&answer) {
            answer = function.call_raw(&call, None, [a.clone(), b, position(index)]);
        }
        out.push(answer.map_err(|error| each.unless_it_ends(error))?);
    }
    Ok(out)
}

fn folds(module: &mut Module) {
    add(module, "reduce", Purity::Pure, |each, array: &mut Array| reduce(each, array, Dynamic::UNIT));
    add_with(module, "reduce", reduce);
    add(module, "reduce_rev", Purity::Pure, |each, array: &mut Array| reduce_rev(each, array, Dynamic::UNIT));
    add_with(module, "reduce_rev", reduce_rev);
}

fn reduce(each: &Each<'_, '_>, array: &mut Array, initial: Dynamic) -> Answer<Dynamic> {
    let fold =
        |result, (index, item): (usize, &mut Dynamic)| each.of(item, &[result], Some(index), Element::At(1));
    array.iter_mut().enumerate().try_fold(initial, fold)
}

fn reduce_rev(each: &Each<'_, '_>, array: &mut Array, initial: Dynamic) -> Answer<Dynamic> {
    let fold =
        |result, (index, item): (usize, &mut Dynamic)| each.of(item, &[result], Some(index), Element::At(1));
    array.iter_mut().enumerate().rev().try_fold(initial, fold)
}

fn changes(module: &mut Module) {
    add(module, "for_each", Purity::Changes, |each, array: &mut Array| {
        for (index, item) in array.iter_mut().enumerate() {
            let _nothing = each.of(item, &[], Some(index), Element::This)?;
        }
        Ok(())
    });
    for name in ["sort", "sort_by"] {
        add(module, name, Purity::Changes, sort);
    }
    add(module, "dedup", Purity::Changes, dedup);
    add(module, "drain", Purity::Changes, |each, array: &mut Array| {
        let (yes, no) = parted(each, array)?;
        *array = no;
        Ok(yes)
    });
    add(module, "retain", Purity::Changes, |each, array: &mut Array| {
        let (yes, no) = parted(each, array)?;
        *array = yes;
        Ok(no)
    });
}

/// Elements for which the function is true, and the others; the array stays whole if the function fails.
fn parted(each: &Each<'_, '_>, array: &mut Array) -> Answer<(Array, Array)> {
    let mut verdicts = Vec::with_capacity(array.len());
    for (index, item) in array.iter_mut().enumerate() {
        verdicts.push(each.is_true(item, index)?);
    }
    let (mut yes, mut no) = (Array::new(), Array::new());
    for (item, verdict) in std::mem::take(array).into_iter().zip(verdicts) {
        if verdict { yes.push(item) } else { no.push(item) }
    }
    Ok((yes, no))
}

fn sort(each: &Each<'_, '_>, array: &mut Array) -> Answer<()> {
    let mut failed: Option<Box<EvalAltResult>> = None;
    let mut compare = |a: &Dynamic, b: &Dynamic| {
        if failed.is_some() {
            return Ordering::Equal;
        }
        match each.with([a.clone(), b.clone()]) {
            Ok(answer) => match (answer.as_int(), answer.as_bool()) {
                (Ok(order), _) => order.cmp(&0),
                (_, Ok(first)) => {
                    if first {
                        Ordering::Less
                    } else {
                        Ordering::Greater
                    }
                }
                _ => a.type_id().cmp(&b.type_id()),
            },
            Err(error) => {
                failed = Some(error);
                Ordering::Equal
            }
        }
    };
    // Sorting may panic where the function gives no order; the elements are all still there then.
    let sorted = catch_unwind(AssertUnwindSafe(|| array.sort_by(&mut compare)));
    match (failed, sorted) {
        (Some(error), _) => Err(error),
        (None, Ok(())) => Ok(()),
        (None, Err(_)) => Err(runtime("sort: the function gives the elements no order")),
    }
}

fn dedup(each: &Each<'_, '_>, array: &mut Array) -> Answer<()> {
    let mut failed = None;
    array.dedup_by(|b, a| {
        if failed.is_some() {
            return false;
        }
        match each.with([a.clone(), b.clone()]) {
            Ok(same) => same.as_bool().unwrap_or(false),
            Err(error) => {
                failed = Some(error);
                false
            }
        }
    });
    failed.map_or(Ok(()), Err)
}

fn maps(module: &mut Module) {
    add(module, "map", Purity::Pure, |each, map: &mut Map| {
        let mut out = Map::new();
        for (key, item) in map.iter_mut() {
            out.insert(key.clone(), each.of(item, &[key.as_str().into()], None, Element::At(1))?);
        }
        Ok(out)
    });
    add(module, "filter", Purity::Pure, |each, map: &mut Map| {
        let mut out = Map::new();
        for (key, item) in map.iter_mut() {
            if entry_is_true(each, key, item)? {
                out.insert(key.clone(), item.clone());
            }
        }
        Ok(out)
    });
    add(module, "drain", Purity::Changes, |each, map: &mut Map| {
        let (yes, no) = parted_map(each, map)?;
        *map = no;
        Ok(yes)
    });
    add(module, "retain", Purity::Changes, |each, map: &mut Map| {
        let (yes, no) = parted_map(each, map)?;
        *map = yes;
        Ok(no)
    });
}

fn entry_is_true(each: &Each<'_, '_>, key: &str, item: &mut Dynamic) -> Answer<bool> {
    Ok(each.of(item, &[key.into()], None, Element::At(1))?.as_bool().unwrap_or(false))
}

fn parted_map(each: &Each<'_, '_>, map: &mut Map) -> Answer<(Map, Map)> {
    let mut verdicts = Vec::with_capacity(map.len());
    for (key, item) in map.iter_mut() {
        verdicts.push(entry_is_true(each, key, item)?);
    }
    let (mut yes, mut no) = (Map::new(), Map::new());
    for ((key, item), verdict) in std::mem::take(map).into_iter().zip(verdicts) {
        let into = if verdict { &mut yes } else { &mut no };
        into.insert(key, item);
    }
    Ok((yes, no))
}
