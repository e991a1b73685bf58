//! Drop glue of dead objects, run by a goroutine.
//!
//! The collector finds, while the world stands still, the dead objects whose type has something to drop. It keeps each for one more cycle,
//! takes its header away (so that nobody scans or drops it again) and queues it here. A goroutine drops what is queued, and ends.
//! The queue lies in the Rust heap, so it keeps its objects alive.
//!
//! By the time that its drop glue runs, what a dead object pointed to may be gone. That is why no type that can
//! hold a `Gc` may implement `Drop`: what runs here is the glue of plain fields, which never follows one.

use crate::gc::TypeInfo;
use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, MutexGuard, PoisonError};

struct Queue {
    objects: Vec<Dead>,
    /// A goroutine is at work, and will look again before it ends.
    running: bool,
}

struct Dead {
    base: *mut u8,
    info: &'static TypeInfo,
}

// SAFETY: the object is dead, so whoever has this is its only user, and `Trace` promises that drop glue may run on any thread.
unsafe impl Send for Dead {}

static QUEUE: Mutex<Queue> = Mutex::new(Queue {
    objects: Vec::new(),
    running: false,
});

fn queue() -> MutexGuard<'static, Queue> {
    QUEUE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Found while the world stands still, to be handed over when it runs again: a stopped thread may hold the queue's lock.
#[derive(Default)]
pub(crate) struct Found(Mutex<Vec<Dead>>);

impl Found {
    /// Adds the object at `base`, whose header was `info`. Called by the collector only, which never waits for anyone here.
    pub(crate) fn push(&self, base: *mut u8, info: &'static TypeInfo) {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        found.push(Dead { base, info });
    }

    /// Hands over what was found, and starts a goroutine for it if none is at work.
    pub(crate) fn hand_over(&self) {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if found.is_empty() {
            return;
        }
        // Taken with its memory: words of the dead in a buffer that is kept would be roots.
        let found = std::mem::take(&mut *found);
        let mut queue = queue();
        queue.objects.extend(found);
        if std::mem::replace(&mut queue.running, true) {
            return;
        }
        drop(queue);
        let started = crate::Builder::new().name("finalizer").spawn(run);
        if let Err(error) = started {
            // The next collection tries again; nothing is lost, only late.
            eprintln!("goruntime: no goroutine for drop glue: {error}");
            self::queue().running = false;
        }
    }
}

/// Drops what is queued until nothing is.
fn run() {
    loop {
        let mut queue = queue();
        let objects = std::mem::take(&mut queue.objects);
        if objects.is_empty() {
            queue.running = false;
            return;
        }
        drop(queue);
        for dead in objects {
            // A panic is reported by the panic hook, and stops neither the others nor this goroutine.
            let _ = std::panic::catch_unwind(AssertUnwindSafe(|| {
                // SAFETY: queued once, by the collector, with the header that the object had; nothing reaches it.
                unsafe { dead.info.drop_value(dead.base) }
            }));
        }
    }
}
