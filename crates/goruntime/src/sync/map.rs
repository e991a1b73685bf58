//! A map for many goroutines: parts, each with a lock of its own.
//!
//! Keys are spread over the parts by their hash. No guard is ever given out: an operation locks one part, looks or changes, clones what it returns, and unlocks. So a program
//! cannot lock itself out by holding a reference into the map while it calls it again, which is what users of maps with guards stumble over. What an operation runs under the
//! lock is the key's `Hash` and `Eq` and the value's `Clone` and `PartialEq`; what is replaced or deleted is dropped behind it.
//!
//! Maps whose readers take no lock have to know when nobody reads an old node any more. The usual means (epochs, hazard pointers) register each thread through a thread-local; here
//! every goroutine has thread-locals of its own, so each that ever looked would be registered. Go's map leaves that to its collector.

use gosched::sync::RwLock;
use std::borrow::Borrow;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::mem;
use std::sync::OnceLock;

/// Parts for each P: so many that two Ps seldom meet in one.
const PARTS_PER_PROC: usize = 4;
/// And at most so many.
const MOST_PARTS: usize = 256;

/// A map that many goroutines and threads use at the same time. Go's `sync.Map`, with types.
///
/// Values are cloned when they are looked up; large ones are kept in an `Arc`. Each operation on a key is one step; nothing is locked between two. Only `Hash`, `Eq`, `PartialEq` and `Clone`
/// of keys and values must not use the map.
///
/// ```
/// use goruntime::sync::Map;
///
/// static SEEN: Map<String, u32> = Map::new();
/// SEEN.store("a".to_owned(), 1);
/// assert_eq!(SEEN.load("a"), Some(1));
/// assert_eq!(SEEN.load_or_store("a".to_owned(), 9), (1, true));
/// assert!(SEEN.compare_and_swap("a", &1, 2));
/// assert_eq!(SEEN.load_and_delete("a"), Some(2));
/// assert!(SEEN.is_empty());
/// ```
pub struct Map<K, V, S = RandomState> {
    parts: OnceLock<Parts<K, V, S>>,
}

struct Parts<K, V, S> {
    hasher: S,
    all: Box<[Part<K, V, S>]>,
}

/// On a cache line of its own, and the one that is fetched with it.
#[repr(align(128))]
struct Part<K, V, S>(RwLock<HashMap<K, V, S>>);

impl<K, V> Map<K, V> {
    /// Without entries.
    pub const fn new() -> Map<K, V> {
        Map {
            parts: OnceLock::new(),
        }
    }
}

impl<K, V, S: BuildHasher + Clone> Map<K, V, S> {
    /// Without entries, with another hash function.
    pub fn with_hasher(hasher: S) -> Map<K, V, S> {
        Map {
            parts: OnceLock::from(Parts::new(hasher)),
        }
    }
}

impl<K, V, S: BuildHasher + Clone> Parts<K, V, S> {
    fn new(hasher: S) -> Parts<K, V, S> {
        let many = crate::max_procs() * PARTS_PER_PROC;
        let part = || Part(RwLock::new(HashMap::with_hasher(hasher.clone())));
        let many = many.next_power_of_two().min(MOST_PARTS);
        Parts {
            all: (0..many).map(|_| part()).collect(),
            hasher,
        }
    }

    fn of<Q: Hash + ?Sized>(&self, key: &Q) -> &RwLock<HashMap<K, V, S>> {
        // The part's own table goes by the low bits and the top seven, so the part by others.
        let hash = self.hasher.hash_one(key) >> 32;
        &self.all[hash as usize & (self.all.len() - 1)].0
    }
}

impl<K, V, S: BuildHasher + Clone + Default> Map<K, V, S> {
    fn parts(&self) -> &Parts<K, V, S> {
        self.parts.get_or_init(|| Parts::new(S::default()))
    }
}

