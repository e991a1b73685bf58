//! The thread that reports what every goroutine is doing, when those who want to know cannot look themselves: a signal's handler, and the monitor.
//!
//! `SIGQUIT` (Ctrl-\ in a terminal) has it print every goroutine on standard error and end the program with status 2, as Go's runtime does. Where the
//! program was started with that signal ignored, or has a handler for it, it keeps it.
//!
//! The thread is made at the start, for neither can make one, and sleeps on a word. Whoever wants something sets a bit of it and wakes the thread; the
//! thread takes all bits at once, then does what they ask for, then looks again before it sleeps. So a bit set at any time is seen.
//! Invariant: asking takes no lock and allocates nothing.

use super::locks::LockWatch;
use super::stalls;
use super::{capture, write_stacks};
use crate::atomic::{AtomicU32, Ordering::*};
use crate::world::futex;
use crate::world::stop;
use crate::world::threads::keeping_errno;
use std::io::{self, Write};
use std::mem::zeroed;
use std::ptr::{null, null_mut};
use std::thread;

/// What is asked for: bits.
static ASKED: AtomicU32 = AtomicU32::new(0);
const QUIT: u32 = 1;
const STALLS: u32 = 2;
const LOCKS: u32 = 4;

/// Exit status, as Go's.
const STATUS: i32 = 2;

/// Starts the thread, which no goroutine waits for. Without it there are no reports; true if there is one.
pub(crate) fn start() -> bool {
    let thread = thread::Builder::new().name("reporter".to_owned());
    if thread.spawn(serve).is_err() {
        return false;
    }
    // SAFETY: an all-zero sigaction is valid; the handler is async-signal-safe.
    unsafe {
        let mut now: libc::sigaction = zeroed();
        if libc::sigaction(libc::SIGQUIT, null(), &mut now) == 0
            && now.sa_sigaction == libc::SIG_DFL
        {
            let mut action: libc::sigaction = zeroed();
            action.sa_sigaction = on_signal as *const () as usize;
            action.sa_flags = libc::SA_ONSTACK | libc::SA_RESTART;
            libc::sigaction(libc::SIGQUIT, &action, null_mut());
        }
    }
    true
}

fn ask(what: u32) {
    ASKED.fetch_or(what, SeqCst);
    futex::wake(&ASKED, 1);
}

/// Has stalls reported that [`stalls`] keeps.
pub(super) fn report_stalls() {
    ask(STALLS);
}

/// Has those reported that have waited for a lock for too long. From the monitor.
pub(crate) fn look_at_locks() {
    ask(LOCKS);
}

/// Is this the address of the handler that asks for the report? Async-signal-safe.
pub(crate) fn is_report_handler(address: usize) -> bool {
    address == on_signal as *const () as usize
}

extern "C" fn on_signal(_: i32) {
    keeping_errno(|| ask(QUIT));
}

/// The thread.
fn serve() {
    let mut locks = LockWatch::default();
    loop {
        let asked = ASKED.swap(0, SeqCst);
        if asked & QUIT != 0 {
            // Nobody is left to be told of a failure.
            let _ = report();
            // SAFETY: ends the process, without running what a program in this state may hang in.
            unsafe { libc::_exit(STATUS) };
        }
        if asked & STALLS != 0 {
            stalls::report(capture());
        }
        if asked & LOCKS != 0
            && let Some(threshold) = crate::settings::get().stall_trace
        {
            locks.look(threshold);
        }
        if asked == 0 {
            stop::at_rest(|| futex::wait(&ASKED, 0, None));
        }
    }
}

fn report() -> io::Result<()> {
    let mut out = io::BufWriter::new(Stderr);
    writeln!(out, "SIGQUIT: quit\n")?;
    match capture() {
        Ok(goroutines) => write_stacks(goroutines, &mut out)?,
        Err(why) => {
            writeln!(out, "goruntime: no stacks: {why}\n")?;
            crate::runtime::scheduler().for_each_goroutine(|info| {
                let _ = writeln!(out, "{info}");
            });
        }
    }
    out.flush()
}

/// Standard error without its lock, which somebody may hold for good.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // SAFETY: the bytes can be read.
        match unsafe { libc::write(libc::STDERR_FILENO, bytes.as_ptr().cast(), bytes.len()) } {
            n @ 0.. => Ok(n as usize),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
