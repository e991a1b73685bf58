//! What the program has attached to objects: weak handles and cleanups. ("Specials", as Go calls them; its are kept by span, and looked at when that is swept.)
//!
//! A *weak handle* is a small object without pointers that holds the address of another, its *target*; whoever has the handle can ask whether the target is
//! still there, and nobody who scans finds the target through it. An object has one handle at most, so that two handles are the same just if their
//! targets are, or were. A *cleanup* is something of the embedder's that becomes due when its object is dead. There may be several for one object.
//!
//! # Protocol
//!
//! ```text
//!  mutators   attach, read a handle, ..            each in a section in which the world does not stop
//!  collector                  mark ......  look_ahead ..  ┤ mark, settle ├  sweep
//! ```
//!
//! [`settle`](Specials::settle) runs in the stop that ends marking, when all that is reachable is marked: it empties the handles of objects that are not, and takes their
//! cleanups. So a handle that is not empty leads to an object that is not freed, at every moment at which a mutator runs. A mutator that
//! reads a handle and keeps what it holds where the next stop looks for roots, both within one section, has an object that stays alive:
//! either it read before the stop, then the object is found and marked there, or after it, then the handle tells who survived.
//!
//! # What the stop has to look at
//!
//! Not everything: [`look_ahead`](Specials::look_ahead) has done so beside the mutators. Marks are not taken back before the sweep, so an object that
//! had one then need not be looked at again. There remain those that had none, the *suspects*: little more than those that are about to be found dead.
//!
//! *Claim: an object to which something is attached and which is dead in the stop is a suspect.* Was it attached before the look at its shard, then the look saw no
//! mark, for there is none even now. Was it attached later, then marking had begun, and who attached it has shaded the object in the same section: it
//! is marked, and not dead. ∎ The same holds of a handle, which is dead if nobody has it any more: who attaches one shades that, too.
//!
//! Invariant: addresses are kept in a form in which no conservative scan takes them for such, for this lies in memory that may itself be a root.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::num::NonZeroUsize;
use std::sync::PoisonError;

use crate::atomic::{AtomicBool, AtomicU64, Mutex, MutexGuard, Ordering};

/// Parts that are locked apart from each other; so many that a look at all of one takes less than a millisecond if there are some million objects.
const SHARDS: usize = if cfg!(any(miri, explore)) { 2 } else { 256 };

/// An address in disguise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Hidden(NonZeroUsize);

impl Hidden {
    /// # Panics
    /// If it is the last address there is, at which no object lies.
    fn new(address: usize) -> Hidden {
        match NonZeroUsize::new(!address) {
            Some(hidden) => Hidden(hidden),
            None => panic!("no object lies there"),
        }
    }

    fn address(self) -> usize {
        !self.0.get()
    }
}

/// Spreads addresses, which end alike (Fibonacci hashing: Knuth, *TAOCP* 3, 6.4).
#[derive(Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(self.0 ^ u64::from(byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        let product = u128::from(value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = product as u64 ^ (product >> 64) as u64;
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }
}

/// The number of a cleanup. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CleanupId(u64);

/// What is attached to one object.
struct Record<C> {
    handle: Option<Hidden>,
    cleanups: Vec<(CleanupId, C)>,
}

impl<C> Default for Record<C> {
    fn default() -> Self {
        Record {
            handle: None,
            cleanups: Vec::new(),
        }
    }
}

impl<C> Record<C> {
    fn is_empty(&self) -> bool {
        self.handle.is_none() && self.cleanups.is_empty()
    }

    /// Takes off what is dead; false if nothing is left.
    fn settle(
        &mut self,
        object: Hidden,
        marked: impl Fn(usize) -> bool,
        dead: &mut impl FnMut(Dead<C>),
    ) -> bool {
        if marked(object.address()) {
            self.handle = self.handle.filter(|handle| marked(handle.address()));
            return !self.is_empty();
        }
        if let Some(handle) = self.handle {
            dead(Dead::Target(handle.address()));
        }
        for (_, cleanup) in self.cleanups.drain(..) {
            dead(Dead::Cleanup(cleanup));
        }
        false
    }
}

/// What [`Specials::settle`] finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dead<C> {
    /// This handle's target is dead: it is to be emptied. The handle may be dead as well, and is not freed yet.
    Target(usize),
    /// This cleanup is due.
    Cleanup(C),
}

struct Shard<C> {
    records: HashMap<Hidden, Record<C>, BuildHasherDefault<Spread>>,
    suspects: Vec<Hidden>,
}

