//! What the fuzzer reaches into: parts of the crate that have a reference of their own and no public name.

pub use crate::options::parse as heap_options;
pub use crate::options::{Complaint, Options};
pub use crate::page_alloc::model as pages;
