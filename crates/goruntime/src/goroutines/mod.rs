//! What every goroutine is doing: its state and its calls, whether it runs, waits, or is in a system call.
//!
//! The world is stopped for the walk, for some ten microseconds and a few more for each goroutine; names are looked up when it runs again.
//! [`leaked`] finds those that nobody can wake any more, and [`release_stacks`] gives back what those that wait for long do not need of their stacks.
//! `SIGQUIT` prints all of it and ends the program, as it does with Go; a goroutine that does not get on is reported with its calls ([`Stall`]), and so is who holds the lock that it waits for.
//!
//! Invariant: while the world stands still nothing is allocated, for a stopped thread may be inside the allocator if that is not gomem. So there is room
//! for a batch of goroutines, and the world is stopped again for the next batch.

mod leaks;
mod locks;
mod panics;
mod release;
mod reporter;
mod stalls;
pub(crate) mod symbol_table;
pub(crate) mod symbols;
pub(crate) mod unwind;

pub use leaks::leaked;
pub(crate) use panics::report_panics;
pub use release::release_stacks;
pub(crate) use reporter::{is_report_handler, look_at_locks, start as start_reporter};
pub use stalls::{Cause, Stall, on_stall};
pub(crate) use stalls::{count as stall_count, found as found_stall};

use crate::compose::gates;
use crate::metrics::pauses;
use crate::runtime::scheduler;
use crate::world::modules::with_modules;
use crate::world::stop::{self, Stopped};
use gosched::goroutine::{GoroutineInfo, StackInfo};
use std::collections::HashSet;
use std::fmt;
use std::io;
use std::ops::Range;
use std::panic::Location;
use std::thread;
use std::time::Duration;
use symbols::Symbols;
use unwind::{DEPTH, Start, Unwinder, Words};

/// Goroutines that are walked while the world is stopped once.
const BATCH: usize = 1000;

/// Threads for whose registers there is room.
const THREADS: usize = 12_000;

/// A goroutine as it was, and its calls.
#[derive(Clone, Debug)]
pub struct GoroutineStack {
    info: GoroutineInfo,
    calls: Vec<usize>,
}

impl GoroutineStack {
    /// Its number. Never reused; the first is 1.
    pub fn id(&self) -> u64 {
        self.info.id.0
    }

    /// Its name, if it was given one.
    pub fn name(&self) -> Option<&str> {
        self.info.name.as_deref()
    }

    /// What it was doing, in Go's words: `running`, `runnable`, `syscall`, or why it waited, as `chan receive`.
    pub fn state(&self) -> String {
        self.info.state.to_string()
    }

    /// How long it had waited, to a few milliseconds; zero if it did not.
    pub fn waiting_for(&self) -> Duration {
        Duration::from_nanos(self.info.waiting_for.0)
    }

    /// Where it was started.
    pub fn created_at(&self) -> Option<&'static Location<'static>> {
        self.info.site
    }

    /// Addresses of its calls, the innermost first: the instruction that came next, then return addresses. At most 128. Empty where goroutines are
    /// threads (`thread-engine`).
    pub fn calls(&self) -> &[usize] {
        &self.calls
    }

    fn write(&self, f: &mut impl fmt::Write, symbols: &mut Symbols) -> fmt::Result {
        self.info.write(f, |f| symbols.write(f, &self.calls))
    }
}

impl fmt::Display for GoroutineStack {
    /// As in Go's dumps: `goroutine 7 [chan receive, 2 minutes]:`, the calls with their places, and the place of creation. Calls of the runtime are
    /// left out at both ends, but for the one that the program made.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, &mut Symbols::default())
    }
}

/// The goroutine that calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Current {
    /// Its number. Never reused; the first is 1.
    pub id: u64,
    /// Its name, if it was given one ([`Builder::name`](crate::Builder::name)).
    pub name: Option<String>,
    /// Where it was started.
    pub created_at: Option<&'static Location<'static>>,
}

/// Which goroutine this is; `None` on a plain thread.
///
/// ```
/// use goruntime::{Builder, goroutines};
///
/// let named = Builder::new().name("worker").spawn(goroutines::current)?;
/// let current = named.join().unwrap().unwrap();
/// assert_eq!(current.name.as_deref(), Some("worker"));
/// assert_eq!(goroutines::current(), None);
/// # Ok::<(), goruntime::SpawnError>(())
/// ```
pub fn current() -> Option<Current> {
    gosched::with_current(|id, name, created_at| Current {
        id: id.0,
        name: name.map(str::to_owned),
        created_at,
    })
}

/// Every goroutine that there is, but for those of simulations, in no particular order. May be called from goroutines and threads.
///
/// # Errors
/// If the world cannot be stopped, or there is no thread to be had for it.
///
/// ```
/// let (sender, receiver) = goruntime::chan::unbuffered::<u32>();
/// let waiting = goruntime::go(move || receiver.recv());
/// # while !goruntime::goroutines::all()?.iter().any(|g| g.state() == "chan receive") {}
/// for goroutine in goruntime::goroutines::all()? {
///     println!("{goroutine}");
/// }
/// # drop(sender);
/// # let _ = waiting.join();
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn all() -> io::Result<Vec<GoroutineStack>> {
    on_thread_of_its_own(capture)
}

