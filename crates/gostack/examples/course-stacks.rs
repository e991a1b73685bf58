//! The experiments of the course's lessons on stacks, contiguous and segmented ones side by side. `cargo xtask lesson NAME` runs one, and draws what it prints.
//!
//! By hand: `cargo run --release -p gostack --example course-stacks NAME`. Each line is a point: `plot series x y`. With `--tiny` everything is as small as it may be. The same functions run on both kinds of stack; a function here is a
//! frame of some words, one of which points into its caller's frame, so that a stack that moves has something to adjust.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::process::ExitCode;
use std::ptr::{NonNull, with_exposed_provenance_mut};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use gostack::env::{FrameMap, FrameShape, StackMemory, Word};
use gostack::managed::{
    Call, ContiguousStack, GlobalSpans, ManagedStack, RECORD_WORDS, SegmentedStack, Sizes,
    StackCache, StackDepot,
};

const WORD: u32 = size_of::<Word>() as u32;
/// Arguments of each call.
const ARGUMENTS: u32 = 2;
/// Words of an ordinary frame; with the record 80 bytes, as Go's of a small recursive function.
const FRAME: u32 = 8;
/// Runs of which the fastest counts.
const RUNS: u32 = 7;

/// Every function's first local points into its caller's frame; its two arguments are numbers.
struct Frames;

// SAFETY: `enter` writes slot -1 of every frame and nothing else; frames are no larger than this says, since they are entered with their size
// as the place in the code.
unsafe impl FrameMap for Frames {
    fn frame(&self, at: Word) -> Option<FrameShape<'_>> {
        Some(FrameShape {
            words: at.addr() as u32,
            pointers: if at.addr() & ENTRY != 0 { &[] } else { &[-1] },
        })
    }

    fn outside(&self, _: &mut dyn FnMut(Word) -> Word) {}
}

/// Marks the entry of a function, where nothing is written yet.
const ENTRY: usize = 1 << 40;

/// A place in a function with a frame of so many words.
fn place(words: u32) -> Word {
    std::ptr::without_provenance_mut(words as usize)
}

/// Spans that are kept when they are freed, as a heap keeps them: what is measured is not the faults of fresh memory.
struct KeptSpans {
    free: Mutex<BTreeMap<usize, Vec<usize>>>,
}

static SPANS: KeptSpans = KeptSpans {
    free: Mutex::new(BTreeMap::new()),
};

// SAFETY: spans are the global allocator's, and each is either in the map or given out.
unsafe impl StackMemory for &KeptSpans {
    fn allocate(&self, bytes: usize) -> Option<NonNull<u8>> {
        let kept = self.free.lock().unwrap().entry(bytes).or_default().pop();
        match kept {
            Some(span) => NonNull::new(with_exposed_provenance_mut(span)),
            None => GlobalSpans.allocate(bytes),
        }
    }

    unsafe fn free(&self, span: NonNull<u8>, bytes: usize) {
        let mut free = self.free.lock().unwrap();
        free.entry(bytes)
            .or_default()
            .push(span.as_ptr().expose_provenance());
    }
}

type Cache = StackCache<&'static KeptSpans>;

/// A stack with its memory.
struct Bench<S> {
    stack: S,
    cache: Cache,
}

impl<S: ManagedStack> Bench<S> {
    fn new(make: impl FnOnce(&mut Cache) -> S) -> Self {
        let mut cache = StackCache::new(StackDepot::new(&SPANS));
        let stack = make(&mut cache);
        Self { stack, cache }
    }

    /// Calls a function with a frame of `words` from one that uses `used` words, all that it has.
    #[inline]
    fn call(&mut self, used: u32, words: u32) {
        let call = Call {
            used,
            arguments: ARGUMENTS,
            frame: words,
            entry: std::ptr::without_provenance_mut(ENTRY | words as usize),
            return_to: place(used),
        };
        // SAFETY: the caller's words are as `Frames` says, the arguments the lowest; the first local is written at once.
        unsafe {
            let arguments = self.stack.frame().sub(used as usize);
            arguments.write(place(used));
            arguments.add(1).write(place(words));
            let entered = self.stack.enter(&mut self.cache, &Frames, call);
            entered.expect("memory for a stack");
            let frame = self.stack.frame();
            frame.sub(1).write(frame.read());
        }
    }

    #[inline]
    fn back(&mut self) {
        // SAFETY: each call is followed by one return.
        black_box(unsafe { self.stack.leave(&mut self.cache) });
    }

    /// Calls to a depth and returns.
    fn recurse(&mut self, depth: u32) {
        self.call(ARGUMENTS, FRAME);
        (1..depth).for_each(|_| self.call(FRAME, FRAME));
        (0..depth).for_each(|_| self.back());
    }

    fn collect(&mut self, used: u32) {
        // SAFETY: the function that runs has a frame of `used` words.
        unsafe {
            self.stack
                .collect(&mut self.cache, &Frames, place(used), used)
        };
    }

