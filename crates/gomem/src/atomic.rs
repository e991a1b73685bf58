//! The atomics that this crate's protocols are written with: the standard ones.
//!
//! One place, so that a build with `--cfg explore` can put a schedule explorer's in their stead.

pub use std::sync::atomic::*;
