//! Simulations: the seed decides everything, finds what chance seldom does, and shows it again.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{TestEnv, Threads, net, times};
use gosched::chan::select::{RecvCase, Wait, select};
use gosched::chan::{RecvUntilError, bounded, unbuffered};
use gosched::engine::threads::ThreadEngine;
use gosched::env::{Env, StackSpec};
use gosched::poll::Direction;
use gosched::simulation::{self, Failed, Failure, Simulation};
use gosched::sync::{Cond, Mutex, RwLock, Semaphore, WaitGroup};
use gosched::{Scheduler, now, yield_now};

/// An environment of which simulations can be made.
trait SimulatedEnv: TestEnv {
    fn simulation() -> Simulation<Self>;
}

impl SimulatedEnv for Threads {
    fn simulation() -> Simulation<Threads> {
        Simulation::new(StackSpec::default(), ThreadEngine::new(), net(), ())
    }
}

#[cfg(not(miri))]
impl SimulatedEnv for common::Stacks {
    fn simulation() -> Simulation<common::Stacks> {
        let engine = common::ucontext::UcontextEngine;
        Simulation::new(StackSpec::default(), engine, net(), ())
    }
}

on_both_engines!(
    a_seed_does_the_same_again_and_another_does_not,
    a_lost_update_is_found_and_shown_again,
    a_lost_wake_up_is_found,
    a_deadlock_of_two_locks_is_found_with_everybody_in_it,
    time_jumps_to_the_next_timer,
    deadlines_and_sleepers_fire_in_order,
    the_clock_stands_while_anybody_can_run,
    others_are_at_rest_after_a_wait,
    who_is_left_behind_is_named,
    an_unseen_panic_fails_the_run,
    a_panic_that_is_joined_does_not,
    circles_are_cut,
    right_programs_pass_under_every_seed,
    one_that_only_yields_lets_time_pass,
);

fn go<E: Env>(
    s: &'static Scheduler<E>,
    f: impl FnOnce() + Send + 'static,
) -> gosched::JoinHandle<()> {
    s.spawn(f).expect("a goroutine starts")
}

/// What a program of everything does, in order.
fn course<E: SimulatedEnv>(
    simulation: &mut Simulation<E>,
    seed: u64,
) -> Vec<(u64, &'static str, u128)> {
    let s = simulation.scheduler();
    simulation
        .run(seed, move || {
            let log = Arc::new(std::sync::Mutex::new(Vec::new()));
            let begin = now();
            let note = {
                let log = log.clone();
                move |who: u64, what: &'static str| {
                    let at = (now() - begin).as_nanos();
                    log.lock().unwrap().push((who, what, at));
                }
            };
            let (tx, rx) = bounded::<u64>(2);
            let (over_tx, over) = unbuffered::<()>();
            let lock = Arc::new(Mutex::new(0));
            let group = Arc::new(WaitGroup::new());
            for i in 0..4 {
                group.add(1);
                let (tx, lock, group, note) =
                    (tx.clone(), lock.clone(), group.clone(), note.clone());
                go(s, move || {
                    note(i, "begins");
                    gosched::sleep(Duration::from_millis(i % 2));
                    note(i, "woke");
                    *lock.lock() += 1;
                    tx.send(i).unwrap();
                    note(i, "sent");
                    group.done();
                });
            }
            let reader = {
                let note = note.clone();
                s.spawn(move || {
                    loop {
                        let (value, end) = (RecvCase::new(&rx), RecvCase::new(&over));
                        match select(&[&value, &end], Wait::Forever) {
                            Some(0) => note(10 + value.take().unwrap(), "received"),
                            _ => return note(9, "over"),
                        }
                    }
                })
                .unwrap()
            };
            group.wait();
            drop(over_tx);
            reader.join().unwrap();
            note(gosched::current_id().unwrap().0, "main");
            let log = log.lock().unwrap();
            log.clone()
        })
        .unwrap()
}

