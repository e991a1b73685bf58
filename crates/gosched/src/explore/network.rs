//! Descriptors under a whole scheduler: who polls, what a look in passing finds, what becomes of a batch. Whatever the kernel reports, and to whom, every
//! goroutine that waits for it goes on, and no M sleeps while one is left to be run.
//!
//! Goroutines are threads here, for they wait. The kernel is a word of edges that were not reported yet; how many of them a look gets, and whether a batch is shared,
//! are choices. The argument is in `idle/README.md`.

use super::inline::{Listener, run};
use super::remove;
use crate::atomic::{AtomicBool, AtomicU32, Ordering, thread};
use crate::engine::threads::ThreadEngine;
use crate::env::{Env, Poller, Readiness, StackSpec, Token};
use crate::join::JoinHandle;
use crate::poll::{Direction, Registration};
use crate::sched::{Config, Retake, Scheduler};
use crate::sys;
use crate::time::Nanos;
use goexplore::{Exploration, Plant};
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

/// What makes a sleeper in the poller return though nothing is ready.
const WAKE: u32 = 1 << 31;

/// Edges that were not reported yet, a bit for each descriptor, and [`WAKE`].
#[derive(Default)]
struct Edges {
    word: AtomicU32,
    /// An M has slept in the poller.
    was_awaited: AtomicBool,
    /// Every look gets all of them.
    undivided: AtomicBool,
}

impl Edges {
    fn add(&self, edges: u32) {
        self.word.fetch_or(edges, Ordering::AcqRel);
        sys::futex_wake(&self.word, 1);
    }

    /// Those that one look gets which has room for so many: all, or the last.
    fn take(&self, room: usize) -> u32 {
        let all = self.word.load(Ordering::Acquire) & !WAKE;
        assert!(all.count_ones() as usize <= room, "an edge has no room");
        let last = all & !(all >> 1);
        let divides = all.count_ones() > 1 && !self.undivided.load(Ordering::Relaxed);
        let wanted = match divides && goexplore::choose(2) == 1 {
            true => last,
            false => all,
        };
        self.word.fetch_and(!wanted, Ordering::AcqRel) & wanted
    }
}

struct Kernel(Arc<Edges>);

impl Poller for Kernel {
    fn register(&self, _: RawFd, _: Token) -> io::Result<()> {
        Ok(())
    }

    fn deregister(&self, _: RawFd) -> io::Result<()> {
        Ok(())
    }

    fn wait(&self, timeout: Option<Nanos>, ready: &mut [Readiness]) -> io::Result<usize> {
        let edges = &self.0.word;
        if timeout != Some(Nanos::ZERO) {
            assert_eq!(timeout, None, "there are no timers");
            self.0.was_awaited.store(true, Ordering::Release);
            while edges.load(Ordering::Acquire) == 0 {
                sys::futex_wait(edges, 0, None);
            }
            edges.fetch_and(!WAKE, Ordering::AcqRel);
        }
        let taken = self.0.take(ready.len());
        let each = (0..31).filter(|index| taken & (1 << index) != 0);
        Ok(each
            .zip(ready)
            .map(|(index, place)| {
                *place = Readiness {
                    token: Token(index),
                    readable: true,
                    ..Readiness::NONE
                };
            })
            .count())
    }

    fn wake(&self) {
        self.0.add(WAKE);
    }
}

struct PolledEnv;

impl Env for PolledEnv {
    type Engine = ThreadEngine;
    type Poller = Kernel;
    type Hooks = Listener;
}

/// A scheduler and the kernel under it.
struct Machine {
    scheduler: &'static Scheduler<PolledEnv>,
    edges: Arc<Edges>,
}

fn with_kernel(procs: usize, model: impl FnOnce(&Machine)) {
    let edges = Arc::new(Edges::default());
    let config = Config {
        procs,
        stack: StackSpec::default(),
    };
    let kernel = Kernel(edges.clone());
    let scheduler = Scheduler::new(config, ThreadEngine::new(), kernel, Listener);
    run(scheduler, |scheduler| model(&Machine { scheduler, edges }));
}

/// A descriptor, and whether there is something to be read.
struct Source {
    registration: Registration,
    is_ready: AtomicBool,
}

impl Source {
    fn read(&self) {
        let attempt = || match self.is_ready.swap(false, Ordering::AcqRel) {
            true => Ok(()),
            false => Err(io::ErrorKind::WouldBlock.into()),
        };
        let read = self.registration.io(Direction::Read, None, attempt);
        assert!(read.is_ok(), "the descriptor was not closed");
    }
}

impl Machine {
    /// The descriptors 0 and up, in this order.
    fn sources<const N: usize>(&self) -> [Arc<Source>; N] {
        std::array::from_fn(|_| {
            Arc::new(Source {
                registration: self.scheduler.register(0).unwrap(),
                is_ready: AtomicBool::new(false),
            })
        })
    }

    /// There is something to be read at all of them: one edge for all.
    fn make_ready(&self, sources: &[Arc<Source>]) {
        for source in sources {
            source.is_ready.store(true, Ordering::Release);
        }
        self.edges.add((1 << sources.len()) - 1);
    }

