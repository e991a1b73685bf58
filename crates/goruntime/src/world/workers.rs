//! Threads that run while the world stands still: the collector's own.
//!
//! They are made before the first stop, because making a thread takes locks of libc that a stopped thread may hold. They hold no
//! collected object, sleep on a futex between jobs, and are known by id so that a stop leaves them alone.
//!
//! # Who comes late is not waited for
//!
//! A job is open to the threads until the caller has come back from it. On a busy machine a thread may get its processor only then, and a job may be
//! over in microseconds: to wait for everybody would make it as long as a turn of somebody else's.
//!
//! ```text
//!            open: inside := 0, round + 1         close: inside | CLOSED          the last one out
//!   closed ─────────────────────────────► open ──────────────────────────► closing ───────────────► closed
//!                                         │ ▲ a thread enters: inside + 1; it leaves: inside - 1
//! ```
//!
//! `inside` counts the threads within, with the bit `CLOSED` beside. To enter is one read-modify-write that fails if the bit is set, so whoever is in was
//! counted before it was closed; closing ends when nothing but the bit is left. So no thread looks at a job that is gone, and while one is in, no other job
//! takes its place. A thread that wakes for one job may enter the next, and then once more: a body may be run twice by a thread, one time after the other.

use super::futex;
use super::threads::Tid;
use crate::atomic::{AtomicPtr, AtomicU32, Ordering::*};

#[cfg(all(test, explore))]
mod explore;

/// The round that ends a team.
const OVER: u32 = u32::MAX;

/// Nobody may enter.
const CLOSED: u32 = 1 << 31;

/// Where threads go in and out; see the head of the file.
struct Gate {
    /// Counts openings; the threads sleep on it.
    round: AtomicU32,
    /// Threads inside, and [`CLOSED`]; who closes sleeps on it.
    inside: AtomicU32,
}

impl Gate {
    fn new() -> Gate {
        Gate {
            round: AtomicU32::new(0),
            inside: AtomicU32::new(CLOSED),
        }
    }

    /// Threads may enter, and see what was done before.
    fn open(&self) {
        self.inside.store(0, Release);
        self.round.fetch_add(1, Release);
        futex::wake(&self.round, usize::MAX);
    }

    /// Returns when nobody is inside any more, nor can be.
    fn close(&self) {
        let mut inside = self.inside.fetch_or(CLOSED, AcqRel) | CLOSED;
        while inside != CLOSED {
            futex::wait(&self.inside, inside, None);
            inside = self.inside.load(Acquire);
        }
    }

    /// Sends the threads home.
    fn end(&self) {
        self.round.store(OVER, Release);
        futex::wake(&self.round, usize::MAX);
    }

    /// Waits until it is opened again after the opening numbered `done`, and enters. False if there is none any more.
    fn enter(&self, done: &mut u32) -> bool {
        loop {
            let round = self.round.load(Acquire);
            if round == OVER {
                return false;
            }
            if round == *done {
                futex::wait(&self.round, round, None);
                continue;
            }
            *done = round;
            let entered = self.inside.fetch_update(Acquire, Relaxed, |inside| {
                #[cfg(explore)]
                if goexplore::planted("a thread enters what is closed") {
                    return Some(inside + 1);
                }
                (inside & CLOSED == 0).then_some(inside + 1)
            });
            if entered.is_ok() {
                return true;
            }
        }
    }

    fn leave(&self) {
        if self.inside.fetch_sub(1, AcqRel) == CLOSED + 1 {
            futex::wake(&self.inside, 1);
        }
    }
}

/// A piece of work, as a pointer to a closure and the function that calls it.
struct Job {
    call: unsafe fn(*const ()),
    body: *const (),
}

/// A team of threads that can run one job at a time.
pub struct Team {
    tids: Vec<Tid>,
    shared: &'static Shared,
}

struct Shared {
    /// Looked at inside the gate only.
    job: AtomicPtr<Job>,
    gate: Gate,
    /// Threads that have started, while the team is being made.
    started: AtomicU32,
}

