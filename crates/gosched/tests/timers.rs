//! Timers, tickers and alarms: what Go's own tests ask of package time's channel timers (time/sleep_test.go, time/tick_test.go) and of functions at a time to come, by behaviour.
//!
//! In simulations, where an hour takes no time and nothing is late; what is about true time and several Ps is on both engines.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::{TestEnv, Threads, eventually, go, net, scheduler, times};
use gosched::chan::select::{Chosen, RecvCase, Source, Wait, select};
use gosched::chan::{Ticker, Timer, bounded, unbuffered};
use gosched::engine::threads::ThreadEngine;
use gosched::env::StackSpec;
use gosched::simulation::{self, Failure, Simulation};
use gosched::sync::WaitGroup;
use gosched::{Scheduler, now, sleep, yield_now};

on_both_engines!(
    a_timer_is_due_in_time_and_not_before,
    one_of_many_receivers_gets_the_event,
    stop_tells_whether_there_is_anything_to_be_received,
    a_timer_that_is_set_to_an_earlier_time_wakes_who_waits,
    alarms_go_off_in_time_in_order_and_once,
    an_alarm_is_either_cancelled_or_goes_off,
    alarms_go_off_though_every_p_is_busy,
    alarms_are_set_by_plain_threads,
);

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

/// Runs `f` under a number of seeds.
fn simulate(f: impl Fn(&'static Scheduler<Threads>) + Send + Sync + 'static) {
    let mut simulation =
        Simulation::<Threads>::new(StackSpec::default(), ThreadEngine::new(), net(), ());
    let scheduler = simulation.scheduler();
    if let Err(failed) = simulation.search(1..=times(100), move || f(scheduler)) {
        panic!("{failed}");
    }
}

fn a_timer_is_due_in_time_and_not_before<E: TestEnv>() {
    let s = E::scheduler(2);
    let receive = || {
        let begin = Instant::now();
        let timer = Timer::new(5 * MS);
        assert_eq!(timer.try_recv(), None);
        let due = timer.recv();
        assert!(due >= begin + 5 * MS && begin.elapsed() >= 5 * MS);
        // Whenever it is received, it was due when it was due.
        let timer = Timer::new(MS);
        sleep(40 * MS);
        let late = Instant::now();
        assert!(timer.recv() < late - 10 * MS);
        assert_eq!(timer.recv_until(Instant::now() + MS), None);
    };
    s.run_main(receive).unwrap();
    // And on a plain thread.
    receive();
}

/// Go's TestMultiWakeupTimer.
fn one_of_many_receivers_gets_the_event<E: TestEnv>() {
    let s = E::scheduler(2);
    s.run_main(move || {
        let timer = Arc::new(Timer::new(5 * MS));
        let (stop, stopped) = unbuffered::<()>();
        let received = Arc::new(AtomicU32::new(0));
        let receivers: Vec<_> = (0..10)
            .map(|_| {
                let (timer, stopped, received) = (timer.clone(), stopped.clone(), received.clone());
                go(s, move || {
                    let (a, b) = (timer.recv_case(), RecvCase::new(&stopped));
                    if select(&[&a, &b], Wait::Forever) == Some(0) {
                        a.outcome();
                        received.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        sleep(20 * MS);
        drop(stop);
        receivers.into_iter().for_each(|r| r.join().unwrap());
        assert_eq!(received.load(Ordering::Relaxed), 1);
    })
    .unwrap();
}

/// Go's TestStopResult and TestResetResult.
fn stop_tells_whether_there_is_anything_to_be_received<E: TestEnv>() {
    let s = E::scheduler(2);
    s.run_main(move || {
        let racers: Vec<_> = (0..10)
            .map(|n| {
                go(s, move || {
                    for _ in 0..times(60) {
                        let (one, two) = (Timer::new(MS), Timer::new(MS));
                        let (a, b) = (one.recv_case(), two.recv_case());
                        let chosen = select(&[&a, &b], Wait::Forever);
                        let other = if chosen == Some(0) { &two } else { &one };
                        let pending = match n % 2 {
                            0 => other.stop(),
                            _ => other.reset(HOUR),
                        };
                        assert!(pending, "nobody else receives from it");
                        assert_eq!(other.try_recv(), None);
                    }
                })
            })
            .collect();
        racers.into_iter().for_each(|r| r.join().unwrap());
    })
    .unwrap();
}

/// Go's TestTimerModifiedEarlier and TestZeroTimer.
fn a_timer_that_is_set_to_an_earlier_time_wakes_who_waits<E: TestEnv>() {
    let s = E::scheduler(2);
    s.run_main(move || {
        for n in 0..times(300) {
            let timer = Arc::new(Timer::new(HOUR));
            let its = timer.clone();
            let receiver = go(s, move || its.recv());
            if n % 2 == 0 {
                yield_now();
            }
            timer.reset(HOUR / 2);
            timer.reset(Duration::ZERO);
            receiver.join().unwrap();
        }
    })
    .unwrap();
}

fn alarms_go_off_in_time_in_order_and_once<E: TestEnv>() {
    let s = E::scheduler(2);
    s.run_main(move || {
        let (tx, rx) = bounded(10);
        let begin = Instant::now();
        let alarms: Vec<_> = [50u32, 10, 30, 20, 40]
            .map(|ms| {
                let tx = tx.clone();
                let alarm = s.alarm(move |_| {
                    assert!(begin.elapsed() >= ms * MS);
                    tx.send(ms).unwrap();
                });
                assert!(!alarm.set(begin + ms * MS));
                alarm
            })
            .into();
        let order: Vec<_> = (0..5).map(|_| rx.recv().unwrap()).collect();
        assert_eq!(order, [10, 20, 30, 40, 50]);
        assert!(alarms.iter().all(|alarm| !alarm.cancel()));
        assert!(rx.is_empty());
    })
    .unwrap();
}

fn an_alarm_is_either_cancelled_or_goes_off<E: TestEnv>() {
    let s = E::scheduler(2);
    s.run_main(move || {
        let runs = Arc::new(AtomicU32::new(0));
        let mut expected = 0;
        for n in 0..times(2000) {
            let counted = runs.clone();
            let alarm = s.alarm(move |_| _ = counted.fetch_add(1, Ordering::Relaxed));
            let first = !alarm.set(Instant::now() + Duration::from_micros(n % 50));
            assert!(first);
            if n % 3 == 0 {
                yield_now();
            }
            // Set again while it may be going off.
            expected += u32::from(n % 2 == 0 && !alarm.set(Instant::now()));
            expected += u32::from(!alarm.cancel());
        }
        sleep(10 * MS);
        assert_eq!(runs.load(Ordering::Relaxed), expected);
    })
    .unwrap();
}

/// Go's TestAfterFuncStarvation, without channels: nobody ever goes idle.
fn alarms_go_off_though_every_p_is_busy<E: TestEnv>() {
    let s = E::scheduler(1);
    s.run_main(move || {
        let rang = Arc::new(AtomicBool::new(false));
        let its = rang.clone();
        let alarm = s.alarm(move |_| its.store(true, Ordering::Relaxed));
        alarm.set(Instant::now() + MS);
        let begin = Instant::now();
        while !rang.load(Ordering::Relaxed) {
            assert!(
                begin.elapsed() < Duration::from_secs(10),
                "it does not go off"
            );
            yield_now();
        }
    })
    .unwrap();
}

fn alarms_are_set_by_plain_threads<E: TestEnv>() {
    let s = E::scheduler(2);
    let rang = Arc::new(AtomicU32::new(0));
    let its = rang.clone();
    let alarm = s.alarm(move |again| {
        if its.fetch_add(1, Ordering::Relaxed) < 2 {
            again.set(Instant::now() + MS);
        }
    });
    alarm.set(Instant::now() + MS);
    eventually("three alarms", || rang.load(Ordering::Relaxed) == 3);
    let far = Instant::now() + HOUR;
    assert!(!alarm.set(far) && alarm.set(far) && alarm.cancel() && !alarm.cancel());
}

/// Go's testTimerChan, for a timer and for a ticker.
#[test]
fn what_stop_and_reset_do_to_a_timer() {
    simulate(|s| {
        let timer = Arc::new(Timer::new(10_000 * HOUR));
        assert!(timer.stop() && !timer.stop());
        assert_eq!(timer.try_recv(), None);
        assert!(!timer.reset(10_000 * HOUR));
        assert!(timer.reset(MS));
        sleep(2 * MS);
        // Due, not received: neither a stop nor a reset leaves it there.
        assert!(timer.reset(HOUR));
        assert_eq!(timer.try_recv(), None);
        assert!(timer.reset(MS));
        sleep(2 * MS);
        assert!(timer.stop());
        assert_eq!(timer.try_recv(), None);
        timer.reset(MS);
        sleep(2 * MS);
        assert!(timer.try_recv().is_some() && timer.try_recv().is_none());
        assert!(!timer.stop() && !timer.reset(HOUR));
        // Somebody waits: it is put off, and then due.
        let its = timer.clone();
        let begin = now();
        let receiver = go(s, move || its.recv() - begin);
        simulation::wait();
        timer.reset(2 * HOUR);
        sleep(HOUR);
        assert!(!receiver.is_finished());
        timer.reset(MS);
        assert_eq!(receiver.join().unwrap(), HOUR + MS);
    });
}

#[test]
fn a_ticker_keeps_its_rhythm_and_drops_what_is_not_received() {
    simulate(|_| {
        let begin = now();
        let ticker = Ticker::new(10 * MS);
        assert_eq!(ticker.recv() - begin, 10 * MS);
        assert_eq!(ticker.recv() - begin, 20 * MS);
        sleep(35 * MS);
        // 30, 40 and 50 have passed; the first is there, and the next is 60.
        assert_eq!(ticker.recv() - begin, 30 * MS);
        assert_eq!(ticker.try_recv(), None);
        assert_eq!(ticker.recv() - begin, 60 * MS);
        ticker.reset(100 * MS);
        assert_eq!(ticker.recv() - begin, 160 * MS);
        assert_eq!(now() - begin, 160 * MS);
        sleep(150 * MS);
        ticker.stop();
        assert_eq!(ticker.try_recv(), None);
        assert_eq!(ticker.recv_until(now() + HOUR), None);
        ticker.reset(MS);
        ticker.recv();
    });
}

#[test]
#[should_panic(expected = "a ticker's period is zero")]
fn a_ticker_without_a_period_is_refused() {
    Ticker::new(Duration::ZERO);
}

/// Go's TestOverflowSleep.
#[test]
fn a_time_that_the_clock_cannot_tell_never_comes() {
    let timer = Timer::new(Duration::MAX);
    assert_eq!(timer.recv_until(Instant::now() + 5 * MS), None);
    assert!(timer.stop());
    Ticker::new(Duration::MAX).stop();
    Timer::new(Duration::ZERO).recv();
    Timer::at(Instant::now() - MS).recv();
}

#[test]
fn timers_take_part_in_a_select() {
    simulate(|s| {
        let (tx, rx) = unbuffered::<u32>();
        // The sender lies in the result, and the channel stays open.
        let _sender = go(s, move || {
            sleep(5 * MS);
            tx.send(1).map(|()| tx).unwrap()
        });
        let ticker = Ticker::new(2 * MS);
        let late = Timer::new(9 * MS);
        let never: Option<Timer> = None;
        let (mut ticks, mut values) = (0, 0);
        loop {
            let cases = (
                rx.recv_case(),
                ticker.recv_case(),
                late.recv_case(),
                never.recv_case(),
            );
            let all: [&dyn gosched::chan::select::Case; 4] =
                [&cases.0, &cases.1, &cases.2, &cases.3];
            match select(&all, Wait::Until(now() + HOUR)) {
                Some(0) => values += cases.0.outcome().unwrap(),
                Some(1) => {
                    cases.1.outcome();
                    ticks += 1;
                }
                Some(2) => {
                    cases.2.outcome();
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((ticks, values), (4, 1));
        // Only a time limit is left.
        let begin = now();
        assert_eq!(late.recv_until(begin + 7 * MS), None);
        assert_eq!(now() - begin, 7 * MS);
    });
}

#[test]
fn alarms_in_a_simulation_are_exact_and_forgotten_at_its_end() {
    simulate(|s| {
        let begin = now();
        let group = Arc::new(WaitGroup::new());
        let times: Vec<_> = (1..=3)
            .map(|hours| {
                group.add(1);
                let (done, at) = (group.clone(), Arc::new(std::sync::Mutex::new(None)));
                let its = at.clone();
                s.alarm(move |_| {
                    *its.lock().unwrap() = Some(now() - begin);
                    done.done();
                })
                .set(begin + hours * HOUR);
                at
            })
            .collect();
        group.wait();
        for (hours, at) in (1..).zip(times) {
            assert_eq!(*at.lock().unwrap(), Some(hours * HOUR));
        }
        // What this holds is dropped, though it never goes off.
        let held = Arc::new(());
        let weak = Arc::downgrade(&held);
        s.alarm(move |_| unreachable!("{held:?}")).set(now() + HOUR);
        assert!(weak.upgrade().is_some());
    });
}

#[test]
fn an_alarm_that_never_goes_off_is_dropped_with_its_simulation() {
    let mut simulation =
        Simulation::<Threads>::new(StackSpec::default(), ThreadEngine::new(), net(), ());
    let s = simulation.scheduler();
    let held = Arc::new(());
    for seed in 1..10 {
        let its = held.clone();
        let run = move || _ = s.alarm(move |_| unreachable!("{its:?}")).set(now() + HOUR);
        simulation.run(seed, run).unwrap();
        assert_eq!(Arc::strong_count(&held), 1);
    }
}

#[test]
fn who_waits_for_what_an_alarm_does_not_bring_is_deadlocked() {
    let mut simulation =
        Simulation::<Threads>::new(StackSpec::default(), ThreadEngine::new(), net(), ());
    let s = simulation.scheduler();
    let failure = simulation
        .run(1, move || {
            let (tx, rx) = unbuffered::<()>();
            let _alarm = s.alarm(|_| ()).set(now() + MS);
            let _ = rx.recv();
            drop(tx);
        })
        .unwrap_err();
    assert!(matches!(failure, Failure::Deadlock(_)), "{failure}");
}

#[test]
fn a_panic_in_an_alarm_does_not_stop_the_others() {
    let s = scheduler(1);
    s.run_main(move || {
        let (tx, rx) = bounded(1);
        s.alarm(|_| panic!("on purpose, in an alarm"))
            .set(Instant::now());
        s.alarm(move |_| tx.send(()).unwrap()).set(Instant::now());
        rx.recv().unwrap();
    })
    .unwrap();
}
