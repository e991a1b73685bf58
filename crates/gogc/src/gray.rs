//! One marker's queue of grey objects.
//!
//! Two buffers in private, so that a marker that hovers around the border of one does not go to the shared
//! pool at each step (as in Go's `gcWork`). What does not fit goes to the pool, where others find it; what is
//! private is shared on request, half of it at a time. Last in, first out, which keeps the queue short.

use crate::buffer::{BufferPool, Owned};
use crate::env::World;

pub(crate) struct GrayQueue<'p, W> {
    pool: &'p BufferPool,
    world: &'p W,
    /// Where items are pushed and popped.
    top: Option<Owned<'p>>,
    /// All full or all empty, but for the moments after the two change places.
    reserve: Option<Owned<'p>>,
}

/// No memory for another object could be had; it was not remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused;

impl<'p, W: World> GrayQueue<'p, W> {
    pub(crate) fn new(pool: &'p BufferPool, world: &'p W) -> Self {
        GrayQueue {
            pool,
            world,
            top: None,
            reserve: None,
        }
    }

    #[inline]
    pub(crate) fn push(&mut self, item: usize) -> Result<(), Refused> {
        if let Some(top) = &mut self.top
            && top.push(item)
        {
            return Ok(());
        }
        self.push_slow(item)
    }

    #[cold]
    fn push_slow(&mut self, item: usize) -> Result<(), Refused> {
        std::mem::swap(&mut self.top, &mut self.reserve);
        if let Some(top) = &mut self.top
            && top.push(item)
        {
            return Ok(());
        }
        let mut fresh = self.pool.take_empty(self.world).ok_or(Refused)?;
        fresh.push(item);
        // What was on top, if anything, is full and goes to the others.
        self.top = Some(fresh);
        Ok(())
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<usize> {
        if let Some(item) = self.top.as_mut().and_then(Owned::pop) {
            return Some(item);
        }
        std::mem::swap(&mut self.top, &mut self.reserve);
        self.top.as_mut().and_then(Owned::pop)
    }

    /// Makes a buffer taken from the pool the next work. The queue is empty.
    pub(crate) fn adopt(&mut self, work: Owned<'p>) {
        debug_assert!(self.is_empty());
        self.top = Some(work);
    }

    /// Lets the others have about half of the work, if there is enough to share.
    pub(crate) fn share(&mut self) {
        if self
            .reserve
            .as_ref()
            .is_some_and(|reserve| reserve.len() > 0)
        {
            self.reserve = None;
            return;
        }
        let Some(top) = &mut self.top else { return };
        let half = top.len() / 2;
        if half == 0 {
            return;
        }
        let Some(mut given) = self
            .reserve
            .take()
            .or_else(|| self.pool.take_empty(self.world))
        else {
            return;
        };
        for _ in 0..half {
            if let Some(item) = top.pop() {
                given.push(item);
            }
        }
    }

    /// Gives everything to the pool.
    pub(crate) fn flush(&mut self) {
        self.top = None;
        self.reserve = None;
    }

    pub(crate) fn is_empty(&self) -> bool {
        [&self.top, &self.reserve]
            .into_iter()
            .flatten()
            .all(|buffer| buffer.len() == 0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::buffer::ITEMS;
    use crate::testing::SimWorld;

    /// More than two buffers hold.
    const MOST: usize = 5 * ITEMS / 2;

    #[derive(Clone, Debug)]
    enum Step {
        Push(usize),
        Pop(usize),
        Share,
        Adopt,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (1..MOST).prop_map(Step::Push),
            (1..MOST).prop_map(Step::Pop),
            Just(Step::Share),
            Just(Step::Adopt),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 3 } else { 64 }))]

        #[test]
        fn items_come_out_once(steps in prop::collection::vec(step(), 0..if cfg!(miri) { 20 } else { 40 })) {
            let world = SimWorld::new(1);
            let mut pool = BufferPool::new(&world).unwrap();
            let mut inside = BTreeSet::new();
            {
                let mut queue = GrayQueue::new(&pool, &world);
                let mut next = 0;
                for step in steps {
                    match step {
                        Step::Push(n) => for _ in 0..n {
                            queue.push(next).unwrap();
                            inside.insert(next);
                            next += 1;
                        },
                        Step::Pop(n) => for _ in 0..n {
                            if let Some(item) = queue.pop() {
                                prop_assert!(inside.remove(&item));
                            }
                        },
                        Step::Share => queue.share(),
                        Step::Adopt => if queue.is_empty()
                            && let Some(work) = pool.take_full() { queue.adopt(work) },
                    }
                }
                queue.flush();
                prop_assert!(queue.pop().is_none());
            }
            while let Some(mut buffer) = pool.take_full() {
                while let Some(item) = buffer.pop() {
                    prop_assert!(inside.remove(&item));
                }
            }
            prop_assert!(inside.is_empty());
            pool.dispose(&world);
        }
    }

    #[test]
    fn refusal_is_reported_and_keeps_what_was_there() {
        let world = SimWorld::new(1);
        let mut pool = BufferPool::new(&world).unwrap();
        world.allow_memory(0);
        let mut count = 0;
        {
            let mut queue = GrayQueue::new(&pool, &world);
            while queue.push(count).is_ok() {
                count += 1;
            }
            queue.flush();
        }
        let mut found = 0;
        while let Some(mut buffer) = pool.take_full() {
            while buffer.pop().is_some() {
                found += 1;
            }
        }
        assert_eq!(found, count);
        world.allow_memory(usize::MAX);
        pool.dispose(&world);
    }
}
