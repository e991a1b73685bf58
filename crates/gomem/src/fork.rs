//! `fork` in a program with several threads: the child has a copy of the heap, but only of one thread.
//!
//! Whatever lock another thread held would stay locked in the child for good, over a list half changed. So the thread that forks takes all
//! locks of the heap first and gives them back on both sides after, as `pthread_atfork` arranges.
//!
//! What the other threads' caches hold - free blocks, spans begun - is lost to the child: they may be in the middle of a change. That is memory, shared with
//! the parent until written, and no correctness; children of threaded programs mostly `exec` or end soon.
//!
//! Invariant: between `before` and `after` the thread is in a critical section and holds every lock, in the order of `lock.rs`. Handlers that
//! were registered later than these run outside of that time, so they may allocate; those registered earlier must not, and the C library's own
//! do not.
//!
//! Known hazard: the C library takes locks of its own for a fork, after these. A thread that allocates with one of those held (while it loads `nsswitch.conf`, or
//! flushes an `open_memstream` by `fflush(NULL)`) then waits for the heap while the forking thread waits for it. The C library's own heap is locked last and so is spared that; a
//! preloaded one cannot be.

use crate::critical;
use crate::process::heap;
use crate::samples;
use std::mem::forget;

/// Registers the handlers before `main`, and before whatever the program registers itself.
///
/// Not at the first allocation: the C library takes a lock for it, which a thread that a collector has stopped may hold.
#[used]
#[unsafe(link_section = ".init_array")]
static REGISTER: extern "C" fn() = register;

/// Has this module linked into every program that allocates: of a library, only what is referred to gets in.
#[inline]
pub(crate) fn link() {
    std::hint::black_box(&REGISTER);
}

extern "C" fn register() {
    // SAFETY: the handlers stay where they are as long as the code that is unloaded with them. A refusal (no memory) leaves the process as it
    // would be without: a child of a threaded process may then hang when it allocates.
    unsafe { libc::pthread_atfork(Some(before), Some(after), Some(after_in_child)) };
}

extern "C" fn before() {
    forget(critical::enter());
    heap().acquire_locks();
    samples::acquire_lock();
}

extern "C" fn after() {
    // SAFETY: `before` has locked them, on this thread or on the one that it is a copy of.
    unsafe {
        samples::release_lock();
        heap().release_locks();
    }
    // SAFETY: `before` has entered it.
    drop(unsafe { critical::resume() });
}

extern "C" fn after_in_child() {
    crate::background::forget_helper();
    // The other threads' words are on stacks that will be used for something else.
    heap().forget_other_threads();
    after();
}
