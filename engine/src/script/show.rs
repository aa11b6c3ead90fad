//! Values of variables for people: JSON where they have any, bounded, secrets masked.
//!
//! Owns: [`shown`] and its bounds. Never does: fail; what has no JSON or is too large is named instead.

use rhai::{Dynamic, FnPtr};
use serde_json::{Map, Value};

use super::blob;
use crate::secrets::Masker;

/// Bytes of one text that are shown.
const TEXT_BYTES_MAX: usize = 2048;
/// Items of one array or map that are shown.
const ITEMS_MAX: usize = 100;
/// Levels that are shown.
const LEVELS_MAX: usize = 8;
/// Bytes that the variables of one step may take.
const STEP_BYTES_MAX: usize = 64 << 10;

/// What is left to be shown.
pub(super) struct Budget {
    left: usize,
}

impl Budget {
    /// That of one step.
    pub(super) const fn of_step() -> Budget {
        Budget { left: STEP_BYTES_MAX }
    }

    /// Bytes taken, about.
    pub(super) const fn used(&self) -> usize {
        STEP_BYTES_MAX - self.left
    }

    const fn take(&mut self, bytes: usize) -> bool {
        let fits = self.left >= bytes;
        self.left = self.left.saturating_sub(bytes);
        fits
    }
}

/// A value for people.
pub(super) fn shown(value: &Dynamic, masker: &Masker, budget: &mut Budget) -> Value {
    show(value, masker, budget, LEVELS_MAX)
}

fn show(value: &Dynamic, masker: &Masker, budget: &mut Budget, levels: usize) -> Value {
    if !budget.take(8) {
        return "‹not shown: the step's variables are over their limit›".into();
    }
    if value.is_shared() {
        // A value that contains itself ends at the levels.
        return match value.read_lock::<Dynamic>() {
            Some(inner) => show(&inner, masker, budget, levels),
            None => show(&value.flatten_clone(), masker, budget, levels),
        };
    }
    if value.is_unit() {
        Value::Null
    } else if let Ok(flag) = value.as_bool() {
        flag.into()
    } else if let Ok(number) = value.as_int() {
        number.into()
    } else if let Ok(number) = value.as_float() {
        serde_json::Number::from_f64(number).map_or_else(|| format!("‹{number}›").into(), Value::Number)
    } else if let Ok(character) = value.as_char() {
        character.to_string().into()
    } else if let Ok(text) = value.as_immutable_string_ref() {
        text_shown(&text, masker, budget).into()
    } else if let Ok(array) = value.as_array_ref() {
        if levels == 0 {
            return format!("‹array of {}›", array.len()).into();
        }
        let mut items: Vec<Value> =
            array.iter().take(ITEMS_MAX).map(|item| show(item, masker, budget, levels - 1)).collect();
        if array.len() > ITEMS_MAX {
            items.push(format!("‹{} more›", array.len() - ITEMS_MAX).into());
        }
        items.into()
    } else if let Ok(map) = value.as_map_ref() {
        if levels == 0 {
            return format!("‹map of {}›", map.len()).into();
        }
        let mut items: Map<String, Value> = map
            .iter()
            .take(ITEMS_MAX)
            .map(|(name, item)| (text_shown(name, masker, budget), show(item, masker, budget, levels - 1)))
            .collect();
        if map.len() > ITEMS_MAX {
            items.insert("…".into(), format!("‹{} more›", map.len() - ITEMS_MAX).into());
        }
        items.into()
    } else if blob::is_blob(value) {
        format!("‹blob of {} bytes›", blob::bytes(value).map_or(0, |bytes| bytes.len())).into()
    } else if let Some(function) = value.read_lock::<FnPtr>() {
        let name = if function.is_anonymous() { "closure" } else { function.fn_name() };
        format!("‹function {name}›").into()
    } else {
        format!("‹{}›", value.type_name().rsplit("::").next().unwrap_or("value")).into()
    }
}

fn text_shown(text: &str, masker: &Masker, budget: &mut Budget) -> String {
    let mut text = text.to_owned();
    masker.mask_text(&mut text);
    if text.len() > TEXT_BYTES_MAX {
        let mut end = TEXT_BYTES_MAX;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let rest = text.len() - end;
        text.truncate(end);
        text.push_str(&format!("… ‹{rest} more bytes›"));
    }
    budget.take(text.len());
    text
}
