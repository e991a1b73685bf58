//! The limit on open files.
//!
//! Systems set the soft limit low (1024) for the sake of programs that use `select`, whose sets hold no larger descriptor, and
//! the hard limit high for all others. A server with a goroutine for each connection wants the high one, so like Go's runtime this one raises
//! the soft limit to the hard one when it starts. A program that it starts in turn inherits what is in force; one that may use `select`
//! should get the former limit back: [`restore_file_limit`].

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::OnceLock;

/// The limit as the program was started with, if it was raised.
static ORIGINAL: OnceLock<libc::rlimit> = OnceLock::new();

/// Raises the soft limit to the hard one. A refusal changes nothing, and later failures to open something will name the limit.
pub(crate) fn raise() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the structure is writable.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0
        || limit.rlim_cur >= limit.rlim_max
    {
        return;
    }
    let raised = libc::rlimit {
        rlim_cur: limit.rlim_max,
        ..limit
    };
    if set(&raised).is_ok() {
        let _ = ORIGINAL.set(limit);
    }
}

/// Has `command` run with the limit on open files that this program was started with, rather than with the one that the runtime raised.
///
/// Go does this for every child. Here it has to be asked for, because std starts children without asking anybody.
///
/// ```
/// let mut command = std::process::Command::new("true");
/// assert!(goruntime::restore_file_limit(&mut command).status()?.success());
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn restore_file_limit(command: &mut Command) -> &mut Command {
    let Some(original) = ORIGINAL.get() else {
        return command;
    };
    // SAFETY: between fork and exec this makes one system call and allocates nothing.
    unsafe { command.pre_exec(|| set(original)) }
}

fn set(limit: &libc::rlimit) -> io::Result<()> {
    // SAFETY: the structure is readable.
    match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, limit) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
