//! Something to be done at a time, though nobody waits for it.
//!
//! Firing a timer must be short and runs none of the program's code (`gmp/timer.rs`). So what an alarm has to do is done by a goroutine, the *runner*, one for each scheduler,
//! which waits for all of them; firing queues the alarm with it. The action is to be short too: what takes long starts a goroutine of its own.
//!
//! # Who keeps an alarm alive
//!
//! It is counted (`Arc`): once for each handle, once while its timer is in a heap, once while it is in the runner's queue. Firing hands the heap's count on to the queue.
//!
//! # Locks
//!
//! | what | changes under |
//! | --- | --- |
//! | whether and when it is set | `setting`, held by `set` and `cancel` throughout |
//! | place in a heap | the heap's lock, taken inside `setting`, or by who fires |
//! | `times`, `next`, the runner's waiter | the queue's lock, taken inside the heap's, or by the runner |
//!
//! So `setting` < heap < queue, and each is held for a few instructions. [`Alarm::cancel`] takes the timer out of its heap or finds that it has fired; firing holds the heap's lock until the
//! alarm is queued. Hence `cancel` returns true exactly if the action will not run for that setting, and one that is set again while it is queued runs twice (`times`).
//!
//! No wake-up of the runner is lost: it looks into the queue and makes its waiter known under one lock, and whoever queues takes the waiter under the same. Taking it is the right to
//! wake it, since it has no deadline and is known nowhere else.

use std::cell::Cell;
use std::fmt;
use std::ptr;
use std::sync::{Arc, Weak};
use std::time::Instant;

use crate::atomic::{AtomicBool, Ordering};
use crate::critical::{self, Section};
use crate::gmp::g::GRef;
use crate::gmp::timer::{TimerNode, Timers, Wake};
use crate::goroutine::WaitReason;
use crate::join::Panic;
use crate::lock::Lock;
use crate::simulated;
use crate::time::Nanos;
use crate::waiter::Waiter;

/// What an alarm needs of its scheduler.
pub(crate) trait Host: Sync {
    /// The runner's queue.
    fn alarms(&self) -> &Alarms;

