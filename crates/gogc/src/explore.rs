//! The collector's concurrent protocols under the schedule explorer: the shared buffers, the end of marking, marking by span, the order of cycles, and the
//! write barrier beside markers that run.
//!
//! Each model runs production code; each has bugs planted that it must catch.

mod cycle;
mod weak;

use std::collections::BTreeSet;
use std::sync::Arc;

use goexplore::{Exploration, Plant, Site, planted, thread};

use crate::atomic::{AtomicU64, Mutex, Ordering};
use crate::barrier::{Barrier, BarrierBuffer, Recorded};
use crate::buffer::{BufferPool, Owned};
use crate::env::{HeapView, ObjectAddr, RootKind, RootSink, Roots};
use crate::gray::GrayQueue;
use crate::mark::{Marker, Marking};
use crate::stats::{CycleStats, PhaseClock, PhaseCpu, Reason, Tally};
use crate::termination::Crew;
use crate::testing::{Shape, SimHeap, SimWorld};
use crate::turn::{Served, Turns};
use crate::units::{Bytes, Nanos};

fn weaken(file: &str, snippet: &str) -> Plant {
    Plant::weaken(Site::find(env!("CARGO_MANIFEST_DIR"), file, snippet))
}

/// A pool with a world to get memory from; gives it back in the end.
struct Pool(SimWorld, BufferPool);

impl Pool {
    fn new() -> Arc<Pool> {
        let world = SimWorld::new(1);
        let pool = BufferPool::new(&world).unwrap();
        Arc::new(Pool(world, pool))
    }

    fn put(&self, items: &[usize]) {
        let mut buffer = self.1.take_empty(&self.0).unwrap();
        assert!(items.iter().all(|item| buffer.push(*item)));
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.1.dispose(&self.0);
    }
}

fn empty(buffer: Option<Owned<'_>>, into: &mut Vec<usize>) {
    if let Some(mut buffer) = buffer {
        into.extend(std::iter::from_fn(|| buffer.pop()));
    }
}

/// Invariant: every item that was put into the pool comes out of it once.
fn buffers() {
    let pool = Pool::new();
    pool.put(&[1]);
    pool.put(&[2]);
    let theirs = pool.clone();
    let other = thread::spawn(move || {
        let mut seen = Vec::new();
        // Takes both, and puts the one that was on top back: what a compare-and-swap without a count would not notice.
        let top = theirs.1.take_full();
        let below = theirs.1.take_full();
        drop(top);
        empty(below, &mut seen);
        seen
    });
    let mut seen = Vec::new();
    empty(pool.1.take_full(), &mut seen);
    empty(pool.1.take_full(), &mut seen);
    seen.extend(other.join().unwrap());
    while let Some(buffer) = pool.1.take_full() {
        empty(Some(buffer), &mut seen);
    }
    seen.sort_unstable();
    assert_eq!(seen, [1, 2], "an item was lost or came twice");
    let mut all = [(); 3].map(|()| pool.1.take_empty(&pool.0).unwrap());
    for (item, buffer) in all.iter_mut().enumerate() {
        assert!(buffer.push(item), "a buffer is in two hands");
    }
    for (item, buffer) in all.iter_mut().enumerate() {
        assert_eq!(buffer.pop(), Some(item), "a buffer is in two hands");
    }
}

#[test]
fn explore_buffers() {
    let exploration = Exploration::exhaustive().preemptions(3);
    exploration.check("gogc: shared buffers", buffers);
    let plants = vec![
        Plant::named("the change count stands still"),
        weaken(
            "src/buffer.rs",
            "match self.head.compare_exchange_weak(\n                head,\n                Stack::head(id + 1, head),",
        ),
    ];
    exploration.catches("gogc: shared buffers", plants, buffers);
}

