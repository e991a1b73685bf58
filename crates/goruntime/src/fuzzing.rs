//! What the fuzzer reaches into: parsers of text from outside the program that have no public name.

pub use crate::debug::http::{Parsed, is_own_name, parse as parse_head};
pub use crate::goroutines::symbol_table::SymbolTable;
pub use crate::settings::Settings;
pub use crate::world::{maps, threads};