    /// Arms the timer in the heap at hand.
    ///
    /// # Safety
    /// 1. As `Timers::arm`.
    unsafe fn arm(&'static self, timer: &TimerNode, inside: &Section);

    /// Makes sure that somebody looks at the heaps at that time.
    fn attend(&'static self, when: Nanos, inside: &Section);

    /// Starts the goroutine that calls [`Alarms::run`].
    ///
    /// # Errors
    /// Why it could not be started.
    fn start_runner(&'static self) -> Result<(), String>;
}

/// A function to be called at a time that can be set, changed and taken back. Handles share it.
#[derive(Clone)]
pub struct Alarm(Arc<Shared>);

struct Shared {
    timer: TimerNode,
    host: &'static dyn Host,
    /// Whether the timer was ever armed.
    setting: Lock<bool>,
    /// How often it has fired since the runner took it; in the queue if that is not zero.
    times: Cell<u32>,
    next: Cell<*const Shared>,
    action: Box<dyn Fn(Alarm) + Send + Sync>,
}

// SAFETY: what is not `Sync` in it changes under the locks that the module head names.
unsafe impl Sync for Shared {}
// SAFETY: as above; nothing in it is bound to a thread, and the timer moves only while nobody else has the alarm.
unsafe impl Send for Shared {}

impl Alarm {
    pub(crate) fn new(host: &'static dyn Host, action: Box<dyn Fn(Alarm) + Send + Sync>) -> Alarm {
        Alarm(Arc::new_cyclic(|this: &Weak<Shared>| Shared {
            timer: TimerNode::new(
                Nanos::NEVER,
                Wake {
                    target: this.as_ptr().cast(),
                    claim: fire,
                    discard: Some(release),
                },
            ),
            host,
            setting: Lock::new(false),
            times: Cell::new(0),
            next: Cell::new(ptr::null()),
            action,
        }))
    }

    /// Has the action run at `instant`, and not at the time that was set before. Returns false if nothing was set, or if that time had come.
    ///
    /// # Panics
    /// If there is no memory for the goroutine that runs alarms, which is started with the first.
    pub fn set(&self, instant: Instant) -> bool {
        let when = simulated::point_in_time(instant);
        let shared = &*self.0;
        let alarms = shared.host.alarms();
        if !alarms.has_runner.swap(true, Ordering::Relaxed)
            && let Err(error) = shared.host.start_runner()
        {
            // What is set meanwhile is queued, and run when there is a runner.
            alarms.has_runner.store(false, Ordering::Relaxed);
            panic!("{error}");
        }
        let inside = critical::enter();
        let was;
        {
            let mut was_armed = shared.setting.lock(&inside);
            // SAFETY: one at a time, under `setting`.
            was = *was_armed && unsafe { self.disarm(&inside) };
            *was_armed = true;
            shared.timer.set(when);
            // The heap's count.
            let _ = Arc::into_raw(self.0.clone());
            // SAFETY: it was taken out or has fired, and the count keeps it until it is taken out again.
            unsafe { shared.host.arm(&shared.timer, &inside) };
        }
        // Also if it is not the earliest: who looks after that one may be about to take it back.
        shared.host.attend(when, &inside);
        was
    }

    /// Takes the time that was set back. Returns false if none was, or if it had come: then the action has run or is going to.
    pub fn cancel(&self) -> bool {
        let inside = critical::enter();
        let was_armed = self.0.setting.lock(&inside);
        // SAFETY: one at a time, under `setting`.
        *was_armed && unsafe { self.disarm(&inside) }
    }

    /// Takes the timer out of its heap, if it has not fired.
    ///
    /// # Safety
    /// 1. It was armed, and nobody else arms or disarms it meanwhile.
    unsafe fn disarm(&self, inside: &Section) -> bool {
        // SAFETY: obligation 1; the heaps are a scheduler's.
        let was = unsafe { Timers::disarm(&self.0.timer, inside) };
        if was {
            // SAFETY: the heap's count, of which the heap knows nothing any more. Ours remains.
            unsafe { Arc::decrement_strong_count(Arc::as_ptr(&self.0)) };
        }
        was
    }
}

/// The timer's side: queues it with the runner.
unsafe fn fire(target: *const ()) -> Option<GRef> {
    let shared: *const Shared = target.cast();
    // SAFETY: the heap's count has kept it, and is the queue's from now on.
    unsafe { (*shared).host.alarms().push(shared) }
}

/// Gives the heap's count up.
unsafe fn release(target: *const ()) {
    // SAFETY: the count that `set` left with the heap, which has lost it.
    drop(unsafe { Arc::from_raw(target.cast::<Shared>()) });
}

/// The alarms of a scheduler that are due, and the goroutine that sees to them.
pub(crate) struct Alarms {
    queue: Lock<Queue>,
    has_runner: AtomicBool,
}

struct Queue {
    first: *const Shared,
    last: *const Shared,
    /// The runner waits.
    waiter: *const Waiter,
    /// It shall end.
    is_over: bool,
}

// SAFETY: alarms in the queue are kept by its counts, and the waiter by its frame for as long as it is here.
unsafe impl Send for Queue {}

impl Alarms {
    pub(crate) fn new() -> Alarms {
        Alarms {
            queue: Lock::new(Queue {
                first: ptr::null(),
                last: ptr::null(),
                waiter: ptr::null(),
                is_over: false,
            }),
            has_runner: AtomicBool::new(false),
        }
    }

    /// Queues an alarm that has fired. Returns the runner if it must be made runnable.
    ///
    /// # Safety
    /// 1. The caller hands over a count of the alarm.
    unsafe fn push(&self, alarm: *const Shared) -> Option<GRef> {
        let inside = critical::enter();
        let mut queue = self.queue.lock(&inside);
        // SAFETY: obligation 1; what is in the queue is kept by its counts.
        unsafe {
            let times = &(*alarm).times;
            times.set(times.get() + 1);
            if times.get() > 1 {
                // In the queue already, with a count.
                Arc::decrement_strong_count(alarm);
                return None;
            }
            (*alarm).next.set(ptr::null());
            match queue.last.as_ref() {
                Some(last) => last.next.set(alarm),
                None => queue.first = alarm,
            }
        }
        queue.last = alarm;
        #[cfg(explore)]
        if goexplore::planted("an alarm does not wake its runner") {
            return None;
        }
        queue.wake()
    }

    /// Waits for alarms and runs them, until [`dismiss`](Self::dismiss). The runner's code.
    pub(crate) fn run(&self) {
        while let Some((alarm, times)) = self.next() {
            for _ in 0..times {
                // One that panics does not stop the others.
                Panic::contain(|| (alarm.0.action)(alarm.clone()));
            }
            Panic::contain(|| drop(alarm));
        }
    }

    /// The first that is due, and how often it is.
    fn next(&self) -> Option<(Alarm, u32)> {
        loop {
            let waiter;
            {
                let inside = critical::enter();
                let mut queue = self.queue.lock(&inside);
                if !queue.first.is_null() {
                    // SAFETY: what is in the queue is kept by its counts, one of which is taken over here.
                    let first = unsafe { Arc::from_raw(queue.first) };
                    queue.first = first.next.get();
                    if queue.first.is_null() {
                        queue.last = ptr::null();
                    }
                    let times = first.times.replace(0);
                    return Some((Alarm(first), times));
                }
                if std::mem::take(&mut queue.is_over) {
                    self.has_runner.store(false, Ordering::Relaxed);
                    return None;
                }
                waiter = Waiter::new_in(&inside);
                waiter.prepare(WaitReason::TimerIdle, ptr::null::<()>());
                queue.waiter = &waiter;
            }
            waiter.wait(Nanos::NEVER);
        }
    }

    /// Has the runner end, if it waits. Returns it if it must be made runnable.
    pub(crate) fn dismiss(&self, inside: &Section) -> Option<GRef> {
        let mut queue = self.queue.lock(inside);
        if queue.waiter.is_null() {
            return None;
        }
        queue.is_over = true;
        queue.wake()
    }
}

impl Queue {
    fn wake(&mut self) -> Option<GRef> {
        let waiter = std::mem::replace(&mut self.waiter, ptr::null());
        // SAFETY: null, or the runner's, which stays in its frame until it is woken; taken out here, so once.
        unsafe {
            let claimed = waiter.as_ref()?.claim(1);
            debug_assert!(claimed, "the runner waits for nothing else");
            Waiter::notify(waiter)
        }
    }
}

impl fmt::Debug for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Alarm(..)")
    }
}
