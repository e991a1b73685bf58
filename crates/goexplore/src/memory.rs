//! The memory that explored threads share: every location with the history of its stores.
//!
//! The model is view-based. A load may read any store that its thread cannot know to be overwritten, so what a missing fence or a too weak
//! ordering allows, some execution shows, on whatever processor the exploration runs. In short:
//!
//! | operation | effect |
//! | --- | --- |
//! | store, relaxed | releases what the thread's last release fence had seen |
//! | store, release | releases all that the thread has seen |
//! | load, acquire | the thread now sees what the store released; relaxed: after its next acquire fence |
//! | read-modify-write | reads the newest store, and passes on what that one released |
//! | `SeqCst` access | also: reads nothing older than the last `SeqCst` access of the location, as if all of those happened in one order. It is *no* fence for other locations: the language does not say so, even if x86-64 does |
//! | fence, `SeqCst` | exchanges everything with a view common to all such fences |
//! | heavy fence | as if every thread passed a `SeqCst` fence at that moment (`membarrier`) |
//!
//! Stores to one location are ordered as they are executed, and no load reads from the future: of what the language allows, load buffering and
//! reordered stores to one location are not shown.
//!
//! Invariant: the real memory holds the newest store. Where it does not, it was initialised anew, without an atomic operation; the history then starts
//! from what is there.

use crate::view::View;
use std::collections::HashMap;
use std::sync::atomic::Ordering;

struct Store {
    value: u64,
    /// What an acquiring load gets to see.
    released: View,
}

struct Location {
    stores: Vec<Store>,
    /// Time stamp of the first of `stores`.
    first: u32,
    /// The last sequentially consistent access read or wrote this store or an older one.
    sequential: u32,
}

impl Location {
    fn newest(&self) -> u32 {
        self.first + self.stores.len() as u32 - 1
    }

    fn at(&self, stamp: u32) -> &Store {
        &self.stores[(stamp - self.first) as usize]
    }
}

/// What one thread sees.
#[derive(Clone, Default)]
pub(crate) struct Sight {
    pub(crate) now: View,
    /// What relaxed loads have read of releases, for the next acquire fence.
    acquirable: View,
    /// What the last release fence had seen.
    fenced: View,
    /// Locations read since the thread last yielded.
    read: Vec<usize>,
}

/// Plain data whose accesses are checked for races.
#[derive(Default)]
struct Plain {
    /// Thread and clock of the last write.
    write: Option<(usize, u32)>,
    /// The same for reads since.
    reads: Vec<(usize, u32)>,
}

#[derive(Default)]
pub(crate) struct Memory {
    by_address: HashMap<usize, usize>,
    locations: Vec<Location>,
    plain: HashMap<usize, Plain>,
    fences: View,
    pub(crate) sights: Vec<Sight>,
}

fn acquires(order: Ordering) -> bool {
    matches!(
        order,
        Ordering::Acquire | Ordering::AcqRel | Ordering::SeqCst
    )
}

fn releases(order: Ordering) -> bool {
    matches!(
        order,
        Ordering::Release | Ordering::AcqRel | Ordering::SeqCst
    )
}

impl Memory {
    /// A thread more, which sees what `parent` sees.
    pub(crate) fn add_thread(&mut self, parent: Option<usize>) {
        let mut sight = Sight::default();
        if let Some(parent) = parent {
            sight.now = self.sights[parent].now.clone();
            self.sights[parent].now.tick(parent);
        }
        self.sights.push(sight);
        let new = self.sights.len() - 1;
        self.sights[new].now.tick(new);
    }

    /// The location at this address, whose real memory holds `real`.
    pub(crate) fn location(&mut self, address: usize, real: u64) -> usize {
        let fresh = || Store {
            value: real,
            released: View::default(),
        };
        let locations = &mut self.locations;
        let index = *self.by_address.entry(address).or_insert_with(|| {
            locations.push(Location {
                stores: vec![fresh()],
                first: 0,
                sequential: 0,
            });
            locations.len() - 1
        });
        let location = &mut locations[index];
        if location
            .stores
            .last()
            .is_none_or(|newest| newest.value != real)
        {
            location.first = location.newest() + 1;
            location.stores = vec![fresh()];
        }
        index
    }

    /// How many stores `thread` may read from here.
    pub(crate) fn choices(&self, thread: usize, location: usize, order: Ordering) -> u32 {
        let at = &self.locations[location];
        let mut oldest = self.sights[thread].now.store(location).max(at.first);
        if order == Ordering::SeqCst {
            oldest = oldest.max(at.sequential);
        }
        at.newest() - oldest + 1
    }

