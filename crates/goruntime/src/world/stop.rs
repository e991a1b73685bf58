//! Stop-the-world for every thread of the process, by a signal.
//!
//! # Protocol
//!
//! `EPOCH` is even while the world runs and odd while it is being stopped or is stopped; each stop makes it odd once, each
//! start makes it even again. For each thread there is a [`Slot`] with the thread's id and a state word
//! that carries the epoch, so that a stale signal can never answer a later stop:
//!
//! ```text
//!            stopper                    the thread                    the thread
//!   (empty) ---------> Asked(epoch) ---------------> Stopped(epoch) ---------------> Left(epoch)
//!                           \ the stopper, seeing it gone or blocking the signal
//!                            \--------> Skipped(epoch)
//! ```
//!
//! - Only the stopper fills slots and only while it holds `STOPPER`. Slots are never freed: a handler that comes late
//!   reads type-stable memory and finds an epoch that is not its own.
//! - `captured` is written by the thread between `Asked` and `Stopped` (release) and read by the stopper after it
//!   saw `Stopped` (acquire) and before it makes `EPOCH` even.
//! - The thread waits on `EPOCH` as a futex, and reports `Left` when it is through. The next stop starts only when all have
//!   left, so a slot is never asked while its thread is still inside the previous stop.
//! - A thread found inside a critical section, or between the two halves of a context switch, returns from the handler without
//!   an answer. The first kind stops itself at the end of the section ([`stop_here`]); both are signalled again until they
//!   have answered, so nothing depends on a flag being seen.
//! - New threads: the list of threads is read again until it holds nobody unanswered. Since everybody in it stands
//!   still, nobody is left who could start another.
//!
//! The signal is `SIGURG`: its default action is to be ignored, no library uses it, and debuggers pass it by; the reasons for which
//! Go took it.

use super::slots::{ASKED, Captured, GENERAL, LEFT, SKIPPED, STOPPED, Slot, Table, state};
use super::threads::{self, Tid, Unresponsive};
use std::ops::Range;
use std::ptr::{null, null_mut};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering::*};
use std::sync::{Mutex, PoisonError};
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
static EPOCH: AtomicU32 = AtomicU32::new(0);
/// Counts answers; the stopper sleeps on it.
static ANSWERS: AtomicU32 = AtomicU32::new(0);
static TABLE: AtomicPtr<Table> = AtomicPtr::new(null_mut());
static STOPPER: Mutex<()> = Mutex::new(());

/// A thread that stands still.
#[derive(Clone, Debug)]
pub struct StoppedThread {
    /// Its stack pointer. The 128 bytes below (the red zone) may be in use.
    pub sp: usize,
    /// Its thread pointer: a goroutine's when it runs one.
    pub tp: usize,
    /// Memory that holds its registers, general and vector.
    pub registers: [Range<usize>; 2],
}

/// Evidence that every other thread of the process stands still.
pub struct Stopped<'a> {
    table: &'a Table,
    epoch: u32,
}

impl Stopped<'_> {
    /// Calls `each` with every thread that answered the stop.
    pub fn for_each_thread(&self, mut each: impl FnMut(StoppedThread)) {
        self.table.for_each(|slot| {
            if slot.state.load(Acquire) != state(STOPPED, self.epoch) {
                return;
            }
            // SAFETY: the slot is in state Stopped of this epoch: the thread has written it and waits.
            let captured = unsafe { &*slot.captured.get() };
            let general = captured.general.as_ptr() as usize;
            each(StoppedThread {
                sp: captured.sp,
                tp: captured.tp,
                registers: [
                    general..general + size_of_val(&captured.general),
                    captured.vector.clone(),
                ],
            });
        });
    }
}

/// Installs the handler. Later calls change nothing.
///
/// # Errors
/// The `errno` of `sigaction`.
pub fn install(gates: Gates) -> Result<(), i32> {
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
                "thread {} ({name}) did not stop within 10 s of SIGURG; is it stopped by a debugger?",
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
    let _one = STOPPER.lock().unwrap_or_else(PoisonError::into_inner);
    check_handler()?;
    let table = table();
    wait_until_left(table);
    let epoch = EPOCH.load(Relaxed) + 1;
    EPOCH.store(epoch, SeqCst);
    let start = StartAgain { epoch };
    stop_everyone(table, epoch, exempt)?;
    let result = f(&Stopped { table, epoch });
    drop(start);
    Ok(result)
}

struct StartAgain {
    epoch: u32,
}

impl Drop for StartAgain {
    fn drop(&mut self) {
        EPOCH.store(self.epoch.wrapping_add(1), SeqCst);
        futex_wake(&EPOCH, i32::MAX);
    }
}

fn table() -> &'static Table {
    let mut table = TABLE.load(Acquire);
    if table.is_null() {
        table = Box::into_raw(Box::new(Table::with_capacity(64)));
        TABLE.store(table, Release);
    }
    // SAFETY: published once and never freed; only the stopper creates it.
    unsafe { &*table }
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

/// Threads of the previous stop may not have left its handler yet; they need no lock to do so.
fn wait_until_left(table: &Table) {
    let epoch = EPOCH.load(Relaxed).wrapping_sub(1);
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let mut waiting = false;
        table.for_each(|slot| {
            if slot.state.load(Acquire) == state(STOPPED, epoch) {
                waiting |= threads::why_unresponsive(Tid(slot.tid.load(Relaxed)), SIGNAL)
                    != Unresponsive::Gone;
            }
        });
        if !waiting || Instant::now() > deadline {
            return;
        }
        std::thread::yield_now();
    }
}

