//! The workloads' heap on the Boehm-Demers-Weiser collector, as a C program would use it.
//!
//! Objects are plain structs behind raw pointers; the collector finds the roots on the stacks and in static data by itself and moves
//! nothing, so keeping is nothing. Byte strings are allocated as pointer-free. Threads are registered with the collector, which stops them
//! by signals.

use bench::workloads::gc::heap::{Heap, Shared};
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, Ordering::*};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What `GC_get_stack_base` fills in, on this architecture.
#[repr(C)]
struct StackBase {
    memory: *mut c_void,
}

#[link(name = "gc")]
unsafe extern "C" {
    fn GC_init();
    fn GC_allow_register_threads();
    fn GC_get_stack_base(base: *mut StackBase) -> c_int;
    fn GC_register_my_thread(base: *const StackBase) -> c_int;
    fn GC_unregister_my_thread() -> c_int;
    fn GC_malloc(bytes: usize) -> *mut c_void;
    fn GC_malloc_atomic(bytes: usize) -> *mut c_void;
    fn GC_malloc_ignore_off_page(bytes: usize) -> *mut c_void;
    fn GC_gcollect();
    fn GC_set_on_collection_event(event: extern "C" fn(c_int));
}

/// The world is about to be stopped, in the numbering of the collector's events.
const BEFORE_STOP: c_int = 6;
/// The world runs again.
const AFTER_START: c_int = 9;

static STOPPED_AT: AtomicU64 = AtomicU64::new(0);
static LONGEST: AtomicU64 = AtomicU64::new(0);

/// Called by the collector with its lock held.
extern "C" fn on_event(event: c_int) {
    let now = || {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_nanos() as u64
    };
    if event == BEFORE_STOP {
        STOPPED_AT.store(now(), Relaxed);
    } else if event == AFTER_START {
        LONGEST.fetch_max(now() - STOPPED_AT.load(Relaxed), Relaxed);
    }
}

/// A node.
#[repr(C)]
pub struct Node {
    left: *mut Node,
    right: *mut Node,
    word: u64,
}

/// A byte string: its length, then its bytes.
#[repr(C)]
pub struct Bytes {
    len: usize,
    first: [u8; 0],
}

/// A view of the heap from a registered thread.
pub struct Boehm(());

impl Boehm {
    /// Starts the collector; this is the main thread's view.
    pub fn start_collector() -> Boehm {
        // SAFETY: called once, from the main thread, before anything else of the collector.
        unsafe {
            GC_init();
            GC_allow_register_threads();
            GC_set_on_collection_event(on_event);
        }
        Boehm(())
    }

    fn on_registered_thread<T>(work: impl FnOnce(&mut Boehm) -> T) -> T {
        let mut base = StackBase { memory: null_mut() };
        // SAFETY: the collector was started, and this thread is not registered yet.
        let refused =
            unsafe { GC_get_stack_base(&mut base) != 0 || GC_register_my_thread(&base) != 0 };
        assert!(!refused, "the collector does not take this thread");
        let result = work(&mut Boehm(()));
        // SAFETY: registered above; `work` left no collected pointer behind.
        unsafe { GC_unregister_my_thread() };
        result
    }
}

/// Memory from the collector, or the end.
fn some<T>(memory: *mut c_void) -> *mut T {
    assert!(!memory.is_null(), "the collector is out of memory");
    memory.cast()
}

fn option<T>(pointer: *mut T) -> Option<*mut T> {
    (!pointer.is_null()).then_some(pointer)
}

impl Heap for Boehm {
    type Node = *mut Node;
    type Kept = *mut Node;
    type Table = *mut *mut Node;
    type Bytes = *mut Bytes;
    type BytesTable = *mut *mut Bytes;

    #[inline]
    fn node(&mut self, left: Option<*mut Node>, right: Option<*mut Node>, word: u64) -> *mut Node {
        // SAFETY: the memory has room for a node and is nobody else's.
        unsafe {
            let node: *mut Node = some(GC_malloc(size_of::<Node>()));
            node.write(Node {
                left: left.unwrap_or(null_mut()),
                right: right.unwrap_or(null_mut()),
                word,
            });
            node
        }
    }

