//! The deadlock check, the refusal of threads, events: what goes through the hooks.

mod common;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
#[cfg(not(miri))]
use std::{os::unix::process::CommandExt, process::Command};

#[cfg(not(miri))]
use common::TestEnv;
use common::{eventually, go};
use gosched::chan::unbuffered;
use gosched::engine::threads::ThreadEngine;
use gosched::env::{Env, Event, Hooks};
use gosched::goroutine::{Deadlock, GoroutineState, WaitReason};
use gosched::{Scheduler, Snapshot};

#[derive(Default)]
struct Recorder {
    deadlock: OnceLock<Deadlock>,
    foreign: AtomicUsize,
    finished: AtomicUsize,
    parked: Mutex<Vec<WaitReason>>,
}

impl Hooks for Recorder {
    fn listens(&self) -> bool {
        true
    }

    fn event(&self, _: Option<u32>, event: Event) {
        match event {
            Event::Finished(_) => {
                self.finished.fetch_add(1, Ordering::Relaxed);
            }
            Event::Parked(_, reason) => self.parked.lock().unwrap().push(reason),
            _ => {}
        }
    }

    fn deadlock(&self, deadlock: &Deadlock) {
        self.deadlock.set(deadlock.clone()).unwrap();
    }

    fn foreign_threads(&self, _own: usize) -> usize {
        self.foreign.load(Ordering::Relaxed)
    }
}

struct Recorded;

impl Env for Recorded {
    type Engine = ThreadEngine;
    type Poller = common::Net;
    type Hooks = Recorder;
}

fn recorded(foreign: usize) -> &'static Scheduler<Recorded> {
    let recorder = Recorder::default();
    recorder.foreign.store(foreign, Ordering::Relaxed);
    Scheduler::new(
        common::config(2),
        ThreadEngine::new(),
        common::net(),
        recorder,
    )
}

#[test]
fn a_deadlock_is_reported_with_everybody_in_it() {
    let s = recorded(0);
    let (tx, rx) = unbuffered::<()>();
    let keep = tx.clone();
    let main = std::thread::spawn(move || {
        s.run_main(move || {
            let options = gosched::SpawnOptions {
                name: Some("stuck".into()),
                ..gosched::SpawnOptions::default()
            };
            let stuck = s.spawn_with(options, move || rx.recv()).unwrap();
            gosched::sleep(Duration::from_millis(5));
            stuck.join().unwrap()
        })
    });
    eventually("the report", || s.hooks().deadlock.get().is_some());
    let deadlock = s.hooks().deadlock.get().unwrap();
    let states: Vec<_> = deadlock.goroutines.iter().map(|g| g.state).collect();
    assert_eq!(
        states,
        [
            GoroutineState::Waiting(WaitReason::Semacquire),
            GoroutineState::Waiting(WaitReason::ChanReceive)
        ]
    );
    assert!(
        deadlock.goroutines[0]
            .site
            .unwrap()
            .file()
            .ends_with("deadlock.rs")
    );
    let text = deadlock.to_string();
    assert!(text.starts_with(
        "fatal error: all goroutines are asleep - deadlock!\n\ngoroutine 1 [semacquire]"
    ));
    assert!(text.contains("[chan receive] {name: stuck}:\n"), "{text}");
    // The hook has returned, so the program may still go on.
    keep.send(()).unwrap();
    drop(tx);
    main.join().unwrap().unwrap().unwrap();
    assert!(
        s.hooks()
            .parked
            .lock()
            .unwrap()
            .contains(&WaitReason::Sleep)
    );
    eventually("both end", || {
        s.hooks().finished.load(Ordering::Relaxed) == 2
    });
}

#[test]
fn what_can_still_happen_is_no_deadlock() {
    let foreign = recorded(1);
    let (tx, rx) = unbuffered::<()>();
    let main = std::thread::spawn(move || foreign.run_main(move || rx.recv()));
    std::thread::sleep(Duration::from_millis(20));
    foreign.check_deadlock();
    tx.send(()).unwrap();
    main.join().unwrap().unwrap().unwrap();

    let alone = recorded(0);
    alone
        .run_main(|| {
            gosched::sleep(Duration::from_millis(10));
            gosched::blocking(|| std::thread::sleep(Duration::from_millis(10)));
            gosched::syscall(|| std::thread::sleep(Duration::from_millis(10)));
        })
        .unwrap();
    alone.check_deadlock();
    for s in [foreign, alone] {
        assert!(s.hooks().deadlock.get().is_none());
    }
}

