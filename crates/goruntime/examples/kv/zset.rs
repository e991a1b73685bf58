//! `SortedSet`: members ordered by score and then by name, found by name, by score or by rank: a skip list beside a dictionary.
//!
//! William Pugh's skip list ("Skip lists: a probabilistic alternative to balanced trees", 1990) with, on every link, the number of nodes that it
//! passes over, which makes ranks cost the same as searches (as in Redis's `t_zset.c`).
//!
//! Invariant: `by_name` has an entry for each node of the list and no other; links of each level are in order; the span of a link is the
//! distance between the ranks of its ends, and for a link to nowhere the number of nodes behind. Three nodes in four have only the lowest link,
//! which lies in the node itself.

use crate::count::Count;
use crate::dict::{Dict, Str};
use crate::random;
use goruntime::gc::{Array, Gc, GcPtr, Trace};
use std::iter::successors;

/// Levels of links: enough for 4^24 members.
const LEVELS: usize = 24;

#[derive(Trace)]
struct Link {
    next: GcPtr<Node>,
    span: Count,
}

/// A member and its score.
#[derive(Trace)]
pub struct Node {
    score: f64,
    member: Str,
    previous: GcPtr<Node>,
    lowest: Link,
    higher: GcPtr<Array<Link>>,
}

/// A set of members ordered by score. See the [module](self).
#[derive(Trace)]
pub struct SortedSet {
    by_name: Dict<GcPtr<Node>>,
    /// Before all members; has a link on each level.
    head: Gc<Node>,
    /// Levels in use.
    height: Count,
}

/// The way to a place in the list: on each level the last node before it, and that node's rank, where the head has rank 0 and the
/// first member rank 1.
struct Path {
    nodes: [Gc<Node>; LEVELS],
    ranks: [usize; LEVELS],
}

/// One end of a range of scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    /// The score.
    pub score: f64,
    /// Is that score itself outside?
    pub exclusive: bool,
}

impl Bound {
    fn is_below(self, score: f64) -> bool {
        if self.exclusive {
            self.score < score
        } else {
            self.score <= score
        }
    }

    fn is_above(self, score: f64) -> bool {
        if self.exclusive {
            self.score > score
        } else {
            self.score >= score
        }
    }
}

impl Link {
    fn new() -> Link {
        Link {
            next: GcPtr::null(),
            span: Count::new(0),
        }
    }
}

impl Node {
    fn new(score: f64, member: Str, height: usize) -> Gc<Node> {
        let higher = (height > 1).then(|| Gc::array(height - 1, |_| Link::new()));
        Gc::new(Node {
            score,
            member,
            previous: GcPtr::null(),
            lowest: Link::new(),
            higher: GcPtr::new(higher),
        })
    }

    /// The score.
    pub fn score(&self) -> f64 {
        self.score
    }

    /// The member.
    pub fn member(&self) -> Str {
        self.member
    }

    /// Calls `use_it` with the link of a level that the node has.
    #[inline]
    fn link<R>(&self, level: usize, use_it: impl FnOnce(&Link) -> R) -> R {
        if level == 0 {
            return use_it(&self.lowest);
        }
        let higher = self
            .higher
            .load()
            .expect("a node on a higher level has links there");
        use_it(&higher[level - 1])
    }

    fn next(&self, level: usize) -> Option<Gc<Node>> {
        self.link(level, |link| link.next.load())
    }

    fn span(&self, level: usize) -> usize {
        self.link(level, |link| link.span.get())
    }

    fn height(&self) -> usize {
        1 + self.higher.load().map_or(0, |higher| higher.len())
    }

    /// Forgets the neighbours: see [`crate::dict`].
    fn cut_off(&self) {
        self.previous.store(None);
        self.lowest.next.store(None);
        self.higher.store(None);
    }

    fn is_before(&self, score: f64, member: &[u8]) -> bool {
        self.score < score || (self.score == score && self.member.as_slice() < member)
    }
}

impl SortedSet {
    /// An empty set.
    pub fn new() -> SortedSet {
        SortedSet {
            by_name: Dict::new(),
            head: Node::new(f64::NEG_INFINITY, Gc::bytes(b""), LEVELS),
            height: Count::new(1),
        }
    }

