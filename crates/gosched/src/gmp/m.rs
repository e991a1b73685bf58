//! M: an OS thread that runs goroutines.
//!
//! # States
//!
//! | state | has a P | `in_runtime` | where it is |
//! | --- | --- | --- | --- |
//! | running | yes | clear | in user code, on a goroutine's context |
//! | in the runtime | yes | set | in the scheduler, on a goroutine's context or its own |
//! | without | no | either | in user code after its P was given up or taken; or on its own context, looking for one |
//! | polling | no | set | in the poller's `wait` |
//! | idle | no | set | in the list of idle Ms, asleep on `parked` |
//! | locked | no | set | in no list, asleep on `parked` until its goroutine is found (`sched/locked.rs`) |
//!
//! # Who touches what
//!
//! The `Cell`s belong to *the context that runs on this M at the moment*; a switch hands them on
//! with everything else. While an M is idle, `next_p` and `spinning` belong to whoever took it out
//! of the list, until that party sets `parked`, and so does `called`. The atomics may be read by anyone.
//!
//! # `in_runtime` and the P
//!
//! The M stores `in_runtime`, makes the light fence, and only then looks whether its P is still
//! `Owned(self)`. The monitor stores `Taking`, makes the heavy fence, and only then looks at
//! `in_runtime`. So one of them sees the other: this is Dekker's algorithm. Between [`M::enter`]
//! finding the P owned and [`M::leave`] nobody takes it.
//!
//! # After-switch action
//!
//! A context cannot publish itself as saved, for it runs until the switch; nor can it free its own
//! stack. It leaves a note in `after`, and the context switched to carries it out before anything
//! else.

use crate::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::cell::Cell;
use std::ptr;

use crate::gmp::g::{GRef, Header};
use crate::gmp::p::{Owner, P};
use crate::here::Here;
use crate::rest;
use crate::rng::Rng;
use crate::sys::{self, AsymmetricFence};
use crate::time::Nanos;

/// How long an M sleeps before it gives back what it keeps.
const A_WHILE: Nanos = Nanos::from_millis(100);

/// What the context switched to must do for the goroutine that was left.
#[derive(Clone, Copy)]
pub(crate) struct After {
    pub(crate) g: GRef,
    pub(crate) fate: Fate,
}

/// What has become of it.
#[derive(Clone, Copy)]
pub(crate) enum Fate {
    /// Its context is saved: it waits now, unless it has been readied meanwhile.
    Parked,
    /// It gave way: queue it.
    Yielded,
    /// It is done: pool it.
    Finished,
}

impl Fate {
    /// This one's.
    #[inline]
    pub(crate) fn of(self, g: GRef) -> After {
        After { g, fate: self }
    }
}

pub(crate) struct M {
    pub(crate) id: u32,
    pub(crate) in_runtime: AtomicBool,
    /// The P that it has, or had last; never null after the first.
    p: AtomicPtr<P>,
    /// Whether `p` was found to be its own on entry. Meaningful only in the runtime.
    has_p: Cell<bool>,
    /// Inside `syscall` or `blocking`. A hint: a switch clears it.
    pub(crate) in_syscall: AtomicBool,
    /// One up for each `syscall`.
    pub(crate) syscall_tick: AtomicU32,
    /// One up for each P that it gets.
    pub(crate) acquired: AtomicU32,
    /// Looking for work, and counted among those who do.
    pub(crate) spinning: AtomicBool,
    /// What it found last beyond its own queue, it had stolen.
    pub(crate) stole: Cell<bool>,
    pub(crate) after: Cell<Option<After>>,
    /// The deadline of a timer armed since the last park, or `NEVER`.
    pub(crate) armed: Cell<Nanos>,
    /// A goroutine is going to be the first to wait for a descriptor.
    pub(crate) wants_poll: Cell<bool>,
    /// The words of the context that entered the runtime last, for a stop that is asked of it while it is left.
    pub(crate) left: Cell<*const Here>,
    /// What the thread's processor clock said at the last switch, and in which period of accounting.
    pub(crate) cpu_seen: Cell<(u32, Nanos)>,
    /// The G that runs, by number; 0 for none.
    pub(crate) current: AtomicU64,
    /// 1: go on.
    parked: AtomicU32,
    next_p: Cell<*const P>,
    /// When it was last woken from the list of idle Ms; `NEVER` once it has come.
    pub(crate) called: Cell<Nanos>,
    /// The goroutine that is locked to it. Written by that one, while it runs.
    locked_g: AtomicPtr<Header>,
    /// That goroutine, left with `next_p` by whoever found it.
    pub(crate) next_g: Cell<*const Header>,
    /// Its thread is to end.
    pub(crate) ends: Cell<bool>,
    /// Link of the list of idle Ms, under its lock.
    pub(crate) next_idle: Cell<*const M>,
    pub(crate) rng: Rng,
}

