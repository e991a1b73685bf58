//! From one context to another.
//!
//! Every switch is made inside a critical section and in the runtime; both are ended by the context
//! that is switched *to*, in [`Scheduler::arrive`] and [`Scheduler::resume`]. What the left context
//! must have done for it is in the M's `after`. Rules that keep this sound with an engine that
//! changes stacks:
//!
//! 1. A G that is left is in no queue and in nobody's hands until the after-switch action publishes
//!    it.
//! 2. After `switch` is called, nothing of the left stack is touched: the action gets the G, not
//!    references into its frames.
//! 3. No lock is held and no reference to a thread-local is kept over a switch.
//!
//! What lies between the decision and the switch, and between the switch and the return, is inlined in every caller: as functions of their
//! own these steps spend a third of their instructions on saving and loading each other's registers.

use crate::atomic::Ordering;
use std::ptr;

use crate::critical::{self, Section};
use crate::env::{Engine, Env, Event, ThreadLocals};
use crate::gmp::body::Body;
use crate::gmp::g::{GList, GRef, Header, POOLED, RUNNABLE, RUNNING};
use crate::gmp::m::{After, Fate};
use crate::here::{Here, here};
use crate::sched::Scheduler;
use crate::sched::find::STEAL_ONCE;
use crate::sched::goroutine::Goroutine;
use crate::sched::machine::Machine;

/// The execution context of an environment.
pub(super) type ContextOf<V> = <<V as Env>::Engine as Engine>::Context;

