//! Hash tables: open addressing in a vector of keys and values, which doubles when three quarters of it are used.
//!
//! Strings are the same if they read the same, everything else if it is the same object. Objects do not move, so an address can be hashed.
//!
//! Threads that change one table at the same time may lose each other's changes, as with any structure that is not locked; they do not harm the heap.

use super::Outcome;
use crate::heap::Kind;
use crate::machine::{Arguments, Machine};
use crate::runtime::Gc;
use crate::value::{Object, Value};

/// Words of a table.
const COUNT: usize = 0;
const USED: usize = 1;
const ENTRIES: usize = 2;

/// Entries that a table has room for at first.
const FIRST: usize = 8;

pub fn make<G: Gc>(m: &mut Machine<G>, _: Arguments) -> Outcome {
    let entries = std::iter::repeat_n(Value::UNBOUND, 2 * FIRST);
    let entries = m.mutator.values(Kind::Vector, entries)?;
    let values = [Value::small(0), Value::small(0), entries.into()];
    Ok(m.mutator.values(Kind::Table, values.into_iter())?.into())
}

pub fn is_table<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    let value = m.argument(arguments, 0);
    Ok(Value::truth(m.as_kind(value, Kind::Table).is_some()))
}

pub fn count<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    let table = m.object(arguments, 0, Kind::Table)?;
    Ok(m.heap().get(table, COUNT))
}

/// A vector of keys and values.
struct Entries<'m, G: Gc> {
    machine: &'m Machine<G>,
    vector: Object,
    /// Places for keys and values.
    places: usize,
}

impl<'m, G: Gc> Entries<'m, G> {
    fn of(machine: &'m Machine<G>, table: Object) -> Entries<'m, G> {
        let vector = Object(machine.heap().get(table, ENTRIES).word());
        Entries {
            machine,
            vector,
            places: machine.heap().length(vector) / 2,
        }
    }

    fn key(&self, place: usize) -> Value {
        self.machine.heap().get(self.vector, 2 * place)
    }

    fn value(&self, place: usize) -> Value {
        self.machine.heap().get(self.vector, 2 * place + 1)
    }

    /// The places to look at for a key, in order.
    fn probe(&self, key: Value) -> impl Iterator<Item = usize> + use<G> {
        let hash = hash(self.machine, key);
        let places = self.places;
        (0..places).map(move |step| (hash + step) % places)
    }

    /// The place of the key.
    fn find(&self, key: Value) -> Option<usize> {
        for place in self.probe(key) {
            let other = self.key(place);
            if other == Value::UNBOUND {
                return None;
            }
            if is_same(self.machine, other, key) {
                return Some(place);
            }
        }
        None
    }

    /// The keys and values that are there.
    fn all(&self) -> impl Iterator<Item = (Value, Value)> + '_ {
        let entries = (0..self.places).map(|place| (self.key(place), self.value(place)));
        entries.filter(|(key, _)| *key != Value::UNBOUND && *key != Value::DELETED)
    }
}

fn is_same<G: Gc>(m: &Machine<G>, a: Value, b: Value) -> bool {
    let strings = [a, b].map(|value| m.as_kind(value, Kind::String));
    match strings {
        [Some(a), Some(b)] => m.heap().bytes(a) == m.heap().bytes(b),
        _ => a == b,
    }
}

fn hash<G: Gc>(m: &Machine<G>, key: Value) -> usize {
    let mix = |hash: usize, more: usize| (hash ^ more).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let hash = match m.as_kind(key, Kind::String) {
        Some(string) => {
            let bytes = m.heap().bytes(string);
            bytes
                .into_iter()
                .fold(1, |hash, byte| mix(hash, byte.into()))
        }
        None => mix(1, key.word()),
    };
    hash >> 20
}

/// `(table-ref table key default)`; without a default, `#f`.
pub fn get<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    let table = m.object(arguments, 0, Kind::Table)?;
    let entries = Entries::of(m, table);
    Ok(match entries.find(m.argument(arguments, 1)) {
        Some(place) => entries.value(place),
        None if arguments.count == 3 => m.argument(arguments, 2),
        None => Value::FALSE,
    })
}

pub fn set<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    let table = m.object(arguments, 0, Kind::Table)?;
    let [key, value] = [1, 2].map(|index| m.argument(arguments, index));
    let entries = Entries::of(m, table);
    if let Some(place) = entries.find(key) {
        let vector = entries.vector;
        m.mutator.set(vector, 2 * place + 1, value);
        return Ok(Value::UNSPECIFIED);
    }
    make_room(m, table)?;
    let entries = Entries::of(m, table);
    let mut free = entries
        .probe(key)
        .filter(|place| matches!(entries.key(*place), Value::UNBOUND | Value::DELETED));
    let Some(place) = free.next() else {
        // Others have filled it meanwhile: this change is lost.
        return Ok(Value::UNSPECIFIED);
    };
    let was_used = entries.key(place) == Value::DELETED;
    let vector = entries.vector;
    drop(free);
    m.mutator.set(vector, 2 * place + 1, value);
    m.mutator.set(vector, 2 * place, key);
    add(m, table, COUNT, 1);
    add(m, table, USED, i64::from(!was_used));
    Ok(Value::UNSPECIFIED)
}

fn add<G: Gc>(m: &mut Machine<G>, table: Object, word: usize, more: i64) {
    let now = m.heap().get(table, word).as_number().unwrap_or(0);
    let then = Value::number(now + more).unwrap_or(Value::small(0));
    m.mutator.set(table, word, then);
}

/// Sees to it that there is a free place.
fn make_room<G: Gc>(m: &mut Machine<G>, table: Object) -> Result<(), crate::machine::Trap> {
    let entries = Entries::of(m, table);
    let number = |word| m.heap().get(table, word).as_index().unwrap_or(0);
    if 4 * (number(USED) + 1) <= 3 * entries.places {
        return Ok(());
    }
    let places = (4 * (number(COUNT) + 1)).next_power_of_two().max(FIRST);
    let mut values = vec![Value::UNBOUND; 2 * places];
    let mut count = 0;
    for (key, value) in entries.all() {
        let mut place = hash(m, key) % places;
        while values[2 * place] != Value::UNBOUND {
            place = (place + 1) % places;
        }
        (values[2 * place], values[2 * place + 1]) = (key, value);
        count += 1;
    }
    let vector = m.mutator.values(Kind::Vector, values.into_iter())?;
    m.mutator.set(table, ENTRIES, vector.into());
    m.mutator.set(table, COUNT, Value::small(count));
    m.mutator.set(table, USED, Value::small(count));
    Ok(())
}

/// Says whether the key was there.
pub fn delete<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    let table = m.object(arguments, 0, Kind::Table)?;
    let entries = Entries::of(m, table);
    let Some(place) = entries.find(m.argument(arguments, 1)) else {
        return Ok(Value::FALSE);
    };
    let vector = entries.vector;
    m.mutator.set(vector, 2 * place, Value::DELETED);
    m.mutator.set(vector, 2 * place + 1, Value::DELETED);
    add(m, table, COUNT, -1);
    Ok(Value::TRUE)
}

/// A list of the keys, in no particular order.
pub fn keys<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    let table = m.object(arguments, 0, Kind::Table)?;
    let keys: Vec<Value> = Entries::of(m, table).all().map(|(key, _)| key).collect();
    keys.into_iter()
        .try_fold(Value::NIL, |tail, key| m.cons(key, tail))
}