#[test]
fn goroutines_can_be_listed() {
    let s = recorded(1);
    let (tx, rx) = unbuffered::<()>();
    let waits = go(s, move || rx.recv());
    let run = Arc::new(AtomicBool::new(true));
    let seen = run.clone();
    let runs = go(s, move || while seen.load(Ordering::Relaxed) {});
    eventually("one waits and one runs", || {
        let mut states = Vec::new();
        s.for_each_goroutine(|g| states.push(g.state));
        states.len() == 2
            && states.contains(&GoroutineState::Running)
            && states.contains(&GoroutineState::Waiting(WaitReason::ChanReceive))
    });
    let mut snapshot = Snapshot::default();
    s.observe(&mut snapshot);
    assert_eq!(snapshot.goroutines, 2);
    let mut detail = String::new();
    gosched::schedtrace::write_detail(&mut detail, &snapshot, s).unwrap();
    assert!(
        detail.contains("status=4(chan receive) m=nil lockedm=nil"),
        "{detail}"
    );
    assert!(detail.contains("gomaxprocs=2"), "{detail}");
    run.store(false, Ordering::Relaxed);
    runs.join().unwrap();
    drop(tx);
    waits.join().unwrap().unwrap_err();
}

/// This test runs itself again in a process that may not have threads beyond those it has.
#[cfg(not(miri))] // There are no processes, and no limits on them.
#[test]
fn a_refused_thread_is_reported_once_and_work_goes_on() {
    const MARK: &str = "GOSCHED_TEST_REFUSED";
    if std::env::var_os(MARK).is_none() {
        let output = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "a_refused_thread_is_reported_once_and_work_goes_on",
                "--nocapture",
            ])
            .env(MARK, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{text}");
        assert_eq!(
            text.matches("cannot create another OS thread").count(),
            1,
            "{text}"
        );
        return;
    }
    let s = common::Stacks::scheduler(1);
    s.run_main(move || {
        // Three contexts to reuse, for there will be no memory for new ones.
        let group = Arc::new(gosched::sync::WaitGroup::new());
        group.add(1);
        let warm: Vec<_> = (0..3)
            .map(|_| {
                let group = group.clone();
                go(s, move || group.wait())
            })
            .collect();
        group.done();
        warm.into_iter().for_each(|h| h.join().unwrap());
    })
    .unwrap();
    refuse_threads();
    let held = Arc::new(AtomicBool::new(true));
    let blocked = held.clone();
    let blocker = go(s, move || {
        gosched::blocking(|| {
            while blocked.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
        });
    });
    let other = go(s, || 4);
    std::thread::sleep(Duration::from_millis(20));
    assert!(
        !other.is_finished(),
        "there is one thread, and it is blocked"
    );
    held.store(false, Ordering::Relaxed);
    blocker.join().unwrap();
    assert_eq!(other.join().unwrap(), 4);
}

/// Limits the address space to little more than there is, which refuses stacks whoever runs this,
/// the superuser included.
#[cfg(not(miri))]
fn refuse_threads() {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = status.split(' ').next().unwrap().parse().unwrap();
    let limit = libc::rlimit {
        rlim_cur: pages * 4096 + 200 * 1024,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: the structure is readable.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
}

/// The default hook, in a process of its own, because it ends the process.
#[cfg(not(miri))] // There are no processes.
#[test]
fn the_default_hook_exits_with_status_2() {
    const MARK: &str = "GOSCHED_TEST_DEADLOCK";
    if std::env::var_os(MARK).is_none() {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args([
                "--exact",
                "the_default_hook_exits_with_status_2",
                "--nocapture",
            ])
            .env(MARK, "1")
            .arg0("deadlock");
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(
            text.contains("all goroutines are asleep - deadlock!"),
            "{text}"
        );
        return;
    }
    let s = common::scheduler(1);
    // libtest keeps a thread that only waits for this one.
    let others = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count) - 1;
    (0..others).for_each(|_| s.add_service_thread());
    let (_tx, rx) = unbuffered::<()>();
    let _ = s.run_main(move || rx.recv());
    unreachable!("the process has ended");
}

/// The whole program's stack of errors is readable.
#[test]
fn errors_say_what_to_do() {
    let error = gosched::SpawnError::Thread(io::Error::from_raw_os_error(libc::EAGAIN));
    assert!(error.to_string().contains("ulimit -u"), "{error}");
}