/// The shared handle on an M. Ms are never freed.
pub(crate) type MRef = &'static M;

// SAFETY: the `Cell`s have one owner at a time, as the module head assigns them.
unsafe impl Sync for M {}
// SAFETY: as above.
unsafe impl Send for M {}

impl M {
    pub(crate) fn new(id: u32) -> M {
        M {
            id,
            in_runtime: AtomicBool::new(true),
            p: AtomicPtr::new(ptr::null_mut()),
            has_p: Cell::new(false),
            in_syscall: AtomicBool::new(false),
            syscall_tick: AtomicU32::new(0),
            acquired: AtomicU32::new(0),
            spinning: AtomicBool::new(false),
            stole: Cell::new(false),
            after: Cell::new(None),
            armed: Cell::new(Nanos::NEVER),
            wants_poll: Cell::new(false),
            left: Cell::new(ptr::null()),
            cpu_seen: Cell::new((0, Nanos::ZERO)),
            current: AtomicU64::new(0),
            parked: AtomicU32::new(0),
            next_p: Cell::new(ptr::null()),
            called: Cell::new(Nanos::NEVER),
            locked_g: AtomicPtr::new(ptr::null_mut()),
            next_g: Cell::new(ptr::null()),
            ends: Cell::new(false),
            next_idle: Cell::new(ptr::null()),
            rng: Rng::new(u64::from(id) + 1),
        }
    }

