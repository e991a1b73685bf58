//! Descriptors and the poller.
//!
//! At most one M sleeps in the poller (`gate`), until the time in `until`. Others look without
//! waiting: an M that finds its queue empty, and the monitor when nobody has looked for long.

use crate::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence, thread};
use std::io;
use std::os::fd::RawFd;
use std::ptr;

use crate::critical::{self, Section};
use crate::env::{Env, Poller, Readiness, Token};
use crate::gmp::g::{GList, GRef};
use crate::gmp::p::P;
use crate::lock::Lock;
use crate::poll::desc::PollDesc;
use crate::poll::{Direction, Registrar, Registration};
use crate::sched::Scheduler;
use crate::sched::machine::Machine;
use crate::time::Nanos;

/// Descriptors per chunk of the table.
const CHUNK: usize = 256;
/// Chunks: a million descriptors, more than a process may have open by default.
const CHUNKS: usize = if cfg!(explore) { 1 } else { 4096 };

pub(super) struct Network {
    /// Goroutines that wait for descriptors.
    waiters: AtomicUsize,
    /// An M sleeps in the poller, or is about to.
    gate: AtomicBool,
    /// Until when it does; `NEVER` when it sleeps without limit.
    until: AtomicU64,
    /// When somebody last looked.
    last: AtomicU64,
    table: Table,
}

/// All slots there ever were, by index: the poller reports an index, so that a faulty one cannot
/// lead us astray.
struct Table {
    chunks: Box<[AtomicPtr<[PollDesc; CHUNK]>]>,
    free: Lock<Free>,
}

struct Free {
    indices: Vec<u32>,
    made: u32,
}

impl Network {
    pub(super) fn new() -> Network {
        Network {
            waiters: AtomicUsize::new(0),
            gate: AtomicBool::new(false),
            until: AtomicU64::new(Nanos::NEVER.0),
            last: AtomicU64::new(Nanos::now().0),
            table: Table {
                chunks: (0..CHUNKS)
                    .map(|_| AtomicPtr::new(ptr::null_mut()))
                    .collect(),
                free: Lock::new(Free {
                    indices: Vec::new(),
                    made: 0,
                }),
            },
        }
    }

    pub(super) fn waiters(&self) -> usize {
        self.waiters.load(Ordering::SeqCst)
    }

    pub(super) fn has_waiters(&self) -> bool {
        self.waiters() > 0
    }

    pub(super) fn is_polled(&self) -> bool {
        self.gate.load(Ordering::SeqCst)
    }

    pub(super) fn polled_until(&self) -> Nanos {
        Nanos(self.until.load(Ordering::SeqCst))
    }

    pub(super) fn last_polled(&self) -> Nanos {
        Nanos(self.last.load(Ordering::Relaxed))
    }
}

impl Table {
    fn get(&self, index: u32) -> Option<&'static PollDesc> {
        let chunk = self
            .chunks
            .get(index as usize / CHUNK)?
            .load(Ordering::Acquire);
        // SAFETY: null, or a chunk that is never freed.
        let chunk: &'static [PollDesc; CHUNK] = unsafe { chunk.as_ref() }?;
        Some(&chunk[index as usize % CHUNK])
    }

    fn take(&self, waiters: &'static AtomicUsize) -> io::Result<(u32, &'static PollDesc)> {
        let inside = critical::enter();
        let mut free = self.free.lock(&inside);
        let index = match free.indices.pop() {
            Some(index) => index,
            None => {
                let index = free.made;
                let chunk = index as usize / CHUNK;
                if chunk >= CHUNKS {
                    return Err(io::Error::other("too many descriptors are registered"));
                }
                if (index as usize).is_multiple_of(CHUNK) {
                    let new = Box::new(std::array::from_fn(|_| PollDesc::new(waiters)));
                    self.chunks[chunk].store(Box::into_raw(new), Ordering::Release);
                }
                free.made += 1;
                index
            }
        };
        let desc = self.get(index).expect("made before its index is given out");
        Ok((index, desc))
    }

    fn give_back(&self, index: u32) {
        let inside = critical::enter();
        self.free.lock(&inside).indices.push(index);
    }
}

