//! What is left to do for dead objects: drop glue and cleanups, done by goroutines.
//!
//! The collector finds, while the world stands still, the dead objects whose type has something to drop. It keeps each for one more cycle,
//! takes its header away (so that nobody scans or drops it again) and queues it here. Cleanups come from what was attached to dead objects. A goroutine
//! does what is queued, and ends. The queue lies in the Rust heap, so it keeps what is in it alive.
//!
//! By the time that its drop glue runs, what a dead object pointed to may be gone. That is why no type that can
//! hold a `Gc` may implement `Drop`: what runs here is the glue of plain fields, which never follows one.
//!
//! One goroutine is enough, unless what it runs blocks. So while there is something in the queue and a goroutine at work, another one looks every few milliseconds
//! whether anything was taken from it, and if nothing was, starts a goroutine more.

use crate::gc::TypeInfo;
use gosched::Panic;
use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long the goroutines at work may get nothing done before there is one more.
const PATIENCE: Duration = Duration::from_millis(10);

/// So many tasks from one look of the pacer's to the next.
const LOOK_EVERY: u64 = 256;

/// Goroutines at work, at most.
const MOST: usize = 1000;

/// Something to be done for a dead object.
pub(crate) enum Task {
    /// Its drop glue is to be run.
    Drop(Dead),
    /// A cleanup, with its argument.
    Cleanup(Box<dyn FnOnce() + Send>),
}

/// A dead object, which is the holder's alone.
pub(crate) struct Dead {
    base: *mut u8,
    info: &'static TypeInfo,
}

// SAFETY: the object is dead, so whoever has this is its only user, and `Trace` promises that drop glue may run on any thread.
unsafe impl Send for Dead {}

impl Task {
    /// A panic stops neither the others nor the goroutine.
    fn run(self) {
        Panic::contain(|| match self {
            // SAFETY: queued once, by the collector, with the header that the object had; nothing reaches it.
            Task::Drop(dead) => unsafe { dead.info.drop_value(dead.base) },
            Task::Cleanup(cleanup) => cleanup(),
        });
    }
}

struct Queue {
    tasks: VecDeque<Task>,
    /// Goroutines at work. Each looks here once more before it ends.
    workers: usize,
    /// Tasks taken so far.
    taken: u64,
    /// A goroutine looks whether they get on.
    watched: bool,
}

static QUEUE: Mutex<Queue> = Mutex::new(Queue {
    tasks: VecDeque::new(),
    workers: 0,
    taken: 0,
    watched: false,
});

/// What a collection found has been handed over, and the queue has not been empty since.
static BEHIND: AtomicBool = AtomicBool::new(false);

/// Is there something in the queue, or at work, that a collection has found? A hint, for who would rather have its memory than ask for another collection.
pub(crate) fn is_behind() -> bool {
    BEHIND.load(Relaxed)
}

fn queue() -> MutexGuard<'static, Queue> {
    QUEUE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Found while the world stands still, to be handed over when it runs again: a stopped thread may hold the queue's lock.
///
/// Invariant: what of the buffer is not in use reads as zero. It is memory of the Rust heap, so words of the dead that were left in it would be roots; and
/// so would what was there before in a buffer that was got in the stop, when roots have been looked at already.
#[derive(Default)]
pub(crate) struct Found(Mutex<Vec<Task>>);

impl Found {
    fn lock(&self) -> MutexGuard<'_, Vec<Task>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the object at `base`, whose header was `info`. Called by the collector only, which never waits for anyone here.
    pub(crate) fn push_dead(&self, base: *mut u8, info: &'static TypeInfo) {
        self.push(Task::Drop(Dead { base, info }));
    }

    /// Adds a task, likewise.
    pub(crate) fn push(&self, task: Task) {
        let mut found = self.lock();
        if found.len() == found.capacity() {
            found.reserve(64);
            found.spare_capacity_mut().fill_with(MaybeUninit::zeroed);
        }
        found.push(task);
    }

    /// Hands over what was found, and starts a goroutine for it if none is at work.
    pub(crate) fn hand_over(&self) {
        let mut queue = queue();
        let mut found = self.lock();
        queue.tasks.extend(found.drain(..));
        found.spare_capacity_mut().fill_with(MaybeUninit::zeroed);
        drop(found);
        if queue.tasks.is_empty() {
            return;
        }
        BEHIND.store(true, Relaxed);
        let at_work = queue.workers != 0;
        let watch =
            (at_work || queue.tasks.len() > 1) && !std::mem::replace(&mut queue.watched, true);
        drop(queue);
        if !at_work {
            add_worker();
        }
        if watch && !start(watch_over) {
            self::queue().watched = false;
        }
    }
}

fn start(work: fn()) -> bool {
    let started = crate::Builder::new().name("finalizer").spawn(work);
    if let Err(error) = &started {
        // Nothing is lost, only late: the next collection tries again.
        eprintln!("goruntime: no goroutine for drop glue and cleanups: {error}");
    }
    started.is_ok()
}

fn add_worker() {
    queue().workers += 1;
    if !start(work) {
        queue().workers -= 1;
    }
}

/// Does what is queued until nothing is.
///
/// The pacer takes for alive what lies in the Rust heap until it looks again: so it has to before whoever waits for this may go on, and what they allocate is in the place of what was freed. It looks
/// now and then as well, for they do not wait for ever.
fn work() {
    let mut has_looked = false;
    loop {
        let mut queue = queue();
        let Some(task) = queue.tasks.pop_front() else {
            if !std::mem::replace(&mut has_looked, true) {
                drop(queue);
                crate::collector::some_are_dropped();
                continue;
            }
            queue.workers -= 1;
            queue.tasks = VecDeque::new();
            BEHIND.store(false, Relaxed);
            drop(queue);
            return crate::collector::dead_are_dropped();
        };
        queue.taken += 1;
        has_looked = queue.taken.is_multiple_of(LOOK_EVERY);
        drop(queue);
        task.run();
        if has_looked {
            crate::collector::some_are_dropped();
        }
    }
}

/// Looks whether the queue gets shorter until it is empty.
fn watch_over() {
    let mut seen = None;
    loop {
        gosched::sleep(PATIENCE);
        let mut queue = queue();
        if queue.tasks.is_empty() {
            queue.watched = false;
            return;
        }
        let stuck = seen.replace(queue.taken) == Some(queue.taken) && queue.workers < MOST;
        drop(queue);
        if stuck {
            add_worker();
        }
    }
}
