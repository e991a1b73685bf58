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
//!            run: job := .., inside := 0       run: has done its own part        the last one out, or run itself
//!   closed ──────────────────────────► open ─────────────────────────► closing ──────────────────────────────► closed
//!                                      │  ▲ inside + 1: a thread enters, and reads the job;  inside - 1: it leaves
//! ```
//!
//! `inside` counts the threads within, with the bit `CLOSED` beside. To enter is one read-modify-write that fails if the bit is set, so whoever is in was
//! counted before it was closed; `run` returns when nothing but the bit is left. So no thread looks at a job that is gone, and while one is in, no other job
//! takes its place. A thread that wakes for one job may enter the next, even before `round` says that there is one: the job has its number with it, and
//! a thread sleeps until there is one with a higher number than the last that it was at. So it is at each job once.

use super::futex;
use super::threads::Tid;
use crate::atomic::{AtomicPtr, AtomicU32, Ordering::*};

#[cfg(all(test, explore))]
mod explore;

/// The round that ends a team.
const OVER: u32 = u32::MAX;

/// Nobody may enter.
const CLOSED: u32 = 1 << 31;

/// A piece of work, as a pointer to a closure and the function that calls it.
struct Job {
    call: unsafe fn(*const ()),
    body: *const (),
    round: u32,
}

impl Job {
    /// What stands in a job's place before the first.
    const NONE: &Job = &Job {
        call: |_| unreachable!("there is no job yet"),
        body: std::ptr::null(),
        round: 0,
    };
}

/// A team of threads that can run one job at a time.
pub struct Team {
    tids: Vec<Tid>,
    shared: &'static Shared,
}

struct Shared {
    job: AtomicPtr<Job>,
    /// The number of the newest job; the threads sleep on it.
    round: AtomicU32,
    /// Threads at the current job, and [`CLOSED`]; the caller sleeps on it.
    inside: AtomicU32,
    /// Threads that have started, while the team is being made.
    started: AtomicU32,
}

impl Team {
    /// A team of `n` threads; fewer, down to none, if the system refuses them.
    pub fn new(n: usize) -> Team {
        let shared: &'static Shared = Box::leak(Box::new(Shared::new()));
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

    /// Runs `body` on the caller and on those threads of the team that come before the caller has done its part, and returns when all have returned.
    ///
    /// The caller sees to it that only one call is made at a time.
    pub fn run<F: Fn() + Sync>(&self, body: &F) {
        self.shared.run(body);
    }
}

impl Drop for Team {
    /// Ends the threads, without waiting for that.
    fn drop(&mut self) {
        self.shared.end();
    }
}

impl Shared {
    fn new() -> Shared {
        Shared {
            job: AtomicPtr::new(std::ptr::from_ref(Job::NONE).cast_mut()),
            round: AtomicU32::new(0),
            inside: AtomicU32::new(CLOSED),
            started: AtomicU32::new(0),
        }
    }

    /// See [`Team::run`].
    fn run<F: Fn() + Sync>(&self, body: &F) {
        unsafe fn call<F: Fn()>(body: *const ()) {
            // SAFETY: `run` keeps the closure alive until every thread that entered has left.
            unsafe { (*body.cast::<F>())() }
        }
        let job = &mut Job {
            call: call::<F>,
            body: std::ptr::from_ref(body).cast(),
            round: self.round.load(Relaxed) + 1,
        };
        // It outlives the planted bugs, which are to be seen by what they do and not by a fault.
        #[cfg(explore)]
        let job = Box::leak(Box::new(Job { ..*job }));
        self.job.store(job, Relaxed);
        self.inside.store(0, Release);
        self.round.fetch_add(1, Release);
        futex::wake(&self.round, usize::MAX);
        body();
        let mut inside = self.inside.fetch_or(CLOSED, AcqRel) | CLOSED;
        while inside != CLOSED {
            futex::wait(&self.inside, inside, None);
            inside = self.inside.load(Acquire);
        }
    }

    /// Ends the threads.
    fn end(&self) {
        self.round.store(OVER, Release);
        futex::wake(&self.round, usize::MAX);
    }

    /// A worker's life.
    fn serve(&self) {
        let mut done = 0;
        loop {
            let round = loop {
                match self.round.load(Acquire) {
                    round if round <= done => futex::wait(&self.round, round, None),
                    round => break round,
                };
            };
            if round == OVER {
                return;
            }
            if !self.enter() {
                done = round;
                continue;
            }
            // SAFETY: this thread is in, so the job is the one that was stored before `inside` was opened, and the caller of `run` waits.
            unsafe {
                let job = &*self.job.load(Relaxed);
                done = job.round;
                (job.call)(job.body);
            }
            if self.inside.fetch_sub(1, AcqRel) == CLOSED + 1 {
                futex::wake(&self.inside, 1);
            }
        }
    }

    /// True if the calling thread is at the job from now on.
    fn enter(&self) -> bool {
        #[cfg(explore)]
        if goexplore::planted("a thread enters a job that is closed") {
            self.inside.fetch_add(1, Acquire);
            return true;
        }
        self.inside
            .fetch_update(Acquire, Relaxed, |inside| {
                (inside & CLOSED == 0).then_some(inside + 1)
            })
            .is_ok()
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
        let members = team.tids().len() + 1;
        for _ in 0..1000 {
            let (ran, left) = (AtomicUsize::new(0), AtomicUsize::new(0));
            team.run(&|| {
                ran.fetch_add(1, Relaxed);
                while ran.load(Relaxed) < 2 {
                    std::hint::spin_loop();
                }
                left.fetch_add(1, Relaxed);
            });
            assert!((2..=members).contains(&ran.load(Relaxed)));
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
        assert!((10_000..=30_000).contains(&ran.into_inner()));
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
