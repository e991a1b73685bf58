//! Ruling 3.5: a `Gc` may be kept anywhere that the program owns. Each test keeps one in a single place, collects, fills the heap again, and
//! looks whether the object is still what it was.

#![cfg(not(feature = "system-allocator"))]

use goruntime::gc::{self, Array, Gc, GcCell, GcPtr, Root, Trace};
use goruntime::{chan, go, yield_now};
use goruntime_tests::{apart, eventually};
use std::cell::RefCell;
use std::mem::zeroed;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

#[global_allocator]
static GLOBAL: goruntime::GoMalloc = goruntime::GoMalloc::new();

#[derive(Trace)]
struct Node {
    a: usize,
    next: GcPtr<Node>,
    b: usize,
}

fn node(a: usize, next: Option<Gc<Node>>) -> Gc<Node> {
    let next = GcPtr::new(next);
    Gc::new(Node { a, next, b: !a })
}

fn check(mut list: Option<Gc<Node>>, n: usize) {
    for a in (0..n).rev() {
        let node = list.expect("the list is whole");
        assert_eq!((node.a, node.b), (a, !a));
        list = node.next.load();
    }
    assert!(list.is_none());
}

/// A list that is referenced from nowhere but the value returned.
#[inline(never)]
fn list(n: usize) -> Gc<Node> {
    let mut list = None;
    for a in 0..n {
        list = Some(node(a, list));
    }
    list.unwrap()
}

/// Overwrites the stack below, collects, and allocates over whatever was freed.
#[inline(never)]
fn upset() {
    #[inline(never)]
    fn scrub() {
        std::hint::black_box([0usize; 1024]);
    }
    scrub();
    gc::collect();
    for i in 0..20_000 {
        std::hint::black_box(node(usize::MAX - i, None));
    }
    gc::collect();
}

#[test]
fn on_the_stack_of_a_goroutine() {
    go(|| {
        let l = list(100);
        upset();
        check(Some(l), 100);
    })
    .join()
    .unwrap();
}

#[test]
fn on_the_stack_of_a_parked_goroutine() {
    let (tx, rx) = chan::unbuffered::<()>();
    let parked = go(move || {
        let l = list(100);
        rx.recv().unwrap();
        check(Some(l), 100);
    });
    go(|| (0..10).for_each(|_| yield_now())).join().unwrap();
    upset();
    tx.send(()).unwrap();
    parked.join().unwrap();
}

#[test]
fn on_the_stack_of_a_plain_thread() {
    std::thread::spawn(|| {
        let l = list(100);
        upset();
        check(Some(l), 100);
    })
    .join()
    .unwrap();
}

#[test]
fn on_the_stack_of_a_plain_thread_that_sleeps_in_the_kernel() {
    let (tx, rx) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        let l = list(100);
        rx.recv().unwrap();
        check(Some(l), 100);
    });
    std::thread::sleep(Duration::from_millis(20));
    upset();
    tx.send(()).unwrap();
    thread.join().unwrap();
}

