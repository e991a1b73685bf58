//! A context is a thread to the compiler, to std and to the libc, wherever it runs.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_void};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use crate::task::{Task, pool, pool_with};
use gostack::stack::StackRange;
use gostack::tls::{ThreadLocals, TlsLayout};

/// Resumes the task once on a new thread and takes it back.
fn resume_elsewhere<'p>(task: &mut Task<'p>) -> bool {
    thread::scope(|scope| scope.spawn(|| task.resume()).join().unwrap())
}

#[test]
fn contexts_and_thread_take_turns() {
    let pool = pool();
    let log = RefCell::new(Vec::new());
    struct Unchecked<'a>(&'a RefCell<Vec<u32>>);
    // SAFETY: everything here runs on one thread.
    unsafe impl Send for Unchecked<'_> {}
    let entry = |first: u32| {
        let log = Unchecked(&log);
        move |suspender: &crate::task::Suspender| {
            let log = &log;
            for step in 0..3 {
                log.0.borrow_mut().push(first + step);
                suspender.suspend();
            }
        }
    };
    let (mut a, mut b) = (Task::new(&pool, entry(10)), Task::new(&pool, entry(20)));
    for _ in 0..3 {
        assert!(!a.resume());
        assert!(!b.resume());
    }
    assert!(a.resume());
    assert!(b.resume());
    assert_eq!(*log.borrow(), [10, 20, 11, 21, 12, 22]);
}

#[test]
fn the_system_call_means_switches_as_well() {
    let pool = pool_with(ThreadLocals::per_context_by_system_call().unwrap());
    thread_local!(static MINE: Cell<u32> = const { Cell::new(1) });
    MINE.set(7);
    let mut task = Task::new(&pool, |suspender| {
        MINE.set(MINE.get() + 1);
        suspender.suspend();
        assert_eq!(MINE.get(), 2);
    });
    task.resume();
    assert_eq!(MINE.get(), 7);
    assert!(resume_elsewhere(&mut task));
    assert_eq!(MINE.get(), 7);
}

#[test]
fn shared_thread_locals_are_the_threads() {
    // SAFETY: the context is run by this thread only.
    let pool = pool_with(unsafe { ThreadLocals::shared() }.unwrap());
    thread_local!(static MINE: Cell<u32> = const { Cell::new(1) });
    MINE.set(7);
    let task = Task::new(&pool, |suspender| {
        assert_eq!(MINE.get(), 7);
        suspender.suspend();
        MINE.set(8);
    });
    assert!(task.context().context().thread_pointer().is_null());
    task.finish();
    assert_eq!(MINE.get(), 8);
}

#[test]
fn thread_locals_belong_to_the_context_and_are_dropped_at_its_end() {
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    struct Noisy(u32);
    impl Drop for Noisy {
        fn drop(&mut self) {
            DROPPED.fetch_add(self.0 as usize, Ordering::SeqCst);
        }
    }
    thread_local! {
        static NOISY: RefCell<Option<Noisy>> = const { RefCell::new(None) };
        static LAZY: Cell<u64> = Cell::new(std::process::id().into());
    }
    let pool = pool();
    // Twice over, so that the second round finds contexts that were used before.
    for round in 0..2 {
        DROPPED.store(0, Ordering::SeqCst);
        let mut tasks: Vec<_> = (1..=5u32)
            .map(|id| {
                Task::new(&pool, move |suspender| {
                    NOISY.with_borrow_mut(|noisy| {
                        assert!(noisy.is_none(), "a thread-local of an earlier context");
                        *noisy = Some(Noisy(id));
                    });
                    assert_eq!(LAZY.replace(id.into()), u64::from(std::process::id()));
                    for _ in 0..3 {
                        suspender.suspend();
                        NOISY.with_borrow(|noisy| assert_eq!(noisy.as_ref().unwrap().0, id));
                        assert_eq!(LAZY.get(), u64::from(id));
                    }
                })
            })
            .collect();
        for _ in 0..3 {
            for task in &mut tasks {
                assert!(!resume_elsewhere(task));
            }
        }
        assert_eq!(DROPPED.load(Ordering::SeqCst), 0, "round {round}");
        for task in &mut tasks {
            assert!(resume_elsewhere(task));
        }
        assert_eq!(
            DROPPED.load(Ordering::SeqCst),
            1 + 2 + 3 + 4 + 5,
            "round {round}"
        );
        NOISY.with_borrow(|noisy| assert!(noisy.is_none()));
    }
}

