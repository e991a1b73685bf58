//! The thread-local words of the allocator, side by side, so that one address computation reaches them all.
//!
//! Invariant: everything here is const-initialised and has no destructor, so reading it never allocates and it is there
//! from a thread's first instruction to its last. A goroutine has thread-locals of its own, and what must
//! follow the OS thread from one to the other (the cache) is copied at each switch by whoever switches.

use crate::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, Ordering::*, compiler_fence};
use crate::cache::{Cache, CachePtr};

/// What to do at the end of the outermost critical section: bits of `Local::pending`.
pub(crate) const STOP: u8 = 1;
pub(crate) const TRIGGER: u8 = 2;

#[repr(C)]
pub(crate) struct Local {
    cache: AtomicPtr<Cache>,
    /// How deep in critical sections this context is.
    depth: AtomicU32,
    /// In a leaf section: one that enters no other leaf section.
    leaf: AtomicBool,
    /// Set by signal handlers on this thread, too.
    pending: AtomicU8,
    /// Using the cache without being in a critical section.
    busy: AtomicBool,
    /// How often the context freed a block without having a cache, up to [`STRAY`].
    frees: AtomicU8,
    /// Has a cache since it freed blocks, and has not allocated with it yet.
    new: AtomicBool,
    /// Taking a sample, for which others may be called who allocate: no other is taken meanwhile.
    sampling: AtomicBool,
}

/// Blocks that a context may free before it gets a cache for that alone.
const STRAY: u8 = 64;

/// Whether a context that frees a block stays without a cache.
pub(crate) enum Stray {
    No,
    /// It does, and this is the first such block.
    First,
    Yes,
}

/// Stands for "no cache yet".
static UNATTACHED: Cache = Cache::stand_in();
/// Stands for "no cache any more": the thread is exiting.
static DETACHED: Cache = Cache::stand_in();
/// Stands for "the cache is with somebody who empties it": see [`reclaim`](crate::reclaim).
static TAKEN: Cache = Cache::stand_in();

/// What a context has for a cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Attachment {
    Cache(CachePtr),
    /// None yet.
    Unattached,
    /// None any more.
    Detached,
    /// One that is being emptied, and will be there again soon.
    Taken,
}

impl Attachment {
    fn of(cache: *mut Cache) -> Attachment {
        match cache.cast_const() {
            word if word == &raw const UNATTACHED => Attachment::Unattached,
            word if word == &raw const DETACHED => Attachment::Detached,
            word if word == &raw const TAKEN => Attachment::Taken,
            // SAFETY: not a stand-in, so a cache record; never null.
            _ => match unsafe { CachePtr::from_raw(cache) } {
                Some(cache) => Attachment::Cache(cache),
                None => Attachment::Unattached,
            },
        }
    }

    fn word(self) -> *mut Cache {
        match self {
            Attachment::Cache(cache) => cache.as_ptr(),
            Attachment::Unattached => (&raw const UNATTACHED).cast_mut(),
            Attachment::Detached => (&raw const DETACHED).cast_mut(),
            Attachment::Taken => (&raw const TAKEN).cast_mut(),
        }
    }
}

#[cfg(not(all(feature = "initial-exec", not(any(miri, explore)))))]
thread_local! {
    static LOCAL: Local = const { Local::new() };
}

impl Local {
    pub(crate) const fn new() -> Local {
        Local {
            cache: AtomicPtr::new((&raw const UNATTACHED).cast_mut()),
            depth: AtomicU32::new(0),
            leaf: AtomicBool::new(false),
            pending: AtomicU8::new(0),
            busy: AtomicBool::new(false),
            frees: AtomicU8::new(0),
            new: AtomicBool::new(false),
            sampling: AtomicBool::new(false),
        }
    }

    #[inline(always)]
    pub(crate) fn with<R>(f: impl FnOnce(&Local) -> R) -> R {
        #[cfg(not(all(feature = "initial-exec", not(any(miri, explore)))))]
        return LOCAL.with(f);
        // SAFETY: the calling context's value, which is there from its first instruction to its last.
        #[cfg(all(feature = "initial-exec", not(any(miri, explore))))]
        return f(unsafe { &*initial_exec::address() });
    }

    /// Calls `f` with the context's cache, or with one that stands for none and on which every try fails. Nobody takes the cache meanwhile: see
    /// [`reclaim`](crate::reclaim).
    ///
    /// Not a critical section: the thread may be stopped in it. `f` does not come here again.
    #[inline(always)]
    pub(crate) fn with_cache<R>(&self, f: impl FnOnce(&Cache) -> R) -> R {
        self.busy.store(true, Relaxed);
        compiler_fence(SeqCst);
        // SAFETY: a record or a stand-in, which is never unmapped while the thread can use it.
        let result = f(unsafe { &*self.cache.load(Acquire) });
        compiler_fence(SeqCst);
        self.busy.store(false, Release);
        result
    }

