//! What is done when the program, or the library, is loaded, and when the process exits.
//!
//! Reports are written by a destructor of the library (`.fini_array`), which the C library calls after the functions of `atexit` and after the destructors of
//! whatever was loaded later. (Under `LD_PRELOAD` the library is the first to be initialised, hence the last.) A process that ends by `_exit` or a signal
//! has no report. Nor has a child of `fork` that goes on with the same program: the environment asked for one report of one process, and a file is not
//! to be overwritten by the child. A child that executes a program reads the environment anew; `%p` in a path keeps their files apart.
//!
//! Invariant: the variables here are written once, at load, before there is another thread of the program's.

use crate::options::{self, Options, PATH_MAX};
use crate::process::{heap, make_exit_key};
use crate::text::Output;
use std::ffi::CStr;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, Ordering::Relaxed};

#[used]
// Miri calls such functions without arguments.
#[cfg_attr(not(miri), unsafe(link_section = ".init_array"))]
static AT_LOAD: extern "C" fn(i32, *const *const u8, *const *const u8) = at_load;

#[used]
#[unsafe(link_section = ".fini_array")]
static AT_EXIT: extern "C" fn() = at_exit;

static STATS: AtomicBool = AtomicBool::new(false);
static LEAKS: AtomicBool = AtomicBool::new(false);
static REPORT: Path = Path::new();
static PROFILE: Path = Path::new();
/// The process that asked.
static PROCESS: AtomicI32 = AtomicI32::new(0);

/// A path, with zeroes behind it. The environment's copy may be overwritten by the program.
struct Path([AtomicU8; PATH_MAX]);

impl Path {
    const fn new() -> Path {
        Path([const { AtomicU8::new(0) }; PATH_MAX])
    }

    fn set(&self, path: Option<&[u8]>) {
        for (to, &from) in self.0.iter().zip(path.unwrap_or(&[])) {
            to.store(from, Relaxed);
        }
    }

    /// Creates the file. `None` if there is no path, or with a line on standard error.
    fn create(&self) -> Option<Output> {
        let mut bytes = [0; PATH_MAX + 16];
        let mut len = 0;
        let mut path = self.0.iter().map(|byte| byte.load(Relaxed)).peekable();
        while let Some(byte) = path.next_if(|&byte| byte != 0) {
            if byte == b'%' && path.next_if_eq(&b'p').is_some() {
                let mut number = std::process::id();
                let mut digits = [0; 10];
                let mut first = digits.len();
                while number != 0 {
                    first -= 1;
                    digits[first] = b'0' + (number % 10) as u8;
                    number /= 10;
                }
                let digits = &digits[first..];
                let room = bytes.get_mut(len..len + digits.len())?;
                room.copy_from_slice(digits);
                len += digits.len();
            } else {
                *bytes.get_mut(len)? = byte;
                len += 1;
            }
        }
        *bytes.get_mut(len)? = 0;
        let path = CStr::from_bytes_until_nul(&bytes).ok()?;
        if path.is_empty() {
            return None;
        }
        let file = Output::create(path);
        if file.is_none() {
            let mut output = Output::stderr();
            let _ = write!(output, "gomem: cannot write ");
            output.write_bytes(path.to_bytes());
            let _ = writeln!(output);
        }
        file
    }
}

/// As in [`fork`](crate::fork::link).
#[inline]
pub(crate) fn link() {
    std::hint::black_box((&AT_LOAD, &AT_EXIT));
}

/// The C library calls the functions of `.init_array` with the arguments of `main`.
extern "C" fn at_load(_: i32, _: *const *const u8, environment: *const *const u8) {
    make_exit_key();
    // SAFETY: the environment, null at the end; its entries are C strings.
    let text = unsafe { options::value(environment) };
    // SAFETY: reads a word that the kernel has given the process.
    let is_privileged = unsafe { libc::getauxval(libc::AT_SECURE) } != 0;
    // Whoever starts a set-uid program is not to have it write files.
    if text.is_empty() || is_privileged {
        return;
    }
    let options: Options<'_> = options::parse(text, options::complain);
    if !options.background {
        crate::background::forbid();
    }
    if options.hardened {
        heap().harden();
    }
    if options.huge_pages {
        heap().advise_huge_pages();
    }
    if options.profile != 0 {
        crate::profile::start(options.profile);
    }
    STATS.store(options.stats_at_exit, Relaxed);
    LEAKS.store(options.leaks_at_exit, Relaxed);
    REPORT.set(options.report);
    PROFILE.set(options.profile_at_exit);
    // SAFETY: a system call without arguments.
    PROCESS.store(unsafe { libc::getpid() }, Relaxed);
}

extern "C" fn at_exit() {
    // SAFETY: as above.
    if PROCESS.load(Relaxed) != unsafe { libc::getpid() } {
        return;
    }
    if let Some(mut file) = PROFILE.create() {
        // What cannot be written is lost.
        let _ = crate::profile::write_pprof(&mut file);
    }
    let (stats, leaks) = (STATS.load(Relaxed), LEAKS.load(Relaxed));
    if stats || leaks {
        let mut output = REPORT.create().unwrap_or_else(Output::stderr);
        // Writing to an `Output` does not fail.
        let _ = writeln!(output, "gomem: process {}", std::process::id());
        if stats {
            let _ = heap().write_table(&mut output);
            let helper = if crate::background::is_running() {
                "running"
            } else {
                "none"
            };
            let _ = writeln!(output, "{:<20} {helper:>15}", "helper thread");
        }
        if leaks {
            let _ = writeln!(output, "still allocated at exit");
            let _ = crate::profile::write_live(&mut output);
        }
    }
}
