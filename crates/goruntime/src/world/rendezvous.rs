//! The rendezvous of a stop-the-world: one stopper, and threads that answer when they are asked.
//!
//! # Protocol
//!
//! The *epoch* is even while the world runs and odd while it is being stopped or is stopped; each stop makes it odd once, each
//! start makes it even again. For each thread there is a [`Slot`] with the thread's id and a state word
//! that carries the epoch, so that a stale signal can never answer a later stop:
//!
//! ```text
//!            stopper                    the thread
//!   (empty) ---------> Asked(epoch) ---------------> Stopped(epoch)
//!                           \ the stopper, seeing it gone or blocking the signal
//!                            \--------> Skipped(epoch)
//!   (empty) ---------> Rests(epoch)
//! ```
//!
//! - Only the stopper fills slots and only while it holds `stopper`. Slots are never freed: a handler that comes late
//!   reads type-stable memory and finds an epoch that is not its own.
//! - `captured` is written by the thread between `Asked` and `Stopped` (release) and read by the stopper after it
//!   saw `Stopped` (acquire) and before it makes the epoch even.
//! - The thread waits on the epoch as a futex. Once it has said `Stopped` it never touches its slot again, so the next stop may
//!   begin, and may even give the slot to another thread, while it is still on its way out of this one.
//! - A thread that must not be stopped where it is (inside a critical section, or between the two halves of a context
//!   switch) does not answer. It is signalled again until it has, so nothing depends on a flag being seen.
//! - A thread that [rests](super::rest) is not asked: it stands still already, and stays so.
//! - Those that were there in the last stop are asked before the threads are listed, which takes longer than to ask them: until they are asked they
//!   compute, and may take the stopper's processor from it. Their ids may be others' by now, of this process too: whoever has one is asked as well.
//! - New threads: the list of threads is read again until it holds nobody new, and nobody was unanswered when it was begun. Everybody in it stood
//!   still by then, so nobody was left who could start another. (One who answers while it is read may have started another after that was read.)
//!
//! What the protocol needs of the process is [`System`], so that a schedule explorer can play the process.

use super::futex;
use super::rest::{AWAKE, RESTING, Rest, Rests};
use super::slots::{ASKED, Captured, RESTS, SKIPPED, STOPPED, Slot, Table, state};
use super::threads::{Tid, Unresponsive, keeping_errno};
use crate::atomic::{AtomicPtr, AtomicU32, Ordering::*};
use std::ptr::null_mut;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

#[cfg(all(test, explore))]
mod explore;

/// Threads that the first table has room for. (A model has few, and each step counts.)
const THREADS: usize = if cfg!(explore) { 4 } else { 64 };

/// How long a stop waits for the last answer before it gives up.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// How long before a thread that has not answered is looked up: a look costs a few system calls.
const PROMPT: Duration = Duration::from_millis(20);

/// A stop that has taken so long already is told of.
const LATE: Duration = Duration::from_secs(1);

/// The pause before the first repetition of a signal.
const FIRST_PAUSE: Duration = Duration::from_micros(100);

/// Pauses double up to this.
const LAST_PAUSE: Duration = Duration::from_millis(5);

/// What the stopper asks of the process.
pub(super) trait System {
    /// Time since some moment in the past.
    fn now(&self) -> Duration;
    /// The calling thread.
    fn current(&self) -> Tid;
    /// The process's own number.
    fn number(&self) -> i32;
    /// Calls `each` with every thread there is, the calling one included.
    ///
    /// # Errors
    /// The `errno`, if they cannot be listed.
    fn for_each_thread(&self, each: impl FnMut(Tid)) -> Result<(), i32>;
    /// Has `tid` run [`Rendezvous::asked`] and, unless it must not be stopped where it is, [`Rendezvous::answer`]. False if there is no such thread; but it
    /// may also be lost on one that is about to go.
    fn signal(&self, tid: Tid) -> bool;
    /// Why a thread has not answered.
    fn why_unresponsive(&self, tid: Tid) -> Unresponsive;
    /// Tells of a stop that is [`LATE`], for want of an answer from this thread. Others stand still already. At most once in a stop.
    fn is_late(&self, tid: Tid);
}

