//! The `dead_letters` view.

mod row;

pub use row::{LetterFilter, LetterRow, Resolution};
