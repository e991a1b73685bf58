//! G: a goroutine.
//!
//! # States
//!
//! One atomic word, `status`. The first four states are plain; the last is built of bits, because
//! two parties meet in it.
//!
//! | state | word | who may touch the G | leaves it by |
//! | --- | --- | --- | --- |
//! | pooled | `POOLED` | the free list that it is in | spawn |
//! | runnable | `RUNNABLE` | the run queue that it is in | an M taking it |
//! | running | `RUNNING` | the M that runs it, and its own code | park, yield, finish |
//! | parking | `PARKING` | its own code, until its context is saved | see below |
//! | waiting | `PARKING` and `SAVED` | nobody | see below |
//!
//! # Parking and readying
//!
//! To park, a goroutine sets `PARKING`, makes itself known to whoever shall wake it (a channel's
//! queue, a timer, a descriptor), and switches away. From the moment it is known it may be readied,
//! long before its context is saved. Two things must have happened before it can run again, in
//! either order:
//!
//! - the context is saved: the context that was switched *to* sets `SAVED`, as its after-switch
//!   action;
//! - somebody readies it, which sets `NOTIFIED`.
//!
//! Each is one atomic addition of its bit. **Whoever finds the other's bit already there makes the goroutine
//! runnable.** There is exactly one such party, so a wake-up is neither lost nor doubled, and the G
//! never runs in two places. A goroutine that finds `NOTIFIED` before it has switched simply goes
//! on.
//!
//! Precondition: one `ready` per `PARKING`. Whoever wakes must first win the right to: the exchange
//! on [`Waiter`](crate::waiter::Waiter) or on a descriptor's slot decides among several that would.
//!
//! # Memory
//!
//! A G is never freed: its address is type-stable, and a finished one goes to a free list with its
//! context. So a pointer to a G may be kept in queues, slots and dumps without counting; it may at
//! worst be another goroutine's by then, which `id` tells. `Header` does not depend on the
//! environment, so that channels and locks need not either: they reach the scheduler through `ops`,
//! a table with one entry per blocking operation.

use crate::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::any::TypeId;
use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomData;
use std::panic::Location;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Instant;

use crate::critical::{self, Section};
use crate::gmp::body::Body;
use crate::gmp::m::{M, MRef};
use crate::goroutine::{GoroutineId, GoroutineState, WaitReason};
use crate::here::here;
use crate::lock::Lock;
use crate::time::Nanos;

/// In a free list.
pub(crate) const POOLED: u32 = 0;
/// In a run queue.
pub(crate) const RUNNABLE: u32 = 1;
/// On an M.
pub(crate) const RUNNING: u32 = 2;
/// Going to wait, or waiting.
pub(crate) const PARKING: u32 = 4;
/// With `PARKING`: the context is saved.
pub(crate) const SAVED: u32 = 8;
/// With `PARKING`: it has been readied.
pub(crate) const NOTIFIED: u32 = 16;

/// A goroutine, without what depends on the environment.
///
/// Fields in `Cell`s belong to whoever the table above names; atomics may be read by anyone.
pub(crate) struct Header {
    pub(crate) status: AtomicU32,
    /// Link of the one list that the G is in: a run queue, a free list, a batch just readied.
    pub(crate) next: Cell<*const Header>,
    /// The M that runs it, or did last. Set by whoever switches to it.
    m: AtomicPtr<M>,
    pub(crate) id: AtomicU64,
    reason: AtomicU8,
    /// The M that it is locked to.
    thread: AtomicPtr<M>,
    /// How often it is.
    pub(crate) lock_depth: Cell<u32>,
    /// The word in which a lock that it waits for names its holder; null while it waits for none. See [`Blocked`].
    blocked_by: AtomicPtr<AtomicU64>,
    /// `blocking` or `syscall` is under way.
    pub(crate) in_syscall: AtomicBool,
    /// When it began to wait, to a few milliseconds; 0 when it does not.
    pub(crate) waiting_since: AtomicU64,
    /// Processor time used, in nanoseconds, while that is accounted for. Written by whoever switches away from it.
    pub(crate) cpu: AtomicU64,
    site: AtomicPtr<Location<'static>>,
    /// Whether `name` is set, so that most goroutines never take its lock.
    named: AtomicBool,
    name: Lock<Option<Arc<str>>>,
    pub(crate) ops: &'static Ops,
    /// Address of its scheduler, to be compared.
    pub(crate) scheduler: *const (),
    /// Next in the list of all Gs, which only grows.
    pub(crate) all_next: AtomicPtr<Header>,
    pub(crate) body: UnsafeCell<Body>,
}

