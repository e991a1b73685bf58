//! The ports: what the collector needs from a heap and from a world of mutators.
//!
//! A [`HeapView`] knows objects: it turns an address into one, marks it, lists its pointers, sweeps what is
//! not marked. A [`World`] knows the mutators: it stops and restarts them, lists their roots, lends threads
//! and buffer memory. Both are used through `&self` and shared by all markers.
//!
//! The protocol of one cycle, with the world stopped between the bars; of one that marks with the world stopped:
//!
//! ```text
//!   sweep* | start_mark  resolve/try_mark/scan*  before_sweep  resolve/try_mark/scan*  start_sweep | sweep*
//! ```
//!
//! and of one that marks while mutators run, in which the second stop may come several times, and only the last does all of this:
//!
//! ```text
//!   sweep* | start_mark | resolve/try_mark/scan* | resolve/try_mark/scan*  before_sweep  resolve/try_mark/scan*  start_sweep | sweep*
//!          `Stop::Begin`   `World::with_running`   `Stop::End`
//! ```

use std::ops::Range;
use std::ptr::NonNull;

use crate::stats::{CycleStats, Phase, Reason};
use crate::units::{Bytes, Nanos};
use crate::word::WORD;

mod aged;
mod counted;

pub use aged::{Age, AgedHeap};
pub use counted::CountedHeap;

/// The address of the first byte of an object: what a grey object is remembered by. A multiple of the word
/// size, never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectAddr(pub usize);

/// A span: objects that lie together and are scanned together. A number that means something to the heap alone; a multiple of 4, never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(pub usize);

/// How an object that has just been marked gets scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// On its own.
    Alone,
    /// With its span, which is in a queue already.
    InSpan,
    /// With its span, which the caller is to queue.
    Queue(SpanId),
}

/// Receives the words of objects that may be pointers; implemented by the collector.
pub trait WordSink {
    /// Takes one word.
    fn word(&mut self, word: usize);

    /// Takes the words at `base` whose bits are set in `mask`: bit `i` stands for word `i`.
    ///
    /// # Safety
    /// 1. `base` is aligned to a word.
    /// 2. The words whose bits are set are mapped and readable until the call returns. They may be uninitialised, and be written meanwhile.
    unsafe fn masked(&mut self, base: *const usize, mask: u64);
}

/// How much memory the heap holds, for the pacer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeapUsage {
    /// Bytes of collected objects: those that the last cycle retained and all allocated since.
    pub collected: Bytes,
    /// Bytes of other memory that collected objects may own (the Rust heap). It counts towards the goal,
    /// because freeing it may have to wait for the death of a small collected object.
    pub external: Bytes,
    /// Bytes of memory obtained from the system and not given back.
    pub mapped: Bytes,
    /// The part of `mapped` that is in no use and could hold objects.
    pub idle: Bytes,
}

impl HeapUsage {
    /// What the goal is about: objects, and the memory that they may own.
    #[inline]
    pub fn size(&self) -> Bytes {
        self.collected.saturating_add(self.external)
    }
}

/// The result of a step of sweeping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SweepStep {
    /// Bytes of memory looked at.
    pub swept: Bytes,
    /// Nothing is left to sweep: neither here nor in the hands of another thread that sweeps.
    pub done: bool,
}

/// The collected heap, as a collector sees it.
///
/// # Safety
/// An implementation is trusted with the reachability of every object:
///
/// 1. `resolve` answers for every word, garbage included, without faulting; it finds the object for every
///    address from the object's first byte to its last, and never an unallocated slot or one whose header is
///    not yet written. An allocated but not yet initialised object must be safe to `scan`.
/// 2. `bounds` contains every object that exists from `start_mark` to `start_sweep`.
/// 3. `try_mark` returns true to exactly one of any number of concurrent callers, between one `start_mark`
///    and the next.
/// 4. `scan` visits every word of the range that holds a pointer to a collected object, as it was at some
///    moment during the call. Visiting other words is allowed.
/// 5. `scannable` is at least the offset of the end of the last such word; `pointer_free` is true only if
///    there is none.
/// 6. Objects allocated between `start_mark` and `start_sweep` are born marked. They are marked before `resolve` finds them. (What they are born with passes the
///    [`barrier`](crate::barrier).)
/// 7. Only unmarked objects are freed, and only between `start_sweep` and the next `start_mark`; an object
///    born after `start_sweep` is not freed by that sweep.
/// 8. Between `start_mark` and `start_sweep` no method takes a lock that a stopped mutator may hold.
/// 9. An object that `wait` was called for and that is not [`Alone`](Wait::Alone) is scanned by a `scan_span` of its span that begins after the call of `wait` whose
///    answer last was [`Queue`](Wait::Queue) with that span. This holds with any number of callers of both.
pub unsafe trait HeapView: Sync {
    /// What an address resolves to. May carry more than the address (the span, the index in it), so that
    /// marking need not look that up again.
    type Object: Copy;

