//! Waiting and waking, for goroutines and plain threads alike.
//!
//! Everything that blocks in this crate, other than on descriptors, does it through a [`Waiter`] in
//! its own stack frame. Several parties may want to wake it: two channels of a `select`, a timer.
//! `claim` decides: **whoever exchanges it from `OPEN` has the right and the duty to call `wake`,
//! once**; the value says which of them it was. The rules that keep the frame alive:
//!
//! 1. A waiter is known through [`Node`]s in queues and through an armed timer, each under a lock
//!    of its own.
//! 2. It is claimed under the lock under which it was found.
//! 3. Its owner leaves the frame only when it has been woken (or claimed itself) and has taken its
//!    remaining nodes and its timer out, under those locks.
//!
//! So a waker may use the frame from finding it until `wake`, and not after.
//!
//! A goroutine parks, a plain thread sleeps on a futex: `wake` knows. Nothing here depends on the
//! environment; a goroutine reaches its scheduler through its [`Ops`](crate::gmp::g::Ops).

use crate::atomic::{AtomicU32, AtomicU64, Ordering};
use std::cell::Cell;
use std::marker::PhantomPinned;
use std::ptr;

use crate::contention::{self, Watch};
use crate::critical::{self, Section};
use crate::gmp::g::{GRef, current, current_in};
use crate::gmp::timer::{TimerNode, Timers, Wake};
use crate::goroutine::WaitReason;
use crate::rest;
use crate::sys;
use crate::time::Nanos;

/// Nobody has claimed it.
const OPEN: u32 = 0;
/// Claimed by its deadline.
pub(crate) const TIMED_OUT: u32 = u32::MAX;

/// One wait of the calling goroutine or thread.
pub(crate) struct Waiter {
    g: Option<GRef>,
    claim: AtomicU32,
    /// For a thread: 1 once woken.
    word: AtomicU32,
    /// When the wait began, while waits are told of; else 0.
    since: AtomicU64,
    _pinned: PhantomPinned,
}

impl Waiter {
    /// For whoever calls.
    #[inline]
    pub(crate) fn new() -> Waiter {
        Waiter::of(current())
    }

    /// For whoever is in this section.
    #[inline]
    pub(crate) fn new_in(inside: &Section) -> Waiter {
        Waiter::of(current_in(inside))
    }

    #[inline]
    fn of(g: Option<GRef>) -> Waiter {
        Waiter {
            g,
            claim: AtomicU32::new(OPEN),
            word: AtomicU32::new(0),
            since: AtomicU64::new(0),
            _pinned: PhantomPinned,
        }
    }

    /// Announces the wait. Must come before the waiter is made known, and must be followed by
    /// [`Waiter::wait`] or [`Waiter::cancel`]. What is waited `on` is said for whoever looks for goroutines that
    /// nobody can wake any more, see [`Header::prepare_park`](crate::gmp::g::Header::prepare_park).
    #[inline]
    pub(crate) fn prepare<T: ?Sized>(&self, reason: WaitReason, on: *const T) {
        if let Some(g) = self.g {
            g.prepare_park(reason, on.cast());
        }
    }

    /// Takes `prepare` back. Only if nobody came to know the waiter.
    #[inline]
    pub(crate) fn cancel(&self) {
        if let Some(g) = self.g {
            g.cancel_park();
        }
    }

