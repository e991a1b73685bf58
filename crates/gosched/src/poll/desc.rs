//! One descriptor's two slots, in which a reader and a writer wait.
//!
//! A slot is one word, as in Go (netpoll.go):
//!
//! | word | meaning | left by |
//! | --- | --- | --- |
//! | `EMPTY` | nothing known | a report, to `READY`; a waiter, to its G |
//! | `READY` | an edge came that nobody has consumed | a waiter, to `EMPTY` |
//! | a G | it waits | a report, a deadline or `close`, to `EMPTY`: **that exchange is the right to ready it** |
//!
//! A waiter that comes back looks for itself why (readiness, deadline, close), so a wake-up too
//! many costs one more try. That is also why a slot may be given to another descriptor while late
//! reports for the former one are still about: descriptors are type-stable, and what such a report
//! does is harmless.
//!
//! Edges are reported once. So whoever consumes `READY` must then try the operation, and only one
//! party at a time may: the *turn*.
//!
//! A slot also has a deadline, which may be set while somebody waits. Setting it stores the new one
//! and then exchanges the word like a report; a waiter empties the word (`prepare`), and then reads
//! the deadline. Exchanges of one word are ordered: if the waiter's came first, the other finds it
//! in the slot or leaves `READY` for it, and it looks again; if it came second, it has acquired the
//! new deadline. The same holds of `close` and its flag. Both therefore exchange the word even
//! where that changes nothing.

use crate::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::io;
use std::ptr;

use crate::gmp::g::{GRef, Header};
use crate::gmp::timer::Wake;
use crate::goroutine::WaitReason;
use crate::sync::raw::RawMutex;
use crate::time::Nanos;
use crate::waiter::park_until;

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Data, end of file, a connection to accept.
    Read,
    /// Room to write, the end of connecting.
    Write,
}

const EMPTY: *mut Header = ptr::null_mut();
const READY: *mut Header = ptr::without_provenance_mut(1);

struct Slot {
    word: AtomicPtr<Header>,
    turn: RawMutex,
    /// From when on operations fail; `NEVER` for none.
    deadline: AtomicU64,
}

impl Slot {
    fn new() -> Slot {
        Slot {
            word: AtomicPtr::new(EMPTY),
            turn: RawMutex::new(),
            deadline: AtomicU64::new(Nanos::NEVER.0),
        }
    }

    fn reset(&self) {
        self.word.store(EMPTY, Ordering::Relaxed);
        self.deadline.store(Nanos::NEVER.0, Ordering::Relaxed);
    }

    fn change(&self, from: *mut Header, to: *mut Header) -> bool {
        self.word
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}

pub(crate) struct PollDesc {
    read: Slot,
    write: Slot,
    closed: AtomicBool,
    /// How many goroutines of the scheduler wait in slots.
    waiters: &'static AtomicUsize,
}

impl PollDesc {
    pub(crate) fn new(waiters: &'static AtomicUsize) -> PollDesc {
        PollDesc {
            read: Slot::new(),
            write: Slot::new(),
            closed: AtomicBool::new(false),
            waiters,
        }
    }

    fn slot(&self, direction: Direction) -> &Slot {
        match direction {
            Direction::Read => &self.read,
            Direction::Write => &self.write,
        }
    }