/// A thread is in a handler that waits, on a signal stack above which a guard begins, and its own stack has one too: pages that cannot be read, in the same mapping where the
/// kernel has guards of that kind (`MADV_GUARD_INSTALL`, Linux 6.13).
#[test]
fn on_a_signal_stack_beside_a_guard() {
    if !apart("on_a_signal_stack_beside_a_guard", &[]) {
        return;
    }
    const BYTES: usize = 128 << 10;
    const PAGE: usize = 4096;
    const GUARD_INSTALL: i32 = 102;
    const SECOND: Duration = Duration::from_secs(1);
    static INSIDE: AtomicBool = AtomicBool::new(false);
    static OVER: AtomicBool = AtomicBool::new(false);
    extern "C" fn waits(_: i32) {
        let list = list(10);
        INSIDE.store(true, Release);
        eventually("the end", 30 * SECOND, || OVER.load(Acquire));
        check(Some(list), 10);
    }
    let thread = std::thread::spawn(|| {
        // SAFETY: a fresh mapping, which is not taken back; all-zero actions and stacks are valid. The handler is run by `raise`, between two lines of the program.
        unsafe {
            let memory = libc::mmap(
                null_mut(),
                BYTES + PAGE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert_ne!(memory, libc::MAP_FAILED);
            let guard = memory.byte_add(BYTES);
            if libc::madvise(guard, PAGE, GUARD_INSTALL) != 0 {
                assert_eq!(libc::mprotect(guard, PAGE, libc::PROT_NONE), 0);
            } else {
                let (mut own, mut low, mut size) = (zeroed(), null_mut(), 0);
                assert_eq!(libc::pthread_getattr_np(libc::pthread_self(), &mut own), 0);
                assert_eq!(libc::pthread_attr_getstack(&own, &mut low, &mut size), 0);
                assert_eq!(
                    libc::madvise(low.byte_add(16 * PAGE), PAGE, GUARD_INSTALL),
                    0
                );
            }
            let mut stack: libc::stack_t = zeroed();
            stack.ss_sp = memory;
            stack.ss_size = BYTES;
            let mut before: libc::stack_t = zeroed();
            assert_eq!(libc::sigaltstack(&stack, &mut before), 0);
            let mut action: libc::sigaction = zeroed();
            action.sa_sigaction = waits as *const () as usize;
            action.sa_flags = libc::SA_ONSTACK;
            assert_eq!(libc::sigaction(libc::SIGUSR1, &action, null_mut()), 0);
            assert_eq!(libc::raise(libc::SIGUSR1), 0);
            assert_eq!(libc::sigaltstack(&before, null_mut()), 0);
        }
    });
    eventually("the handler", 30 * SECOND, || INSIDE.load(Acquire));
    upset();
    OVER.store(true, Release);
    thread.join().unwrap();
}

#[test]
fn in_a_vec() {
    let v: Vec<Gc<Node>> = (1..50).map(list).collect();
    upset();
    v.iter()
        .enumerate()
        .for_each(|(i, &l)| check(Some(l), i + 1));
}

#[test]
fn in_nested_boxes_behind_an_arc() {
    let kept = Arc::new(Mutex::new(Box::new(Some(Box::new(list(100))))));
    upset();
    check(kept.lock().unwrap().as_deref().copied(), 100);
}

#[test]
fn in_the_buffer_of_a_channel() {
    let (tx, rx) = chan::bounded(4);
    tx.send(list(100)).unwrap();
    upset();
    check(Some(rx.recv().unwrap()), 100);
}

#[test]
fn in_a_blocked_sender() {
    let (tx, rx) = chan::unbuffered();
    let sender = go(move || tx.send(list(100)).unwrap());
    go(|| (0..10).for_each(|_| yield_now())).join().unwrap();
    upset();
    check(Some(rx.recv().unwrap()), 100);
    sender.join().unwrap();
}

#[test]
fn in_a_static() {
    static KEPT: OnceLock<Gc<Node>> = OnceLock::new();
    KEPT.get_or_init(|| list(100));
    upset();
    check(KEPT.get().copied(), 100);
}

#[test]
fn in_a_thread_local_of_a_thread_and_of_a_goroutine() {
    thread_local!(static KEPT: RefCell<Option<Gc<Node>>> = const { RefCell::new(None) });
    fn exercise() {
        KEPT.with(|k| *k.borrow_mut() = Some(list(100)));
        upset();
        check(KEPT.with(|k| *k.borrow()), 100);
    }
    std::thread::spawn(exercise).join().unwrap();
    go(exercise).join().unwrap();
}

#[test]
fn in_a_lazily_made_thread_local() {
    thread_local!(static KEPT: Vec<Gc<Node>> = vec![list(100)]);
    go(|| {
        KEPT.with(|_| ());
        upset();
        KEPT.with(|k| check(Some(k[0]), 100));
    })
    .join()
    .unwrap();
}

#[test]
fn in_another_object_and_in_a_cycle() {
    let first = node(0, None);
    let second = node(1, Some(first));
    first.next.store(Some(second));
    let kept = first;
    upset();
    let second = kept.next.load().unwrap();
    assert_eq!((second.a, second.b), (1, !1));
    assert!(second.next.load().unwrap().ptr_eq(kept));
}

#[derive(Trace)]
enum Shape {
    Leaf(u64),
    Pair(u8, Gc<Node>, GcCell<Option<Gc<Node>>>),
}

#[test]
fn in_an_enum_and_a_cell() {
    let s = Gc::new(Shape::Pair(3, list(10), GcCell::new(None)));
    let leaf = Gc::new(Shape::Leaf(7));
    if let Shape::Pair(_, _, cell) = &*s {
        cell.set(Some(list(20)));
    }
    upset();
    match &*s {
        Shape::Pair(3, l, cell) => {
            check(Some(*l), 10);
            check(cell.get(), 20);
        }
        _ => panic!("the variant changed"),
    }
    assert!(matches!(*leaf, Shape::Leaf(7)));
}

#[test]
fn in_an_array_of_pointers_held_by_an_interior_pointer_only() {
    fn middle() -> &'static GcPtr<Node> {
        let array: Gc<Array<GcPtr<Node>>> = Gc::array(1000, |i| GcPtr::new(Some(list(i % 7 + 1))));
        let element: *const GcPtr<Node> = &array[500];
        // SAFETY: the reference is kept on the stack while it is used: an interior pointer keeps the array alive.
        unsafe { &*element }
    }
    let element = middle();
    upset();
    check(element.load(), 500 % 7 + 1);
}