    /// Enters the runtime. Returns the P, unless it was given up or taken.
    ///
    /// # Safety
    /// 1. The caller is the context that runs on this M, in a critical section, not in the runtime.
    #[inline]
    pub(crate) unsafe fn enter(&self, fence: AsymmetricFence) -> Option<&'static P> {
        self.in_runtime.store(true, Ordering::Relaxed);
        fence.light();
        // SAFETY: the P of an M is null before the first, and Ps are never freed.
        let p = unsafe { &*self.p.load(Ordering::Relaxed) };
        let has = p.keep(self);
        self.has_p.set(has);
        has.then_some(p)
    }

    /// Leaves the runtime.
    ///
    /// # Safety
    /// 1. As for `enter`, but in the runtime.
    #[inline]
    pub(crate) unsafe fn leave(&self) {
        self.in_runtime.store(false, Ordering::Release);
    }

    /// Its P. For the context that runs on this M, in the runtime.
    #[inline]
    pub(crate) fn p(&self) -> Option<&'static P> {
        if self.has_p.get() {
            // SAFETY: an M that has a P has its address, and Ps are never freed.
            Some(unsafe { &*self.p.load(Ordering::Relaxed) })
        } else {
            None
        }
    }

    /// The goroutine that is locked to it.
    #[inline]
    pub(crate) fn locked_g(&self) -> Option<GRef> {
        // SAFETY: null or a G, and those are never freed.
        unsafe { self.locked_g.load(Ordering::Relaxed).as_ref() }
    }

    pub(crate) fn set_locked_g(&self, g: Option<GRef>) {
        let g = g.map_or(ptr::null(), ptr::from_ref);
        self.locked_g.store(g.cast_mut(), Ordering::Relaxed);
    }

    /// The P it has or had last, for anyone.
    #[inline]
    pub(crate) fn last_p(&self) -> Option<&'static P> {
        // SAFETY: null or a P, and Ps are never freed.
        unsafe { self.p.load(Ordering::Relaxed).as_ref() }
    }

    /// Whether its P is still its own, outside the runtime; true may be false a moment later.
    #[inline]
    pub(crate) fn still_has_p(&self) -> bool {
        self.last_p()
            .is_some_and(|p| p.owner() == Owner::owned(self))
    }

    /// Makes a free P its own.
    ///
    /// # Safety
    /// 1. The caller is the context that runs on this M, in the runtime, without a P.
    /// 2. `p` is free and in the caller's hands.
    #[inline]
    pub(crate) unsafe fn acquire(&self, p: &'static P) {
        debug_assert!(!self.has_p.get() && p.owner() == Owner::FREE);
        p.set_owner(Owner::owned(self));
        self.p.store(ptr::from_ref(p).cast_mut(), Ordering::Relaxed);
        self.has_p.set(true);
        let acquired = self.acquired.load(Ordering::Relaxed);
        self.acquired
            .store(acquired.wrapping_add(1), Ordering::Relaxed);
    }

    /// Gives up its P, which is then free and in the caller's hands.
    ///
    /// # Safety
    /// 1. The caller is the context that runs on this M, in the runtime, with a P.
    #[inline]
    pub(crate) unsafe fn release(&self) -> &'static P {
        let p = self.p().expect("only an M with a P gives one up");
        p.current.store(0, Ordering::Relaxed);
        p.set_owner(Owner::FREE);
        self.has_p.set(false);
        p
    }

    /// Sleeps until [`M::unpark`], and calls `idle` when it has slept for [`A_WHILE`]. For the M's own context, outside critical sections.
    ///
    /// Whether it is woken is told by `parked` alone, and a wait that ends by its deadline looks there again, so no wake-up is lost to the deadline.
    pub(crate) fn park(&self, idle: impl FnOnce()) {
        // The explorer has no time.
        let mut deadline = (!cfg!(explore)).then(|| Nanos::now() + A_WHILE);
        let mut idle = Some(idle);
        while self.parked.swap(0, Ordering::Acquire) == 0 {
            let in_time = rest::at_rest(|| sys::futex_wait(&self.parked, 0, deadline));
            if !in_time && let Some(idle) = idle.take() {
                deadline = None;
                idle();
            }
        }
    }

    /// Takes the P that was left for it.
    ///
    /// # Safety
    /// 1. The caller is this M's own context, in the runtime, without a P; the M has been unparked
    ///    or starts.
    pub(crate) unsafe fn accept(&self) {
        let p = self.next_p.replace(ptr::null());
        if !p.is_null() {
            // SAFETY: whoever unparked this M left a free P that was in its hands; the M has none.
            unsafe { self.acquire(&*p) };
        }
    }

    /// Leaves a P for an M that is idle or does not run yet.
    ///
    /// # Safety
    /// 1. The M is out of the list and in the caller's hands; so is `p`, which is free.
    pub(crate) unsafe fn leave_p(&self, p: &'static P, spinning: bool) {
        self.next_p.set(p);
        self.spinning.store(spinning, Ordering::Relaxed);
    }

    /// Takes back what [`leave_p`](Self::leave_p) left.
    ///
    /// # Safety
    /// 1. The M is in the caller's hands, and `leave_p` was called and nothing since.
    pub(crate) unsafe fn take_back(&self) -> (&'static P, bool) {
        // SAFETY: obligation 1: `leave_p` stored a P, and Ps are never freed.
        let p = unsafe { &*self.next_p.replace(ptr::null()) };
        (p, self.spinning.swap(false, Ordering::Relaxed))
    }

    /// Wakes it.
    ///
    /// # Safety
    /// 1. As `leave_p`, which was called. The M is not in the caller's hands any more.
    pub(crate) unsafe fn unpark(&self) {
        self.parked.store(1, Ordering::Release);
        sys::futex_wake(&self.parked, 1);
    }
}