    /// The addresses between which all objects lie. Words outside are dismissed by one comparison.
    fn bounds(&self) -> Range<usize>;

    /// The object that contains the address `word`, if there is one.
    fn resolve(&self, word: usize) -> Option<Self::Object>;

    /// Asks the processor to fetch what [`resolve`](Self::resolve) and [`try_mark`](Self::try_mark) will read
    /// for `word`, which lies within the bounds but may be garbage.
    #[inline]
    fn prefetch(&self, word: usize) {
        let _ = word;
    }

    /// Marks the object; true if it was not marked before.
    fn try_mark(&self, object: Self::Object) -> bool;

    /// Whether the object is marked.
    fn is_marked(&self, object: Self::Object) -> bool;

    /// The address of the object's first byte.
    fn start(&self, object: Self::Object) -> ObjectAddr;

    /// The bytes of heap that the object takes.
    fn size(&self, object: Self::Object) -> usize;

    /// Whether the object is known to hold no pointer, so that it need not be scanned. Cheap: false if
    /// finding out means touching the object.
    fn pointer_free(&self, object: Self::Object) -> bool;

    /// The number of bytes of the object, from its start, that have to be scanned.
    fn scannable(&self, object: ObjectAddr) -> usize;

    /// Gives `sink` every word of the bytes `range` of the object that may be a pointer to a collected
    /// object.
    fn scan(&self, object: ObjectAddr, range: Range<usize>, sink: &mut impl WordSink);

    /// Says how the object, which the caller has just marked and which is not [`pointer_free`](Self::pointer_free), gets scanned.
    ///
    /// A heap that keeps objects of one layout together has them scanned by span: that way memory is read in order and few lines of the heap's own are touched.
    /// Others need none of the methods about spans.
    #[inline]
    fn wait(&self, object: Self::Object) -> Wait {
        let _ = object;
        Wait::Alone
    }

    /// Scans an object, which the caller has just marked, at once instead of having it wait. Returns the bytes that were scanned, which may be none if another marker does
    /// it; `None` if the object has to wait, as large ones do.
    #[inline]
    fn scan_now(&self, object: Self::Object, sink: &mut impl WordSink) -> Option<Bytes> {
        let _ = (object, sink);
        None
    }

    /// Asks the processor to fetch what the heap knows of a span that will be scanned.
    #[inline]
    fn prefetch_span(&self, span: SpanId) {
        let _ = span;
    }

    /// Asks the processor to fetch the objects that wait in a span that will be scanned next.
    #[inline]
    fn prefetch_waiting(&self, span: SpanId) {
        let _ = span;
    }

    /// Takes note that the span has been taken from its queue, then scans all of its objects that wait. Returns the bytes that were scanned.
    fn scan_span(&self, span: SpanId, sink: &mut impl WordSink) -> Bytes {
        let _ = (span, sink);
        Bytes(0)
    }

    /// Takes note that the span is in no queue, for there was no room for it. What waits in it is left to [`for_each_marked`](Self::for_each_marked).
    fn forget_span(&self, span: SpanId) {
        let _ = span;
    }

    /// Calls `visit` with every marked object. Objects marked meanwhile may be missed.
    ///
    /// It is the way out when no memory for grey objects is to be had.
    fn for_each_marked(&self, visit: &mut impl FnMut(Self::Object));

    /// Clears all marks, and has what is allocated from now on be born marked. Called with the world stopped and sweeping done.
    fn start_mark(&self);

    /// Called while mutators run, when little is left to be marked: what is marked now, [`before_sweep`](Self::before_sweep) need not look at. Not called by a collector that
    /// marks with the world stopped.
    fn look_ahead(&self) {}

    /// Called when marking is over and the world is still stopped. The heap clears weak pointers to unmarked
    /// objects, queues unmarked objects that have a finalizer, and passes the latter to `revive`, which keeps
    /// them, and all that they reach, for this cycle.
    fn before_sweep(&self, revive: &mut impl FnMut(Self::Object));

    /// Makes what is unmarked free to be swept, and ends that objects are born marked. `marked` is the size of all objects that were marked by
    /// [`try_mark`](Self::try_mark): with those allocated since `start_mark` it is what [`usage`](Self::usage) is to report as collected from now on,
    /// until more is allocated. Called with the world stopped.
    fn start_sweep(&self, marked: Bytes);

