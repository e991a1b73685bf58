//! `Dict`: a hash table of collected objects, from byte strings to values, that never stops to rehash.
//!
//! ```text
//!   Dict ── tables[0] ──► buckets ──► Entry ──► Entry        being emptied while tables[1] exists
//!        └─ tables[1] ──► buckets ──► Entry                  twice the size, or a fraction
//! ```
//!
//! Buckets are powers of two, entries are chained. To grow or shrink, a second table is made, and from then on every operation moves
//! one bucket over (Redis's `dict.c`): no single command pays for a million entries.
//!
//! Invariant: an entry is in exactly one table, in the bucket that its hash selects there; buckets of `tables[0]` below `moved`
//! are empty; new entries go to the last table. Whoever calls holds the lock of the keyspace.
//!
//! Nothing here frees anything: an entry that is unlinked, a table that is replaced, a whole dictionary that is dropped from its
//! key are left to the collector. Hence deleting the largest value takes as long as deleting the smallest.
//!
//! What is taken out is also cut off from what stays. Stacks are searched conservatively, so a dead word on one may keep an object for as long as
//! the stack lives; if that object still had its links, it would keep all that was ever added behind it.

use crate::count::Count;
use crate::random;
use goruntime::gc::{Array, Gc, GcPtr, Trace};
use std::hash::{BuildHasher, RandomState};
use std::iter::successors;
use std::sync::LazyLock;

/// An immutable byte string.
pub type Str = Gc<Array<u8>>;

type Link<V> = GcPtr<Entry<V>>;

/// Buckets of the smallest table.
const SMALLEST: usize = 4;

/// A table less than one in this many full is shrunk.
const SPARSE: usize = 10;

/// Empty buckets passed over for each bucket moved, at most.
const EMPTY_PER_STEP: usize = 10;

/// A key and its value.
#[derive(Trace)]
pub struct Entry<V: Trace> {
    hash: u64,
    key: Str,
    next: GcPtr<Entry<V>>,
    /// What the key stands for. What changes in it changes in place.
    pub value: V,
}

impl<V: Trace> Entry<V> {
    /// The key.
    #[inline]
    pub fn key(&self) -> Str {
        self.key
    }
}

/// The array of buckets, null before the first entry, and the number of entries in them.
#[derive(Trace)]
struct Table<V: Trace> {
    buckets: GcPtr<Array<Link<V>>>,
    used: Count,
}

/// A hash table of collected objects. See the [module](self).
#[derive(Trace)]
pub struct Dict<V: Trace> {
    tables: [Table<V>; 2],
    moved: Count,
}

fn hash(key: &[u8]) -> u64 {
    // Keyed with a secret, so that nobody can choose keys that all fall into one bucket.
    static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    SECRET.hash_one(key)
}

fn index(hash: u64, buckets: usize) -> usize {
    hash as usize & (buckets - 1)
}

impl<V: Trace> Table<V> {
    fn empty() -> Self {
        Table {
            buckets: GcPtr::null(),
            used: Count::new(0),
        }
    }

    fn size(&self) -> usize {
        self.buckets.load().map_or(0, |buckets| buckets.len())
    }

    fn find(&self, hash: u64, key: &[u8]) -> Option<Gc<Entry<V>>> {
        let buckets = self.buckets.load()?;
        let mut at = buckets[index(hash, buckets.len())].load();
        while let Some(entry) = at {
            if entry.hash == hash && entry.key.as_slice() == key {
                return Some(entry);
            }
            at = entry.next.load();
        }
        None
    }

    /// Puts `with` in the place of the first entry that `is` the one, or takes that entry out.
    fn splice(
        &self,
        hash: u64,
        is: impl Fn(&Gc<Entry<V>>) -> bool,
        with: Option<Gc<Entry<V>>>,
    ) -> Option<Gc<Entry<V>>> {
        let buckets = self.buckets.load()?;
        let bucket = &buckets[index(hash, buckets.len())];
        let mut before: Option<Gc<Entry<V>>> = None;
        let mut at = bucket.load();
        while let Some(entry) = at {
            let next = entry.next.load();
            if !is(&entry) {
                (before, at) = (at, next);
                continue;
            }
            if let Some(with) = &with {
                with.next.store(next);
            } else {
                self.used.sub(1);
            }
            let link = before.as_ref().map_or(bucket, |before| &before.next);
            link.store(with.or(next));
            entry.next.store(None);
            return Some(entry);
        }
        None
    }

