//! The pool of buffers of grey objects that markers share.
//!
//! A buffer is 2 KiB: a link and the addresses of up to [`ITEMS`] grey objects. At any time it is in one of
//! three places: on the stack of *full* buffers (which hold work; not necessarily to the brim), on the stack
//! of *empty* ones, or in the hands of one marker, as an [`Owned`]. Only the owner touches the items;
//! dropping the `Owned` puts the buffer on the stack where it belongs, so no work is lost by dropping one.
//!
//! Both stacks are Treiber stacks (*Systems Programming: Coping with Parallelism*, 1986) of buffer numbers,
//! with a counter beside the number in the head word against reuse between a load and its compare-and-swap.
//! Numbers instead of pointers leave room for that counter, and a buffer's memory stays mapped while anybody
//! shares the pool, so that reading the link of a buffer that was popped meanwhile is harmless.
//!
//! Memory comes from the embedder in chunks that double in size, each buffer being touched only when it is
//! first needed. What a marker has may be several buffers in a row, a [`Chain`]. The first chunk is obtained when the pool is made: marking can always begin. Later chunks
//! may be refused; then the caller must remember by other means what it could not push.

use crate::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};

use crate::env::World;

/// Grey objects that a buffer holds: with the link and the length it fills 2 KiB.
#[cfg(not(any(explore, miri)))]
pub(crate) const ITEMS: usize = 254;
/// So few that buffers change hands in a model.
#[cfg(explore)]
pub(crate) const ITEMS: usize = 2;
/// So few that a heap which fills many can be interpreted: the smallest buffer that its alignment allows.
#[cfg(all(miri, not(explore)))]
pub(crate) const ITEMS: usize = 6;

/// Buffers in the first chunk; each further chunk has twice as many.
const FIRST_CHUNK: u32 = 32;

/// Chunks at most: buffers for 8 thousand million grey objects.
const CHUNKS: usize = 20;

/// Chunks that are kept from one cycle to the next.
const KEPT_CHUNKS: usize = 3;

#[repr(C, align(64))]
struct Buffer {
    /// The number plus 1 of the buffer below, while on a stack; 0 at the bottom.
    next: AtomicU32,
    /// Of the owner alone.
    body: UnsafeCell<Body>,
}

#[repr(C)]
struct Body {
    len: u32,
    items: [MaybeUninit<usize>; ITEMS],
}

#[cfg(not(explore))]
const _: () = assert!(size_of::<Buffer>() == 8 * (ITEMS + 2));

// SAFETY: `next` is atomic; `body` is accessed only by the one `Owned` of the buffer, which the stacks hand
// from thread to thread with release and acquire.
unsafe impl Sync for Buffer {}

/// A stack of buffers. The head is the number plus 1 of the top buffer in its lower half, a change count in
/// its upper.
#[derive(Default)]
struct Stack {
    head: AtomicU64,
}

impl Stack {
    fn head(top: u32, after: u64) -> u64 {
        #[cfg(explore)]
        if goexplore::planted("the change count stands still") {
            return u64::from(top);
        }
        ((after >> 32).wrapping_add(1) << 32) | top as u64
    }

    fn is_empty(&self) -> bool {
        self.head.load(Ordering::Acquire) as u32 == 0
    }

    fn push(&self, id: u32, buffer: &Buffer) {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            buffer.next.store(head as u32, Ordering::Relaxed);
            match self.head.compare_exchange_weak(
                head,
                Stack::head(id + 1, head),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    fn pop<'p>(&self, pool: &'p BufferPool) -> Option<(u32, &'p Buffer)> {
        let mut head = self.head.load(Ordering::Acquire);
        loop {
            let id = (head as u32).checked_sub(1)?;
            let buffer = pool.get(id);
            let next = buffer.next.load(Ordering::Relaxed);
            match self.head.compare_exchange_weak(
                head,
                Stack::head(next, head),
                Ordering::Acquire,
                Ordering::Acquire,
            ) {
                Ok(_) => return Some((id, buffer)),
                Err(now) => head = now,
            }
        }
    }
}

/// All buffers of one collector.
pub(crate) struct BufferPool {
    /// Chunk `k` has `FIRST_CHUNK << k` buffers, or is null.
    chunks: [AtomicPtr<Buffer>; CHUNKS],
    /// The number of the first buffer never used since the last [`trim`](Self::trim).
    fresh: AtomicU32,
    full: Stack,
    empty: Stack,
}

/// The chunk of buffer `id` and the index within it.
const fn place(id: u32) -> (usize, usize) {
    let n = id + FIRST_CHUNK;
    let chunk = n.ilog2() - FIRST_CHUNK.ilog2();
    (chunk as usize, (n - (FIRST_CHUNK << chunk)) as usize)
}

const fn chunk_bytes(chunk: usize) -> usize {
    ((FIRST_CHUNK as usize) << chunk) * size_of::<Buffer>()
}

impl BufferPool {
    /// A pool with its first chunk, or `None` if memory for that is refused.
    pub(crate) fn new(world: &impl World) -> Option<BufferPool> {
        let pool = BufferPool {
            chunks: [const { AtomicPtr::new(ptr::null_mut()) }; CHUNKS],
            fresh: AtomicU32::new(0),
            full: Stack::default(),
            empty: Stack::default(),
        };
        pool.grow(0, world).then_some(pool)
    }