/// Runs something on a thread that is none of the runtime's, so that a calling goroutine is found as all others are.
pub(crate) fn on_thread_of_its_own<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    gosched::blocking(|| {
        let thread = thread::Builder::new().name("stacks".to_owned());
        match thread.spawn(work)?.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Says that no goroutine can ever run again, and where each of them waits, and ends the process as Go does.
pub(crate) fn die_of_deadlock(deadlock: &gosched::goroutine::Deadlock) -> ! {
    let text = on_thread_of_its_own(|| {
        let mut text = Vec::new();
        write_stacks(capture()?, &mut text)?;
        Ok(text)
    });
    match text {
        Ok(text) => {
            let text = String::from_utf8_lossy(&text);
            eprint!("fatal error: all goroutines are asleep - deadlock!\n\n{text}");
        }
        Err(_) => eprint!("{deadlock}"),
    }
    std::process::exit(2);
}

/// Writes every goroutine, as [`GoroutineStack`] is displayed, with an empty line between two; those that the runtime keeps for itself come last.
///
/// # Errors
/// As [`all`]; those of `out`.
pub fn write_all(out: &mut impl io::Write) -> io::Result<()> {
    write_stacks(all()?, out)
}

/// Writes these, as [`write_all`] does.
pub(crate) fn write_stacks(
    mut goroutines: Vec<GoroutineStack>,
    out: &mut impl io::Write,
) -> io::Result<()> {
    goroutines.sort_by_key(GoroutineStack::id);
    let mut symbols = Symbols::default();
    let mut text = String::new();
    for goroutine in goroutines {
        text.clear();
        goroutine
            .write(&mut text, &mut symbols)
            .map_err(io::Error::other)?;
        writeln!(out, "{text}")?;
    }
    Ok(())
}

/// Walks all goroutines. On a thread that is none of the runtime's.
fn capture() -> io::Result<Vec<GoroutineStack>> {
    gates::install()?;
    let mut found: Vec<GoroutineStack> = Vec::new();
    let mut seen = HashSet::new();
    let mut batch = Batch::new();
    loop {
        batch.clear();
        with_modules(|modules| {
            // SAFETY: they stay loaded while `with_modules` runs.
            let mut unwinder = unsafe { Unwinder::new(modules) };
            let pause = pauses::OTHER.begin();
            stop::with_world_stopped(&[], |stopped| {
                let _until_here = pause.stopped();
                batch.threads.gather(stopped);
                let threads = &batch.threads;
                let runs = |stack: &Range<usize>| threads.may_run_on(stack);
                let each = |info: GoroutineInfo, stack| {
                    if !seen.contains(&info.id.0) {
                        // SAFETY: the world is stopped.
                        unsafe { batch.goroutines.add(info, &stack, threads, &mut unwinder) };
                    }
                };
                // SAFETY: the world is stopped, and `threads` are all of them.
                unsafe { scheduler().for_each_stopped_goroutine(runs, each) };
            })
        })
        .map_err(io::Error::other)?;
        if batch.goroutines.infos.is_empty() {
            return Ok(found);
        }
        let mut at = 0;
        for (info, end) in batch.goroutines.infos.drain(..) {
            seen.insert(info.id.0);
            let calls = batch.goroutines.calls[at..end].to_vec();
            at = end;
            found.push(GoroutineStack { info, calls });
        }
    }
}

/// Where the threads stand, in order of their stack pointers.
struct Threads(Vec<Start>);

impl Threads {
    fn new() -> Threads {
        Threads(Vec::with_capacity(THREADS))
    }

    /// Takes those that are stopped now for those that were before.
    fn gather(&mut self, stopped: &Stopped<'_>) {
        self.0.clear();
        stopped.for_each_thread(|thread| {
            if !self.is_full() {
                self.0.push(Start {
                    ip: thread.ip,
                    sp: thread.sp,
                    fp: thread.fp,
                    others: None,
                });
            }
        });
        self.0.sort_unstable_by_key(|start| start.sp);
    }

    /// There may be more of them than there is room for.
    fn is_full(&self) -> bool {
        self.0.len() == self.0.capacity()
    }

    fn on(&self, stack: &Range<usize>) -> Option<&Start> {
        stop::on_stack(&self.0, |start| start.sp, stack)
    }

    /// Whether one runs on the stack, or is not known not to.
    fn may_run_on(&self, stack: &Range<usize>) -> bool {
        self.is_full() || self.on(stack).is_some()
    }
}

/// Room for what is found while the world is stopped.
struct Batch {
    threads: Threads,
    goroutines: Goroutines,
}

struct Goroutines {
    /// Each with the end of its calls.
    infos: Vec<(GoroutineInfo, usize)>,
    calls: Vec<usize>,
}

impl Batch {
    fn new() -> Batch {
        Batch {
            threads: Threads::new(),
            goroutines: Goroutines {
                infos: Vec::with_capacity(BATCH),
                calls: Vec::with_capacity(BATCH * DEPTH),
            },
        }
    }

    fn clear(&mut self) {
        self.goroutines.infos.clear();
        self.goroutines.calls.clear();
    }
}

impl Goroutines {
    /// # Safety
    /// 1. The world is stopped, and the stack is that of the goroutine.
    unsafe fn add(
        &mut self,
        info: GoroutineInfo,
        stack: &StackInfo,
        threads: &Threads,
        unwinder: &mut Unwinder<'_>,
    ) {
        if self.infos.len() == self.infos.capacity() {
            return;
        }
        if let Some(range) = &stack.range {
            let parked = stack.resume.map(|at| Start {
                ip: at.instruction,
                sp: at.stack,
                fp: at.frame,
                others: None,
            });
            if let Some(start) = threads.on(range).copied().or(parked) {
                let live = start.sp & !7..range.end;
                // SAFETY: from the stack pointer to its end a stack is mapped.
                unsafe {
                    unwinder.walk(start, Words::in_place(live), |call| self.calls.push(call))
                };
            }
        }
        self.infos.push((info, self.calls.len()));
    }
}
