//! Stops under the schedule explorer, which plays the process: threads that can be signalled at any step, are in critical sections, start
//! others, and end.

use super::*;
use goexplore::sync::Guarded;
use goexplore::{Exploration, Plant, Site, atomic, thread};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Threads at most, the stopper included, which is number 0.
const THREADS: usize = 3;

struct Process {
    rendezvous: Rendezvous,
    /// Threads that the kernel would list, a bit each.
    alive: atomic::AtomicU32,
    signalled: [atomic::AtomicBool; THREADS],
    /// What threads change while the world runs, and the stopper while it does not.
    data: Guarded<u32>,
    /// In whose hands the data is: of threads with numbers above 0, which share it in turn.
    turn: [Guarded<u32>; THREADS],
    /// Moves at each look. Of no interest to the explorer.
    clock: AtomicU64,
}

impl System for &Process {
    fn now(&self) -> Duration {
        Duration::from_millis(self.clock.fetch_add(15, Ordering::Relaxed))
    }

    fn current(&self) -> Tid {
        Tid(1)
    }

    fn number(&self) -> i32 {
        1
    }

    fn for_each_thread(&self, mut each: impl FnMut(Tid)) -> Result<(), i32> {
        let alive = self.alive.load(SeqCst);
        (0..THREADS)
            .filter(|n| alive & 1 << n != 0)
            .for_each(|n| each(Tid(n as i32 + 1)));
        Ok(())
    }

    fn signal(&self, tid: Tid) -> bool {
        self.signalled[tid.0 as usize - 1].store(true, SeqCst);
        self.alive.load(SeqCst) & 1 << (tid.0 - 1) != 0
    }

    fn why_unresponsive(&self, tid: Tid) -> Unresponsive {
        if self.alive.load(SeqCst) & 1 << (tid.0 - 1) == 0 {
            Unresponsive::Gone
        } else {
            Unresponsive::Slow
        }
    }

    fn is_late(&self, _: Tid) {}
}

impl Process {
    fn new(alive: u32) -> Arc<Process> {
        Arc::new(Process {
            rendezvous: Rendezvous::new(),
            alive: atomic::AtomicU32::new(alive),
            signalled: [const { atomic::AtomicBool::new(false) }; THREADS],
            data: Guarded::new(0),
            turn: [const { Guarded::new(0) }; THREADS],
            clock: AtomicU64::new(0),
        })
    }

    /// The thread's next instruction: the signal's handler runs before it, if there is one. True if a stop was put off.
    fn step(&self, me: usize, critical: bool) -> bool {
        if !self.signalled[me].swap(false, SeqCst) {
            return false;
        }
        let Some(asked) = self.rendezvous.asked(|| Tid(me as i32 + 1)) else {
            return false;
        };
        if critical {
            return true;
        }
        self.answer(me, asked);
        false
    }

    fn captured(me: usize) -> Captured {
        Captured {
            sp: 100 + me,
            ..Captured::NONE
        }
    }

    fn answer(&self, me: usize, asked: Asked<'_>) {
        self.rendezvous.answer(asked, Process::captured(me));
    }

    /// Rests while `sleep` runs.
    fn rest(&self, me: usize, sleep: impl FnOnce()) {
        let rest = self.rendezvous.take_rest(1);
        let tid = || Tid(me as i32 + 1);
        // SAFETY: it is this thread's, and what is captured is the thread's.
        unsafe {
            self.rendezvous
                .rest(rest, tid, Process::captured(me), sleep)
        };
        rest.give_back();
    }

    /// Changes what is this thread's. It must not do so while the world is stopped.
    fn work(&self, me: usize) {
        // SAFETY: whether nobody else has it is what is explored.
        unsafe { self.turn[me].with_mut(|n| *n += 1) };
    }

    fn mutate(&self, me: usize) {
        self.step(me, false);
        self.work(me);
        // A critical section: a stop asked for in it happens at its end.
        let put_off = self.step(me, true);
        self.work(me);
        if put_off && let Some(asked) = self.rendezvous.asked(|| Tid(me as i32 + 1)) {
            self.answer(me, asked);
        }
        self.work(me);
        self.step(me, false);
    }

    fn end(&self, me: usize) {
        self.alive.fetch_and(!(1 << me), SeqCst);
    }

    /// Stops the world, looks at what everybody has, and counts who answered.
    fn stop(&self) -> usize {
        self.rendezvous
            .stopped(&self, &[], |halted| {
                let mut answered = 0;
                halted.for_each(|_, captured| {
                    let thread = captured.sp - 100;
                    // SAFETY: the thread stands still: that is what is explored.
                    unsafe { self.turn[thread].with_mut(|n| *n += 1) };
                    answered += 1;
                });
                // Whoever is alive has answered.
                let alive = self.alive.load(SeqCst);
                assert!(
                    answered as u32 >= (alive & !1).count_ones(),
                    "somebody alive was not stopped"
                );
                // SAFETY: as above.
                unsafe { self.data.with_mut(|n| *n += 1) };
                answered
            })
            .unwrap()
    }
}

/// Two stops, and a thread that works until it ends.
fn two_stops() {
    let process = Process::new(0b11);
    let theirs = process.clone();
    let thread = thread::spawn(move || {
        theirs.mutate(1);
        theirs.end(1);
    });
    process.stop();
    process.stop();
    thread.join().unwrap();
}

/// A thread that starts another one while it is being stopped, for the first or the second time.
fn a_birth() {
    let process = Process::new(0b11);
    let theirs = process.clone();
    let thread = thread::spawn(move || {
        theirs.step(1, false);
        theirs.alive.fetch_or(0b100, SeqCst);
        let child = theirs.clone();
        let child = thread::spawn(move || {
            child.work(2);
            child.step(2, false);
            child.work(2);
            child.end(2);
        });
        theirs.step(1, false);
        theirs.end(1);
        child
    });
    process.stop();
    process.stop();
    thread.join().unwrap().join().unwrap();
}

