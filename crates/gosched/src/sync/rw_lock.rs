//! Many readers or one writer.

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr;

use crate::contention;
use crate::critical;
use crate::goroutine::WaitReason;
use crate::lock::Lock;
use crate::simulated;
use crate::time::Nanos;
use crate::waiter::{ClaimedList, Node, WaitList, Waiter};

/// A readers-writer lock, first come, first served: a writer that waits makes later readers wait,
/// and readers that queue together get in together. No poisoning. A reader that locks again while a
/// writer waits deadlocks, as in Go.
pub struct RwLock<T: ?Sized> {
    state: Lock<State>,
    data: UnsafeCell<T>,
}

struct State {
    readers: usize,
    writer: bool,
    /// A node's `slot` is `WRITER` or null.
    queue: WaitList,
}

const WRITER: *const () = ptr::without_provenance(1);

impl State {
    fn admit(&mut self, writer: bool) -> bool {
        let free = !self.writer && (!writer || self.readers == 0);
        if free {
            self.writer = writer;
            self.readers += usize::from(!writer);
        }
        free
    }

    /// Lets in who may come in, from the front.
    fn serve(&mut self) -> ClaimedList {
        let mut served = ClaimedList::new();
        while let Some(writer) = self.queue.front().map(|node| node.slot == WRITER) {
            if !self.admit(writer) {
                break;
            }
            // Waits here have no deadline, so the front can be claimed.
            match self.queue.pop_front() {
                Some(claimed) => served.push(claimed),
                None => unreachable!("a waiter without a deadline is claimed by nobody else"),
            }
        }
        served
    }
}

// SAFETY: readers share `&T`, a writer moves it between threads.
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}
// SAFETY: an owned lock is nothing but its data.
unsafe impl<T: ?Sized + Send> Send for RwLock<T> {}

impl<T> RwLock<T> {
    /// Unlocked.
    pub const fn new(data: T) -> RwLock<T> {
        RwLock {
            state: Lock::new(State {
                readers: 0,
                writer: false,
                queue: WaitList::new(),
            }),
            data: UnsafeCell::new(data),
        }
    }

    /// The data.
    pub fn into_inner(self) -> T {
        self.data.into_inner()
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Waits until no writer has it or waits before.
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        self.enter(false, WaitReason::RwLockRead);
        RwLockReadGuard(self)
    }

    /// Waits until nobody has it.
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.enter(true, WaitReason::RwLockWrite);
        RwLockWriteGuard(self, PhantomData)
    }

    /// Reads if that is possible now.
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        self.try_enter(false).then(|| RwLockReadGuard(self))
    }

    /// Writes if that is possible now.
    pub fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        self.try_enter(true)
            .then(|| RwLockWriteGuard(self, PhantomData))
    }

    /// The data, which nobody else can reach.
    pub fn get_mut(&mut self) -> &mut T {
        self.data.get_mut()
    }

    fn try_enter(&self, writer: bool) -> bool {
        simulated::point();
        let inside = critical::enter();
        let mut state = self.state.lock(&inside);
        state.queue.is_empty() && state.admit(writer)
    }

    fn enter(&self, writer: bool, reason: WaitReason) {
        simulated::point();
        let waiter = Waiter::new();
        let slot = if writer { WRITER } else { ptr::null() };
        let node = Node::new(&waiter, 1, slot);
        {
            let inside = critical::enter();
            let mut state = self.state.lock(&inside);
            if state.queue.is_empty() && state.admit(writer) {
                return;
            }
            waiter.prepare(reason);
            // SAFETY: the node is popped before the frame is left: nothing else ends the wait.
            unsafe { state.queue.push_back(&node) };
        }
        waiter.wait(Nanos::NEVER);
    }

    fn leave(&self, writer: bool) {
        let served = {
            let inside = critical::enter();
            let mut state = self.state.lock(&inside);
            if writer {
                state.writer = false;
            } else {
                state.readers -= 1;
            }
            state.serve()
        };
        let told = contention::watched().map(|watch| (watch, served.waited(Nanos::now())));
        served.wake_all();
        if let Some((watch, time)) = told.filter(|(_, time)| *time != Nanos::ZERO) {
            (watch.released)(time);
        }
    }
}

impl<T: Default> Default for RwLock<T> {
    fn default() -> RwLock<T> {
        RwLock::new(T::default())
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.try_read() {
            Some(guard) => f.debug_tuple("RwLock").field(&&*guard).finish(),
            None => f.write_str("RwLock(<locked>)"),
        }
    }
}

/// Shared access until drop.
#[must_use = "the lock is left at once if the guard is not kept"]
pub struct RwLockReadGuard<'a, T: ?Sized>(&'a RwLock<T>);

/// Exclusive access until drop.
#[must_use = "the lock is left at once if the guard is not kept"]
pub struct RwLockWriteGuard<'a, T: ?Sized>(&'a RwLock<T>, PhantomData<&'a mut T>);

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: while a reader is in, nobody writes.
        unsafe { &*self.0.data.get() }
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: while a writer is in, nobody else is.
        unsafe { &*self.0.data.get() }
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; `&mut self` makes the reference unique.
        unsafe { &mut *self.0.data.get() }
    }
}

impl<T: ?Sized> Drop for RwLockReadGuard<'_, T> {
    fn drop(&mut self) {
        self.0.leave(false);
    }
}

impl<T: ?Sized> Drop for RwLockWriteGuard<'_, T> {
    fn drop(&mut self) {
        self.0.leave(true);
    }
}
