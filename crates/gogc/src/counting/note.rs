//! The word that an object keeps for counting: its count, in which lists it is, and its colour in a trial.
//!
//! ```text
//!   31                                5  4  3   2       1         0
//!   ┌──────────────────────────────────┬──────┬────────┬─────────┬───────┐
//!   │ count, signed                    │colour│ rooted │ suspect │ fresh │
//!   └──────────────────────────────────┴──────┴────────┴─────────┴───────┘
//! ```

/// What a trial has found out about an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    /// Nothing: it is in use, or free if its count is zero.
    Black,
    /// The pointers that are in it have been discounted on trial.
    Gray,
    /// Nothing but what is in the trial leads to it.
    White,
    /// It has died; what it pointed to has been told.
    Dead,
}

/// The word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Note(pub(super) u32);

/// It is in the list of objects whose count has fallen.
pub(super) const FRESH: u32 = 1;
/// It is in the list of objects that a circle may go through.
pub(super) const SUSPECT: u32 = 2;
/// A root leads to it.
pub(super) const ROOTED: u32 = 4;

const COLOUR: u32 = 3;
const COUNT: u32 = 5;

/// A count that has come so far, or as far below zero, is right no more and stays: the object is kept for good.
const STUCK: i32 = i32::MAX >> COUNT;

impl Note {
    pub(super) fn count(self) -> i32 {
        self.0 as i32 >> COUNT
    }

    pub(super) fn is_stuck(self) -> bool {
        self.count() == STUCK
    }

    /// With the count changed by so much, unless it is stuck.
    #[must_use]
    pub(super) fn counted(self, by: i32) -> Note {
        let count = match self.count() + by {
            _ if self.is_stuck() => STUCK,
            count if count.abs() >= STUCK => STUCK,
            count => count,
        };
        let flags = self.0 & !(u32::MAX << COUNT);
        Note((count as u32) << COUNT | flags)
    }

    pub(super) fn has(self, flag: u32) -> bool {
        self.0 & flag != 0
    }

    #[must_use]
    pub(super) fn with(self, flag: u32) -> Note {
        Note(self.0 | flag)
    }

    #[must_use]
    pub(super) fn without(self, flag: u32) -> Note {
        Note(self.0 & !flag)
    }

    pub(super) fn colour(self) -> Colour {
        [Colour::Black, Colour::Gray, Colour::White, Colour::Dead][(self.0 >> COLOUR & 3) as usize]
    }

    #[must_use]
    pub(super) fn coloured(self, colour: Colour) -> Note {
        Note(self.0 & !(3 << COLOUR) | (colour as u32) << COLOUR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_is_too_large_stays() {
        let most = Note(0).with(SUSPECT).counted(STUCK - 1);
        assert_eq!(most.counted(-1).count(), STUCK - 2);
        let stuck = most.counted(1).counted(-1).counted(1 - STUCK);
        assert!(stuck.is_stuck() && stuck.has(SUSPECT) && stuck.colour() == Colour::Black);
        assert!(Note(0).counted(1 - STUCK).counted(-1).counted(5).is_stuck());
    }

    #[test]
    fn the_parts_do_not_touch_each_other() {
        let note = Note(0)
            .counted(-3)
            .with(SUSPECT)
            .coloured(Colour::White)
            .with(ROOTED)
            .counted(5);
        assert_eq!((note.count(), note.colour()), (2, Colour::White));
        let note = note.coloured(Colour::Dead).without(ROOTED).counted(-4);
        assert_eq!((note.count(), note.colour()), (-2, Colour::Dead));
        assert!(note.has(SUSPECT) && !note.has(ROOTED) && !note.has(FRESH));
    }
}
