//! Recovery.

/// What a start found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct RecoveryReport {
    /// Whether the directory was new and a log was made.
    pub created: bool,
}
