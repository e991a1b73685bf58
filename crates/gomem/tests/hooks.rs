//! Critical sections under fire: a signal storm on threads that allocate, and the hooks that come of it.
//!
//! One test: the hooks are the process's.

// Miri has no mappings without access rights.
#![cfg(not(miri))]

use gomem::{CollectedKind, GoMalloc, critical, heap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::time::{Duration, Instant};

#[global_allocator]
static GLOBAL: GoMalloc = GoMalloc::new();

static INSIDE: AtomicUsize = AtomicUsize::new(0);
static OUTSIDE: AtomicUsize = AtomicUsize::new(0);
static STOPS: AtomicUsize = AtomicUsize::new(0);
static TRIGGERS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn on_signal(_: i32) {
    if critical::is_active() {
        INSIDE.fetch_add(1, SeqCst);
        critical::request_stop();
    } else {
        OUTSIDE.fetch_add(1, SeqCst);
        // Where a thread may be stopped, its heap may be walked.
        heap().for_each_malloc_block(|range| assert!(range.start < range.end));
    }
}

/// Ends the storm when dropped, also by a failed assertion.
struct Storm<'a>(&'a AtomicBool);

impl Drop for Storm<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

fn signal_storm() {
    // SAFETY: the handler uses atomics, thread-locals, and the heap only where that is allowed.
    unsafe { libc::signal(libc::SIGUSR1, on_signal as *const () as usize) };
    critical::set_stop_hook(|| {
        assert!(!critical::is_active());
        STOPS.fetch_add(1, SeqCst);
        // A stop hook may allocate.
        drop(std::hint::black_box(vec![1u8; 64]));
    });
    let over = AtomicBool::new(false);
    let ready = AtomicBool::new(false);
    // SAFETY: always succeeds.
    let target = unsafe { libc::pthread_self() };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            ready.store(true, SeqCst);
            // Does not allocate from here on.
            let mut sent = 0;
            while !over.load(SeqCst) {
                // SAFETY: the target outlives the scope.
                unsafe { libc::pthread_kill(target, libc::SIGUSR1) };
                sent += 1;
                // One at a time, or the target would do nothing but handle signals.
                while INSIDE.load(SeqCst) + OUTSIDE.load(SeqCst) < sent {
                    std::thread::yield_now();
                }
                for _ in 0..sent * 37 % 1000 {
                    std::hint::spin_loop();
                }
            }
        });
        while !ready.load(SeqCst) {
            std::hint::spin_loop();
        }
        let storm = Storm(&over);
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut kept: Vec<Vec<u8>> = Vec::new();
        let mut i = 0usize;
        while (INSIDE.load(SeqCst) < 50 || OUTSIDE.load(SeqCst) < 50) && Instant::now() < deadline {
            i += 1;
            // Large ones, too, and such as are not kept when they are freed: small ones hardly ever need a section.
            let size = i * 7919 % 60_000;
            kept.push(vec![i as u8; size]);
            for pages in 1..20 {
                std::hint::black_box(Vec::<u8>::with_capacity((1 << 20) + pages * 8192));
            }
            if kept.len() > 50 {
                let old = kept.swap_remove(i % 50);
                assert!(old.windows(2).all(|pair| pair[0] == pair[1]));
            }
        }
        drop(storm);
    });
    assert!(INSIDE.load(SeqCst) >= 50 && OUTSIDE.load(SeqCst) >= 50);
    // Several requests in one section make one stop.
    let stops = STOPS.load(SeqCst);
    assert!(stops > 0 && stops <= INSIDE.load(SeqCst), "{stops}");
}

