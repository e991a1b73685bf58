//! The thread that makes threads.
//!
//! A new M is wanted inside a critical section, where its P is in hand. But making a thread takes locks of libc, and one of
//! those may be held by a thread that a collector has stopped; whoever waited for it inside a critical section would
//! keep the collector waiting in turn. So the section only leaves the M here, and a plain thread, outside of
//! any section, makes its thread (as Go's template thread does, for other reasons).
//!
//! Invariant: an M in the list has been left a P, is counted among the machines, and is in nobody else's hands.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::critical::{self, Section};
use crate::env::{Env, Event, Hooks, Poller};
use crate::lock::Lock;
use crate::sched::machine::Machine;
use crate::sched::{MAX_MACHINES, Scheduler};
use crate::sys;
use crate::time::Nanos;

/// Bytes of stack for an M's own context, and for the maker: the scheduler's loop and the hooks.
const THREAD_STACK: usize = 256 * 1024;

/// How long to wait before asking again for the only M, after it was refused.
const RETRY: Nanos = Nanos::from_millis(10);

/// Ms that wait for their threads, and the maker's life.
pub(super) struct Maker<V: Env> {
    wanted: Lock<Vec<&'static Machine<V>>>,
    /// One up for each M left; the maker sleeps on it.
    left: AtomicU32,
    /// An M was wanted beyond the limit.
    beyond: AtomicBool,
    /// Whether the maker's thread has been started.
    started: Mutex<bool>,
}

impl<V: Env> Maker<V> {
    pub(super) fn new() -> Maker<V> {
        Maker {
            wanted: Lock::new(Vec::new()),
            left: AtomicU32::new(0),
            beyond: AtomicBool::new(false),
            started: Mutex::new(false),
        }
    }

    /// Has a thread made for an M that is in the caller's hands, has been left a P, and is counted.
    pub(super) fn want(&self, machine: &'static Machine<V>, inside: &Section) {
        self.wanted.lock(inside).push(machine);
        self.wake();
    }

    /// Has it reported that no more Ms may be made.
    pub(super) fn limit_reached(&self) {
        self.beyond.store(true, Ordering::Relaxed);
        self.wake();
    }

    fn wake(&self) {
        self.left.fetch_add(1, Ordering::Release);
        sys::futex_wake(&self.left, 1);
    }
}

impl<V: Env> Scheduler<V> {
    /// Starts the maker, if it has not been. Outside of critical sections.
    ///
    /// # Errors
    /// When the system refuses the thread. The next call tries again.
    pub(super) fn ensure_maker(&'static self) -> io::Result<()> {
        if self.machine_count.load(Ordering::Relaxed) > 0 {
            return Ok(());
        }
        let mut started = self
            .maker
            .started
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !*started {
            std::thread::Builder::new()
                .name("gosched-maker".into())
                .stack_size(THREAD_STACK)
                .spawn(move || self.make_threads())?;
            self.add_service_thread();
            *started = true;
        }
        Ok(())
    }

    /// The maker's life.
    fn make_threads(&'static self) {
        loop {
            let seen = self.maker.left.load(Ordering::Acquire);
            if self.maker.beyond.swap(false, Ordering::Relaxed) {
                let error = io::Error::other(format!("the limit of {MAX_MACHINES} is reached"));
                self.report_refused(&error, MAX_MACHINES);
            }
            let wanted = {
                let inside = critical::enter();
                self.maker.wanted.lock(&inside).pop()
            };
            match wanted {
                Some(machine) => self.make_thread(machine),
                None => {
                    sys::futex_wait(&self.maker.left, seen, None);
                }
            }
        }
    }

    fn make_thread(&'static self, machine: &'static Machine<V>) {
        let thread = std::thread::Builder::new()
            .name(format!("gosched-m{}", machine.m.id))
            .stack_size(THREAD_STACK)
            .spawn(move || self.run_machine(machine));
        match thread {
            Ok(_) => {
                let _inside = critical::enter();
                self.hooks.event(Event::ThreadCreated(machine.m.id));
            }
            Err(error) => self.do_without(machine, &error),
        }
    }

    fn report_refused(&'static self, error: &io::Error, have: u32) {
        if !self.thread_refused.swap(true, Ordering::Relaxed) {
            self.hooks.thread_refused(error, have as usize);
        }
    }

    /// The system refused a thread: the P goes back, the refusal is reported once, and the Ms there are carry on.
    #[cold]
    fn do_without(&'static self, machine: &'static Machine<V>, error: &io::Error) {
        let have = {
            let inside = critical::enter();
            // SAFETY: `wanted` had the M in its hands, and gave it to us.
            let (p, spinning) = unsafe { machine.m.take_back() };
            self.spare.lock(&inside).push(machine);
            let have = self.machine_count.fetch_sub(1, Ordering::SeqCst) - 1;
            if spinning {
                self.idle.remove_spinner();
            }
            self.idle.put_p(p, &inside);
            have
        };
        self.report_refused(error, have);
        if have > 0 {
            // The only M awake may be the one that polls: it can come and take the P.
            self.poller.wake();
            return;
        }
        // There is nobody who could do the work later, so the thread has to be asked for until it is granted.
        std::thread::sleep(RETRY.to_duration());
        let inside = critical::enter();
        self.wake_one(&inside);
    }
}
