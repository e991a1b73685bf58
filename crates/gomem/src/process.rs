//! The heap of the process, and how threads come to use it.
//!
//! A thread's cache is in a thread-local word. It gets one at its first allocation, when it has freed some blocks, or by [`attach_thread`]; when the thread exits it is taken back
//! ([`ExitKey`]), after which the word says so. From then on the thread takes and gives `malloc` blocks one by one from what threads share, and objects from a cache shared under a lock.
//!
//! Invariant: if a cache says where the thread has its words (`Cache::local`), the thread's exit will take the cache back before the words are gone.

use crate::atomic::Ordering::*;
use crate::cache::{Cache, CachePtr};
use crate::critical::{self, Critical};
use crate::env::Os;
use crate::heap::Heap;
use crate::local::{Attachment, Local, Stray};
use crate::os::{ExitKey, LinuxOs};
use crate::page::PAGE_SIZE;
use crate::samples;
use crate::size_class::{SMALL_MAX, SizeClass};
use crate::sort::{CollectedKind, Sort};
use std::ffi::c_void;
use std::ops::Deref;
use std::ptr::NonNull;

/// The heap of the process: a [`Heap`] with a cache for each thread. There is one, [`heap()`].
pub struct ProcessHeap(Heap<LinuxOs>);

static HEAP: ProcessHeap = ProcessHeap(Heap::watched(LinuxOs, Some(want_helper)));

fn want_helper() {
    crate::background::wanted(|| crate::background::help(&HEAP));
}

/// The heap of the process.
#[inline(always)]
pub fn heap() -> &'static ProcessHeap {
    &HEAP
}

impl Deref for ProcessHeap {
    type Target = Heap<LinuxOs>;
    #[inline(always)]
    fn deref(&self) -> &Heap<LinuxOs> {
        &self.0
    }
}

/// Gives the calling OS thread its cache and has it taken back when the thread exits. False if there was no memory for one: the thread then
/// allocates more slowly.
///
/// Threads that allocate do this by themselves. One that is going to run goroutines with thread-local blocks of their own must call it before, on its
/// own stack, because what is to happen at a thread's exit is noted in its thread-local memory, and because its cache is not to be taken when it is idle.
pub fn attach_thread() -> bool {
    let section = critical::enter();
    let cache = match Local::with(|local| HEAP.settled(local)) {
        Attachment::Cache(cache) => Some(cache),
        _ => attach(&section),
    };
    Local::with(|local| local.set_new(false));
    match cache {
        Some(cache) => HEAP.set_local(cache, None),
        // A goroutine that got one for this thread later would have it taken back at its own end.
        None => Local::with(|local| local.attach(Attachment::Detached)),
    }
    cache.is_some()
}

/// Puts the free blocks that the calling thread's cache holds, and those on their way between threads, back into their spans: for a thread that runs goroutines and has had
/// nothing to do for a while, whose cache nobody else can take. It keeps the cache.
pub fn empty_thread() {
    let _section = critical::enter();
    if let Attachment::Cache(cache) = Local::with(|local| HEAP.settled(local)) {
        HEAP.empty_cache(cache);
    }
    HEAP.drain_transfers(true);
}

/// Takes the calling thread's cache back, with all that it holds. The thread may still allocate and free, more slowly.
pub fn detach_thread() {
    let _section = critical::enter();
    if let Attachment::Cache(cache) = Local::with(|local| HEAP.settled(local)) {
        EXIT.set(std::ptr::null());
        detach(cache);
    }
    Local::with(|local| local.attach(Attachment::Detached));
}

/// Where the calling context keeps its cache: the address of a thread-local word, to be used by this context only.
///
/// For whoever switches between contexts with thread-local blocks of their own (goroutines): at each switch the word of the context that is left
/// is copied to that of the context entered, on the same thread, outside of critical sections. A context that has never run may hold anything there.
#[inline(always)]
pub fn cache_slot() -> *mut *mut Cache {
    Local::with(Local::cache_slot)
}

/// Gives the thread a cache, which stays with it until it exits or allocates: see [`cache_to_allocate`].
#[cold]
fn attach(_: &Critical) -> Option<CachePtr> {
    crate::fork::link();
    crate::load::link();
    let cache = HEAP.attach_cache().ok()?;
    // Before the value is set, for that may allocate.
    Local::with(|local| local.attach(Attachment::Cache(cache)));
    // Without it the cache could not be taken back.
    if !EXIT.set(cache.as_ptr().cast::<c_void>()) {
        detach(cache);
        return None;
    }
    Local::with(|local| local.set_new(true));
    Some(cache)
}

fn detach(cache: CachePtr) {
    HEAP.set_local(cache, None);
    Local::with(|local| {
        local.set_new(false);
        local.attach(Attachment::Detached);
    });
    HEAP.detach_cache(cache);
}

