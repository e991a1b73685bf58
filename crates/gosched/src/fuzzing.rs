//! What the fuzzer reaches into: parts of the crate that have a reference of their own and no public name.

pub use crate::gmp::timer::model as timers;
