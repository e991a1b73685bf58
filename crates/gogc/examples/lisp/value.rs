//! What a Lisp variable holds: one word, either the address of an object or the thing itself.
//!
//! ```text
//!   ...address.......... 000   an object, by the address of its header
//!   ...number............. 1   a number of 63 bits
//!   ...character.... 0000 0110 a character
//!   ...index........ 0000 1110 a primitive procedure
//!   ...             xxxx  010  nil, #f, #t and the like
//! ```
//!
//! The collector needs to know of a word only whether it is an address. Zero is no value: it is what free memory holds.

use std::fmt;

/// A value.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Value(usize);

/// An object: the address of its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Object(pub usize);

const CHARACTER: usize = 0x06;
const PRIMITIVE: usize = 0x0e;

impl Value {
    /// The empty list.
    pub const NIL: Value = Value(0x02);
    /// False, the only value that is.
    pub const FALSE: Value = Value(0x0a);
    /// True.
    pub const TRUE: Value = Value(0x12);
    /// What an expression has that is evaluated for its effect.
    pub const UNSPECIFIED: Value = Value(0x1a);
    /// What an undefined variable holds, and an empty place in a table.
    pub const UNBOUND: Value = Value(0x22);
    /// A place in a table that was emptied.
    pub const DELETED: Value = Value(0x2a);

    /// Numbers have 63 bits.
    pub const NUMBERS: std::ops::RangeInclusive<i64> = i64::MIN >> 1..=i64::MAX >> 1;

    /// The value that a word is.
    pub fn from_word(word: usize) -> Value {
        Value(word)
    }

    /// The word.
    pub fn word(self) -> usize {
        self.0
    }

    /// The address of the object that this is, or 0.
    pub fn pointer(self) -> usize {
        if self.0 & 7 == 0 { self.0 } else { 0 }
    }

    /// A number; `None` if it has too many bits.
    pub fn number(n: i64) -> Option<Value> {
        Value::NUMBERS
            .contains(&n)
            .then_some(Value((n as usize) << 1 | 1))
    }

    /// A number that is known to be small: a size, an index.
    pub fn small(n: usize) -> Value {
        Value(n << 1 | 1)
    }

    /// The number that this is.
    pub fn as_number(self) -> Option<i64> {
        (self.0 & 1 == 1).then_some(self.0 as i64 >> 1)
    }

    /// The number that this is, if it can be an index.
    pub fn as_index(self) -> Option<usize> {
        usize::try_from(self.as_number()?).ok()
    }

    /// A character.
    pub fn character(c: char) -> Value {
        Value((c as usize) << 8 | CHARACTER)
    }

    /// The character that this is.
    pub fn as_character(self) -> Option<char> {
        (self.0 & 0xff == CHARACTER).then(|| char::from_u32((self.0 >> 8) as u32))?
    }

    /// The primitive with this number.
    pub fn primitive(index: u32) -> Value {
        Value((index as usize) << 8 | PRIMITIVE)
    }

    /// The number of the primitive that this is.
    pub fn as_primitive(self) -> Option<u32> {
        (self.0 & 0xff == PRIMITIVE).then_some((self.0 >> 8) as u32)
    }

    /// `#t` or `#f`.
    pub fn truth(is: bool) -> Value {
        if is { Value::TRUE } else { Value::FALSE }
    }

    /// Everything but `#f` is true.
    pub fn is_true(self) -> bool {
        self != Value::FALSE
    }

    /// The object that this is.
    pub fn as_object(self) -> Option<Object> {
        (self.0 & 7 == 0).then_some(Object(self.0))
    }
}

impl From<Object> for Value {
    fn from(object: Object) -> Value {
        Value(object.0)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_one_thing() {
        let values = [
            Value::NIL,
            Value::FALSE,
            Value::TRUE,
            Value::UNSPECIFIED,
            Value::UNBOUND,
            Value::DELETED,
            Value::number(-1).unwrap(),
            Value::number(*Value::NUMBERS.start()).unwrap(),
            Value::character('λ'),
            Value::primitive(7),
            Value::from(Object(0x1000)),
        ];
        for (i, value) in values.iter().enumerate() {
            let as_what = [
                value.as_number().is_some(),
                value.as_character().is_some(),
                value.as_primitive().is_some(),
                value.as_object().is_some(),
            ];
            let kinds = as_what.iter().filter(|is| **is).count();
            assert_eq!(kinds, usize::from(i >= 6), "{value:?}");
            assert_eq!(value.pointer() != 0, value.as_object().is_some());
            assert!(values[..i].iter().all(|other| other != value));
        }
        assert_eq!(Value::number(-5).unwrap().as_number(), Some(-5));
        assert_eq!(Value::number(i64::MAX), None);
        assert_eq!(Value::small(3).as_index(), Some(3));
        assert_eq!(Value::character('λ').as_character(), Some('λ'));
    }
}
