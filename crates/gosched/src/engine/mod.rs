//! The engine that needs no native stacks.

pub mod threads;
