//! The first word of every object.
//!
//! ```text
//!   63                          32 31              8   7   6     4 3    0
//!   ┌─────────────────────────────┬─────────────────┬─────┬───────┬──────┐
//!   │ the counting collector's    │ length in words │ rem.│ life  │ kind │
//!   └─────────────────────────────┴─────────────────┴─────┴───────┴──────┘
//! ```
//!
//! A word of zeros is free memory. Kind and length never change; the rest is the collector's.
//!
//! **Life** is age and parity. An object is marked if its parity is the one that marked objects of its age have at present ([`Parities`]). So the marks of all
//! objects of an age are cleared by turning one bit, and marking gives an object its new age and the parity of that. The young have no marks.

use gogc::Age;

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// Two values.
    Pair = 1,
    /// Values.
    Vector,
    /// Code, and the values of its free variables.
    Closure,
    /// One value: a variable that is assigned to and captured, or what the program makes by `box`.
    Box,
    /// A name, and the value of the global variable of that name.
    Symbol,
    /// The number of entries and of used places, and a vector of keys and values.
    Table,
    /// A name, instructions, constants, and how to be called.
    Code,
    /// Bytes; the first word is their number. This and what follows holds no values.
    String,
    /// Words: instructions.
    Words,
}

const KINDS: [Kind; 9] = [
    Kind::Pair,
    Kind::Vector,
    Kind::Closure,
    Kind::Box,
    Kind::Symbol,
    Kind::Table,
    Kind::Code,
    Kind::String,
    Kind::Words,
];

/// Words that an object can have besides its header.
pub const LONGEST: usize = (1 << 24) - 1;

const LIFE: u32 = 4;
const REMEMBERED: u64 = 1 << 7;
const LENGTH: u32 = 8;
const NOTE: u32 = 32;

/// Age and parity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life(u64);

impl Life {
    /// Just born, in a heap with generations.
    pub const YOUNG: Life = Life(0);

    fn new(age: Age, parity: u64) -> Life {
        Life(age as u64 | parity << 2)
    }

    /// The age.
    pub fn age(self) -> Age {
        match self.0 & 3 {
            0 => Age::Young,
            1 => Age::Middle,
            _ => Age::Old,
        }
    }
}

/// The parities that marked objects have: of the middle age, of the old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parities(pub u32);

impl Parities {
    fn of(self, age: Age) -> u64 {
        u64::from(self.0 >> (age as u32 - 1) & 1)
    }

    /// After the marks of the age `oldest` and below were cleared.
    #[must_use]
    pub fn cleared(self, oldest: Age) -> Parities {
        match oldest {
            Age::Young => self,
            Age::Middle => Parities(self.0 ^ 1),
            Age::Old => Parities(self.0 ^ 3),
        }
    }

    /// The life of a marked object of this age, which is not young.
    pub fn marked(self, age: Age) -> Life {
        Life::new(age, self.of(age))
    }

    /// Whether an object of this life is marked.
    pub fn are_of(self, life: Life) -> bool {
        let age = life.age();
        age != Age::Young && life == self.marked(age)
    }
}

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header(pub u64);

impl Header {
    /// Of an object with so many words besides.
    pub fn new(kind: Kind, length: usize, life: Life) -> Header {
        debug_assert!(length <= LONGEST);
        Header(kind as u64 | life.0 << LIFE | (length as u64) << LENGTH)
    }

    /// What the object is; `None` if it is free memory.
    pub fn kind(self) -> Option<Kind> {
        KINDS.get(((self.0 & 15) as usize).checked_sub(1)?).copied()
    }

    /// Words besides the header.
    pub fn length(self) -> usize {
        self.0 as u32 as usize >> LENGTH
    }

    /// Whether the words are values.
    pub fn has_values(self) -> bool {
        self.0 & 15 < Kind::String as u64
    }

    /// Age and parity.
    pub fn life(self) -> Life {
        Life(self.0 >> LIFE & 7)
    }

    /// With another life.
    #[must_use]
    pub fn with_life(self, life: Life) -> Header {
        Header(self.0 & !(7 << LIFE) | life.0 << LIFE)
    }

    /// Whether the object is in the remembered set.
    pub fn is_remembered(self) -> bool {
        self.0 & REMEMBERED != 0
    }

    /// In the remembered set, or not.
    #[must_use]
    pub fn remembered(self, is: bool) -> Header {
        if is {
            Header(self.0 | REMEMBERED)
        } else {
            Header(self.0 & !REMEMBERED)
        }
    }

    /// The counting collector's word.
    pub fn note(self) -> u32 {
        (self.0 >> NOTE) as u32
    }

    /// With another.
    #[must_use]
    pub fn with_note(self, note: u32) -> Header {
        Header(u64::from(self.0 as u32) | u64::from(note) << NOTE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_do_not_touch_each_other() {
        for kind in KINDS {
            let header = Header::new(kind, LONGEST, Parities(0).marked(Age::Middle))
                .with_note(u32::MAX)
                .remembered(true)
                .with_life(Life::YOUNG)
                .remembered(false)
                .with_note(5);
            assert_eq!(header.kind(), Some(kind));
            assert_eq!((header.length(), header.note()), (LONGEST, 5));
            assert_eq!(header.life(), Life::YOUNG);
            assert!(!header.is_remembered());
            assert_eq!(header.has_values(), kind < Kind::String);
        }
        assert_eq!(Header(0).kind(), None);
    }

    #[test]
    fn clearing_an_age_clears_the_marks_of_that_and_the_younger_ones() {
        let mut now = Parities(0);
        for oldest in [Age::Middle, Age::Old, Age::Young, Age::Old, Age::Middle] {
            let [middle, old] = [Age::Middle, Age::Old].map(|age| now.marked(age));
            assert!(now.are_of(middle) && now.are_of(old) && !now.are_of(Life::YOUNG));
            now = now.cleared(oldest);
            assert_eq!(now.are_of(middle), oldest < Age::Middle);
            assert_eq!(now.are_of(old), oldest < Age::Old);
        }
    }
}
