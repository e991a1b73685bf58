//! Stop-the-world for every thread of the process, by a signal.
//!
//! The protocol is that of [`rendezvous`](super::rendezvous); here are the signal, its handler, and what it publishes. A thread found inside
//! a critical section, or between the two halves of a context switch, returns from the handler without
//! an answer. The first kind stops itself at the end of the section ([`stop_here`]).
//!
//! The signal is `SIGURG`: its default action is to be ignored, no library uses it, and debuggers pass it by; the reasons for which
//! Go took it.
//!
//! Invariant: what runs in the handler is async-signal-safe. It reads statics, makes futex and gettid system calls, and writes to the
//! slot of its own thread.

use super::rendezvous::{Asked, Failed, Halted, PATIENCE, Rendezvous, System};
use super::rest::Rest;
use super::slots::{Captured, GENERAL};
use super::threads::{self, Tid, Unresponsive};
use std::io::Write;
use std::ops::Range;
use std::ptr::{null, null_mut};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// The signal that stops a thread.
pub const SIGNAL: i32 = libc::SIGURG;

/// What the composition knows of the thread that the signal arrived on. All of it runs in a signal handler.
pub struct Gates {
    /// Is the calling context inside a section that must not be interrupted? If so, arrange for [`stop_here`] to be
    /// called at its end.
    pub defer: fn() -> bool,
    /// Do this stack pointer and this thread pointer belong to different contexts?
    pub mid_switch: fn(sp: usize, tp: usize) -> bool,
}

static GATES: OnceLock<Gates> = OnceLock::new();
static RENDEZVOUS: Rendezvous = Rendezvous::new();

/// A thread that stands still.
#[derive(Clone, Debug)]
pub struct StoppedThread {
    /// Its number.
    pub tid: Tid,
    /// Its stack pointer. The 128 bytes below (the red zone) may be in use.
    pub sp: usize,
    /// Its thread pointer: a goroutine's when it runs one.
    pub tp: usize,
    /// Its next instruction.
    pub ip: usize,
    /// Its frame pointer (`rbp`), whatever the code uses it for.
    pub fp: usize,
    /// Memory that holds its registers, general and vector.
    pub registers: [Range<usize>; 2],
    /// The signal stack that it runs on, in a handler; empty if it runs on none.
    pub signal_stack: Range<usize>,
}

/// Which of some threads runs on a stack. `threads` are in order of their stack pointers, which `sp` tells.
pub fn on_stack<'a, T>(
    threads: &'a [T],
    sp: impl Fn(&T) -> usize,
    stack: &Range<usize>,
) -> Option<&'a T> {
    let next = threads.partition_point(|thread| sp(thread) < stack.start);
    threads.get(next).filter(|thread| sp(thread) < stack.end)
}

/// Evidence that every other thread of the process stands still.
pub struct Stopped<'a> {
    halted: &'a Halted<'a>,
}

impl Stopped<'_> {
    /// Calls `each` with every thread that answered the stop.
    pub fn for_each_thread(&self, mut each: impl FnMut(StoppedThread)) {
        self.halted.for_each(|tid, captured| {
            let general = captured.general.as_ptr() as usize;
            each(StoppedThread {
                tid,
                sp: captured.sp,
                tp: captured.tp,
                ip: captured.ip,
                fp: captured.fp,
                registers: [
                    general..general + size_of_val(&captured.general),
                    captured.vector.clone(),
                ],
                signal_stack: captured.signal_stack.clone(),
            });
        });
    }
}

/// The process as the kernel has it.
struct Process {
    origin: Instant,
}

impl System for Process {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn current(&self) -> Tid {
        Tid::current()
    }

    fn number(&self) -> i32 {
        threads::process()
    }

    fn for_each_thread(&self, each: impl FnMut(Tid)) -> Result<(), i32> {
        threads::for_each(each)
    }

    fn signal(&self, tid: Tid) -> bool {
        // SAFETY: tgkill to a thread of this process; an id that is gone gives ESRCH.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid.0, SIGNAL) == 0 }
    }

    fn why_unresponsive(&self, tid: Tid) -> Unresponsive {
        match threads::why_unresponsive(tid, SIGNAL) {
            Unresponsive::Blocks if is_of_the_program(tid) => Unresponsive::Slow,
            why => why,
        }
    }

    fn is_late(&self, tid: Tid) {
        let mut name = [0; 32];
        let name = threads::name_of(tid, &mut name);
        // Not on the heap, and past the lock of standard error: those who stand still may have either.
        let mut text = [0; 256];
        let mut rest = &mut text[..];
        // What does not fit is left out.
        let _ = writeln!(
            rest,
            "goruntime: stopping the world has taken a second so far, and thread {} ({name}) has not stopped; it is given {} s. It blocks SIGURG and \
             computes, or the kernel or a debugger holds it.",
            tid.0,
            PATIENCE.as_secs()
        );
        let left = rest.len();
        let length = text.len() - left;
        // SAFETY: the bytes are the array's.
        unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), length) };
    }
}