    /// The context's cache or stand-in, for a leaf section.
    #[inline(always)]
    pub(crate) fn cache(&self) -> *mut Cache {
        self.cache.load(Relaxed)
    }

    /// Whether a context that frees a block has no cache and need not be given one for this: it may be about to end.
    pub(crate) fn stray(&self) -> Stray {
        if self.attachment() != Attachment::Unattached {
            return Stray::No;
        }
        let frees = self.frees.load(Relaxed);
        self.frees.store(frees.saturating_add(1), Relaxed);
        match frees {
            0 => Stray::First,
            _ if frees < STRAY => Stray::Yes,
            _ => Stray::No,
        }
    }

    /// What the context has. Called in a critical section, during which it stays as it is unless it is `Taken`.
    #[inline(always)]
    pub(crate) fn attachment(&self) -> Attachment {
        Attachment::of(self.cache.load(Acquire))
    }

    pub(crate) fn attach(&self, attachment: Attachment) {
        self.cache.store(attachment.word(), Release);
    }

    /// If the context has this cache, puts `Taken` in its place.
    pub(crate) fn take(&self, cache: CachePtr) -> bool {
        self.cache
            .compare_exchange(cache.as_ptr(), Attachment::Taken.word(), AcqRel, Relaxed)
            .is_ok()
    }

    /// Whether the context may be using its cache. Called after a heavy fence by who took it.
    pub(crate) fn is_using_cache(&self) -> bool {
        self.busy.load(Acquire) || self.depth.load(Acquire) != 0
    }

    /// Writes what a thread has that will never have a cache.
    ///
    /// # Safety
    /// 1. `at` is the place of the value in the block of a thread that does not run yet.
    pub(crate) unsafe fn init(at: *mut Local) {
        let local = Local {
            cache: AtomicPtr::new(Attachment::Detached.word()),
            ..Local::new()
        };
        // SAFETY: (1).
        unsafe { at.write(local) };
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

    /// Whether the context's cache was new; it is, or is not, from now on.
    pub(crate) fn set_new(&self, new: bool) -> bool {
        let was = self.new.load(Relaxed);
        self.new.store(new, Relaxed);
        was
    }

    /// Whether the context was taking a sample; it is, or is not, from now on.
    pub(crate) fn set_sampling(&self, sampling: bool) -> bool {
        let was = self.sampling.load(Relaxed);
        self.sampling.store(sampling, Relaxed);
        was
    }

    pub(crate) fn request(&self, what: u8) {
        self.pending.fetch_or(what, Relaxed);
    }

    pub(crate) fn take_pending(&self) -> u8 {
        self.pending.swap(0, Relaxed)
    }
}

/// The same words for a shared library that is loaded with the program (feature `initial-exec`).
///
/// In a shared library the compiler reaches thread-locals by calling `__tls_get_addr`, which is slow, and which allocates when a thread comes there for the first time: in
/// the allocator it would call itself. With the *initial-exec* model (Drepper, "ELF Handling For Thread-Local Storage", 4.3) the offset from the thread pointer is fixed when the
/// library is loaded and read from its table. Stable compilers do not let one choose the model, so the words are laid out in assembly.
#[cfg(all(feature = "initial-exec", not(any(miri, explore))))]
mod initial_exec {
    use super::{Local, UNATTACHED};
    use std::arch::{asm, global_asm};
    use std::mem::offset_of;

    const _: () = assert!(offset_of!(Local, cache) == 0 && size_of::<Local>() == 24);

    global_asm!(
        ".pushsection .tdata.gomem_local,\"awT\",@progbits",
        ".p2align 3",
        ".globl gomem_local",
        ".hidden gomem_local",
        ".type gomem_local,@object",
        ".size gomem_local,24",
        "gomem_local:",
        ".quad {unattached}",
        ".quad 0",
        ".quad 0",
        ".popsection",
        unattached = sym UNATTACHED,
    );

    /// Where the calling context has its words.
    #[inline(always)]
    pub(super) fn address() -> *const Local {
        let address;
        // SAFETY: reads the library's table, and the thread pointer from where it points to; both never change for a context.
        unsafe {
            asm!(
                "mov {address}, qword ptr [rip + gomem_local@gottpoff]",
                "add {address}, qword ptr fs:[0]",
                address = out(reg) address,
                options(pure, nomem, nostack),
            );
        }
        address
    }
}