fn trigger() {
    critical::set_trigger_hook(|| {
        assert!(!critical::is_active());
        TRIGGERS.fetch_add(1, SeqCst);
    });
    heap().set_trigger(heap().heap_bytes() + (1 << 20), usize::MAX);
    let mut allocated = 0;
    while TRIGGERS.load(SeqCst) == 0 {
        let section = critical::enter();
        let object = heap().alloc_collected(100, CollectedKind::NoScan).unwrap();
        allocated += heap().find(object.addr().get()).unwrap().size();
        let before = TRIGGERS.load(SeqCst);
        assert_eq!(before, 0, "called inside a section");
        drop(section);
        assert!(allocated <= 1 << 20, "called too late");
    }
    // Counted ahead, by at most a span.
    assert!(
        allocated + gomem::PAGE_SIZE >= 1 << 20,
        "called too early: {allocated}"
    );
    for _ in 0..10_000 {
        heap().alloc_collected(100, CollectedKind::NoScan).unwrap();
    }
    assert_eq!(TRIGGERS.load(SeqCst), 1, "once");

    // Blocks count as well, and whoever has made an object that owns some can have that looked at.
    heap().set_trigger(heap().heap_bytes() + (1 << 20), usize::MAX);
    let block = vec![1u8; 2 << 20];
    assert_eq!(TRIGGERS.load(SeqCst), 1, "called for a block");
    let section = critical::enter();
    heap().check_trigger();
    drop(section);
    assert_eq!(TRIGGERS.load(SeqCst), 2);
    drop(block);

    // A new cycle counts from zero.
    heap().sweep_all();
    // SAFETY: nothing keeps an object, and no other thread is running.
    assert_eq!(unsafe { heap().start_sweep() }, 0);
    assert_eq!(heap().allocated_since_cycle(), 0);
    heap().set_trigger(heap().heap_bytes() + (1 << 20), usize::MAX);
    let large = heap()
        .alloc_collected(3 << 20, CollectedKind::Scan)
        .unwrap();
    assert_eq!(TRIGGERS.load(SeqCst), 3);

    // From the bound on whoever takes memory is called, though the trigger was reached before.
    let small = || heap().alloc_collected(100_000, CollectedKind::Scan);
    let bound = heap().heap_bytes() + (1 << 20);
    heap().set_trigger(0, bound);
    small().unwrap();
    small().unwrap();
    assert_eq!(TRIGGERS.load(SeqCst), 4);
    while heap().heap_bytes() + 2 * 100_000 < bound {
        small().unwrap();
    }
    assert_eq!(TRIGGERS.load(SeqCst), 4);
    heap()
        .alloc_collected(300_000, CollectedKind::Scan)
        .unwrap();
    small().unwrap();
    assert_eq!(TRIGGERS.load(SeqCst), 6);
    assert!(heap().find(large.addr().get() + (3 << 20) - 1).is_some());
}

/// A thread may be stopped while memory of a large object is cleared for it.
fn clearing() {
    const SIZE: usize = 128 << 20;
    static CLEARING: AtomicBool = AtomicBool::new(false);
    static IN_SECTIONS: AtomicUsize = AtomicUsize::new(0);
    static BETWEEN: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn on_signal(_: i32) {
        if CLEARING.load(SeqCst) {
            let count = if critical::is_active() {
                &IN_SECTIONS
            } else {
                &BETWEEN
            };
            count.fetch_add(1, SeqCst);
        }
    }
    // SAFETY: the handler uses atomics and thread-locals.
    unsafe { libc::signal(libc::SIGUSR2, on_signal as *const () as usize) };
    // Memory that is to be cleared: it was something else.
    drop(std::hint::black_box(vec![1u8; SIZE]));
    let over = AtomicBool::new(false);
    // SAFETY: always succeeds.
    let target = unsafe { libc::pthread_self() };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(SeqCst) {
                // SAFETY: the target outlives the scope.
                unsafe { libc::pthread_kill(target, libc::SIGUSR2) };
                std::thread::sleep(Duration::from_micros(100));
            }
        });
        let _storm = Storm(&over);
        CLEARING.store(true, SeqCst);
        let unborn = heap()
            .prepare_collected(SIZE, 8, CollectedKind::Scan)
            .unwrap();
        CLEARING.store(false, SeqCst);
        drop(unborn);
    });
    let (inside, between) = (IN_SECTIONS.load(SeqCst), BETWEEN.load(SeqCst));
    assert!(
        between > inside,
        "{between} between sections, {inside} in one"
    );
}

#[test]
fn hooks_run_outside_of_sections() {
    clearing();
    signal_storm();
    trigger();
    // What follows the thread from context to context is one word.
    // SAFETY: this context's own word.
    let cache = unsafe { *gomem::cache_slot() }.addr();
    let other = std::thread::spawn(|| {
        drop(std::hint::black_box(Box::new(1)));
        // SAFETY: as above.
        unsafe { *gomem::cache_slot() }.addr()
    });
    assert_ne!(cache, other.join().unwrap());
}
