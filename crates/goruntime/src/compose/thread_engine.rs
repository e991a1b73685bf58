//! Execution contexts for the scheduler, each an OS thread: what `--features thread-engine` swaps in.
//!
//! Slower by orders of magnitude, but every tool that understands threads understands it. Stacks, thread-locals and overflow reports
//! are the operating system's and std's.

use gosched::goroutine::{GoroutineId, WaitsOn};
use std::ops::Range;

/// The engine.
pub(crate) type Engine = gosched::engine::threads::ThreadEngine;

/// Makes the engine.
///
/// # Errors
/// None.
pub(crate) fn new() -> Result<Engine, String> {
    Ok(Engine::new())
}

/// A goroutine that does not run.
pub(crate) struct Parked {
    /// The live part of its stack.
    pub(crate) live: Range<usize>,
    /// Its thread pointer.
    pub(crate) tp: usize,
    /// What it waits on; `None` if it does not wait.
    pub(crate) waits_on: Option<WaitsOn>,
}

/// A goroutine's stack.
pub(crate) enum Stack {
    /// No thread runs on it.
    Parked(Parked),
    /// A thread does; all of it.
    InUse(Range<usize>),
}

/// Calls `each` with nothing: every goroutine is a thread, and found as such.
///
/// # Safety
/// 1. As for the native engine: the world is stopped.
pub(crate) unsafe fn for_each_stack(_running: &[usize], _each: impl FnMut(GoroutineId, Stack)) {}

/// No stack is a goroutine's own: each belongs to a thread, and is found as such.
pub(crate) fn stack_of(_address: usize) -> Option<Range<usize>> {
    None
}

/// Overflow is std's business.
pub(crate) fn report_overflows() {}
