//! Blocks for managed stacks: small ones from pools by order, large ones from spans.
//!
//! Blocks of 2, 4, 8 and 16 KiB are cut from spans of 32 KiB. Each P has a [`StackCache`] with a list for each order, at most 32 KiB in
//! it; it is filled from and emptied to the [`StackDepot`] by halves, under one taking of the lock of that order. Larger blocks are
//! spans of their own. A span whose blocks have all come back goes back to the memory that it came from.
//!
//! Invariant: a block of a small order is in exactly one of a cache's list, the list of its span, or a stack. `Span::free` counts the
//! second. A free block's first word is the next of its list.

use core::ptr::{NonNull, null_mut};
use std::alloc::Layout;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::env::{PAGE, StackMemory, Word};

/// The smallest block: what a stack starts with.
pub const SMALLEST: usize = 2 << 10;
/// Bytes of the spans that small blocks are cut from.
const SPAN: usize = 32 << 10;
/// Orders of small blocks: those below a span.
const ORDERS: usize = (SPAN / SMALLEST).trailing_zeros() as usize;

/// A block of memory for a stack: a power of two, at least [`SMALLEST`].
#[derive(Debug)]
pub(super) struct Block {
    pub(super) base: NonNull<u8>,
    pub(super) bytes: usize,
}

// SAFETY: a block is memory that this value owns alone.
unsafe impl Send for Block {}

impl Block {
    /// One past the highest word.
    pub(super) fn top(&self) -> *mut Word {
        // SAFETY: one past the end of the block, which is aligned to words as its base is.
        unsafe { self.base.as_ptr().add(self.bytes).cast() }
    }
}

/// A list of free blocks through their first words.
#[derive(Debug)]
struct List {
    first: Word,
    len: usize,
}

impl List {
    const EMPTY: Self = Self {
        first: null_mut(),
        len: 0,
    };

    /// # Safety
    ///
    /// 1. `block` is at least a word, aligned, and owned by the caller, who gives it up.
    unsafe fn push(&mut self, block: NonNull<u8>) {
        // SAFETY: the obligation.
        unsafe { block.as_ptr().cast::<Word>().write(self.first) };
        self.first = block.as_ptr();
        self.len += 1;
    }

    fn pop(&mut self) -> Option<NonNull<u8>> {
        let block = NonNull::new(self.first)?;
        // SAFETY: blocks in the list are owned by it, and `push` wrote this word.
        self.first = unsafe { block.as_ptr().cast::<Word>().read() };
        self.len -= 1;
        Some(block)
    }
}

/// A span that is cut into blocks of one order.
struct Span {
    base: NonNull<u8>,
    free: List,
}

/// The spans of one order, by address.
struct Shelf {
    spans: BTreeMap<usize, Span>,
    /// Those with a free block. The lowest is used first, so that the highest become free as a whole.
    partial: BTreeSet<usize>,
}

// SAFETY: the pointers are to blocks that the shelf owns.
unsafe impl Send for Shelf {}

/// What all Ps have in common: the spans, and where they come from.
pub struct StackDepot<M: StackMemory> {
    memory: M,
    shelves: [Mutex<Shelf>; ORDERS],
}

impl<M: StackMemory> StackDepot<M> {
    /// An empty one.
    pub fn new(memory: M) -> Arc<Self> {
        let shelf = || {
            Mutex::new(Shelf {
                spans: BTreeMap::new(),
                partial: BTreeSet::new(),
            })
        };
        Arc::new(Self {
            memory,
            shelves: core::array::from_fn(|_| shelf()),
        })
    }

    /// The memory that the spans come from.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// Bytes of spans that are cut into small blocks now.
    pub fn span_bytes(&self) -> usize {
        (0..ORDERS)
            .map(|order| self.lock(order).spans.len())
            .sum::<usize>()
            * SPAN
    }