/// Has caches taken back. A thread that has none has [`NO_CACHE`] noted from its first free on.
static EXIT: ExitKey = ExitKey::new(at_exit);

/// Called at load, so that the key is the one that it should be.
pub(crate) fn make_exit_key() {
    EXIT.get();
}

static NO_CACHE: u8 = 0;

fn no_cache() -> *const c_void {
    (&raw const NO_CACHE).cast()
}

/// Runs on a thread that exits, after the destructors of its thread-locals.
unsafe extern "C" fn at_exit(value: *mut c_void) {
    let _section = critical::enter();
    if value.cast_const() == no_cache() {
        return Local::with(|local| local.attach(Attachment::Detached));
    }
    // SAFETY: pthread passes what `attach` set, a cache of this thread.
    if let Some(cache) = unsafe { CachePtr::from_raw(value.cast()) } {
        detach(cache);
    }
}

/// The calling thread's cache; a new one if it had none yet. `None` if it is exiting, or there is no memory for one.
fn some_cache(section: &Critical) -> Option<CachePtr> {
    match Local::with(|local| HEAP.settled(local)) {
        Attachment::Cache(cache) => Some(cache),
        Attachment::Unattached => attach(section),
        Attachment::Detached | Attachment::Taken => None,
    }
}

/// As [`some_cache`], for memory that is allocated: the thread is not behind the end of its life then, so the cache may be taken while it is idle.
fn cache_to_allocate(section: &Critical) -> Option<CachePtr> {
    let cache = some_cache(section)?;
    Local::with(|local| {
        if local.set_new(false) && EXIT.is_noticed() {
            HEAP.set_local(cache, Some(local));
        }
    });
    Some(cache)
}

/// As [`some_cache`], for a block that is freed. The first few go without a cache: the C library frees blocks on a thread when all is done that
/// is done at its exit, and a cache that the thread got then would be with it for good. If it gets one all the same, nobody looks for the thread in the place
/// where it was.
fn cache_to_free(section: &Critical) -> Option<CachePtr> {
    match Local::with(Local::stray) {
        Stray::No => some_cache(section),
        Stray::First => {
            // What this may allocate, and for ever if it is behind the end of the thread's life, is allocated without a cache.
            Local::with(|local| local.attach(Attachment::Detached));
            EXIT.set(no_cache());
            Local::with(|local| local.attach(Attachment::Unattached));
            None
        }
        Stray::Yes => None,
    }
}

/// The longer ways have C's calling convention because that does not unwind: so callers need not be prepared for it.
impl ProcessHeap {
    /// A block of at least `size` bytes, aligned to `align`, a power of two. `None` when out of memory.
    #[inline(always)]
    pub fn malloc(&self, size: usize, align: usize) -> Option<NonNull<u8>> {
        if align > 8 {
            if align == 16 && size <= SMALL_MAX {
                return self.malloc_class(SizeClass::of_aligned_16(size));
            }
            return self.malloc_aligned(size, align);
        }
        if size > SMALL_MAX {
            return self.malloc_pages(size, align);
        }
        self.malloc_class(SizeClass::of(size))
    }

    /// A block of at least `size` bytes, aligned to 16: what C promises of every block.
    #[inline(always)]
    pub fn malloc_for_c(&self, size: usize) -> Option<NonNull<u8>> {
        if size > SMALL_MAX {
            return self.malloc_pages(size, 16);
        }
        self.malloc_class(SizeClass::of_aligned_16(size))
    }

    #[inline(always)]
    fn malloc_class(&self, class: SizeClass) -> Option<NonNull<u8>> {
        match Local::with(|local| local.with_cache(|cache| cache.pop(class))) {
            Some(block) => Some(block),
            None => self.malloc_slow(class),
        }
    }

    #[cold]
    #[inline(never)]
    extern "C" fn malloc_slow(&self, class: SizeClass) -> Option<NonNull<u8>> {
        let section = critical::enter();
        match cache_to_allocate(&section) {
            Some(cache) => match self.is_due(cache, class) {
                None => self.malloc_small(cache, class),
                Some(rate) => {
                    drop(section);
                    self.malloc_sampled(class, rate)
                }
            },
            None => self.malloc_uncached(class),
        }
    }

    /// Whether the next block of the class is to be sampled, and at which rate; the one after that is chosen then. Called by the cache's thread.
    fn is_due(&self, cache: CachePtr, class: SizeClass) -> Option<u64> {
        let rate = samples::rate();
        if cache.left(class) != 0 && cache.rate.load(Relaxed) == rate {
            return None;
        }
        let _arming = self.arming.lock();
        if cache.rate.swap(rate, Relaxed) != rate {
            for class in SizeClass::all() {
                cache.arm(class, samples::gap(rate, class.size()));
            }
        }
        if cache.left(class) != 0 {
            return None;
        }
        cache.arm(class, samples::gap(rate, class.size()));
        Some(rate)
    }

