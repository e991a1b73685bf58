//! Circles of dead objects, found by trial deletion.
//!
//! If a circle is dead, then all pointers to its objects come from the circle itself, or from others that are dead with it. So take away, on trial, all pointers within what
//! a suspect leads to (*gray*). Objects that still have a count, or that a root leads to, are alive, and so is what they lead to: their pointers are
//! counted again (*black*). The rest is dead (*white*), and is freed.
//!
//! **Suspects** are the objects whose count has fallen, though not to zero, and those that a root led to in a stop while their count was not zero: when the root goes on, no count
//! tells.
//!
//! *Claim: a dead circle is led to by a suspect.* Consider what is dead, and there a circle (with all circles that it is entwined with) to which nothing else leads that
//! is dead. It died since the last trial, between two stops. Look at the pointers into it from outside, since the first of these stops. One from an object was deleted, or
//! its object has been freed: either discounts an object of the circle, which becomes a suspect. If there was none, all pointers by which a mutator came to it were of roots: one of
//! these led into the circle in the first stop already, to an object that became a suspect then or, if the circle was not closed yet and the count zero, was looked at once more in the
//! second; or an object of the circle was born since, which discounts it. ∎ So a trial that goes through all suspects sees every dead object, and a suspect that comes out
//! black and unflagged needs to be none any more.
//!
//! A trial needs memory, and half-way through it the counts are wrong. If it is refused, all counts are made anew from the pointers that there are, which needs none;
//! circles wait for the next time.

use super::note::{Colour, Note, ROOTED, SUSPECT};
use super::reclaim::Reclaim;
use crate::env::{CountedHeap, World};
use crate::gray::Refused;

