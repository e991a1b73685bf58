//! Go's runtime system for Rust programs.
pub mod world;