/// Installs the handler. Later calls change nothing.
///
/// # Errors
/// The `errno` of `sigaction`.
pub fn install(gates: Gates) -> Result<(), i32> {
    // Of a library, only what is referred to gets into the program.
    std::hint::black_box(&AT_LOAD);
    admit_signal();
    let mut result = Ok(());
    GATES.get_or_init(|| {
        // SAFETY: an all-zero sigaction is valid; the handler is async-signal-safe (see its body).
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_signal as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
            libc::sigfillset(&mut action.sa_mask);
            if libc::sigaction(SIGNAL, &action, null_mut()) != 0 {
                result = Err(*libc::__errno_location());
            }
        }
        gates
    });
    result
}

/// Before `main`, for its thread and all that descend from it.
#[used]
#[cfg_attr(not(miri), unsafe(link_section = ".init_array"))]
static AT_LOAD: extern "C" fn() = admit_signal;

/// Lets the calling thread be stopped, whatever mask it was given: by who started the program, or by the thread that made this one.
pub extern "C" fn admit_signal() {
    // SAFETY: an all-zero set is valid, and is a set of this function's own.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigaddset(&mut set, SIGNAL);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, null_mut());
    }
}

/// Whether a thread runs goroutines, or began the program: then it may hold collected objects, whatever it blocks.
fn is_of_the_program(tid: Tid) -> bool {
    let mut name = [0; 32];
    let name = threads::name_of(tid, &mut name);
    tid.0.cast_unsigned() == std::process::id()
        || name.starts_with(gosched::M_THREAD)
        || name == gosched::GOROUTINE_THREAD
}

/// A failed stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopError {
    /// This file cannot be read (the `errno` is given): without it threads, or what they hold, cannot be found.
    Unreadable(&'static str, i32),
    /// The program replaced the handler of `SIGURG`.
    HandlerReplaced,
    /// This thread (its name is given) did not answer for ten seconds.
    Unanswered(Tid, String),
}

impl std::fmt::Display for StopError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StopError::Unreadable(path, errno) => write!(
                f,
                "no collection while {path} cannot be read: {}; the collector needs /proc mounted and a descriptor to spare (ulimit -n)",
                std::io::Error::from_raw_os_error(*errno)
            ),
            StopError::HandlerReplaced => write!(
                f,
                "the handler of SIGURG was replaced; the collector stops threads with that signal, so use another one"
            ),
            StopError::Unanswered(tid, name) => write!(
                f,
                "thread {} ({name}) did not stop within 10 s of SIGURG; does it block that signal, or is it stopped by a debugger?",
                tid.0
            ),
        }
    }
}

impl std::error::Error for StopError {}

/// Stops every other thread but those in `exempt`, calls `f`, and starts them again. One stop at a time; others wait
/// their turn.
///
/// `f` must take no lock that a stopped thread may hold: no libc `malloc`, no output.
///
/// # Errors
/// The world runs on in every case.
pub fn with_world_stopped<R>(
    exempt: &[Tid],
    f: impl FnOnce(&Stopped<'_>) -> R,
) -> Result<R, StopError> {
    check_handler()?;
    let process = Process {
        origin: Instant::now(),
    };
    RENDEZVOUS
        .stopped(&process, exempt, |halted| f(&Stopped { halted }))
        .map_err(StopError::from)
}

impl From<Failed> for StopError {
    fn from(failed: Failed) -> StopError {
        match failed {
            Failed::NoThreadList(errno) => StopError::Unreadable("/proc/self/task", errno),
            Failed::Unanswered(tid) => {
                let mut name = [0; 32];
                let name = threads::name_of(tid, &mut name).to_owned();
                StopError::Unanswered(tid, name)
            }
        }
    }
}

fn check_handler() -> Result<(), StopError> {
    // SAFETY: reads the action into a local.
    let ours = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(SIGNAL, null(), &mut action) == 0
            && action.sa_sigaction == on_signal as *const () as usize
    };
    if ours {
        Ok(())
    } else {
        Err(StopError::HandlerReplaced)
    }
}

unsafe extern "C" fn on_signal(_: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let Some(asked) = RENDEZVOUS.asked(Tid::current) else {
        return;
    };
    // SAFETY: the kernel passes a ucontext to a SA_SIGINFO handler.
    let context = unsafe { &*context.cast::<libc::ucontext_t>() };
    let sp = context.uc_mcontext.gregs[libc::REG_RSP as usize] as usize;
    let tp = thread_pointer();
    let Some(gates) = GATES.get() else { return };
    if (gates.mid_switch)(sp, tp) || (gates.defer)() {
        return;
    }
    let mut general = [0usize; GENERAL];
    for (to, from) in general.iter_mut().zip(context.uc_mcontext.gregs) {
        *to = from as usize;
    }
    let vector = vector_state(context.uc_mcontext.fpregs as usize);
    answer(
        asked,
        Captured {
            sp,
            tp,
            ip: context.uc_mcontext.gregs[libc::REG_RIP as usize] as usize,
            fp: context.uc_mcontext.gregs[libc::REG_RBP as usize] as usize,
            general,
            vector,
            signal_stack: signal_stack(sp),
        },
    );
}

