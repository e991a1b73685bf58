//! Threads that run while the world stands still: the collector's own.
//!
//! They are made before the first stop, because making a thread takes locks of libc that a stopped thread may hold. They hold no
//! collected object, sleep on a futex between jobs, and are known by id so that a stop leaves them alone.

use super::futex;
use super::threads::Tid;
use crate::atomic::{AtomicPtr, AtomicU32, Ordering::*};

/// The round that ends a team.
const OVER: u32 = u32::MAX;

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
    job: AtomicPtr<Job>,
    /// Counts jobs; the threads sleep on it.
    round: AtomicU32,
    /// Threads that have not finished the current job; the caller sleeps on it.
    busy: AtomicU32,
    /// Threads that have started, while the team is being made.
    started: AtomicU32,
}

impl Team {
    /// A team of `n` threads; fewer, down to none, if the system refuses them.
    pub fn new(n: usize) -> Team {
        let shared: &'static Shared = Box::leak(Box::new(Shared {
            job: AtomicPtr::new(std::ptr::null_mut()),
            round: AtomicU32::new(0),
            busy: AtomicU32::new(0),
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
                    serve(shared);
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

    /// Runs `body` on every thread of the team and on the caller, and returns when all have returned.
    ///
    /// The caller sees to it that only one call is made at a time.
    pub fn run<F: Fn() + Sync>(&self, body: &F) {
        unsafe fn call<F: Fn()>(body: *const ()) {
            // SAFETY: `run` keeps the closure alive until every thread has returned from it.
            unsafe { (*body.cast::<F>())() }
        }
        let mut job = Job {
            call: call::<F>,
            body: std::ptr::from_ref(body).cast(),
        };
        self.shared.busy.store(self.tids.len() as u32, Relaxed);
        self.shared.job.store(&mut job, Relaxed);
        self.shared.round.fetch_add(1, Release);
        futex::wake(&self.shared.round, usize::MAX);
        body();
        loop {
            let busy = self.shared.busy.load(Acquire);
            if busy == 0 {
                return;
            }
            futex::wait(&self.shared.busy, busy, None);
        }
    }
}

impl Drop for Team {
    /// Ends the threads, without waiting for that.
    fn drop(&mut self) {
        self.shared.round.store(OVER, Release);
        futex::wake(&self.shared.round, usize::MAX);
    }
}

/// A worker's life.
fn serve(shared: &Shared) {
    let mut done = 0;
    loop {
        let round = loop {
            match shared.round.load(Acquire) {
                round if round == done => futex::wait(&shared.round, done, None),
                round => break round,
            };
        };
        if round == OVER {
            return;
        }
        done = round;
        // SAFETY: the round was announced after the job was stored, and the caller of `run` waits until `busy` is 0.
        unsafe {
            let job = &*shared.job.load(Relaxed);
            (job.call)(job.body);
        }
        if shared.busy.fetch_sub(1, AcqRel) == 1 {
            futex::wake(&shared.busy, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::threads::{Unresponsive, why_unresponsive};
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn everyone_runs_every_job_once() {
        let team = Team::new(3);
        let members = team.tids().len() + 1;
        for _ in 0..1000 {
            let ran = AtomicUsize::new(0);
            team.run(&|| {
                ran.fetch_add(1, Relaxed);
            });
            assert_eq!(ran.load(Relaxed), members);
        }
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