    /// Reads the store that is `age` stores older than the newest.
    pub(crate) fn load(
        &mut self,
        thread: usize,
        location: usize,
        age: u32,
        order: Ordering,
    ) -> u64 {
        let at = &mut self.locations[location];
        let stamp = at.newest() - age;
        if order == Ordering::SeqCst {
            at.sequential = at.sequential.max(stamp);
        }
        let store = at.at(stamp);
        let sight = &mut self.sights[thread];
        sight.now.raise_store(location, stamp);
        if acquires(order) {
            sight.now.join(&store.released);
        }
        sight.acquirable.join(&store.released);
        sight.read.push(location);
        store.value
    }

    pub(crate) fn store(&mut self, thread: usize, location: usize, value: u64, order: Ordering) {
        self.append(thread, location, value, order, View::default());
    }

    /// A read-modify-write's store; its load has been made.
    pub(crate) fn modify(&mut self, thread: usize, location: usize, value: u64, order: Ordering) {
        let at = &self.locations[location];
        let passed_on = at.at(at.newest()).released.clone();
        self.append(thread, location, value, order, passed_on);
    }

    fn append(
        &mut self,
        thread: usize,
        location: usize,
        value: u64,
        order: Ordering,
        passed_on: View,
    ) {
        let at = &mut self.locations[location];
        let stamp = at.newest() + 1;
        let sight = &mut self.sights[thread];
        sight.now.raise_store(location, stamp);
        let mut released = passed_on;
        released.join(if releases(order) {
            &sight.now
        } else {
            &sight.fenced
        });
        released.raise_store(location, stamp);
        at.stores.push(Store { value, released });
        if order == Ordering::SeqCst {
            at.sequential = stamp;
        }
        sight.now.tick(thread);
    }

    pub(crate) fn fence(&mut self, thread: usize, order: Ordering) {
        let sight = &mut self.sights[thread];
        if acquires(order) {
            let acquired = std::mem::take(&mut sight.acquirable);
            sight.now.join(&acquired);
        }
        if order == Ordering::SeqCst {
            // Fences order what is seen of locations. They do not synchronise by themselves.
            sight.now.join(&self.fences);
            self.fences.stores.clone_from(&sight.now.stores);
            // A fence orders sequentially consistent loads after it, too.
            for (location, at) in self.locations.iter_mut().enumerate() {
                at.sequential = at
                    .sequential
                    .max(sight.now.store(location).min(at.newest()));
            }
        }
        if releases(order) {
            sight.fenced = sight.now.clone();
        }
        sight.now.tick(thread);
    }

    /// Every thread passes a full fence.
    pub(crate) fn heavy_fence(&mut self, thread: usize) {
        self.fence(thread, Ordering::SeqCst);
        for other in 0..self.sights.len() {
            self.fence(other, Ordering::SeqCst);
        }
        self.fence(thread, Ordering::SeqCst);
    }

    /// The thread waits for what it has read to change: it reads nothing older than what is newest now.
    pub(crate) fn refresh(&mut self, thread: usize) {
        let sight = &mut self.sights[thread];
        for location in std::mem::take(&mut sight.read) {
            sight
                .now
                .raise_store(location, self.locations[location].newest());
        }
    }

    /// What `thread` sees, as a release would pass it on.
    pub(crate) fn release(&mut self, thread: usize) -> View {
        let view = self.sights[thread].now.clone();
        self.sights[thread].now.tick(thread);
        view
    }

    pub(crate) fn acquire(&mut self, thread: usize, view: &View) {
        self.sights[thread].now.join(view);
    }

    /// An access to plain data. The error is the thread whose access it races with.
    pub(crate) fn plain(
        &mut self,
        thread: usize,
        address: usize,
        writes: bool,
    ) -> Result<(), usize> {
        let now = &self.sights[thread].now;
        let data = self.plain.entry(address).or_default();
        let unseen = |&(other, clock): &(usize, u32)| other != thread && now.clock(other) < clock;
        if let Some((other, _)) = data.write.filter(|write| unseen(write)) {
            return Err(other);
        }
        let mine = (thread, now.clock(thread));
        if !writes {
            data.reads.push(mine);
            return Ok(());
        }
        if let Some(&(other, _)) = data.reads.iter().find(|read| unseen(read)) {
            return Err(other);
        }
        data.write = Some(mine);
        data.reads.clear();
        Ok(())
    }
}