#[test]
fn errno_travels() {
    let pool = pool();
    let errno = || std::io::Error::last_os_error().raw_os_error().unwrap();
    // SAFETY: closing a descriptor that does not exist only sets errno.
    let fail = || unsafe { libc::close(-1) };
    // SAFETY: the libc returns the address of errno.
    let clear = || unsafe { *libc::__errno_location() = 0 };
    clear();
    let mut task = Task::new(&pool, move |suspender| {
        assert_eq!(errno(), 0);
        fail();
        suspender.suspend();
        assert_eq!(errno(), libc::EBADF);
    });
    task.resume();
    assert_eq!(errno(), 0);
    assert!(resume_elsewhere(&mut task));
    // The block is used again, its errno cleared.
    Task::new(&pool, move |_| assert_eq!(errno(), 0)).finish();
}

#[test]
fn a_lock_of_stdout_travels() {
    let pool = pool();
    let mut task = Task::new(&pool, |suspender| {
        let outer = std::io::stdout().lock();
        suspender.suspend();
        // Re-entrant: it is the context that owns it, not the thread.
        let inner = std::io::stdout().lock();
        suspender.suspend();
        drop(inner);
        drop(outer);
    });
    assert!(!task.resume());
    let (locked, was_locked) = mpsc::channel();
    let contender = thread::spawn(move || {
        drop(std::io::stdout().lock());
        locked.send(()).unwrap();
    });
    assert!(
        was_locked
            .recv_timeout(std::time::Duration::from_millis(50))
            .is_err()
    );
    assert!(!resume_elsewhere(&mut task));
    assert!(
        was_locked
            .recv_timeout(std::time::Duration::from_millis(50))
            .is_err()
    );
    assert!(resume_elsewhere(&mut task));
    was_locked.recv().unwrap();
    contender.join().unwrap();
}

#[test]
fn a_context_may_suspend_while_unwinding_and_go_on_elsewhere() {
    struct SuspendOnDrop<'a>(&'a crate::task::Suspender);
    impl Drop for SuspendOnDrop<'_> {
        fn drop(&mut self) {
            assert!(thread::panicking());
            self.0.suspend();
            assert!(thread::panicking());
        }
    }
    let pool = pool();
    let mut task = Task::new(&pool, |suspender| {
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _guard = SuspendOnDrop(suspender);
            std::panic::resume_unwind(Box::new(42u32));
        }));
        assert_eq!(caught.unwrap_err().downcast_ref::<u32>(), Some(&42));
        assert!(!thread::panicking());
    });
    assert!(!task.resume());
    assert!(!thread::panicking());
    // This thread may unwind meanwhile.
    assert!(std::panic::catch_unwind(|| std::panic::resume_unwind(Box::new(()))).is_err());
    assert!(resume_elsewhere(&mut task));
    assert!(!thread::panicking());
}

#[test]
fn panics_are_caught_inside_and_carried_outside() {
    let pool = pool();
    let mut task = Task::new(&pool, |_| std::panic::resume_unwind(Box::new("payload")));
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| task.resume()));
    assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"payload"));
    Task::new(&pool, |_| assert!(!thread::panicking())).finish();
}

#[test]
fn backtraces_end_at_the_entry() {
    #[inline(never)]
    fn a_function_to_be_seen() -> String {
        std::backtrace::Backtrace::force_capture().to_string()
    }
    let pool = pool();
    Task::new(&pool, |_| {
        let trace = a_function_to_be_seen();
        assert!(trace.contains("a_function_to_be_seen"), "{trace}");
        assert!(trace.contains("task::run"), "{trace}");
        // Nothing of the thread that resumed it.
        assert!(!trace.contains("resume_quietly"), "{trace}");
    })
    .finish();
}

#[test]
fn std_works_inside() {
    let pool = pool();
    let mut task = Task::new(&pool, |suspender| {
        let name = thread::Builder::new()
            .name("inner".into())
            .spawn(|| thread::current().name().map(String::from));
        assert_eq!(name.unwrap().join().unwrap().as_deref(), Some("inner"));
        let id = thread::current().id();
        suspender.suspend();
        assert_eq!(
            thread::current().id(),
            id,
            "a context has one identity, wherever it runs"
        );
        let output = std::process::Command::new("echo")
            .arg("hello")
            .output()
            .unwrap();
        assert_eq!(output.stdout, b"hello\n");
        let addresses = std::net::ToSocketAddrs::to_socket_addrs("localhost:80").unwrap();
        assert!(
            addresses
                .into_iter()
                .any(|address| address.ip().is_loopback())
        );
        let channel = mpsc::channel();
        thread::scope(|scope| scope.spawn(|| channel.0.send(5).unwrap()).join().unwrap());
        assert_eq!(channel.1.recv(), Ok(5));
    });
    assert!(!task.resume());
    assert!(resume_elsewhere(&mut task));
}

