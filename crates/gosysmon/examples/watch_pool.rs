//! Watches a plain thread pool for workers that are stuck.
//!
//! Nothing here is a Go scheduler: a worker of the pool stands for a P, a job for a goroutine, and "taking
//! the P" means to report the worker and to put another in its place, so that the queue goes on.
//!
//! Run with `cargo run -p gosysmon --example watch_pool`.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use gosysmon::{Actions, Config, Driver, Nanos, Observation, PObservation, PState, Target, Waker};

type Job = Box<dyn FnOnce() + Send>;

/// What the monitor sees of a worker.
#[derive(Default)]
struct Worker {
    busy: AtomicBool,
    jobs: AtomicU32,
}

struct Pool {
    start: Instant,
    queue: Mutex<mpsc::Receiver<Job>>,
    workers: Vec<Worker>,
    waker: Mutex<Option<Waker>>,
}

impl Pool {
    /// Takes jobs on behalf of worker `index` until the queue is closed, or until it is replaced.
    fn work(&self, index: usize) {
        let worker = &self.workers[index];
        loop {
            let Ok(job) = self
                .queue
                .lock()
                .expect("no job panics with the queue locked")
                .recv()
            else {
                return;
            };
            let number = worker.jobs.fetch_add(1, Ordering::Relaxed) + 1;
            worker.busy.store(true, Ordering::Relaxed);
            if let Some(waker) = &*self.waker.lock().expect("nothing panics here") {
                waker.wake();
            }
            job();
            if worker.jobs.load(Ordering::Relaxed) != number {
                return;
            }
            worker.busy.store(false, Ordering::Relaxed);
        }
    }
}

struct Watched(Arc<Pool>);

impl Target for Watched {
    fn observe(&self, into: &mut Observation) {
        into.now = Nanos(self.0.start.elapsed().as_nanos() as u64);
        into.set_ps(self.0.workers.iter().map(|worker| PObservation {
            state: if worker.busy.load(Ordering::Relaxed) {
                PState::Running
            } else {
                PState::Idle
            },
            tick: worker.jobs.load(Ordering::Relaxed),
            ..PObservation::default()
        }));
    }

    fn act(&self, actions: &Actions) {
        for retake in &actions.retake {
            let worker = &self.0.workers[retake.p.0];
            let next = retake.tick + 1;
            let stuck = worker
                .jobs
                .compare_exchange(retake.tick, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
            if stuck {
                println!(
                    "worker {} is stuck with its job number {}: replaced",
                    retake.p.0, retake.tick
                );
                worker.busy.store(false, Ordering::Relaxed);
                let pool = Arc::clone(&self.0);
                let index = retake.p.0;
                thread::spawn(move || pool.work(index));
            }
        }
    }
}

fn main() {
    let (jobs, queue) = mpsc::channel::<Job>();
    let pool = Arc::new(Pool {
        start: Instant::now(),
        queue: Mutex::new(queue),
        workers: (0..2).map(|_| Worker::default()).collect(),
        waker: Mutex::new(None),
    });
    let config = Config {
        slice: Nanos::millis(50),
        gc_period: None,
        ..Config::default()
    };
    let driver = match Driver::start(config, pool.workers.len(), Watched(Arc::clone(&pool))) {
        Ok(driver) => driver,
        Err(error) => {
            eprintln!("{error}");
            return;
        }
    };
    *pool.waker.lock().expect("nothing panics here") = Some(driver.waker());
    for index in 0..pool.workers.len() {
        let pool = Arc::clone(&pool);
        thread::spawn(move || pool.work(index));
    }

    let (done, results) = mpsc::channel();
    for number in 0..6 {
        let done = done.clone();
        let job = move || {
            // Jobs 0 and 1 take both workers out of the game for a while.
            if number < 2 {
                thread::sleep(Duration::from_millis(300));
            }
            let _ = done.send(number);
        };
        if jobs.send(Box::new(job)).is_err() {
            eprintln!("the pool has closed");
        }
    }
    drop(done);
    for number in results {
        println!(
            "job {number} done after {} ms",
            pool.start.elapsed().as_millis()
        );
    }
}
