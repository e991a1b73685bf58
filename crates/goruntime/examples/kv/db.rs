//! The keyspace: sixteen numbered databases, each a dictionary of collected objects.
//!
//! Invariant: a key is in `volatile` exactly if its slot has a deadline, and the two dictionaries share the key's bytes; a collection
//! in the keyspace is not empty. Expired keys are removed when somebody asks for them, and by [`Db::expire_some`] when nobody does; in between
//! they take room, but nobody sees them.

use crate::clock::UnixMillis;
use crate::dict::{Dict, Entry, Str};
use crate::error::{Error, Result};
use crate::value::{Collection, Set, Slot, StringValue, Value};
use goruntime::gc::Gc;

/// The number of databases.
pub const DATABASES: usize = 16;

/// All databases. Kept under one lock, so that every command is atomic.
pub struct Keyspace {
    /// The databases, by their number.
    pub dbs: [Db; DATABASES],
}

/// A key of the keyspace and what it stands for.
pub type KeyEntry = Gc<Entry<Slot>>;

/// One database.
pub struct Db {
    keys: Gc<Dict<Slot>>,
    volatile: Gc<Set>,
    /// Where [`Db::expire_some`] goes on.
    cursor: u64,
    /// What happened here.
    pub counts: Counts,
}

/// Events in a database since the counts were last reset.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Reads that found their key.
    pub hits: u64,
    /// Reads that did not.
    pub misses: u64,
    /// Keys that expired.
    pub expired: u64,
}

/// What a round of [`Db::expire_some`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampled {
    /// Keys looked at.
    pub seen: usize,
    /// Keys among them that had expired.
    pub expired: usize,
}

impl Keyspace {
    /// Empty databases.
    pub fn new() -> Keyspace {
        Keyspace {
            dbs: std::array::from_fn(|_| Db::new()),
        }
    }
}

impl Db {
    fn new() -> Db {
        Db {
            keys: Gc::new(Dict::new()),
            volatile: Gc::new(Dict::new()),
            cursor: 0,
            counts: Counts::default(),
        }
    }

    /// The number of keys, expired ones that are still there included.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// The number of keys with a deadline.
    pub fn volatile_len(&self) -> usize {
        self.volatile.len()
    }

    /// The entry of a key.
    pub fn find(&mut self, key: &[u8], now: UnixMillis) -> Option<KeyEntry> {
        let entry = self.keys.find(key)?;
        if entry.value.is_expired(now) {
            self.remove(key);
            self.counts.expired += 1;
            return None;
        }
        Some(entry)
    }

    /// As [`find`](Db::find), counted as a hit or a miss.
    pub fn read(&mut self, key: &[u8], now: UnixMillis) -> Option<KeyEntry> {
        let entry = self.find(key, now);
        match entry {
            Some(_) => self.counts.hits += 1,
            None => self.counts.misses += 1,
        }
        entry
    }

    /// The string that `key` stands for.
    ///
    /// # Errors
    /// It is not a string.
    pub fn read_string(&mut self, key: &[u8], now: UnixMillis) -> Result<Option<StringValue>> {
        match self.read(key, now) {
            Some(entry) => entry
                .value
                .value
                .as_string()
                .map(Some)
                .ok_or(Error::WRONG_TYPE),
            None => Ok(None),
        }
    }

    /// The collection that `key` stands for, to be read.
    ///
    /// # Errors
    /// It is something else.
    pub fn read_as<C: Collection>(&mut self, key: &[u8], now: UnixMillis) -> Result<Option<Gc<C>>> {
        of_entry(self.read(key, now))
    }

    /// The collection that `key` stands for, to be changed. Call [`prune`](Db::prune) after taking something out.
    ///
    /// # Errors
    /// It is something else.
    pub fn find_as<C: Collection>(&mut self, key: &[u8], now: UnixMillis) -> Result<Option<Gc<C>>> {
        of_entry(self.find(key, now))
    }

    /// The collection that `key` stands for, made if there is none. The caller puts something in.
    ///
    /// # Errors
    /// It is something else.
    pub fn find_or_new<C: Collection>(&mut self, key: &[u8], now: UnixMillis) -> Result<Gc<C>> {
        if let Some(collection) = self.find_as(key, now)? {
            return Ok(collection);
        }
        let collection = Gc::new(C::empty());
        self.insert(Gc::bytes(key), C::wrap(collection));
        Ok(collection)
    }

