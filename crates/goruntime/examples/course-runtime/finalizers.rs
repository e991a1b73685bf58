//! How many collections it takes until the memory of dead objects is free, with something to drop in them and without.
//!
//! Both kinds are a kilobyte. One has a field with drop glue, a `Box`, which the runtime has to drop on a goroutine before the object's memory can be used again.

use crate::point;
use goruntime::gc::{self, Gc, Trace};
use goruntime::metrics::snapshot;
use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

#[derive(Trace)]
struct Plain {
    data: [u64; 125],
}

#[derive(Trace)]
struct WithDrop {
    data: [u64; 123],
    counted: Box<Counted>,
}

/// Counts how often it was dropped. What lies in a collected object may not implement `Drop`; what lies in a `Box` may.
struct Counted;

static DROPPED: AtomicU32 = AtomicU32::new(0);

impl Drop for Counted {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Relaxed);
    }
}

pub fn run(tiny: bool) {
    let count = if tiny { 100 } else { 64 << 10 };
    watch("nothing-to-drop", count, || {
        black_box(Gc::new(Plain { data: [1; 125] }).data[0]);
    });
    let expected = count;
    watch("something-to-drop", count, || {
        let object = Gc::new(WithDrop {
            data: [1; 123],
            counted: Box::new(Counted),
        });
        black_box((object.data[0], &object.counted));
    });
    let dropped = DROPPED.load(Relaxed);
    println!("# {dropped} of {expected} objects have been dropped");
}

/// Makes objects, drops the pointers to them, and collects, again and again.
fn watch(series: &str, count: u32, make: impl Fn()) {
    gc::collect();
    let before = snapshot().heap_alloc;
    make_all(count, make);
    for collection in 0..5 {
        let bytes = snapshot().heap_alloc.saturating_sub(before);
        point(
            "finalizers",
            series,
            collection,
            bytes as f64 / f64::from(1 << 20),
        );
        gc::collect();
        settle();
    }
}

#[inline(never)]
fn make_all(count: u32, make: impl Fn()) {
    (0..count).for_each(|_| make());
}

/// Waits until the goroutine that drops has nothing more to do.
fn settle() {
    let start = Instant::now();
    let mut dropped = DROPPED.load(Relaxed);
    while start.elapsed() < Duration::from_secs(2) {
        goruntime::time::sleep(Duration::from_millis(50));
        let now = DROPPED.load(Relaxed);
        if now == std::mem::replace(&mut dropped, now) {
            return;
        }
    }
}
