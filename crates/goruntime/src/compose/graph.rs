//! The graph of memory: what leads to what, found with the world stopped.
//!
//! For reports, not for collecting: the collector takes all of the Rust heap for roots, since it cannot know who uses it. Here a block of it counts as reachable only if
//! something leads there, conservatively: a word that looks like an address in it. So a report can say by which way something is held, and which blocks and
//! goroutines nothing leads to any more.
//!
//! ```text
//!  holders: statics, threads, goroutines ─► collected objects (words that their types say are pointers)
//!                                       └─► malloc blocks     (all words)
//! ```
//!
//! The walk goes breadth first, so the way by which a node was found is a shortest one. Nodes are numbered in the order in which they are found, and looked through in that
//! order: the list of nodes is the queue.
//!
//! Invariant: nothing is allocated in the heap while it is walked. Tables lie in memory of their own, which is no root.

use super::heap::{scan_object, type_of};
pub(crate) use super::roots::Holder;
use super::roots::{Held, Loaded, Sources, held, statics};
use crate::gc::TypeInfo;
use crate::metrics::pauses;
use crate::world::memory::Table;
use crate::world::modules::{Module, with_modules};
use crate::world::stop;
use gogc::WordSink;
use gomem::{CollectedKind, MallocShare, Object};
use gosched::goroutine::WaitsOn;
use std::io;
use std::ops::Range;
use std::ptr::with_exposed_provenance;

const WORD: usize = size_of::<usize>();

/// What a node is.
#[derive(Clone, Copy)]
pub(crate) enum What {
    /// One of the holders, by its place in their list.
    Holder(u32),
    /// A collected object of a type that is known.
    Typed(&'static TypeInfo),
    /// A collected object of which only its kind, and the tag of its span are known.
    Object(CollectedKind, u64),
    /// A block of the Rust heap.
    Block,
}

/// A node, and the first way by which it was found.
#[derive(Clone, Copy)]
pub(crate) struct Node {
    pub(crate) what: What,
    /// The address of the first byte; 0 for a holder.
    pub(crate) start: usize,
    pub(crate) size: usize,
    /// The number of the node that it was found from; its own for a holder.
    pub(crate) from: u32,
    /// Where in that: in bytes from its start, or the address of the word for a holder.
    pub(crate) at: usize,
    /// Its edges, once it was looked through.
    first_edge: usize,
    edges: u32,
}

/// A way from a node to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edge {
    pub(crate) to: u32,
    /// As in [`Node`], cut to so many bits.
    pub(crate) at: u32,
}

/// The graph, as far as it has been walked.
pub(crate) struct Graph {
    nodes: Table<Node>,
    edges: Table<Edge>,
    keeps_edges: bool,
    /// Numbers of nodes plus 1 by hash of their address, 0 for none. At most half full.
    index: Table<u32>,
    /// Blocks with more than a page, by address.
    large: Table<(usize, usize)>,
    bounds: Range<usize>,
    /// The first node that was not yet looked through.
    next: usize,
    failed: bool,
}

/// A hash that differs in its high bits.
fn hash(address: usize) -> usize {
    (address >> 4).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 16
}

impl Graph {
    /// An empty graph. Called with the world stopped.
    fn new(keeps_edges: bool) -> Option<Graph> {
        const FIRST: usize = 1 << 16;
        let mut graph = Graph {
            nodes: Table::new(),
            edges: Table::new(),
            keeps_edges,
            // SAFETY: numbers.
            index: unsafe { Table::zeroed(FIRST) }?,
            large: Table::new(),
            bounds: gomem::heap().bounds(),
            next: 0,
            failed: false,
        };
        // Notes which blocks lie in caches, as `find_malloc_block` needs it.
        for share in gomem::heap().malloc_shares() {
            MallocShare::for_each_large_block(&share, |block| {
                graph.failed |= !graph.large.push((block.start, block.end));
            });
        }
        graph.large.sort_unstable();
        Some(graph)
    }

    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The edges of a node that was looked through.
    pub(crate) fn edges(&self, node: &Node) -> &[Edge] {
        &self.edges[node.first_edge..][..node.edges as usize]
    }

    /// The live block of the Rust heap that an address lies in.
    fn block(&self, address: usize) -> Option<Range<usize>> {
        if let Some(block) = gomem::heap().find_malloc_block(address) {
            return Some(block);
        }
        let after = self.large.partition_point(|block| block.0 <= address);
        let &(start, end) = self.large.get(after.checked_sub(1)?)?;
        (address < end).then_some(start..end)
    }

    /// The object or block that an address lies in: its first byte, its size, and what it is.
    fn resolve(&self, address: usize) -> Option<(usize, usize, What)> {
        if !self.bounds.contains(&address) {
            return None;
        }
        if let Some(object) = gomem::heap().find(address) {
            let what = match type_of(object) {
                Some(info) => What::Typed(info),
                None => What::Object(object.kind(), object.tag()),
            };
            return Some((object.base().addr().get(), object.size(), what));
        }
        let block = self.block(address)?;
        Some((block.start, block.len(), What::Block))
    }