/// Job `j` leads to three times `j + 1` items. Invariant: when all markers have left, all items are done.
fn marking_ends() {
    struct Shared {
        pool: Arc<Pool>,
        crew: Crew,
        done: AtomicU64,
    }
    const JOBS: usize = 2;
    fn mark(shared: &Shared) {
        let Pool(world, pool) = &*shared.pool;
        shared.crew.enter();
        let mut queue = GrayQueue::new(pool, world);
        loop {
            while let Some(job) = shared.crew.claim(JOBS) {
                for _ in 0..3 {
                    queue.push(job + 1).unwrap();
                }
            }
            while let Some(item) = queue.pop() {
                shared.done.fetch_add(item as u64, Ordering::Relaxed);
                if shared.crew.hungry() && !pool.has_full() {
                    queue.share();
                }
            }
            match shared.crew.next(pool) {
                Some(work) => queue.adopt(work),
                None => return,
            }
        }
    }
    let shared = Arc::new(Shared {
        pool: Pool::new(),
        crew: Crew::default(),
        done: AtomicU64::new(0),
    });
    let theirs = shared.clone();
    let other = thread::spawn(move || mark(&theirs));
    mark(&shared);
    other.join().unwrap();
    assert_eq!(
        shared.done.load(Ordering::Relaxed),
        9,
        "grey objects were left"
    );
    assert!(!shared.pool.1.has_full());
}

#[test]
fn explore_the_end_of_marking() {
    let exploration = Exploration::exhaustive().preemptions(2).executions(30_000);
    exploration.check("gogc: end of marking", marking_ends);
    Exploration::random(1)
        .executions(3000)
        .check("gogc: end of marking", marking_ends);
    let leaves = Plant::named("a marker leaves without a look at the shared stack");
    exploration.catches("gogc: end of marking", vec![leaves], marking_ends);
}

/// Two threads that want a full collection, as the world goes on changing. Invariants: one cycle at a time, and a request is served by a cycle that begins
/// after it.
fn turns() {
    struct Shared {
        turns: Turns,
        clock: AtomicU64,
        running: AtomicU64,
        /// When each cycle began.
        begun: Mutex<Vec<(u64, u64)>>,
    }
    fn request(shared: &Shared) {
        let asked = shared.clock.fetch_add(1, Ordering::SeqCst);
        let cycle = match shared.turns.full() {
            Served::Run(turn) => {
                assert_eq!(
                    shared.running.fetch_add(1, Ordering::SeqCst),
                    0,
                    "two cycles at once"
                );
                let now = shared.clock.fetch_add(1, Ordering::SeqCst);
                let cycle = turn.cycle;
                shared.begun.lock().unwrap().push((cycle, now));
                shared.running.fetch_sub(1, Ordering::SeqCst);
                turn.complete(stats(cycle));
                cycle
            }
            Served::Done(stats) => stats.cycle,
        };
        let begun = shared.begun.lock().unwrap();
        let (_, at) = begun.iter().find(|(number, _)| *number == cycle).unwrap();
        assert!(*at > asked, "served by a cycle that had begun before");
    }
    let shared = Arc::new(Shared {
        turns: Turns::default(),
        clock: AtomicU64::new(0),
        running: AtomicU64::new(0),
        begun: Mutex::new(Vec::new()),
    });
    let others = [(), ()].map(|()| {
        let shared = shared.clone();
        thread::spawn(move || request(&shared))
    });
    request(&shared);
    for other in others {
        other.join().unwrap();
    }
}

fn stats(cycle: u64) -> CycleStats {
    CycleStats {
        cycle,
        reason: Reason::Forced,
        started: Nanos(0),
        clock: PhaseClock::default(),
        cpu: PhaseCpu::default(),
        longest_pause: Nanos(0),
        heap_before: Bytes(0),
        heap_after_mark: Bytes(0),
        heap_live: Bytes(0),
        goal: Bytes(0),
        marked: Tally::default(),
        procs: 2,
        cpu_percent: 0,
    }
}

