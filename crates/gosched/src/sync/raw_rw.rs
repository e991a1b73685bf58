//! The lock under `RwLock`: while nobody writes, readers do no more than count themselves.
//!
//! The design is Go's (`sync/rwmutex.go`). `readers` counts those who are in or wait to get in; its top bit says that a writer is in, or waits for readers to leave.
//!
//! | who | what |
//! | --- | --- |
//! | a reader comes | adds itself to `readers`; if a writer is there, takes a pass of `for_readers` |
//! | a reader leaves | takes itself off; if a writer is there, also off `leaving`, and if that makes zero, gives the writer a pass |
//! | a writer comes | takes `writers`, sets the bit, and adds the readers that it finds to `leaving`; unless there are none, or that makes zero, takes a pass of `for_writer` |
//! | a writer leaves | clears the bit, gives a pass to each reader that it finds, and lets `writers` go |
//!
//! Passes may be given before they are taken. So neither side has to know how far the other has come.
//!
//! **Nobody writes while another is in.** Readers that come while the bit is set stay out until it has been cleared. So those that leave while it is set are the `r` that the
//! writer found when it set the bit. Each of them takes one off `leaving`, the writer adds `r`, in whatever order: the sum becomes zero exactly once, by the last of these steps,
//! and whoever makes it lets the writer in.
//!
//! **No pass is lost or left over.** A writer that leaves finds as many readers as have seen the bit, since the others have left. Each of those takes a pass, and no other reader does.
//!
//! A writer that waits keeps out the readers that come after it, and when it leaves all readers that wait get in before the next writer: neither kind starves.
//!
//! A writer leaves its number in `writers` before it sets the bit, so whoever waits for it, reader or writer, can be told who that is. Readers leave none: they share
//! one counter, and a word that each of them writes would be a second one to pass from processor to processor, and would name only the last that came.
//!
//! What a writer has done is seen by readers that come later through `readers` (released when the bit is cleared, acquired when a reader counts itself) or through the lock of
//! the passes; what readers have seen stays before the writer through `readers` or `leaving`, on which every step acquires and releases.

use crate::atomic::{AtomicU64, Ordering};
use std::ptr;

use crate::contention;
use crate::critical;
use crate::gmp::g::Blocked;
use crate::goroutine::WaitReason;
use crate::lock::Lock;
use crate::sync::raw::RawMutex;
use crate::time::Nanos;
use crate::waiter::{ClaimedList, Node, WaitList, Waiter};

/// A writer is in, or waits for readers to leave.
const WRITER: u64 = 1 << 63;

pub(super) struct RawRwLock {
    readers: AtomicU64,
    /// Readers that the writer waits for: added by the writer, taken off by themselves, perhaps before.
    leaving: AtomicU64,
    writers: RawMutex,
    for_readers: Passes,
    for_writer: Passes,
}

impl RawRwLock {
    pub(super) const fn new() -> RawRwLock {
        RawRwLock {
            readers: AtomicU64::new(0),
            leaving: AtomicU64::new(0),
            writers: RawMutex::new(),
            for_readers: Passes::new(),
            for_writer: Passes::new(),
        }
    }

    /// Waits until no writer is in or has come before.
    #[inline]
    pub(super) fn read(&self) {
        if self.readers.fetch_add(1, Ordering::Acquire) & WRITER != 0 {
            self.wait_for_writer();
        }
    }

    #[cold]
    fn wait_for_writer(&self) {
        let _blocked = Blocked::by(self.writers.holder());
        self.for_readers.take(WaitReason::RwLockRead);
    }

    /// Comes in as a reader if that is possible now.
    pub(super) fn try_read(&self) -> bool {
        let mut seen = self.readers.load(Ordering::Relaxed);
        while seen & WRITER == 0 {
            match self.readers.compare_exchange_weak(
                seen,
                seen + 1,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    /// # Safety
    /// 1. The caller, or whoever it acts for, is in as a reader.
    #[inline]
    pub(super) unsafe fn end_read(&self) {
        if self.readers.fetch_sub(1, Ordering::Release) & WRITER != 0 {
            self.leave_to_writer();
        }
    }

    #[cold]
    fn leave_to_writer(&self) {
        if self.leaving.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.for_writer.give(1);
        }
    }

    /// Waits until nobody is in.
    pub(super) fn write(&self) {
        self.writers.lock(WaitReason::RwLockWrite, Nanos::NEVER);
        self.writers.note_holder();
        let found = self.readers.fetch_add(WRITER, Ordering::AcqRel);
        #[cfg(explore)]
        if goexplore::planted("a writer does not wait for readers") {
            return;
        }
        if found != 0 {
            let sum = self.leaving.fetch_add(found, Ordering::AcqRel);
            if sum.wrapping_add(found) != 0 {
                self.for_writer.take(WaitReason::RwLockWrite);
            }
        }
    }

    /// Comes in as a writer if that is possible now.
    pub(super) fn try_write(&self) -> bool {
        if !self.writers.try_lock() {
            return false;
        }
        self.writers.note_holder();
        let is_free = self
            .readers
            .compare_exchange(0, WRITER, Ordering::Acquire, Ordering::Relaxed)
            .is_ok();
        if !is_free {
            // SAFETY: taken above.
            unsafe { self.writers.unlock() };
        }
        is_free
    }

    /// # Safety
    /// 1. The caller, or whoever it acts for, is in as a writer.
    pub(super) unsafe fn end_write(&self) {
        let waiting = self.readers.fetch_sub(WRITER, Ordering::Release) - WRITER;
        if waiting != 0 {
            self.for_readers.give(waiting as usize);
        }
        // SAFETY: obligation 1: it was taken on the way in.
        unsafe { self.writers.unlock() };
    }
}

/// Permits to go on, given and taken one by one; whoever takes waits for one.
struct Passes(Lock<State>);

struct State {
    /// Given and not taken; none while somebody waits.
    left: usize,
    queue: WaitList,
}

impl Passes {
    const fn new() -> Passes {
        Passes(Lock::new(State {
            left: 0,
            queue: WaitList::new(),
        }))
    }

    #[cold]
    fn take(&self, reason: WaitReason) {
        let waiter = Waiter::new();
        let node = Node::new(&waiter, 1, ptr::null());
        {
            let inside = critical::enter();
            let mut state = self.0.lock(&inside);
            if state.left > 0 {
                state.left -= 1;
                return;
            }
            waiter.prepare(reason, self);
            // SAFETY: the node is popped before the frame is left: nothing else ends the wait.
            unsafe { state.queue.push_back(&node) };
        }
        waiter.wait(Nanos::NEVER);
    }

    #[cold]
    fn give(&self, n: usize) {
        let mut served = ClaimedList::new();
        {
            let inside = critical::enter();
            let mut state = self.0.lock(&inside);
            for _ in 0..n {
                match state.queue.pop() {
                    Some(claimed) => served.push(claimed),
                    None => state.left += 1,
                }
            }
        }
        let told = contention::watched().map(|watch| (watch, served.waited(Nanos::now())));
        served.wake_all();
        if let Some((watch, time)) = told.filter(|(_, time)| *time != Nanos::ZERO) {
            (watch.released)(time);
        }
    }
}
