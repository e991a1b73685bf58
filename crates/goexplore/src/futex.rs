//! Sleeping on a word, as the system call does it.

use crate::atomic::AtomicU32;
use crate::execution::{Limit, On, Status, Woken, operate, part};
use crate::plant::Damage;
use crate::trace::What;
use std::panic::Location;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Sleeps while `word` holds `expected`. False when the time ran out.
///
/// In an exploration the time runs out when no other thread can go on. Outside it is the system call.
#[track_caller]
pub fn wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) -> bool {
    let at = Location::caller();
    let address = word.as_ptr().addr();
    let sleeps = operate(at, |state, me| {
        // The kernel compares under a lock: it sees the newest.
        // SAFETY: reads a word that the caller has borrowed; nobody else runs.
        let now = unsafe { word.as_ptr().read_volatile() };
        state.trace.note(
            me,
            at,
            What::Wait(if now == expected {
                "sleeps"
            } else {
                "need not sleep"
            }),
        );
        now == expected
    });
    match (sleeps, part()) {
        (Some(true), Some((execution, me))) => {
            let limit = if timeout.is_some() {
                Limit::Some
            } else {
                Limit::None
            };
            let blocked = Status::Blocked(On::Futex(address), limit);
            execution.wait(execution.lock(), me, blocked).1 == Woken::ByOther
        }
        (Some(_), _) => true,
        (None, _) => real_wait(word, expected, timeout),
    }
}

/// Wakes up to `n` threads that sleep on `word`; how many. The word itself is not looked at: it may be gone.
#[track_caller]
pub fn wake(word: *const AtomicU32, n: usize) -> usize {
    let at = Location::caller();
    let woken = operate(at, |state, me| {
        if state.damage(at) == Some(Damage::Remove) {
            return 0;
        }
        let woken = state.unblock(On::Futex(word.addr()), n);
        state.trace.note(me, at, What::Wake(woken));
        woken
    });
    woken.unwrap_or_else(|| real_wake(word, n))
}

fn real_wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) -> bool {
    let spec = timeout.map(|t| libc::timespec {
        tv_sec: t.as_secs() as i64,
        tv_nsec: i64::from(t.subsec_nanos()),
    });
    let spec = spec.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: waits on a word that is borrowed; the timeout outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
            expected,
            spec,
        )
    };
    result == 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::ETIMEDOUT)
}

fn real_wake(word: *const AtomicU32, n: usize) -> usize {
    // SAFETY: the kernel takes the address as a name.
    let woken = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word,
            libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
            n.min(i32::MAX as usize) as i32,
        )
    };
    woken.max(0) as usize
}

/// As [`membarrier`](https://man7.org/linux/man-pages/man2/membarrier.2.html) with `PRIVATE_EXPEDITED`: every thread of the exploration passes a full fence.
/// False outside of explorations, where nothing is done.
#[track_caller]
pub fn heavy_fence() -> bool {
    let at = Location::caller();
    operate(at, |state, me| {
        if state.damage(at).is_none() {
            state.memory.heavy_fence(me);
            state.trace.note(me, at, What::Fence("a heavy"));
        }
    })
    .is_some()
}

/// The other side of [`heavy_fence`]: nothing but a [`compiler_fence`](std::sync::atomic::compiler_fence), here to say what it is for.
pub fn light_fence() {
    std::sync::atomic::compiler_fence(Ordering::SeqCst);
}
