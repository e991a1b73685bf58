//! A pool of stacks of one class, carved from large regions.
//!
//! Invariants:
//! - A region, once published, is never unmapped while the pool lives, so the address of a stack stays
//!   readable even after the stack was given back (type-stable memory). Only `release` takes its pages away.
//! - `regions[..published]` are immutable but for `carved`, which only grows. That makes [`StackPool::find`] a handful
//!   of loads, without a lock: it may run in a signal handler, on any thread, at any instruction.
//! - Every carved stack is either in `free` or owned by a [`NativeStack`].
//!
//! Regions double in size, so a few dozen table entries reach terabytes, and a small program maps little. Stacks
//! are reused last-in first-out: the one that was given back last has its pages in memory and in the cache.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::env::{Os, OsError, PAGE};
use crate::stack::{NativeStack, StackClass, StackRange};

/// Address space of the first region; each next one is twice as large.
const FIRST_REGION: usize = 64 << 20;
/// Regions stop growing here.
const LARGEST_REGION: usize = 64 << 30;
/// Entries of the region table: eleven doublings and then 64 GiB each, some three terabytes in all.
const MAX_REGIONS: usize = 56;

/// Stacks of at least so many bytes are touched in huge pages below the first [`SMALL_PAGES`] bytes. Who recurses as deep as that
/// goes on to touch more, and a fault for each page would be most of what it costs.
const LARGE_STACK: usize = 16 << 20;
/// Bytes at the top of a large stack that are touched page by page.
const SMALL_PAGES: usize = 2 << 20;

/// One mapping, cut into stacks from its low end upwards.
#[derive(Default)]
struct Region {
    base: AtomicUsize,
    /// How many stacks fit.
    slots: AtomicUsize,
    /// How many have been cut so far, guards installed.
    carved: AtomicUsize,
}

/// What the lock protects.
struct Shelf {
    /// Bases of the stacks that nobody owns. Its capacity covers every slot of every region, so that
    /// giving back never allocates.
    free: Vec<usize>,
    /// Stacks owned by [`NativeStack`]s.
    out: usize,
}

/// A pool of stacks of one size.
pub struct StackPool<O: Os> {
    os: O,
    class: StackClass,
    regions: [Region; MAX_REGIONS],
    published: AtomicUsize,
    shelf: Mutex<Shelf>,
}

impl<O: Os> StackPool<O> {
    /// An empty pool; nothing is mapped until the first stack is taken.
    pub fn new(os: O, class: StackClass) -> Self {
        Self {
            os,
            class,
            regions: core::array::from_fn(|_| Region::default()),
            published: AtomicUsize::new(0),
            shelf: Mutex::new(Shelf {
                free: Vec::new(),
                out: 0,
            }),
        }
    }

    /// The size of this pool's stacks.
    pub fn class(&self) -> StackClass {
        self.class
    }

    /// The operating system as this pool sees it.
    pub fn os(&self) -> &O {
        &self.os
    }

    /// One stack.
    ///
    /// # Errors
    ///
    /// When the operating system refuses address space or a guard, or the pool's table is full.
    pub fn take(&self) -> Result<NativeStack, OsError> {
        let mut shelf = self.lock();
        self.take_locked(&mut shelf)
    }

    /// Up to `count` stacks, appended to `into`, under one taking of the lock: a refill for a private cache.
    /// Fewer than `count` only if the operating system refused; an error only if there is not even one.
    ///
    /// # Errors
    ///
    /// As [`take`](Self::take).
    pub fn take_many(&self, count: usize, into: &mut Vec<NativeStack>) -> Result<(), OsError> {
        into.reserve(count);
        let mut shelf = self.lock();
        for taken in 0..count {
            match self.take_locked(&mut shelf) {
                Ok(stack) => into.push(stack),
                Err(refusal) if taken == 0 => return Err(refusal),
                Err(_) => break,
            }
        }
        Ok(())
    }

    /// Takes a stack back, its pages as they are.
    ///
    /// # Panics
    ///
    /// If the stack is not of this pool.
    pub fn put(&self, stack: NativeStack) {
        self.put_many(core::iter::once(stack));
    }

    /// Takes many back under one taking of the lock.
    ///
    /// # Panics
    ///
    /// If a stack is not of this pool.
    pub fn put_many(&self, stacks: impl IntoIterator<Item = NativeStack>) {
        let mut shelf = self.lock();
        for stack in stacks {
            let range = stack.range();
            assert_eq!(
                self.find(range.base),
                Some(range),
                "a stack was given to a pool that is not its own"
            );
            shelf.free.push(range.base);
            shelf.out -= 1;
        }
    }

    /// The stack that `addr` lies in, guard included, whether in use or not.
    ///
    /// Takes no lock, allocates nothing, and is async-signal-safe.
    #[inline]
    pub fn find(&self, addr: usize) -> Option<StackRange> {
        let published = self.published.load(Ordering::Acquire);
        // Newest first: the newest region is as large as all before it together.
        for region in self.regions[..published].iter().rev() {
            let base = region.base.load(Ordering::Relaxed);
            let slot = addr.wrapping_sub(base) / self.class.bytes();
            // Acquire: the guard of a carved slot is in place for whoever finds it.
            if slot < region.carved.load(Ordering::Acquire) {
                let base = base + slot * self.class.bytes();
                return Some(StackRange {
                    base,
                    limit: base + self.class.guard_bytes(),
                    top: base + self.class.bytes(),
                });
            }
        }
        None
    }