    fn get(&self, id: u32) -> &Buffer {
        let (chunk, index) = place(id);
        let base = self.chunks[chunk].load(Ordering::Acquire);
        debug_assert!(!base.is_null());
        // SAFETY: a number gets about only after `take_empty` has initialised its buffer, which lies in a
        // chunk of sufficient size; chunks are released only when nobody uses the pool.
        unsafe { &*base.add(index) }
    }

    /// Makes chunk `chunk` exist; false if memory is refused.
    fn grow(&self, chunk: usize, world: &impl World) -> bool {
        let bytes = chunk_bytes(chunk);
        let Some(memory) = world.acquire(bytes) else {
            return false;
        };
        let taken = self.chunks[chunk]
            .compare_exchange(
                ptr::null_mut(),
                memory.as_ptr().cast(),
                Ordering::AcqRel,
                Ordering::Acquire,
            )
            .is_err();
        if taken {
            // SAFETY: acquired above, and another thread's chunk was taken instead.
            unsafe { world.release(memory, bytes) };
        }
        true
    }

    /// An empty buffer, or `None` if memory is refused.
    pub(crate) fn take_empty(&self, world: &impl World) -> Option<Owned<'_>> {
        if let Some((id, buffer)) = self.empty.pop(self) {
            return Some(Owned {
                pool: self,
                id,
                buffer,
            });
        }
        let mut id = self.fresh.load(Ordering::Relaxed);
        loop {
            let (chunk, index) = place(id);
            let base = self.chunks.get(chunk)?.load(Ordering::Acquire);
            if base.is_null() {
                if !self.grow(chunk, world) {
                    return None;
                }
                continue;
            }
            match self
                .fresh
                .compare_exchange_weak(id, id + 1, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => {
                    // SAFETY: the chunk has room for `index` (`place`), and no other thread got this number.
                    let buffer = unsafe {
                        let buffer = base.add(index);
                        (&raw mut (*buffer).next).write(AtomicU32::new(0));
                        (&raw mut (*buffer).body).cast::<u32>().write(0);
                        &*buffer
                    };
                    return Some(Owned {
                        pool: self,
                        id,
                        buffer,
                    });
                }
                Err(now) => id = now,
            }
        }
    }

    /// A buffer with work, if any is shared at the moment.
    pub(crate) fn take_full(&self) -> Option<Owned<'_>> {
        let (id, buffer) = self.full.pop(self)?;
        Some(Owned {
            pool: self,
            id,
            buffer,
        })
    }

    /// Whether buffers with work are shared at the moment.
    pub(crate) fn has_full(&self) -> bool {
        !self.full.is_empty()
    }

    /// Gives back the memory that a large heap's cycle needed. All work must be done.
    ///
    /// # Safety
    /// 1. No buffer is owned, and nobody else uses the pool before this returns.
    pub(crate) unsafe fn trim(&self, world: &impl World) {
        debug_assert!(!self.has_full(), "grey objects are left over");
        for stack in [&self.full, &self.empty] {
            stack.head.store(0, Ordering::Relaxed);
        }
        self.fresh.store(0, Ordering::Relaxed);
        // SAFETY: (1), and no number of a buffer is known any more.
        unsafe { self.release_from(KEPT_CHUNKS, world) };
    }

    /// Gives back all memory. The pool is of no use afterwards.
    pub(crate) fn dispose(&mut self, world: &impl World) {
        // SAFETY: `&mut self` says that no buffer is owned; the caller gives up the pool.
        unsafe { self.release_from(0, world) };
    }

    /// # Safety
    /// 1. As for [`trim`](Self::trim), and no buffer of these chunks is on a stack that is used again.
    unsafe fn release_from(&self, first: usize, world: &impl World) {
        for (chunk, base) in self.chunks.iter().enumerate().skip(first) {
            let base = base.swap(ptr::null_mut(), Ordering::Relaxed);
            if let Some(memory) = NonNull::new(base) {
                // SAFETY: acquired by `grow` with this size; nobody has a buffer in it, by obligation 1.
                unsafe { world.release(memory.cast(), chunk_bytes(chunk)) };
            }
        }
    }
}

