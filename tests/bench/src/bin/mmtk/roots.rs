//! The roots: an explicit stack of the mutator's, which the collector reads, and updates when it moves an object.
//!
//! Invariant: only the mutator pushes and pops, and the collector looks only while the mutator is blocked.

use mmtk::util::{Address, ObjectReference};
use mmtk::vm::slot::SimpleSlot;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Room for the tables, and for two nodes for each level of the deepest tree.
const ROOM: usize = 256;

static STACK: [AtomicU64; ROOM] = [const { AtomicU64::new(0) }; ROOM];
static USED: AtomicUsize = AtomicUsize::new(0);

/// A place on the stack.
#[derive(Clone, Copy)]
pub struct Place(usize);

/// Puts an object on the stack.
#[inline]
pub fn push(object: ObjectReference) -> Place {
    let place = USED.load(Relaxed);
    STACK[place].store(object.to_raw_address().as_usize() as u64, Relaxed);
    USED.store(place + 1, Relaxed);
    Place(place)
}

/// What is in a place now.
#[inline]
pub fn get(place: Place) -> ObjectReference {
    let at = STACK[place.0].load(Relaxed) as usize;
    // SAFETY: `push` put an object there, and the collector only another one.
    unsafe {
        let at = Address::from_usize(at);
        ObjectReference::from_raw_address_unchecked(at)
    }
}

/// Takes the last `count` objects off.
#[inline]
pub fn pop(count: usize) {
    USED.store(USED.load(Relaxed) - count, Relaxed);
}

/// All places in use, for the collector.
pub fn slots() -> Vec<SimpleSlot> {
    STACK[..USED.load(Relaxed)]
        .iter()
        .map(|word| SimpleSlot::from_address(Address::from_ref(word)))
        .collect()
}
