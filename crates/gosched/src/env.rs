//! The ports: what the scheduler needs and does not make itself.
//!
//! [`Engine`] makes execution contexts and switches between them, [`Poller`] waits for descriptors,
//! [`Hooks`] hears what happens. [`Env`] names one of each, and everything in the crate that needs
//! them is generic over it, so that a switch compiles to the engine's own instructions. Second
//! implementations live beside: `engine::threads`, `poll::scripted`, and `()` for the hooks.

use std::fmt;
use std::io;
use std::ops::Range;
use std::os::fd::RawFd;
use std::panic::Location;

use crate::goroutine::{Deadlock, GoroutineId, ResumePoint, WaitReason};
use crate::time::Nanos;

/// One choice of implementations for every port.
pub trait Env: Sized + 'static {
    /// Execution contexts.
    type Engine: Engine;
    /// Readiness of descriptors.
    type Poller: Poller;
    /// Events and policies.
    type Hooks: Hooks;
}

/// Whose `thread_local!`s the code in a context sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThreadLocals {
    /// Those of the OS thread it happens to run on. The scheduler writes its own again after each
    /// switch.
    Shared,
    /// Its own, while the OS thread goes on to run other contexts.
    PerContext,
    /// Its own, because each context is an OS thread and a switch puts one to sleep and wakes
    /// another.
    PerThread,
}

/// What a context is to be made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StackSpec {
    /// Least usable size in bytes; `None` is the engine's default.
    pub size: Option<usize>,
}

/// The code that a context runs: it gets the argument given at creation, and returns the context to
/// switch to for good.
pub type Entry<C> = unsafe fn(*mut ()) -> *mut C;

/// A context could not be made.
#[derive(Debug)]
pub struct EngineError {
    /// What was refused, and what to do about it.
    pub message: String,
    /// The system call's error, where one was the cause.
    pub source: Option<io::Error>,
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some(source) => write!(f, "{}: {source}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for EngineError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|s| s as _)
    }
}

/// Makes execution contexts and switches between them.
///
/// A context is in one of four conditions: *fresh* (made or re-armed, has not run), *running*,
/// *saved* (switched away from) and *finished* (its entry returned).
///
/// # Safety
/// An implementation promises, for contexts used as the methods require:
/// 1. `switch(from, to)` suspends the calling code and resumes `to`: a saved context continues
///    after its own `switch`, a fresh one calls its entry with its argument. Everything that the
///    calling code did before is visible to the resumed code.
/// 2. A context may be saved on one OS thread and resumed on another, any number of times.
/// 3. Once the code of `to` runs, `from` is completely saved; the engine neither reads nor writes
///    `*from` nor the stack being left from then on, until somebody resumes it. (Another thread may
///    resume it, or free it, at once.)
/// 4. When an entry returns a context, that context is resumed as by `switch`, and obligation 3
///    holds of the finished one, save that only `rearm` or `retire` may follow.
/// 5. `THREAD_LOCALS` says the truth. With `PerContext`, a fresh context's thread-locals have their
///    initial values, the ones of a finished context stay readable until `rearm` or `retire`, and a
///    switch keeps every signal that the thread may get handled by code that sees the thread-locals
///    either of `from` or of `to`.
/// 6. `saved_sp` of a context that no thread is running is the lowest address of its live stack;
///    all that is live in the context, callee-saved registers included, lies between that and the
///    end of `stack_range`.
/// 7. No method unwinds, and none calls back into the scheduler, except `finish`.
pub unsafe trait Engine: Send + Sync + 'static {
    /// An execution context. The scheduler keeps it at a fixed address from the first switch to
    /// `retire`.
    type Context: Send + 'static;

    /// Whose thread-locals a context sees.
    const THREAD_LOCALS: ThreadLocals;

    /// Makes a fresh context that will call `entry(arg)`.
    ///
    /// Called outside critical sections.
    ///
    /// # Errors
    /// When memory, or whatever a context is made of, is refused. The scheduler hands this to who
    /// wanted the goroutine; nothing is lost.
    fn create(
        &self,
        spec: StackSpec,
        entry: Entry<Self::Context>,
        arg: *mut (),
    ) -> Result<Self::Context, EngineError>;

    /// Makes a finished context fresh again.
    ///
    /// # Errors
    /// When something has to be obtained anew and is refused. The context is then still finished.
    ///
    /// # Safety
    /// 1. `context` is finished, and the context that its entry returned has begun to run.
    unsafe fn rearm(
        &self,
        context: &mut Self::Context,
        entry: Entry<Self::Context>,
        arg: *mut (),
    ) -> Result<(), EngineError>;

    /// The calling OS thread's own stack as a context (running).
    ///
    /// # Errors
    /// When the engine cannot run on this thread.
    fn adopt_thread(&self) -> Result<Self::Context, EngineError>;

    /// Leaves `from` and resumes `to`. Called inside a critical section (see [`crate::critical`]).
    ///
    /// # Safety
    /// 1. The calling code is the one that `*from` stands for.
    /// 2. `*to` is saved or fresh, and no other thread resumes it.
    /// 3. Both stay valid until they are next left; no reference to either is alive.
    unsafe fn switch(&self, from: *mut Self::Context, to: *mut Self::Context);

    /// Runs on a context at its goroutine's end, outside critical sections: thread-local
    /// destructors and the like. These are the program's code: they may use the scheduler, and
    /// block.
    ///
    /// # Safety
    /// 1. The calling context's entry returns next, without running code of the program other than
    ///    the destructor of the goroutine's result.
    unsafe fn finish(&self);

    /// Frees a finished context.
    ///
    /// # Safety
    /// 1. As [`rearm`](Self::rearm).
    unsafe fn retire(&self, context: Self::Context);

    /// The addresses that belong to the context's stack, thread-local block included; `None` if
    /// unknown.
    fn stack_range(&self, context: &Self::Context) -> Option<Range<usize>>;

    /// Where the live stack of a context that is not running begins; `None` if unknown, or if the
    /// context is an OS thread, which whoever needs this stops as such.
    fn saved_sp(&self, context: &Self::Context) -> Option<usize>;

    /// Where a context that is not running goes on, for who walks its calls; `None` if unknown.
    ///
    /// # Safety
    /// 1. No thread runs the context or resumes it during the call, and it is not finished.
    unsafe fn resume_point(&self, context: &Self::Context) -> Option<ResumePoint> {
        let _ = context;
        None
    }

    /// Called first on every thread that becomes an M: the place for alternate signal stacks and
    /// the like.
    fn thread_started(&self) {}

    /// Called last on a thread that was an M and ends, which happens only with a goroutine that is locked to it: the
    /// place to undo what [`thread_started`](Self::thread_started) did, while the thread still has all that it began with.
    fn thread_ends(&self) {}

    /// Called on an M's thread, on its own context, when it has had nothing to do for a while and will go on sleeping: the place
    /// to give back what is kept for its goroutines.
    fn thread_idle(&self) {}

    /// OS threads that the engine itself keeps, for the deadlock check.
    fn own_threads(&self) -> usize {
        0
    }
}

