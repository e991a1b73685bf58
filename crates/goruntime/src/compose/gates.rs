//! What the stop signal's handler asks about the context that it interrupted.

use super::engine::stack_of;
use crate::world::stop::{self, Gates};

/// Installs the handler and the hooks that make up for a stop put off.
///
/// # Errors
/// When the system refuses the handler.
pub(crate) fn install() -> std::io::Result<()> {
    // Its thread would not answer the signal.
    gomem::background::disable();
    gomem::critical::set_stop_hook(stop_here);
    gosched::critical::set_stop_hook(stop_here);
    stop::install(Gates { defer, mid_switch }).map_err(std::io::Error::from_raw_os_error)
}

fn stop_here() {
    stop::stop_here();
}

/// Inside the allocator or the scheduler: their end calls [`stop_here`].
fn defer() -> bool {
    let allocator = gomem::critical::is_active();
    if allocator {
        gomem::critical::request_stop();
    }
    let scheduler = gosched::critical::is_active();
    if scheduler {
        gosched::critical::request_stop();
    }
    allocator || scheduler
}

/// Between the write of the thread pointer and that of the stack pointer, the two belong to different stacks.
fn mid_switch(sp: usize, tp: usize) -> bool {
    stack_of(sp) != stack_of(tp)
}
