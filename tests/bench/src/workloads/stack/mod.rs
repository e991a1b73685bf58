//! The stack suite: contexts with stacks of their own, without a scheduler.
//!
//! Written once over [`Coroutines`]. Everything happens on one thread; bodies are `Send` because one of those that make coroutines asks for it.

use super::process;
use super::sched::{Outcome, expect, time_each};
use crate::{Arguments, Workload, figure};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// Round trips to one coroutine.
const SWITCHES: u64 = 10_000_000;
/// Coroutines made and ended one at a time.
const CREATIONS: u64 = 3_000_000;
/// Coroutines that live at the same time.
const MANY: u64 = 10_000;
/// Coroutines that call deeply, each on a stack that was not used before.
const DEEP: u64 = 1_000;
/// Bytes of stack that each touches.
const DEPTH: usize = 256 << 10;
/// Bytes in a frame of that recursion.
const FRAME: usize = 1 << 10;
/// Frames of the deepest recursion.
const FRAMES: u64 = 1_000_000;
/// Bytes of stack for each of them, at most.
const FRAME_ROOM: usize = 120;
/// Bytes of stack for what does not call deeply.
const SMALL: usize = 64 << 10;

/// A way to make coroutines.
pub trait Coroutines {
    /// Something that can stop in the middle.
    type Coroutine;
    /// What a body stops with.
    type Suspender<'a>;