    /// For a new descriptor.
    pub(crate) fn reset(&self) {
        self.read.reset();
        self.write.reset();
        self.closed.store(false, Ordering::Release);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// From when on operations fail. To be read after `prepare` by whoever is going to wait.
    pub(crate) fn deadline(&self, direction: Direction) -> Nanos {
        Nanos(self.slot(direction).deadline.load(Ordering::Relaxed))
    }

    /// Sets it. Returns the goroutine to make runnable, which waits for the former one.
    pub(crate) fn set_deadline(&self, direction: Direction, deadline: Nanos) -> Option<GRef> {
        let slot = self.slot(direction);
        slot.deadline.store(deadline.0, Ordering::Relaxed);
        take(slot, self.waiters, READY)
    }

    /// Waits until it is this caller's turn. Returns false if that was not before the deadline.
    pub(crate) fn take_turn(&self, direction: Direction, deadline: Nanos) -> bool {
        self.slot(direction).turn.lock(WaitReason::IoWait, deadline)
    }

    /// # Safety
    /// 1. The caller has the turn.
    pub(crate) unsafe fn end_turn(&self, direction: Direction) {
        // SAFETY: obligation 1.
        unsafe { self.slot(direction).turn.unlock() }
    }

    /// Forgets an edge, because the caller is going to try.
    pub(crate) fn prepare(&self, direction: Direction) {
        self.slot(direction).change(READY, EMPTY);
    }

    /// Parks the calling goroutine until an edge, the deadline, or `close`; it may return for
    /// nothing.
    pub(crate) fn wait(&self, g: GRef, direction: Direction, deadline: Nanos) {
        let slot = self.slot(direction);
        if self.is_closed() || slot.change(READY, EMPTY) {
            return;
        }
        g.prepare_park(WaitReason::IoWait);
        let first = self.waiters.fetch_add(1, Ordering::SeqCst) == 0;
        let me = ptr::from_ref(g).cast_mut();
        if !slot.change(EMPTY, me) {
            debug_assert_eq!(slot.word.load(Ordering::Relaxed), READY, "the turn is ours");
            slot.change(READY, EMPTY);
            self.leave_early(g);
            return;
        }
        // `close` sets the flag and then exchanges the slot's word: it finds us, or we the flag.
        if self.is_closed() && slot.change(me, EMPTY) {
            self.leave_early(g);
            return;
        }
        if first {
            g.own_m().wants_poll.set(true);
        }
        let expiry = Expiry {
            slot,
            waiters: self.waiters,
        };
        let wake = Wake {
            target: ptr::from_ref(&expiry).cast(),
            claim: expire,
            discard: None,
        };
        // SAFETY: `g` is the caller and has prepared; `expiry` outlives the call.
        unsafe { park_until(g, deadline, wake) };
    }

    fn leave_early(&self, g: GRef) {
        self.waiters.fetch_sub(1, Ordering::SeqCst);
        g.cancel_park();
    }

    /// An edge. Returns the goroutine to make runnable.
    pub(crate) fn report(&self, direction: Direction) -> Option<GRef> {
        take(self.slot(direction), self.waiters, READY)
    }

    /// Makes everybody who waits, and everybody who will, fail. Returns who is to be made runnable.
    pub(crate) fn close(&self) -> [Option<GRef>; 2] {
        self.closed.store(true, Ordering::Release);
        [&self.read, &self.write].map(|slot| take(slot, self.waiters, EMPTY))
    }
}

/// What a deadline needs to know.
struct Expiry<'a> {
    slot: &'a Slot,
    waiters: &'static AtomicUsize,
}

unsafe fn expire(target: *const ()) -> Option<GRef> {
    // SAFETY: the timer is armed, so the frame with the `Expiry` is alive.
    let expiry = unsafe { &*target.cast::<Expiry<'_>>() };
    take(expiry.slot, expiry.waiters, EMPTY)
}

/// Takes the goroutine out of the slot; if there is none, leaves `otherwise` there, or `READY` where
/// that is there already. The word is exchanged in every case.
fn take(slot: &Slot, waiters: &AtomicUsize, otherwise: *mut Header) -> Option<GRef> {
    loop {
        let word = slot.word.load(Ordering::Acquire);
        let next = match word {
            EMPTY => otherwise,
            READY => READY,
            _ => EMPTY,
        };
        #[cfg(explore)]
        if word == next && goexplore::planted("a word that stays as it is is not exchanged") {
            return None;
        }
        if !slot.change(word, next) {
            continue;
        }
        if word == EMPTY || word == READY {
            return None;
        }
        waiters.fetch_sub(1, Ordering::SeqCst);
        // SAFETY: a word that is neither of the two is a G, and those are never freed.
        let g: GRef = unsafe { &*word };
        return g.notify().then_some(g);
    }
}

/// Waits on a plain thread with `poll`.
///
/// # Errors
/// The system's.
pub(crate) fn wait_thread(fd: i32, direction: Direction, deadline: Nanos) -> io::Result<()> {
    let events = match direction {
        Direction::Read => libc::POLLIN | libc::POLLRDHUP,
        Direction::Write => libc::POLLOUT,
    };
    let mut poll = libc::pollfd {
        fd,
        events,
        revents: 0,
    };
    // A close by another thread does not end `poll`, so it looks up now and then.
    let tick = Nanos::from_millis(100);
    let timeout = (deadline - Nanos::now()).min(tick).to_timespec();
    // SAFETY: both structures outlive the call.
    let result = unsafe { libc::ppoll(&mut poll, 1, &timeout, ptr::null()) };
    if result < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    Ok(())
}