    /// Sweeps some `limit` bytes of the heap (not only garbage). Called by any number of threads while the
    /// world runs. Once a cycle has seen it [`done`](SweepStep::done), there is nothing to sweep until
    /// `start_sweep`.
    fn sweep(&self, limit: Bytes) -> SweepStep;

    /// Present memory use. Cheap enough to be asked whenever an allocation cache is refilled.
    fn usage(&self) -> HeapUsage;
}

/// Where a root was found, for the pacer and for the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootKind {
    /// Stacks, thread-locals and registers. Code that walks an array may keep only the address of its end there, one past the last element, and count upwards to it;
    /// such an address is the start of the next object. So each word of this kind also stands for the byte before it.
    Stack,
    /// Statics.
    Global,
    /// Memory of the Rust heap.
    RustHeap,
    /// Words known to be pointers, registered by the program.
    Handle,
}

impl RootKind {
    /// The other address that a word of a piece of memory stands for, if it does for two.
    #[inline]
    pub fn end_at(self, word: usize) -> Option<usize> {
        (self == RootKind::Stack && word.is_multiple_of(WORD) && word != 0).then(|| word - 1)
    }
}

/// Receives roots; implemented by the collector.
pub trait RootSink {
    /// Takes every word of a piece of memory for a possible pointer to, or into, an object.
    ///
    /// # Safety
    /// 1. `start` is aligned to a word.
    /// 2. `words` words from there are mapped and readable until the call returns. They may be uninitialised.
    unsafe fn range(&mut self, kind: RootKind, start: *const usize, words: usize);

    /// Takes one word for a possible pointer to, or into, an object.
    fn word(&mut self, kind: RootKind, word: usize);
}

/// Roots, cut into jobs that markers share among them. Which ones is said where they are obtained, see [`World`].
///
/// # Safety
/// 1. Taken together the jobs `0..jobs()` present all those roots.
/// 2. `scan` may run for different jobs at once; if the world is stopped it takes no lock that a stopped mutator may hold.
pub unsafe trait Roots: Sync {
    /// The number of jobs. Does not change.
    fn jobs(&self) -> usize;

    /// Presents the roots of one job to `sink`.
    fn scan(&self, job: usize, sink: &mut impl RootSink);

    /// Presents every root of the stopped world, for a check of the marks. Asked of the roots of [`Stop::Whole`] and [`Stop::End`] only.
    fn scan_all(&self, sink: &mut impl RootSink) {
        (0..self.jobs()).for_each(|job| self.scan(job, sink));
    }
}

/// What the world is stopped for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// All of marking. The roots are all there are.
    Whole,
    /// The beginning of a marking beside mutators. The roots are those which had better not, or cannot, be looked at while mutators run.
    Begin,
    /// The end of it. The roots are all that may have changed since they were presented.
    End,
}

/// Whose time a step of marking in the background takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processor {
    /// The collector's quarter.
    Dedicated,
    /// Nobody's: no mutator has use for it.
    Idle,
}

/// A step of marking in the background, as [`World::mark_in_background`] is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Background {
    /// So much was looked through, and there is more.
    Marked(Bytes),
    /// So much was looked through, and for the moment there is no more, but others are at work: worth asking again after some microseconds.
    Dry(Bytes),
    /// There is nothing left to do.
    Over,
}

/// What happens in a cycle, as plain data.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// A cycle begins; the world still runs.
    CycleStart {
        /// The number of the cycle, counting from 1.
        cycle: u64,
        /// What asked for it.
        reason: Reason,
        /// Memory in use.
        usage: HeapUsage,
        /// The goal that this cycle was to meet.
        goal: Bytes,
    },
    /// The collector is in a new phase since `at`.
    PhaseStart {
        /// The phase.
        phase: Phase,
        /// When it began.
        at: Nanos,
    },
    /// No memory for grey objects could be had; the heap will be walked for what could not be remembered.
    BuffersRefused {
        /// The number of the cycle.
        cycle: u64,
    },
    /// The cycle has marked everything and the world runs again; sweeping goes on.
    CycleEnd(CycleStats),
}

/// An observer of the collector.
pub trait Hooks {
    /// Something happened. Events of the phases [`Phase::Mark`] and [`Phase::MarkTermination`], and
    /// [`Event::BuffersRefused`], arrive with the world stopped: take no lock that a mutator may hold, write
    /// to no buffered stream.
    fn event(&self, event: &Event) {
        let _ = event;
    }
}