    fn lock(&self, order: usize) -> MutexGuard<'_, Shelf> {
        self.shelves[order]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves up to `count` blocks into `list`; fewer if there is no memory.
    fn fill(&self, order: usize, count: usize, list: &mut List) {
        let mut shelf = self.lock(order);
        let shelf = &mut *shelf;
        for _ in 0..count {
            let Some(first) = shelf
                .partial
                .first()
                .copied()
                .or_else(|| self.cut(order, shelf))
            else {
                return;
            };
            let span = shelf.spans.get_mut(&first).expect("a span that is listed");
            let block = span.free.pop().expect("a span that has a free block");
            if span.free.len == 0 {
                shelf.partial.remove(&first);
            }
            // SAFETY: the block was in its span's list, which owned it.
            unsafe { list.push(block) };
        }
    }

    /// Cuts another span, and says where it is.
    fn cut(&self, order: usize, shelf: &mut Shelf) -> Option<usize> {
        let base = self.memory.allocate(SPAN)?;
        let mut free = List::EMPTY;
        for offset in (0..SPAN).step_by(SMALLEST << order).rev() {
            // SAFETY: the span is fresh, and the offset inside it.
            unsafe { free.push(base.add(offset)) };
        }
        let address = base.addr().get();
        shelf.spans.insert(address, Span { base, free });
        shelf.partial.insert(address);
        Some(address)
    }

    /// Takes `count` blocks back from `list`.
    fn drain(&self, order: usize, count: usize, list: &mut List) {
        let mut shelf = self.lock(order);
        for _ in 0..count {
            let Some(block) = list.pop() else { return };
            let address = block.addr().get();
            let (&start, span) = shelf
                .spans
                .range_mut(..=address)
                .next_back()
                .filter(|(start, _)| address - **start < SPAN)
                .expect("a block of this depot");
            // SAFETY: the block was in the list, which owned it.
            unsafe { span.free.push(block) };
            if span.free.len == SPAN / (SMALLEST << order) {
                let base = span.base;
                shelf.spans.remove(&start);
                shelf.partial.remove(&start);
                // SAFETY: `cut` allocated it, and all of its blocks are back.
                unsafe { self.memory.free(base, SPAN) };
            } else {
                shelf.partial.insert(start);
            }
        }
    }
}

/// One P's blocks.
pub struct StackCache<M: StackMemory> {
    depot: Arc<StackDepot<M>>,
    lists: [List; ORDERS],
}

// SAFETY: the lists own their blocks.
unsafe impl<M: StackMemory> Send for StackCache<M> {}

impl<M: StackMemory> StackCache<M> {
    /// An empty one.
    pub fn new(depot: Arc<StackDepot<M>>) -> Self {
        Self {
            depot,
            lists: [List::EMPTY; ORDERS],
        }
    }

    /// The depot behind it.
    pub fn depot(&self) -> &Arc<StackDepot<M>> {
        &self.depot
    }

    /// Gives every block back to the depot: when the P is taken away, and at a collection.
    pub fn flush(&mut self) {
        for (order, list) in self.lists.iter_mut().enumerate() {
            self.depot.drain(order, usize::MAX, list);
        }
    }

    /// A block of `bytes`, a power of two.
    #[inline]
    pub(super) fn take(&mut self, bytes: usize) -> Option<Block> {
        let Some(list) = self.lists.get_mut(order(bytes)) else {
            let base = self.depot.memory.allocate(bytes)?;
            return Some(Block { base, bytes });
        };
        if list.first.is_null() {
            self.depot.fill(order(bytes), most(bytes) / 2, list);
        }
        let base = list.pop()?;
        Some(Block { base, bytes })
    }

    /// Takes a block back.
    #[inline]
    pub(super) fn put(&mut self, block: Block) {
        let Block { base, bytes } = block;
        let Some(list) = self.lists.get_mut(order(bytes)) else {
            // SAFETY: `take` allocated it, and its owner gives it up.
            unsafe { self.depot.memory.free(base, bytes) };
            return;
        };
        if list.len == most(bytes) {
            self.depot.drain(order(bytes), most(bytes) / 2, list);
        }
        // SAFETY: the owner gives the block up.
        unsafe { list.push(base) };
    }
}