impl<H: CountedHeap, W: World> Reclaim<'_, H, W> {
    /// Frees dead circles. `fresh` has been worked off.
    pub(super) fn find_cycles(&mut self) {
        if self.try_find_cycles().is_err() {
            while let Some(object) = self.pop(0) {
                if self.note(object).colour() == Colour::Dead {
                    self.free_unless_listed(object);
                }
            }
            self.recount();
        }
        self.bury();
    }

    fn try_find_cycles(&mut self) -> Result<(), Refused> {
        self.for_each_suspect(Self::take_away)?;
        self.for_each_suspect(Self::decide)?;
        self.for_each_suspect(Self::free_white)?;
        self.absolve();
        Ok(())
    }

    fn for_each_suspect(
        &mut self,
        f: impl Fn(&mut Self, H::Object) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        if self.all_suspect || self.lists.all_suspect {
            let heap = self.heap;
            let mut result = Ok(());
            heap.for_each(&mut |object| {
                if result.is_ok() {
                    result = f(self, object);
                }
            });
            return result;
        }
        for at in 0..self.lists.suspects.len() {
            let object = self.listed(self.lists.suspects.words()[at]);
            f(self, object)?;
        }
        Ok(())
    }

    fn push(&mut self, object: H::Object) -> Result<(), Refused> {
        let start = self.heap.start(object).0;
        self.lists.work.push(self.world, start)
    }

    /// The next of the work above `bottom`.
    fn pop(&mut self, bottom: usize) -> Option<H::Object> {
        if self.lists.work.len() <= bottom {
            return None;
        }
        let word = self.lists.work.pop()?;
        Some(self.listed(word))
    }

    /// Gives the object this colour, and has what it leads to be looked at.
    fn visit(&mut self, object: H::Object, note: Note, colour: Colour) -> Result<(), Refused> {
        self.push(object)?;
        self.set(object, note.coloured(colour));
        Ok(())
    }

    /// Calls `f` with every object that the object has a pointer to, and its note, until `f` fails.
    fn for_each_object_in(
        &mut self,
        object: H::Object,
        f: impl Fn(&mut Self, H::Object, Note) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        let mut result = Ok(());
        self.for_each_child(object, |this, word| {
            if result.is_ok()
                && let Some(child) = this.heap.resolve(word)
            {
                result = f(this, child, this.note(child));
            }
        });
        result
    }

    /// Makes gray what the suspect leads to, and discounts the pointers in it.
    fn take_away(&mut self, suspect: H::Object) -> Result<(), Refused> {
        let note = self.note(suspect);
        if note.colour() != Colour::Black {
            return Ok(());
        }
        self.visit(suspect, note, Colour::Gray)?;
        while let Some(object) = self.pop(0) {
            self.for_each_object_in(object, |this, child, note| {
                let note = note.counted(-1);
                this.set(child, note);
                match note.colour() {
                    Colour::Black => this.visit(child, note, Colour::Gray),
                    _ => Ok(()),
                }
            })?;
        }
        Ok(())
    }

    /// Makes white what nothing from outside leads to, and black again the rest.
    fn decide(&mut self, suspect: H::Object) -> Result<(), Refused> {
        self.push(suspect)?;
        while let Some(object) = self.pop(0) {
            let note = self.note(object);
            if note.colour() != Colour::Gray {
                continue;
            }
            if note.count() > 0 || note.has(ROOTED) {
                self.restore(object, note)?;
                continue;
            }
            self.set(object, note.coloured(Colour::White));
            self.for_each_object_in(object, |this, child, note| match note.colour() {
                Colour::Gray => this.push(child),
                _ => Ok(()),
            })?;
        }
        Ok(())
    }

    /// Makes black what the object leads to, and counts the pointers in it again.
    fn restore(&mut self, object: H::Object, note: Note) -> Result<(), Refused> {
        let bottom = self.lists.work.len();
        self.visit(object, note, Colour::Black)?;
        while let Some(object) = self.pop(bottom) {
            self.for_each_object_in(object, |this, child, note| {
                let note = note.counted(1);
                this.set(child, note);
                match note.colour() {
                    Colour::Gray | Colour::White => this.visit(child, note, Colour::Black),
                    Colour::Black | Colour::Dead => Ok(()),
                }
            })?;
        }
        Ok(())
    }

    /// Frees what is white and led to by the suspect. The pointers in it are discounted already: what has no count left and is not white is led to by a root, and held.
    fn free_white(&mut self, suspect: H::Object) -> Result<(), Refused> {
        let note = self.note(suspect);
        if note.colour() != Colour::White {
            return Ok(());
        }
        self.visit(suspect, note, Colour::Dead)?;
        while let Some(object) = self.pop(0) {
            let told = self.for_each_object_in(object, |this, child, note| {
                match note.colour() {
                    Colour::White => return this.visit(child, note, Colour::Dead),
                    Colour::Black if note.count() == 0 => this.hold(child, note),
                    _ => {}
                }
                Ok(())
            });
            self.free_unless_listed(object);
            told?;
        }
        Ok(())
    }

    /// Takes those off the list that are alive, but for those that a root leads to.
    fn absolve(&mut self) {
        let mut suspects = std::mem::replace(&mut self.lists.suspects, crate::list::List::new());
        suspects.retain(|word| {
            let object = self.listed(word);
            let note = self.note(object);
            let stays = note.colour() == Colour::Dead || note.has(ROOTED);
            if !stays {
                self.set(object, note.without(SUSPECT));
            }
            stays
        });
        self.lists.suspects = suspects;
        self.all_suspect = false;
    }

    /// Makes all counts anew. What has died is left out, and what is white is taken for alive.
    fn recount(&mut self) {
        let heap = self.heap;
        heap.for_each(&mut |object| {
            let note = self.note(object);
            if note.colour() != Colour::Dead {
                let count = note.count();
                self.set(object, note.counted(-count).coloured(Colour::Black));
            }
        });
        heap.for_each(&mut |object| {
            if self.note(object).colour() != Colour::Dead {
                self.for_each_child(object, Self::count);
            }
        });
        // What has died half-way may have held the last pointer to something.
        self.lists.incomplete = true;
    }
}
