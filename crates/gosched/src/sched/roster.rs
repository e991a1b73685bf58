//! All goroutines, in order of no meaning, for an observer who looks at their stacks again and again: a collector.
//!
//! Gs are never freed, so a list of them is good for ever and is only added to. With the list as an array several observers can share it, and each can ask the processor for
//! the next ones while it looks at one: the Gs of a server are scattered over memory, and to follow the links between them is to wait for each.
//!
//! Invariant: `context` is null or where the G has its context whenever it has one. The place is part of the G, which is never freed, so that it may be looked at, as memory,
//! at any time; whether a context is there, and whether it runs, is for the observer to know.

use crate::atomic::Ordering;
use crate::env::{Engine, Env};
use crate::gmp::g::Header;
use crate::sched::Scheduler;
use crate::sched::goroutine::Goroutine;
use std::ops::Range;
use std::ptr;

/// How many goroutines ahead their memory is asked for.
const AHEAD: usize = 8;

/// See the module.
pub struct Roster<V: Env> {
    scheduler: &'static Scheduler<V>,
    /// The G that was made last of those known.
    newest: *const Header,
    known: Vec<Known<V>>,
}

struct Known<V: Env> {
    g: &'static Goroutine<V>,
    context: *const <V::Engine as Engine>::Context,
}

// SAFETY: pointers to Gs, which may be shared, and into them.
unsafe impl<V: Env> Send for Roster<V> {}
// SAFETY: as above.
unsafe impl<V: Env> Sync for Roster<V> {}

impl<V: Env> Known<V> {
    fn prefetch(&self) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        for at in [ptr::from_ref(self.g).cast::<i8>(), self.context.cast()] {
            // SAFETY: a hint, which has no effect but on time.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(at) };
        }
    }

    fn is_pooled(&self) -> bool {
        self.g.header().state().is_none()
    }

    /// Finds out where the context is, if that is not known and it has one.
    ///
    /// # Safety
    /// 1. As for [`Roster::update`].
    unsafe fn find_context(&mut self) {
        if self.context.is_null() && !self.is_pooled() {
            // SAFETY: a G that is not pooled has a context, which is changed only by threads that obligation 1 has stopped.
            if let Some(context) = unsafe { (*self.g.context.get()).as_ref() } {
                self.context = context;
            }
        }
    }
}

impl<V: Env> Roster<V> {
    /// A roster with nobody on it.
    pub fn new(scheduler: &'static Scheduler<V>) -> Roster<V> {
        Roster {
            scheduler,
            newest: ptr::null(),
            known: Vec::new(),
        }
    }

    /// Whose goroutines they are.
    pub fn scheduler(&self) -> &'static Scheduler<V> {
        self.scheduler
    }

    /// How many goroutines are on it, those that have ended and wait to be used again included.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether nobody is.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Puts those on it that are new.
    ///
    /// # Safety
    /// 1. Every thread that runs goroutines of the scheduler, or starts them, is stopped outside critical sections.
    pub unsafe fn update(&mut self) {
        for known in self
            .known
            .iter_mut()
            .filter(|known| known.context.is_null())
        {
            // SAFETY: (1).
            unsafe { known.find_context() };
        }
        let first = self.scheduler.all.load(Ordering::Acquire).cast_const();
        let mut at = first;
        while at != self.newest
            && let Some(header) = unsafe {
                // SAFETY: null or a G, which is never freed.
                at.as_ref()
            }
        {
            at = header.all_next.load(Ordering::Acquire);
            // SAFETY: the list holds goroutines of this scheduler.
            let g = unsafe { Goroutine::<V>::of(header) };
            let mut known = Known {
                g,
                context: ptr::null(),
            };
            // SAFETY: (1).
            unsafe { known.find_context() };
            self.known.push(known);
        }
        self.newest = first;
    }

    /// Calls `each` with the stack of every goroutine that no thread runs, of those with these numbers on the roster, and its saved stack pointer. `running` is
    /// asked as in [`Scheduler::for_each_stopped_goroutine`].
    ///
    /// # Safety
    /// 1. As for [`update`](Self::update), and that was called since the threads were stopped.
    pub unsafe fn for_each_stopped_stack(
        &self,
        numbers: Range<usize>,
        running: impl Fn(&Range<usize>) -> bool,
        mut each: impl FnMut(Range<usize>, usize),
    ) {
        let engine = &self.scheduler.engine;
        self.walk(numbers, |known| {
            // SAFETY: the context of a G that is not pooled, which does not change by obligation 1.
            if let Some(context) = unsafe { known.context.as_ref() }
                && let Some(range) = engine.stack_range(context)
                && !running(&range)
                && let Some(sp) = engine.saved_sp(context)
            {
                each(range, sp);
            }
        });
    }

    /// Calls `each` with the place where the context is, of every goroutine with these numbers that has not ended, whatever it does meanwhile: the memory there can
    /// be read, and may be written at the same moment.
    pub fn for_each_context(
        &self,
        numbers: Range<usize>,
        mut each: impl FnMut(*const <V::Engine as Engine>::Context),
    ) {
        self.walk(numbers, |known| {
            if !known.context.is_null() {
                each(known.context);
            }
        });
    }

    /// Calls `each` with those that are not pooled.
    fn walk(&self, numbers: Range<usize>, mut each: impl FnMut(&Known<V>)) {
        let end = numbers.end.min(self.known.len());
        for number in numbers.start..end {
            if let Some(later) = self.known.get(number + AHEAD) {
                later.prefetch();
            }
            let known = &self.known[number];
            if !known.is_pooled() {
                each(known);
            }
        }
    }
}