    /// Gives back the pages of `stack` below `keep_from`, which read as zero afterwards, and returns how many bytes of
    /// address space that covered.
    ///
    /// # Errors
    ///
    /// When the operating system refuses; the contents are then unspecified.
    pub fn release(&self, stack: &NativeStack, keep_from: usize) -> Result<usize, OsError> {
        let range = stack.range();
        let end = keep_from.min(range.top) & !(PAGE - 1);
        if end <= range.limit {
            return Ok(0);
        }
        // SAFETY: [limit, end) is page-aligned and within the stack, whose bytes below `keep_from` the caller, the
        // owner, gives up.
        unsafe {
            let limit = stack.base().add(range.limit - range.base);
            self.os.release(limit, end - range.limit)?;
        }
        Ok(end - range.limit)
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_locked(&self, shelf: &mut Shelf) -> Result<NativeStack, OsError> {
        let base = match shelf.free.pop() {
            Some(base) => base,
            None => self.carve(shelf)?,
        };
        shelf.out += 1;
        let base = NonNull::new(core::ptr::with_exposed_provenance_mut(base))
            .expect("no region starts at address zero");
        // SAFETY: `base` is a carved slot, guarded, and was in `free` or is new: nobody else owns it.
        Ok(unsafe { NativeStack::from_base(base, self.class) })
    }

    /// Cuts the next stack off the newest region. The lock is held, so there is one carver at a time.
    fn carve(&self, shelf: &mut Shelf) -> Result<usize, OsError> {
        let published = self.published.load(Ordering::Relaxed);
        let newest = published.checked_sub(1).map(|last| &self.regions[last]);
        let region = match newest {
            Some(region)
                if region.carved.load(Ordering::Relaxed) < region.slots.load(Ordering::Relaxed) =>
            {
                region
            }
            _ => self.add_region(shelf, published)?,
        };
        let slot = region.carved.load(Ordering::Relaxed);
        let base = region.base.load(Ordering::Relaxed) + slot * self.class.bytes();
        let guard = NonNull::new(core::ptr::with_exposed_provenance_mut(base))
            .expect("no region starts at address zero");
        // SAFETY: the slot lies in a mapped region, starts on a page, and was never handed out.
        unsafe { self.os.install_guard(guard, self.class.guard_bytes())? };
        if self.class.bytes() >= LARGE_STACK {
            self.os
                .prefer_huge_pages(guard, self.class.bytes() - SMALL_PAGES);
        }
        region.carved.store(slot + 1, Ordering::Release);
        Ok(base)
    }

    /// Maps and publishes a region, a smaller one if the operating system refuses the size that is due.
    fn add_region(&self, shelf: &mut Shelf, published: usize) -> Result<&Region, OsError> {
        let entry = self.regions.get(published).ok_or(OsError {
            operation: "map another region of stacks",
            errno: libc::ENOMEM,
            advice: "the pool's region table is full; use smaller stacks or a second pool",
        })?;
        let doubled = FIRST_REGION
            .checked_shl(published as u32)
            .unwrap_or(LARGEST_REGION);
        let mut bytes = doubled.clamp(self.class.bytes(), LARGEST_REGION);
        let region = loop {
            match self.os.map(bytes) {
                Ok(region) => break region,
                Err(_) if bytes / 2 >= self.class.bytes() => bytes /= 2,
                Err(refusal) => return Err(refusal),
            }
        };
        let slots = bytes / self.class.bytes();
        let owned: usize = self.regions[..published]
            .iter()
            .map(|r| r.slots.load(Ordering::Relaxed))
            .sum();
        let capacity = owned + slots;
        if shelf.free.try_reserve(capacity - shelf.free.len()).is_err() {
            // SAFETY: the region was mapped above and nobody has seen it.
            unsafe { self.os.unmap(region, bytes) };
            return Err(OsError {
                operation: "keep account of another region of stacks",
                errno: libc::ENOMEM,
                advice: "the process is out of memory",
            });
        }
        entry
            .base
            .store(region.as_ptr().expose_provenance(), Ordering::Relaxed);
        entry.slots.store(slots, Ordering::Relaxed);
        self.published.store(published + 1, Ordering::Release);
        Ok(entry)
    }
}

impl<O: Os> Drop for StackPool<O> {
    /// Unmaps the regions if every stack has come back; otherwise leaves them, since somebody may still run there.
    fn drop(&mut self) {
        if self.lock().out > 0 {
            return;
        }
        for region in &self.regions[..self.published.load(Ordering::Relaxed)] {
            let base = region.base.load(Ordering::Relaxed);
            let bytes = region.slots.load(Ordering::Relaxed) * self.class.bytes();
            if let Some(base) = NonNull::new(core::ptr::with_exposed_provenance_mut(base)) {
                // SAFETY: `add_region` mapped exactly this, since sizes are powers of two, multiples of the class; and
                // no stack of it is owned.
                unsafe { self.os.unmap(base, bytes) };
            }
        }
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