/// Why not everybody stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// The threads cannot be listed; the `errno`.
    NoThreadList(i32),
    /// This thread did not answer within [`PATIENCE`].
    Unanswered(Tid),
}

/// The state that stopper and stopped share. Made once, never moved, never dropped.
pub(super) struct Rendezvous {
    epoch: AtomicU32,
    /// Counts answers; the stopper sleeps on it.
    answers: AtomicU32,
    /// Made by the first stop, so that the whole can be a static.
    table: AtomicPtr<Table>,
    rests: Rests,
    stopper: Mutex<()>,
}

/// Evidence that a thread has been asked, by the stop under way, and has not answered.
pub(super) struct Asked<'a> {
    slot: &'a Slot,
    epoch: u32,
}

/// Evidence that every other thread stands still.
pub(super) struct Halted<'a> {
    table: &'a Table,
    epoch: u32,
}

impl Halted<'_> {
    /// Calls `each` with every thread that stands still, and what it had in its registers.
    pub(super) fn for_each(&self, mut each: impl FnMut(Tid, &Captured)) {
        let (stopped, rests) = (state(STOPPED, self.epoch), state(RESTS, self.epoch));
        self.table.for_each(|slot| {
            let now = slot.state.load(Acquire);
            // SAFETY: the slot is in state Stopped of this epoch: the thread has written it and waits. Or in state Rests of this epoch: the stopper has seen the thread resting, and
            // stored where; it rests until the epoch is even.
            let captured = unsafe {
                if now == stopped {
                    &*slot.captured.get()
                } else if now == rests {
                    &*(*slot.rest.load(Relaxed)).captured.get()
                } else {
                    return;
                }
            };
            each(Tid(slot.tid.load(Relaxed)), captured);
        });
    }
}

/// Makes the epoch even again, also when the stop fails or the stopper panics.
struct StartAgain<'a> {
    rendezvous: &'a Rendezvous,
    epoch: u32,
}

impl Drop for StartAgain<'_> {
    fn drop(&mut self) {
        let epoch = &self.rendezvous.epoch;
        epoch.store(self.epoch.wrapping_add(1), SeqCst);
        futex::wake(epoch, usize::MAX);
    }
}

impl Rendezvous {
    pub(super) const fn new() -> Rendezvous {
        Rendezvous {
            epoch: AtomicU32::new(0),
            answers: AtomicU32::new(0),
            table: AtomicPtr::new(null_mut()),
            rests: Rests::new(),
            stopper: Mutex::new(()),
        }
    }

