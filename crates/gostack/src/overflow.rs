//! A stack overflow named as such.
//!
//! A context that outgrows its stack touches the guard, and the kernel sends SIGSEGV. The handler here, on the thread's
//! alternate signal stack, looks whether the address is in the guard of the stack that runs; if so it prints what
//! happened, lets the embedder add whose stack it was, and aborts. Anything else goes to the handler that was installed
//! before: std's own report for plain threads, a program's handler, or the default action.
//!
//! Only async-signal-safe things happen in the handler: loads, formatting into a buffer on its stack, `write`, `abort`.

use core::ffi::{c_int, c_void};
use core::fmt;
use std::sync::OnceLock;

use crate::context::thread_pointer;
use crate::env::OsError;
use crate::stack::StackRange;

/// What is known about an overflow.
#[derive(Debug, Clone, Copy)]
pub struct Overflow {
    /// The address that was touched, in the guard.
    pub address: usize,
    /// The stack that overflowed.
    pub stack: StackRange,
    /// The stack pointer at that moment.
    pub stack_pointer: usize,
    /// The instruction that touched the guard.
    pub instruction: usize,
}

/// Finds the stack that an address lies in: [`ContextPool::find`](crate::execution::ContextPool::find) of each pool.
pub type Find = fn(usize) -> Option<StackRange>;

/// Adds to the report whose stack it was. The context's own thread-locals are in place when it is called.
pub type Report = fn(&Overflow, &mut dyn fmt::Write);

struct Installed {
    find: Find,
    report: Report,
    previous: [(c_int, libc::sigaction); 2],
}

/// The signals by which a touched guard may be told. Linux sends SIGSEGV for both kinds of guard.
const SIGNALS: [c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];

/// A handler is the process's, so there is one of these.
static INSTALLED: OnceLock<Installed> = OnceLock::new();

/// Installs the handler for the rest of the process.
///
/// It works on threads that have an alternate signal stack: see [`AltStack`](crate::altstack::AltStack). std gives its own
/// threads one, too small for some reports.
///
/// # Errors
///
/// If it was installed before (EALREADY), or the system refuses.
///
/// # Safety
///
/// 1. `find` and `report` are async-signal-safe: they neither allocate nor lock, and touch no data that the interrupted code
///    may have left half-changed.
/// 2. `find` answers for stacks that stay mapped.
pub unsafe fn install(find: Find, report: Report) -> Result<(), OsError> {
    let refused = |errno| OsError {
        operation: "install the handler that reports stack overflows",
        errno,
        advice: "install it once, before any other handler of SIGSEGV that does not pass signals on",
    };
    let mut previous = SIGNALS.map(|signal| (signal, default_action()));
    for (signal, action) in &mut previous {
        // SAFETY: asks for the action only.
        if unsafe { libc::sigaction(*signal, core::ptr::null(), action) } != 0 {
            return Err(refused(last_errno()));
        }
    }
    let mut first = false;
    INSTALLED.get_or_init(|| {
        first = true;
        Installed {
            find,
            report,
            previous,
        }
    });
    if !first {
        return Err(refused(libc::EALREADY));
    }
    for (signal, before) in previous {
        let mut action = default_action();
        let handler: unsafe extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = handle;
        action.sa_sigaction = handler as usize;
        // What the previous handler is passed must find the same signals blocked.
        action.sa_mask = before.sa_mask;
        action.sa_flags = libc::SA_SIGINFO
            | libc::SA_ONSTACK
            | (before.sa_flags & (libc::SA_NODEFER | libc::SA_RESTART));
        // SAFETY: `handle` has the type that SA_SIGINFO asks for, and `INSTALLED` is set.
        if unsafe { libc::sigaction(signal, &action, core::ptr::null_mut()) } != 0 {
            return Err(refused(last_errno()));
        }
    }
    Ok(())
}

fn default_action() -> libc::sigaction {
    // SAFETY: all zero is SIG_DFL with no flags and an empty mask.
    unsafe { core::mem::zeroed() }
}

fn last_errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

