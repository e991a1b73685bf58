//! What a thread allocates from without a lock.
//!
//! For `malloc`, per size class: a list of free blocks, all of the *current* span, from which blocks are popped; that span; and the other
//! spans that the cache owns, which are *partial* (have free blocks) or *full*. A freed block goes to the list of its span, not to the cache's,
//! so the current list runs dry at a regular pace and that is when housekeeping is done: refilling it from the span's own list, taking
//! in what other threads freed, moving on to the next span. For collected objects, per kind and class: the span that is being filled.
//!
//! Invariant: only the thread that a cache is attached to uses it, but for other threads putting spans into its inbox, and the collector
//! while the world is stopped. A cache record is never unmapped and is used again for another thread.

use crate::atomic::{AtomicPtr, AtomicU64, Ordering::*};
use crate::meta::Zeroed;
use crate::size_class::{CLASSES, SizeClass};
use crate::span::{Block, Inbox, ObjectSpan, ObjectSpanPtr, Span, SpanList, SpanPtr};
use std::ops::Deref;
use std::ptr::{NonNull, null_mut};

/// The number of kinds of collected objects.
pub(crate) const OBJECT_KINDS: usize = 3;

/// A thread's cache. Opaque: a pointer to one may be kept and copied, see [`cache_slot`](crate::cache_slot).
#[repr(C)]
pub struct Cache {
    /// First, so that a span's owner is a pointer to its cache.
    pub(crate) inbox: Inbox,
    /// The cache made before this one. Written before the cache is known to others.
    pub(crate) older: AtomicPtr<Cache>,
    /// The next one in the list of caches that are not attached. Under the heap's lock.
    pub(crate) next_idle: AtomicPtr<Cache>,
    /// Blocks of other owners' spans that were freed through this cache, since its making.
    pub(crate) remote_frees: AtomicU64,
    lists: [List; CLASSES],
    owned: [Owned; CLASSES],
    objects: [[AtomicPtr<ObjectSpan>; CLASSES]; OBJECT_KINDS],
}

/// The free blocks of one class.
#[repr(C)]
struct List {
    head: AtomicPtr<Block>,
    /// Blocks popped since the making of the cache.
    mallocs: AtomicU64,
}

/// The malloc spans of one class.
pub(crate) struct Owned {
    /// The span that the list's blocks are of.
    pub(crate) current: AtomicPtr<Span>,
    pub(crate) partial: SpanList,
    pub(crate) full: SpanList,
    /// Blocks put into the list since the making of the cache.
    pub(crate) handed: AtomicU64,
}

// SAFETY: atomics and what is made of them, for which zero is valid: a cache that holds nothing.
unsafe impl Zeroed for Cache {}

impl Cache {
    /// Holds nothing.
    pub(crate) const fn new() -> Cache {
        Cache {
            inbox: Inbox::new(),
            older: AtomicPtr::new(null_mut()),
            next_idle: AtomicPtr::new(null_mut()),
            remote_frees: AtomicU64::new(0),
            lists: [const {
                List {
                    head: AtomicPtr::new(null_mut()),
                    mallocs: AtomicU64::new(0),
                }
            }; CLASSES],
            owned: [const {
                Owned {
                    current: AtomicPtr::new(null_mut()),
                    partial: SpanList::new(),
                    full: SpanList::new(),
                    handed: AtomicU64::new(0),
                }
            }; CLASSES],
            objects: [const { [const { AtomicPtr::new(null_mut()) }; CLASSES] }; OBJECT_KINDS],
        }
    }

    /// Takes a block of the class, if the list has one. Called by the cache's thread.
    #[inline(always)]
    pub(crate) fn pop(&self, class: SizeClass) -> Option<NonNull<u8>> {
        let list = &self.lists[class.index()];
        let block = NonNull::new(list.head.load(Relaxed))?;
        // SAFETY: a free block in this cache's list.
        list.head.store(unsafe { (*block.as_ptr()).next }, Relaxed);
        list.mallocs.store(list.mallocs.load(Relaxed) + 1, Relaxed);
        Some(block.cast())
    }