    /// A place for coroutines with at least so many bytes of stack that they may use.
    fn new(arguments: &Arguments, stack: usize) -> Result<Self, String>
    where
        Self: Sized;
    /// Makes one, on a stack that was used before if there is any.
    fn create(
        &mut self,
        body: impl FnOnce(&mut Self::Suspender<'_>) + Send + 'static,
    ) -> Result<Self::Coroutine, String>;
    /// Stops until it is resumed.
    fn suspend(suspender: &mut Self::Suspender<'_>);
    /// Goes on with one until it stops, which is `true`, or has ended.
    fn resume(&mut self, coroutine: &mut Self::Coroutine) -> bool;
    /// Takes one back that has ended, for its stack to be used again.
    fn retire(&mut self, coroutine: Self::Coroutine);
}

/// The workloads.
pub fn workloads<C: Coroutines>() -> Vec<Workload> {
    vec![
        ("switch", switch::<C>),
        ("create_destroy", create_destroy::<C>),
        ("create_many", create_many::<C>),
        ("deep_call", deep_call::<C>),
        ("parked_stack", parked_stack::<C>),
        ("recursion", recursion::<C>),
    ]
}

/// For those whose contexts have the thread-local variables of the thread, whatever `locals` asks for.
pub fn without_locals(arguments: &Arguments) {
    arguments.text("locals", "shared");
}

fn switch<C: Coroutines>(arguments: &Arguments) -> Outcome {
    let count = arguments.scaled("count", SWITCHES);
    let mut coroutines = C::new(arguments, SMALL)?;
    let (counter, over) = (
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let (counts, ends) = (counter.clone(), over.clone());
    let mut coroutine = coroutines.create(move |suspender| {
        while !ends.load(Relaxed) {
            counts.store(counts.load(Relaxed) + 1, Relaxed);
            C::suspend(suspender);
        }
    })?;
    coroutines.resume(&mut coroutine);
    let start = Instant::now();
    for _ in 0..count {
        coroutines.resume(&mut coroutine);
    }
    time_each(start.elapsed(), count);
    over.store(true, Relaxed);
    let stopped = coroutines.resume(&mut coroutine);
    coroutines.retire(coroutine);
    expect(
        "stops and resumptions",
        (stopped, counter.load(Relaxed)),
        (false, count + 1),
    )
}

fn create_destroy<C: Coroutines>(arguments: &Arguments) -> Outcome {
    let count = arguments.scaled("count", CREATIONS);
    let mut coroutines = C::new(arguments, SMALL)?;
    let counter = Arc::new(AtomicU64::new(0));
    let mut one_by_one = |count: u64| {
        for _ in 0..count {
            let counts = counter.clone();
            let mut coroutine = coroutines.create(move |_| {
                counts.fetch_add(1, Relaxed);
            })?;
            coroutines.resume(&mut coroutine);
            coroutines.retire(coroutine);
        }
        Ok::<(), String>(())
    };
    one_by_one(count / 10)?;
    let start = Instant::now();
    one_by_one(count)?;
    time_each(start.elapsed(), count);
    expect(
        "coroutines that ran",
        counter.load(Relaxed),
        count / 10 + count,
    )
}

fn create_many<C: Coroutines>(arguments: &Arguments) -> Outcome {
    let count = arguments.scaled("count", MANY);
    let mut coroutines = C::new(arguments, SMALL)?;
    let start = Instant::now();
    let parked = park(&mut coroutines, count)?;
    time_each(start.elapsed(), count);
    end(&mut coroutines, parked)
}

fn parked_stack<C: Coroutines>(arguments: &Arguments) -> Outcome {
    let count = arguments.scaled("count", MANY);
    let mut coroutines = C::new(arguments, SMALL)?;
    let first = park(&mut coroutines, 1)?;
    end(&mut coroutines, first)?;
    let before = process::resident()?;
    let parked = park(&mut coroutines, count)?;
    let bytes = process::resident()?.saturating_sub(before);
    figure("memory", bytes as f64 / count as f64, "B");
    end(&mut coroutines, parked)
}

/// Coroutines that have stopped in the middle, and the counter of those that went on to their end.
struct Parked<C: Coroutines> {
    coroutines: Vec<C::Coroutine>,
    ended: Arc<AtomicU64>,
}

fn park<C: Coroutines>(coroutines: &mut C, count: u64) -> Result<Parked<C>, String> {
    let ended = Arc::new(AtomicU64::new(0));
    let mut parked = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let ended = ended.clone();
        let mut coroutine = coroutines.create(move |suspender| {
            C::suspend(suspender);
            ended.fetch_add(1, Relaxed);
        })?;
        coroutines.resume(&mut coroutine);
        parked.push(coroutine);
    }
    Ok(Parked {
        coroutines: parked,
        ended,
    })
}

fn end<C: Coroutines>(coroutines: &mut C, parked: Parked<C>) -> Outcome {
    let count = parked.coroutines.len() as u64;
    for mut coroutine in parked.coroutines {
        coroutines.resume(&mut coroutine);
        coroutines.retire(coroutine);
    }
    expect("coroutines that went on", parked.ended.load(Relaxed), count)
}

fn deep_call<C: Coroutines>(arguments: &Arguments) -> Outcome {
    let count = arguments.scaled("count", DEEP);
    // The recursion, and room for what its frames have beside their bytes.
    let mut coroutines = C::new(arguments, 2 * DEPTH)?;
    let sum = Arc::new(AtomicU64::new(0));
    let mut parked = Vec::new();
    let start = Instant::now();
    for _ in 0..count {
        let sum = sum.clone();
        let mut coroutine = coroutines.create(move |suspender| {
            sum.fetch_add(descend(DEPTH / FRAME), Relaxed);
            // Its stack is not to be used again, so that the next is fresh too.
            C::suspend(suspender);
        })?;
        coroutines.resume(&mut coroutine);
        parked.push(coroutine);
    }
    figure(
        "time",
        start.elapsed().as_secs_f64() * 1e6 / count as f64,
        "us",
    );
    for mut coroutine in parked {
        coroutines.resume(&mut coroutine);
        coroutines.retire(coroutine);
    }
    expect("frames", sum.load(Relaxed), count * (DEPTH / FRAME) as u64)
}

/// Calls itself so many times, with a frame of [`FRAME`] bytes each; how many frames there were.
#[inline(never)]
fn descend(frames: usize) -> u64 {
    let mut frame = [0_u8; FRAME];
    frame[frames % FRAME] = 1;
    let frame = black_box(&mut frame);
    match frames {
        0 => 0,
        _ => descend(frames - 1) + u64::from(frame[frames % FRAME]),
    }
}

/// Calls itself [`FRAMES`] deep on a fresh stack, and once more on what is then no longer one; the time for each frame.
fn recursion<C: Coroutines>(arguments: &Arguments) -> Outcome {
    let frames = arguments.scaled("frames", FRAMES);
    let mut coroutines = C::new(arguments, SMALL + frames as usize * FRAME_ROOM)?;
    let sum = Arc::new(AtomicU64::new(0));
    let sums = sum.clone();
    let mut coroutine = coroutines.create(move |_| {
        for name in ["fresh", "again"] {
            let start = Instant::now();
            sums.fetch_add(count_frames(frames), Relaxed);
            let each = start.elapsed().as_secs_f64() * 1e9 / frames as f64;
            figure(name, each, "ns");
        }
    })?;
    coroutines.resume(&mut coroutine);
    coroutines.retire(coroutine);
    expect("frames", sum.load(Relaxed), 2 * frames)
}

/// As [`descend`], with a frame of four words.
#[inline(never)]
fn count_frames(frames: u64) -> u64 {
    let frame = black_box([frames; 4]);
    match frames {
        0 => 0,
        _ => count_frames(frames - 1) + frame[3] + 1 - frames,
    }
}