fn stop_everyone(table: &Table, epoch: u32, exempt: &[Tid]) -> Result<(), StopError> {
    let me = Tid::current();
    let begin = Instant::now();
    let mut pause = Duration::from_micros(100);
    loop {
        let answers = ANSWERS.load(Acquire);
        let mut missing = None;
        let patience = begin.elapsed();
        threads::for_each(|tid| {
            if tid == me || exempt.contains(&tid) {
                return;
            }
            let slot = table.claim(tid, epoch);
            let now = slot.state.load(Acquire);
            if now >> 8 != epoch as u64 {
                slot.state.store(state(ASKED, epoch), Release);
            } else if now != state(ASKED, epoch) {
                return;
            }
            // Worth a look in /proc only when it takes long.
            if patience > Duration::from_millis(20)
                && threads::why_unresponsive(tid, SIGNAL) != Unresponsive::Slow
            {
                let asked = state(ASKED, epoch);
                let skipped = state(SKIPPED, epoch);
                let _ = slot.state.compare_exchange(asked, skipped, AcqRel, Acquire);
                return;
            }
            missing = Some(tid);
            // SAFETY: tgkill to a thread of this process; an id that is gone gives ESRCH.
            unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid.0, SIGNAL) };
        })
        .map_err(|errno| StopError::Unreadable("/proc/self/task", errno))?;
        let Some(tid) = missing else { return Ok(()) };
        if patience > Duration::from_secs(10) {
            let mut name = [0; 32];
            let name = threads::name_of(tid, &mut name).to_owned();
            return Err(StopError::Unanswered(tid, name));
        }
        if wait_for_answers(table, epoch, answers, pause) {
            pause = Duration::from_micros(100);
        } else {
            pause = (pause * 2).min(Duration::from_millis(5));
        }
    }
}

/// Waits until nobody asked is unanswered, or `pause` goes by without an answer. True when all have answered.
fn wait_for_answers(table: &Table, epoch: u32, mut answers: u32, pause: Duration) -> bool {
    loop {
        let mut open = false;
        table.for_each(|slot| open |= slot.state.load(Acquire) == state(ASKED, epoch));
        if !open {
            return true;
        }
        let now = ANSWERS.load(Acquire);
        if now == answers && !futex_wait(&ANSWERS, answers, Some(pause)) {
            return false;
        }
        answers = ANSWERS.load(Acquire);
    }
}

/// Async-signal-safe: reads statics, makes futex and gettid system calls, writes to its own slot.
unsafe extern "C" fn on_signal(_: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let Some((slot, epoch)) = asked() else { return };
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
    wait(
        slot,
        epoch,
        Captured {
            sp,
            tp,
            general,
            vector,
        },
    );
}

/// Stops the calling thread if that is being waited for; called at the end of a critical section that put the stop off.
#[inline(never)]
pub extern "C" fn stop_here() {
    let Some((slot, epoch)) = asked() else { return };
    let Some(gates) = GATES.get() else { return };
    if (gates.defer)() {
        return; // nested in another critical section, which will call again
    }
    let mut general = [0usize; GENERAL];
    let sp: usize;
    // Registers that a call preserves may hold the caller's references; all others are dead or spilled by now.
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
            g = in(reg) general.as_mut_ptr(),
            sp = lateout(reg) sp,
            options(nostack, preserves_flags)
        );
    }
    wait(
        slot,
        epoch,
        Captured {
            sp,
            tp: thread_pointer(),
            general,
            vector: 0..0,
        },
    );
}

/// The calling thread's slot, if it has been asked to stop and has not answered.
fn asked() -> Option<(&'static Slot, u32)> {
    let epoch = EPOCH.load(SeqCst);
    if epoch.is_multiple_of(2) {
        return None;
    }
    // SAFETY: published before the epoch became odd, never freed.
    let table = unsafe { TABLE.load(Acquire).as_ref()? };
    let slot = table.find(Tid::current())?;
    (slot.state.load(Acquire) == state(ASKED, epoch)).then_some((slot, epoch))
}

/// Answers, and stands still until the epoch is over. Leaves errno as it was.
fn wait(slot: &Slot, epoch: u32, captured: Captured) {
    // SAFETY: libc's errno location is the calling context's own.
    let errno = unsafe { *libc::__errno_location() };
    // SAFETY: state is Asked of this epoch and this is the slot's own thread: it alone may write until it says Stopped.
    unsafe { *slot.captured.get() = captured };
    let (asked, stopped) = (state(ASKED, epoch), state(STOPPED, epoch));
    if slot
        .state
        .compare_exchange(asked, stopped, AcqRel, Acquire)
        .is_err()
    {
        return; // skipped meanwhile: the stop may be over
    }
    ANSWERS.fetch_add(1, Release);
    futex_wake(&ANSWERS, 1);
    while EPOCH.load(Acquire) == epoch {
        futex_wait(&EPOCH, epoch, None);
    }
    slot.state.store(state(LEFT, epoch), Release);
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
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

pub(super) fn futex_wake(word: &AtomicU32, n: i32) {
    // SAFETY: wakes waiters on a word of ours.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
            n,
        )
    };
}

/// False when the time ran out.
pub(super) fn futex_wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) -> bool {
    let spec = timeout.map(|t| libc::timespec {
        tv_sec: t.as_secs() as i64,
        tv_nsec: t.subsec_nanos() as i64,
    });
    let spec = spec.as_ref().map_or(null(), |s| s as *const libc::timespec);
    // SAFETY: waits on a word of ours; the timeout outlives the call.
    let r = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
            expected,
            spec,
        )
    };
    // SAFETY: errno is the calling context's own.
    r == 0 || unsafe { *libc::__errno_location() } != libc::ETIMEDOUT
}