/// A thread ends between two stops, and another one gets its number while the second is under way.
fn a_number_used_again() {
    let process = Process::new(0b111);
    let first = process.clone();
    let first = thread::spawn(move || {
        first.step(1, false);
        first.end(1);
    });
    let parent = process.clone();
    let parent = thread::spawn(move || {
        parent.step(2, false);
        let child = (parent.alive.load(SeqCst) & 0b10 == 0).then(|| {
            // What was meant for the one before is gone with it.
            parent.signalled[1].store(false, SeqCst);
            parent.alive.fetch_or(0b10, SeqCst);
            let child = parent.clone();
            thread::spawn(move || {
                child.work(1);
                child.step(1, false);
                child.work(1);
                child.end(1);
            })
        });
        parent.step(2, false);
        parent.end(2);
        child
    });
    process.stop();
    process.stop();
    first.join().unwrap();
    if let Some(child) = parent.join().unwrap() {
        child.join().unwrap();
    }
}

/// Two stops, and a thread that rests between two pieces of work, twice: before the first stop, in them, or between them.
fn a_rest() {
    let process = Process::new(0b11);
    let theirs = process.clone();
    let thread = thread::spawn(move || {
        theirs.work(1);
        theirs.rest(1, || _ = theirs.step(1, false));
        theirs.work(1);
        theirs.rest(1, || _ = theirs.step(1, false));
        theirs.work(1);
        theirs.end(1);
    });
    process.stop();
    process.stop();
    thread.join().unwrap();
}

/// A record is used again by a thread that sleeps through the stop, while the one that had it before works.
fn a_record_used_again() {
    let process = Process::new(0b111);
    let asleep = Arc::new(atomic::AtomicU32::new(0));
    let theirs = (process.clone(), asleep.clone());
    let first = thread::spawn(move || {
        let (process, asleep) = theirs;
        process.rest(1, || ());
        let child = process.clone();
        let second = thread::spawn(move || {
            child.rest(2, || {
                asleep.store(1, SeqCst);
                let word: &atomic::AtomicU32 = &asleep;
                futex::wake(word, usize::MAX);
                while asleep.load(SeqCst) == 1 {
                    futex::wait(&asleep, 1, None);
                }
            });
            child.end(2);
        });
        process.step(1, false);
        process.work(1);
        process.end(1);
        second
    });
    while asleep.load(SeqCst) == 0 {
        futex::wait(&asleep, 0, None);
    }
    process.stop();
    asleep.store(2, SeqCst);
    let word: &atomic::AtomicU32 = &asleep;
    futex::wake(word, usize::MAX);
    first.join().unwrap().join().unwrap();
}

fn site(snippet: &str) -> Site {
    Site::find(
        env!("CARGO_MANIFEST_DIR"),
        "src/world/rendezvous.rs",
        snippet,
    )
}

#[test]
fn explore_two_stops() {
    let exploration = Exploration::exhaustive().preemptions(2);
    exploration.check("goruntime: two stops", two_stops);
    let plants = vec![
        Plant::weaken(site(
            "slot\n            .state\n            .compare_exchange(asked, stopped, AcqRel, Acquire)",
        )),
        Plant::weaken(site("while self.epoch.load(Acquire) == epoch")),
        Plant::weaken(site("epoch.store(self.epoch.wrapping_add(1), SeqCst);")),
        Plant::remove(site("futex::wake(epoch, usize::MAX);")),
    ];
    exploration.catches("goruntime: two stops", plants, two_stops);
}

#[test]
fn explore_a_birth_during_a_stop() {
    let exploration = Exploration::exhaustive().preemptions(2).stale_reads(0);
    exploration.check("goruntime: a birth during a stop", a_birth);
    let plants = [
        "threads are listed once",
        "threads are listed while some have not answered",
    ];
    let plants = plants.map(Plant::named).into();
    exploration.catches("goruntime: a birth during a stop", plants, a_birth);
}

#[test]
fn explore_a_number_used_again() {
    let exploration = Exploration::exhaustive().preemptions(1).stale_reads(0);
    exploration.check("goruntime: a number used again", a_number_used_again);
    let gone = Plant::named("who is gone counts as stopped");
    exploration.catches(
        "goruntime: a number used again",
        vec![gone],
        a_number_used_again,
    );
}

#[test]
fn explore_a_rest() {
    let exploration = Exploration::exhaustive().preemptions(2);
    exploration.check("goruntime: a rest", a_rest);
    let plants = vec![
        Plant::weaken(site("rest.state.store(AWAKE, SeqCst);")),
        Plant::weaken(site(
            "let epoch = self.epoch.load(SeqCst);\n            if epoch.is_multiple_of(2) {\n                return;",
        )),
        Plant::weaken(site(
            "rest.state.store(RESTING, Release);\n        let _wake",
        )),
        Plant::named("who wakes does not look at the epoch"),
        Plant::named("who rests is looked for before the epoch is odd"),
    ];
    exploration.catches("goruntime: a rest", plants, a_rest);
}

#[test]
fn explore_a_record_used_again() {
    let exploration = Exploration::exhaustive().preemptions(1).stale_reads(0);
    exploration.check("goruntime: a record used again", a_record_used_again);
    let plant = "a record keeps the number of its first thread";
    exploration.catches(
        "goruntime: a record used again",
        vec![Plant::named(plant)],
        a_record_used_again,
    );
}