    /// A block that is sampled, or an ordinary one if that cannot be.
    fn malloc_sampled(&self, class: SizeClass, rate: u64) -> Option<NonNull<u8>> {
        let sampled = samples::capture(|stack| {
            let _section = critical::enter();
            let block = self.malloc_apart(class)?;
            self.note_sample(block, rate, stack);
            Some(block)
        });
        sampled.flatten().or_else(|| {
            let _section = critical::enter();
            self.malloc_uncached(class)
        })
    }

    /// Called for every large block of the caller's, new or of a new size.
    #[inline]
    pub(crate) fn sample_large(&self, block: NonNull<u8>, size: usize) {
        let rate = samples::rate();
        if rate != 0 && samples::is_chosen(rate, size) {
            samples::capture(|stack| {
                let _section = critical::enter();
                self.note_sample(block, rate, stack);
            });
        }
    }

    /// Has the profile know a block that is a span, which is the caller's.
    fn note_sample(&self, block: NonNull<u8>, rate: u64, stack: &[usize]) {
        if let Some(span) = self.map.find(block.as_ptr().addr()) {
            let sample = samples::allocated(rate, span.size(), stack);
            samples::freed(span.sample().swap(sample, Relaxed));
        }
    }

    #[inline(never)]
    fn malloc_aligned(&self, size: usize, align: usize) -> Option<NonNull<u8>> {
        match SizeClass::aligned(size, align) {
            Some(class) => self.malloc_class(class),
            None => self.malloc_pages(size, align),
        }
    }

    #[inline(never)]
    extern "C" fn malloc_pages(&self, size: usize, align: usize) -> Option<NonNull<u8>> {
        let section = critical::enter();
        let block = self.malloc_large(size, align)?;
        drop(section);
        self.sample_large(block, size);
        Some(block)
    }

    /// Frees a block; from any thread. Aborts with a message if it is not one, where that is cheap to see.
    ///
    /// # Safety
    /// 1. `block` is from [`malloc`](Self::malloc), [`calloc`](Self::calloc) or [`realloc`](Self::realloc), and not used any more.
    #[inline(always)]
    pub unsafe fn free(&self, block: NonNull<u8>) {
        // SAFETY: (1).
        unsafe { self.free_or_null(block.as_ptr()) }
    }

    /// As [`free`](Self::free); null is left alone, and costs nothing to tell from a block.
    ///
    /// # Safety
    /// 1. As for [`free`](Self::free), or null.
    #[inline(always)]
    pub unsafe fn free_or_null(&self, block: *mut u8) {
        let class = self.map.malloc_class(block.addr());
        if !Local::with(|local| local.with_cache(|cache| cache.push(class, block))) {
            // SAFETY: (1).
            unsafe { self.free_at_length(block) }
        }
    }

    /// As [`free`](Self::free), for callers who know the size.
    ///
    /// # Safety
    /// 1. As for [`free`](Self::free).
    /// 2. `size` and `align` are those with which the block was allocated, or reallocated last.
    #[inline(always)]
    pub unsafe fn free_sized(&self, block: NonNull<u8>, size: usize, align: usize) {
        if align > 8 {
            if align == 16 && size <= SMALL_MAX {
                // SAFETY: (1), (2).
                return unsafe { self.free_of_class(block, SizeClass::of_aligned_16(size)) };
            }
            // SAFETY: (1).
            return unsafe { self.free(block) };
        }
        if size > SMALL_MAX {
            // SAFETY: (1).
            return unsafe { self.free_at_length(block.as_ptr()) };
        }
        // SAFETY: (1), (2).
        unsafe { self.free_of_class(block, SizeClass::of(size)) }
    }

    /// # Safety
    /// 1. As for [`free`](Self::free).
    /// 2. The block is of the class, or a sampled one.
    #[inline(always)]
    unsafe fn free_of_class(&self, block: NonNull<u8>, class: SizeClass) {
        // The block may be a sampled one.
        if block.as_ptr().addr().is_multiple_of(PAGE_SIZE) {
            // SAFETY: (1).
            return unsafe { self.free_looking_up(block) };
        }
        let push = |cache: &Cache| cache.push(class.index(), block.as_ptr());
        if !Local::with(|local| local.with_cache(push)) {
            // SAFETY: (1).
            unsafe { self.free_at_length(block.as_ptr()) }
        }
    }

    /// # Safety
    /// 1. As for [`free_or_null`](Self::free_or_null).
    #[cold]
    #[inline(never)]
    unsafe extern "C" fn free_looking_up(&self, block: NonNull<u8>) {
        // SAFETY: (1).
        unsafe { self.free(block) }
    }