    /// The place in the index for what starts at an address.
    fn place(&self, start: usize) -> usize {
        let mut at = hash(start);
        loop {
            let place = at % self.index.len();
            match self.index[place] {
                0 => return place,
                number if self.nodes[number as usize - 1].start == start => return place,
                _ => at += 1,
            }
        }
    }

    /// The number of the node that the address lies in, if that was found.
    pub(crate) fn find(&self, address: usize) -> Option<usize> {
        let (start, ..) = self.resolve(address)?;
        (self.index[self.place(start)] as usize).checked_sub(1)
    }

    /// Whether the address lies in an object or a block.
    fn is_in_heap(&self, address: usize) -> bool {
        self.resolve(address).is_some()
    }

    fn push(&mut self, what: What, start: usize, size: usize, from: u32, at: usize) {
        self.failed |= !self.nodes.push(Node {
            what,
            start,
            size,
            from,
            at,
            first_edge: self.edges.len(),
            edges: 0,
        });
    }

    /// Takes note that the word `at` of the node `from` is this one.
    fn see(&mut self, word: usize, from: u32, at: usize) {
        if self.failed || !self.bounds.contains(&word) {
            return;
        }
        let Some((start, size, what)) = self.resolve(word) else {
            return;
        };
        let mut place = self.place(start);
        let number = match self.index[place] {
            0 => {
                if 2 * (self.nodes.len() + 1) > self.index.len() {
                    self.grow_index();
                    if self.failed {
                        return;
                    }
                    place = self.place(start);
                }
                self.push(what, start, size, from, at);
                self.index[place] = self.nodes.len() as u32;
                self.nodes.len() as u32
            }
            number => number,
        };
        if self.keeps_edges {
            let edge = Edge {
                to: number - 1,
                at: at as u32,
            };
            self.failed |= !self.edges.push(edge);
            self.nodes[from as usize].edges += 1;
        }
    }

    fn grow_index(&mut self) {
        // SAFETY: numbers.
        let Some(index) = (unsafe { Table::zeroed(2 * self.index.len()) }) else {
            self.failed = true;
            return;
        };
        self.index = index;
        for number in 0..self.nodes.len() {
            let node = self.nodes[number];
            if node.start != 0 {
                let place = self.place(node.start);
                self.index[place] = number as u32 + 1;
            }
        }
    }

    /// Adds a holder, and looks through what it holds.
    fn hold(&mut self, number: usize, held: &Held) {
        let node = self.nodes.len() as u32;
        self.push(What::Holder(number as u32), 0, 0, node, 0);
        self.begin(node as usize);
        for (kind, area) in &held.areas {
            for at in area.clone().step_by(WORD) {
                // SAFETY: an area that was found in this stop: mapped, readable, and on word bounds.
                let word = unsafe { gogc::word::load(with_exposed_provenance(at)) };
                self.see(word, node, at);
                // As the collector has it: the end of an object may be all that is left of a pointer to it.
                if let Some(last) = kind.end_at(word).filter(|&last| ends_an_object(last)) {
                    self.see(last, node, at);
                }
            }
        }
    }

    /// A node is about to be looked through.
    fn begin(&mut self, node: usize) {
        if let Some(record) = self.nodes.get_mut(node) {
            record.first_edge = self.edges.len();
        }
    }

    /// Looks through all that was found.
    fn finish(&mut self) {
        while self.next < self.nodes.len() && !self.failed {
            let number = self.next;
            self.next += 1;
            let node = self.nodes[number];
            match node.what {
                What::Holder(_) => {}
                What::Block => {
                    self.begin(number);
                    for at in (0..node.size & !(WORD - 1)).step_by(WORD) {
                        // SAFETY: a live block of the stopped world, on a word bound.
                        let word =
                            unsafe { gogc::word::load(with_exposed_provenance(node.start + at)) };
                        self.see(word, number as u32, at);
                    }
                }
                What::Typed(_) | What::Object(..) => {
                    self.begin(number);
                    if let Some(object) = gomem::heap().find(node.start) {
                        let mut sink = Words {
                            graph: self,
                            of: number as u32,
                            object,
                        };
                        scan_object(object, &mut sink);
                    }
                }
            }
        }
    }
}

/// Is it the address of the last byte of a collected object?
fn ends_an_object(address: usize) -> bool {
    let object = gomem::heap().find(address);
    object.is_some_and(|object| object.base().addr().get() + object.size() - 1 == address)
}

/// Takes the pointers of an object.
struct Words<'g> {
    graph: &'g mut Graph,
    of: u32,
    object: Object<'static>,
}

impl WordSink for Words<'_> {
    fn word(&mut self, word: usize) {
        self.graph.see(word, self.of, 0);
    }

    unsafe fn masked(&mut self, base: *const usize, mask: u64) {
        let start = self.object.base().addr().get();
        for i in (0..64).filter(|i| mask >> i & 1 == 1) {
            let at = base.wrapping_add(i);
            // SAFETY: one of the words asked for, which are readable by the caller's obligations.
            let word = unsafe { gogc::word::load(at) };
            self.graph.see(word, self.of, at.addr() - start);
        }
    }
}

