//! Execution contexts for the scheduler, each an OS thread: what `--features thread-engine` swaps in.
//!
//! Slower by orders of magnitude, but every tool that understands threads understands it. Stacks, thread-locals and overflow reports
//! are the operating system's and std's.

use super::env::GoEnv;
use gosched::Scheduler;
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

/// Whose goroutines have stacks of their own: nobody's.
pub(crate) fn schedulers() -> impl Iterator<Item = &'static Scheduler<GoEnv>> {
    std::iter::empty()
}

/// The thread-local block at the top of a stack.
pub(crate) struct Block {
    pub(crate) start: usize,
    pub(crate) thread_pointer: usize,
}

/// There is none: every goroutine is a thread, and found as such.
pub(crate) fn block_below(_top: usize) -> Option<Block> {
    None
}

/// Whether that is the address of a static thread-local: of no goroutine's.
pub(crate) fn is_static_local(_address: usize, _thread_pointer: usize) -> bool {
    false
}

/// Nothing is kept there.
///
/// # Safety
/// None.
pub(crate) unsafe fn saved_sp_at(
    _context: *const <Engine as gosched::env::Engine>::Context,
) -> usize {
    0
}

/// No stack is a goroutine's own: each belongs to a thread, and is found as such.
pub(crate) fn stack_of(_address: usize) -> Option<Range<usize>> {
    None
}

/// A goroutine has all that a thread has.
///
/// # Errors
/// That.
pub(crate) fn refuse_late_locals() -> Result<(), String> {
    Err("goroutines are threads".into())
}

/// Overflow is std's business.
pub(crate) fn report_overflows() {}