    /// Claims the right to wake for `token`, which is neither 0 nor [`TIMED_OUT`].
    #[inline]
    pub(crate) fn claim(&self, token: u32) -> bool {
        #[cfg(explore)]
        if goexplore::planted("a waiter may be claimed twice") {
            self.claim.store(token, Ordering::Release);
            return true;
        }
        self.claim
            .compare_exchange(OPEN, token, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Wakes it. By its address, since its frame may be gone before this returns.
    ///
    /// # Safety
    /// 1. It is alive, the caller has won `claim`, and does not use the waiter afterwards.
    #[inline]
    pub(crate) unsafe fn wake(this: *const Waiter, inside: &Section) {
        // SAFETY: (1).
        match unsafe { (*this).g } {
            Some(g) => {
                if g.notify() {
                    // SAFETY: `notify` told us to.
                    unsafe { (g.ops.make_runnable)(g, inside) }
                }
            }
            None => {
                // SAFETY: (1); after the store only the address is used.
                let word = unsafe { &raw const (*this).word };
                // SAFETY: as above.
                unsafe { (*word).store(1, Ordering::Release) };
                sys::futex_wake(word, 1);
            }
        }
    }

    /// As `wake`, for a goroutine: returns it if it must be made runnable, to who does that with others.
    ///
    /// # Safety
    /// 1. As `wake`; and a goroutine waits.
    pub(crate) unsafe fn notify(this: *const Waiter) -> Option<GRef> {
        // SAFETY: (1).
        unsafe { (*this).g }.filter(|g| g.notify())
    }

    /// Waits to be woken or for the deadline, and returns who claimed.
    #[inline]
    pub(crate) fn wait(&self, deadline: Nanos) -> u32 {
        match contention::watched() {
            None => self.wait_untold(deadline),
            Some(watch) => self.wait_watched(deadline, watch),
        }
    }

    #[cold]
    fn wait_watched(&self, deadline: Nanos, watch: &Watch) -> u32 {
        let since = Nanos::now();
        self.since.store(since.0, Ordering::Relaxed);
        let claim = self.wait_untold(deadline);
        (watch.waited)(Nanos::now() - since);
        claim
    }

    /// As [`wait`](Self::wait), without telling who [watches](contention).
    #[inline]
    pub(crate) fn wait_untold(&self, deadline: Nanos) -> u32 {
        match self.g {
            Some(g) => self.wait_goroutine(g, deadline),
            None => self.wait_thread(deadline),
        }
        self.claim.load(Ordering::Acquire)
    }

    fn wait_goroutine(&self, g: GRef, deadline: Nanos) {
        let wake = Wake {
            target: ptr::from_ref(self).cast(),
            claim: Waiter::expire,
            discard: None,
        };
        // SAFETY: `g` is the caller and has prepared; the waiter outlives the call.
        unsafe { park_until(g, deadline, wake) }
    }

    fn wait_thread(&self, deadline: Nanos) {
        let mut until = (deadline != Nanos::NEVER).then_some(deadline);
        while self.word.load(Ordering::Acquire) == 0 {
            if !rest::at_rest(|| sys::futex_wait(&self.word, 0, until)) {
                if self.claim(TIMED_OUT) {
                    return;
                }
                // Someone has claimed it, and is about to wake.
                until = None;
            }
        }
    }

    /// The timer's side.
    unsafe fn expire(target: *const ()) -> Option<GRef> {
        let waiter = target.cast::<Waiter>();
        // SAFETY: the timer is armed, so the waiter's frame is alive.
        if !unsafe { (*waiter).claim(TIMED_OUT) } {
            return None;
        }
        // SAFETY: claimed, and not used afterwards; only a goroutine waits with a timer.
        unsafe { Waiter::notify(waiter) }
    }
}

/// Parks until readied, by whoever else or by the deadline.
///
/// # Safety
/// 1. `g` is the caller and has called `prepare_park`.
/// 2. The wake's target is alive during the call.
pub(crate) unsafe fn park_until(g: GRef, deadline: Nanos, wake: Wake) {
    if deadline == Nanos::NEVER {
        // SAFETY: obligation 1.
        unsafe { (g.ops.park)(g) };
        return;
    }
    g.wait_ends();
    let timer = TimerNode::new(deadline, wake);
    let m = g.own_m();
    let p = m.last_p().expect("an M that runs goroutines has had a P");
    {
        let inside = critical::enter();
        // SAFETY: the timer is disarmed before the frame is left.
        unsafe { p.timers.arm(&timer, &inside) };
    }
    // Who must be told of it depends on whether this M goes idle, which parking will know.
    m.armed.set(m.armed.get().min(deadline));
    // SAFETY: obligation 1.
    unsafe { (g.ops.park)(g) };
    let inside = critical::enter();
    // SAFETY: it was armed above; Ps are never freed, nor are their heaps.
    unsafe { Timers::disarm(&timer, &inside) };
}

/// A waiter's place in one queue. Lives in the waiter's frame.
pub(crate) struct Node {
    waiter: *const Waiter,
    /// What a claim through this node is marked with.
    token: u32,
    /// What the queue's owner wants to know: for channels, where the value is or goes.
    pub(crate) slot: *const (),
    /// Set by the claimant, before it wakes.
    pub(crate) outcome: Cell<bool>,
    linked: Cell<bool>,
    prev: Cell<*const Node>,
    next: Cell<*const Node>,
}

impl Node {
    #[inline]
    pub(crate) fn new(waiter: *const Waiter, token: u32, slot: *const ()) -> Node {
        debug_assert!(token != OPEN && token != TIMED_OUT);
        Node {
            waiter,
            token,
            slot,
            outcome: Cell::new(false),
            linked: Cell::new(false),
            prev: Cell::new(ptr::null()),
            next: Cell::new(ptr::null()),
        }
    }
}

/// A queue of waiters. The lock that protects it is its owner's.
pub(crate) struct WaitList {
    head: *const Node,
    tail: *const Node,
}

// SAFETY: nodes are used only under the owner's lock, and outlive their stay in the list.
unsafe impl Send for WaitList {}

impl WaitList {
    #[inline]
    pub(crate) const fn new() -> WaitList {
        WaitList {
            head: ptr::null(),
            tail: ptr::null(),
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_null()
    }

    /// # Safety
    /// 1. `node` is in no list, does not move, and is removed before it is dropped.
    #[inline]
    pub(crate) unsafe fn push_back(&mut self, node: *const Node) {
        // SAFETY: obligation 1; `tail` is in the list, hence alive.
        unsafe {
            (*node).linked.set(true);
            (*node).next.set(ptr::null());
            (*node).prev.set(self.tail);
            match self.tail.as_ref() {
                Some(tail) => tail.next.set(node),
                None => self.head = node,
            }
        }
        self.tail = node;
    }

    /// As `push_back`, at the other end.
    ///
    /// # Safety
    /// 1. As `push_back`.
    #[inline]
    pub(crate) unsafe fn push_front(&mut self, node: *const Node) {
        // SAFETY: obligation 1; `head` is in the list, hence alive.
        unsafe {
            (*node).linked.set(true);
            (*node).prev.set(ptr::null());
            (*node).next.set(self.head);
            match self.head.as_ref() {
                Some(head) => head.prev.set(node),
                None => self.tail = node,
            }
        }
        self.head = node;
    }

    /// Takes `node` out if it is in. Returns whether it was.
    ///
    /// # Safety
    /// 1. `node` is alive, and in this list or none.
    pub(crate) unsafe fn remove(&mut self, node: *const Node) -> bool {
        // SAFETY: obligation 1; neighbours are in the list, hence alive.
        unsafe {
            let node = &*node;
            if !node.linked.replace(false) {
                return false;
            }
            let (prev, next) = (node.prev.get(), node.next.get());
            match prev.as_ref() {
                Some(prev) => prev.next.set(next),
                None => self.head = next,
            }
            match next.as_ref() {
                Some(next) => next.prev.set(prev),
                None => self.tail = prev,
            }
        }
        true
    }

    /// The first.
    #[inline]
    pub(crate) fn front(&self) -> Option<&Node> {
        // SAFETY: null, or in the list and alive.
        unsafe { self.head.as_ref() }
    }

    /// Takes the first node out, and returns it if its waiter could be claimed.
    #[inline]
    pub(crate) fn pop_front(&mut self) -> Option<Claimed> {
        let node: *const Node = self.front()?;
        // SAFETY: it is in this list, so it is alive; so is the waiter of a node found under the
        // lock.
        unsafe {
            self.remove(node);
            (*(*node).waiter)
                .claim((*node).token)
                .then_some(Claimed(node))
        }
    }

    /// Takes nodes from the front until the waiter of one is claimed, and returns that.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Claimed> {
        while !self.is_empty() {
            let claimed = self.pop_front();
            if claimed.is_some() {
                return claimed;
            }
        }
        None
    }

    /// Takes all out.
    pub(crate) fn pop_all(&mut self) -> ClaimedList {
        let mut all = ClaimedList::new();
        while let Some(claimed) = self.pop() {
            all.push(claimed);
        }
        all
    }
}

/// A waiter that the holder has claimed through this node, and must wake.
#[must_use]
pub(crate) struct Claimed(*const Node);

impl Claimed {
    #[inline]
    pub(crate) fn node(&self) -> &Node {
        // SAFETY: a claimed waiter stays in its frame until it is woken, which consumes `self`.
        unsafe { &*self.0 }
    }

    /// How long it has waited, while waits are told of; none if it has only begun to.
    pub(crate) fn waited(&self, now: Nanos) -> Nanos {
        // SAFETY: claimed and not yet woken, hence alive.
        let since = unsafe { (*self.node().waiter).since.load(Ordering::Relaxed) };
        match since {
            0 => Nanos::ZERO,
            since => now - Nanos(since),
        }
    }

    /// Call it without holding any lock.
    #[inline]
    pub(crate) fn wake(self, inside: &Section) {
        // SAFETY: claimed, and not used afterwards.
        unsafe { Waiter::wake((*self.0).waiter, inside) }
    }
}

/// Several claimed waiters, linked through their nodes.
pub(crate) struct ClaimedList {
    head: *const Node,
    tail: *const Node,
}

impl ClaimedList {
    #[inline]
    pub(crate) const fn new() -> ClaimedList {
        ClaimedList {
            head: ptr::null(),
            tail: ptr::null(),
        }
    }

    pub(crate) fn push(&mut self, claimed: Claimed) {
        claimed.node().next.set(ptr::null());
        // SAFETY: nodes in this list are claimed and not yet woken, hence alive.
        match unsafe { self.tail.as_ref() } {
            Some(tail) => tail.next.set(claimed.0),
            None => self.head = claimed.0,
        }
        self.tail = claimed.0;
    }

    pub(crate) fn append(&mut self, other: ClaimedList) {
        let mut at = other.head;
        // SAFETY: as in `push`.
        while let Some(node) = unsafe { at.as_ref() } {
            at = node.next.get();
            self.push(Claimed(node));
        }
    }

    /// How long they have waited together, as [`Claimed::waited`] has it.
    pub(crate) fn waited(&self, now: Nanos) -> Nanos {
        let (mut at, mut sum) = (self.head, Nanos::ZERO);
        // SAFETY: as in `push`.
        while let Some(node) = unsafe { at.as_ref() } {
            at = node.next.get();
            sum = sum + Claimed(node).waited(now);
        }
        sum
    }

    /// Wakes all, in order. Call it without holding any lock.
    pub(crate) fn wake_all(self) {
        let inside = critical::enter();
        let mut at = self.head;
        // SAFETY: as in `push`; the link is read before the waiter is woken.
        while let Some(node) = unsafe { at.as_ref() } {
            at = node.next.get();
            Claimed(node).wake(&inside);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_keeps_its_order_and_skips_the_claimed() {
        let waiters: Vec<Waiter> = (0..5).map(|_| Waiter::new()).collect();
        let nodes: Vec<Node> = waiters
            .iter()
            .map(|w| Node::new(w, 1, ptr::null()))
            .collect();
        let mut list = WaitList::new();
        // SAFETY: the nodes outlive the list and stay in their vector.
        unsafe {
            for node in &nodes[..4] {
                list.push_back(node);
            }
            list.push_front(&nodes[4]);
            assert!(list.remove(&nodes[1]));
            assert!(!list.remove(&nodes[1]));
        }
        assert!(waiters[0].claim(7));
        let order: Vec<_> = std::iter::from_fn(|| list.pop())
            .map(|c| nodes.iter().position(|n| ptr::eq(n, c.node())).unwrap())
            .collect();
        assert_eq!(order, [4, 2, 3]);
        assert!(list.is_empty());
    }

    #[test]
    fn a_thread_is_woken_or_times_out() {
        let waiter = Waiter::new();
        let soon = Nanos::now() + Nanos::from_millis(2);
        assert_eq!(waiter.wait(soon), TIMED_OUT);
        assert!(!waiter.claim(1), "a deadline that has passed wins");

        let waiter = Waiter::new();
        std::thread::scope(|s| {
            s.spawn(|| {
                assert!(waiter.claim(3));
                // SAFETY: claimed just now.
                unsafe { Waiter::wake(&waiter, &critical::enter()) };
            });
            assert_eq!(waiter.wait(Nanos::NEVER), 3);
        });
    }
}