impl<M: StackMemory> Drop for StackCache<M> {
    fn drop(&mut self) {
        self.flush();
    }
}

/// The order of blocks of a size; at least [`ORDERS`] for those that are spans.
#[inline]
fn order(bytes: usize) -> usize {
    (bytes / SMALLEST).trailing_zeros() as usize
}

/// How many blocks of a small size a cache holds.
#[inline]
fn most(bytes: usize) -> usize {
    SPAN / bytes
}

/// Spans from the global allocator.
#[derive(Debug, Default, Clone, Copy)]
pub struct GlobalSpans;

// SAFETY: the global allocator promises as much, and does not unwind.
unsafe impl StackMemory for GlobalSpans {
    fn allocate(&self, bytes: usize) -> Option<NonNull<u8>> {
        let layout = Layout::from_size_align(bytes, PAGE).ok()?;
        // SAFETY: nobody asks for zero bytes.
        NonNull::new(unsafe { std::alloc::alloc(layout) })
    }

    unsafe fn free(&self, span: NonNull<u8>, bytes: usize) {
        // SAFETY: `allocate` made it with this layout.
        unsafe {
            std::alloc::dealloc(
                span.as_ptr(),
                Layout::from_size_align_unchecked(bytes, PAGE),
            )
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::{AtomicUsize, Ordering};

    /// Counts bytes, and refuses from some number of them on.
    struct Counting {
        bytes: AtomicUsize,
        most: usize,
    }

    // SAFETY: as `GlobalSpans`.
    unsafe impl StackMemory for Counting {
        fn allocate(&self, bytes: usize) -> Option<NonNull<u8>> {
            if self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > self.most {
                self.bytes.fetch_sub(bytes, Ordering::Relaxed);
                return None;
            }
            GlobalSpans.allocate(bytes)
        }

        unsafe fn free(&self, span: NonNull<u8>, bytes: usize) {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            // SAFETY: the caller's obligations.
            unsafe { GlobalSpans.free(span, bytes) };
        }
    }

    fn depot(most: usize) -> Arc<StackDepot<Counting>> {
        StackDepot::new(Counting {
            bytes: AtomicUsize::new(0),
            most,
        })
    }

    #[test]
    fn blocks_are_apart_and_spans_go_back() {
        let depot = depot(usize::MAX);
        let mut caches = [
            StackCache::new(depot.clone()),
            StackCache::new(depot.clone()),
        ];
        for bytes in [2 << 10, 4 << 10, 16 << 10, 32 << 10, 256 << 10] {
            let blocks: Vec<Block> = (0..40)
                .map(|i| caches[i % 2].take(bytes).unwrap())
                .collect();
            let mut bases: Vec<usize> = blocks.iter().map(|b| b.base.addr().get()).collect();
            bases.sort_unstable();
            assert!(bases.windows(2).all(|pair| pair[1] - pair[0] >= bytes));
            // Each is given to the cache that it did not come from.
            for (i, block) in blocks.into_iter().enumerate() {
                caches[(i + 1) % 2].put(block);
            }
        }
        caches.iter_mut().for_each(StackCache::flush);
        assert_eq!(depot.memory().bytes.load(Ordering::Relaxed), 0);
        assert_eq!(depot.span_bytes(), 0);
    }

    #[test]
    fn a_cache_uses_what_it_has() {
        let depot = depot(SPAN);
        let mut cache = StackCache::new(depot.clone());
        for _ in 0..1000 {
            let block = cache.take(4 << 10).unwrap();
            cache.put(block);
        }
        assert_eq!(depot.span_bytes(), SPAN);
        let all: Vec<_> = std::iter::from_fn(|| cache.take(4 << 10)).collect();
        assert_eq!(all.len(), 8);
        assert!(cache.take(64 << 10).is_none());
        all.into_iter().for_each(|block| cache.put(block));
    }
}
