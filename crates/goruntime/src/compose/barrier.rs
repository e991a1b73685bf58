//! What the write barrier has recorded, until the collector takes it.
//!
//! A few buffers that all threads share, each with a lock that is held for a few instructions: a goroutine would need one of its own, at two
//! kilobytes each, and a thread's would have to be found from wherever its goroutine runs. Whoever finds a buffer locked takes the next.
//!
//! Invariant: a buffer is locked only within a critical section of the allocator, where nobody is stopped. So in a stop all are unlocked, and what they
//! hold are roots ([`for_each_recorded`]).

use gogc::{BarrierBuffer, Collector, WordSink};
use std::cell::UnsafeCell;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering::*};

const STRIPES: usize = 16;

#[repr(align(128))]
struct Stripe {
    locked: AtomicBool,
    buffer: UnsafeCell<BarrierBuffer>,
}

// SAFETY: the buffer is used by who has locked it, or by the collector while the world is stopped.
unsafe impl Sync for Stripe {}

static ALL: [Stripe; STRIPES] = [const {
    Stripe {
        locked: AtomicBool::new(false),
        buffer: UnsafeCell::new(BarrierBuffer::new()),
    }
}; STRIPES];

/// Runs `f` with a buffer that nobody else has. The caller is in a critical section of the allocator.
fn with_buffer(f: impl FnOnce(&mut BarrierBuffer)) {
    let _section = gomem::critical::enter();
    // Contexts differ in their thread pointer, by pages at least.
    let mut at = crate::world::stop::thread_pointer() >> 12;
    let stripe = loop {
        let stripe = &ALL[at % STRIPES];
        if !stripe.locked.load(Relaxed) && !stripe.locked.swap(true, Acquire) {
            break stripe;
        }
        std::hint::spin_loop();
        at = at.wrapping_add(1);
    };
    // SAFETY: locked.
    f(unsafe { &mut *stripe.buffer.get() });
    stripe.locked.store(false, Release);
}

/// Records pointers, two at a time.
pub(crate) struct Recorder<'b, C> {
    buffer: &'b mut BarrierBuffer,
    collector: &'b C,
}

impl<C: Collector> Recorder<'_, C> {
    /// Has what these words point to be marked.
    pub(crate) fn record(&mut self, a: usize, b: usize) {
        if self.buffer.record(a, b) == gogc::barrier::Recorded::Full {
            self.collector.flush_barrier(self.buffer);
        }
    }
}

impl<C: Collector> WordSink for Recorder<'_, C> {
    fn word(&mut self, word: usize) {
        self.record(word, 0);
    }

    unsafe fn masked(&mut self, base: *const usize, mask: u64) {
        for i in (0..64).filter(|i| mask >> i & 1 == 1) {
            // SAFETY: one of the words asked for, which are readable by the caller's obligations.
            self.word(unsafe { gogc::word::load(base.wrapping_add(i)) });
        }
    }
}

/// Records what `f` says, if the barrier is on.
pub(crate) fn record<C: Collector>(collector: &C, f: impl FnOnce(&mut Recorder<'_, C>)) {
    with_buffer(|buffer| {
        // Asked again where nobody is stopped: a cycle may have ended since.
        if collector.barrier().is_on() {
            f(&mut Recorder { buffer, collector });
        }
    });
}

/// Calls `visit` with every word that is recorded and not yet taken. Called while the world is stopped.
pub(crate) fn for_each_recorded(mut visit: impl FnMut(usize)) {
    for stripe in &ALL {
        debug_assert!(!stripe.locked.load(Relaxed));
        // SAFETY: the world is stopped, so that nobody has it locked.
        unsafe { &*stripe.buffer.get() }
            .words()
            .iter()
            .for_each(|word| visit(*word));
    }
}

/// Forgets what is recorded. Called while the world is stopped.
pub(crate) fn clear() {
    for stripe in &ALL {
        debug_assert!(!stripe.locked.load(Relaxed));
        // SAFETY: as above.
        unsafe { &mut *stripe.buffer.get() }.clear();
    }
}

/// The addresses of the buffers. They are statics, but what they hold is presented as what it is, and what they held is nothing.
pub(crate) fn buffers() -> Range<usize> {
    let range = ALL.as_ptr_range();
    range.start.addr()..range.end.addr()
}
