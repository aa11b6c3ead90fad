//! Fields of a table: each taken by name and type, the rest refused by name.
//!
//! Owns: [`Fields`]. Never does: give a field a meaning.

use std::ops::RangeInclusive;

use super::tree::{Problem, Tree, Value};

/// The fields of one table.
pub(super) struct Fields<'a> {
    whole: &'a Tree,
    what: &'static str,
}

impl<'a> Fields<'a> {
    /// The fields of `tree`, if it is a table that has none but `allowed` names.
    pub(super) fn of(tree: &'a Tree, what: &'static str, allowed: &[&str]) -> Result<Fields<'a>, Problem> {
        let fields = Fields { what, ..Fields::any(tree)? };
        let Value::Table(entries) = &tree.value else { return Ok(fields) };
        match entries.iter().find(|(name, ..)| !allowed.contains(&name.as_str())) {
            None => Ok(fields),
            Some((name, span, value)) => Err(Problem {
                span: span.clone(),
                field: value.path.clone(),
                message: format!("{what} has no field `{name}`; allowed are {}", allowed.join(", ")),
            }),
        }
    }

    /// The fields of `tree`, whatever their names.
    pub(super) fn any(tree: &'a Tree) -> Result<Fields<'a>, Problem> {
        if let Value::Table(_) = &tree.value {
            return Ok(Fields { whole: tree, what: "this" });
        }
        Err(Problem::at(tree, format!("is {}, not a table", tree.value.type_name())))
    }

    /// A text field before the allowed names are known.
    pub(super) fn peek_text(tree: &Tree, name: &str) -> Result<Option<String>, Problem> {
        Fields::any(tree)?.text(name)
    }

    /// The table.
    pub(super) const fn whole(&self) -> &'a Tree {
        self.whole
    }

    /// The value of a field.
    pub(super) fn tree(&self, name: &str) -> Option<&'a Tree> {
        match &self.whole.value {
            Value::Table(fields) => fields.iter().find(|(known, ..)| known == name).map(|(.., tree)| tree),
            Value::Text(_) | Value::Integer(_) | Value::Bool | Value::List(_) | Value::Other(_) => None,
        }
    }

    /// A problem of a field, or of the table if the field is absent.
    pub(super) fn problem(&self, name: &str, message: impl Into<String>) -> Problem {
        Problem::at(self.tree(name).unwrap_or(self.whole), message)
    }

    /// A field that must be there is not.
    pub(super) fn missing(&self, name: &str) -> Problem {
        let mut problem = Problem::at(self.whole, format!("{} needs a field `{name}`", self.what));
        if !problem.field.is_empty() {
            problem.field.push('.');
        }
        problem.field.push_str(name);
        problem
    }

    /// A text.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Problem> {
        match self.tree(name).map(|tree| (tree, &tree.value)) {
            None => Ok(None),
            Some((_, Value::Text(text))) => Ok(Some(text.clone())),
            Some((tree, other)) => Err(Problem::at(tree, format!("is {}, not a text", other.type_name()))),
        }
    }

    /// A whole number in a range.
    pub(super) fn number<T: TryFrom<i64>>(
        &self,
        name: &str,
        range: RangeInclusive<i64>,
    ) -> Result<Option<T>, Problem> {
        let Some(tree) = self.tree(name) else { return Ok(None) };
        let want = || format!("a whole number from {} to {}", range.start(), range.end());
        let Value::Integer(number) = &tree.value else {
            return Err(Problem::at(tree, format!("is {}, not {}", tree.value.type_name(), want())));
        };
        match T::try_from(*number) {
            Ok(value) if range.contains(number) => Ok(Some(value)),
            Ok(_) | Err(_) => Err(Problem::at(tree, format!("{number} is not {}", want()))),
        }
    }

    /// One of some texts.
    pub(super) fn choice<T: Copy>(&self, name: &str, choices: &[(&str, T)]) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        match choices.iter().find(|(choice, _)| *choice == text) {
            Some((_, value)) => Ok(Some(*value)),
            None => {
                let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
                Err(self.problem(name, format!("`{text}` is not one of {}", names.join(", "))))
            }
        }
    }

    /// A list; absent is empty.
    pub(super) fn list(&self, name: &str) -> Result<&'a [Tree], Problem> {
        match self.tree(name).map(|tree| (tree, &tree.value)) {
            None => Ok(&[]),
            Some((_, Value::List(items))) => Ok(items),
            Some((tree, other)) => Err(Problem::at(tree, format!("is {}, not a list", other.type_name()))),
        }
    }
}