/// The shared handle on a G.
pub(crate) type GRef = &'static Header;

/// The goroutine that calls, if it is one.
#[inline]
pub(crate) fn current() -> Option<GRef> {
    // SAFETY: `here()` points to this context's live thread-locals; `current` is null or a header,
    // and those are never freed.
    unsafe { (*here()).current.get().cast::<Header>().as_ref() }
}

/// As [`current`], from a section of the caller.
#[inline]
pub(crate) fn current_in(inside: &Section) -> Option<GRef> {
    // SAFETY: a section's words are its context's, which is the caller; the rest as in `current`.
    unsafe { (*inside.here()).current.get().cast::<Header>().as_ref() }
}

/// As long as this lives, the calling goroutine is seen to wait for a lock.
///
/// Invariant: the goroutine's pointer to the lock's word is null but while the lock is borrowed by who waits. So an observer who has stopped the
/// world may follow it.
pub(crate) struct Blocked<'l> {
    g: Option<GRef>,
    _lock: PhantomData<&'l AtomicU64>,
}

impl<'l> Blocked<'l> {
    /// `holder` is where the lock has the number of the goroutine that holds it, or 0.
    pub(crate) fn by(holder: &'l AtomicU64) -> Blocked<'l> {
        let g = current();
        if let Some(g) = g {
            g.blocked_by
                .store(ptr::from_ref(holder).cast_mut(), Ordering::Release);
        }
        Blocked {
            g,
            _lock: PhantomData,
        }
    }
}

impl Drop for Blocked<'_> {
    fn drop(&mut self) {
        if let Some(g) = self.g {
            g.blocked_by.store(ptr::null_mut(), Ordering::Release);
        }
    }
}

/// How code that does not know the environment reaches the scheduler of a goroutine.
///
/// One table per environment. Each entry is a blocking operation or its end, so the indirect call
/// is never on a path that does not switch, queue or lock anyway. The first argument is the calling
/// goroutine, but for `make_runnable`.
pub(crate) struct Ops {
    /// Parks the calling goroutine, which has called [`Header::prepare_park`].
    pub(crate) park: unsafe fn(GRef),
    /// Queues a G for which [`Header::notify`] returned true. From any thread.
    pub(crate) make_runnable: unsafe fn(GRef, &Section),
    /// Lets others run.
    pub(crate) yield_now: unsafe fn(GRef),
    /// Gives up the P: the caller is going to block its thread.
    pub(crate) release_p: unsafe fn(GRef),
    /// The end of `syscall` and `blocking`: makes sure that there is a P, waiting for one if need
    /// be.
    pub(crate) reacquire_p: unsafe fn(GRef),
    /// What there is besides in a simulation.
    pub(crate) simulated: Option<Simulated>,
}

/// The part of [`Ops`] that only the goroutines of a simulation have. The first argument is the calling one.
pub(crate) struct Simulated {
    /// Lets others run first, if the seed has it so.
    pub(crate) point: unsafe fn(GRef),
    /// Waits until all others wait.
    pub(crate) wait: unsafe fn(GRef),
    /// The time on the virtual clock.
    pub(crate) now: unsafe fn(GRef) -> Nanos,
    /// The same as an `Instant`.
    pub(crate) instant: unsafe fn(GRef) -> Instant,
    /// The environment of the scheduler.
    pub(crate) env: fn() -> TypeId,
}

#[cfg(test)]
impl Ops {
    /// For Gs that are only moved about.
    pub(crate) fn unreachable() -> &'static Ops {
        unsafe fn no(_: GRef) {
            unreachable!()
        }
        &Ops {
            park: no,
            make_runnable: |_, _| unreachable!(),
            yield_now: no,
            release_p: no,
            reacquire_p: no,
            simulated: None,
        }
    }
}

// SAFETY: every non-atomic field has one owner at a time, as the table in the module head assigns
// it, and ownership passes through the acquire and release of run queues, the status word, and the
// switch.
unsafe impl Sync for Header {}
// SAFETY: as above; nothing in it is bound to a thread.
unsafe impl Send for Header {}