impl<K: Hash + Eq, V: Clone, S: BuildHasher + Clone + Default> Map<K, V, S> {
    /// The value of `key`.
    pub fn load<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.parts().of(key).read().get(key).cloned()
    }

    /// Makes `value` that of `key`.
    pub fn store(&self, key: K, value: V) {
        self.swap(key, value);
    }

    /// Makes `value` that of `key`. Returns the one before.
    pub fn swap(&self, key: K, value: V) -> Option<V> {
        // Not one call of `insert`: that would drop a key that is there already under the lock.
        let mut part = self.parts().of(&key).write();
        match part.get_mut(&key) {
            Some(present) => Some(mem::replace(present, value)),
            None => part.insert(key, value),
        }
    }

    /// The value of `key`, and true; or `value`, which it is from now on, and false.
    pub fn load_or_store(&self, key: K, value: V) -> (V, bool) {
        let part = self.parts().of(&key);
        if let Some(loaded) = part.read().get(&key).cloned() {
            return (loaded, true);
        }
        let mut part = part.write();
        match part.get(&key) {
            Some(loaded) => (loaded.clone(), true),
            None => {
                part.insert(key, value.clone());
                (value, false)
            }
        }
    }

    /// Deletes `key`. Returns the value that it had.
    pub fn load_and_delete<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let removed = self.parts().of(key).write().remove_entry(key);
        removed.map(|(_, value)| value)
    }

    /// Deletes `key`, if it is there.
    pub fn delete<Q: Hash + Eq + ?Sized>(&self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.load_and_delete(key);
    }

    /// Makes `new` the value of `key` if that is equal to `old`. Returns whether it was.
    pub fn compare_and_swap<Q: Hash + Eq + ?Sized>(&self, key: &Q, old: &V, new: V) -> bool
    where
        K: Borrow<Q>,
        V: PartialEq,
    {
        let part = self.parts().of(key);
        let replaced = match part.write().get_mut(key) {
            Some(value) if value == old => Some(mem::replace(value, new)),
            _ => None,
        };
        replaced.is_some()
    }

    /// Deletes `key` if its value is equal to `old`. Returns whether it was.
    pub fn compare_and_delete<Q: Hash + Eq + ?Sized>(&self, key: &Q, old: &V) -> bool
    where
        K: Borrow<Q>,
        V: PartialEq,
    {
        let part = self.parts().of(key);
        let removed = {
            let mut part = part.write();
            match part.get(key) {
                Some(value) if value == old => part.remove_entry(key),
                _ => None,
            }
        };
        removed.is_some()
    }

    /// Calls `f` with every key and its value, until it returns false. `f` may use the map.
    ///
    /// No key comes twice. It is not one moment that is seen: of what is stored or deleted meanwhile some comes and some does not. Each part is copied before `f` sees
    /// it.
    pub fn range(&self, mut f: impl FnMut(K, V) -> bool)
    where
        K: Clone,
    {
        for part in &self.parts().all {
            let copy: Vec<(K, V)> = {
                let part = part.0.read();
                part.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
            };
            for (key, value) in copy {
                if !f(key, value) {
                    return;
                }
            }
        }
    }

    /// Deletes all keys that are there now, part by part.
    pub fn clear(&self) {
        for part in &self.parts().all {
            let removed = {
                let mut part = part.0.write();
                let hasher = part.hasher().clone();
                mem::replace(&mut *part, HashMap::with_hasher(hasher))
            };
            drop(removed);
        }
    }

    /// How many keys there are, if nobody changes the map meanwhile.
    pub fn len(&self) -> usize {
        self.parts()
            .all
            .iter()
            .map(|part| part.0.read().len())
            .sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.parts().all.iter().all(|part| part.0.read().is_empty())
    }
}

impl<K, V> Default for Map<K, V> {
    fn default() -> Map<K, V> {
        Map::new()
    }
}

impl<K, V, S> fmt::Debug for Map<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Map(..)")
    }
}

#[cfg(test)]
mod tests;