#[test]
fn in_a_root_whose_pointer_is_hidden() {
    let root = Root::new(list(100));
    let hidden = !(root.get().as_ptr() as usize);
    let root = std::mem::ManuallyDrop::new(root);
    upset();
    // SAFETY: the root keeps the object alive.
    let l = unsafe { Gc::from_ptr((!hidden) as *const Node) };
    check(Some(l), 100);
    drop(std::mem::ManuallyDrop::into_inner(root));
}

/// Memory that the collector does not look at keeps nothing alive by itself, and with roots what it refers to is alive.
fn in_memory_that_is_not_searched(memory: *mut Gc<Node>) {
    const HALF: usize = 200;
    let (memory, weak) = (memory.expose_provenance(), Mutex::new(Vec::new()));
    let weak = Arc::new(weak);
    let made = weak.clone();
    let roots = go(move || {
        let memory = std::ptr::with_exposed_provenance_mut::<Gc<Node>>(memory);
        let mut roots = Vec::new();
        for n in 0..2 * HALF {
            let node = list(n % 7 + 1);
            // SAFETY: memory for so many pointers, which is the caller's.
            unsafe { memory.add(n).write(node) };
            made.lock().unwrap().push(node.downgrade());
            if n < HALF {
                roots.push(Root::new(node));
            }
        }
        roots
    });
    let roots = roots.join().unwrap();
    let dead = || {
        let weak = weak.lock().unwrap();
        weak.iter().filter(|weak| weak.upgrade().is_none()).count()
    };
    goruntime_tests::eventually(
        "what has no root to die",
        std::time::Duration::from_secs(20),
        || {
            upset();
            dead() > HALF - HALF / 10
        },
    );
    for n in 0..HALF {
        let memory = std::ptr::with_exposed_provenance_mut::<Gc<Node>>(memory);
        // SAFETY: written above, and alive, because there is a root for it.
        check(Some(unsafe { memory.add(n).read() }), n % 7 + 1);
    }
    drop(roots);
}

/// Bytes that both tests need.
const FOREIGN: usize = 1 << 16;