    /// Stops every other thread but those in `exempt`, calls `f`, and starts them again. One stop at a time; others wait
    /// their turn.
    ///
    /// # Errors
    /// The world runs on in every case.
    pub(super) fn stopped<R>(
        &self,
        system: &impl System,
        exempt: &[Tid],
        f: impl FnOnce(&Halted<'_>) -> R,
    ) -> Result<R, Failed> {
        let _one = self.stopper.lock().unwrap_or_else(PoisonError::into_inner);
        let table = self.table();
        let epoch = self.epoch.load(Relaxed).wrapping_add(1);
        #[cfg(explore)]
        if goexplore::planted("who rests is looked for before the epoch is odd") {
            self.note_resting(table, epoch, system.number());
        }
        self.epoch.store(epoch, SeqCst);
        let start = StartAgain {
            rendezvous: self,
            epoch,
        };
        self.note_resting(table, epoch, system.number());
        self.ask_known(table, epoch, system, exempt);
        self.stop_everyone(table, epoch, system, exempt)?;
        let result = f(&Halted { table, epoch });
        drop(start);
        Ok(result)
    }

    /// Stopper only.
    fn table(&self) -> &Table {
        let mut table = self.table.load(Acquire);
        if table.is_null() {
            table = Box::into_raw(Box::new(Table::with_capacity(THREADS)));
            self.table.store(table, Release);
        }
        // SAFETY: published once and never freed.
        unsafe { &*table }
    }

    /// Finds those that rest. (A slot may be taken for one from a thread that was there in the last stop: that one is asked a little later.)
    fn note_resting(&self, table: &Table, epoch: u32, process: i32) {
        for rest in self.rests.resting(process) {
            let slot = table.claim(rest.tid(), epoch);
            slot.rest
                .store(std::ptr::from_ref(rest).cast_mut(), Relaxed);
            slot.state.store(state(RESTS, epoch), Release);
        }
    }

    /// Asks those that were there in the last stop.
    fn ask_known(&self, table: &Table, epoch: u32, system: &impl System, exempt: &[Tid]) {
        let me = system.current();
        let last = u64::from(epoch.wrapping_sub(2));
        table.for_each(|slot| {
            let tid = Tid(slot.tid.load(Relaxed));
            let before = slot.state.load(Relaxed);
            if before >> 8 != last || before == 0 || tid == me || exempt.contains(&tid) {
                return;
            }
            let asked = state(ASKED, epoch);
            slot.state.store(asked, Release);
            if !system.signal(tid) {
                // As if it had not been asked: a new thread may be given the number before all are listed, and may have answered by now.
                #[cfg(not(explore))]
                let gone = before;
                #[cfg(explore)]
                let gone = if goexplore::planted("who is gone counts as stopped") {
                    state(SKIPPED, epoch)
                } else {
                    before
                };
                let _ = slot.state.compare_exchange(asked, gone, AcqRel, Acquire);
            }
        });
    }

    fn stop_everyone(
        &self,
        table: &Table,
        epoch: u32,
        system: &impl System,
        exempt: &[Tid],
    ) -> Result<(), Failed> {
        let me = system.current();
        let begin = system.now();
        let (process, asked) = (system.number(), state(ASKED, epoch));
        let mut pause = FIRST_PAUSE;
        let mut told = false;
        let mut listing = 0;
        loop {
            listing += 1;
            #[cfg(explore)]
            let hasty = listing == 1
                && goexplore::planted("threads are listed while some have not answered");
            #[cfg(not(explore))]
            let hasty = false;
            let answered = hasty || self.wait_for_answers(table, asked, pause);
            let waited = system.now() - begin;
            let mut missing = None;
            let ask = |tid: Tid| {
                if tid == me || exempt.contains(&tid) {
                    return;
                }
                let slot = table.claim(tid, epoch);
                slot.listing.store(listing, Relaxed);
                let now = slot.state.load(Acquire);
                if now >> 8 != u64::from(epoch) {
                    slot.state.store(asked, Release);
                } else if now != asked {
                    return;
                }
                let is_it = |rest: &&Rest| rest.tid() == tid;
                if now == asked
                    && let Some(rest) = self.rests.resting(process).find(is_it)
                {
                    // It came to rest after it was asked, and may be answering: then that counts.
                    slot.rest
                        .store(std::ptr::from_ref(rest).cast_mut(), Relaxed);
                    let rests = state(RESTS, epoch);
                    let _ = slot.state.compare_exchange(asked, rests, AcqRel, Acquire);
                    return;
                }
                if waited > PROMPT && system.why_unresponsive(tid) != Unresponsive::Slow {
                    let skipped = state(SKIPPED, epoch);
                    let _ = slot.state.compare_exchange(asked, skipped, AcqRel, Acquire);
                    return;
                }
                missing = Some(tid);
                system.signal(tid);
            };
            system.for_each_thread(ask).map_err(Failed::NoThreadList)?;
            let Some(tid) = missing else {
                if answered {
                    return Ok(());
                }
                table.for_each(|slot| {
                    if slot.listing.load(Relaxed) != listing {
                        // It has ended. As if it had not been asked, for the sake of who may have its number by now.
                        let _ = slot.state.compare_exchange(asked, 0, AcqRel, Acquire);
                    }
                });
                continue;
            };
            #[cfg(explore)]
            if goexplore::planted("threads are listed once") {
                self.wait_for_answers(table, asked, pause);
                return Ok(());
            }
            if waited > LATE && !std::mem::replace(&mut told, true) {
                system.is_late(tid);
            }
            if waited > PATIENCE {
                return Err(Failed::Unanswered(tid));
            }
            pause = if answered {
                FIRST_PAUSE
            } else {
                (pause * 2).min(LAST_PAUSE)
            };
        }
    }

    /// Waits until nobody asked is unanswered, or `pause` goes by without an answer. True when all have answered.
    fn wait_for_answers(&self, table: &Table, asked: u64, pause: Duration) -> bool {
        loop {
            let answers = self.answers.load(Acquire);
            let mut open = false;
            table.for_each(|slot| open |= slot.state.load(Acquire) == asked);
            if !open {
                return true;
            }
            if !futex::wait(&self.answers, answers, Some(pause)) {
                return false;
            }
        }
    }

    /// The slot of thread `tid`, which is the calling one, if it has been asked to stop and has not answered.
    /// Async-signal-safe.
    pub(super) fn asked(&self, tid: impl FnOnce() -> Tid) -> Option<Asked<'_>> {
        let epoch = self.epoch.load(SeqCst);
        if epoch.is_multiple_of(2) {
            return None;
        }
        // SAFETY: published before the epoch became odd, never freed.
        let table = unsafe { self.table.load(Acquire).as_ref()? };
        let slot = table.find(tid())?;
        (slot.state.load(Acquire) == state(ASKED, epoch)).then_some(Asked { slot, epoch })
    }