impl<V: Env> Scheduler<V> {
    /// Enters a critical section and the runtime, from a goroutine.
    ///
    /// # Safety
    /// 1. `g` is the caller, outside of both.
    #[inline]
    pub(super) unsafe fn enter(&'static self, g: &'static Goroutine<V>) -> &'static Machine<V> {
        debug_assert!(!critical::is_active());
        let here = critical::begin();
        // SAFETY: obligation 1: a running goroutine's M is the one it runs on.
        unsafe {
            let machine = Machine::of(g.header().own_m());
            machine.m.enter(self.fence);
            machine.m.left.set(here);
            machine
        }
    }

    /// Leaves both.
    ///
    /// # Safety
    /// 1. The caller is the context that runs on `machine`, inside of both, and holds no lock.
    #[inline]
    pub(super) unsafe fn leave(&'static self, machine: &'static Machine<V>) {
        // SAFETY: obligation 1.
        unsafe {
            machine.m.leave();
            critical::end(here());
        }
    }

    /// Leaves the calling goroutine for `next`, or for the M's own context. Returns when it runs
    /// again, outside of the critical section and the runtime, perhaps on another M.
    ///
    /// # Safety
    /// 1. The caller is `from`, running on `machine`, inside of both.
    /// 2. `next` is in the caller's hands, and the M has a P if there is a `next`.
    #[inline(always)]
    pub(super) unsafe fn switch_away(
        &'static self,
        from: &'static Goroutine<V>,
        machine: &'static Machine<V>,
        after: After,
        next: Option<GRef>,
    ) {
        // SAFETY: obligations 1 and 2; `from` is published by `after` only when it is saved.
        unsafe {
            let to = self.prepare_switch(machine, Some(after), next);
            self.engine.switch(from.context_ptr(), to);
            self.resume(from);
        }
    }

    /// Runs `next` from the M's own context until somebody comes back to it.
    ///
    /// # Safety
    /// 1. The caller is the M's own context, inside a critical section, with a P.
    /// 2. `next` is in the caller's hands.
    pub(super) unsafe fn execute(&'static self, machine: &'static Machine<V>, next: GRef) {
        // SAFETY: obligations 1 and 2.
        unsafe {
            machine.m.left.set(here());
            let to = self.prepare_switch(machine, None, Some(next));
            self.engine.switch(machine.context_ptr(), to);
            self.arrive(machine, ptr::null());
        }
    }

    /// All that comes before a switch but the switch.
    ///
    /// # Safety
    /// 1. As `switch_away`, or `execute`.
    #[inline(always)]
    pub(super) unsafe fn prepare_switch(
        &'static self,
        machine: &'static Machine<V>,
        after: Option<After>,
        next: Option<GRef>,
    ) -> *mut ContextOf<V> {
        let m = &machine.m;
        m.after.set(after);
        self.account(machine, after);
        m.in_syscall.store(false, Ordering::Relaxed);
        // SAFETY: obligation 1 gives us the M, and through it the P; `next` is ours, so its fields
        // and context are.
        unsafe {
            match next {
                Some(next) => {
                    next.status.store(RUNNING, Ordering::Relaxed);
                    next.waiting_since.store(0, Ordering::Relaxed);
                    next.set_m(machine.as_m());
                    let id = next.id.load(Ordering::Relaxed);
                    m.current.store(id, Ordering::Relaxed);
                    let p = m.p().expect("only an M with a P runs goroutines");
                    p.count_tick();
                    p.current.store(id, Ordering::Relaxed);
                    if m.spinning.load(Ordering::Relaxed) {
                        self.stop_spinning(machine, &critical::assume_inside(m.left.get()));
                    }
                    self.tell(Some(machine), || Event::Running(next.id()));
                    Goroutine::<V>::of(next).context_ptr()
                }
                None => {
                    m.current.store(0, Ordering::Relaxed);
                    machine.context_ptr()
                }
            }
        }
    }

    /// The first thing on a goroutine's context after a switch to it.
    ///
    /// # Safety
    /// 1. The caller is `g`, which has just been switched to.
    #[inline(never)]
    pub(super) unsafe fn resume(&'static self, g: &'static Goroutine<V>) {
        // SAFETY: obligation 1: whoever switched here has set the M, which is in the runtime.
        unsafe {
            let machine = Machine::of(g.header().m().expect("set before the switch"));
            let here = self.arrive(machine, g.header());
            machine.m.leave();
            critical::end(here);
        }
    }

    /// The first thing on any context after a switch to it: makes the thread-locals right, and does
    /// for the context that was left what it could not do itself. Returns the words of this one.
    ///
    /// # Safety
    /// 1. The caller has just been switched to on `machine`, and stands for `current` (null: the
    ///    M's own).
    #[inline(always)]
    unsafe fn arrive(
        &'static self,
        machine: &'static Machine<V>,
        current: *const Header,
    ) -> *const Here {
        let here = here();
        let m = &machine.m;
        // SAFETY: `here` points to this context's words. `left` points to those of the context that
        // was left, which by the engine's obligation 5 are readable until the after-switch action
        // below; where they belong to another thread they are not touched.
        unsafe {
            if V::Engine::THREAD_LOCALS == ThreadLocals::Shared {
                (*here).current.set(current.cast());
            }
            let left = m.left.replace(ptr::null());
            if V::Engine::THREAD_LOCALS != ThreadLocals::PerThread
                && !left.is_null()
                && (*left).pending.load(Ordering::Relaxed)
            {
                // Only a handler on this thread writes it, and finds the words of this context from now on.
                (*left).pending.store(false, Ordering::Relaxed);
                (*here).pending.store(true, Ordering::Relaxed);
            }
        }
        // SAFETY: a switch is made inside a critical section; a fresh context has begun one.
        let inside = unsafe { critical::assume_inside(here) };
        if let Some(After { g, fate }) = m.after.take() {
            match fate {
                Fate::Parked => {
                    if g.context_saved() {
                        self.tell(Some(machine), || Event::Readied(g.id()));
                        self.enqueue_back(machine, g, &inside);
                    }
                }
                Fate::Yielded => self.enqueue_back(machine, g, &inside),
                Fate::Finished => self.pool(machine, g, &inside),
            }
        }
        here
    }

    /// Queues `g` behind the others: of this P, or of all if the M has none.
    #[inline(always)]
    fn enqueue_back(&'static self, machine: &'static Machine<V>, g: GRef, inside: &Section) {
        g.status.store(RUNNABLE, Ordering::Relaxed);
        match machine.m.p() {
            Some(p) => {
                let mut overflow = GList::new();
                // SAFETY: the M is in the runtime with this P.
                unsafe { p.ring.push(g, &mut overflow) };
                if overflow.len() > 0 {
                    self.global.push_all(&mut overflow, inside);
                }
            }
            None => self.global.push(g, inside),
        }
        self.wake_one(inside);
    }

    /// Keeps a finished G for reuse.
    #[inline(never)]
    fn pool(&'static self, machine: &'static Machine<V>, g: GRef, inside: &Section) {
        // SAFETY: the G has finished and nobody else has it; its context has returned the one that
        // runs now.
        unsafe {
            let whole = Goroutine::<V>::of(g);
            if whole.spec.get() != self.config.stack
                && let Some(context) = (*whole.context.get()).take()
            {
                self.engine.retire(context);
            }
            g.status.store(POOLED, Ordering::Relaxed);
            match machine.m.p() {
                Some(p) => {
                    let mut spill = p.put_free(g);
                    if spill.len() > 0 {
                        self.pool.lock(inside).append(&mut spill);
                    }
                }
                None => self.pool.lock(inside).push(g),
            }
        }
    }

    /// What every goroutine's context runs; returns the context to go on with.
    ///
    /// # Safety
    /// 1. Called by the engine as a fresh context's entry; `arg` is the goroutine's header.
    pub(super) unsafe fn entry(arg: *mut ()) -> *mut ContextOf<V> {
        let bomb = AbortOnUnwind;
        // SAFETY: obligation 1; whoever switched here has prepared the G, which is inside a
        // critical section and the runtime from that switch on.
        let to = unsafe {
            let g = Goroutine::<V>::of(arg.cast::<Header>());
            (*here()).current.set(arg);
            critical::begin();
            g.sched.resume(g);
            let completion = Body::call(g.header().body.get());
            g.sched.engine.finish();
            g.sched.live.fetch_sub(1, Ordering::Relaxed);
            completion.announce();
            g.sched.finish(g)
        };
        std::mem::forget(bomb);
        to
    }

    /// The end of a goroutine: finds who runs next.
    ///
    /// # Safety
    /// 1. The caller is `g`, whose entry returns the result.
    #[inline(never)]
    unsafe fn finish(&'static self, g: &'static Goroutine<V>) -> *mut ContextOf<V> {
        g.header().set_name(None);
        // SAFETY: obligation 1; `g` is pooled only by the after-switch action.
        unsafe {
            let machine = self.enter(g);
            let inside = critical::assume_inside(machine.m.left.get());
            self.tell(Some(machine), || Event::Finished(g.header().id()));
            if g.header().thread().is_some() {
                self.end_with_thread(g, machine, &inside);
            }
            let next = self.find_next(machine, STEAL_ONCE, &inside);
            let after = Fate::Finished.of(g.header());
            let to = self.prepare_switch(machine, Some(after), next);
            (*here()).current.set(ptr::null());
            to
        }
    }
}

/// A goroutine's frames end in the engine: a panic must not get there.
struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        eprintln!("gosched: a panic left a goroutine's outermost frame; aborting");
        std::process::abort();
    }
}
