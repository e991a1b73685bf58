//! What the fuzzer reaches into: parsers of text from outside the program that have no public name.

pub use crate::settings::Settings;
pub use crate::world::{maps, threads};