/// All that is attached to the objects of a heap. See the [module](self).
pub struct Specials<C> {
    shards: [Mutex<Shard<C>>; SHARDS],
    /// Suspects are all there is to look at.
    looked: AtomicBool,
    /// Cleanups attached so far.
    cleanups: AtomicU64,
}

impl<C> Default for Specials<C> {
    fn default() -> Self {
        let shard = |_| {
            Mutex::new(Shard {
                records: HashMap::default(),
                suspects: Vec::new(),
            })
        };
        Specials {
            shards: std::array::from_fn(shard),
            looked: AtomicBool::new(false),
            cleanups: AtomicU64::new(0),
        }
    }
}

fn lock<C>(shard: &Mutex<Shard<C>>) -> MutexGuard<'_, Shard<C>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// For mutators. Each is called in a section in which the world is not stopped, by who can reach `object`. Who attaches something shades, in the same
/// section and if the barrier is on, the object, and the handle if it is that.
impl<C> Specials<C> {
    fn shard(&self, object: Hidden) -> MutexGuard<'_, Shard<C>> {
        let mut spread = Spread::default();
        spread.write_usize(object.0.get());
        lock(&self.shards[(spread.finish() >> 32) as usize % SHARDS])
    }

    /// The handle of the object, if it has one.
    pub fn handle(&self, object: usize) -> Option<usize> {
        let object = Hidden::new(object);
        let handle = self.shard(object).records.get(&object)?.handle?;
        Some(handle.address())
    }

    /// Makes `handle`, a new object, the one of `object`, unless that has one. Returns which it has.
    pub fn attach_handle(&self, object: usize, handle: usize) -> usize {
        let object = Hidden::new(object);
        let mut shard = self.shard(object);
        let record = shard.records.entry(object).or_default();
        record.handle.get_or_insert(Hidden::new(handle)).address()
    }

    /// Attaches a cleanup.
    pub fn attach_cleanup(&self, object: usize, cleanup: C) -> CleanupId {
        let id = CleanupId(self.cleanups.fetch_add(1, Ordering::Relaxed));
        let object = Hidden::new(object);
        let mut shard = self.shard(object);
        let record = shard.records.entry(object).or_default();
        record.cleanups.push((id, cleanup));
        id
    }

    /// Takes a cleanup off, which was attached to the object at this address, if it has not become due. The object need not be reachable, nor be there.
    pub fn detach_cleanup(&self, object: usize, id: CleanupId) -> Option<C> {
        let object = Hidden::new(object);
        let mut shard = self.shard(object);
        let record = shard.records.get_mut(&object)?;
        let at = record.cleanups.iter().position(|(each, _)| *each == id)?;
        let (_, cleanup) = record.cleanups.remove(at);
        if record.is_empty() {
            shard.records.remove(&object);
        }
        Some(cleanup)
    }
}

/// For the thread that collects.
impl<C> Specials<C> {
    /// Looks for suspects, beside the mutators, in a cycle in which objects are being marked. `marked` tells whether the object at an address is. Locks are held
    /// within what `section` returns, one at a time: a world that others stop as well must not be stopped there.
    pub fn look_ahead<S>(&self, marked: impl Fn(usize) -> bool, section: impl Fn() -> S) {
        for shard in &self.shards {
            let _section = section();
            let Shard { records, suspects } = &mut *lock(shard);
            suspects.clear();
            let suspect = |(object, record): (&Hidden, &Record<C>)| {
                let settled = marked(object.address())
                    && record.handle.is_none_or(|handle| marked(handle.address()));
                (!settled).then_some(*object)
            };
            suspects.extend(records.iter().filter_map(suspect));
        }
        self.looked.store(true, Ordering::Relaxed);
    }

    /// Finds what is attached to dead objects and takes it off, with the world stopped and all marked that is reachable. Looks at suspects only if there
    /// was a [`look_ahead`](Self::look_ahead) in this cycle.
    pub fn settle(&self, marked: impl Fn(usize) -> bool, mut dead: impl FnMut(Dead<C>)) {
        let looked = self.looked.swap(false, Ordering::Relaxed);
        for shard in &self.shards {
            let Shard { records, suspects } = &mut *lock(shard);
            if !looked {
                records.retain(|object, record| record.settle(*object, &marked, &mut dead));
                continue;
            }
            for object in suspects.drain(..) {
                if let Some(record) = records.get_mut(&object)
                    && !record.settle(object, &marked, &mut dead)
                {
                    records.remove(&object);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
