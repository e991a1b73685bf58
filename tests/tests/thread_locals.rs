//! Ruling 3.1: to the compiler, std and libc a goroutine is a thread, also when it moves between threads.

use goruntime::{chan, go, sync::WaitGroup, yield_now};
use std::cell::{Cell, RefCell};
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

#[cfg(not(feature = "system-allocator"))]
#[global_allocator]
static GLOBAL: goruntime::GoMalloc = goruntime::GoMalloc::new();

fn tid() -> i64 {
    // SAFETY: gettid cannot fail.
    unsafe { libc::syscall(libc::SYS_gettid) }
}

/// With the thread-backed engine a goroutine never leaves its thread.
const MOVES: bool = !cfg!(feature = "thread-engine");

/// Parks the goroutine until a plain thread wakes it. What such a thread readies belongs to no P, so any M may run it next.
fn detour() {
    static REQUESTS: OnceLock<chan::Sender<chan::Sender<()>>> = OnceLock::new();
    let requests = REQUESTS.get_or_init(|| {
        let (tx, rx) = chan::bounded::<chan::Sender<()>>(64);
        std::thread::spawn(move || rx.iter().for_each(|waker| waker.send(()).unwrap()));
        tx
    });
    let (waker, wake) = chan::unbuffered();
    requests.send(waker).unwrap();
    wake.recv().unwrap();
}

/// Yields until this goroutine runs on another thread than before; false if it does not soon.
fn migrate() -> bool {
    let before = tid();
    for turn in 0..if MOVES { 10_000 } else { 100 } {
        if turn % 4 == 3 {
            detour();
        }
        yield_now();
        if tid() != before {
            return true;
        }
    }
    false
}

/// Goroutines that keep every thread busy, so that others migrate.
struct Bustle(Arc<AtomicUsize>);

impl Bustle {
    fn new() -> Bustle {
        let stop = Arc::new(AtomicUsize::new(0));
        for _ in 0..8 {
            let stop = stop.clone();
            go(move || {
                while stop.load(Relaxed) == 0 {
                    for _ in 0..1000 {
                        std::hint::spin_loop();
                    }
                    yield_now();
                }
            });
        }
        Bustle(stop)
    }
}

impl Drop for Bustle {
    fn drop(&mut self) {
        self.0.store(1, Relaxed);
    }
}

#[test]
fn thread_locals_travel_and_their_destructors_run_once_each() {
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    struct Tracked(usize);
    impl Drop for Tracked {
        fn drop(&mut self) {
            DROPPED.fetch_add(1, SeqCst);
        }
    }
    thread_local! {
        static ID: Cell<usize> = const { Cell::new(0) };
        static TRACKED: RefCell<Option<Tracked>> = const { RefCell::new(None) };
    }
    let _bustle = Bustle::new();
    const N: usize = 64;
    let migrations = Arc::new(AtomicUsize::new(0));
    let must_move = MOVES && goruntime::max_procs() > 1;
    let begin = Instant::now();
    let handles: Vec<_> = (1..=N)
        .map(|i| {
            let migrations = migrations.clone();
            go(move || {
                assert_eq!(ID.get(), 0, "a fresh goroutine has fresh thread-locals");
                ID.set(i);
                TRACKED.with(|t| *t.borrow_mut() = Some(Tracked(i)));
                // On until somebody has moved, or it is plain that nobody will.
                let enough = |turn| turn >= 20 && (!must_move || migrations.load(Relaxed) > 0);
                for turn in 0.. {
                    if enough(turn) || begin.elapsed() > Duration::from_secs(10) {
                        break;
                    }
                    let before = tid();
                    // Inside `with`, so that the address of the thread-local is alive across the switch.
                    TRACKED.with(|t| {
                        let t = t.borrow();
                        if turn % 4 == 3 {
                            detour();
                        } else {
                            yield_now();
                        }
                        assert_eq!(t.as_ref().unwrap().0, i);
                    });
                    assert_eq!(ID.get(), i);
                    if tid() != before {
                        migrations.fetch_add(1, Relaxed);
                    }
                }
            })
        })
        .collect();
    for h in handles {
        h.join().unwrap();
    }
    if !MOVES {
        // A thread's destructors run at its very end, after the goroutine on it was joined.
        goruntime_tests::eventually("the destructors", Duration::from_secs(10), || {
            DROPPED.load(SeqCst) == N
        });
    }
    assert_eq!(DROPPED.load(SeqCst), N);
    assert!(
        !must_move || migrations.load(Relaxed) > 0,
        "nobody moved: the test tested nothing"
    );
}

