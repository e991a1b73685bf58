//! What a thread knows of the others: for each location the newest store that it cannot miss, for each thread how far it has followed it.
//!
//! Views only grow; joining two is the maximum of each entry. They are the operational reading of *happens before* (Kang et al., *A
//! promising semantics for relaxed-memory concurrency*, POPL 2017, without its promises).

/// A view. Entries beyond the end are 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    /// By location: the oldest store that may still be read, as its time stamp.
    pub(crate) stores: Vec<u32>,
    /// By thread: its operations up to this one happened before.
    pub(crate) clock: Vec<u32>,
}

fn join(into: &mut Vec<u32>, from: &[u32]) {
    if into.len() < from.len() {
        into.resize(from.len(), 0);
    }
    for (a, b) in into.iter_mut().zip(from) {
        *a = (*a).max(*b);
    }
}

fn raise(entries: &mut Vec<u32>, at: usize, to: u32) {
    if entries.len() <= at {
        entries.resize(at + 1, 0);
    }
    entries[at] = entries[at].max(to);
}

impl View {
    pub(crate) fn join(&mut self, other: &View) {
        join(&mut self.stores, &other.stores);
        join(&mut self.clock, &other.clock);
    }

    pub(crate) fn store(&self, location: usize) -> u32 {
        self.stores.get(location).copied().unwrap_or(0)
    }

    pub(crate) fn raise_store(&mut self, location: usize, to: u32) {
        raise(&mut self.stores, location, to);
    }

    pub(crate) fn clock(&self, thread: usize) -> u32 {
        self.clock.get(thread).copied().unwrap_or(0)
    }

    pub(crate) fn tick(&mut self, thread: usize) -> u32 {
        let now = self.clock(thread) + 1;
        raise(&mut self.clock, thread, now);
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joining_takes_the_larger_of_each_and_missing_is_zero() {
        let mut a = View::default();
        a.raise_store(2, 5);
        let mut b = View::default();
        b.raise_store(0, 3);
        b.raise_store(2, 4);
        assert_eq!(b.tick(1), 1);
        a.join(&b);
        assert_eq!(
            (a.store(0), a.store(1), a.store(2), a.store(9)),
            (3, 0, 5, 0)
        );
        assert_eq!((a.clock(0), a.clock(1)), (0, 1));
    }
}
