//! V5 to V9: what opening does with what it finds.
