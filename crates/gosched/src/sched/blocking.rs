//! Code that blocks its thread: `blocking` gives the P up before, `syscall` lets the monitor take
//! it.
//!
//! Either way the goroutine stays on its thread, and when it comes back it needs a P: the one that
//! it had, or any idle one; failing that, it lines up in the global queue and its M goes idle.

use crate::atomic::Ordering;

use crate::critical;
use crate::env::{Env, Event};
use crate::gmp::g::{GRef, current};
use crate::gmp::m::Fate;
use crate::sched::Scheduler;
use crate::sched::goroutine::Goroutine;

impl<V: Env> Scheduler<V> {
    /// Gives up the P at once.
    ///
    /// # Safety
    /// 1. `g` is the caller, outside of critical sections.
    pub(super) unsafe fn release_p(&'static self, g: &'static Goroutine<V>) {
        // SAFETY: obligation 1.
        unsafe {
            let machine = self.enter(g);
            if machine.m.p().is_some() {
                let inside = critical::assume_inside(machine.m.left.get());
                self.tell(Some(machine), || Event::Blocking(g.header().id()));
                self.hand_off(machine.m.release(), &inside);
            }
            self.leave(machine);
        }
    }

    /// Makes sure that there is a P.
    ///
    /// # Safety
    /// 1. `g` is the caller, outside of critical sections.
    pub(super) unsafe fn reacquire_p(&'static self, g: &'static Goroutine<V>) {
        // SAFETY: obligation 1.
        unsafe {
            let machine = self.enter(g);
            let inside = critical::assume_inside(machine.m.left.get());
            if machine.m.p().is_some() {
                self.leave(machine);
            } else if self.regain(machine, &inside) {
                self.tell(Some(machine), || Event::Running(g.header().id()));
                self.leave(machine);
            } else {
                self.switch_away(g, machine, Fate::Yielded.of(g.header()), None);
            }
        }
    }
}

/// Runs `f`, which will block its thread for long: a file, a name look-up, a C library, much
/// computing.
///
/// The P goes to another M at once, so that other goroutines run meanwhile. On a plain thread just
/// calls `f`.
///
/// # Panics
/// As `f` does.
pub fn blocking<R>(f: impl FnOnce() -> R) -> R {
    let Some(g) = current() else { return f() };
    g.in_syscall.store(true, Ordering::Relaxed);
    g.own_m().in_syscall.store(true, Ordering::Relaxed);
    // SAFETY: `g` is the caller.
    unsafe { (g.ops.release_p)(g) };
    let _back = BackFromBlocking(g);
    f()
}

struct BackFromBlocking(GRef);

impl Drop for BackFromBlocking {
    fn drop(&mut self) {
        self.0.in_syscall.store(false, Ordering::Relaxed);
        self.0.own_m().in_syscall.store(false, Ordering::Relaxed);
        // SAFETY: `g` is the caller, also while unwinding.
        unsafe { (self.0.ops.reacquire_p)(self.0) }
    }
}

/// Runs `f`, which makes a system call that mostly returns at once.
///
/// Costs a few stores: the goroutine keeps its P and only marks that it may be taken sooner than
/// from computing code. On a plain thread just calls `f`.
///
/// # Panics
/// As `f` does.
pub fn syscall<R>(f: impl FnOnce() -> R) -> R {
    let Some(g) = current() else { return f() };
    mark(g, true);
    let _back = BackFromSyscall(g);
    f()
}

struct BackFromSyscall(GRef);

impl Drop for BackFromSyscall {
    fn drop(&mut self) {
        let g = self.0;
        mark(g, false);
        if !g.own_m().still_has_p() {
            // SAFETY: `g` is the caller, also while unwinding.
            unsafe { (g.ops.reacquire_p)(g) }
        }
    }
}

fn mark(g: GRef, inside: bool) {
    g.in_syscall.store(inside, Ordering::Relaxed);
    let m = g.own_m();
    m.in_syscall.store(inside, Ordering::Relaxed);
    if inside {
        let tick = m.syscall_tick.load(Ordering::Relaxed);
        m.syscall_tick
            .store(tick.wrapping_add(1), Ordering::Relaxed);
    }
}

/// Lets the other goroutines that are queued here run first. On a plain thread, yields to the OS.
pub fn yield_now() {
    match current() {
        // SAFETY: `g` is the caller.
        Some(g) => unsafe { (g.ops.yield_now)(g) },
        None => std::thread::yield_now(),
    }
}