/// A buffer in the hands of one marker. Dropped, it goes to the full or the empty ones.
pub(crate) struct Owned<'p> {
    pool: &'p BufferPool,
    id: u32,
    buffer: &'p Buffer,
}

impl Owned<'_> {
    fn body(&self) -> *mut Body {
        self.buffer.body.get()
    }

    pub(crate) fn len(&self) -> usize {
        // SAFETY: the owner alone accesses the body.
        unsafe { (*self.body()).len as usize }
    }

    /// Adds an item; false if the buffer is full.
    pub(crate) fn push(&mut self, item: usize) -> bool {
        let body = self.body();
        // SAFETY: the owner alone accesses the body; the index is below the array's length.
        unsafe {
            let len = (*body).len as usize;
            if len == ITEMS {
                return false;
            }
            (*body).items[len].write(item);
            (*body).len = len as u32 + 1;
        }
        true
    }

    /// Takes out the item that was added last.
    pub(crate) fn pop(&mut self) -> Option<usize> {
        let body = self.body();
        // SAFETY: the owner alone accesses the body; items below `len` are initialised.
        unsafe {
            let last = (*body).len.checked_sub(1)?;
            (*body).len = last;
            Some((*body).items[last as usize].assume_init())
        }
    }
}

impl<'p> Owned<'p> {
    /// The item with this index, the oldest having 0.
    pub(crate) fn get(&self, index: usize) -> Option<usize> {
        if index >= self.len() {
            return None;
        }
        // SAFETY: the owner alone accesses the body; items below `len` are initialised.
        Some(unsafe { (*self.body()).items[index].assume_init() })
    }

    /// Takes all items out.
    pub(crate) fn clear(&mut self) {
        // SAFETY: the owner alone accesses the body.
        unsafe { (*self.body()).len = 0 };
    }

    /// Takes the `n` oldest items out.
    pub(crate) fn forget_first(&mut self, n: usize) {
        let body = self.body();
        // SAFETY: the owner alone accesses the body; items below `len` are initialised, and `n` is at most that.
        unsafe {
            let len = (*body).len as usize;
            debug_assert!(n <= len);
            (*body).items.copy_within(n..len, 0);
            (*body).len = (len - n) as u32;
        }
    }

    /// Puts the buffer out of hand without giving it to the pool.
    fn into_raw(self) -> (u32, &'p Buffer) {
        let raw = (self.id, self.buffer);
        std::mem::forget(self);
        raw
    }
}

/// Buffers in a row, which all belong to one marker: linked as those on a stack are, since a buffer in hand is on none.
pub(crate) struct Chain<'p> {
    pool: &'p BufferPool,
    /// Numbers plus 1; 0 if the chain is empty.
    first: u32,
    last: u32,
}

impl<'p> Chain<'p> {
    pub(crate) fn new(pool: &'p BufferPool) -> Chain<'p> {
        Chain {
            pool,
            first: 0,
            last: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first == 0
    }

    /// Adds a buffer at the end.
    pub(crate) fn append(&mut self, buffer: Owned<'p>) {
        let (id, buffer) = buffer.into_raw();
        buffer.next.store(0, Ordering::Relaxed);
        match self.last.checked_sub(1) {
            Some(last) => self.pool.get(last).next.store(id + 1, Ordering::Relaxed),
            None => self.first = id + 1,
        }
        self.last = id + 1;
    }

    /// Takes the first one.
    pub(crate) fn take(&mut self) -> Option<Owned<'p>> {
        let id = self.first.checked_sub(1)?;
        let buffer = self.pool.get(id);
        self.first = buffer.next.load(Ordering::Relaxed);
        if self.first == 0 {
            self.last = 0;
        }
        Some(Owned {
            pool: self.pool,
            id,
            buffer,
        })
    }
}

impl Drop for Chain<'_> {
    fn drop(&mut self) {
        while self.take().is_some() {}
    }
}

