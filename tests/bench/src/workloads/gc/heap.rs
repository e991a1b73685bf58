//! What the workloads ask of a collector, so that each is written once for all of them.
//!
//! A collector may move objects or not, and find its roots by itself or be told of them. Invariant of the workloads: a
//! [`Heap::Node`] is not used after the next allocation unless it was kept, and what is kept is released in reverse order. Where
//! nothing moves and the collector finds its roots by itself, keeping and releasing compile to nothing.
//!
//! A node is two pointers and a word in each; a table is a large array of pointers, which no collector moves and which stays
//! to the end of the program.

use std::time::Duration;

/// A mutator's view of a collected heap.
pub trait Heap {
    /// A pointer to a node, good until the next allocation.
    type Node: Copy;
    /// A node that survives allocations until it is released.
    type Kept: Copy;
    /// A table of nodes.
    type Table: Copy;
    /// A pointer to a byte string, good until the next allocation.
    type Bytes: Copy;
    /// A table of byte strings.
    type BytesTable: Copy;

    /// A new node.
    fn node(
        &mut self,
        left: Option<Self::Kept>,
        right: Option<Self::Kept>,
        word: u64,
    ) -> Self::Node;
    /// The first pointer of a node.
    fn left(&self, node: Self::Node) -> Option<Self::Node>;
    /// The second pointer of a node.
    fn right(&self, node: Self::Node) -> Option<Self::Node>;
    /// The word of a node.
    fn word(&self, node: Self::Node) -> u64;
    /// Are both the same node?
    fn same(&self, a: Self::Node, b: Self::Node) -> bool;
    /// Replaces the first pointer of a node.
    fn set_left(&mut self, node: Self::Node, to: Option<Self::Node>);
    /// Replaces the second pointer of a node.
    fn set_right(&mut self, node: Self::Node, to: Option<Self::Node>);

    /// Keeps a node across allocations.
    fn keep(&mut self, node: Self::Node) -> Self::Kept;
    /// Where a kept node is now.
    fn kept(&self, kept: Self::Kept) -> Self::Node;
    /// Releases the nodes kept last, `count` of them.
    fn release(&mut self, count: usize);

    /// A new table of `len` empty places.
    fn table(&mut self, len: usize) -> Self::Table;
    /// What stands in a place of a table.
    fn entry(&self, table: Self::Table, place: usize) -> Option<Self::Node>;
    /// Replaces what stands in a place of a table.
    fn set_entry(&mut self, table: Self::Table, place: usize, to: Option<Self::Node>);

    /// A new byte string, a copy of `contents`.
    fn bytes(&mut self, contents: &[u8]) -> Self::Bytes;
    /// Its contents.
    fn contents<'a>(&'a self, bytes: &'a Self::Bytes) -> &'a [u8];
    /// A new table of `len` empty places for byte strings.
    fn bytes_table(&mut self, len: usize) -> Self::BytesTable;
    /// What stands in a place of a table of byte strings.
    fn bytes_entry(&self, table: Self::BytesTable, place: usize) -> Option<Self::Bytes>;
    /// Replaces what stands in a place of a table of byte strings.
    fn set_bytes_entry(&mut self, table: Self::BytesTable, place: usize, to: Self::Bytes);

    /// Runs a whole collection and waits for its end.
    fn collect(&mut self);
}

/// A heap that several threads, or goroutines, use.
pub trait Shared: Heap + Sized + 'static {
    /// A started thread or goroutine.
    type Handle<T: Send + 'static>;

    /// Starts one with a view of the heap of its own.
    fn start<T: Send + 'static>(
        work: impl FnOnce(&mut Self) -> T + Send + 'static,
    ) -> Self::Handle<T>;
    /// Waits for it.
    fn join<T: Send + 'static>(handle: Self::Handle<T>) -> T;
    /// Lets others run.
    fn yield_now();
    /// Waits for `time` to pass.
    fn sleep(time: Duration);
    /// The longest stop of all threads that the collector tells of, if it does.
    fn longest_pause() -> Option<Duration>;
}