    /// Answers, and stands still until the stop is over. Async-signal-safe.
    pub(super) fn answer(&self, Asked { slot, epoch }: Asked<'_>, captured: Captured) {
        // SAFETY: the state is Asked of this epoch and this is the slot's own thread: it alone may write until it says Stopped.
        unsafe { *slot.captured.get() = captured };
        let (asked, stopped) = (state(ASKED, epoch), state(STOPPED, epoch));
        if slot
            .state
            .compare_exchange(asked, stopped, AcqRel, Acquire)
            .is_err()
        {
            return; // skipped meanwhile: the stop may be over
        }
        self.answers.fetch_add(1, Release);
        futex::wake(&self.answers, 1);
        while self.epoch.load(Acquire) == epoch {
            futex::wait(&self.epoch, epoch, None);
        }
    }

    /// A record for the calling context, to [rest](Self::rest) with.
    pub(super) fn take_rest(&self, process: i32) -> &'static Rest {
        self.rests.take(process)
    }

    /// Calls `sleep`. Meanwhile the calling thread, `tid`, counts as standing still; and this returns when no stop is under way that may have seen that.
    ///
    /// # Safety
    /// 1. `rest` is the calling context's.
    /// 2. All that it holds is captured, or lies above the captured stack pointer, and `sleep` leaves that alone. `sleep` waits in the kernel, and does nothing that a stopped thread must not do.
    pub(super) unsafe fn rest<R>(
        &self,
        rest: &Rest,
        tid: impl FnOnce() -> Tid,
        captured: Captured,
        sleep: impl FnOnce() -> R,
    ) -> R {
        /// Also when `sleep` panics.
        struct Wake<'a>(&'a Rendezvous, &'a Rest);
        impl Drop for Wake<'_> {
            fn drop(&mut self) {
                self.0.awake(self.1);
            }
        }
        if rest.state.load(Relaxed) == RESTING {
            return sleep();
        }
        // SAFETY: obligation 1; it is awake, so the stopper does not look.
        unsafe { *rest.captured.get() = captured };
        let tid = tid();
        #[cfg(explore)]
        let tid = match rest.tid() {
            Tid(before)
                if before != 0
                    && goexplore::planted("a record keeps the number of its first thread") =>
            {
                Tid(before)
            }
            _ => tid,
        };
        rest.tid.store(tid.0, Relaxed);
        rest.state.store(RESTING, Release);
        let _wake = Wake(self, rest);
        sleep()
    }

    /// Ends the calling thread's rest, when no stop is under way.
    fn awake(&self, rest: &Rest) {
        loop {
            rest.state.store(AWAKE, SeqCst);
            #[cfg(explore)]
            if goexplore::planted("who wakes does not look at the epoch") {
                return;
            }
            let epoch = self.epoch.load(SeqCst);
            if epoch.is_multiple_of(2) {
                return;
            }
            rest.state.store(RESTING, Release);
            keeping_errno(|| {
                futex::wait(&self.epoch, epoch, None);
            });
        }
    }
}