/// The mutators, as a collector sees them, and what the collector borrows from its surroundings.
///
/// # Safety
/// 1. From the call of the closure of `with_stopped` to its return no mutator runs: none allocates, none
///    writes to a collected object, a stack or another root.
/// 2. Everything that a mutator did before it stopped is visible in the closure, and the other way round
///    after.
/// 3. Memory from `acquire` is writable, of the size asked for and aligned to 64 bytes, and belongs to the
///    caller until it is passed to `release` with the same size.
/// 4. `run_workers` runs the body at least once, and returns only when every run of it has returned.
/// 5. A root is a word by which a mutator can reach an object, be it on a stack, in a register, in a static or on the Rust heap, and also a word that
///    a mutator's barrier has recorded and not yet handed to the collector. The roots of `Stop::Whole` are all roots. Those of `Stop::End` are all
///    but words that have not changed, nor begun to be roots, since they were presented in this cycle: by the roots of its `Stop::Begin`, or by roots
///    of `with_running`, in the course of that call. (What a stop at the end presents does not count, as it may not be the last.)
///    If the world is a [`SNAPSHOT`](World::SNAPSHOT), those of `Stop::Begin` are all roots, and those of `Stop::End` at least the recorded words.
/// 6. Memory that `with_running` presents stays mapped and readable until the call returns.
/// 7. `mark_in_background` returns only when every call of the step has returned.
/// 8. The world does not stop while a mutator is within [`Collector::flush_barrier`](crate::Collector::flush_barrier),
///    [`scan_newborn`](crate::Collector::scan_newborn) or [`assist`](crate::Collector::assist), or between the birth of an object and the end of its
///    initialisation: stopping waits until it is not.
pub unsafe trait World: Hooks + Sync {
    /// The roots while the world is stopped.
    type Roots: Roots;

    /// Why the world could not be stopped.
    type Error;

    /// Every mutator's roots are presented in `Stop::Begin`, and not again.
    ///
    /// For worlds whose roots are few and quickly looked through, as those of an interpreter with a stack of its own. What is marked then is what was reachable at
    /// the beginning and what was born since, and the last stop has next to nothing to do.
    const SNAPSHOT: bool = false;

    /// Stops all mutators but the caller, which counts as one of them: its stack, too, is in the roots. Runs
    /// `f`, restarts them.
    ///
    /// # Errors
    /// If they cannot be stopped now; then none is, and `f` was not called.
    fn with_stopped<R>(
        &self,
        stop: Stop,
        f: impl FnOnce(&Self::Roots) -> R,
    ) -> Result<R, Self::Error>;

    /// Runs `f` with roots that can be looked at while mutators run, between a `Stop::Begin` and a `Stop::End`. `round` counts from 0 in each cycle. The first
    /// round presents as much as can be, each later one what has changed since; how often that is worth while is the collector's to decide,
    /// who is told about how many bytes they are.
    ///
    /// A world may present nothing here, and everything in the stops.
    fn with_running<R>(&self, round: u32, f: impl FnOnce(&Self::Roots, Bytes) -> R) -> R;

    /// Calls `step` from some threads at once, again and again, each time with the number of bytes to be looked through at most, until it
    /// says [`Background::Over`]. How many threads, and which part of the time they may take from the mutators, is the world's to decide; a quarter of its
    /// processors, and those that are idle, is what the pacer counts on. The threads are not mutators.
    fn mark_in_background(&self, step: &(impl Fn(Bytes, Processor) -> Background + Sync));

    /// Asked by a step of [`mark_in_background`](Self::mark_in_background) that has looked through what it was given: whether it may do so once more. Then it need not give
    /// back what it has found and not yet looked through, which costs the good order of it.
    fn go_on(&self, on: Processor) -> bool {
        let _ = on;
        false
    }

    /// Runs `body` on some threads, at the same time or one after the other: at least one, at most
    /// [`procs`](Self::procs). The threads are not mutators: `with_stopped` has not stopped them.
    fn run_workers(&self, body: &(impl Fn() + Sync));

    /// The number of processors that mutators use.
    fn procs(&self) -> usize;

    /// The time, from an origin that does not change; best the start of the process, which traces count from.
    fn now(&self) -> Nanos;

    /// Processor time that the calling thread has used, from an origin of its own. More mutators may assist than there are processors: by the clock they would all seem to have
    /// one. Where that cannot be, the time will do.
    fn thread_time(&self) -> Nanos {
        self.now()
    }

    /// Memory for buffers of grey objects. Called when the collector is made, and by markers, mutators that assist among them. `None` if there is none to be had: marking then takes longer, and is still complete.
    fn acquire(&self, bytes: usize) -> Option<NonNull<u8>>;

    /// Gives memory back. Called by the thread that collects, by markers, and when the collector is dropped.
    ///
    /// # Safety
    /// 1. `memory` came from `acquire(bytes)` of the same world and is not used any more.
    unsafe fn release(&self, memory: NonNull<u8>, bytes: usize);
}