impl<V: Env> Scheduler<V> {
    /// Takes a descriptor under the scheduler's care, so that goroutines and threads can wait for
    /// it. It must be in non-blocking mode, must not be registered twice, and must outlive the
    /// registration.
    ///
    /// # Errors
    /// The poller's; a regular file is refused with `EPERM`.
    pub fn register(&'static self, fd: RawFd) -> io::Result<Registration> {
        let (index, desc) = self.network.table.take(&self.network.waiters)?;
        desc.reset();
        match self.poller.register(fd, Token(index as usize)) {
            Ok(()) => Ok(Registration::new(fd, desc, index, self)),
            Err(error) => {
                self.network.table.give_back(index);
                Err(error)
            }
        }
    }

    /// Turns reports into goroutines to be made runnable.
    fn deliver(&self, reports: &[Readiness], ready: &mut GList) {
        for report in reports {
            let Some(desc) = u32::try_from(report.token.0)
                .ok()
                .and_then(|index| self.network.table.get(index))
            else {
                continue;
            };
            if report.is_last {
                desc.set_last();
            }
            let sides = [
                (report.readable, Direction::Read),
                (report.writable, Direction::Write),
            ];
            for (is_ready, direction) in sides {
                if let Some(g) = is_ready.then(|| desc.report(direction)).flatten() {
                    ready.push(g);
                }
            }
        }
    }

    /// Looks without waiting, if any goroutine waits for a descriptor. Also beside an M that sleeps in the poller: the kernel may have woken it for
    /// what is found here, and have no processor for it yet. It then finds nothing, and waits on.
    ///
    /// # Safety
    /// 1. The caller runs on `machine`, in the runtime, with `p`, whose queue is empty.
    #[inline]
    pub(super) unsafe fn poll_now(
        &'static self,
        machine: &'static Machine<V>,
        p: &'static P,
        inside: &Section,
    ) -> Option<GRef> {
        if !self.network.has_waiters() {
            return None;
        }
        // SAFETY: obligation 1.
        unsafe { self.glance(machine, p, inside) }
    }

    /// # Safety
    /// 1. As `poll_now`.
    #[inline(never)]
    unsafe fn glance(
        &'static self,
        machine: &'static Machine<V>,
        p: &'static P,
        inside: &Section,
    ) -> Option<GRef> {
        let mut ready = GList::new();
        // SAFETY: obligation 1; the reference ends with this block.
        unsafe {
            let reports = machine.reports();
            let n = self.poller.wait(Some(Nanos::ZERO), reports).unwrap_or(0);
            self.deliver(&reports[..n], &mut ready);
        }
        let now = self.tick_clock();
        self.network.last.store(now.0, Ordering::Relaxed);
        p.pace.lap(now, p.tick.load(Ordering::Relaxed));
        let batch = ready.len();
        let first = ready.pop()?;
        if batch > 1 {
            self.queue_back(p, &mut ready, inside);
            self.wake_for_batch(p, batch, inside);
        }
        Some(first)
    }

