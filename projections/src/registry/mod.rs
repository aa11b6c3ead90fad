//! The `registry` view.

mod types;

pub use types::{App, Registry, Route, Script, ScriptVersion, Secret, Trigger};