fn a_seed_does_the_same_again_and_another_does_not<E: SimulatedEnv>() {
    let (mut one, mut two) = (E::simulation(), E::simulation());
    let mut kinds = std::collections::HashSet::new();
    for seed in 1..=times(60) {
        let first = course(&mut one, seed);
        assert_eq!(first, course(&mut one, seed), "seed {seed}");
        assert_eq!(first, course(&mut two, seed), "seed {seed}");
        kinds.insert(first);
    }
    assert!(
        kinds.len() as u64 > times(60) / 2,
        "{} of {}",
        kinds.len(),
        times(60)
    );
}

/// Runs `program` under many seeds until it fails, and again with the seed that failed.
fn find<E: SimulatedEnv, T: Send + 'static>(
    program: impl Fn(&'static Scheduler<E>) -> T + Send + Sync + Clone + 'static,
) -> Failed {
    let search = |seeds| {
        let (mut simulation, program) = (E::simulation(), program.clone());
        let s = simulation.scheduler();
        simulation.search(seeds, move || program(s)).unwrap_err()
    };
    let failed = search(1..=1000);
    let again = search(failed.seed..=failed.seed);
    assert_eq!(
        again.to_string(),
        failed.to_string(),
        "the same seed, the same failure"
    );
    failed
}

fn a_lost_update_is_found_and_shown_again<E: SimulatedEnv>() {
    let failed = find::<E, _>(|s| {
        let account = Arc::new(Mutex::new(100));
        let all: Vec<_> = (0..2)
            .map(|_| {
                let account = account.clone();
                go(s, move || {
                    let balance = *account.lock();
                    *account.lock() = balance - 10;
                })
            })
            .collect();
        all.into_iter().for_each(|g| g.join().unwrap());
        assert_eq!(*account.lock(), 80, "money was lost");
    });
    assert!(
        matches!(&failed.why, Failure::Panic(p) if p.message().unwrap().contains("money was lost"))
    );
    let text = failed.to_string();
    assert!(
        text.contains(&format!("GOSEED={:#x}", failed.seed)),
        "{text}"
    );
}

/// A condition that is looked at before the lock is taken.
fn a_lost_wake_up_is_found<E: SimulatedEnv>() {
    let failed = find::<E, _>(|s| {
        let state = Arc::new((Mutex::new(false), Cond::new()));
        let waiter = {
            let state = state.clone();
            go(s, move || {
                if !*state.0.lock() {
                    // Here the other one may come in between.
                    let guard = state.0.lock();
                    drop(state.1.wait(guard));
                }
            })
        };
        *state.0.lock() = true;
        state.1.notify_all();
        waiter.join().unwrap();
    });
    assert!(
        matches!(&failed.why, Failure::Deadlock(all) if all.len() == 2),
        "{failed}"
    );
}

fn a_deadlock_of_two_locks_is_found_with_everybody_in_it<E: SimulatedEnv>() {
    let failed = find::<E, _>(|s| {
        let locks = Arc::new([Mutex::new(()), Mutex::new(())]);
        let all: Vec<_> = (0..2)
            .map(|i: usize| {
                let locks = locks.clone();
                go(s, move || {
                    let _first = locks[i].lock();
                    let _second = locks[1 - i].lock();
                })
            })
            .collect();
        all.into_iter().for_each(|g| g.join().unwrap());
    });
    let text = failed.to_string();
    assert_eq!(text.matches("[sync.Mutex.Lock]").count(), 2, "{text}");
    assert!(
        text.contains("goroutine 1 [semacquire] {name: main}"),
        "{text}"
    );
}

fn time_jumps_to_the_next_timer<E: SimulatedEnv>() {
    let mut simulation = E::simulation();
    let true_begin = Instant::now();
    let took = simulation.run(1, || {
        let begin = now();
        (0..24).for_each(|_| gosched::sleep(Duration::from_secs(3600)));
        now() - begin
    });
    assert_eq!(took.unwrap(), Duration::from_secs(24 * 3600));
    assert!(true_begin.elapsed() < Duration::from_secs(60));
}

