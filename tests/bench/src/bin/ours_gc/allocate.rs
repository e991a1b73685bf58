//! `allocate`: objects are made and dropped, with the collector off (`GOGC=off` in the environment).
//!
//! The process is fresh, so that each page is touched for the first time, and its cost is part of the figure.

use bench::Arguments;
use goruntime::gc::{Gc, GcPtr, Trace};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Bytes of objects that are made in all. With headers and rounding it stays below 1 GiB.
const BYTES: usize = 384 << 20;

/// A pointer and some words.
#[derive(Trace)]
struct Object<const WORDS: usize> {
    next: GcPtr<Object<WORDS>>,
    words: [u64; WORDS],
}

pub fn run(arguments: &Arguments) -> Result<(), String> {
    let size = arguments.number("size", 16usize);
    let mutators = arguments.number("mutators", 1usize);
    let bytes = arguments.scaled("bytes", BYTES);
    let number = (bytes / size / mutators).max(1);
    let make: fn(usize) -> Result<Duration, String> = match size {
        16 => make::<1>,
        64 => make::<7>,
        256 => make::<31>,
        1024 => make::<127>,
        _ => return Err(format!("size={size} is none of 16, 64, 256, 1024")),
    };
    let makers: Vec<_> = (0..mutators)
        .map(|_| goruntime::go(move || make(number)))
        .collect();
    let mut longest = Duration::ZERO;
    for maker in makers {
        longest = longest.max(maker.join().map_err(|_| "a goroutine panicked")??);
    }
    bench::figure("time", longest.as_nanos() as f64 / number as f64, "ns");
    Ok(())
}

/// Makes so many objects; says how long it took.
fn make<const WORDS: usize>(number: usize) -> Result<Duration, String> {
    let begin = Instant::now();
    let mut last = None;
    for n in 0..number {
        let mut words = [0; WORDS];
        words[WORDS - 1] = n as u64;
        let next = GcPtr::null();
        last = Some(black_box(Gc::new(Object { next, words })));
    }
    let elapsed = begin.elapsed();
    match last {
        Some(object)
            if object.words[WORDS - 1] == number as u64 - 1 && object.next.load().is_none() =>
        {
            Ok(elapsed)
        }
        _ => Err("an object does not hold what was written".to_owned()),
    }
}