impl Header {
    #[inline]
    pub(crate) fn new(ops: &'static Ops, scheduler: *const ()) -> Header {
        Header {
            status: AtomicU32::new(POOLED),
            next: Cell::new(ptr::null()),
            m: AtomicPtr::new(ptr::null_mut()),
            id: AtomicU64::new(0),
            reason: AtomicU8::new(0),
            thread: AtomicPtr::new(ptr::null_mut()),
            lock_depth: Cell::new(0),
            blocked_by: AtomicPtr::new(ptr::null_mut()),
            in_syscall: AtomicBool::new(false),
            waiting_since: AtomicU64::new(0),
            cpu: AtomicU64::new(0),
            site: AtomicPtr::new(ptr::null_mut()),
            named: AtomicBool::new(false),
            name: Lock::new(None),
            ops,
            scheduler,
            all_next: AtomicPtr::new(ptr::null_mut()),
            body: UnsafeCell::new(Body::empty()),
        }
    }

    /// The M that runs it, or did last.
    #[inline]
    pub(crate) fn m(&self) -> Option<MRef> {
        // SAFETY: null or an M, and those are never freed.
        unsafe { self.m.load(Ordering::Relaxed).as_ref() }
    }

    /// The M that the calling goroutine runs on. Its own to use until the next switch.
    #[inline]
    pub(crate) fn own_m(&self) -> MRef {
        debug_assert!(current().is_some_and(|g| ptr::eq(g, self)));
        self.m().expect("a goroutine that runs does so on an M")
    }

    #[inline]
    pub(crate) fn set_m(&self, m: MRef) {
        self.m.store(ptr::from_ref(m).cast_mut(), Ordering::Relaxed);
    }

    /// The M that it is locked to.
    #[inline]
    pub(crate) fn thread(&self) -> Option<MRef> {
        // SAFETY: null or an M, and those are never freed.
        unsafe { self.thread.load(Ordering::Relaxed).as_ref() }
    }

