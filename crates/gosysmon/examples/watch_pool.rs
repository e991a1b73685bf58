//! Watches a plain thread pool: workers that are stuck are replaced, jobs that do not end are reported, and a pool that has gone quiet is trimmed.
//!
//! Nothing here is a Go scheduler. What the monitor calls a P is a place at the queue here, of which there are two; a goroutine is a job, and "taking the P" means to put another
//! thread in the place of one that is stuck. What it calls a collection is what a pool does when nothing has happened for a while: it lets threads go.
//!
//! Run with `cargo run -p gosysmon --example watch_pool`.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use gosysmon::{
    Actions, Config, Driver, Nanos, Observation, PObservation, PState, Stall, Target, Task, Tasks,
    Waker,
};

/// Places at the queue: jobs that get on at the same time.
const PLACES: usize = 2;

type Body = Box<dyn FnOnce() + Send>;

struct Job {
    name: &'static str,
    body: Body,
}

/// A job that a thread is at.
struct Running {
    name: &'static str,
    number: u32,
    /// The place that it holds; none when it has been taken.
    place: Option<usize>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    running: Vec<Running>,
    /// Jobs begun.
    begun: u32,
    /// When a job last ended.
    ended: Nanos,
    /// Threads that wait for a job, and how many of them are to go.
    waiting: usize,
    surplus: usize,
}

impl State {
    fn free_place(&self) -> Option<usize> {
        let is_held = |place| self.running.iter().any(|job| job.place == Some(place));
        (0..PLACES).find(|&place| !is_held(place))
    }
}

struct Pool {
    start: Instant,
    state: Mutex<State>,
    changed: Condvar,
    waker: OnceLock<Waker>,
}

impl Pool {
    fn now(&self) -> Nanos {
        Nanos(self.start.elapsed().as_nanos() as u64)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, what: &str) {
        println!("{:>5} ms  {what}", self.start.elapsed().as_millis());
    }

    fn submit(self: &Arc<Pool>, name: &'static str, body: impl FnOnce() + Send + 'static) {
        let mut state = self.lock();
        let body = Box::new(body);
        state.queue.push_back(Job { name, body });
        self.see_to_a_thread(&mut state);
    }

    /// There is a thread for the next job, if there is a place for it.
    fn see_to_a_thread(self: &Arc<Pool>, state: &mut State) {
        if state.queue.is_empty() || state.free_place().is_none() {
            return;
        }
        if state.waiting > 0 {
            return self.changed.notify_one();
        }
        let pool = Arc::clone(self);
        thread::spawn(move || pool.work());
    }

    /// A thread's life.
    fn work(self: &Arc<Pool>) {
        let mut state = self.lock();
        loop {
            let place = state.free_place();
            let Some((place, job)) = place.and_then(|at| Some((at, state.queue.pop_front()?)))
            else {
                state.waiting += 1;
                state = self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                state.waiting -= 1;
                if state.surplus > 0 {
                    state.surplus -= 1;
                    return;
                }
                continue;
            };
            state.begun += 1;
            let number = state.begun;
            state.running.push(Running {
                name: job.name,
                number,
                place: Some(place),
            });
            self.see_to_a_thread(&mut state);
            drop(state);
            if let Some(waker) = self.waker.get() {
                waker.wake();
            }
            (job.body)();
            state = self.lock();
            state.running.retain(|job| job.number != number);
            state.ended = self.now();
            self.say(&format!("{} has ended", job.name));
        }
    }
}

struct Watched(Arc<Pool>);

impl Target for Watched {
    fn observe(&self, into: &mut Observation) {
        let state = self.0.lock();
        into.now = self.0.now();
        into.last_gc = state.ended;
        into.gc_possible = true;
        into.set_ps((0..PLACES).map(|place| {
            let job = state.running.iter().find(|job| job.place == Some(place));
            PObservation {
                state: job.map_or(PState::Idle, |_| PState::Running),
                tick: job.map_or(0, |job| job.number),
                has_work: !state.queue.is_empty(),
                ..PObservation::default()
            }
        }));
    }

    fn act(&self, actions: &Actions) {
        let mut state = self.0.lock();
        for retake in &actions.retake {
            // The job may have ended since it was seen.
            let held = (Some(retake.p.0), retake.tick);
            let stuck = state
                .running
                .iter_mut()
                .find(|job| (job.place, job.number) == held);
            if let Some(job) = stuck {
                job.place = None;
                self.0
                    .say(&format!("{} holds its place for too long: taken", job.name));
                self.0.see_to_a_thread(&mut state);
            }
        }
        if actions.force_gc && state.waiting > 0 {
            self.0
                .say(&format!("quiet: {} threads are let go", state.waiting));
            state.surplus = state.waiting;
            state.ended = self.0.now();
            self.0.changed.notify_all();
        }
    }

    fn tasks(&self, into: &mut Tasks) {
        for job in &self.0.lock().running {
            into.push(Task {
                worker: job.number,
                task: u64::from(job.number),
                stamp: 0,
            });
        }
    }

    fn stalled(&self, stalls: &[Stall]) {
        let state = self.0.lock();
        for stall in stalls {
            let number = stall.task.worker;
            let job = state.running.iter().find(|job| job.number == number);
            let name = job.map_or("a job that has just ended", |job| job.name);
            let lasted = stall.lasted.0 / 1_000_000;
            self.0
                .say(&format!("{name} does not end: {lasted} ms so far"));
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pool = Arc::new(Pool {
        start: Instant::now(),
        state: Mutex::default(),
        changed: Condvar::new(),
        waker: OnceLock::new(),
    });
    let config = Config {
        slice: Nanos::millis(50),
        stall: Some(Nanos::millis(200)),
        gc_period: Some(Nanos::millis(500)),
        ..Config::default()
    };
    let driver = Driver::start(config, PLACES, Watched(Arc::clone(&pool)))?;
    pool.waker.get_or_init(|| driver.waker());

    // Two jobs take both places out of the game for a while; the others go on nevertheless.
    pool.submit("a slow job", || thread::sleep(Duration::from_millis(120)));
    pool.submit("a stuck job", || thread::sleep(Duration::from_millis(400)));
    for name in ["the first", "the second", "the third"] {
        pool.submit(name, || {});
    }
    thread::sleep(Duration::from_millis(1500));
    Ok(())
}