    /// Makes the blocks the list, which is empty, and counts them.
    pub(crate) fn fill(&self, class: SizeClass, blocks: *mut Block, n: u32) {
        self.lists[class.index()].head.store(blocks, Relaxed);
        let handed = &self.owned[class.index()].handed;
        handed.store(handed.load(Relaxed) + n as u64, Relaxed);
    }

    /// Takes the list, which holds `n` blocks, away.
    pub(crate) fn drain(&self, class: SizeClass) -> *mut Block {
        self.lists[class.index()].head.swap(null_mut(), Relaxed)
    }

    /// The first block of the list.
    pub(crate) fn list(&self, class: SizeClass) -> *mut Block {
        self.lists[class.index()].head.load(Relaxed)
    }

    pub(crate) fn owned(&self, class: SizeClass) -> &Owned {
        &self.owned[class.index()]
    }

    /// Blocks that the program got through this cache.
    pub(crate) fn mallocs(&self) -> u64 {
        self.lists
            .iter()
            .map(|list| list.mallocs.load(Relaxed))
            .sum()
    }

    /// Blocks that are in the list. Approximate if the cache is in use meanwhile.
    pub(crate) fn listed(&self, class: SizeClass) -> u64 {
        let popped = self.lists[class.index()].mallocs.load(Relaxed);
        let handed = self.owned[class.index()].handed.load(Relaxed);
        handed.saturating_sub(popped)
    }

    /// The span that objects of this kind and class are taken from.
    #[inline(always)]
    pub(crate) fn objects(&self, kind: usize, class: SizeClass) -> Option<ObjectSpanPtr> {
        let span = self.objects[kind][class.index()].load(Relaxed);
        // SAFETY: records of a slab of object spans are never unmapped.
        NonNull::new(span).map(|span| unsafe { ObjectSpanPtr::new(span) })
    }

    pub(crate) fn set_objects(&self, kind: usize, class: SizeClass, span: Option<ObjectSpanPtr>) {
        let span = span.map_or(null_mut(), ObjectSpanPtr::as_ptr);
        self.objects[kind][class.index()].store(span, Relaxed);
    }
}

impl Owned {
    pub(crate) fn current(&self) -> Option<SpanPtr> {
        // SAFETY: a record or null.
        unsafe { SpanPtr::from_raw(self.current.load(Relaxed)) }
    }

    pub(crate) fn set_current(&self, span: Option<SpanPtr>) {
        self.current
            .store(span.map_or(null_mut(), SpanPtr::as_ptr), Relaxed);
    }
}

/// A pointer to a cache record of a heap that still exists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CachePtr(NonNull<Cache>);

// SAFETY: a record is all atomics; who may use it how is said at the head of the file.
unsafe impl Send for CachePtr {}

impl Deref for CachePtr {
    type Target = Cache;
    #[inline(always)]
    fn deref(&self) -> &Cache {
        // SAFETY: obligation 1 of `new`.
        unsafe { self.0.as_ref() }
    }
}

impl CachePtr {
    /// # Safety
    /// 1. `cache` is a record that is not unmapped while the value is in use.
    pub(crate) unsafe fn new(cache: NonNull<Cache>) -> CachePtr {
        CachePtr(cache)
    }

    /// The same, from a field of a record or of the heap.
    ///
    /// # Safety
    /// 1. As for [`new`](Self::new), or `cache` is null.
    pub(crate) unsafe fn from_raw(cache: *mut Cache) -> Option<CachePtr> {
        NonNull::new(cache).map(CachePtr)
    }

    /// The cache whose inbox this is: the owner of a span.
    ///
    /// # Safety
    /// 1. `owner` is null or was read from a span's `owner`.
    pub(crate) unsafe fn of_owner(owner: *mut Inbox) -> Option<CachePtr> {
        NonNull::new(owner.cast()).map(CachePtr)
    }

    pub(crate) fn as_ptr(self) -> *mut Cache {
        self.0.as_ptr()
    }

    /// What the spans of this cache have for an owner.
    #[inline(always)]
    pub(crate) fn as_owner(self) -> *mut Inbox {
        self.0.as_ptr().cast()
    }
}