impl Drop for Owned<'_> {
    fn drop(&mut self) {
        let stack = if self.len() == 0 {
            &self.pool.empty
        } else {
            &self.pool.full
        };
        stack.push(self.id, self.buffer);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Mutex;

    use super::*;
    use crate::testing::SimWorld;

    #[test]
    fn numbers_fall_into_chunks_without_gaps() {
        let mut expected = 0;
        for chunk in 0..6 {
            for index in 0..(FIRST_CHUNK as usize) << chunk {
                assert_eq!(place(expected), (chunk, index));
                expected += 1;
            }
        }
    }

    #[test]
    fn work_survives_being_dropped() {
        let world = SimWorld::new(1);
        let mut pool = BufferPool::new(&world).unwrap();
        // More than the chunks that are kept have room for.
        let buffers = if cfg!(miri) { 230 } else { 1000 };
        for n in 0..buffers {
            let mut buffer = pool.take_empty(&world).unwrap();
            assert!(buffer.push(n * 2) && buffer.push(n * 2 + 1));
        }
        let mut found = HashSet::new();
        while let Some(mut buffer) = pool.take_full() {
            while let Some(item) = buffer.pop() {
                assert!(found.insert(item));
            }
        }
        assert_eq!(found.len(), 2 * buffers);
        // SAFETY: nobody else has the pool.
        unsafe { pool.trim(&world) };
        assert_eq!(
            world.memory_in_use(),
            (0..KEPT_CHUNKS).map(chunk_bytes).sum::<usize>()
        );
        assert!(
            pool.take_empty(&world).is_some(),
            "a trimmed pool can be used again"
        );
        pool.dispose(&world);
        assert_eq!(world.memory_in_use(), 0);
    }

    #[test]
    fn a_refused_chunk_is_reported_and_may_come_later() {
        let world = SimWorld::new(1);
        world.allow_memory(0);
        assert!(BufferPool::new(&world).is_none());
        world.allow_memory(chunk_bytes(0));
        let mut pool = BufferPool::new(&world).unwrap();
        let mut held: Vec<_> = (0..FIRST_CHUNK)
            .map(|_| pool.take_empty(&world).unwrap())
            .collect();
        assert!(pool.take_empty(&world).is_none());
        held.pop();
        assert!(pool.take_empty(&world).is_some());
        world.allow_memory(usize::MAX);
        held.push(pool.take_empty(&world).unwrap());
        held.push(pool.take_empty(&world).unwrap());
        drop(held);
        pool.dispose(&world);
    }

    #[test]
    fn a_full_buffer_says_so() {
        let world = SimWorld::new(1);
        let mut pool = BufferPool::new(&world).unwrap();
        let mut buffer = pool.take_empty(&world).unwrap();
        assert!((0..ITEMS).all(|item| buffer.push(item)));
        assert!(!buffer.push(0));
        assert_eq!(buffer.pop(), Some(ITEMS - 1));
        drop(buffer);
        pool.dispose(&world);
    }

    /// Threads that pass buffers around as fast as they can lose and duplicate nothing.
    #[test]
    fn stress_no_item_is_lost_or_doubled() {
        const THREADS: usize = 4;
        let rounds: usize = if cfg!(miri) { 30 } else { 20_000 };
        let world = SimWorld::new(1);
        let mut pool = BufferPool::new(&world).unwrap();
        let seen = Mutex::new(HashSet::new());
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (pool, world, seen) = (&pool, &world, &seen);
                scope.spawn(move || {
                    let mut mine = Vec::new();
                    for n in 0..rounds {
                        let mut buffer = pool.take_empty(world).unwrap();
                        assert!(buffer.push(thread * rounds + n));
                        drop(buffer);
                        if n % 3 != 0 {
                            let mut buffer = pool.take_full();
                            mine.extend(buffer.as_mut().and_then(Owned::pop));
                        }
                    }
                    let mut seen = seen.lock().unwrap();
                    assert!(mine.into_iter().all(|item| seen.insert(item)));
                });
            }
        });
        let mut seen = seen.into_inner().unwrap();
        while let Some(mut buffer) = pool.take_full() {
            while let Some(item) = buffer.pop() {
                assert!(seen.insert(item));
            }
        }
        assert_eq!(seen.len(), THREADS * rounds);
        pool.dispose(&world);
    }
}
