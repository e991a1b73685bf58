//! The thread that makes threads.
//!
//! A new M is wanted inside a critical section, where its P is in hand. But making a thread takes locks of libc, and one of
//! those may be held by a thread that a collector has stopped; whoever waited for it inside a critical section would
//! keep the collector waiting in turn. So the section only leaves the M here, and a plain thread, outside of
//! any section, makes its thread (as Go's template thread does, for other reasons).
//!
//! The maker and the first M are made by whoever starts the first goroutine, who is told if they are refused: there is nobody
//! yet who could do the work. An M never ends, so from then on there always is somebody, and a refusal only means fewer Ms.
//!
//! Invariant: an M in the list has been left a P, is counted among the machines, and is in nobody else's hands.

use std::io;
use std::sync::PoisonError;

use crate::atomic::{AtomicBool, AtomicU32, Mutex, Ordering, thread};
use crate::critical::{self, Section};
use crate::env::{Env, Event, Hooks, Poller};
use crate::lock::Lock;
use crate::rest;
use crate::sched::Scheduler;
use crate::sched::machine::Machine;
use crate::sys;
use crate::time::Nanos;

/// Bytes of stack for an M's own context, and for the maker: the scheduler's loop and the hooks.
const THREAD_STACK: usize = 256 * 1024;

/// How long to wait before looking for an M again, after a new one was refused.
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
    /// Whether there is an M as well.
    ready: AtomicBool,
}

impl<V: Env> Maker<V> {
    pub(super) fn new() -> Maker<V> {
        Maker {
            wanted: Lock::new(Vec::new()),
            left: AtomicU32::new(0),
            beyond: AtomicBool::new(false),
            started: Mutex::new(false),
            ready: AtomicBool::new(false),
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
    /// Sees to it that there are the maker and an M. Outside of critical sections.
    ///
    /// # Errors
    /// When the system refuses one of the threads. The next call tries again.
    #[inline]
    pub(super) fn ensure_threads(&'static self) -> io::Result<()> {
        if self.maker.ready.load(Ordering::Acquire) {
            return Ok(());
        }
        self.first_threads()
    }

    #[cold]
    fn first_threads(&'static self) -> io::Result<()> {
        let mut started = self
            .maker
            .started
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !*started {
            thread::Builder::new()
                .name("gosched-maker".into())
                .stack_size(THREAD_STACK)
                .spawn(move || self.make_threads())?;
            self.add_service_thread();
            *started = true;
        }
        if !self.maker.ready.load(Ordering::Acquire) {
            self.first_machine()?;
            self.maker.ready.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Makes the first M. Nobody can have started a goroutine before, so all Ps are idle and nobody else makes Ms.
    fn first_machine(&'static self) -> io::Result<()> {
        let machine = {
            let inside = critical::enter();
            let spare = self.spare.lock(&inside).pop();
            let machine = spare.or_else(|| self.new_machine());
            let p = self.take_idle_p(None);
            let (Some(machine), Some(p)) = (machine, p) else {
                unreachable!("all Ms and Ps are there before there is a goroutine");
            };
            self.idle.add_spinner();
            // SAFETY: the M is new, and like the P in our hands.
            unsafe { machine.m.leave_p(p, true) };
            self.machine_count.fetch_add(1, Ordering::SeqCst);
            machine
        };
        self.start_thread(machine)
            .inspect_err(|_| self.do_without(machine))
    }

    /// The maker's life.
    fn make_threads(&'static self) {
        loop {
            let seen = self.maker.left.load(Ordering::Acquire);
            if self.maker.beyond.swap(false, Ordering::Relaxed) {
                let limit = self.machine_limit.load(Ordering::Relaxed);
                let error = io::Error::other(format!("the limit of {limit} is reached"));
                self.go_on_without(&error);
            }
            let wanted = {
                let inside = critical::enter();
                self.maker.wanted.lock(&inside).pop()
            };
            match wanted {
                Some(machine) => self.make_thread(machine),
                None => {
                    rest::at_rest(|| sys::futex_wait(&self.maker.left, seen, None));
                }
            }
        }
    }

    fn make_thread(&'static self, machine: &'static Machine<V>) {
        if let Err(error) = self.start_thread(machine) {
            self.do_without(machine);
            self.go_on_without(&error);
        }
    }

    fn start_thread(&'static self, machine: &'static Machine<V>) -> io::Result<()> {
        thread::Builder::new()
            .name(format!("{}{}", crate::M_THREAD, machine.m.id))
            .stack_size(THREAD_STACK)
            .spawn(move || self.run_machine(machine))?;
        let _inside = critical::enter();
        self.tell(None, || Event::ThreadCreated(machine.m.id));
        Ok(())
    }

    /// There is a P and work for it, and no new M: those there are shall do it.
    fn go_on_without(&'static self, error: &io::Error) {
        if !self.thread_refused.swap(true, Ordering::Relaxed) {
            let have = self.machine_count.load(Ordering::Relaxed);
            self.hooks.thread_refused(error, have as usize);
        }
        // The only M awake may be the one that polls: it can come and take the P.
        self.poller.wake();
        // Another may have been about to sleep when it was looked for in the list of idle ones, having found no work
        // before there was any. By now it is in that list; and if all are busy, the system may have thought better of it.
        thread::sleep(RETRY.to_duration());
        let inside = critical::enter();
        if self.is_work_anywhere() {
            self.wake_one(&inside);
        }
    }

    /// The system refused the M's thread: its P goes back, and the M is kept for the next attempt.
    #[cold]
    fn do_without(&'static self, machine: &'static Machine<V>) {
        let inside = critical::enter();
        // SAFETY: nobody but the thread that could not be made would have taken the M out of our hands.
        let (p, spinning) = unsafe { machine.m.take_back() };
        self.spare.lock(&inside).push(machine);
        self.machine_count.fetch_sub(1, Ordering::SeqCst);
        if spinning {
            self.idle.remove_spinner();
        }
        self.idle.put_p(p);
    }
}
