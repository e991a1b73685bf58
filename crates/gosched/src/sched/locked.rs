//! Goroutines that are locked to their thread.
//!
//! `G.thread` names the M of a locked goroutine, `M.locked_g` the goroutine; both are written by the goroutine itself, while it runs. From
//! then on that M runs this goroutine and nothing else, and no other M runs it:
//!
//! - *It parks or yields*: it gives its P to another M and leaves for the M's own context, which sleeps, in no list (`wait_for_own`).
//! - *It is found*, runnable, by another M, wherever that M looks for work: that M leaves its P and the goroutine for the sleeper and wakes it
//!   (`hand_over`), and goes on without a P. So a wake-up of a locked goroutine costs a wake-up of its thread, as in Go.
//! - *It ends*: its thread ends as well, for who locks a thread may have changed it (`end_with_thread`). The M is kept, and gets another thread.
//!
//! Why the sleeper is not missed: it publishes the goroutine (after-switch action) before it sleeps on `parked`, and whoever then finds the
//! goroutine stores the P, the goroutine, and last `parked`, which is not lost if it comes before the sleep. Nobody else wakes an M that is in
//! no list.

use crate::atomic::Ordering;
use std::ptr;

use crate::critical::{self, Section};
use crate::env::{Engine, Env};
use crate::gmp::g::{GRef, current};
use crate::gmp::m::{After, M};
use crate::sched::Scheduler;
use crate::sched::goroutine::Goroutine;
use crate::sched::machine::Machine;
use std::marker::PhantomData;

impl<V: Env> Scheduler<V> {
    /// What was found, unless it is locked to another thread, which then gets it and the P.
    ///
    /// # Safety
    /// 1. The caller runs on `machine`, in the runtime, with a P.
    #[inline]
    pub(super) unsafe fn unless_locked(
        &'static self,
        machine: &'static Machine<V>,
        found: Option<GRef>,
        inside: &Section,
    ) -> Option<GRef> {
        let g = found?;
        match g.thread() {
            None => Some(g),
            Some(m) => {
                // SAFETY: obligation 1.
                unsafe { self.hand_over(machine, g, m, inside) };
                None
            }
        }
    }

    /// # Safety
    /// 1. As `unless_locked`; `g` is in the caller's hands and locked to `m`.
    #[cold]
    unsafe fn hand_over(
        &'static self,
        machine: &'static Machine<V>,
        g: GRef,
        m: &'static M,
        inside: &Section,
    ) {
        debug_assert!(!ptr::eq(m, machine.as_m()), "its own thread sleeps");
        if machine.m.spinning.load(Ordering::Relaxed) {
            self.stop_spinning(machine, inside);
        }
        // SAFETY: obligation 1: the M has a P. The sleeper is in nobody's hands but of who has its goroutine.
        unsafe {
            let p = machine.m.release();
            m.next_g.set(ptr::from_ref(g));
            m.leave_p(p, false);
            m.unpark();
        }
    }

    /// The end of a locked goroutine's turn: its P goes to others, and its thread waits for it to be found again.
    ///
    /// # Safety
    /// 1. `g` is the caller, locked, running on `machine`, in the runtime; it is published by `after`.
    #[cold]
    pub(super) unsafe fn leave_locked(
        &'static self,
        g: &'static Goroutine<V>,
        machine: &'static Machine<V>,
        after: After,
        inside: &Section,
    ) {
        // SAFETY: obligation 1.
        unsafe {
            if machine.m.p().is_some() {
                self.hand_off(machine.m.release(), inside);
            }
            self.switch_away(g, machine, after, None);
        }
    }

    /// Sleeps until the goroutine that this M is locked to has been found, and returns it; `None` if there is none.
    ///
    /// # Safety
    /// 1. The caller is the M's own context, inside a critical section.
    pub(super) unsafe fn wait_for_own(&'static self, machine: &'static Machine<V>) -> Option<GRef> {
        let m = &machine.m;
        m.locked_g()?;
        self.idle.add_locked();
        // SAFETY: obligation 1; no lock is held. Whoever wakes it leaves a P and the goroutine.
        unsafe {
            critical::suspended(|| {
                self.check_deadlock();
                m.park(|| self.engine.thread_idle());
            });
            self.idle.remove_locked();
            m.accept();
            m.next_g.replace(ptr::null()).as_ref()
        }
    }

    /// A goroutine ends that is still locked: its thread shall end.
    ///
    /// # Safety
    /// 1. `g` is the caller, running on `machine`, in the runtime.
    #[cold]
    pub(super) unsafe fn end_with_thread(
        &'static self,
        g: &'static Goroutine<V>,
        machine: &'static Machine<V>,
        inside: &Section,
    ) {
        g.header().set_thread(None);
        machine.m.set_locked_g(None);
        machine.m.ends.set(true);
        #[cfg(explore)]
        if goexplore::planted("the P of a thread that ends is kept") {
            return;
        }
        if machine.m.p().is_some() {
            // SAFETY: obligation 1.
            let p = unsafe { machine.m.release() };
            #[cfg(explore)]
            if goexplore::planted("a thread that ends leaves nobody to look for work") {
                return self.idle.put_p(p);
            }
            self.hand_off(p, inside);
        }
    }

    /// The thread of `machine` is about to end: the M may be given another. The last thing that the thread does with it.
    pub(super) fn thread_ends(&'static self, machine: &'static Machine<V>) {
        let inside = critical::enter();
        machine.m.ends.set(false);
        // SAFETY: the thread's own context, which is left for good.
        unsafe { *machine.context.get() = None };
        self.spare.lock(&inside).push(machine);
        self.machine_count.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Keeps the calling goroutine on its thread, and everybody else off it, until drop. See [`lock_os_thread`].
#[must_use = "the goroutine is unlocked at once if this is not kept"]
#[derive(Debug)]
pub struct OsThreadLock {
    /// It is the calling goroutine's.
    _not_send: PhantomData<*const ()>,
}

/// Locks the calling goroutine to the OS thread that it runs on: for libraries that keep state by thread, and for changes to the thread
/// itself (namespaces, priorities). Locks nest.
///
/// Switching to and from a locked goroutine costs a wake-up of its thread. A goroutine that ends while it is locked - the lock was leaked, or
/// it was started so by [`SpawnOptions::locked`](crate::SpawnOptions::locked) - takes its thread with it. On a plain thread, and in a simulation, which
/// has one thread, this does nothing.
pub fn lock_os_thread() -> OsThreadLock {
    if let Some(g) = lockable() {
        let depth = g.lock_depth.get();
        g.lock_depth.set(depth + 1);
        if depth == 0 {
            let m = g.own_m();
            m.set_locked_g(Some(g));
            g.set_thread(Some(m));
        }
    }
    OsThreadLock {
        _not_send: PhantomData,
    }
}

impl Drop for OsThreadLock {
    fn drop(&mut self) {
        let Some(g) = lockable() else { return };
        let depth = g.lock_depth.get() - 1;
        g.lock_depth.set(depth);
        if depth == 0 {
            g.own_m().set_locked_g(None);
            g.set_thread(None);
        }
    }
}

/// The calling goroutine, if it is one that can be locked.
fn lockable() -> Option<GRef> {
    current().filter(|g| g.ops.simulated.is_none())
}