/// Stops the calling thread if that is being waited for; called at the end of a critical section that put the stop off.
#[inline(never)]
pub extern "C" fn stop_here() {
    let Some(asked) = RENDEZVOUS.asked(Tid::current) else {
        return;
    };
    let Some(gates) = GATES.get() else { return };
    if (gates.defer)() {
        return; // nested in another critical section, which will call again
    }
    let mut captured = here();
    captured.signal_stack = signal_stack(captured.sp);
    answer(asked, captured);
}

/// Calls `sleep`, which has the calling thread wait in the kernel. Meanwhile it stands still for every stop, without being asked, and returns only when none is under way.
///
/// For threads that are on a stack of their own, not that of a signal handler, and outside of critical sections. `sleep` looks at how the wait ended and at nothing else: it has no collected
/// object in hand, allocates nothing, and takes no lock.
#[inline(never)]
pub fn at_rest<R>(sleep: impl FnOnce() -> R) -> R {
    let captured = here();
    // While a thread's thread-locals are being dropped it may have none any more.
    let Ok(rest) = REST.try_with(|own| own.0) else {
        return sleep();
    };
    // SAFETY:
    // 1. From a thread-local of the context.
    // 2. `here` was inlined into this frame, which is not that of its caller, so what callers hold is in registers that a call preserves, which it captured, or above. And see what is asked of `sleep`.
    unsafe { RENDEZVOUS.rest(rest, Tid::current, captured, sleep) }
}

/// The record of the calling context.
struct OwnRest(&'static Rest);

thread_local! {
    static REST: OwnRest = OwnRest(RENDEZVOUS.take_rest(threads::process()));
}

impl Drop for OwnRest {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

/// What the calling code has in its registers: those that a call preserves may hold the caller's references; all others are dead or spilled by then.
#[inline(always)]
fn here() -> Captured {
    let mut general = [0usize; GENERAL];
    let (sp, ip): (usize, usize);
    // SAFETY: stores registers into a local array.
    unsafe {
        std::arch::asm!(
            "mov [{g}], rbx",
            "mov [{g} + 8], rbp",
            "mov [{g} + 16], r12",
            "mov [{g} + 24], r13",
            "mov [{g} + 32], r14",
            "mov [{g} + 40], r15",
            "mov {sp}, rsp",
            "lea {ip}, [rip]",
            g = in(reg) general.as_mut_ptr(),
            sp = lateout(reg) sp,
            ip = lateout(reg) ip,
            options(nostack, preserves_flags)
        );
    }
    Captured {
        sp,
        tp: thread_pointer(),
        ip,
        fp: general[1],
        general,
        vector: 0..0,
        signal_stack: 0..0,
    }
}

/// Answers, and stands still until the stop is over. Leaves errno as it was.
fn answer(asked: Asked<'_>, captured: Captured) {
    threads::keeping_errno(|| RENDEZVOUS.answer(asked, captured));
}

/// The signal stack of the calling thread, if the stack pointer is in it. Its bounds are the kernel's to tell: the mapping that it lies in may have
/// other stacks beside it, and guards between them that are no mappings of their own.
fn signal_stack(sp: usize) -> Range<usize> {
    // SAFETY: an all-zero stack_t is valid; asks only.
    let stack = unsafe {
        let mut stack: libc::stack_t = std::mem::zeroed();
        libc::sigaltstack(null(), &mut stack);
        stack
    };
    let start = stack.ss_sp as usize;
    let range = start..start + stack.ss_size;
    if range.contains(&sp) { range } else { 0..0 }
}

/// Where the kernel saved the vector registers: the FXSAVE area, or the whole XSAVE area where it says so.
fn vector_state(fpregs: usize) -> Range<usize> {
    const MAGIC: u32 = 0x4650_5853;
    const LEGACY: usize = 512;
    if fpregs == 0 {
        return 0..0;
    }
    // SAFETY: the kernel provides at least the 512-byte legacy area, whose last 48 bytes describe the extension
    // (struct _fpx_sw_bytes: magic, size of the whole).
    let (magic, size) = unsafe {
        let reserved = (fpregs + 464) as *const u32;
        (reserved.read(), reserved.add(1).read() as usize)
    };
    fpregs..fpregs + if magic == MAGIC { size } else { LEGACY }
}

/// The calling context's thread pointer, from the word that the ABI keeps at offset 0.
pub fn thread_pointer() -> usize {
    let tp;
    // SAFETY: reads the first word of the thread control block, which on x86-64 points to itself.
    unsafe {
        std::arch::asm!("mov {}, fs:[0]", out(reg) tp, options(nostack, preserves_flags, readonly))
    };
    tp
}