    #[inline]
    fn left(&self, node: *mut Node) -> Option<*mut Node> {
        // SAFETY: nodes reached from the stack or from a table are alive; so below.
        option(unsafe { (*node).left })
    }

    #[inline]
    fn right(&self, node: *mut Node) -> Option<*mut Node> {
        // SAFETY: as in `left`.
        option(unsafe { (*node).right })
    }

    #[inline]
    fn word(&self, node: *mut Node) -> u64 {
        // SAFETY: as in `left`.
        unsafe { (*node).word }
    }

    #[inline]
    fn same(&self, a: *mut Node, b: *mut Node) -> bool {
        a == b
    }

    #[inline]
    fn set_left(&mut self, node: *mut Node, to: Option<*mut Node>) {
        // SAFETY: as in `left`.
        unsafe { (*node).left = to.unwrap_or(null_mut()) };
    }

    #[inline]
    fn set_right(&mut self, node: *mut Node, to: Option<*mut Node>) {
        // SAFETY: as in `left`.
        unsafe { (*node).right = to.unwrap_or(null_mut()) };
    }

    #[inline]
    fn keep(&mut self, node: *mut Node) -> *mut Node {
        node
    }

    #[inline]
    fn kept(&self, kept: *mut Node) -> *mut Node {
        kept
    }

    #[inline]
    fn release(&mut self, _count: usize) {}

    fn table(&mut self, len: usize) -> *mut *mut Node {
        // SAFETY: any size; the memory is zeroed. The workloads keep the pointer to its beginning.
        some(unsafe { GC_malloc_ignore_off_page(len * size_of::<*mut Node>()) })
    }

    #[inline]
    fn entry(&self, table: *mut *mut Node, place: usize) -> Option<*mut Node> {
        // SAFETY: the workloads stay inside their tables.
        option(unsafe { *table.add(place) })
    }

    #[inline]
    fn set_entry(&mut self, table: *mut *mut Node, place: usize, to: Option<*mut Node>) {
        // SAFETY: as in `entry`.
        unsafe { *table.add(place) = to.unwrap_or(null_mut()) };
    }

    #[inline]
    fn bytes(&mut self, contents: &[u8]) -> *mut Bytes {
        // SAFETY: the memory has room for the length and the contents.
        unsafe {
            let bytes: *mut Bytes = some(GC_malloc_atomic(size_of::<Bytes>() + contents.len()));
            (*bytes).len = contents.len();
            let first = bytes.add(1).cast::<u8>();
            first.copy_from_nonoverlapping(contents.as_ptr(), contents.len());
            bytes
        }
    }

    #[inline]
    fn contents<'a>(&'a self, bytes: &'a *mut Bytes) -> &'a [u8] {
        // SAFETY: written by `bytes`, and alive while a pointer to it is on the stack.
        unsafe { std::slice::from_raw_parts(bytes.add(1).cast(), (**bytes).len) }
    }

    fn bytes_table(&mut self, len: usize) -> *mut *mut Bytes {
        self.table(len).cast()
    }

    #[inline]
    fn bytes_entry(&self, table: *mut *mut Bytes, place: usize) -> Option<*mut Bytes> {
        // SAFETY: as in `entry`.
        option(unsafe { *table.add(place) })
    }

    #[inline]
    fn set_bytes_entry(&mut self, table: *mut *mut Bytes, place: usize, to: *mut Bytes) {
        // SAFETY: as in `entry`.
        unsafe { *table.add(place) = to };
    }

    fn collect(&mut self) {
        // SAFETY: the collector was started.
        unsafe { GC_gcollect() };
    }
}

impl Shared for Boehm {
    type Handle<T: Send + 'static> = JoinHandle<T>;

    fn start<T: Send + 'static>(
        work: impl FnOnce(&mut Self) -> T + Send + 'static,
    ) -> JoinHandle<T> {
        std::thread::spawn(|| Boehm::on_registered_thread(work))
    }

    fn join<T: Send + 'static>(handle: JoinHandle<T>) -> T {
        handle
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn yield_now() {
        std::thread::yield_now();
    }

    fn sleep(time: Duration) {
        std::thread::sleep(time);
    }

    fn longest_pause() -> Option<Duration> {
        Some(Duration::from_nanos(LONGEST.load(Relaxed)))
    }
}