/// Everything that holds something.
pub(crate) struct Holders {
    all: Vec<Held>,
    modules: Vec<Module>,
}

impl Holders {
    pub(crate) fn get(&self, number: u32) -> Holder {
        self.all[number as usize].holder
    }

    /// The file of a module; empty for the program.
    pub(crate) fn module(&self, number: usize) -> &str {
        &self.modules[number].name
    }
}

/// Stops the world and calls `walk`, which must not allocate, with an empty graph and all holders. Returns those, and what it returned.
///
/// # Errors
/// If the world cannot be stopped; if the program does not have goruntime's allocator; if there is no memory for the graph.
fn stopped<R>(
    keeps_edges: bool,
    walk: impl FnOnce(&mut Graph, &[Held]) -> R,
) -> io::Result<(Graph, Holders, R)> {
    if !crate::gc::has_allocator() {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "memory can be walked only if goruntime::GoMalloc is the global allocator",
        ));
    }
    super::gates::install()?;
    let sources = Sources::new();
    with_modules(|modules| {
        let modules: Vec<Module> = modules.to_vec();
        let loaded = Loaded::of(&modules).map_err(io::Error::other)?;
        let mut all = Vec::new();
        for (number, module) in modules.iter().enumerate() {
            all.push(Held {
                holder: Holder::Module(number),
                tp: 0,
                areas: statics(std::slice::from_ref(module)).map_err(io::Error::other)?,
                waits_on: None,
            });
        }
        let pause = pauses::OTHER.begin();
        let walked = stop::with_world_stopped(&[], |stopped| {
            let _until_here = pause.stopped();
            all.extend(held(&loaded, stopped, &sources)?);
            let mut graph = Graph::new(keeps_edges);
            let result = graph.as_mut().map(|graph| walk(graph, &all));
            Ok(graph.zip(result))
        });
        let walked = walked.and_then(|result| result).map_err(io::Error::other)?;
        match walked.filter(|(graph, _)| !graph.failed) {
            Some((graph, result)) => Ok((graph, Holders { all, modules }, result)),
            None => Err(io::Error::from(io::ErrorKind::OutOfMemory)),
        }
    })
}

/// Everything that is reachable, with all ways.
///
/// # Errors
/// As [`stopped`].
pub(crate) fn everything() -> io::Result<(Graph, Holders)> {
    let (graph, holders, ()) = stopped(true, |graph, all| {
        for (number, held) in all.iter().enumerate() {
            graph.hold(number, held);
        }
        graph.finish();
    })?;
    Ok((graph, holders))
}

/// Walks until the object at `!hidden` is found, whatever is held by the one with the thread pointer `asks` coming last. Returns the number of its node.
///
/// # Errors
/// As [`stopped`].
pub(crate) fn way_to(hidden: usize, asks: usize) -> io::Result<(Graph, Holders, Option<usize>)> {
    stopped(false, |graph, all| {
        for last in [false, true] {
            for (number, held) in all.iter().enumerate() {
                if (held.tp == asks) == last {
                    graph.hold(number, held);
                }
            }
            graph.finish();
            let found = graph.find(!hidden);
            if found.is_some() {
                return found;
            }
        }
        None
    })
}

/// Walks from everybody but goroutines that wait for something; then from those that wait for something to which a way was found, as long as there are such. Returns
/// the numbers of the others: nobody can wake them.
///
/// # Errors
/// As [`stopped`].
pub(crate) fn unwakeable() -> io::Result<Vec<u64>> {
    let (_, holders, left) = stopped(false, |graph, all| {
        // SAFETY: numbers.
        let mut reached = unsafe { Table::<u8>::zeroed(all.len()) }?;
        loop {
            let mut found = false;
            for (number, held) in all.iter().enumerate() {
                if reached[number] == 0 && can_be_woken(graph, held) {
                    reached[number] = 1;
                    found = true;
                    graph.hold(number, held);
                }
            }
            if !found {
                return Some(reached);
            }
            graph.finish();
        }
    })?;
    let left = left.ok_or(io::ErrorKind::OutOfMemory)?;
    let unreached = holders
        .all
        .iter()
        .zip(left.iter())
        .filter(|(_, reached)| **reached == 0);
    Ok(unreached
        .filter_map(|(held, _)| match held.holder {
            Holder::Goroutine(id) => Some(id),
            _ => None,
        })
        .collect())
}

/// Is it awake, or may it be woken, as far as is known?
fn can_be_woken(graph: &Graph, held: &Held) -> bool {
    let Some(waits_on) = held.waits_on.filter(WaitsOn::is_up_to_others) else {
        return true;
    };
    let mut reached = false;
    // SAFETY: the world has been stopped since.
    unsafe {
        waits_on.for_each(|address| {
            // What is not in the heap, a static or a place on a stack, is there for all.
            reached |= !graph.is_in_heap(address) || graph.find(address).is_some();
        });
    }
    reached
}