    fn end(mut self) {
        self.stack.retire(&mut self.cache);
    }
}

fn contiguous(sizes: Sizes) -> Bench<ContiguousStack> {
    Bench::new(|cache| ContiguousStack::new(cache, sizes).expect("memory for a stack"))
}

fn segmented(sizes: Sizes) -> Bench<SegmentedStack> {
    Bench::new(|cache| SegmentedStack::new(cache, sizes).expect("memory for a stack"))
}

fn nanos(time: Duration, count: u32) -> f64 {
    time.as_secs_f64() * 1e9 / f64::from(count)
}

fn point(plot: &str, series: &str, x: impl std::fmt::Display, y: f64) {
    println!("{plot} {series} {x} {y:.3}");
}

/// A loop that calls one function, at every distance from the edge of the first block.
fn hot_split(calls: u32) {
    const FIRST: u32 = 4096;
    let sizes = Sizes {
        first: FIRST as usize,
        ..Sizes::GO
    };
    fn cost<S: ManagedStack>(mut bench: Bench<S>, filler: u32, calls: u32) -> f64 {
        bench.call(ARGUMENTS, filler);
        let mut best = Duration::MAX;
        for _ in 0..RUNS {
            let start = Instant::now();
            for _ in 0..calls {
                bench.call(filler, FRAME);
                bench.back();
            }
            best = best.min(start.elapsed());
        }
        bench.end();
        nanos(best, calls)
    }
    for room in (0..=40).step_by(2) {
        // A frame that leaves so many words.
        let filler = FIRST / WORD - ARGUMENTS - 2 * RECORD_WORDS - room;
        let bytes = room * WORD;
        point(
            "hot-split",
            "segmented",
            bytes,
            cost(segmented(sizes), filler, calls),
        );
        point(
            "hot-split",
            "contiguous",
            bytes,
            cost(contiguous(sizes), filler, calls),
        );
    }
}

/// Recursion to a depth, from a fresh stack and again; what was copied on the way.
fn growth(most: u32) {
    for depth in (4..=most).map(|power| 1u32 << power) {
        let repeat = (1 << 16 >> depth.ilog2()).max(1) * RUNS;
        let mut first = [Duration::MAX; 2];
        let mut again = Duration::MAX;
        let mut copied = 0;
        for _ in 0..repeat {
            let mut bench = contiguous(Sizes::GO);
            let start = Instant::now();
            bench.recurse(depth);
            first[0] = first[0].min(start.elapsed());
            copied = bench.stack.copied();
            let start = Instant::now();
            bench.recurse(depth);
            again = again.min(start.elapsed());
            bench.end();
            let mut bench = segmented(Sizes::GO);
            let start = Instant::now();
            bench.recurse(depth);
            first[1] = first[1].min(start.elapsed());
            bench.end();
        }
        point("growth", "contiguous,-fresh", depth, nanos(first[0], depth));
        point("growth", "contiguous,-again", depth, nanos(again, depth));
        point("growth", "segmented,-fresh", depth, nanos(first[1], depth));
        point(
            "copying",
            "words-copied-per-frame",
            depth,
            copied as f64 / f64::from(WORD) / f64::from(depth),
        );
    }
}

/// A program that stands at some depth and calls half as deep again, with a collection each time: the stack is halved when less than
/// one part in `shrink_below` is used.
fn shrink(cycles: u32) {
    const BLOCK: u32 = 64 << 10;
    for percent in (10..=58).step_by(2) {
        for shrink_below in [2, 4] {
            let sizes = Sizes {
                shrink_below,
                ..Sizes::GO
            };
            let mut bench = contiguous(sizes);
            // Grows to the block that this is about.
            bench.call(ARGUMENTS, BLOCK / WORD * 7 / 8);
            bench.back();
            let used = BLOCK / WORD * percent / 100;
            bench.call(ARGUMENTS, used);
            let mut best = Duration::MAX;
            let mut moves = 0;
            for _ in 0..RUNS {
                let before = bench.stack.moves();
                let start = Instant::now();
                for _ in 0..cycles {
                    bench.collect(used);
                    bench.call(used, used / 2);
                    bench.back();
                }
                best = best.min(start.elapsed());
                moves = bench.stack.moves() - before;
            }
            let series = format!("shrunk-below-1/{shrink_below}");
            point("shrink", &series, percent, nanos(best, cycles));
            point("thrash", &series, percent, moves as f64 / f64::from(cycles));
            bench.end();
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let tiny = arguments.iter().any(|argument| argument == "--tiny");
    match arguments.first().map(String::as_str) {
        Some("hot-split") => hot_split(if tiny { 10 } else { 50_000 }),
        Some("contiguous") => growth(if tiny { 5 } else { 20 }),
        Some("shrinking") => shrink(if tiny { 2 } else { 200 }),
        _ => {
            eprintln!("one of: hot-split, contiguous, shrinking");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}
