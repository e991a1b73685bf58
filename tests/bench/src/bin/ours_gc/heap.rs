//! The workloads' heap on goruntime, by its public interface alone.
//!
//! The collector finds its roots by itself and moves nothing, so keeping is nothing.

use bench::workloads::gc::heap::{Heap, Shared};
use goruntime::JoinHandle;
use goruntime::gc::{Array, Gc, GcPtr, Trace};
use std::time::Duration;

/// A node. Its pointers change, so they are `GcPtr`.
#[derive(Trace)]
pub struct Node {
    left: GcPtr<Node>,
    right: GcPtr<Node>,
    word: u64,
}

/// A goroutine's view of the heap, of which there is one in the process.
pub struct Ours;

impl Heap for Ours {
    type Node = Gc<Node>;
    type Kept = Gc<Node>;
    type Table = Gc<Array<GcPtr<Node>>>;
    type Bytes = Gc<Array<u8>>;
    type BytesTable = Gc<Array<GcPtr<Array<u8>>>>;

    #[inline]
    fn node(&mut self, left: Option<Gc<Node>>, right: Option<Gc<Node>>, word: u64) -> Gc<Node> {
        Gc::new(Node {
            left: GcPtr::new(left),
            right: GcPtr::new(right),
            word,
        })
    }

    #[inline]
    fn left(&self, node: Gc<Node>) -> Option<Gc<Node>> {
        node.left.load()
    }

    #[inline]
    fn right(&self, node: Gc<Node>) -> Option<Gc<Node>> {
        node.right.load()
    }

    #[inline]
    fn word(&self, node: Gc<Node>) -> u64 {
        node.word
    }

    #[inline]
    fn same(&self, a: Gc<Node>, b: Gc<Node>) -> bool {
        a.ptr_eq(b)
    }

    #[inline]
    fn set_left(&mut self, node: Gc<Node>, to: Option<Gc<Node>>) {
        node.left.store(to);
    }

    #[inline]
    fn set_right(&mut self, node: Gc<Node>, to: Option<Gc<Node>>) {
        node.right.store(to);
    }

    #[inline]
    fn keep(&mut self, node: Gc<Node>) -> Gc<Node> {
        node
    }

    #[inline]
    fn kept(&self, kept: Gc<Node>) -> Gc<Node> {
        kept
    }

    #[inline]
    fn release(&mut self, _count: usize) {}

    fn table(&mut self, len: usize) -> Gc<Array<GcPtr<Node>>> {
        Gc::array(len, |_| GcPtr::null())
    }

    #[inline]
    fn entry(&self, table: Gc<Array<GcPtr<Node>>>, place: usize) -> Option<Gc<Node>> {
        table[place].load()
    }

    #[inline]
    fn set_entry(&mut self, table: Gc<Array<GcPtr<Node>>>, place: usize, to: Option<Gc<Node>>) {
        table[place].store(to);
    }

    #[inline]
    fn bytes(&mut self, contents: &[u8]) -> Gc<Array<u8>> {
        Gc::bytes(contents)
    }

    #[inline]
    fn contents<'a>(&'a self, bytes: &'a Gc<Array<u8>>) -> &'a [u8] {
        bytes.as_slice()
    }

    fn bytes_table(&mut self, len: usize) -> Gc<Array<GcPtr<Array<u8>>>> {
        Gc::array(len, |_| GcPtr::null())
    }

    #[inline]
    fn bytes_entry(
        &self,
        table: Gc<Array<GcPtr<Array<u8>>>>,
        place: usize,
    ) -> Option<Gc<Array<u8>>> {
        table[place].load()
    }

    #[inline]
    fn set_bytes_entry(
        &mut self,
        table: Gc<Array<GcPtr<Array<u8>>>>,
        place: usize,
        to: Gc<Array<u8>>,
    ) {
        table[place].store(Some(to));
    }

    fn collect(&mut self) {
        goruntime::gc::collect();
    }
}

impl Shared for Ours {
    type Handle<T: Send + 'static> = JoinHandle<T>;

    fn start<T: Send + 'static>(
        work: impl FnOnce(&mut Self) -> T + Send + 'static,
    ) -> JoinHandle<T> {
        goruntime::go(|| work(&mut Ours))
    }

    fn join<T: Send + 'static>(handle: JoinHandle<T>) -> T {
        handle.join().unwrap_or_else(|panic| panic.resume())
    }

    fn yield_now() {
        goruntime::yield_now();
    }

    fn sleep(time: Duration) {
        goruntime::time::sleep(time);
    }

    fn longest_pause() -> Option<Duration> {
        let longest = goruntime::metrics::snapshot().gc_pause_max_ns;
        Some(Duration::from_nanos(longest))
    }
}