impl Team {
    /// A team of `n` threads; fewer, down to none, if the system refuses them.
    pub fn new(n: usize) -> Team {
        let shared: &'static Shared = Box::leak(Box::new(Shared {
            job: AtomicPtr::new(std::ptr::null_mut()),
            gate: Gate::new(),
            started: AtomicU32::new(0),
        }));
        let (send, receive) = std::sync::mpsc::channel();
        for _ in 0..n {
            let send = send.clone();
            let made = std::thread::Builder::new()
                .name("gc-worker".into())
                .stack_size(256 << 10)
                .spawn(move || {
                    let _ = send.send(Tid::current());
                    drop(send);
                    shared.started.fetch_add(1, Release);
                    shared.serve();
                });
            if made.is_err() {
                break;
            }
        }
        drop(send);
        let tids: Vec<Tid> = receive.iter().collect();
        // Only then does no worker run code outside of `serve`.
        while shared.started.load(Acquire) != tids.len() as u32 {
            std::thread::yield_now();
        }
        Team { tids, shared }
    }

    /// The threads' ids.
    pub fn tids(&self) -> &[Tid] {
        &self.tids
    }

    /// Runs `body` on the caller and on those threads of the team that come before the caller has done its part, on some perhaps a second time when they have returned from
    /// it; and returns when all have returned.
    ///
    /// The caller sees to it that only one call is made at a time.
    pub fn run<F: Fn() + Sync>(&self, body: &F) {
        self.shared.run(body);
    }
}

impl Drop for Team {
    /// Ends the threads, without waiting for that.
    fn drop(&mut self) {
        self.shared.gate.end();
    }
}

impl Shared {
    /// See [`Team::run`].
    fn run<F: Fn() + Sync>(&self, body: &F) {
        unsafe fn call<F: Fn()>(body: *const ()) {
            // SAFETY: `run` keeps the closure alive until nobody is inside the gate.
            unsafe { (*body.cast::<F>())() }
        }
        let mut job = Job {
            call: call::<F>,
            body: std::ptr::from_ref(body).cast(),
        };
        self.job.store(&mut job, Relaxed);
        self.gate.open();
        body();
        self.gate.close();
    }

    /// A worker's life.
    fn serve(&self) {
        let mut done = 0;
        while self.gate.enter(&mut done) {
            // SAFETY: inside the gate, so the job is the one that was stored before it was opened, and the caller of `run` waits.
            unsafe {
                let job = &*self.job.load(Relaxed);
                (job.call)(job.body);
            }
            self.gate.leave();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::threads::{Unresponsive, why_unresponsive};
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn whoever_comes_in_time_runs_a_job() {
        let team = Team::new(3);
        for _ in 0..1000 {
            let (ran, left) = (AtomicUsize::new(0), AtomicUsize::new(0));
            team.run(&|| {
                ran.fetch_add(1, Relaxed);
                while ran.load(Relaxed) < 2 {
                    std::hint::spin_loop();
                }
                left.fetch_add(1, Relaxed);
            });
            assert_eq!(ran.into_inner(), left.into_inner(), "somebody is still in");
        }
    }

    #[test]
    fn a_job_is_over_when_those_who_came_have_left() {
        let team = Team::new(2);
        let ran = AtomicUsize::new(0);
        for _ in 0..10_000 {
            team.run(&|| {
                ran.fetch_add(1, Relaxed);
            });
        }
        assert!(ran.into_inner() >= 10_000);
    }

    #[test]
    fn the_threads_end_with_the_team() {
        let team = Team::new(2);
        team.run(&|| ());
        let tids = team.tids().to_vec();
        assert!(!tids.is_empty());
        drop(team);
        let begin = std::time::Instant::now();
        let gone = |&tid: &Tid| why_unresponsive(tid, libc::SIGURG) == Unresponsive::Gone;
        while !tids.iter().all(gone) {
            assert!(begin.elapsed().as_secs() < 10, "a worker lives on");
            std::thread::yield_now();
        }
    }
}