#[test]
fn in_a_mapping_with_a_root() {
    let (access, private) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
    );
    // SAFETY: a fresh private mapping.
    let memory = unsafe { libc::mmap(std::ptr::null_mut(), FOREIGN, access, private, -1, 0) };
    assert_ne!(memory, libc::MAP_FAILED);
    in_memory_that_is_not_searched(memory.cast());
    // SAFETY: mapped above, and not used any more.
    unsafe { libc::munmap(memory, FOREIGN) };
}

#[test]
fn in_memory_of_a_c_library_with_a_root() {
    // SAFETY: asks for memory.
    let memory = unsafe { libc::malloc(FOREIGN) };
    assert!(!memory.is_null());
    in_memory_that_is_not_searched(memory.cast());
    // SAFETY: from malloc, and not used any more.
    unsafe { libc::free(memory) };
}

#[test]
fn by_a_slice_a_string_or_a_trait_object() {
    trait Shape: Send + Sync {
        fn list(&self) -> Gc<Node>;
    }
    #[derive(Trace)]
    struct Square {
        side: usize,
        list: Gc<Node>,
    }
    impl Shape for Square {
        fn list(&self) -> Gc<Node> {
            assert_eq!(self.side, 7);
            self.list
        }
    }
    #[derive(Trace)]
    struct All {
        slice: Gc<[Gc<Node>]>,
        text: Gc<str>,
        empty: Gc<[u8]>,
        shape: Gc<dyn Shape>,
        changing: GcCell<Option<Gc<dyn Shape>>>,
    }
    let square = |n| -> Gc<dyn Shape> {
        Gc::map(
            Gc::new(Square {
                side: 7,
                list: list(n),
            }),
            |square| square as &dyn Shape,
        )
    };
    let all = Gc::new(All {
        slice: (1..50).map(list).collect(),
        text: "a text of no special length".into(),
        empty: Vec::new().into(),
        shape: square(10),
        changing: GcCell::new(None),
    });
    all.changing.set(Some(square(20)));
    upset();
    for (n, &l) in all.slice.iter().enumerate() {
        check(Some(l), n + 1);
    }
    assert_eq!(&*all.text, "a text of no special length");
    assert!(all.empty.is_empty());
    check(Some(all.shape.list()), 10);
    check(Some(all.changing.get().unwrap().list()), 20);
}

#[test]
fn by_a_pointer_to_a_part() {
    #[derive(Trace)]
    struct Whole {
        list: Gc<Node>,
        pair: (u8, GcPtr<Node>),
        owned: Box<u64>,
    }
    let part: Gc<GcPtr<Node>> = go(|| {
        let whole = Gc::new(Whole {
            list: list(3),
            pair: (1, GcPtr::new(Some(list(30)))),
            owned: Box::new(4),
        });
        check(Some(whole.list), 3);
        let outside = std::panic::catch_unwind(|| Gc::map(whole, |whole| &*whole.owned));
        assert!(outside.is_err(), "the box goes with the object");
        Gc::map(whole, |whole| &whole.pair.1)
    })
    .join()
    .unwrap();
    upset();
    check(part.load(), 30);
}

/// Neither the queue of what is to be dropped, nor what is left of it in memory that it used, keeps the dead.
#[test]
fn the_memory_of_what_was_dropped_is_free_after_the_next_collection() {
    use std::sync::atomic::{AtomicUsize, Ordering::*};
    const OBJECTS: usize = 4000;
    const BYTES: usize = 8 << 10;
    // In a process without the other tests' objects.
    if !apart(
        "the_memory_of_what_was_dropped_is_free_after_the_next_collection",
        &[],
    ) {
        return;
    }
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    struct Counts;
    impl Drop for Counts {
        fn drop(&mut self) {
            DROPPED.fetch_add(1, SeqCst);
        }
    }
    #[derive(Trace)]
    struct Holder {
        bytes: [u8; BYTES],
        counts: Box<Counts>,
    }
    #[inline(never)]
    fn make() {
        for _ in 0..OBJECTS {
            let holder = Gc::new(Holder {
                bytes: [1; BYTES],
                counts: Box::new(Counts),
            });
            std::hint::black_box((&holder.bytes, &holder.counts));
        }
    }
    go(make).join().unwrap();
    let patience = std::time::Duration::from_secs(20);
    goruntime_tests::eventually("the drop glue to run", patience, || {
        goruntime::gc::collect();
        // A conservative collector may keep a few.
        DROPPED.load(SeqCst) > OBJECTS * 9 / 10
    });
    let free = || {
        goruntime::gc::collect();
        let in_use = goruntime::metrics::snapshot().heap_alloc as usize;
        in_use < OBJECTS * BYTES / 2
    };
    goruntime_tests::eventually("their memory to be free", patience, free);
}

