//! Limits of the process, each set in a child: what the runtime makes of them, and what it says when they are too low.

use goruntime::{Builder, go};
use goruntime_tests::{apart, child, is_child};
use std::process::{Command, Output};
use std::time::Duration;

#[cfg(not(feature = "system-allocator"))]
#[global_allocator]
static GLOBAL: goruntime::GoMalloc = goruntime::GoMalloc::new();

fn limit(of: libc::__rlimit_resource_t) -> libc::rlimit {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the structure is writable.
    assert_eq!(unsafe { libc::getrlimit(of, &mut limit) }, 0);
    limit
}

/// Sets the soft limit.
fn set_soft(of: libc::__rlimit_resource_t, to: u64) {
    let limit = libc::rlimit {
        rlim_cur: to,
        ..limit(of)
    };
    // SAFETY: the structure is readable.
    assert_eq!(unsafe { libc::setrlimit(of, &limit) }, 0);
}

fn said(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

#[test]
fn the_soft_limit_of_open_files_is_raised_and_children_get_the_original() {
    if !apart(
        "the_soft_limit_of_open_files_is_raised_and_children_get_the_original",
        &[],
    ) {
        return;
    }
    set_soft(libc::RLIMIT_NOFILE, 64);
    go(|| ()).join().unwrap();
    let now = limit(libc::RLIMIT_NOFILE);
    assert_eq!(now.rlim_cur, now.rlim_max);
    assert!(now.rlim_cur > 64);
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -Sn"]);
    let inherited = shell.output().unwrap().stdout;
    assert_ne!(inherited, b"64\n", "std starts children as they are");
    let original = goruntime::restore_file_limit(&mut shell).output().unwrap();
    assert_eq!(original.stdout, b"64\n");
}

#[test]
fn without_descriptors_the_runtime_does_not_start_and_names_the_limit() {
    if !is_child() {
        let out = child(
            "without_descriptors_the_runtime_does_not_start_and_names_the_limit",
            &[],
        );
        assert_eq!(out.status.code(), Some(2), "{}", said(&out));
        assert!(said(&out).contains("ulimit -n"), "{}", said(&out));
        return;
    }
    let none = libc::rlimit {
        rlim_cur: 3,
        rlim_max: 3,
    };
    // SAFETY: the structure is readable.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &none) }, 0);
    go(|| ()).join().unwrap();
}

#[test]
fn without_address_space_a_goroutine_is_an_error_and_later_it_is_not() {
    if !apart(
        "without_address_space_a_goroutine_is_an_error_and_later_it_is_not",
        &[],
    ) {
        return;
    }
    // Threads that these ask for are there before the limit is.
    let some: Vec<_> = (0..8).map(|_| go(|| ())).collect();
    some.into_iter().for_each(|g| g.join().unwrap());
    std::thread::sleep(Duration::from_millis(200));
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = status.split(' ').next().unwrap().parse().unwrap();
    set_soft(libc::RLIMIT_AS, pages * 4096 + (1 << 20));
    let large = || Builder::new().stack_size(512 << 20).spawn(|| ());
    let why = large().expect_err("there is no room for this stack");
    let why = why.to_string();
    assert!(why.contains("cannot start a goroutine"), "{why}");
    // What there is goes on.
    go(|| ()).join().unwrap();
    set_soft(libc::RLIMIT_AS, libc::RLIM_INFINITY);
    large().unwrap().join().unwrap();
}

/// A server that has no descriptor to spare still makes garbage.
#[cfg(not(feature = "system-allocator"))]
#[test]
fn without_descriptors_memory_is_collected() {
    use goruntime::gc::{self, Gc};
    if !apart("without_descriptors_memory_is_collected", &[]) {
        return;
    }
    let kept = Gc::new(7);
    set_soft(libc::RLIMIT_NOFILE, 64);
    let files: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
    assert!(std::fs::File::open("/dev/null").is_err());
    // Threads that are not the runtime's are found, and their stacks.
    let (end, wait) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        let kept = Gc::new([8; 4]);
        let _ = wait.recv();
        *kept == [8; 4]
    });
    let cycles = || goruntime::metrics::snapshot().gc_cycles;
    for _ in 0..3 {
        let before = cycles();
        gc::collect();
        assert!(cycles() > before, "nothing was collected");
        (0..1000).for_each(|n| _ = Gc::new([n; 4]));
    }
    drop(end);
    assert!(thread.join().unwrap());
    assert!(*kept == 7 && files.len() > 10);
}
