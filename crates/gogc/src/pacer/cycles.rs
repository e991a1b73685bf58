//! Synthetic cycles.
