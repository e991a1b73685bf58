//! What interpreters share: the heap, the world, the collector, symbols, threads, and where output goes.
//!
//! It is written against [`Collector`] alone, and used as a type parameter; [`Method`](crate::Method) chooses one.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use gogc::{Bytes, Collector, Reason};

use crate::heap::Heap;
use crate::value::Value;
use crate::world::World;

/// A collector that interpreters can have.
pub trait Gc: Collector<Error = Infallible> + Send + Sync + 'static {}

impl<G: Collector<Error = Infallible> + Send + Sync + 'static> Gc for G {}

/// Who collects, and when.
pub enum Collecting<G> {
    /// A thread of its own, beside the interpreters, when the collector says that it is time.
    InBackground,
    /// The interpreter that notices that it is time.
    InTurn,
    /// Torture: every interpreter before each instruction that may allocate, by this function.
    AtEachAllocation(fn(&G)),
    /// Torture: a thread of its own, by this function, again and again.
    AllTheTime(fn(&G)),
}

/// How a thread ended.
pub type Ended = Result<(), String>;

#[derive(Default)]
struct Threads {
    last: u64,
    /// Of those that nobody has waited for.
    ended: HashMap<u64, Option<Ended>>,
}

/// What the background thread is asked for.
#[derive(Default)]
struct Requests {
    collect: bool,
    end: bool,
}

/// What interpreters share.
pub struct Runtime<G: Gc> {
    /// The collector.
    pub gc: G,
    /// Its heap.
    pub heap: Heap,
    /// Its world.
    pub world: World,
    /// Who collects.
    pub collecting: Collecting<G>,
    /// Values that an interpreter's stack has room for.
    pub stack: usize,
    symbols: Mutex<HashMap<Box<str>, Value>>,
    output: Mutex<Box<dyn Write + Send>>,
    threads: Mutex<Threads>,
    thread_ended: Condvar,
    requests: Mutex<Requests>,
    requested: Condvar,
    /// Calls of `(tick)`: what a program says that it has done.
    ticks: AtomicU64,
    is_over: AtomicBool,
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<G: Gc> Runtime<G> {
    /// With the collector `gc` of this heap and world.
    pub fn new(
        (gc, heap, world): (G, Heap, World),
        collecting: Collecting<G>,
        stack: usize,
        output: Box<dyn Write + Send>,
    ) -> Arc<Runtime<G>> {
        Arc::new(Runtime {
            gc,
            heap,
            world,
            collecting,
            stack,
            symbols: Mutex::default(),
            output: Mutex::new(output),
            threads: Mutex::default(),
            thread_ended: Condvar::new(),
            requests: Mutex::default(),
            requested: Condvar::new(),
            ticks: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        })
    }

    /// Runs `f` with the background thread, if there is to be one.
    pub fn run<R>(self: &Arc<Self>, f: impl FnOnce() -> R) -> R {
        std::thread::scope(|scope| {
            match self.collecting {
                Collecting::InBackground => {
                    scope.spawn(|| self.collect_on_request());
                }
                Collecting::AllTheTime(collect) => {
                    scope.spawn(move || {
                        while !self.is_over.load(Ordering::Relaxed) {
                            collect(&self.gc);
                        }
                    });
                }
                Collecting::InTurn | Collecting::AtEachAllocation(_) => {}
            }
            let result = f();
            self.is_over.store(true, Ordering::Relaxed);
            lock(&self.requests).end = true;
            self.requested.notify_all();
            result
        })
    }

    fn collect_on_request(&self) {
        loop {
            let mut requests = lock(&self.requests);
            while !requests.collect && !requests.end {
                requests = self
                    .requested
                    .wait(requests)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            if requests.end {
                return;
            }
            requests.collect = false;
            drop(requests);
            let Ok(cycle) = self.gc.collect_if_due();
            while cycle.is_some() && !self.gc.sweep(Bytes::mib(1)).done {}
        }
    }

    /// Has the background thread look whether it is time.
    pub fn request_collection(&self) {
        lock(&self.requests).collect = true;
        self.requested.notify_all();
    }

    /// Collects everything that can be. The caller is away.
    pub fn collect_now(&self) {
        let Ok(_) = self.gc.collect(Reason::Forced);
    }

    /// The symbol of this name, made by `make` if there is none.
    pub fn symbol<E>(
        &self,
        name: &str,
        make: impl FnOnce() -> Result<Value, E>,
    ) -> Result<Value, E> {
        let mut symbols = lock(&self.symbols);
        if let Some(symbol) = symbols.get(name) {
            return Ok(*symbol);
        }
        let symbol = make()?;
        self.world.add_symbol(symbol);
        symbols.insert(name.into(), symbol);
        Ok(symbol)
    }

    /// Prints.
    ///
    /// # Errors
    /// If nobody takes it.
    pub fn print(&self, text: &str) -> std::io::Result<()> {
        let mut output = lock(&self.output);
        output.write_all(text.as_bytes())?;
        output.flush()
    }

    /// Counts a piece of work that a program has done.
    pub fn tick(&self) {
        self.ticks.fetch_add(1, Ordering::Relaxed);
    }

    /// The pieces of work so far.
    pub fn ticks(&self) -> u64 {
        self.ticks.load(Ordering::Relaxed)
    }

    /// A number for a thread that begins.
    pub fn thread_begins(&self) -> u64 {
        let mut threads = lock(&self.threads);
        threads.last += 1;
        let number = threads.last;
        threads.ended.insert(number, None);
        number
    }

    /// The thread has ended.
    pub fn thread_ends(&self, number: u64, ended: Ended) {
        lock(&self.threads).ended.insert(number, Some(ended));
        self.thread_ended.notify_all();
    }

    /// Waits until the thread has ended; `None` if there is no such thread, or somebody has waited for it. The caller is away.
    pub fn wait_for_thread(&self, number: u64) -> Option<Ended> {
        let mut threads = lock(&self.threads);
        loop {
            if threads.ended.get(&number)?.is_some() {
                return threads.ended.remove(&number)?;
            }
            threads = self
                .thread_ended
                .wait(threads)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until all threads have ended.
    pub fn wait_for_all_threads(&self) {
        let mut threads = lock(&self.threads);
        while threads.ended.values().any(Option::is_none) {
            threads = self
                .thread_ended
                .wait(threads)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}