    /// Links an entry that is in no table.
    fn link(&self, entry: Gc<Entry<V>>) {
        let buckets = self
            .buckets
            .load()
            .expect("entries go into a table that has buckets");
        let bucket = &buckets[index(entry.hash, buckets.len())];
        entry.next.store(bucket.load());
        bucket.store(Some(entry));
        self.used.add(1);
    }
}

impl<V: Trace> Dict<V> {
    /// An empty dictionary, which takes no room for entries yet.
    pub fn new() -> Self {
        Dict {
            tables: [Table::empty(), Table::empty()],
            moved: Count::new(0),
        }
    }

    /// The number of entries.
    #[inline]
    pub fn len(&self) -> usize {
        self.tables[0].used.get() + self.tables[1].used.get()
    }

    /// Has it no entries?
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entry of `key`.
    pub fn find(&self, key: &[u8]) -> Option<Gc<Entry<V>>> {
        self.step();
        self.find_hashed(hash(key), key)
    }

    /// The entry of `key`, which is made by `make` if there is none: it gives the key and the value. True if it was made.
    pub fn find_or_insert(
        &self,
        key: &[u8],
        make: impl FnOnce() -> (Str, V),
    ) -> (Gc<Entry<V>>, bool) {
        self.step();
        let hash = hash(key);
        if let Some(entry) = self.find_hashed(hash, key) {
            return (entry, false);
        }
        let (key, value) = make();
        (self.add(hash, key, value), true)
    }

    /// Makes `value` the value of `key` whether or not it had one.
    pub fn insert(&self, key: Str, value: V) {
        self.step();
        let hash = hash(key.as_slice());
        match self.find_hashed(hash, key.as_slice()) {
            Some(old) => self.replace(old, value),
            None => self.add(hash, key, value),
        };
    }

    /// Puts a new entry with the same key in the place of `old`, which is in this dictionary.
    pub fn replace(&self, old: Gc<Entry<V>>, value: V) -> Gc<Entry<V>> {
        let new = Gc::new(Entry {
            hash: old.hash,
            key: old.key,
            next: GcPtr::null(),
            value,
        });
        let is = |entry: &Gc<Entry<V>>| entry.ptr_eq(old);
        self.tables
            .iter()
            .find_map(|table| table.splice(old.hash, is, Some(new)));
        new
    }

    /// Takes all entries out.
    pub fn clear(&self) {
        for table in &self.tables {
            table.buckets.store(None);
            table.used.set(0);
        }
        self.moved.set(0);
    }

    /// Takes the entry of `key` out.
    pub fn remove(&self, key: &[u8]) -> Option<Gc<Entry<V>>> {
        self.step();
        let hash = hash(key);
        let is = |entry: &Gc<Entry<V>>| entry.hash == hash && entry.key.as_slice() == key;
        let removed = self
            .tables
            .iter()
            .find_map(|table| table.splice(hash, is, None));
        self.shrink();
        removed
    }

    /// A random entry; each bucket in use is equally likely, so entries are nearly so.
    pub fn random(&self) -> Option<Gc<Entry<V>>> {
        self.step();
        if self.is_empty() {
            return None;
        }
        let (first, second) = (self.tables[0].buckets.load(), self.tables[1].buckets.load());
        let first = first.as_ref().map_or(&[][..], |buckets| buckets.as_slice());
        let second = second
            .as_ref()
            .map_or(&[][..], |buckets| buckets.as_slice());
        let live = &first[self.moved.get()..];
        loop {
            let pick = random::below(live.len() + second.len());
            let bucket = live.get(pick).unwrap_or_else(|| &second[pick - live.len()]);
            let chain = || successors(bucket.load(), |entry| entry.next.load());
            if let length @ 1.. = chain().count() {
                return chain().nth(random::below(length));
            }
        }
    }

    /// All entries, in no order. The dictionary must not change meanwhile.
    pub fn iter(&self) -> impl Iterator<Item = Gc<Entry<V>>> + use<V> {
        let tables = [self.tables[0].buckets.load(), self.tables[1].buckets.load()];
        tables.into_iter().flatten().flat_map(|buckets| {
            (0..buckets.len())
                .flat_map(move |i| successors(buckets[i].load(), |entry| entry.next.load()))
        })
    }

