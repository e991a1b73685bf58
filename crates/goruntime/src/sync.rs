//! Locks and counters for goroutines. A goroutine that waits parks, and its thread goes on; all work from plain threads too.

pub use gosched::sync::*;