    /// # Safety
    /// 1. As for [`free_or_null`](Self::free_or_null).
    #[cold]
    #[inline(never)]
    unsafe extern "C" fn free_at_length(&self, block: *mut u8) {
        let Some(block) = NonNull::new(block) else {
            return;
        };
        let section = critical::enter();
        // SAFETY: (1), and not null.
        unsafe { self.free_slow(cache_to_free(&section), block) }
    }

    /// Bytes in a block: at least as many as were asked for. Aborts if it is not a block of this heap.
    #[inline]
    pub fn usable_size(&self, block: NonNull<u8>) -> usize {
        self.block_size(block)
    }

    /// A collected object of at least `size` bytes, zeroed if its [kind](CollectedKind) says so. `None` when out of memory.
    ///
    /// Its address is a multiple of 8, and of 16 if `size` is a multiple of 16; see [`alloc_collected_aligned`](Self::alloc_collected_aligned) for more.
    /// (A Rust value that is aligned to 16 has such a size.)
    ///
    /// The object is found by [`Heap::find`] at once, so whoever fills it before a collector may look at it does both in one [critical
    /// section](critical::enter): [`alloc_collected_to_fill`](Self::alloc_collected_to_fill). It is freed by the next sweep that finds it unmarked and began after its allocation.
    #[inline(always)]
    pub fn alloc_collected(&self, size: usize, kind: CollectedKind) -> Option<NonNull<u8>> {
        self.alloc_collected_aligned(size, 8, kind)
    }

    /// The same, with the critical section in which to fill it. What takes long to clear is cleared before the section begins.
    #[inline(always)]
    pub fn alloc_collected_to_fill(
        &self,
        size: usize,
        kind: CollectedKind,
    ) -> Option<(Critical, NonNull<u8>)> {
        let large = (size > SMALL_MAX).then(|| self.prepare_collected(size, 8, kind));
        let section = critical::enter();
        let object = match large {
            Some(large) => large?.publish(),
            None => self.alloc_collected(size, kind)?,
        };
        Some((section, object))
    }

    /// As [`alloc_collected`](Self::alloc_collected), aligned to `align`, a power of two.
    #[inline(always)]
    pub fn alloc_collected_aligned(
        &self,
        size: usize,
        align: usize,
        kind: CollectedKind,
    ) -> Option<NonNull<u8>> {
        let section = critical::leaf();
        // SAFETY: the thread's cache, or one that stands for none and holds nothing.
        let cache = unsafe { &*Local::with(Local::cache) };
        if let Some(object) = self.object_from(cache, size, align, kind) {
            return Some(object);
        }
        drop(section);
        self.collected_slow(size, align, kind)
    }

    /// Takes an object of the sort from the thread's own memory and has it initialised, with no stop of the thread in between. `None`, with nothing done, if
    /// there is none at hand: [`make_sorted_slow`](Self::make_sorted_slow) gets one. `init` does not come back to the allocator.
    #[inline(always)]
    pub fn make_sorted(&self, sort: Sort, init: impl FnOnce(NonNull<u8>)) -> Option<NonNull<u8>> {
        let _section = critical::leaf();
        // SAFETY: the thread's cache, or one that stands for none and holds nothing.
        let cache = unsafe { &*Local::with(Local::cache) };
        let object = self.sorted_from(cache, sort)?;
        init(object);
        Some(object)
    }

    /// A collected object of a sort. `None` when out of memory. Called in the critical section in which the object is initialised.
    #[cold]
    #[inline(never)]
    pub fn make_sorted_slow(&self, section: &Critical, sort: Sort) -> Option<NonNull<u8>> {
        self.with_some_cache(section, |cache| self.sorted_slow(cache, sort))
    }

    #[cold]
    #[inline(never)]
    fn collected_slow(
        &self,
        size: usize,
        align: usize,
        kind: CollectedKind,
    ) -> Option<NonNull<u8>> {
        // A large one is cleared outside of sections.
        if size > SMALL_MAX {
            return Some(self.prepare_collected(size, align, kind)?.publish());
        }
        let section = critical::enter();
        self.with_some_cache(&section, |cache| self.object_slow(cache, size, align, kind))
    }

    fn with_some_cache<R>(
        &self,
        section: &Critical,
        f: impl FnOnce(CachePtr) -> Option<R>,
    ) -> Option<R> {
        if let Some(cache) = cache_to_allocate(section) {
            return f(cache);
        }
        let mut shared = self.shared_cache.lock();
        let cache = match *shared {
            Some(cache) => cache,
            None => *shared.insert(self.attach_cache().ok()?),
        };
        f(cache)
    }
}

const _: fn() = || {
    fn assert_sync<T: Sync>() {}
    assert_sync::<ProcessHeap>();
    fn assert_os<T: Os>() {}
    assert_os::<LinuxOs>();
};