fn deadlines_and_sleepers_fire_in_order<E: SimulatedEnv>() {
    let mut simulation = E::simulation();
    let s = simulation.scheduler();
    let ran = simulation.search(1..=times(50), move || {
        let begin = now();
        let order = Arc::new(Mutex::new(Vec::new()));
        let all: Vec<_> = [30, 10, 20]
            .into_iter()
            .map(|ms| {
                let order = order.clone();
                go(s, move || {
                    gosched::sleep_until(begin + Duration::from_millis(ms));
                    assert_eq!(now() - begin, Duration::from_millis(ms));
                    order.lock().push(ms);
                })
            })
            .collect();
        let (tx, rx) = unbuffered::<u32>();
        let deadline = now() + Duration::from_millis(15);
        assert_eq!(rx.recv_until(deadline), Err(RecvUntilError::TimedOut));
        assert_eq!(now(), deadline);
        let case = RecvCase::new(&rx);
        assert_eq!(
            select(&[&case], Wait::Until(now() + Duration::from_millis(1))),
            None
        );
        assert_eq!(now() - begin, Duration::from_millis(16));
        drop(tx);
        all.into_iter().for_each(|g| g.join().unwrap());
        assert_eq!(*order.lock(), [10, 20, 30]);
    });
    assert_eq!(ran.unwrap(), times(50));
}

fn the_clock_stands_while_anybody_can_run<E: SimulatedEnv>() {
    let mut simulation = E::simulation();
    let s = simulation.scheduler();
    let ran = simulation.search(1..=times(20), move || {
        let rang = Arc::new(AtomicBool::new(false));
        let seen = rang.clone();
        go(s, move || {
            gosched::sleep(Duration::from_nanos(1));
            seen.store(true, Ordering::Relaxed);
        });
        let lock = Mutex::new(());
        for _ in 0..100 {
            drop(lock.lock());
        }
        assert!(!rang.load(Ordering::Relaxed), "no time has passed");
        gosched::sleep(Duration::from_nanos(2));
        assert!(rang.load(Ordering::Relaxed));
    });
    assert_eq!(ran.unwrap(), times(20));
}

fn others_are_at_rest_after_a_wait<E: SimulatedEnv>() {
    let mut simulation = E::simulation();
    let s = simulation.scheduler();
    let ran = simulation.search(1..=times(50), move || {
        let steps = Arc::new(AtomicU64::new(0));
        let (tx, rx) = unbuffered::<()>();
        let worker = {
            let steps = steps.clone();
            go(s, move || {
                for _ in 0..5 {
                    yield_now();
                    steps.fetch_add(1, Ordering::Relaxed);
                }
                let _ = rx.recv();
                steps.fetch_add(1, Ordering::Relaxed);
                gosched::sleep(Duration::from_millis(1));
                steps.fetch_add(1, Ordering::Relaxed);
            })
        };
        simulation::wait();
        assert_eq!(steps.load(Ordering::Relaxed), 5);
        drop(tx);
        simulation::wait();
        assert_eq!(steps.load(Ordering::Relaxed), 6, "a wait takes no time");
        gosched::sleep(Duration::from_millis(1));
        simulation::wait();
        assert_eq!(steps.load(Ordering::Relaxed), 7);
        worker.join().unwrap();
    });
    assert_eq!(ran.unwrap(), times(50));
    assert!(!simulation::is_active());
}

fn who_is_left_behind_is_named<E: SimulatedEnv>() {
    let mut simulation = E::simulation();
    let s = simulation.scheduler();
    let failure = simulation
        .run(3, move || {
            go(s, || gosched::sleep(Duration::from_secs(1)));
            go(s, || {
                loop {
                    gosched::sleep(Duration::from_secs(1));
                }
            });
        })
        .unwrap_err();
    assert!(
        matches!(&failure, Failure::LeftBehind(all) if all.len() == 2),
        "{failure}"
    );
    assert!(failure.to_string().contains("[sleep]"), "{failure}");
    assert!(simulation.is_spoiled());
}

fn an_unseen_panic_fails_the_run<E: SimulatedEnv>() {
    let mut simulation = E::simulation();
    let s = simulation.scheduler();
    let failure = simulation
        .run(3, move || {
            drop(go(s, || {
                std::panic::resume_unwind(Box::new("nobody looks"))
            }))
        })
        .unwrap_err();
    assert!(failure.to_string().contains("nobody looks"), "{failure}");
    assert!(!simulation.is_spoiled());
    simulation.run(3, || ()).unwrap();
}