    /// The same, at once or when an M has gone to sleep in the poller.
    fn make_ready_at_some_time(&self, sources: &[Arc<Source>]) {
        let sleeps = goexplore::choose(2) == 1;
        while sleeps && !self.edges.was_awaited.load(Ordering::Acquire) {
            thread::yield_now();
        }
        self.make_ready(sources);
    }

    fn go(&self, body: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
        self.scheduler.spawn(body).unwrap()
    }
}

/// Two goroutines wait for a descriptor each; both become ready at once, before, while or after they wait.
fn two_that_read() {
    with_kernel(2, |machine| {
        let sources: [_; 2] = machine.sources();
        let readers = sources
            .clone()
            .map(|source| machine.go(move || source.read()));
        machine.make_ready_at_some_time(&sources);
        for reader in readers {
            reader.join().unwrap();
        }
    });
}

/// Two goroutines become ready at once. One waits again, the other yields until that has gone on. If their batch was not shared, the first leaves its M to the second, while
/// the other M sleeps since the first one polled: it must be told. (Were one of them reported alone, and only yielded, the other would be the monitor's business.)
fn waiting_again() {
    with_kernel(2, |machine| {
        machine.edges.undivided.store(true, Ordering::Relaxed);
        let sources: [_; 2] = machine.sources();
        let [again, both] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let (its, source, done) = (again.clone(), sources[0].clone(), both.clone());
        let reader = machine.go(move || {
            source.read();
            its.store(true, Ordering::Release);
            source.read();
            done.store(true, Ordering::Release);
        });
        let source = sources[1].clone();
        let busy = machine.go(move || {
            source.read();
            while !both.load(Ordering::Acquire) {
                crate::yield_now();
                thread::yield_now();
            }
        });
        machine.make_ready_at_some_time(&sources);
        while !again.load(Ordering::Acquire) {
            thread::yield_now();
        }
        machine.make_ready(&sources[..1]);
        reader.join().unwrap();
        busy.join().unwrap();
    });
}

/// Two goroutines that become ready with one edge each need the other to have begun. If their batch is not shared, the monitor takes the P of the first.
fn a_batch_that_meets() {
    with_kernel(2, |machine| {
        let sources: [_; 2] = machine.sources();
        let begun = Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
        let readers = [0, 1].map(|me| {
            let (source, begun) = (sources[me].clone(), begun.clone());
            machine.go(move || {
                source.read();
                begun[me].store(true, Ordering::Release);
                while !begun[1 - me].load(Ordering::Acquire) {
                    thread::yield_now();
                }
            })
        });
        machine.make_ready_at_some_time(&sources);
        for reader in readers {
            while !reader.is_finished() {
                let taken = [0, 1].map(|p| machine.scheduler.retake(p) == Retake::Taken);
                if taken == [false; 2] {
                    thread::yield_now();
                }
            }
            reader.join().unwrap();
        }
    });
}

/// The one P is kept by a goroutine that yields and never waits, so that only the monitor looks at descriptors.
fn watched_by_the_monitor() {
    with_kernel(1, |machine| {
        let sources: [_; 1] = machine.sources();
        let source = sources[0].clone();
        let scheduler = machine.scheduler;
        let reader = machine.go(move || source.read());
        let has_read = Arc::new(AtomicBool::new(false));
        let seen = has_read.clone();
        let busy = machine.go(move || {
            while !seen.load(Ordering::Acquire) {
                crate::yield_now();
                thread::yield_now();
            }
        });
        machine.make_ready(&sources);
        while !reader.is_finished() {
            if scheduler.poll_network_if_due(Nanos::ZERO) == 0 {
                thread::yield_now();
            }
        }
        reader.join().unwrap();
        has_read.store(true, Ordering::Release);
        busy.join().unwrap();
    });
}

const NETWORK: &str = "src/sched/network.rs";

#[test]
fn explore_two_that_read() {
    let random = Exploration::random(1).executions(1000);
    random.check("gosched: two descriptors", two_that_read);
    let plants = vec![Plant::named("half of a batch is forgotten")];
    random.catches("gosched: two descriptors", plants, two_that_read);
}

#[test]
fn explore_waiting_again() {
    let random = Exploration::random(2).executions(1000);
    random.check("gosched: waiting again", waiting_again);
    let plants = vec![
        Plant::named("who waits first tells nobody"),
        remove(NETWORK, "network.gate.store(false, Ordering::SeqCst)"),
    ];
    random.catches("gosched: waiting again", plants, waiting_again);
}

#[test]
fn explore_a_batch_that_meets() {
    let random = Exploration::random(3).executions(500);
    random.check("gosched: a batch that meets", a_batch_that_meets);
    let plants = vec![
        Plant::named("half of a batch is forgotten"),
        Plant::named("a P that was taken is not handed on"),
    ];
    random.catches("gosched: a batch that meets", plants, a_batch_that_meets);
}

#[test]
fn explore_the_monitors_look() {
    let random = Exploration::random(4).executions(500);
    random.check("gosched: the monitor's look", watched_by_the_monitor);
    let plants = vec![Plant::named("the monitor looks for nobody")];
    random.catches(
        "gosched: the monitor's look",
        plants,
        watched_by_the_monitor,
    );
}