    /// The number of members.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Has it no members?
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The score of a member.
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        Some(self.node(member)?.score)
    }

    /// Gives `member` a score, whether or not it had one. The score must be a number. Gives the score that it had.
    pub fn insert(&self, member: &[u8], score: f64) -> Option<f64> {
        let (entry, _) = self
            .by_name
            .find_or_insert(member, || (Gc::bytes(member), GcPtr::null()));
        let old = entry.value.load();
        if let Some(old) = old {
            if old.score == score {
                return Some(old.score);
            }
            self.unlink(old);
        }
        entry.value.store(Some(self.link(entry.key(), score)));
        old.map(|old| old.score)
    }

    /// Takes a member out. Gives the score that it had.
    pub fn remove(&self, member: &[u8]) -> Option<f64> {
        let node = self.by_name.remove(member)?.value.load()?;
        self.unlink(node);
        Some(node.score)
    }

    /// The number of members before this one.
    pub fn rank(&self, member: &[u8]) -> Option<usize> {
        let node = self.node(member)?;
        Some(self.path(|other| other.is_before(node.score, member)).ranks[0])
    }

    /// The members from the one at `rank` on, upwards. The set must not change meanwhile.
    pub fn ascending(&self, rank: usize) -> impl Iterator<Item = Gc<Node>> + use<> {
        successors(self.at_rank(rank), |node| node.next(0))
    }

    /// The members from the one at `rank` on, downwards; `rank` counts from the lowest. The set must not change meanwhile.
    pub fn descending(&self, rank: usize) -> impl Iterator<Item = Gc<Node>> + use<> {
        successors(self.at_rank(rank), |node| node.previous.load())
    }

    /// The ranks of the members with scores between two bounds.
    pub fn ranks_between(&self, low: Bound, high: Bound) -> std::ops::Range<usize> {
        let from = self.path(|node| !low.is_below(node.score)).ranks[0];
        let to = self.path(|node| high.is_above(node.score)).ranks[0];
        from..to.max(from)
    }

    /// Visits some members and gives the cursor to go on with, as [`Dict::scan`].
    pub fn scan(&self, cursor: u64, mut visit: impl FnMut(Gc<Node>)) -> u64 {
        self.by_name.scan(cursor, |entry| {
            entry.value.load().into_iter().for_each(&mut visit)
        })
    }

    fn node(&self, member: &[u8]) -> Option<Gc<Node>> {
        self.by_name.find(member)?.value.load()
    }

    fn at_rank(&self, rank: usize) -> Option<Gc<Node>> {
        if rank >= self.len() {
            return None;
        }
        let (mut node, mut passed) = (self.head, 0);
        for level in (0..self.height.get()).rev() {
            while let Some(next) = node.next(level)
                && passed + node.span(level) <= rank + 1
            {
                passed += node.span(level);
                node = next;
            }
            if passed == rank + 1 {
                return Some(node);
            }
        }
        None
    }

    /// The way to the first node that is not `before`, which holds for all nodes up to there.
    fn path(&self, before: impl Fn(&Node) -> bool) -> Path {
        let mut path = Path {
            nodes: [self.head; LEVELS],
            ranks: [0; LEVELS],
        };
        let (mut node, mut rank) = (self.head, 0);
        for level in (0..self.height.get()).rev() {
            while let Some(next) = node.next(level).filter(|next| before(next)) {
                rank += node.span(level);
                node = next;
            }
            path.nodes[level] = node;
            path.ranks[level] = rank;
        }
        path
    }

    /// Links a new node for a member that has none. The dictionary has the member already.
    fn link(&self, member: Str, score: f64) -> Gc<Node> {
        let path = self.path(|node| node.is_before(score, member.as_slice()));
        let members = self.len() - 1;
        let height = random_height();
        for level in self.height.get()..height {
            self.head.link(level, |link| link.span.set(members));
        }
        self.height.set(self.height.get().max(height));

        let node = Node::new(score, member, height);
        let rank = path.ranks[0];
        for level in 0..height {
            path.nodes[level].link(level, |before| {
                let passed = rank - path.ranks[level];
                node.link(level, |link| {
                    link.next.store(before.next.load());
                    link.span.set(before.span.get() - passed);
                });
                before.next.store(Some(node));
                before.span.set(passed + 1);
            });
        }
        for level in height..self.height.get() {
            path.nodes[level].link(level, |before| before.span.add(1));
        }
        if rank > 0 {
            node.previous.store(Some(path.nodes[0]));
        }
        if let Some(next) = node.next(0) {
            next.previous.store(Some(node));
        }
        node
    }

    fn unlink(&self, node: Gc<Node>) {
        let path = self.path(|other| other.is_before(node.score, node.member.as_slice()));
        let height = node.height();
        for level in 0..self.height.get() {
            path.nodes[level].link(level, |before| {
                if level < height {
                    before.span.add(node.span(level));
                    before.next.store(node.next(level));
                }
                before.span.sub(1);
            });
        }
        if let Some(next) = node.next(0) {
            next.previous.store(node.previous.load());
        }
        node.cut_off();
        while self.height.get() > 1 && self.head.next(self.height.get() - 1).is_none() {
            self.height.sub(1);
        }
    }
}

/// One level more with probability one quarter each time.
fn random_height() -> usize {
    let extra = random::bits().trailing_ones() as usize / 2;
    (1 + extra).min(LEVELS)
}

#[cfg(test)]
#[path = "zset_tests.rs"]
mod tests;