    /// Sleeps in the poller, if there is anything to wait for and nobody else does. Returns whether
    /// it did; then there may be something to run.
    ///
    /// # Safety
    /// 1. The caller is the M's own context, inside a critical section, without a P, not spinning.
    pub(super) unsafe fn poll_blocking(
        &'static self,
        machine: &'static Machine<V>,
        inside: &Section,
    ) -> bool {
        let network = &self.network;
        if self.simulation().is_some() && !network.has_waiters() {
            return false;
        }
        if !network.has_waiters() && self.earliest_timer() == Nanos::NEVER {
            return false;
        }
        if network.gate.swap(true, Ordering::SeqCst) {
            return false;
        }
        // Publish first, then look at the timers: whoever arms one publishes that first and then
        // looks here.
        let mut until = self.earliest_timer();
        loop {
            network.until.store(until.0, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            let now_earliest = self.earliest_timer();
            if now_earliest >= until {
                break;
            }
            until = now_earliest;
        }
        let timeout = (until != Nanos::NEVER).then(|| until - self.tick_clock());
        let mut ready = GList::new();
        // SAFETY: obligation 1; no lock is held, and the reference ends with this block.
        unsafe {
            let reports = machine.reports();
            let n = critical::suspended(|| self.wait_in_poller(timeout, reports));
            let reports = machine.reports();
            network.until.store(Nanos::NEVER.0, Ordering::SeqCst);
            network.gate.store(false, Ordering::SeqCst);
            self.deliver(&reports[..n], &mut ready);
            if let (0, Some(simulation)) = (n, self.simulation()) {
                simulation.waited_until(until);
            }
        }
        let now = self.tick_clock();
        network.last.store(now.0, Ordering::Relaxed);
        for p in self.ps.iter() {
            p.timers.fire(now, &mut ready, inside);
        }
        // SAFETY: obligation 1.
        if unsafe { self.regain(machine) } {
            let p = machine.m.p().expect("it has just been acquired");
            p.pace.start(now, p.tick.load(Ordering::Relaxed));
            let batch = ready.len();
            #[cfg(explore)]
            if batch > 1 && goexplore::planted("half of a batch is forgotten") {
                let _ = ready.pop();
            }
            self.queue_back(p, &mut ready, inside);
            if batch > 1 {
                self.wake_for_batch(p, batch, inside);
            }
        } else {
            self.inject(&mut ready, inside);
        }
        true
    }

    /// Waits in the poller. One that fails reports nothing; it is not asked again at once.
    fn wait_in_poller(&self, timeout: Option<Nanos>, reports: &mut [Readiness]) -> usize {
        self.poller.wait(timeout, reports).unwrap_or_else(|_| {
            thread::sleep(Nanos::from_millis(1).to_duration());
            0
        })
    }

    /// Queues a batch of readied Gs for whoever has a P.
    fn inject(&'static self, ready: &mut GList, inside: &Section) {
        if ready.len() == 0 {
            return;
        }
        let mut batch = GList::new();
        while let Some(g) = ready.pop() {
            g.status.store(crate::gmp::g::RUNNABLE, Ordering::Relaxed);
            batch.push(g);
        }
        self.global.push_all(&mut batch, inside);
        self.wake_one(inside);
    }

    /// Looks at descriptors and timers on behalf of Ms that are all too busy to, if nobody has for
    /// `interval`. For a monitor's thread. Returns how many goroutines it made runnable.
    pub fn poll_network_if_due(&'static self, interval: Nanos) -> usize {
        let now = self.tick_clock();
        let inside = critical::enter();
        let mut ready = GList::new();
        let due = self.network.last_polled() + interval <= now;
        if due && self.network.has_waiters() && !self.network.is_polled() {
            let mut reports = [Readiness::NONE; 64];
            let n = self
                .poller
                .wait(Some(Nanos::ZERO), &mut reports)
                .unwrap_or(0);
            self.deliver(&reports[..n], &mut ready);
            self.network.last.store(now.0, Ordering::Relaxed);
        }
        if self.earliest_timer() + interval <= now {
            for p in self.ps.iter() {
                p.timers.fire(now, &mut ready, &inside);
            }
        }
        let found = ready.len();
        #[cfg(explore)]
        if goexplore::planted("the monitor looks for nobody") {
            return found;
        }
        self.inject(&mut ready, &inside);
        found
    }
}

impl<V: Env> Registrar for Scheduler<V> {
    fn close(&self, desc: &'static PollDesc) {
        let inside = critical::enter();
        for g in desc.close().into_iter().flatten() {
            // SAFETY: `close` has taken it out of its slot, notified and saved.
            unsafe { (g.ops.make_runnable)(g, &inside) }
        }
    }

    fn deregister(&self, fd: RawFd, desc: &'static PollDesc, index: u32) {
        // A failure means that the kernel does not watch it any more.
        let _ = self.poller.deregister(fd);
        self.close(desc);
        self.network.table.give_back(index);
    }
}
