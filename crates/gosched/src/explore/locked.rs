//! Goroutines locked to threads: one that has been found reaches its sleeping thread with a P, and a thread that ends with its goroutine leaves an M that
//! can be used again.

use super::inline::with_scheduler;
use super::{remove, weaken};
use crate::atomic::{AtomicU32, Ordering, thread};
use crate::critical;
use crate::gmp::g::{Header, Ops};
use crate::gmp::global::GlobalQueue;
use crate::gmp::m::M;
use crate::gmp::p::P;
use crate::sched::SpawnOptions;
use goexplore::sync::Guarded;
use goexplore::{Exploration, Plant};
use std::ptr;

/// What `sched/locked.rs` does between two threads, on its own queue: the one publishes its goroutine and sleeps, the other finds it and hands it over.
struct Meeting {
    m: M,
    p: P,
    g: Header,
    queue: GlobalQueue,
    /// What belongs to whoever has the P and the goroutine.
    data: Guarded<u32>,
    handed: AtomicU32,
}

const ROUNDS: u32 = 2;

fn handing_over() {
    let meeting: &'static Meeting = Box::leak(Box::new(Meeting {
        m: M::new(0),
        p: P::new(0),
        g: Header::new(Ops::unreachable(), ptr::null()),
        queue: GlobalQueue::new(),
        data: Guarded::new(0),
        handed: AtomicU32::new(0),
    }));
    let sleeper = thread::spawn(|| {
        for _ in 0..ROUNDS {
            let inside = critical::enter();
            meeting.queue.push(&meeting.g, &inside);
            drop(inside);
            meeting.m.park(|| ());
            // SAFETY: this is the M's own thread, which was woken without a P; what it was left is its own.
            unsafe {
                meeting.m.accept();
                assert!(ptr::eq(meeting.m.next_g.replace(ptr::null()), &meeting.g));
                assert!(meeting.m.p().is_some(), "it was woken without a P");
                meeting.data.with_mut(|n| *n += 1);
                meeting.m.release();
            }
            meeting.handed.fetch_add(1, Ordering::Release);
        }
    });
    for round in 0..ROUNDS {
        let found = loop {
            let inside = critical::enter();
            let found = meeting
                .queue
                .pop(|_| 0, &mut crate::gmp::g::GList::new(), &inside);
            drop(inside);
            match found {
                Some(g) => break g,
                None => thread::yield_now(),
            }
        };
        // SAFETY: the goroutine came out of the queue, and the P is free and ours.
        unsafe {
            meeting.data.with_mut(|n| *n += 10);
            meeting.m.next_g.set(found);
            meeting.m.leave_p(&meeting.p, false);
            meeting.m.unpark();
        }
        while meeting.handed.load(Ordering::Acquire) == round {
            thread::yield_now();
        }
    }
    sleeper.join().unwrap();
    // SAFETY: nobody else is left.
    assert_eq!(unsafe { meeting.data.with(|n| *n) }, 11 * ROUNDS);
    // SAFETY: it was leaked above, and its thread has ended.
    drop(unsafe { Box::from_raw(ptr::from_ref(meeting).cast_mut()) });
}

/// Threads end with their goroutines while others come.
fn ending_with_it() {
    with_scheduler(2, |scheduler| {
        let options = || SpawnOptions {
            locked: true,
            ..SpawnOptions::default()
        };
        let one = scheduler.spawn_with(options(), || 1).unwrap();
        let two = scheduler.spawn(|| 2).unwrap();
        let three = scheduler.spawn_with(options(), || 3).unwrap();
        let sum = one.join().unwrap() + two.join().unwrap() + three.join().unwrap();
        assert_eq!(sum, 6);
        assert_eq!(scheduler.spawn(|| 4).unwrap().join().unwrap(), 4);
    });
}

#[test]
fn explore_handing_over() {
    let exploration = Exploration::exhaustive().preemptions(2);
    exploration.check("gosched: handing a goroutine to its thread", handing_over);
    let plants = vec![
        remove("src/gmp/m.rs", "sys::futex_wake(&self.parked, 1)"),
        weaken("src/gmp/m.rs", "self.parked.store(1, Ordering::Release)"),
    ];
    let name = "gosched: handing a goroutine to its thread";
    exploration.catches(name, plants, handing_over);
}

#[test]
fn explore_ending_with_it() {
    let random = Exploration::random(7).executions(1500);
    random.check("gosched: threads end with goroutines", ending_with_it);
    let plants = vec![
        Plant::named("the P of a thread that ends is kept"),
        Plant::named("a thread that ends leaves nobody to look for work"),
    ];
    random.catches(
        "gosched: threads end with goroutines",
        plants,
        ending_with_it,
    );
}