    /// Visits the entries of the next bucket or two and gives the cursor to go on with. From cursor 0 until it is 0 again, every
    /// entry that is there all the time is visited at least once, whatever happens in between, resizing included.
    ///
    /// The cursor counts with its bits reversed, from the highest bit of the mask down: when the table doubles, a bucket that was visited
    /// has become two that both lie behind the cursor (Pieter Noordhuis's method, Redis's `dictScan`).
    pub fn scan(&self, cursor: u64, mut visit: impl FnMut(Gc<Entry<V>>)) -> u64 {
        let mut tables: Vec<_> = self
            .tables
            .iter()
            .filter_map(|t| t.buckets.load())
            .collect();
        tables.sort_unstable_by_key(Gc::<Array<_>>::len);
        let (Some(small), Some(large)) = (tables.first(), tables.last()) else {
            return 0;
        };
        let mut visit_bucket = |buckets: &Gc<Array<Link<V>>>, cursor: u64| {
            let bucket = &buckets[index(cursor, buckets.len())];
            successors(bucket.load(), |entry| entry.next.load()).for_each(&mut visit);
        };
        let mask = |buckets: &Gc<Array<Link<V>>>| buckets.len() as u64 - 1;
        let mut cursor = cursor;
        if tables.len() == 2 {
            visit_bucket(small, cursor);
        }
        // Then all buckets of the larger table into which that one expands.
        loop {
            visit_bucket(large, cursor);
            cursor = (cursor | !mask(large))
                .reverse_bits()
                .wrapping_add(1)
                .reverse_bits();
            if cursor & (mask(small) ^ mask(large)) == 0 {
                return cursor;
            }
        }
    }

    /// Moves up to `buckets` buckets, if the dictionary is between two sizes. True if there is more to move.
    pub fn rehash(&self, buckets: usize) -> bool {
        for _ in 0..buckets {
            self.step();
        }
        self.is_rehashing()
    }

    fn find_hashed(&self, hash: u64, key: &[u8]) -> Option<Gc<Entry<V>>> {
        self.tables.iter().find_map(|table| table.find(hash, key))
    }

    /// Adds an entry for a key that has none.
    fn add(&self, hash: u64, key: Str, value: V) -> Gc<Entry<V>> {
        self.grow();
        let entry = Gc::new(Entry {
            hash,
            key,
            next: GcPtr::null(),
            value,
        });
        self.tables[usize::from(self.is_rehashing())].link(entry);
        entry
    }

    #[inline]
    fn is_rehashing(&self) -> bool {
        self.tables[1].buckets.load().is_some()
    }

    /// Makes room for one more entry.
    fn grow(&self) {
        let size = self.tables[0].size();
        if size == 0 {
            self.tables[0].buckets.store(Some(Self::buckets(SMALLEST)));
        } else if !self.is_rehashing() && self.tables[0].used.get() >= size {
            self.tables[1].buckets.store(Some(Self::buckets(2 * size)));
        }
    }

    /// Starts on a smaller table if this one is nearly empty.
    fn shrink(&self) {
        let (size, used) = (self.tables[0].size(), self.tables[0].used.get());
        if size > SMALLEST && used * SPARSE < size && !self.is_rehashing() {
            let smaller = used.next_power_of_two().max(SMALLEST);
            self.tables[1].buckets.store(Some(Self::buckets(smaller)));
        }
    }

    fn buckets(size: usize) -> Gc<Array<Link<V>>> {
        Gc::array(size, |_| GcPtr::null())
    }

    /// Moves one bucket from the first table to the second, if there is a second.
    #[inline]
    fn step(&self) {
        if self.is_rehashing() {
            self.step_rehash();
        }
    }

    fn step_rehash(&self) {
        let [from, to] = &self.tables;
        let buckets = from
            .buckets
            .load()
            .expect("rehashing is from a table that has buckets");
        let mut at = self.moved.get();
        let limit = buckets.len().min(at + EMPTY_PER_STEP);
        while at < limit && buckets[at].load().is_none() {
            at += 1;
        }
        if at < limit {
            let mut chain = buckets[at].load();
            buckets[at].store(None);
            while let Some(entry) = chain {
                chain = entry.next.load();
                to.link(entry);
                from.used.sub(1);
            }
            at += 1;
        }
        self.moved.set(at);
        if from.used.get() == 0 {
            from.buckets.store(to.buckets.swap(None));
            from.used.set(to.used.get());
            to.used.set(0);
            self.moved.set(0);
        }
    }
}

#[cfg(test)]
#[path = "dict_tests.rs"]
mod tests;
