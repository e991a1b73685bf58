//! Stopping every thread by a signal, as a collector does, while goroutines do all that they can. A
//! stopped thread must hold no lock of the scheduler's: what is done while the world is stopped
//! takes those locks, and would hang.

// Miri has no signals.
#![cfg(not(miri))]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{TestEnv, eventually, go};
use gosched::chan::bounded;
use gosched::critical;
use gosched::goroutine::{GoroutineInfo, StackInfo};
use gosched::sync::Mutex;
use gosched::{Nanos, Scheduler, Snapshot};

/// Sections of the scheduler may allocate, so a stopped thread must not be inside the allocator
/// either. A runtime's own allocator sees to that itself; the C library's is made to here.
struct NotStoppedInside;

// SAFETY: it does what the system's allocator does.
unsafe impl GlobalAlloc for NotStoppedInside {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _inside = critical::enter();
        // SAFETY: the caller's obligations.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let _inside = critical::enter();
        // SAFETY: the caller's obligations.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: NotStoppedInside = NotStoppedInside;

/// Odd while the world is to stand still.
static GENERATION: AtomicU32 = AtomicU32::new(0);
static STOPPED: [AtomicI32; 1024] = [const { AtomicI32::new(0) }; 1024];
/// An address on the stack of each.
static STACKS: [AtomicUsize; 1024] = [const { AtomicUsize::new(0) }; 1024];
static STOPPED_COUNT: AtomicUsize = AtomicUsize::new(0);
static INSIDE: AtomicUsize = AtomicUsize::new(0);

thread_local! { static ANSWERED: AtomicU32 = const { AtomicU32::new(0) }; }

fn tid() -> i32 {
    // SAFETY: it has no arguments.
    unsafe { libc::syscall(libc::SYS_gettid) as i32 }
}

extern "C" fn on_signal(_: i32) {
    if critical::is_active() {
        INSIDE.fetch_add(1, Ordering::Relaxed);
        critical::request_stop();
        return;
    }
    stop_here();
}

fn stop_here() {
    let generation = GENERATION.load(Ordering::SeqCst);
    // A thread may be asked twice in one stop, by a late signal and by the end of its section.
    if generation.is_multiple_of(2)
        || ANSWERED.with(|a| a.swap(generation, Ordering::Relaxed)) == generation
    {
        return;
    }
    let slot = STOPPED_COUNT.fetch_add(1, Ordering::SeqCst);
    STACKS[slot].store((&raw const generation).addr(), Ordering::SeqCst);
    STOPPED[slot].store(tid(), Ordering::SeqCst);
    while GENERATION.load(Ordering::SeqCst) == generation {
        // SAFETY: the word is static.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                GENERATION.as_ptr(),
                libc::FUTEX_WAIT,
                generation,
                std::ptr::null::<libc::timespec>(),
            );
        }
    }
}

/// Calls `each` with every thread of the process. Allocates nothing, for a stopped thread may be
/// inside `malloc`.
fn for_each_thread(mut each: impl FnMut(i32)) {
    let mut buffer = [0u64; 1024];
    // SAFETY: the path is a C string, the buffer is writable and of the length given.
    unsafe {
        let dir = libc::open(
            c"/proc/self/task".as_ptr(),
            libc::O_RDONLY | libc::O_DIRECTORY,
        );
        assert!(dir >= 0);
        loop {
            let n = libc::syscall(
                libc::SYS_getdents64,
                dir,
                buffer.as_mut_ptr(),
                size_of_val(&buffer),
            );
            let mut at = 0;
            while at < n {
                // linux_dirent64: inode, offset, u16 length at 16, type at 18, name from 19.
                let entry = buffer.as_ptr().cast::<u8>().add(at as usize);
                let name = std::ffi::CStr::from_ptr(entry.add(19).cast());
                if let Some(thread) = name.to_str().ok().and_then(|n| n.parse().ok()) {
                    each(thread);
                }
                at += i64::from(entry.add(16).cast::<u16>().read());
            }
            if n <= 0 {
                break;
            }
        }
        libc::close(dir);
    }
}

/// Whether a thread has the signal blocked, as libc does on its last way out, perhaps waiting there
/// for a lock that a stopped thread holds. It runs no code of the program any more.
fn is_exiting(thread: i32) -> bool {
    let mut path = [0u8; 48];
    let mut status = [0u8; 4096];
    let mut rest = &mut path[..];
    write!(rest, "/proc/self/task/{thread}/status\0").unwrap();
    // SAFETY: the path is a C string, the buffer is writable and of the length given.
    let n = unsafe {
        let fd = libc::open(path.as_ptr().cast(), libc::O_RDONLY);
        if fd < 0 {
            return true;
        }
        let n = libc::read(fd, status.as_mut_ptr().cast(), status.len());
        libc::close(fd);
        n.max(0) as usize
    };
    let status = str::from_utf8(&status[..n]).unwrap_or("");
    let blocked = status
        .lines()
        .find_map(|line| line.strip_prefix("SigBlk:\t"));
    let blocked = blocked.and_then(|hex| u64::from_str_radix(hex, 16).ok());
    blocked.is_none_or(|mask| mask & 1 << (libc::SIGURG - 1) != 0)
}

