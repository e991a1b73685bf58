//! `List`: a sequence of byte strings, cheap at both ends: doubly linked chunks of a few dozen pointers each.
//!
//! ```text
//!   head ─► │··abc│ ◄─► │defgh│ ◄─► │ij···│ ◄─ tail
//! ```
//!
//! Invariant: no chunk is empty; items fill `start..end` of a chunk without a gap; only the first chunk has room before its items
//! that is used, only the last one after. Slots outside are null, so that what was popped can be collected.

use crate::count::Count;
use crate::dict::Str;
use goruntime::gc::{Array, Gc, GcPtr, Trace};
use std::iter::successors;

/// Items in a chunk: enough for walking to be fast, few enough for a list of one item to be small.
const CHUNK: usize = 32;

#[derive(Trace)]
struct Chunk {
    previous: GcPtr<Chunk>,
    next: GcPtr<Chunk>,
    start: Count,
    end: Count,
    items: [GcPtr<Array<u8>>; CHUNK],
}

/// A sequence of byte strings. See the [module](self).
#[derive(Trace)]
pub struct List {
    head: GcPtr<Chunk>,
    tail: GcPtr<Chunk>,
    len: Count,
}

/// One of the ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The first item.
    Front,
    /// The last item.
    Back,
}

impl Chunk {
    /// An empty chunk between two others, whose first item will be at `start`, or just before it.
    fn new(start: usize, previous: Option<Gc<Chunk>>, next: Option<Gc<Chunk>>) -> Gc<Chunk> {
        let chunk = Gc::new(Chunk {
            previous: GcPtr::new(previous),
            next: GcPtr::new(next),
            start: Count::new(start),
            end: Count::new(start),
            items: [const { GcPtr::null() }; CHUNK],
        });
        if let Some(previous) = previous {
            previous.next.store(Some(chunk));
        }
        if let Some(next) = next {
            next.previous.store(Some(chunk));
        }
        chunk
    }

    fn len(&self) -> usize {
        self.end.get() - self.start.get()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn item(&self, index: usize) -> Option<Str> {
        self.items[self.start.get() + index].load()
    }
}

impl List {
    /// An empty list.
    pub fn new() -> List {
        List {
            head: GcPtr::null(),
            tail: GcPtr::null(),
            len: Count::new(0),
        }
    }

    /// The number of items.
    pub fn len(&self) -> usize {
        self.len.get()
    }

    /// Has it no items?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds an item at one end.
    pub fn push(&self, end: End, item: Str) {
        match end {
            End::Front => {
                let head = self.head.load();
                let chunk = head.filter(|head| head.start.get() > 0).unwrap_or_else(|| {
                    let chunk = Chunk::new(CHUNK, None, head);
                    self.head.store(Some(chunk));
                    if head.is_none() {
                        self.tail.store(Some(chunk));
                    }
                    chunk
                });
                chunk.start.sub(1);
                chunk.items[chunk.start.get()].store(Some(item));
            }
            End::Back => {
                let tail = self.tail.load();
                let chunk = tail
                    .filter(|tail| tail.end.get() < CHUNK)
                    .unwrap_or_else(|| {
                        let chunk = Chunk::new(0, tail, None);
                        self.tail.store(Some(chunk));
                        if tail.is_none() {
                            self.head.store(Some(chunk));
                        }
                        chunk
                    });
                chunk.items[chunk.end.get()].store(Some(item));
                chunk.end.add(1);
            }
        }
        self.len.add(1);
    }

    /// Takes the item at one end.
    pub fn pop(&self, end: End) -> Option<Str> {
        let chunk = match end {
            End::Front => self.head.load()?,
            End::Back => self.tail.load()?,
        };
        let item = match end {
            End::Front => {
                chunk.start.add(1);
                chunk.items[chunk.start.get() - 1].swap(None)
            }
            End::Back => {
                chunk.end.sub(1);
                chunk.items[chunk.end.get()].swap(None)
            }
        };
        self.len.sub(1);
        if chunk.is_empty() {
            self.unlink(chunk);
        }
        item
    }

    /// The item at `index`.
    pub fn get(&self, index: usize) -> Option<Str> {
        self.from(index).next()
    }

    /// The items from `index` on. The list must not change meanwhile.
    pub fn from(&self, index: usize) -> impl Iterator<Item = Str> + use<> {
        let (chunk, offset) = self.locate(index);
        successors(chunk, |chunk| chunk.next.load())
            .flat_map(|chunk| (0..chunk.len()).filter_map(move |i| chunk.item(i)))
            .skip(offset)
    }

    /// The chunk that has the item at `index`, and how many items come before it there. Walks from the nearer end.
    fn locate(&self, index: usize) -> (Option<Gc<Chunk>>, usize) {
        let len = self.len();
        if index >= len {
            return (None, 0);
        }
        if index < len / 2 {
            let mut offset = index;
            let mut at = self.head.load();
            while let Some(chunk) = at.filter(|chunk| offset >= chunk.len()) {
                offset -= chunk.len();
                at = chunk.next.load();
            }
            (at, offset)
        } else {
            let mut first = len;
            let mut at = self.tail.load();
            while let Some(chunk) = at {
                first -= chunk.len();
                if first <= index {
                    break;
                }
                at = chunk.previous.load();
            }
            (at, index - first)
        }
    }

    /// Takes a chunk out, and cuts it off: see [`crate::dict`].
    fn unlink(&self, chunk: Gc<Chunk>) {
        let (previous, next) = (chunk.previous.load(), chunk.next.load());
        chunk.previous.store(None);
        chunk.next.store(None);
        previous
            .as_ref()
            .map_or(&self.head, |previous| &previous.next)
            .store(next);
        next.as_ref()
            .map_or(&self.tail, |next| &next.previous)
            .store(previous);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    #[derive(Clone, Debug)]
    enum Step {
        Push(bool, usize),
        Pop(bool, usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (any::<bool>(), 0usize..80).prop_map(|(front, n)| Step::Push(front, n)),
            2 => (any::<bool>(), 0usize..80).prop_map(|(front, n)| Step::Pop(front, n)),
        ]
    }

    fn bytes(item: Option<Str>) -> Option<Vec<u8>> {
        item.map(|item| item.as_slice().to_vec())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn behaves_as_a_deque(steps in prop::collection::vec(step(), 0..40)) {
            let list = List::new();
            let mut model = VecDeque::new();
            let mut next = 0u32;
            for step in steps {
                match step {
                    Step::Push(front, n) => for _ in 0..n {
                        next += 1;
                        let item = next.to_string().into_bytes();
                        let end = if front { End::Front } else { End::Back };
                        list.push(end, Gc::bytes(&item));
                        if front { model.push_front(item) } else { model.push_back(item) }
                    },
                    Step::Pop(front, n) => for _ in 0..n {
                        let end = if front { End::Front } else { End::Back };
                        let expected = if front { model.pop_front() } else { model.pop_back() };
                        prop_assert_eq!(bytes(list.pop(end)), expected);
                    },
                }
                prop_assert_eq!(list.len(), model.len());
                for index in [0, 1, model.len() / 3, model.len() / 2, model.len().saturating_sub(1), model.len()] {
                    prop_assert_eq!(bytes(list.get(index)), model.get(index).cloned());
                    let rest: Vec<_> = list.from(index).map(|item| item.as_slice().to_vec()).collect();
                    let expected: Vec<_> = model.iter().skip(index).cloned().collect();
                    prop_assert_eq!(rest, expected);
                }
            }
        }
    }
}