#[test]
fn garbage_is_really_freed_and_drop_glue_runs_once() {
    use std::sync::atomic::{AtomicUsize, Ordering::*};
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    struct Counts(#[allow(dead_code, reason = "size")] String);
    impl Drop for Counts {
        fn drop(&mut self) {
            DROPPED.fetch_add(1, SeqCst);
        }
    }
    #[derive(Trace)]
    struct Holder {
        counts: Box<Counts>,
        next: GcPtr<Holder>,
    }
    #[inline(never)]
    fn make() {
        // Cycles of two.
        for i in 0..500 {
            let counts = || Box::new(Counts(format!("number {i}")));
            let a = Gc::new(Holder {
                counts: counts(),
                next: GcPtr::null(),
            });
            let b = Gc::new(Holder {
                counts: counts(),
                next: GcPtr::new(Some(a)),
            });
            a.next.store(Some(b));
            std::hint::black_box(&b.counts);
        }
    }
    go(make).join().unwrap();
    let before = goruntime::metrics::snapshot().gc_cycles;
    goruntime_tests::eventually(
        "the drop glue to run",
        std::time::Duration::from_secs(20),
        || {
            upset();
            // A conservative collector may keep a few.
            DROPPED.load(SeqCst) >= 980
        },
    );
    assert!(DROPPED.load(SeqCst) <= 1000);
    assert!(goruntime::metrics::snapshot().gc_cycles > before);
}

#[test]
fn goroutines_that_mutate_a_shared_structure_while_collections_run() {
    let table: Gc<Array<GcPtr<Node>>> = Gc::array(64, |_| GcPtr::null());
    let workers: Vec<_> = (0..8)
        .map(|w: usize| {
            go(move || {
                for round in 0..300 {
                    let n = round % 13 + 1;
                    table[(w * 8) + round % 8].store(Some(list(n)));
                    if round % 16 == 0 {
                        yield_now();
                    }
                    if let Some(l) = table[(w * 8) + (round + 3) % 8].load() {
                        check(Some(l), l.a + 1);
                    }
                }
            })
        })
        .collect();
    for _ in 0..20 {
        gc::collect();
    }
    for w in workers {
        w.join().unwrap();
    }
    for slot in table.as_slice() {
        let l = slot.load().unwrap();
        check(Some(l), l.a + 1);
    }
}

/// A hardened heap makes what is freed unreadable, but not what the collector may be reading.
#[test]
fn beside_a_heap_that_guards_what_was_freed() {
    let hardened = [("GOMEM_OPTIONS", "hardened")];
    if !apart("beside_a_heap_that_guards_what_was_freed", &hardened) {
        return;
    }
    let kept = Root::new(list(20_000));
    let replaces = |seed: usize| {
        move || {
            for round in 0..400 {
                let length = 5_000 + (seed * 7919 + round * 104_729) % 40_000;
                let l = list(3);
                let holders = vec![l; length];
                check(Some(holders[length / 2]), 3);
            }
        }
    };
    let goroutines: Vec<_> = (1..=4).map(|seed| go(replaces(seed))).collect();
    while !goroutines.iter().all(|g| g.is_finished()) {
        gc::collect();
    }
    goroutines.into_iter().for_each(|g| g.join().unwrap());
    check(Some(kept.get()), 20_000);
}
