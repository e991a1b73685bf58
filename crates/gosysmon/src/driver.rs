//! The monitor's thread.
//!
//! It observes, ticks, acts and sleeps; after the start it allocates nothing. From a sleep that is not deep
//! it need not be woken. For a deep one, this is the protocol, Dekker's:
//!
//! ```text
//!   monitor                                   whoever takes a P from the idle ones
//!   deep = true                               publish that the P is held
//!   fence                                     fence
//!   observe; nothing held? park               deep? unpark the monitor
//! ```
//!
//! Either the monitor sees the P held and does not park, or the other sees `deep` and unparks it. `unpark`
//! before `park` is not lost: the next `park` returns at once.

use crate::atomic::thread::{self, JoinHandle, Thread};
use crate::atomic::{AtomicBool, Ordering, fence};
use std::io;
use std::sync::Arc;

use crate::config::Config;
use crate::data::{Actions, Observation, Sleep};
use crate::monitor::Monitor;
use crate::stall::{Stall, Tasks};

/// What is monitored.
///
/// All methods are called from the monitor's thread only. They should not block: while they do, nobody
/// watches.
pub trait Target: Send + 'static {
    /// Fills in what is to be seen, the time included. All fields are to be set each time.
    fn observe(&self, into: &mut Observation);

    /// Does what is to be done.
    fn act(&self, actions: &Actions);

    /// Calls `sleep`, which has the thread wait in the kernel, and returns when it has. For whoever wants to know meanwhile that it does nothing.
    fn rest(&self, sleep: impl FnOnce()) {
        sleep();
    }

    /// Adds what each worker is at, but for those that said that it may take long. Called every few seconds, while some are.
    fn tasks(&self, into: &mut Tasks) {
        let _ = into;
    }

    /// Is told of workers that do not get on; never of none.
    fn stalled(&self, stalls: &[Stall]) {
        let _ = stalls;
    }
}

#[derive(Debug, Default)]
struct Control {
    /// The monitor sleeps deeply or is about to.
    deep: AtomicBool,
    stop: AtomicBool,
}

/// Ends deep sleeps.
#[derive(Clone, Debug)]
pub struct Waker {
    control: Arc<Control>,
    thread: Thread,
}

impl Waker {
    /// Tells the monitor that there is something to watch again: a P that was idle is held, the world has
    /// been started, or a timer is due earlier than all others. To be called after that fact can be observed.
    /// A fence and a load if the monitor is not in a deep sleep.
    #[inline]
    pub fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.control.deep.load(Ordering::Relaxed) {
            self.wake_now();
        }
    }

    #[cold]
    fn wake_now(&self) {
        // Of many who come at once one has the work.
        if self.control.deep.swap(false, Ordering::Relaxed) {
            self.thread.unpark();
        }
    }
}

/// A running monitor. Dropped, it stops.
#[derive(Debug)]
pub struct Driver {
    control: Arc<Control>,
    thread: Option<JoinHandle<()>>,
}

impl Driver {
    /// Starts a monitor of `target`, which has at most `capacity` Ps at any time.
    ///
    /// # Errors
    /// If the system refuses another thread. The program can go on without a monitor, but then nothing that
    /// blocks a P lets go of it.
    pub fn start(config: Config, capacity: usize, target: impl Target) -> io::Result<Driver> {
        let control = Arc::new(Control::default());
        let theirs = Arc::clone(&control);
        let thread = thread::Builder::new()
            .name("sysmon".to_owned())
            .spawn(move || run(Monitor::new(config, capacity), capacity, &target, &theirs))
            .map_err(|error| {
                let message = format!(
                    "cannot start the system monitor's thread: {error}; raise the limit on threads \
                     (ulimit -u, or pids.max of the cgroup)"
                );
                io::Error::new(error.kind(), message)
            })?;
        Ok(Driver {
            control,
            thread: Some(thread),
        })
    }

    /// Something to wake the monitor with.
    ///
    /// # Panics
    /// Never: the thread is there until the driver is dropped.
    #[must_use]
    pub fn waker(&self) -> Waker {
        match &self.thread {
            Some(thread) => Waker {
                control: Arc::clone(&self.control),
                thread: thread.thread().clone(),
            },
            None => unreachable!("the thread is taken only by `drop`"),
        }
    }
}

impl Drop for Driver {
    /// Stops the monitor and waits until its thread has ended.
    fn drop(&mut self) {
        self.control.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic of the target has been reported on its own thread.
            let _ = thread.join();
        }
    }
}

/// The loop of the thread.
fn run(mut monitor: Monitor, capacity: usize, target: &impl Target, control: &Control) {
    let mut observation = Observation::with_capacity(capacity);
    let mut tasks = Tasks::default();
    while !control.stop.load(Ordering::Acquire) {
        target.observe(&mut observation);
        let (actions, sleep) = monitor.tick(&observation);
        target.act(actions);
        if actions.look_at_tasks {
            tasks.clear();
            target.tasks(&mut tasks);
            let stalls = monitor.look(observation.now, &mut tasks);
            if !stalls.is_empty() {
                target.stalled(stalls);
            }
        }
        match sleep {
            Sleep::For(time) => target.rest(|| thread::park_timeout(time.into())),
            Sleep::Deep(limit) => {
                control.deep.store(true, Ordering::Relaxed);
                fence(Ordering::SeqCst);
                target.observe(&mut observation);
                if monitor.may_sleep_deeply(&observation) {
                    target.rest(|| thread::park_timeout(limit.into()));
                }
                let ended_by_waker = !control.deep.swap(false, Ordering::Relaxed);
                if ended_by_waker {
                    monitor.woken();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