#[test]
fn explore_turns() {
    let exploration = Exploration::exhaustive().preemptions(2);
    exploration.check("gogc: turns", turns);
    let no_wake = Site::find(
        env!("CARGO_MANIFEST_DIR"),
        "src/turn.rs",
        "self.turns.changed.notify_all()",
    );
    exploration.catches("gogc: turns", vec![Plant::remove(no_wake)], turns);
}

/// Two markers, of which one ends early, on a root that leads to objects of one span, which lead to others in it and in the next. Invariant: when nothing is left in
/// any queue, everything reachable is marked and was scanned, and no span is left waiting.
fn marking_by_span() {
    let (heap, world) = (SimHeap::new(24), SimWorld::new(1));
    let objects: Vec<_> = (0..5)
        .map(|_| heap.allocate(Shape::pointers(2)).unwrap())
        .collect();
    // Beyond the first span.
    let spacer = heap.allocate(Shape::pointers(20)).unwrap();
    let far = heap.allocate(Shape::pointers(1)).unwrap();
    let links = [(0, 1), (0, 2), (1, 3), (2, 4), (3, 1)];
    let mut used = [0; 5];
    for (from, to) in links {
        heap.store(objects[from], used[from], objects[to]);
        used[from] += 1;
    }
    heap.store(objects[4], 0, far);
    heap.store(far, 0, spacer);
    let marking = Marking::new(&world).unwrap();
    heap.start_mark();
    let shared = Arc::new(Concurrent {
        heap,
        world,
        marking,
        barrier: Barrier::new(),
    });
    let theirs = shared.clone();
    let (first, third) = (objects[0], objects[2]);
    let other = thread::spawn(move || {
        let mut marker = Marker::new(&theirs.heap, &theirs.world, &theirs.marking);
        marker.word(RootKind::Stack, third);
        // It may leave with work undone, which is then the other's.
        for _ in 0..goexplore::choose(4) {
            marker.step_any();
        }
    });
    let mut marker = Marker::new(&shared.heap, &shared.world, &shared.marking);
    marker.word(RootKind::Stack, first);
    marker.finish();
    drop(marker);
    other.join().unwrap();
    let mut marker = Marker::new(&shared.heap, &shared.world, &shared.marking);
    marker.finish();
    drop(marker);
    for object in objects.into_iter().chain([spacer, far]) {
        assert!(shared.heap.marked(object), "a waiting object was forgotten");
    }
    // Asserts that no span waits.
    shared.heap.start_mark();
    let Some(mut shared) = Arc::into_inner(shared) else {
        panic!("the other marker has ended")
    };
    shared.marking.dispose(&shared.world);
}

#[test]
fn explore_marking_by_span() {
    let exploration = Exploration::exhaustive().preemptions(2).executions(12_000);
    exploration.check("gogc: marking by span", marking_by_span);
    Exploration::random(5)
        .executions(1000)
        .check("gogc: marking by span", marking_by_span);
    let plants = vec![
        Plant::named("a span stays in the queue that it was taken from"),
        Plant::named("a marker leaves with spans in its queue"),
    ];
    exploration.catches("gogc: marking by span", plants, marking_by_span);
}

/// The root that is scanned at the start of marking: one word.
struct Static(usize);

// SAFETY: one job, presented whole.
unsafe impl Roots for Static {
    fn jobs(&self) -> usize {
        1
    }

    fn scan(&self, _job: usize, sink: &mut impl RootSink) {
        sink.word(RootKind::Global, self.0);
    }
}

/// A mutator beside a marker.
struct Mutator<'a> {
    shared: &'a Concurrent,
    buffer: BarrierBuffer,
    stack: Vec<usize>,
}

struct Concurrent {
    heap: SimHeap,
    world: SimWorld,
    marking: Marking,
    barrier: Barrier,
}

