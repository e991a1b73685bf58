//! A list of words in memory from the world.
//!
//! For what a collector has to remember between stops and in them: objects that were stored to, objects whose count fell. Its memory does not come from the
//! allocator, which may be the very heap that is collected and whose blocks may be roots; and it may be refused, which the caller has to have an answer to.
//!
//! Invariant: `memory` is null and `room` 0, or it has room for `room` words of which the first `len` are initialised. It doubles, so that a word is copied
//! less than twice.

use std::ptr::{self, NonNull};

use crate::env::World;
use crate::gray::Refused;
use crate::word::WORD;

/// Words that the first piece of memory holds: as many as an interpreter can be made to fill.
const FIRST: usize = if cfg!(miri) { 16 } else { 512 };

/// The list. It does not know the world, since a collector owns both; what it has is given back by [`dispose`](List::dispose).
pub(crate) struct List {
    memory: *mut usize,
    room: usize,
    len: usize,
}

// SAFETY: the memory is the list's own.
unsafe impl Send for List {}

impl List {
    /// An empty list, which has no memory.
    pub(crate) const fn new() -> List {
        List {
            memory: ptr::null_mut(),
            room: 0,
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds a word, unless the memory for it is refused.
    #[inline]
    pub(crate) fn push(&mut self, world: &impl World, word: usize) -> Result<(), Refused> {
        if self.len == self.room {
            self.grow(world)?;
        }
        // SAFETY: there is room for it, by the invariant.
        unsafe { self.memory.add(self.len).write(word) };
        self.len += 1;
        Ok(())
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<usize> {
        self.len = self.len.checked_sub(1)?;
        // SAFETY: it was among the initialised ones.
        Some(unsafe { self.memory.add(self.len).read() })
    }

    /// The words, in the order in which they were pushed.
    pub(crate) fn words(&self) -> &[usize] {
        if self.len == 0 {
            return &[];
        }
        // SAFETY: the first `len` words are initialised.
        unsafe { std::slice::from_raw_parts(self.memory, self.len) }
    }

    /// Keeps those words for which `keep` says so.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(usize) -> bool) {
        let mut kept = 0;
        for at in 0..self.len {
            // SAFETY: below `len`, as is `kept`, which is no larger than `at`.
            unsafe {
                let word = self.memory.add(at).read();
                self.memory.add(kept).write(word);
                kept += usize::from(keep(word));
            }
        }
        self.len = kept;
    }

    #[cold]
    fn grow(&mut self, world: &impl World) -> Result<(), Refused> {
        let room = (2 * self.room).max(FIRST);
        let memory = world.acquire(room * WORD).ok_or(Refused)?;
        let memory = memory.as_ptr().cast::<usize>();
        let len = self.len;
        if len > 0 {
            // SAFETY: `len` initialised words, and fresh memory of at least that size.
            unsafe { ptr::copy_nonoverlapping(self.memory, memory, len) };
        }
        self.dispose(world);
        *self = List { memory, room, len };
        Ok(())
    }

    /// Forgets all words, and gives the memory back.
    pub(crate) fn dispose(&mut self, world: &impl World) {
        let old = std::mem::replace(self, List::new());
        if let Some(memory) = NonNull::new(old.memory) {
            // SAFETY: acquired by `grow` with this size, and not referred to any more.
            unsafe { world.release(memory.cast(), old.room * WORD) };
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::SimWorld;

    #[derive(Clone, Debug)]
    enum Step {
        Push(usize),
        Pop(usize),
        KeepMultiples(usize),
        Dispose,
    }

    fn step() -> impl Strategy<Value = Step> {
        let some = || 0..3 * FIRST;
        prop_oneof![
            4 => some().prop_map(Step::Push),
            3 => some().prop_map(Step::Pop),
            2 => (1usize..4).prop_map(Step::KeepMultiples),
            1 => Just(Step::Dispose),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 3 } else { 64 }))]

        #[test]
        fn it_is_what_a_vector_is(steps in prop::collection::vec(step(), 0..20)) {
            let world = SimWorld::new(1);
            let (mut list, mut model) = (List::new(), Vec::new());
            for step in steps {
                match step {
                    Step::Push(count) => for word in 0..count {
                        list.push(&world, word).unwrap();
                        model.push(word);
                    },
                    Step::Pop(count) => for _ in 0..count {
                        prop_assert_eq!(list.pop(), model.pop());
                    },
                    Step::KeepMultiples(of) => {
                        list.retain(|word| word.is_multiple_of(of));
                        model.retain(|word| word.is_multiple_of(of));
                    }
                    Step::Dispose => {
                        list.dispose(&world);
                        model.clear();
                        prop_assert_eq!(world.memory_in_use(), 0);
                    }
                }
                prop_assert_eq!(list.words(), &model[..]);
                prop_assert_eq!(list.len(), model.len());
            }
            list.dispose(&world);
            prop_assert_eq!(world.memory_in_use(), 0);
        }
    }

    #[test]
    fn a_refusal_leaves_it_as_it_was() {
        let world = SimWorld::new(1);
        let mut list = List::new();
        for word in 0..FIRST {
            list.push(&world, word).unwrap();
        }
        world.allow_memory(0);
        assert_eq!(list.push(&world, FIRST), Err(Refused));
        assert_eq!(list.len(), FIRST);
        assert_eq!(list.pop(), Some(FIRST - 1));
        list.push(&world, 7).unwrap();
        assert_eq!(list.words().last(), Some(&7));
        list.dispose(&world);
    }
}
