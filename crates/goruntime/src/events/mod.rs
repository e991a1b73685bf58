//! What happens in the scheduler and the collector, noted while somebody wants to know: the source of execution traces.
//!
//! Each P has a ring of its own, written without a lock or an atomic exchange by whoever has the P; what happens on threads without one is written to one more ring, under
//! a lock. Nobody waits for whoever reads: a ring holds the last events, and those that are overwritten are counted. Off, an event costs a load and a branch.
//!
//! Invariant: noting an event allocates nothing and waits for nothing but that lock, which is held in a critical section of the scheduler: so never by a thread that is
//! stopped, and whoever has stopped the world may take it.

mod event;
mod ring;

pub(crate) use event::{Event, What};

use crate::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering::*};
use crate::world::memory::Memory;
use gosched::{MAX_PROCS, Nanos};
use ring::{Ring, Slot, WORDS};
use std::io;
use std::ptr::null_mut;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Somebody wants to know.
static ON: AtomicBool = AtomicBool::new(false);

/// Rings by P; the last is that of threads without one.
static RINGS: [AtomicPtr<Ring<Slots>>; MAX_PROCS + 1] =
    [const { AtomicPtr::new(null_mut()) }; MAX_PROCS + 1];

/// Of the last ring: 1 while somebody writes.
static WRITING: AtomicU32 = AtomicU32::new(0);

/// Events that there is room for in a ring, unless more are asked for: two megabytes, of which what is used has memory.
pub(crate) const EVENTS: usize = 1 << 16;

struct Slots(Memory);

impl AsRef<[Slot]> for Slots {
    fn as_ref(&self) -> &[Slot] {
        self.0.words().as_chunks().0
    }
}

/// Who reads, and how large rings are.
struct Control {
    readers: usize,
    events: usize,
}

static CONTROL: Mutex<Control> = Mutex::new(Control {
    readers: 0,
    events: 0,
});

fn control() -> MutexGuard<'static, Control> {
    CONTROL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether events are to be noted.
#[inline]
pub(crate) fn is_on() -> bool {
    ON.load(Relaxed)
}

/// Notes an event on a thread that has this P, or none. As the hooks of gosched are called: with a P by one thread at a time.
#[cold]
pub(crate) fn note(p: Option<u32>, what: What) {
    let event = Event {
        time: Nanos::now().0,
        p,
        what,
    };
    match p.and_then(|p| ring(p as usize)) {
        Some(ring) => ring.push(event.encode()),
        // A P that there was not when rings were made, too.
        None => note_in_last(event),
    }
}

/// Notes an event of the collector or the monitor, if anybody wants to know.
#[inline]
pub(crate) fn note_other(what: What) {
    if is_on() {
        note(None, what);
    }
}

fn note_in_last(event: Event) {
    let Some(ring) = ring(MAX_PROCS) else { return };
    let _section = gosched::critical::enter();
    while WRITING.swap(1, Acquire) != 0 {
        std::thread::yield_now();
    }
    ring.push(event.encode());
    WRITING.store(0, Release);
}

fn ring(index: usize) -> Option<&'static Ring<Slots>> {
    // SAFETY: null or a ring, which is never freed.
    unsafe { RINGS.get(index)?.load(Acquire).as_ref() }
}

/// Reads events from where it was made on. While there is one, events are noted.
#[derive(Debug)]
pub(crate) struct Reader {
    /// The number of each ring's event that comes next.
    next: Vec<u64>,
}

impl Reader {
    /// Begins to note events, if that is not being done, with room for `events` on each of so many Ps at least.
    ///
    /// # Errors
    /// If there is no memory; or if larger rings are wanted than those that somebody reads already.
    pub(crate) fn new(procs: usize, events: usize) -> io::Result<Reader> {
        let mut control = control();
        let is_larger = control.events < events;
        if is_larger && control.readers > 0 {
            let why = "events are being noted already, with less room for them";
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, why));
        }
        let room = control.events.max(events);
        let bytes = room.checked_mul(WORDS * 8);
        let bytes = bytes.ok_or(io::ErrorKind::OutOfMemory)?;
        let mut made = Vec::new();
        for index in (0..procs.min(MAX_PROCS)).chain([MAX_PROCS]) {
            if is_larger || ring(index).is_none() {
                let memory = Memory::new(bytes).ok_or_else(io::Error::last_os_error)?;
                made.push((index, Box::new(Ring::new(Slots(memory)))));
            }
        }
        if is_larger {
            control.events = room;
            RINGS
                .iter()
                .for_each(|ring| ring.store(null_mut(), Release));
        }
        for (index, ring) in made {
            RINGS[index].store(Box::leak(ring), Release);
        }
        control.readers += 1;
        ON.store(true, SeqCst);
        let head = |index| ring(index).map_or(0, Ring::head);
        Ok(Reader {
            next: (0..=MAX_PROCS).map(head).collect(),
        })
    }

    /// Adds the events since the last time to `found`, in no order. Returns how many were lost.
    pub(crate) fn read(&mut self, found: &mut Vec<Event>) -> u64 {
        let mut lost = 0;
        for (index, next) in self.next.iter_mut().enumerate() {
            let Some(ring) = ring(index) else { continue };
            let read = ring.read(*next, |words| {
                // SAFETY: only events are pushed.
                found.extend(unsafe { Event::decode(words) });
            });
            *next = read.next;
            lost += read.lost;
        }
        lost
    }

    /// The events that the rings still hold, in no order.
    pub(crate) fn last(&self) -> Vec<Event> {
        let mut found = Vec::new();
        for ring in (0..=MAX_PROCS).filter_map(ring) {
            let from = ring.head().saturating_sub(ring.len());
            ring.read(from, |words| {
                // SAFETY: only events are pushed.
                found.extend(unsafe { Event::decode(words) });
            });
        }
        found
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut control = control();
        control.readers -= 1;
        if control.readers == 0 {
            ON.store(false, SeqCst);
            // Whoever writes once more takes a page again; nobody reads it.
            for ring in (0..=MAX_PROCS).filter_map(ring) {
                ring.slots().0.discard();
            }
        }
    }
}
