//! What a key stands for: one of five kinds of value, and when it expires.
//!
//! A string that is an integer in its one spelling is kept as that integer, so that counting allocates nothing. What changes, changes
//! in place as long as the kind of value stays; otherwise the entry is replaced.

use crate::clock::UnixMillis;
use crate::dict::{Dict, Str};
use crate::list::List;
use crate::number::{Decimal, integer};
use crate::zset::SortedSet;
use goruntime::gc::{Array, Gc, GcPtr, Trace};
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// An unordered set of byte strings.
pub type Set = Dict<()>;

/// A map from byte strings to byte strings, which are never null.
pub type Hash = Dict<GcPtr<Array<u8>>>;

/// The value of a key.
#[derive(Trace)]
pub enum Value {
    /// A string that is the text of this integer.
    Integer(AtomicI64),
    /// Any other string; never null.
    Text(GcPtr<Array<u8>>),
    /// A list.
    List(Gc<List>),
    /// A set.
    Set(Gc<Set>),
    /// A hash.
    Hash(Gc<Hash>),
    /// A sorted set.
    SortedSet(Gc<SortedSet>),
}

/// A string value, read.
#[derive(Clone, Copy)]
pub enum StringValue {
    /// The text of this integer.
    Integer(Decimal),
    /// Any other string.
    Text(Str),
}

/// A value and its deadline: what the dictionary of the keyspace keeps for a key.
#[derive(Trace)]
pub struct Slot {
    /// The value.
    pub value: Value,
    deadline: AtomicI64,
}

/// The deadline of what never expires.
const NEVER: i64 = i64::MAX;

/// A kind of value that is a collection: made empty on first use, removed with its key when empty again.
pub trait Collection: Trace + Sized {
    /// An empty one.
    fn empty() -> Self;
    /// Has it no members?
    fn is_empty(&self) -> bool;
    /// The value that it is.
    fn wrap(this: Gc<Self>) -> Value;
    /// What the value is, if it is of this kind.
    fn of(value: &Value) -> Option<Gc<Self>>;
}

/// Implements [`Collection`] for the type of one variant of [`Value`].
macro_rules! collection {
    ($type:ty, $variant:ident) => {
        impl Collection for $type {
            fn empty() -> Self {
                Self::new()
            }

            fn is_empty(&self) -> bool {
                self.is_empty()
            }

            fn wrap(this: Gc<Self>) -> Value {
                Value::$variant(this)
            }

            fn of(value: &Value) -> Option<Gc<Self>> {
                match value {
                    Value::$variant(this) => Some(*this),
                    _ => None,
                }
            }
        }
    };
}

collection!(List, List);
collection!(Set, Set);
collection!(Hash, Hash);
collection!(SortedSet, SortedSet);

impl Value {
    /// A string.
    pub fn string(text: &[u8]) -> Value {
        match integer(text) {
            Some(number) => Value::Integer(AtomicI64::new(number)),
            None => Value::Text(GcPtr::new(Some(Gc::bytes(text)))),
        }
    }

    /// The same value for another entry, which takes the place of the one that this is in.
    pub fn share(&self) -> Value {
        match self {
            Value::Integer(number) => Value::Integer(AtomicI64::new(number.load(Relaxed))),
            Value::Text(text) => Value::Text(GcPtr::new(text.load())),
            Value::List(list) => Value::List(*list),
            Value::Set(set) => Value::Set(*set),
            Value::Hash(hash) => Value::Hash(*hash),
            Value::SortedSet(set) => Value::SortedSet(*set),
        }
    }

    /// Changes a string into another one in place. False if that is not possible, and nothing was done.
    pub fn set_string(&self, text: &[u8]) -> bool {
        match (self, integer(text)) {
            (Value::Integer(old), Some(new)) => old.store(new, Relaxed),
            (Value::Text(old), None) => old.store(Some(Gc::bytes(text))),
            _ => return false,
        }
        true
    }

    /// The string, if it is one.
    #[inline]
    pub fn as_string(&self) -> Option<StringValue> {
        match self {
            Value::Integer(number) => {
                Some(StringValue::Integer(Decimal::new(number.load(Relaxed))))
            }
            Value::Text(text) => Some(StringValue::Text(
                text.load().expect("a string has its bytes"),
            )),
            _ => None,
        }
    }

    /// Redis's name for the kind of value.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Integer(_) | Value::Text(_) => "string",
            Value::List(_) => "list",
            Value::Set(_) => "set",
            Value::Hash(_) => "hash",
            Value::SortedSet(_) => "zset",
        }
    }
}

impl StringValue {
    /// Its bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            StringValue::Integer(number) => number.as_bytes(),
            StringValue::Text(text) => text.as_slice(),
        }
    }
}

impl Slot {
    /// A value that never expires.
    pub fn new(value: Value) -> Slot {
        Slot {
            value,
            deadline: AtomicI64::new(NEVER),
        }
    }

    /// When the value expires.
    pub fn deadline(&self) -> Option<UnixMillis> {
        let deadline = self.deadline.load(Relaxed);
        (deadline != NEVER).then_some(UnixMillis(deadline))
    }

    /// Sets when the value expires.
    pub fn set_deadline(&self, deadline: Option<UnixMillis>) {
        self.deadline
            .store(deadline.map_or(NEVER, |deadline| deadline.0), Relaxed);
    }

    /// Has the value expired?
    #[inline]
    pub fn is_expired(&self, now: UnixMillis) -> bool {
        now.0 > self.deadline.load(Relaxed)
    }
}
