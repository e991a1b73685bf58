//! The helper: a thread that gives memory back while the program does something else, or nothing.
//!
//! A program that uses the heap as its `malloc` calls it when it allocates and frees, and never when it is idle, which is when memory should go
//! back. So when there is much free memory ([`Heap`] calls `wanted`) a helper is started; it looks every tenth of a second, and ends when
//! there has been nothing to do for some seconds. A program that never has much free memory never has a helper.
//!
//! How the thread is made, and why not by `pthread_create`, is in `background/thread.rs`. It blocks all signals, so a collector that stops threads by a
//! signal must have it [disabled](disable). `GOMEM_OPTIONS=background=0` in the environment does the same.
//!
//! # One at a time
//!
//! ```text
//!            wanted                     wanted
//!   NONE ─────────────► RUNNING ◄────────────────► WANTED
//!    ▲                     │          each look
//!    │ the kernel          │ nothing to do for long
//!    └───────────────── LEAVING
//! ```
//!
//! The word `STATE` is also the one that the kernel clears, and wakes waiters of, when the thread is gone (`CLONE_CHILD_CLEARTID`). Hence:
//!
//! - There is at most one, and its stack is used by nobody else before it is gone: only who turns `NONE` into `RUNNING` starts one.
//! - No call is lost: it finds `NONE` and starts one; or `RUNNING`, and by turning it into `WANTED` keeps the helper from leaving, since that is a
//!   compare-and-swap from `RUNNING`; or `WANTED`, and the look that will turn that back is yet to come; or `LEAVING`, and waits for `NONE`.
//!   That wait is bounded, for the thread may be held by a debugger; then the call is lost, and the next one comes when more is freed.
//! - After `disable` there is none: it sets the flag and waits for `NONE`. Who starts one looks at the flag after it has claimed the word, so
//!   either sees the flag, or has claimed the word before `disable` looks at it (both are sequentially consistent).
//! - A child of `fork` has no helper, whatever the word says: it is set to `NONE` there.

mod pacing;
mod thread;

use crate::heap::Heap;
use crate::os::LinuxOs;
use pacing::{PERIOD, Pacing};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::*};
use std::time::Duration;

const NONE: u32 = 0;
const RUNNING: u32 = 1;
/// Running, and there is more to do.
const WANTED: u32 = 2;
const LEAVING: u32 = 3;

static STATE: AtomicU32 = AtomicU32::new(NONE);
static DISABLED: AtomicBool = AtomicBool::new(false);
/// What a helper sleeps on: 1 once it is to end.
static END: AtomicU32 = AtomicU32::new(0);
/// Calls to be ignored, because a thread was refused.
static IGNORED: AtomicU32 = AtomicU32::new(0);
static REFUSALS: AtomicU32 = AtomicU32::new(0);

/// What is done at each look before memory is given back.
const HOOKS: [fn(&Heap<LinuxOs>); 2] = [Heap::reclaim_idle, Heap::free_spare];

/// Looks with nothing to do after which a helper ends: five seconds.
const PATIENCE: u32 = 50;
/// Bytes given back at a time, and the pause after that.
const STEP: usize = 8 << 20;
const PAUSE: u64 = 10_000_000;

/// There is much free memory; `helper` is a function that does nothing but call [`help`]. Called in critical sections, and at most of the calls that free pages while that is so.
pub(crate) fn wanted(helper: fn()) {
    if cfg!(any(miri, explore)) || DISABLED.load(Relaxed) {
        return;
    }
    let ignored = IGNORED.load(Relaxed);
    if ignored > 0 {
        IGNORED.store(ignored - 1, Relaxed);
        return;
    }
    for _ in 0..4 {
        let (from, to) = match STATE.load(Relaxed) {
            NONE => (NONE, RUNNING),
            RUNNING => (RUNNING, WANTED),
            LEAVING => {
                thread::wait(&STATE, LEAVING, Duration::from_millis(10), true);
                continue;
            }
            _ => return,
        };
        if STATE.compare_exchange(from, to, SeqCst, Relaxed).is_ok() {
            if to == RUNNING {
                start(helper);
            }
            return;
        }
    }
}

/// Called by who turned `NONE` into `RUNNING`.
#[cold]
fn start(helper: fn()) {
    let started = !DISABLED.load(SeqCst) && thread::spawn(&STATE, helper);
    if !started {
        STATE.store(NONE, SeqCst);
        thread::wake(&STATE, true);
        // Threads are limited, or forbidden. That may change: ask again, less and less often.
        let refusals = REFUSALS.fetch_add(1, Relaxed).min(10);
        IGNORED.store(1000 << refusals, Relaxed);
    }
}

/// Has no helper started, if there was none yet. Called before the program begins.
pub(crate) fn forbid() {
    DISABLED.store(true, SeqCst);
}

/// Ends the helper, if there is one, and has none started from now on. When this returns it is gone.
///
/// For who looks after free memory with a thread of his own ([`Heap::scavenge`]), or stops threads by signals, which the helper does not take.
pub fn disable() {
    forbid();
    END.store(1, SeqCst);
    loop {
        let state = STATE.load(SeqCst);
        if state == NONE {
            return;
        }
        thread::wake(&END, false);
        thread::wait(&STATE, state, Duration::from_millis(100), true);
    }
}

/// Whether there is a helper at this moment.
pub fn is_running() -> bool {
    STATE.load(SeqCst) != NONE
}

/// Called in the child of a `fork`, whose only thread is the calling one.
pub(crate) fn forget_helper() {
    STATE.store(NONE, SeqCst);
}

/// What a helper does.
pub(crate) fn help(heap: &Heap<LinuxOs>) {
    let huge = heap.by_huge_pages();
    let (in_use, free) = heap.in_use_and_surplus();
    let mut pacing = Pacing::new(thread::now(), in_use + free);
    let (mut surplus, mut next_look, mut idle) = (0, 0, 0);
    while END.load(SeqCst) == 0 {
        let now = thread::now();
        if now >= next_look {
            next_look = now + PERIOD;
            let before = thread::cpu_time();
            HOOKS.iter().for_each(|hook| hook(heap));
            pacing.worked(thread::cpu_time() - before);
            let (in_use, free) = heap.in_use_and_surplus();
            surplus = pacing.look(in_use, free);
            let wanted = STATE
                .compare_exchange(WANTED, RUNNING, SeqCst, Relaxed)
                .is_ok();
            idle = if wanted || surplus > 0 { 0 } else { idle + 1 };
            if idle >= PATIENCE
                && STATE
                    .compare_exchange(RUNNING, LEAVING, SeqCst, Relaxed)
                    .is_ok()
            {
                return;
            }
        }
        let mut pause = next_look.saturating_sub(now);
        if surplus > 0 && pacing.may_work(now) {
            let before = thread::cpu_time();
            let released = heap.release_some(surplus.min(STEP), huge);
            pacing.worked(thread::cpu_time() - before);
            // What is not given back now will not be a moment later.
            surplus = if released == 0 {
                0
            } else {
                surplus.saturating_sub(released)
            };
            pause = pause.min(PAUSE);
        }
        thread::wait(&END, 0, Duration::from_nanos(pause), false);
    }
}