    /// Removes the key of a collection that has become empty.
    pub fn prune<C: Collection>(&mut self, key: &[u8], collection: Gc<C>) {
        if collection.is_empty() {
            self.remove(key);
        }
    }

    /// Makes `key` stand for a string, whatever it stood for. A deadline that it has stays.
    pub fn set_string(&mut self, key: &[u8], text: &[u8], now: UnixMillis) -> KeyEntry {
        let Some(entry) = self.find(key, now) else {
            return self.insert(Gc::bytes(key), Value::string(text));
        };
        if entry.value.value.set_string(text) {
            return entry;
        }
        let slot = Slot::new(Value::string(text));
        slot.set_deadline(entry.value.deadline());
        self.keys.replace(entry, slot)
    }

    /// Makes `key`, which stands for nothing, stand for `value`.
    pub fn insert(&mut self, key: Str, value: Value) -> KeyEntry {
        self.keys
            .find_or_insert(key.as_slice(), || (key, Slot::new(value)))
            .0
    }

    /// Takes a key out.
    pub fn remove(&mut self, key: &[u8]) -> Option<KeyEntry> {
        let entry = self.keys.remove(key)?;
        if entry.value.deadline().is_some() {
            self.volatile.remove(key);
        }
        Some(entry)
    }

    /// Sets or clears the deadline of a key.
    pub fn set_deadline(&mut self, entry: KeyEntry, deadline: Option<UnixMillis>) {
        let had = entry.value.deadline().is_some();
        entry.value.set_deadline(deadline);
        // A deadline at the end of time is none.
        match (had, entry.value.deadline().is_some()) {
            (false, true) => self.volatile.insert(entry.key(), ()),
            (true, false) => {
                self.volatile.remove(entry.key().as_slice());
            }
            _ => {}
        }
    }

    /// Forgets everything. The collector does the work.
    pub fn clear(&mut self) {
        self.keys.clear();
        self.volatile.clear();
        self.cursor = 0;
    }

    /// All keys that have not expired, with what they stand for. The database must not change meanwhile.
    pub fn iter(&self, now: UnixMillis) -> impl Iterator<Item = KeyEntry> + use<> {
        self.keys
            .iter()
            .filter(move |entry| !entry.value.is_expired(now))
    }

    /// Visits some keys and gives the cursor to go on with, as [`Dict::scan`]. Expired keys among them come too.
    pub fn scan(&self, cursor: u64, visit: impl FnMut(KeyEntry)) -> u64 {
        self.keys.scan(cursor, visit)
    }

    /// A random key.
    pub fn random(&mut self, now: UnixMillis) -> Option<KeyEntry> {
        loop {
            let entry = self.keys.random()?;
            if !entry.value.is_expired(now) {
                return Some(entry);
            }
            self.expire_now(entry.key().as_slice(), now);
        }
    }

    /// Looks at about `count` keys with deadlines, going round and round, and removes those that have expired.
    pub fn expire_some(&mut self, count: usize, now: UnixMillis) -> Sampled {
        let mut seen = Vec::with_capacity(count);
        // Sparse tables have long runs of empty buckets.
        for _ in 0..count * 20 {
            if seen.len() >= count {
                break;
            }
            self.cursor = self
                .volatile
                .scan(self.cursor, |entry| seen.push(entry.key()));
            if self.cursor == 0 {
                break;
            }
        }
        let expired = self.counts.expired;
        for key in &seen {
            self.expire_now(key.as_slice(), now);
        }
        Sampled {
            seen: seen.len(),
            expired: (self.counts.expired - expired) as usize,
        }
    }

    /// Goes on with moving to a table of another size, by some buckets. True if there is more to move.
    pub fn rehash(&mut self, buckets: usize) -> bool {
        let keys = self.keys.rehash(buckets);
        let volatile = self.volatile.rehash(buckets);
        keys || volatile
    }

    fn expire_now(&mut self, key: &[u8], now: UnixMillis) {
        self.find(key, now);
    }
}

fn of_entry<C: Collection>(entry: Option<KeyEntry>) -> Result<Option<Gc<C>>> {
    match entry {
        Some(entry) => C::of(&entry.value.value).map(Some).ok_or(Error::WRONG_TYPE),
        None => Ok(None),
    }
}