/// What a descriptor is registered under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub usize);

/// A descriptor has become ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// As given at registration.
    pub token: Token,
    /// Reading would not block: data, end of file, or an error.
    pub readable: bool,
    /// Writing would not block: room, or an error.
    pub writable: bool,
}

/// Waits for descriptors to become ready.
///
/// Edge-triggered: a change is reported at least once to some `wait`, and may be reported again.
/// Spurious reports are allowed, also for a token deregistered before. Used from any thread at any
/// time.
pub trait Poller: Send + Sync + 'static {
    /// Begins to watch `fd` for both directions.
    ///
    /// # Errors
    /// The system's: `EPERM` for descriptors that are always ready (regular files), `ENOSPC` at the
    /// kernel's limit on watches.
    fn register(&self, fd: RawFd, token: Token) -> io::Result<()>;

    /// Ceases to watch `fd`.
    ///
    /// # Errors
    /// The system's; the descriptor is not watched either way once it is closed.
    fn deregister(&self, fd: RawFd) -> io::Result<()>;

    /// Fills `ready` and returns how many it filled. Returns when something is ready, after
    /// `timeout` (`None`: never; zero: at once), or because of [`wake`](Self::wake). An early
    /// return with nothing is allowed.
    ///
    /// # Errors
    /// The system's. The scheduler treats them as "nothing is ready".
    fn wait(&self, timeout: Option<Nanos>, ready: &mut [Readiness]) -> io::Result<usize>;

    /// Makes one `wait` with a timeout other than zero return, now or when it is next called.
    fn wake(&self);
}

/// What the scheduler reports while it works. Plain data, for traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A goroutine was made, at this place.
    Created(GoroutineId, &'static Location<'static>),
    /// A goroutine starts or goes on to run on this thread, with this thread's P.
    Running(GoroutineId),
    /// A goroutine waits.
    Parked(GoroutineId, WaitReason),
    /// A goroutine that waited may run again.
    Readied(GoroutineId),
    /// A goroutine gave way.
    Yielded(GoroutineId),
    /// A goroutine is done.
    Finished(GoroutineId),
    /// A goroutine gives its P up and goes on without one, because it is going to block its thread.
    Blocking(GoroutineId),
    /// A P, by index, was taken from the M that ran user code with it.
    Retaken(u32),
    /// An M, by number, was created.
    ThreadCreated(u32),
}

/// Listens, and decides what is policy rather than mechanism.
///
/// `()` implements it with every default.
pub trait Hooks: Send + Sync + 'static {
    /// Whether [`event`](Self::event) is to be called. Asked at each event, so it has to be cheap; if it can only be false, events cost nothing.
    #[inline]
    fn listens(&self) -> bool {
        false
    }

    /// Something happened, on a thread that has this P, by index, or none. With a P one thread calls at a time, and everything that was done in earlier calls with it
    /// is visible. Called inside critical sections: must be short, must not call the scheduler.
    fn event(&self, p: Option<u32>, event: Event) {
        let _ = (p, event);
    }

    /// A P that was idle is going to be used. Called after that can be observed, inside critical
    /// sections: must be short, must not call the scheduler. The place to wake a monitor that
    /// sleeps while all is idle.
    #[inline]
    fn work_appeared(&self) {}

    /// Every goroutine waits for another one and nothing outside can wake any. The default prints
    /// Go's message with the list of goroutines to standard error and exits with status 2.
    fn deadlock(&self, deadlock: &Deadlock) {
        eprint!("{deadlock}");
        std::process::exit(2);
    }

    /// Threads of the process that are not the scheduler's (`own` are), any of which could wake a
    /// goroutine. Asked for only when everything else is asleep. The default counts
    /// `/proc/self/task`, and assumes that there is one when it cannot be read.
    fn foreign_threads(&self, own: usize) -> usize {
        crate::sys::count_threads().map_or(1, |all| all.saturating_sub(own))
    }

    /// A thread for one more M was refused. Called once per scheduler; the default says so on
    /// standard error. The scheduler goes on with the Ms it has.
    fn thread_refused(&self, error: &io::Error, have: usize) {
        eprintln!(
            "gosched: cannot create another OS thread ({error}); going on with {have}. Raise the limit on processes \
             (ulimit -u, or pids.max of the cgroup), or lower the number of goroutines that block their thread."
        );
    }
}

impl Hooks for () {}
