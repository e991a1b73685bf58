//! Timers that somebody waits for while they are set anew, and alarms: none is missed, none goes off twice, and who was told that it will not go off is right.
//!
//! Time stands still here, at 1: what is due is due from the start, and what is not never comes.

use super::remove;
use super::threads::go;
use crate::alarm::{Alarm, Alarms, Host};
use crate::atomic::{AtomicBool, AtomicU32, Ordering, thread};
use crate::chan::Timer;
use crate::chan::select::{Chosen, Source, Wait, select};
use crate::chan::unbuffered;
use crate::critical::{self, Section};
use crate::gmp::g::GList;
use crate::gmp::timer::{TimerNode, Timers};
use crate::sync::Semaphore;
use crate::time::Nanos;
use goexplore::{Exploration, Plant};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A goroutine and a thread wait for one timer that is stopped. It is made due for one of them, who then makes it due for the other.
fn two_wait_for_a_timer() {
    let timer = Arc::new(Timer::at(Instant::now()));
    timer.stop();
    let receive = |timer: &Arc<Timer>| {
        let timer = timer.clone();
        move || {
            timer.recv();
            timer.reset(Duration::ZERO);
        }
    };
    let receivers = [go(receive(&timer)), thread::spawn(receive(&timer))];
    timer.reset(Duration::ZERO);
    for receiver in receivers {
        receiver.join().unwrap();
    }
    assert!(timer.stop(), "the last made it due for nobody");
}

/// Somebody receives from a timer that is due, or from a channel, while the timer is stopped and the channel closed.
fn a_timer_is_received_or_stopped() {
    let timer = Arc::new(Timer::at(Instant::now()));
    timer.reset(Duration::ZERO);
    let (tx, rx) = unbuffered::<()>();
    let its = timer.clone();
    let received = Arc::new(AtomicBool::new(false));
    let noted = received.clone();
    let receiver = go(move || {
        let (a, b) = (its.recv_case(), rx.recv_case());
        if select(&[&a, &b], Wait::Forever) == Some(0) {
            a.outcome();
            noted.store(true, Ordering::Relaxed);
        }
    });
    let stopped = timer.stop();
    drop(tx);
    receiver.join().unwrap();
    assert!(stopped != received.load(Ordering::Relaxed));
}

/// Somebody waits for a timer and for a channel, while one is made due and the other closed, by two.
fn a_timer_becomes_due_while_a_channel_closes() {
    let timer = Arc::new(Timer::at(Instant::now()));
    timer.stop();
    let (tx, rx) = unbuffered::<()>();
    let its = timer.clone();
    let received = Arc::new(AtomicBool::new(false));
    let noted = received.clone();
    let receiver = go(move || {
        let (a, b) = (its.recv_case(), rx.recv_case());
        let chosen = select(&[&a, &b], Wait::Forever);
        noted.store(chosen == Some(0), Ordering::Relaxed);
    });
    let closer = thread::spawn(move || drop(tx));
    timer.reset(Duration::ZERO);
    closer.join().unwrap();
    receiver.join().unwrap();
    assert!(
        timer.stop() != received.load(Ordering::Relaxed),
        "an event that was not received is still there"
    );
}

#[test]
fn explore_timers() {
    let exploration = Exploration::exhaustive().preemptions(3).stale_reads(0);
    exploration.check(
        "gosched: a timer received or stopped",
        a_timer_is_received_or_stopped,
    );
    // At random only: channels and timers are locked in the order of their addresses, which is another one each time.
    let random = Exploration::random(1).executions(3000);
    random.check(
        "gosched: a timer received or stopped",
        a_timer_is_received_or_stopped,
    );
    random.check("gosched: two wait for a timer", two_wait_for_a_timer);
    let plants = vec![Plant::named(
        "who waits for a timer does not learn that it is due earlier",
    )];
    random.catches(
        "gosched: two wait for a timer",
        plants,
        two_wait_for_a_timer,
    );
    random.check(
        "gosched: a timer becomes due while a channel closes",
        a_timer_becomes_due_while_a_channel_closes,
    );
    let plants = vec![Plant::named("a waiter may be claimed twice")];
    random.catches(
        "gosched: a timer becomes due while a channel closes",
        plants,
        a_timer_becomes_due_while_a_channel_closes,
    );
}

/// One heap, and a runner that the model starts itself.
struct Clock {
    timers: Timers,
    alarms: Alarms,
}

impl Host for Clock {
    fn alarms(&self) -> &Alarms {
        &self.alarms
    }

    unsafe fn arm(&'static self, timer: &TimerNode, inside: &Section) {
        // SAFETY: obligation 1.
        unsafe { self.timers.arm(timer, inside) };
    }

    fn attend(&'static self, _: Nanos, _: &Section) {}

    fn start_runner(&'static self) -> Result<(), String> {
        Ok(())
    }
}

impl Clock {
    /// What an M does that comes by.
    fn fire(&self) {
        let inside = critical::enter();
        let mut ready = GList::new();
        self.timers.fire(Nanos(1), &mut ready, &inside);
        while let Some(g) = ready.pop() {
            // SAFETY: firing has notified it, and found it saved.
            unsafe { (g.ops.make_runnable)(g, &inside) }
        }
    }
}

/// An alarm goes off while it is taken back, or set again.
fn alarm(set_again: bool) {
    let clock: &'static Clock = Box::leak(Box::new(Clock {
        timers: Timers::new(),
        alarms: Alarms::new(),
    }));
    let runs = Arc::new(AtomicU32::new(0));
    let rang = Arc::new(Semaphore::new(0));
    let (counted, rings) = (runs.clone(), rang.clone());
    let action = move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        rings.release(1);
    };
    let alarm = Alarm::new(clock, Box::new(action));
    let is_home = Arc::new(AtomicBool::new(false));
    let its = is_home.clone();
    let runner = go(move || {
        clock.alarms.run();
        its.store(true, Ordering::Relaxed);
    });
    let now = Instant::now();
    let mut expected = usize::from(!alarm.set(now));
    let m = thread::spawn(move || clock.fire());
    if set_again {
        expected += usize::from(!alarm.set(now));
    }
    expected -= usize::from(alarm.cancel());
    m.join().unwrap();
    rang.acquire(expected);
    // The runner comes to rest, and is sent home.
    while !is_home.load(Ordering::Relaxed) {
        let inside = critical::enter();
        if let Some(g) = clock.alarms.dismiss(&inside) {
            // SAFETY: as in `fire`.
            unsafe { (g.ops.make_runnable)(g, &inside) };
        }
        drop(inside);
        thread::yield_now();
    }
    runner.join().unwrap();
    assert_eq!(runs.load(Ordering::Relaxed) as usize, expected);
    assert_eq!(clock.timers.len(), 0);
    drop(alarm);
    assert_eq!(Arc::strong_count(&runs), 1, "the alarm is gone");
}

#[test]
fn explore_alarms() {
    let exploration = Exploration::exhaustive().preemptions(2).stale_reads(0);
    let random = Exploration::random(1).executions(3000);
    for set_again in [false, true] {
        exploration.check("gosched: an alarm goes off or is cancelled", move || {
            alarm(set_again)
        });
        random.check("gosched: an alarm goes off or is cancelled", move || {
            alarm(set_again)
        });
    }
    let plants = vec![
        Plant::named("an alarm does not wake its runner"),
        remove("src/explore/threads.rs", "sys::futex_wake(runnable, 1)"),
    ];
    random.catches("gosched: an alarm goes off or is cancelled", plants, || {
        alarm(true)
    });
}