impl Mutator<'_> {
    fn store(&mut self, object: usize, value: usize) {
        let mut old = self.shared.heap.load(object, 0);
        let mut new = value;
        if planted("the old value is not shaded") {
            old = 0;
        }
        if planted("the new value is not shaded") {
            new = 0;
        }
        let (at, buffer) = (ObjectAddr(object), &mut self.buffer);
        assert_eq!(
            self.shared.barrier.write(at, old, new, || buffer),
            Recorded::HasRoom
        );
        self.shared.heap.store(object, 0, value);
    }

    /// Its stack turns black. Once, at a moment of the explorer's choice.
    fn scan_stack(&self) {
        let mut marker = Marker::new(&self.shared.heap, &self.shared.world, &self.shared.marking);
        for word in &self.stack {
            marker.word(RootKind::Stack, *word);
        }
    }

    fn end(mut self) -> Vec<usize> {
        if !planted("a buffer is not handed over") {
            let mut marker =
                Marker::new(&self.shared.heap, &self.shared.world, &self.shared.marking);
            marker.absorb(&mut self.buffer);
        }
        self.stack
    }
}

/// On a heap in which a static leads to `first`, that to `second`, and either that or the mutator's stack to `third`, the mutator moves the last to
/// where the marker may have been already, and takes it from where it was. Invariant: what is reachable when marking is over is marked.
fn barrier() {
    // Is the stack scanned late, or first of all?
    let late = goexplore::choose(2) == 1;
    let (heap, world) = (SimHeap::new(6), SimWorld::new(1));
    let [first, second, third] = [(); 3].map(|()| heap.allocate(Shape::pointers(1)).unwrap());
    heap.store(first, 0, second);
    if !late {
        heap.store(second, 0, third);
    }
    let marking = Marking::new(&world).unwrap();
    let shared = Concurrent {
        heap,
        world,
        marking,
        barrier: Barrier::new(),
    };
    // The world is stopped: the barrier goes on.
    shared.heap.start_mark();
    shared
        .heap
        .set_allocate_black(!planted("new objects are born white"));
    shared.barrier.set(true);
    let shared = Arc::new(shared);

    let theirs = shared.clone();
    let mutator = thread::spawn(move || {
        let mut mutator = Mutator {
            shared: &theirs,
            buffer: BarrierBuffer::new(),
            stack: Vec::new(),
        };
        let fresh = theirs.heap.allocate(Shape::pointers(1)).unwrap();
        if late {
            mutator.stack.push(third);
            mutator.store(first, third);
            mutator.stack = vec![fresh];
            mutator.scan_stack();
        } else {
            mutator.scan_stack();
            let loaded = theirs.heap.load(second, 0);
            mutator.store(second, 0);
            mutator.stack = vec![loaded, fresh];
        }
        mutator.end()
    });
    let mut marker = Marker::new(&shared.heap, &shared.world, &shared.marking);
    marker.work(&Static(first));
    drop(marker);
    let stack = mutator.join().unwrap();

    // The second stop: what is grey by now is the last of it.
    let mut marker = Marker::new(&shared.heap, &shared.world, &shared.marking);
    marker.finish();
    drop(marker);
    let live = shared.heap.reachable(stack.into_iter().chain([first]));
    let hidden: BTreeSet<_> = live
        .into_iter()
        .filter(|object| !shared.heap.marked(*object))
        .collect();
    assert!(hidden.is_empty(), "live, but not marked");
    let Some(mut shared) = Arc::into_inner(shared) else {
        panic!("the mutator has ended")
    };
    shared.marking.dispose(&shared.world);
}

#[test]
fn explore_the_barrier() {
    let exploration = Exploration::exhaustive().preemptions(2).stale_reads(0);
    exploration.check("gogc: barrier", barrier);
    let plants = [
        "the old value is not shaded",
        "the new value is not shaded",
        "a buffer is not handed over",
        "new objects are born white",
    ];
    exploration.catches("gogc: barrier", plants.map(Plant::named).to_vec(), barrier);
}