#[test]
fn thread_specific_values_belong_to_the_context_and_are_destroyed_at_its_end() {
    static DESTROYED: AtomicUsize = AtomicUsize::new(0);
    unsafe extern "C" fn destroy(value: *mut c_void) {
        DESTROYED.fetch_add(value as usize, Ordering::SeqCst);
    }
    // More keys than the first table of a thread descriptor holds (32 in glibc).
    let keys: Vec<libc::pthread_key_t> = (0..40)
        .map(|_| {
            let mut key = 0;
            // SAFETY: `key` may be written; `destroy` accepts any value.
            let refused = unsafe { libc::pthread_key_create(&mut key, Some(destroy)) };
            assert_eq!(refused, 0);
            key
        })
        .collect();
    let keys: &'static [_] = keys.leak();
    // SAFETY: the keys exist; the values are only numbers.
    let get = |index: usize| unsafe { libc::pthread_getspecific(keys[index]) } as usize;
    // SAFETY: as above.
    let set = |index: usize, value: usize| unsafe {
        libc::pthread_setspecific(keys[index], value as *const c_void)
    };
    let pool = pool();
    for _ in 0..2 {
        DESTROYED.store(0, Ordering::SeqCst);
        let mut task = Task::new(&pool, move |suspender| {
            for index in 0..keys.len() {
                assert_eq!(get(index), 0, "a value of an earlier context");
                assert_eq!(set(index, index + 1), 0);
            }
            suspender.suspend();
            for index in 0..keys.len() {
                assert_eq!(get(index), index + 1);
            }
        });
        assert!(!task.resume());
        assert_eq!(get(0), 0);
        assert!(resume_elsewhere(&mut task));
        assert_eq!(DESTROYED.load(Ordering::SeqCst), (1..=40).sum());
    }
}

#[test]
fn a_recursive_mutex_tells_contexts_apart() {
    struct Recursive(std::cell::UnsafeCell<libc::pthread_mutex_t>);
    // SAFETY: a mutex may be used by any thread.
    unsafe impl Sync for Recursive {}
    let mutex: &'static Recursive =
        Box::leak(Box::new(Recursive(libc::PTHREAD_MUTEX_INITIALIZER.into())));
    // SAFETY: initialised once, before use, and never moved.
    unsafe {
        let mut attributes = std::mem::zeroed();
        libc::pthread_mutexattr_init(&mut attributes);
        libc::pthread_mutexattr_settype(&mut attributes, libc::PTHREAD_MUTEX_RECURSIVE);
        libc::pthread_mutex_init(mutex.0.get(), &attributes);
    }
    // SAFETY: the mutex is initialised.
    let try_lock = || unsafe { libc::pthread_mutex_trylock(mutex.0.get()) };
    // SAFETY: as above; called by whoever holds it.
    let unlock = || unsafe { libc::pthread_mutex_unlock(mutex.0.get()) };
    let pool = pool();
    let mut holder = Task::new(&pool, move |suspender| {
        assert_eq!(try_lock(), 0);
        suspender.suspend();
        assert_eq!(try_lock(), 0);
        assert_eq!(unlock(), 0);
        assert_eq!(unlock(), 0);
    });
    assert!(!holder.resume());
    // All on this one thread: the context holds it, neither the thread nor another context does.
    assert_eq!(try_lock(), libc::EBUSY);
    Task::new(&pool, move |_| assert_eq!(try_lock(), libc::EBUSY)).finish();
    assert!(resume_elsewhere(&mut holder));
    assert_eq!(try_lock(), 0);
    assert_eq!(unlock(), 0);
}

#[test]
fn locales_and_number_parsing_work() {
    unsafe extern "C" {
        fn newlocale(mask: i32, name: *const libc::c_char, base: libc::locale_t) -> libc::locale_t;
    }
    let pool = pool();
    let look = || {
        // SAFETY: terminated strings and plain characters.
        unsafe {
            assert_ne!(libc::isalpha(i32::from(b'x')), 0);
            assert_eq!(libc::isalpha(i32::from(b'7')), 0);
            assert_eq!(libc::toupper(i32::from(b'q')), i32::from(b'Q'));
            assert_eq!(
                libc::strtod(c"2.5e3".as_ptr(), std::ptr::null_mut()),
                2500.0
            );
        }
    };
    fn global() -> libc::locale_t {
        std::ptr::without_provenance_mut(usize::MAX)
    }
    Task::new(&pool, move |suspender| {
        look();
        // SAFETY: asks for the context's locale, then gives it one of its own.
        unsafe {
            assert_eq!(libc::uselocale(std::ptr::null_mut()), global());
            let own = newlocale(libc::LC_ALL_MASK, c"C".as_ptr(), std::ptr::null_mut());
            assert!(!own.is_null());
            libc::uselocale(own);
            suspender.suspend();
            assert_eq!(libc::uselocale(std::ptr::null_mut()), own);
        }
        look();
    })
    .finish();
    // The next context in that block has the process's locale again.
    Task::new(&pool, move |_| {
        // SAFETY: asks only.
        assert_eq!(unsafe { libc::uselocale(std::ptr::null_mut()) }, global());
        look();
        // SAFETY: sets the locale that the process has anyway.
        let name = unsafe { libc::setlocale(libc::LC_ALL, c"C".as_ptr()) };
        // SAFETY: a terminated string, or null.
        assert_eq!(unsafe { CStr::from_ptr(name) }, c"C");
    })
    .finish();
}

