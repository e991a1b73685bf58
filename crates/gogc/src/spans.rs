//! One marker's queue of spans whose objects wait to be scanned.
//!
//! First in, first out: the longer a span waits, the more of its objects are marked by the time that it is scanned, and a span is queued anew each time that it
//! was scanned too early. Each span is in at most one queue, so all queues together hold no more entries than there are spans.
//!
//! The entries lie in buffers of the shared pool, but those between the first and the last are kept in a chain of this queue's own, for the pool's
//! stack would turn their order round. As with [`GrayQueue`](crate::gray::GrayQueue), nothing is lost when the queue is dropped: its buffers go to the pool.

use crate::buffer::{BufferPool, Chain, Owned};
use crate::env::{SpanId, World};
use crate::gray::Refused;

/// Marks an entry of a buffer that is a span.
pub(crate) const SPAN_TAG: usize = 2;

pub(crate) struct SpanQueue<'p, W> {
    pool: &'p BufferPool,
    world: &'p W,
    /// Where entries are taken, the one with the index `taken` next.
    front: Option<Owned<'p>>,
    taken: usize,
    /// Full buffers between the two, the oldest first.
    middle: Chain<'p>,
    /// Where entries are added.
    back: Option<Owned<'p>>,
}

impl<'p, W: World> SpanQueue<'p, W> {
    pub(crate) fn new(pool: &'p BufferPool, world: &'p W) -> Self {
        SpanQueue {
            pool,
            world,
            front: None,
            taken: 0,
            middle: Chain::new(pool),
            back: None,
        }
    }

    #[inline]
    pub(crate) fn push(&mut self, span: SpanId) -> Result<(), Refused> {
        let item = span.0 | SPAN_TAG;
        // Most often there is one buffer, which is the front and the back.
        let last = match &mut self.back {
            None if self.middle.is_empty() => &mut self.front,
            back => back,
        };
        if let Some(last) = last
            && last.push(item)
        {
            return Ok(());
        }
        self.push_slow(item)
    }

    #[cold]
    fn push_slow(&mut self, item: usize) -> Result<(), Refused> {
        let mut fresh = self.pool.take_empty(self.world).ok_or(Refused)?;
        fresh.push(item);
        if let Some(full) = self.back.replace(fresh) {
            self.middle.append(full);
        }
        Ok(())
    }

    /// The span that has waited longest.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<SpanId> {
        loop {
            if let Some(front) = &mut self.front {
                if let Some(item) = front.get(self.taken) {
                    self.taken += 1;
                    return Some(SpanId(item & !SPAN_TAG));
                }
                front.clear();
            }
            self.taken = 0;
            // An empty buffer that is not the only one goes back to the pool.
            self.front = Some(self.middle.take().or_else(|| self.back.take())?);
        }
    }

    /// The one that will be taken after `ahead` others, if that is easy to tell.
    #[inline]
    pub(crate) fn peek(&self, ahead: usize) -> Option<SpanId> {
        let item = self.front.as_ref()?.get(self.taken + ahead)?;
        Some(SpanId(item & !SPAN_TAG))
    }

    /// Makes a buffer of spans taken from the pool the next work. The queue is empty.
    pub(crate) fn adopt(&mut self, work: Owned<'p>) {
        debug_assert!(self.is_empty());
        if let Some(front) = &mut self.front {
            // What has been taken from it is not to go to the pool with it.
            front.clear();
        }
        self.front = Some(work);
        self.taken = 0;
    }

    /// Lets the others have a part of the work, if there is enough to share.
    pub(crate) fn share(&mut self) {
        if self.middle.take().is_some() {
            // Dropped, it goes to the pool.
            return;
        }
        let Some(front) = &mut self.front else { return };
        let half = (front.len() - self.taken) / 2;
        if half == 0 {
            return;
        }
        let Some(mut given) = self.pool.take_empty(self.world) else {
            return;
        };
        for _ in 0..half {
            if let Some(item) = front.pop() {
                given.push(item);
            }
        }
    }

    /// Gives everything to the pool.
    pub(crate) fn flush(&mut self) {
        #[cfg(explore)]
        if goexplore::planted("a marker leaves with spans in its queue") {
            while self.pop().is_some() {}
        }
        if let Some(front) = &mut self.front {
            front.forget_first(self.taken);
        }
        self.taken = 0;
        self.front = None;
        while self.middle.take().is_some() {}
        self.back = None;
    }

    pub(crate) fn is_empty(&self) -> bool {
        let front = self.front.as_ref().map_or(0, Owned::len) - self.taken;
        front == 0 && self.middle.is_empty() && self.back.as_ref().map_or(0, Owned::len) == 0
    }
}

