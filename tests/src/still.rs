//! Makes every thread of the process stand still but the calling one, for good.
//!
//! For a program that is measured or traced by one of its threads and ends afterwards: no monitor takes that thread's P, nobody steals
//! its goroutines. The threads wait in a signal handler, so each stands wherever it was: one that held a lock holds it for ever. Whoever goes on
//! must be able to do without such locks, or be killed by somebody who watches the clock.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::time::{Duration, Instant};

/// Nothing else in these suites uses it.
const SIGNAL: libc::c_int = libc::SIGUSR2;

/// Threads that stand still.
static STILL: AtomicUsize = AtomicUsize::new(0);

extern "C" fn stand_still(_: libc::c_int) {
    STILL.fetch_add(1, Release);
    loop {
        // SAFETY: async-signal-safe; returns after another signal's handler.
        unsafe { libc::pause() };
    }
}

/// Stops the others, and returns how many they are.
///
/// # Errors
/// When they do not all stand still within `limit`, or the system cannot list them.
pub fn stop_others(limit: Duration) -> io::Result<usize> {
    let deadline = Instant::now() + limit;
    install()?;
    // SAFETY: the call has no arguments and cannot fail.
    let me = unsafe { libc::syscall(libc::SYS_gettid) };
    let mut asked: Vec<libc::c_long> = Vec::new();
    loop {
        // One that stands still starts no others, so the list ends once all of it was asked.
        let before = asked.len();
        for entry in std::fs::read_dir("/proc/self/task")? {
            let id = entry?
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            let Some(id) = id.filter(|id| *id != me && !asked.contains(id)) else {
                continue;
            };
            // SAFETY: the handler is installed and async-signal-safe; a thread that has ended gives an error.
            if unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), id, SIGNAL) } == 0 {
                asked.push(id);
            }
        }
        while STILL.load(Acquire) < asked.len() {
            if Instant::now() > deadline {
                let why = "not every thread stands still";
                return Err(io::Error::new(io::ErrorKind::TimedOut, why));
            }
            // SAFETY: the call has no arguments and cannot fail.
            unsafe { libc::sched_yield() };
        }
        if asked.len() == before {
            return Ok(before);
        }
    }
}

fn install() -> io::Result<()> {
    // SAFETY: an all-zero sigaction is valid; the mask is filled, so nothing interrupts a thread that stands still, and the handler only
    // adds to an atomic and waits.
    let answer = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = stand_still as *const () as libc::sighandler_t;
        libc::sigfillset(&mut action.sa_mask);
        libc::sigaction(SIGNAL, &action, std::ptr::null_mut())
    };
    match answer {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