#[test]
fn a_context_can_fork() {
    let pool = pool();
    Task::new(&pool, |_| {
        // SAFETY: the child only asks for its numbers and exits.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: exits without running anything of the parent's.
            unsafe {
                let consistent = libc::getpid() == libc::syscall(libc::SYS_gettid) as i32;
                let allocation = libc::malloc(100);
                libc::_exit(if consistent && !allocation.is_null() {
                    17
                } else {
                    1
                });
            }
        }
        assert!(child > 0);
        let mut status = 0;
        // SAFETY: waits for that child.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert!(libc::WIFEXITED(status));
        assert_eq!(libc::WEXITSTATUS(status), 17);
    })
    .finish();
}

#[test]
fn stack_and_thread_pointer_lie_in_the_context() {
    let pool = pool();
    let mut task = Task::new(&pool, |suspender| {
        suspender.suspend();
        // Documented: to the kernel a context is no thread.
        assert_eq!(
            StackRange::of_current_thread().unwrap_err().raw_os_error(),
            Some(libc::ESRCH)
        );
    });
    assert!(!task.resume());
    let range = task.context().stack_range();
    assert_eq!(pool.find(task.context().saved_sp() as usize), Some(range));
    assert_eq!(
        pool.find(task.context().context().thread_pointer() as usize),
        Some(range)
    );
    task.finish();
}

#[test]
fn what_a_parked_context_holds_lies_above_its_saved_stack_pointer() {
    let pool = pool();
    let needle = 0x1234_5678_9abc_def0usize;
    let mut task = Task::new(&pool, move |suspender| {
        let kept = std::hint::black_box([needle; 3]);
        suspender.suspend();
        std::hint::black_box(kept);
    });
    task.resume();
    let top = task.context().stack_range().top;
    let low = task.context().saved_sp() as usize;
    // SAFETY: the words of a parked context's stack.
    let found = (low..top)
        .step_by(8)
        .filter(|&at| unsafe { (at as *const usize).read() } == needle)
        .count();
    assert!(found >= 3);
    // And nothing that it needs lies below.
    // SAFETY: the task is parked, and resumed only afterwards.
    unsafe { pool.release_unused(task.context()) }.unwrap();
    task.finish();
}

#[test]
fn another_contexts_thread_local_can_be_read_and_written() {
    thread_local!(static WORD: Cell<usize> = const { Cell::new(3) });
    let layout = TlsLayout::discover().unwrap();
    let offset = WORD
        .with(|word| layout.offset_of(word.as_ptr().cast()))
        .unwrap();
    let on_stack = 0u8;
    assert_eq!(layout.offset_of(&raw const on_stack), None);
    let pool = pool();
    let mut task = Task::new(&pool, |suspender| {
        WORD.set(4);
        suspender.suspend();
        assert_eq!(WORD.get(), 5);
    });
    let word = task
        .context()
        .context()
        .local(offset)
        .unwrap()
        .cast::<usize>();
    // SAFETY: the task does not run; the word is its `WORD`.
    unsafe {
        assert_eq!(word.read(), 3);
        task.resume();
        assert_eq!(word.read(), 4);
        word.write(5);
    }
    task.finish();
    assert_eq!(WORD.get(), 3);
}

#[test]
fn the_control_area_is_the_embedders() {
    let pool = pool();
    let task = Task::new(&pool, |_| {});
    let area = pool
        .control_area(task.context())
        .unwrap()
        .cast::<[u64; 2]>();
    assert!(area.is_aligned());
    assert!(
        task.context()
            .stack_range()
            .contains(area.as_ptr() as usize)
    );
    // SAFETY: the area has the layout that the pool was made with.
    unsafe {
        assert_eq!(area.read(), [0, 0]);
        area.write([u64::MAX; 2]);
    }
    task.finish();
}
