//! The helper's thread, made by the bare system call.
//!
//! It is started from inside `malloc` or `free`, whose caller may be anyone: the C library with its lock over thread stacks held, the
//! dynamic linker, a handler of `pthread_atfork`. `pthread_create` takes such locks, and allocates. So the thread is made by `clone`, on a stack
//! of its own, and is unknown to the C library.
//!
//! What code in this crate expects of a thread is a thread pointer under which its thread-locals are found. The C library's thread control block is
//! at the pointer, the thread-locals of all modules that were there at the start are below it, at the same distances in every thread:
//!
//! ```text
//!   region                                                            tp                     (one mapping, kept)
//!     │ no access │          stack ◄── │ dtv │ .. LOCAL .. errno .. │ tcb │ zeroes           │
//!                                            ◄──────── below ──────►  0: tp  8: dtv  16: tp  0x28, 0x30: guards
//! ```
//!
//! - `below` is as much as reaches to the farther one of this crate's thread-locals and `errno`, which are all that is used. Both are
//!   looked up in the calling thread; if they are not below its thread pointer (a library that was loaded late) there is no helper.
//! - A shared library finds its thread-locals through the vector of modules (`dtv`, as `__tls_get_addr` uses it). The copy has the entries of modules
//!   that lie below the thread pointer moved along, and none of the others. It has spare entries, so that the linker does not make it longer,
//!   for which it would call `realloc`, when more libraries have been loaded meanwhile.
//!
//! Invariant: what runs on the thread calls nothing but this crate and functions of the C library that are no more than a system call and `errno`. It
//! does not panic, and does not return: the thread ends by the bare system call.

use crate::local::Local;
use crate::os::KeepErrno;
use std::arch::{asm, naked_asm};
use std::ptr::{null_mut, with_exposed_provenance_mut};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::*};
use std::time::Duration;

/// Bytes for the stack, with a page that cannot be touched at its end.
const STACK: usize = 64 << 10;
const GUARD: usize = 4096;
/// Bytes above the thread pointer: more than any version of the C library has in its control block.
const ABOVE: usize = 4096;
/// How far below the thread pointer thread-locals may be.
const FAR: usize = 1 << 20;
/// Modules for which there is room beyond those that there are.
const SPARE: usize = 1024;

/// An entry of a vector of modules. The first holds a generation, the one before it the length.
type Entry = [usize; 2];
/// What an entry holds while its module has no block in this thread.
const UNALLOCATED: Entry = [usize::MAX, 0];

/// The mapping for stack and thread-locals of the last helper, used again for the next. Changed only by who starts one.
static REGION: AtomicUsize = AtomicUsize::new(0);
static REGION_BYTES: AtomicUsize = AtomicUsize::new(0);
static MAIN: AtomicUsize = AtomicUsize::new(0);

/// Distances from the calling thread's thread pointer, and what is to be copied.
struct Caller {
    tp: usize,
    below: usize,
    local: usize,
    modules: usize,
}

impl Caller {
    fn look() -> Option<Caller> {
        // SAFETY: the first word of the thread control block is its address.
        let tp = unsafe {
            let tp: usize;
            asm!("mov {}, fs:0", out(reg) tp, options(nostack, readonly, preserves_flags));
            tp
        };
        let distance = |addr: usize| tp.checked_sub(addr).filter(|&d| d > 0 && d <= FAR);
        let local = distance(Local::with(|local| (&raw const *local).addr()))?;
        // SAFETY: always a valid pointer to this thread's errno.
        let errno = distance(unsafe { libc::__errno_location() }.addr())?;
        let vector = word(tp + 8);
        if vector == 0 {
            return None;
        }
        Some(Caller {
            tp,
            below: local.max(errno).next_multiple_of(64),
            local,
            modules: word(vector - size_of::<Entry>()),
        })
    }

    /// Bytes of the copy of the vector, with its length and generation.
    fn vector_bytes(&self) -> usize {
        (self.modules + SPARE + 2) * size_of::<Entry>()
    }

    fn region_bytes(&self) -> usize {
        let bytes = GUARD + STACK + self.vector_bytes() + self.below + ABOVE;
        (bytes + 64).next_multiple_of(4096)
    }

    /// Builds the block in a region of that size. Returns the top of the stack and the thread pointer.
    ///
    /// # Safety
    /// 1. The region is of `region_bytes`, and nobody uses it.
    unsafe fn build(&self, region: usize) -> (usize, usize) {
        let top = region + GUARD + STACK;
        let vector = top + size_of::<Entry>();
        let tp = (top + self.vector_bytes() + self.below).next_multiple_of(64);
        let at = |addr: usize| with_exposed_provenance_mut::<usize>(addr);
        // SAFETY: (1): all of these lie in the region. The caller's vector has `modules` entries behind the generation.
        unsafe {
            let start = tp - self.below;
            at(start).cast::<u8>().write_bytes(0, self.below + ABOVE);
            let old = at(word(self.tp + 8)).cast::<Entry>();
            let new = at(vector).cast::<Entry>();
            new.sub(1).write([self.modules + SPARE, 0]);
            new.write(old.read());
            for module in 1..=self.modules + SPARE {
                let mut entry = UNALLOCATED;
                if module <= self.modules {
                    let block = (*old.add(module))[0];
                    if block < self.tp && self.tp - block <= FAR {
                        entry[0] = tp - (self.tp - block);
                    }
                }
                new.add(module).write(entry);
            }
            at(tp).write(tp);
            at(tp + 8).write(vector);
            at(tp + 16).write(tp);
            for guard in [0x28, 0x30] {
                at(tp + guard).write(word(self.tp + guard));
            }
            Local::init(at(tp - self.local).cast());
        }
        (top, tp)
    }
}