    /// Written by the goroutine itself, while it runs.
    #[inline]
    pub(crate) fn set_thread(&self, m: Option<MRef>) {
        let m = m.map_or(ptr::null(), ptr::from_ref);
        self.thread.store(m.cast_mut(), Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn id(&self) -> GoroutineId {
        GoroutineId(self.id.load(Ordering::Relaxed))
    }

    #[inline]
    pub(crate) fn reason(&self) -> WaitReason {
        let index = self.reason.load(Ordering::Relaxed) as usize;
        WaitReason::ALL
            .get(index)
            .copied()
            .unwrap_or(WaitReason::None)
    }

    /// Who holds the lock that the goroutine waits for, if that is known.
    ///
    /// # Safety
    /// 1. The goroutine stands still.
    pub(crate) unsafe fn lock_holder(&self) -> Option<GoroutineId> {
        let holder = self.blocked_by.load(Ordering::Acquire);
        // SAFETY: null, or the word of a lock that the goroutine borrows until it has cleared the pointer, by the invariant of `Blocked`; it cannot go on, by
        // obligation 1.
        let id = unsafe { holder.as_ref() }?.load(Ordering::Relaxed);
        (id != 0).then_some(GoroutineId(id))
    }

    pub(crate) fn site(&self) -> Option<&'static Location<'static>> {
        // SAFETY: null, or from the `&'static` given to `set_site`.
        unsafe { self.site.load(Ordering::Relaxed).as_ref() }
    }

    #[inline]
    pub(crate) fn set_site(&self, site: &'static Location<'static>) {
        self.site
            .store(ptr::from_ref(site).cast_mut(), Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn set_name(&self, name: Option<Arc<str>>) {
        if name.is_some() || self.named.load(Ordering::Relaxed) {
            self.change_name(name);
        }
    }

    #[cold]
    fn change_name(&self, name: Option<Arc<str>>) {
        self.named.store(name.is_some(), Ordering::Relaxed);
        let old = {
            let inside = critical::enter();
            std::mem::replace(&mut *self.name.lock(&inside), name)
        };
        drop(old);
    }

    pub(crate) fn name(&self, inside: &Section) -> Option<Arc<str>> {
        if !self.named.load(Ordering::Relaxed) {
            return None;
        }
        self.name.lock(inside).clone()
    }

    /// The calling goroutine's own name, without a lock: only spawn and finish write it.
    ///
    /// # Safety
    /// 1. The caller runs as this goroutine, from the start to the end of its closure.
    pub(crate) unsafe fn own_name(&self) -> Option<&str> {
        // SAFETY: obligation 1: nobody writes meanwhile, and other readers only clone.
        unsafe { (*self.name.data_ptr()).as_deref() }
    }

    /// Announces that the calling goroutine is going to wait. From here on it may be made known to
    /// wakers.
    #[inline]
    pub(crate) fn prepare_park(&self, reason: WaitReason) {
        debug_assert_eq!(self.status.load(Ordering::Relaxed), RUNNING);
        self.reason.store(reason as u8, Ordering::Relaxed);
        self.status.store(PARKING, Ordering::Release);
    }

    /// Takes back `prepare_park`. Only if nobody can ready the goroutine.
    #[inline]
    pub(crate) fn cancel_park(&self) {
        debug_assert_eq!(self.status.load(Ordering::Relaxed), PARKING);
        self.status.store(RUNNING, Ordering::Relaxed);
    }

    /// Takes back `prepare_park` if the goroutine has been readied meanwhile.
    #[inline]
    pub(crate) fn unpark_early(&self) -> bool {
        let notified = self.status.load(Ordering::Acquire) & NOTIFIED != 0;
        if notified {
            self.status.store(RUNNING, Ordering::Relaxed);
        }
        notified
    }

    /// The waker's half: true if the caller must make the G runnable.
    #[inline]
    pub(crate) fn notify(&self) -> bool {
        // Each bit is set once per park, so adding it sets it: one instruction where `or` with its result is a loop.
        let before = self.status.fetch_add(NOTIFIED, Ordering::AcqRel);
        debug_assert_eq!(before & (PARKING | NOTIFIED), PARKING, "one ready per park");
        before & SAVED != 0
    }

    /// The other half, run by the context switched to: true if the caller must make the G runnable.
    #[inline]
    pub(crate) fn context_saved(&self) -> bool {
        #[cfg(explore)]
        if goexplore::planted("a park does not look whether it was readied") {
            self.status.fetch_or(SAVED, Ordering::SeqCst);
            return false;
        }
        self.status.fetch_add(SAVED, Ordering::AcqRel) & NOTIFIED != 0
    }

    pub(crate) fn state(&self) -> Option<GoroutineState> {
        match self.status.load(Ordering::Acquire) {
            POOLED => None,
            RUNNABLE => Some(GoroutineState::Runnable),
            RUNNING if self.in_syscall.load(Ordering::Relaxed) => Some(GoroutineState::Syscall),
            RUNNING => Some(GoroutineState::Running),
            _ => Some(GoroutineState::Waiting(self.reason())),
        }
    }
}

/// A list of Gs linked through `next`: first in, first out.
pub(crate) struct GList {
    head: *const Header,
    tail: *const Header,
    len: usize,
}

// SAFETY: the list owns the Gs in it, and `Header` is `Send`.
unsafe impl Send for GList {}

impl GList {
    #[inline]
    pub(crate) const fn new() -> GList {
        GList {
            head: ptr::null(),
            tail: ptr::null(),
            len: 0,
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn push(&mut self, g: GRef) {
        g.next.set(ptr::null());
        if self.head.is_null() {
            self.head = g;
        } else {
            // SAFETY: `tail` is the last G in the list, which the list owns.
            unsafe { (*self.tail).next.set(g) };
        }
        self.tail = g;
        self.len += 1;
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<GRef> {
        let g = NonNull::new(self.head.cast_mut())?;
        // SAFETY: a G in the list is owned by it and never freed.
        let g: GRef = unsafe { g.as_ref() };
        self.head = g.next.get();
        g.next.set(ptr::null());
        self.len -= 1;
        Some(g)
    }

    /// Appends all of `other`.
    pub(crate) fn append(&mut self, other: &mut GList) {
        if other.head.is_null() {
            return;
        }
        if self.head.is_null() {
            self.head = other.head;
        } else {
            // SAFETY: as in `push`.
            unsafe { (*self.tail).next.set(other.head) };
        }
        self.tail = other.tail;
        self.len += other.len;
        *other = GList::new();
    }
}