fn a_panic_that_is_joined_does_not<E: SimulatedEnv>() {
    let mut simulation = E::simulation();
    let s = simulation.scheduler();
    let joined = simulation.run(3, move || {
        let panics = s
            .spawn(|| -> () { std::panic::resume_unwind(Box::new("seen")) })
            .unwrap();
        panics.join().unwrap_err().message().map(str::to_owned)
    });
    assert_eq!(joined.unwrap().as_deref(), Some("seen"));
}

fn circles_are_cut<E: SimulatedEnv>() {
    let mut simulation = E::simulation();
    simulation.set_step_limit(500);
    let s = simulation.scheduler();
    let failure = simulation
        .run(3, move || {
            go(s, || {
                loop {
                    yield_now();
                }
            });
            loop {
                yield_now();
            }
        })
        .unwrap_err();
    assert!(matches!(failure, Failure::TooManySteps(500)), "{failure}");
}

/// Everything at once, and nothing wrong with it.
fn right_programs_pass_under_every_seed<E: SimulatedEnv>() {
    let mut simulation = E::simulation();
    let s = simulation.scheduler();
    let ran = simulation.search(1..=times(100), move || {
        let (tx, rx) = unbuffered::<u64>();
        let sum = Arc::new(RwLock::new(0));
        let few = Arc::new(Semaphore::new(2));
        for i in 0..5u64 {
            let (tx, few) = (tx.clone(), few.clone());
            go(s, move || {
                few.acquire(1);
                gosched::blocking(|| ());
                gosched::syscall(|| ());
                tx.send(i).unwrap();
                few.release(1);
            });
        }
        drop(tx);
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let (rx, sum) = (rx.clone(), sum.clone());
                go(s, move || {
                    for value in &rx {
                        *sum.write() += value;
                        let _ = *sum.read();
                    }
                })
            })
            .collect();
        readers.into_iter().for_each(|r| r.join().unwrap());
        assert_eq!(*sum.read(), 10);
    });
    assert_eq!(ran.unwrap(), times(100));
}

/// Polling for a time in a loop ends, though the clock moves only when nobody can run.
fn one_that_only_yields_lets_time_pass<E: SimulatedEnv>() {
    let mut simulation = E::simulation();
    let s = simulation.scheduler();
    simulation
        .run(5, move || {
            let rang = Arc::new(AtomicBool::new(false));
            let seen = rang.clone();
            go(s, move || {
                gosched::sleep(Duration::from_secs(5));
                seen.store(true, Ordering::Relaxed);
            });
            while !rang.load(Ordering::Relaxed) {
                yield_now();
            }
        })
        .unwrap();
}

/// The world outside takes its time.
#[test]
#[cfg(not(miri))]
fn descriptors_are_waited_for_in_true_time() {
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    let mut simulation = Threads::simulation();
    let s = simulation.scheduler();
    let (mut here, mut there) = UnixStream::pair().unwrap();
    let outside = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(30));
        there.write_all(b"x").unwrap();
        there
    });
    let got = simulation.run(1, move || {
        here.set_nonblocking(true).unwrap();
        let registration = s.register(here.as_raw_fd()).unwrap();
        let mut byte = [0];
        registration
            .io(Direction::Read, None, || here.read(&mut byte))
            .unwrap();
        let soon = now() + Duration::from_millis(5);
        let late = registration.io(Direction::Read, Some(soon), || here.read(&mut byte));
        (byte, late.unwrap_err().kind(), now() >= soon)
    });
    let (byte, late, is_due) = got.unwrap();
    assert_eq!(
        (byte, late, is_due),
        (*b"x", std::io::ErrorKind::TimedOut, true)
    );
    drop(outside.join().unwrap());
}

#[test]
fn a_simulation_inside_a_simulation_is_refused() {
    let mut outer = Threads::simulation();
    let inner = std::sync::Mutex::new(Threads::simulation());
    let refused = outer.run(1, move || {
        let mut inner = inner.lock().unwrap();
        inner.run(1, || ()).is_ok()
    });
    assert!(matches!(refused, Err(Failure::Panic(p)) if p.message().unwrap().contains("inside")));
}