#[test]
fn errno_belongs_to_the_goroutine() {
    let _bustle = Bustle::new();
    let handles: Vec<_> = (1..40)
        .map(|i| {
            go(move || {
                for _ in 0..50 {
                    // SAFETY: errno is the goroutine's own.
                    unsafe { *libc::__errno_location() = i };
                    yield_now();
                    // SAFETY: as above.
                    assert_eq!(unsafe { *libc::__errno_location() }, i);
                }
            })
        })
        .collect();
    for h in handles {
        h.join().unwrap();
    }
}

#[test]
fn the_lock_of_stdout_may_be_held_over_a_park() {
    let _bustle = Bustle::new();
    let handles: Vec<_> = (0..8)
        .map(|_| {
            go(|| {
                let mut out = std::io::stdout().lock();
                migrate();
                // Re-entrant: the owner is this goroutine, wherever it runs now.
                let mut again = std::io::stdout().lock();
                write!(again, "").unwrap();
                out.flush().unwrap();
            })
        })
        .collect();
    for h in handles {
        h.join().unwrap();
    }
}

#[test]
fn a_goroutine_may_park_while_it_unwinds_and_resume_elsewhere() {
    struct Parks(chan::Receiver<()>);
    impl Drop for Parks {
        fn drop(&mut self) {
            assert!(std::thread::panicking());
            self.0.recv().unwrap();
            migrate();
            assert!(
                std::thread::panicking(),
                "the panic count is the goroutine's"
            );
        }
    }
    let _bustle = Bustle::new();
    for _ in 0..8 {
        let (tx, rx) = chan::unbuffered();
        let unwinding = go(move || {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let _parks = Parks(rx);
                std::panic::resume_unwind(Box::new(7u32));
            }));
            assert!(!std::thread::panicking());
            *result.unwrap_err().downcast::<u32>().unwrap()
        });
        let other = go(|| {
            for _ in 0..100 {
                assert!(!std::thread::panicking(), "another's panic is not ours");
                yield_now();
            }
        });
        tx.send(()).unwrap();
        assert_eq!(unwinding.join().unwrap(), 7);
        other.join().unwrap();
    }
}

#[test]
fn a_std_mutex_held_over_a_yield_blocks_its_contenders_only() {
    let lock = Arc::new(Mutex::new(0usize));
    let wg = Arc::new(WaitGroup::new());
    const N: usize = 16;
    for _ in 0..N {
        let (lock, done) = (lock.clone(), wg.clone());
        wg.add(1);
        go(move || {
            let mut n = lock.lock().unwrap();
            let seen = *n;
            for _ in 0..10 {
                yield_now();
            }
            *n = seen + 1;
            drop(n);
            done.done();
        });
    }
    wg.wait();
    assert_eq!(*lock.lock().unwrap(), N);
}

#[test]
fn panics_are_counted_per_goroutine_and_kept_in_the_handle() {
    let bad = go(|| -> u32 { std::panic::resume_unwind(Box::new("expected")) });
    let good = go(|| 5);
    assert_eq!(good.join().unwrap(), 5);
    let panic = bad.join().unwrap_err();
    assert_eq!(panic.message(), Some("expected"));
}

#[test]
fn libc_services_work_in_a_goroutine() {
    go(|| {
        use std::net::ToSocketAddrs;
        assert!(("localhost", 80).to_socket_addrs().unwrap().count() > 0);
        let out = std::process::Command::new("/bin/echo")
            .arg("hi")
            .output()
            .unwrap();
        assert_eq!(out.stdout, b"hi\n");
        assert_eq!(std::thread::spawn(|| 3).join().unwrap(), 3);
        assert!(
            std::backtrace::Backtrace::force_capture()
                .to_string()
                .contains("libc_services_work")
        );
        // SAFETY: no arguments that could be wrong.
        unsafe {
            assert_ne!(libc::isalpha(i32::from(b'x')), 0);
            assert_eq!(libc::strtol(c"42".as_ptr(), std::ptr::null_mut(), 10), 42);
        }
    })
    .join()
    .unwrap();
}

#[cfg(not(feature = "thread-engine"))]
#[test]
fn all_again_with_frames_in_the_reserve_for_late_libraries() {
    goruntime_tests::all_but(
        "all_again_with_frames_in_the_reserve_for_late_libraries",
        &[("GODEBUG", "latestatictls=0")],
    );
}
