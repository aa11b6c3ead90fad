//! Numbered crash and failure points.