impl<W> Drop for SpanQueue<'_, W> {
    fn drop(&mut self) {
        if let Some(front) = &mut self.front {
            front.forget_first(self.taken);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::collections::VecDeque;

    use super::*;
    use crate::testing::SimWorld;

    #[derive(Clone, Debug)]
    enum Step {
        Push(usize),
        Pop(usize),
        Share,
        Adopt,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (1usize..700).prop_map(Step::Push),
            4 => (1usize..700).prop_map(Step::Pop),
            1 => Just(Step::Share),
            1 => Just(Step::Adopt),
        ];
        prop::collection::vec(step, 1..40)
    }

    fn span(number: usize) -> SpanId {
        SpanId((number + 1) * 64)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 200 }))]

        /// What was put in and not shared comes out in order; what was shared is in the pool, and nothing is anywhere twice.
        #[test]
        fn spans_come_out_in_order(steps in steps()) {
            let world = SimWorld::new(1);
            let mut pool = BufferPool::new(&world).unwrap();
            let mut given = Vec::new();
            let mut next = 0;
            let mut model = VecDeque::new();
            {
                let mut queue = SpanQueue::new(&pool, &world);
                for step in steps {
                    match step {
                        Step::Push(n) => for _ in 0..n {
                            queue.push(span(next)).unwrap();
                            model.push_back(span(next).0);
                            next += 1;
                        },
                        Step::Pop(n) => for _ in 0..n {
                            if let Some(ahead) = queue.peek(0) {
                                prop_assert_eq!(Some(&ahead.0), model.front());
                            }
                            let popped = queue.pop().map(|span| span.0);
                            prop_assert_eq!(popped, model.pop_front());
                        },
                        Step::Share => {
                            queue.share();
                            while let Some(mut buffer) = pool.take_full() {
                                while let Some(item) = buffer.pop() {
                                    let span = item & !SPAN_TAG;
                                    let before = model.len();
                                    model.retain(|&other| other != span);
                                    prop_assert_eq!(model.len(), before - 1, "shared what was not there");
                                    given.push(span);
                                }
                            }
                        },
                        Step::Adopt => if queue.is_empty() && !given.is_empty() {
                            let mut buffer = pool.take_empty(&world).unwrap();
                            let given = std::mem::take(&mut given);
                            for &span in &given[..given.len().min(2)] {
                                buffer.push(span | SPAN_TAG);
                                model.push_back(span);
                            }
                            queue.adopt(buffer);
                        },
                    }
                    prop_assert_eq!(queue.is_empty(), model.is_empty());
                }
                queue.flush();
                prop_assert!(queue.is_empty() && queue.pop().is_none());
            }
            let mut left = Vec::new();
            while let Some(mut buffer) = pool.take_full() {
                left.extend(std::iter::from_fn(|| buffer.pop()).map(|item| item & !SPAN_TAG));
            }
            left.sort_unstable();
            let mut expected: Vec<_> = model.into_iter().collect();
            expected.sort_unstable();
            prop_assert_eq!(left, expected);
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
            let mut queue = SpanQueue::new(&pool, &world);
            while queue.push(span(count)).is_ok() {
                count += 1;
            }
            assert!((0..count).all(|n| queue.pop() == Some(span(n))));
            assert!(queue.is_empty());
        }
        world.allow_memory(usize::MAX);
        pool.dispose(&world);
    }
}
