//! What the libc keeps for each thread belongs to the context, and goes with it from thread to thread; the next context to use
//! the block finds it fresh.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::null_mut;
use std::sync::mpsc;
use std::thread;

use crate::task::{Task, pool};

unsafe extern "C" {
    fn flockfile(file: *mut libc::FILE);
    fn ftrylockfile(file: *mut libc::FILE) -> c_int;
    fn funlockfile(file: *mut libc::FILE);
    fn __h_errno_location() -> *mut c_int;
    fn __res_state() -> *mut c_void;
}

/// Resumes the task once on a new thread, which checks its own state before and after.
fn resume_elsewhere(task: &mut Task<'_>, check: impl Fn() + Send + Sync) -> bool {
    thread::scope(|scope| {
        let resume = || {
            check();
            let ended = task.resume();
            check();
            ended
        };
        scope.spawn(resume).join().unwrap()
    })
}

/// The pending message of `dlerror`, which takes it.
fn take_dlerror() -> Option<String> {
    // SAFETY: null, or a terminated string that stays until the next call in this context.
    unsafe {
        let message = libc::dlerror();
        (!message.is_null()).then(|| CStr::from_ptr(message).to_string_lossy().into_owned())
    }
}

fn fail_to_open() {
    // SAFETY: a terminated string; there is no such library.
    assert!(unsafe { libc::dlopen(c"/no/such/library.so".as_ptr(), libc::RTLD_NOW) }.is_null());
}

#[test]
fn the_message_of_dlerror_waits_for_its_context() {
    let pool = pool();
    for _ in 0..2 {
        let mut task = Task::new(&pool, |suspender| {
            assert_eq!(take_dlerror(), None, "a message of an earlier context");
            fail_to_open();
            suspender.suspend();
            assert!(take_dlerror().unwrap().contains("/no/such/library.so"));
            assert_eq!(take_dlerror(), None);
            // Left to whoever comes next, who must not see it.
            fail_to_open();
        });
        assert!(!task.resume());
        assert!(resume_elsewhere(&mut task, || assert_eq!(
            take_dlerror(),
            None
        )));
    }
}

#[test]
fn the_resolver_has_a_state_and_an_error_for_each_context() {
    // SAFETY: the libc returns addresses of thread-locals.
    let state = || unsafe { (__res_state() as usize, __h_errno_location()) };
    let pool = pool();
    let mut task = Task::new(&pool, move |suspender| {
        let (resolver, error) = state();
        // SAFETY: an int of this context.
        unsafe { error.write(4) };
        suspender.suspend();
        assert_eq!(state(), (resolver, error));
        // SAFETY: as above.
        assert_eq!(unsafe { error.read() }, 4);
        let found = std::net::ToSocketAddrs::to_socket_addrs("localhost:80").unwrap();
        assert!(found.into_iter().any(|address| address.ip().is_loopback()));
    });
    assert!(!task.resume());
    let range = task.context().stack_range();
    assert!(resume_elsewhere(&mut task, move || {
        let (resolver, error) = state();
        assert!(!range.contains(resolver) && !range.contains(error as usize));
    }));
}

#[test]
fn a_lock_of_a_stdio_file_travels() {
    struct File(*mut libc::FILE);
    // SAFETY: stdio files may be used by any thread.
    unsafe impl Sync for File {}
    // SAFETY: an anonymous file, closed at the end.
    let file = File(unsafe { libc::tmpfile() });
    assert!(!file.0.is_null());
    let file = &file;
    let pool = pool();
    let mut task = Task::new(&pool, move |suspender| {
        // SAFETY: the file is open; locks are given back as often as they were taken.
        unsafe {
            flockfile(file.0);
            suspender.suspend();
            // Re-entrant: its owner is the context.
            assert_eq!(ftrylockfile(file.0), 0);
            assert!(libc::fputs(c"text".as_ptr(), file.0) >= 0);
            funlockfile(file.0);
            funlockfile(file.0);
        }
    });
    // SAFETY: as above.
    let is_locked = move || unsafe {
        let refused = ftrylockfile(file.0) != 0;
        if !refused {
            funlockfile(file.0);
        }
        refused
    };
    assert!(!task.resume());
    assert!(is_locked());
    let (locked, was_locked) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            // SAFETY: as above; this waits for the context.
            unsafe {
                flockfile(file.0);
                funlockfile(file.0);
            }
            locked.send(()).unwrap();
        });
        assert!(thread::scope(|scope| scope
            .spawn(|| task.resume())
            .join()
            .unwrap()));
        was_locked.recv().unwrap();
    });
    assert!(!is_locked());
    // SAFETY: nobody uses it any more.
    unsafe { libc::fclose(file.0) };
}

#[test]
fn tokens_go_on_elsewhere() {
    let pool = pool();
    let mut task = Task::new(&pool, |suspender| {
        let mut text = *b"one,two,three\0";
        let (mut place, mut whole) = (null_mut(), *b"a b\0");
        let text: *mut c_char = text.as_mut_ptr().cast();
        // SAFETY: writable, terminated strings.
        unsafe {
            // The libc has one place for the process, as on threads, so nobody else may be at it.
            let token = |word: *mut c_char| CStr::from_ptr(word).to_str().unwrap();
            assert_eq!(token(libc::strtok(text, c",".as_ptr())), "one");
            let first = libc::strtok_r(whole.as_mut_ptr().cast(), c" ".as_ptr(), &mut place);
            assert_eq!(token(first), "a");
            suspender.suspend();
            assert_eq!(token(libc::strtok(null_mut(), c",".as_ptr())), "two");
            assert_eq!(token(libc::strtok(null_mut(), c",".as_ptr())), "three");
            assert_eq!(
                token(libc::strtok_r(null_mut(), c" ".as_ptr(), &mut place)),
                "b"
            );
        }
    });
    assert!(!task.resume());
    assert!(resume_elsewhere(&mut task, || ()));
}

#[test]
fn random_bytes_are_never_the_same() {
    fn bytes() -> u128 {
        let mut bytes = [0u8; 16];
        // SAFETY: writes so many bytes. (Since glibc 2.41 from a state that belongs to the thread.)
        let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
        assert_eq!(got, 16);
        u128::from_ne_bytes(bytes)
    }
    let pool = pool();
    let (send, seen) = mpsc::channel();
    let mut tasks: Vec<_> = (0..20)
        .map(|_| {
            let send = send.clone();
            Task::new(&pool, move |suspender| {
                send.send(bytes()).unwrap();
                suspender.suspend();
                send.send(bytes()).unwrap();
            })
        })
        .collect();
    for task in &mut tasks {
        assert!(!task.resume());
        send.send(bytes()).unwrap();
    }
    for task in &mut tasks {
        assert!(resume_elsewhere(task, || send.send(bytes()).unwrap()));
    }
    drop((tasks, send));
    let mut all: Vec<u128> = seen.iter().collect();
    all.sort_unstable();
    assert!(all.windows(2).all(|pair| pair[0] != pair[1]));
    assert_eq!(all.len(), 20 * 5);
}

#[test]
fn contexts_unwind_at_once_on_several_threads() {
    let pool = pool();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let mut task = Task::new(&pool, move |suspender| {
                        for step in 0..4u32 {
                            let caught = std::panic::catch_unwind(|| {
                                std::panic::resume_unwind(Box::new(step))
                            });
                            assert_eq!(caught.unwrap_err().downcast_ref(), Some(&step));
                            suspender.suspend();
                        }
                    });
                    while !resume_elsewhere(&mut task, || assert!(!thread::panicking())) {}
                }
            });
        }
    });
}
