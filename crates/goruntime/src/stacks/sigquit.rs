//! `SIGQUIT` (Ctrl-\ in a terminal): prints every goroutine on standard error and ends the program with status 2, as Go's runtime does.
//!
//! What that takes cannot be done in a signal handler, nor can a thread be made there. So one waits for it from the start, asleep on a word that the handler changes.
//! Where the program was started with the signal ignored, or has a handler for it, nothing is done.

use super::{all, write_stacks};
use crate::atomic::{AtomicU32, Ordering::*};
use crate::world::futex;
use std::io::{self, Write};
use std::mem::zeroed;
use std::ptr::{null, null_mut};
use std::thread;

/// Changed by the handler.
static ASKED: AtomicU32 = AtomicU32::new(0);

/// Exit status, as Go's.
const STATUS: i32 = 2;

/// Has the signal handled from now on. True if there is a thread for it, which no goroutine waits for.
pub(crate) fn install() -> bool {
    // SAFETY: reads the action into a local; an all-zero one is valid.
    let default = unsafe {
        let mut now: libc::sigaction = zeroed();
        libc::sigaction(libc::SIGQUIT, null(), &mut now) == 0 && now.sa_sigaction == libc::SIG_DFL
    };
    // Without a thread the signal goes on to end the program.
    if !default
        || thread::Builder::new()
            .name("sigquit".to_owned())
            .spawn(serve)
            .is_err()
    {
        return false;
    }
    // SAFETY: an all-zero sigaction is valid; the handler is async-signal-safe.
    unsafe {
        let mut action: libc::sigaction = zeroed();
        action.sa_sigaction = on_signal as *const () as usize;
        action.sa_flags = libc::SA_ONSTACK | libc::SA_RESTART;
        libc::sigaction(libc::SIGQUIT, &action, null_mut());
    }
    true
}

extern "C" fn on_signal(_: i32) {
    // SAFETY: libc's errno location is the calling context's own.
    let errno = unsafe { *libc::__errno_location() };
    ASKED.store(1, SeqCst);
    futex::wake(&ASKED, 1);
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

/// The thread.
fn serve() {
    while ASKED.load(SeqCst) == 0 {
        futex::wait(&ASKED, 0, None);
    }
    // Nobody is left to be told of a failure.
    let _ = report();
    // SAFETY: ends the process, without running what a program in this state may hang in.
    unsafe { libc::_exit(STATUS) };
}

fn report() -> io::Result<()> {
    let mut out = io::BufWriter::new(Stderr);
    writeln!(out, "SIGQUIT: quit\n")?;
    match all() {
        Ok(mut goroutines) => {
            goroutines.sort_by_key(super::GoroutineStack::id);
            write_stacks(&goroutines, &mut out)?;
        }
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
