//! The thread-local words of the allocator, side by side, so that one address computation reaches them all.
//!
//! Invariant: everything here is const-initialised and has no destructor, so reading it never allocates and it is there
//! from a thread's first instruction to its last. No address of it is kept: a goroutine has thread-locals of its own, and what must
//! follow the OS thread from one to the other (the cache) is copied at each switch by whoever switches.

use crate::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering::*, compiler_fence};
use crate::cache::Cache;
use std::cell::Cell;

/// What to do at the end of the outermost critical section: bits of `Local::pending`.
pub(crate) const STOP: u8 = 1;
pub(crate) const TRIGGER: u8 = 2;

pub(crate) struct Local {
    /// How deep in critical sections this context is.
    depth: AtomicU32,
    /// In a leaf section: one that enters no other leaf section.
    leaf: AtomicBool,
    /// Set by signal handlers on this thread, too.
    pending: AtomicU8,
    cache: Cell<*mut Cache>,
}

/// Stands for "no cache yet". Holds nothing, so that every fast path fails on it without asking; never written.
pub(crate) static UNATTACHED: Cache = Cache::new();
/// Stands for "no cache any more": the thread is exiting.
pub(crate) static DETACHED: Cache = Cache::new();

/// Whether it is a cache that a thread may write to, and not one that stands for none.
#[inline]
pub(crate) fn is_attached(cache: *const Cache) -> bool {
    cache != &raw const UNATTACHED && cache != &raw const DETACHED
}

thread_local! {
    static LOCAL: Local = const {
        Local {
            depth: AtomicU32::new(0),
            leaf: AtomicBool::new(false),
            pending: AtomicU8::new(0),
            cache: Cell::new((&raw const UNATTACHED).cast_mut()),
        }
    };
}

impl Local {
    #[inline(always)]
    pub(crate) fn with<R>(f: impl FnOnce(&Local) -> R) -> R {
        LOCAL.with(f)
    }

    #[inline(always)]
    pub(crate) fn cache(&self) -> *mut Cache {
        self.cache.get()
    }

    /// Writes what a thread has that will never have a cache.
    ///
    /// # Safety
    /// 1. `at` is the place of the value in the block of a thread that does not run yet.
    pub(crate) unsafe fn init(at: *mut Local) {
        let local = Local {
            depth: AtomicU32::new(0),
            leaf: AtomicBool::new(false),
            pending: AtomicU8::new(0),
            cache: Cell::new((&raw const DETACHED).cast_mut()),
        };
        // SAFETY: (1).
        unsafe { at.write(local) };
    }

    pub(crate) fn set_cache(&self, cache: *mut Cache) {
        self.cache.set(cache);
    }

    pub(crate) fn cache_slot(&self) -> *mut *mut Cache {
        self.cache.as_ptr()
    }

    #[inline]
    pub(crate) fn is_active(&self) -> bool {
        self.leaf.load(Relaxed) || self.depth.load(Relaxed) != 0
    }

    /// A load and a store, not a read-modify-write: only this thread and signal handlers on it use the word, and a handler
    /// leaves it as it found it.
    #[inline(always)]
    pub(crate) fn enter(&self) {
        self.depth.store(self.depth.load(Relaxed) + 1, Relaxed);
        compiler_fence(SeqCst);
    }

    /// True if something is pending. The section is over before the look at `pending`: a request that comes between is made of a
    /// thread that can be stopped where it is.
    #[inline(always)]
    pub(crate) fn exit(&self) -> bool {
        compiler_fence(SeqCst);
        self.depth.store(self.depth.load(Relaxed) - 1, Relaxed);
        compiler_fence(SeqCst);
        self.pending.load(Relaxed) != 0
    }

    /// As `enter`, without a load: `malloc` and `free` in a loop do not wait for their own stores.
    #[inline(always)]
    pub(crate) fn enter_leaf(&self) {
        self.leaf.store(true, Relaxed);
        compiler_fence(SeqCst);
    }

    /// As `exit`.
    #[inline(always)]
    pub(crate) fn exit_leaf(&self) -> bool {
        compiler_fence(SeqCst);
        self.leaf.store(false, Relaxed);
        compiler_fence(SeqCst);
        self.pending.load(Relaxed) != 0
    }

    pub(crate) fn request(&self, what: u8) {
        self.pending.fetch_or(what, Relaxed);
    }

    pub(crate) fn take_pending(&self) -> u8 {
        self.pending.swap(0, Relaxed)
    }
}