/// Reads a word of the calling thread's control block or vector.
fn word(addr: usize) -> usize {
    // SAFETY: only called with such addresses.
    unsafe { with_exposed_provenance_mut::<usize>(addr).read() }
}

/// The region, of at least so many bytes; made if there is none. Called by who starts a helper.
fn region(bytes: usize) -> Option<usize> {
    let present = REGION.load(Relaxed);
    if present != 0 && REGION_BYTES.load(Relaxed) >= bytes {
        return Some(present);
    }
    // SAFETY: a new mapping, and the guard page at its start. The old one is nobody's: the helper that used it is gone.
    unsafe {
        let start = libc::mmap(
            null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        );
        if start == libc::MAP_FAILED {
            return None;
        }
        libc::mprotect(start, GUARD, libc::PROT_NONE);
        // The old one is unmapped last: a child that is forked in between must not find it in its copy of the words.
        let old_bytes = REGION_BYTES.swap(0, SeqCst);
        REGION.store(start.expose_provenance(), SeqCst);
        REGION_BYTES.store(bytes, SeqCst);
        if present != 0 {
            libc::munmap(with_exposed_provenance_mut(present), old_bytes);
        }
        Some(start.addr())
    }
}

/// Starts a thread that runs `main` and ends; the kernel sets `word` to zero then, and wakes who waits for that. False if it was refused.
pub(super) fn spawn(word: &'static AtomicU32, main: fn()) -> bool {
    let _errno = KeepErrno::new();
    let Some(caller) = Caller::look() else {
        return false;
    };
    let Some(region) = region(caller.region_bytes()) else {
        return false;
    };
    // SAFETY: of that size, and used by no other helper: there is none.
    let (top, tp) = unsafe { caller.build(region) };
    MAIN.store(main as usize, Relaxed);
    let flags = libc::CLONE_VM
        | libc::CLONE_FS
        | libc::CLONE_FILES
        | libc::CLONE_SIGHAND
        | libc::CLONE_THREAD
        | libc::CLONE_SYSVSEM
        | libc::CLONE_SETTLS
        | libc::CLONE_CHILD_CLEARTID;
    let (all, mut before) = (u64::MAX, 0u64);
    // SAFETY: the mask of the calling thread, restored below; the new thread starts with all signals blocked. Its stack and thread-locals
    // are as the head of the file says.
    unsafe {
        let set = |mask: *const u64, old: *mut u64| {
            libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, mask, old, 8)
        };
        if set(&all, &mut before) != 0 {
            return false;
        }
        let thread = clone(flags as usize, top, null_mut(), word.as_ptr(), tp, entry);
        set(&before, null_mut());
        thread > 0
    }
}

/// The system call. In the new thread `entry` is called.
///
/// # Safety
/// 1. As for the system call; `entry` finds a thread that it can run on.
#[unsafe(naked)]
unsafe extern "C" fn clone(
    flags: usize,
    stack: usize,
    parent_tid: *mut u32,
    child_tid: *mut u32,
    tls: usize,
    entry: unsafe extern "C" fn() -> !,
) -> isize {
    naked_asm!(
        "mov r10, rcx",
        "mov eax, 56",
        "syscall",
        "test rax, rax",
        "jz 2f",
        "ret",
        "2:",
        // No frame above this one.
        "xor ebp, ebp",
        "call r9",
        "ud2",
    )
}

unsafe extern "C" fn entry() -> ! {
    // SAFETY: a name for `top` and `ps`; `spawn` has stored a `fn()`; the end of this thread, whose stack nobody else uses.
    unsafe {
        libc::syscall(
            libc::SYS_prctl,
            libc::PR_SET_NAME,
            c"gomem".as_ptr(),
            0,
            0,
            0,
        );
        std::mem::transmute::<usize, fn()>(MAIN.load(Relaxed))();
        asm!("syscall", in("eax") libc::SYS_exit as i32, in("edi") 0, options(noreturn));
    }
}

fn clock(which: i32) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: a place for a time. The system call and not the function, which may go through pointers of the C library's.
    unsafe { libc::syscall(libc::SYS_clock_gettime, which, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Nanoseconds on a clock that does not jump.
pub(super) fn now() -> u64 {
    clock(libc::CLOCK_MONOTONIC)
}

/// Nanoseconds that the calling thread has run.
pub(super) fn cpu_time() -> u64 {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// The operation with the flag that says whose waiters are meant: those of the kernel's wake-up at a thread's end are not private.
fn operation(operation: i32, shared: bool) -> i32 {
    operation | if shared { 0 } else { libc::FUTEX_PRIVATE_FLAG }
}

/// Sleeps while `word` holds `expected`, at most so long. May return for no reason.
pub(super) fn wait(word: &AtomicU32, expected: u32, timeout: Duration, shared: bool) {
    let _errno = KeepErrno::new();
    let timeout = libc::timespec {
        tv_sec: timeout.as_secs() as i64,
        tv_nsec: timeout.subsec_nanos() as i64,
    };
    let how = operation(libc::FUTEX_WAIT, shared);
    // SAFETY: the word is static; the kernel only reads it.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            how,
            expected,
            &raw const timeout,
        )
    };
}

/// Wakes all threads that sleep on `word`.
pub(super) fn wake(word: &AtomicU32, shared: bool) {
    let _errno = KeepErrno::new();
    let how = operation(libc::FUTEX_WAKE, shared);
    // SAFETY: the kernel uses the address as a key only.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), how, i32::MAX) };
}