fn signal(thread: i32) -> bool {
    // SAFETY: integers only.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, libc::SIGURG) == 0 }
}

/// Stops everybody but the caller, calls `f`, and lets them go on.
fn with_world_stopped<R>(f: impl FnOnce() -> R) -> R {
    STOPPED
        .iter()
        .for_each(|slot| slot.store(0, Ordering::SeqCst));
    STOPPED_COUNT.store(0, Ordering::SeqCst);
    GENERATION.fetch_add(1, Ordering::SeqCst);
    let me = tid();
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut asked = [0; 1024];
    let mut asked_count = 0;
    loop {
        let mut waiting = 0;
        for_each_thread(|thread| {
            let has_stopped = STOPPED
                .iter()
                .any(|slot| slot.load(Ordering::SeqCst) == thread);
            if thread == me || has_stopped {
                return;
            }
            if !asked[..asked_count].contains(&thread) {
                asked[asked_count] = thread;
                asked_count += 1;
                signal(thread);
            } else if is_exiting(thread) {
                return;
            }
            waiting += 1;
        });
        if waiting == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "{waiting} threads do not stop");
        std::thread::sleep(Duration::from_micros(50));
    }
    let result = f();
    GENERATION.fetch_add(1, Ordering::SeqCst);
    // SAFETY: the word is static.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            GENERATION.as_ptr(),
            libc::FUTEX_WAKE,
            i32::MAX,
        )
    };
    result
}

fn busy<E: TestEnv>(s: &'static Scheduler<E>, over: &Arc<AtomicBool>) {
    let (tx, rx) = bounded::<u64>(2);
    let shared = Arc::new(Mutex::new(0));
    for i in 0..6u64 {
        let (tx, rx, shared, over) = (tx.clone(), rx.clone(), shared.clone(), over.clone());
        go(s, move || {
            while !over.load(Ordering::Relaxed) {
                let _ = tx.send_until(i, Instant::now() + Duration::from_micros(100));
                *shared.lock() += 1;
                let _ = rx.recv_until(Instant::now() + Duration::from_micros(100));
                go(s, || ()).join().unwrap();
                gosched::yield_now();
            }
        });
    }
}

fn stops_at_any_moment<E: TestEnv>() {
    let s = E::scheduler(2);
    let over = Arc::new(AtomicBool::new(false));
    busy(s, &over);
    // Everything that allocates on first use is used once before.
    let mut snapshot = Snapshot::default();
    s.observe(&mut snapshot);
    assert!(s.register(-1).is_err());
    for _ in 0..150 {
        std::thread::sleep(Duration::from_micros(300));
        let alive = with_world_stopped(|| {
            let mut alive = 0;
            let stopped = &STACKS[..STOPPED_COUNT.load(Ordering::SeqCst)];
            let runs = |stack: &Range<usize>| {
                stopped
                    .iter()
                    .any(|sp| stack.contains(&sp.load(Ordering::SeqCst)))
            };
            let each = |g: GoroutineInfo, stack: StackInfo| {
                assert!(g.id.0 > 0);
                if let (Some(range), Some(sp)) = (stack.range, stack.saved_sp) {
                    assert!(sp == 0 || range.contains(&sp));
                }
                alive += 1;
            };
            // SAFETY: every thread but this one is stopped, outside critical sections, on the stacks looked at.
            unsafe { s.for_each_stopped_goroutine(runs, each) };
            // These take the locks of queues, timers, idle lists and descriptors. A wake-up must not
            // start a thread now, because that allocates.
            s.observe(&mut snapshot);
            let starts_no_thread =
                snapshot.idle_procs == 0 || snapshot.spinning > 0 || snapshot.idle_machines > 0;
            if starts_no_thread {
                s.poll_network_if_due(Nanos::ZERO);
            }
            assert!(s.register(-1).is_err());
            alive
        });
        assert!((6..=13).contains(&alive), "{alive} goroutines");
    }
    over.store(true, Ordering::Relaxed);
    eventually("all end", || s.goroutines() == 0);
}

/// One test: the signal and the hook are the process's.
#[test]
fn stopped_threads_hold_nothing() {
    // SAFETY: the handler makes only async-signal-safe calls; the structure is zeroed, which is an
    // empty mask and no flags.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_signal as extern "C" fn(i32) as usize;
        action.sa_flags = libc::SA_RESTART;
        assert_eq!(
            libc::sigaction(libc::SIGURG, &action, std::ptr::null_mut()),
            0
        );
    }
    critical::set_stop_hook(stop_here);
    stops_at_any_moment::<common::Threads>();
    stops_at_any_moment::<common::Stacks>();
    eprintln!(
        "{} signals came inside critical sections",
        INSIDE.load(Ordering::Relaxed)
    );
}