unsafe extern "C" fn handle(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let Some(installed) = INSTALLED.get() else {
        return;
    };
    // SAFETY: the kernel passes a record and the interrupted registers.
    let (code, address, registers) = unsafe {
        let machine = &(*context.cast::<libc::ucontext_t>()).uc_mcontext;
        ((*info).si_code, (*info).si_addr() as usize, machine.gregs)
    };
    let stack_pointer = registers[libc::REG_RSP as usize] as usize;
    // A code above zero: sent by the kernel for a fault, so that there is an address.
    if code > 0
        && let Some(stack) = overflowed(installed.find, address, stack_pointer)
    {
        let instruction = registers[libc::REG_RIP as usize] as usize;
        report_and_abort(
            installed.report,
            &Overflow {
                address,
                stack,
                stack_pointer,
                instruction,
            },
        );
    }
    // SAFETY: the arguments are those of this handler.
    unsafe { pass_on(installed, signal, code, info, context) }
}

/// The stack whose guard was touched, if that is the one that runs; a stray pointer into another stack's guard is not an
/// overflow. Which one runs is told by the thread pointer, whose block is on the stack, or by the stack pointer: the latter
/// may have been moved past the guard, and the former is the thread's where thread-locals are shared.
fn overflowed(find: Find, address: usize, stack_pointer: usize) -> Option<StackRange> {
    let stack = find(address).filter(|stack| stack.in_guard(address))?;
    let runs = |pointer| find(pointer) == Some(stack);
    (runs(thread_pointer() as usize) || runs(stack_pointer)).then_some(stack)
}

fn report_and_abort(report: Report, overflow: &Overflow) -> ! {
    use fmt::Write;
    let mut out = Diagnostics {
        line: [0; 256],
        used: 0,
    };
    let stack = overflow.stack;
    // `Diagnostics` does not fail.
    let _ = writeln!(
        out,
        "fatal error: stack overflow\nstack of {} bytes [{:#x}, {:#x}): address {:#x} is in its guard; sp={:#x} pc={:#x}",
        stack.top - stack.limit,
        stack.limit,
        stack.top,
        overflow.address,
        overflow.stack_pointer,
        overflow.instruction,
    );
    report(overflow, &mut out);
    out.flush();
    // SAFETY: ends the process.
    unsafe { libc::abort() }
}

/// Hands the signal to whoever had it before, as the kernel would have.
///
/// # Safety
///
/// 1. The arguments are those that the kernel passed to [`handle`].
unsafe fn pass_on(
    installed: &Installed,
    signal: c_int,
    code: c_int,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
) {
    let Some((_, before)) = installed.previous.iter().find(|(of, _)| *of == signal) else {
        return;
    };
    match before.sa_sigaction {
        libc::SIG_IGN if code <= 0 => {}
        // The kernel does not let a fault be ignored.
        libc::SIG_DFL | libc::SIG_IGN => {
            // SAFETY: restores the default. A fault happens again on return, now fatally; a signal that was sent
            // is sent again, to be delivered on return.
            unsafe {
                libc::sigaction(signal, &default_action(), core::ptr::null_mut());
                if code <= 0 {
                    libc::raise(signal);
                }
            }
        }
        handler if before.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: whoever installed it with SA_SIGINFO gave a function of this type.
            unsafe {
                core::mem::transmute::<
                    usize,
                    extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void),
                >(handler)(signal, info, context);
            }
        }
        handler => {
            // SAFETY: without SA_SIGINFO it is a function of this type.
            unsafe { core::mem::transmute::<usize, extern "C" fn(c_int)>(handler)(signal) }
        }
    }
}

/// Standard error, a line at a time, by `write` alone.
struct Diagnostics {
    line: [u8; 256],
    used: usize,
}

impl Diagnostics {
    fn flush(&mut self) {
        let mut rest = &self.line[..self.used];
        while !rest.is_empty() {
            // SAFETY: the bytes are readable.
            let written =
                unsafe { libc::write(libc::STDERR_FILENO, rest.as_ptr().cast(), rest.len()) };
            match usize::try_from(written) {
                Ok(written) if written > 0 => rest = &rest[written.min(rest.len())..],
                _ if last_errno() == libc::EINTR => {}
                // A closed or full standard error: there is nowhere to say so.
                _ => break,
            }
        }
        self.used = 0;
    }
}

impl fmt::Write for Diagnostics {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            self.line[self.used] = byte;
            self.used += 1;
            if self.used == self.line.len() || byte == b'\n' {
                self.flush();
            }
        }
        Ok(())
    }
}
