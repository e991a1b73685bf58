//! The hot paths, one by one, between two breakpoints: what `cargo xtask fastpath` counts the instructions of.
//!
//! `fastpath --list` names the probes; `fastpath NAME` warms one up, asks to be traced, repeats it and ends. The tracer is the process that started it. It
//! steps the measuring thread from the first breakpoint of a repetition to the second; without a tracer the first one ends the program.
//!
//! Invariant: while it is traced, no other thread runs (`still`), so that no figure depends on the machine's load. What a thread held when it was stopped
//! can be missed then; the tracer kills a program that waits too long.

use goruntime::gc::{Gc, GcCell, GcPtr, Trace};
use goruntime::{GoMalloc, chan, go, sync, yield_now};
use goruntime_tests::still;
use gostack::context::Context;
use gostack::execution::{ContextPool, ExecutionContext};
use gostack::stack::StackClass;
use gostack::tls::ThreadLocals;
use std::alloc::{GlobalAlloc, Layout};
use std::arch::asm;
use std::ffi::{CStr, c_void};
use std::hint::black_box;
use std::process::ExitCode;
use std::time::Duration;

#[global_allocator]
static GLOBAL: GoMalloc = GoMalloc::new();

/// Passes before the first that is traced.
const WARM_UP: u32 = 300;

/// Passes that are traced.
const REPETITIONS: u32 = 32;

/// By this exit code the tracer knows that it may not trace.
const REFUSED: i32 = 77;

/// What the other threads may take to stand still, and then the warm-up; in seconds.
const PATIENCE: u32 = 5;

struct Probe {
    name: &'static str,
    what: &'static str,
    on: On,
    run: fn(),
}

/// Where a probe runs.
#[derive(PartialEq)]
enum On {
    /// The main thread, without the runtime.
    Thread,
    /// A goroutine.
    Goroutine,
}

const fn on_thread(name: &'static str, what: &'static str, run: fn()) -> Probe {
    let on = On::Thread;
    Probe {
        name,
        what,
        on,
        run,
    }
}

const fn on_goroutine(name: &'static str, what: &'static str, run: fn()) -> Probe {
    let on = On::Goroutine;
    Probe {
        name,
        what,
        on,
        run,
    }
}

const PROBES: &[Probe] = &[
    on_thread(
        "malloc-known",
        "GoMalloc::alloc, the size a constant",
        malloc_known,
    ),
    on_thread(
        "malloc-unknown",
        "GoMalloc::alloc, the size a variable",
        malloc_unknown,
    ),
    on_thread("free", "GoMalloc::dealloc", free),
    on_thread(
        "realloc-stays",
        "GoMalloc::realloc within the size class",
        realloc_stays,
    ),
    on_thread("c-malloc", "malloc of libgomem.so", c_malloc),
    on_thread("c-free", "free of libgomem.so", c_free),
    on_thread(
        "alloc-collected",
        "a collected object, from gomem",
        alloc_collected,
    ),
    on_thread(
        "switch-pair",
        "gostack: to another context and back",
        switch_pair,
    ),
    on_goroutine("gc-new", "Gc::new of two words", gc_new),
    on_goroutine("cell-set", "GcCell::set, no collection under way", cell_set),
    on_goroutine(
        "pointer-store",
        "GcPtr::store, no collection under way",
        pointer_store,
    ),
    on_goroutine(
        "weak-upgrade",
        "Weak::upgrade, no collection under way",
        weak_upgrade,
    ),
    on_goroutine(
        "weak-downgrade",
        "Gc::downgrade of an object that has weak pointers",
        weak_downgrade,
    ),
    on_goroutine(
        "yield-pair",
        "yield to another goroutine and back",
        yield_pair,
    ),
    on_goroutine("spawn-join", "start a goroutine and join it", spawn_join),
    on_goroutine(
        "channel-pair",
        "unbuffered: send and receive, and the answer back",
        channel_pair,
    ),
    on_goroutine("mutex", "lock and unlock that nobody else wants", mutex),
    on_goroutine(
        "rw-lock-write",
        "the same of a lock of many readers, for writing",
        rw_lock_write,
    ),
];

fn main() -> ExitCode {
    let asked = std::env::args().nth(1).unwrap_or_default();
    if asked == "--list" {
        for probe in PROBES {
            println!("{}\t{}", probe.name, probe.what);
        }
        return ExitCode::SUCCESS;
    }
    let Some(probe) = PROBES.iter().find(|probe| probe.name == asked) else {
        eprintln!("usage: fastpath --list | NAME; run by `cargo xtask fastpath`");
        return ExitCode::from(2);
    };
    match probe.on {
        On::Thread => (probe.run)(),
        On::Goroutine => goruntime::run_main(|| {
            if let Err(why) = still::stop_others(Duration::from_secs(PATIENCE.into())) {
                // As a signal would: it can be tried again.
                eprintln!("{why}");
                std::process::abort();
            }
            // SAFETY: no handler is installed: should the warm-up wait for a thread that stands still, the process ends.
            unsafe { libc::alarm(PATIENCE) };
            (probe.run)();
        }),
    }
    ExitCode::SUCCESS
}

/// A breakpoint.
#[inline(always)]
fn mark() {
    // SAFETY: a trap that the tracer takes; no memory or register is changed.
    unsafe { asm!("int3") };
}

/// Passes through `probe` until it is warm, then under the tracer, and ends the process. What comes `before` and `after` a pass is not counted.
fn repeat<S, R>(
    mut before: impl FnMut() -> S,
    mut probe: impl FnMut(S) -> R,
    mut after: impl FnMut(R),
) {
    for _ in 0..WARM_UP {
        after(black_box(probe(before())));
    }
    let_be_traced();
    for _ in 0..REPETITIONS {
        after(pass(&mut probe, before()));
    }
    // SAFETY: ends the process at once, without the locks that an ordinary exit takes.
    unsafe { libc::_exit(0) };
}

/// One pass. A function of its own, or the compiler would do once, before the loop, what a program does at each call.
#[inline(never)]
fn pass<S, R>(probe: &mut impl FnMut(S) -> R, state: S) -> R {
    mark();
    let result = probe(state);
    mark();
    result
}

/// Makes the parent this thread's tracer.
fn let_be_traced() {
    // SAFETY: takes back the alarm; a request without arguments.
    let answer = unsafe {
        libc::alarm(0);
        libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0)
    };
    if answer != 0 {
        eprintln!("ptrace is refused: {}", std::io::Error::last_os_error());
        // SAFETY: as in `repeat`.
        unsafe { libc::_exit(REFUSED) };
    }
}

const LAYOUT: Layout = Layout::new::<[u64; 8]>();

fn allocate() -> *mut u8 {
    // SAFETY: the layout is not empty.
    unsafe { GLOBAL.alloc(LAYOUT) }
}

fn release(block: *mut u8) {
    // SAFETY: from `allocate`, or of its class.
    unsafe { GLOBAL.dealloc(block, LAYOUT) }
}

fn malloc_known() {
    // SAFETY: the layout is not empty.
    repeat(|| (), |()| unsafe { GLOBAL.alloc(LAYOUT) }, release);
}

fn malloc_unknown() {
    let layout = || black_box(LAYOUT);
    // SAFETY: as above.
    repeat(layout, |layout| unsafe { GLOBAL.alloc(layout) }, release);
}

fn free() {
    // The first block of a page takes a longer way, since it might be a sampled one.
    let first = allocate();
    // SAFETY: from `allocate`, of this layout.
    let free = |block| unsafe { GLOBAL.dealloc(block, LAYOUT) };
    repeat(allocate, free, |()| ());
    release(first);
}

fn realloc_stays() {
    let before = || (allocate(), black_box(LAYOUT.size() - 1));
    // SAFETY: from `allocate`, of this layout; the size is not zero.
    let shrink = |(block, size)| unsafe { GLOBAL.realloc(block, LAYOUT, size) };
    repeat(before, shrink, release);
}

/// Ends the program unless `malloc` is that of the library.
fn need_library() {
    // SAFETY: an all-zero Dl_info is valid; its name, if there is one, is a C string of the linker's.
    let is_ours = unsafe {
        let mut info: libc::Dl_info = std::mem::zeroed();
        libc::dladdr(libc::malloc as *const c_void, &mut info) != 0
            && !info.dli_fname.is_null()
            && CStr::from_ptr(info.dli_fname)
                .to_bytes()
                .ends_with(b"/libgomem.so")
    };
    if !is_ours {
        eprintln!("malloc is not that of libgomem.so: it is to be preloaded");
        std::process::exit(2);
    }
}

/// The call that a C program makes. Not by the declaration of `libc`: the compiler knows what `malloc` and `free` mean, and leaves out pairs of them.
#[inline(always)]
fn c_allocate(size: usize) -> *mut c_void {
    let block;
    // SAFETY: any size may be asked for; the call follows C's conventions.
    unsafe {
        asm!("call {malloc}@PLT", malloc = sym libc::malloc, in("rdi") size, lateout("rax") block, clobber_abi("C"));
    }
    block
}

/// The same. The block is from `c_allocate` and is used no more.
#[inline(always)]
fn c_release(block: *mut c_void) {
    // SAFETY: as the callers here have it; the call follows C's conventions.
    unsafe { asm!("call {free}@PLT", free = sym libc::free, in("rdi") block, clobber_abi("C")) };
}

fn c_malloc() {
    need_library();
    repeat(|| black_box(64), c_allocate, c_release);
}

fn c_free() {
    need_library();
    repeat(|| c_allocate(64), c_release, |()| ());
}

fn alloc_collected() {
    let allocate = |size| gomem::heap().alloc_collected(size, gomem::CollectedKind::NoScan);
    repeat(
        || black_box(64),
        allocate,
        |object| assert!(object.is_some()),
    );
}

/// What the two contexts know of each other.
struct Pair {
    pool: ContextPool<gostack::os::Linux>,
    thread: ExecutionContext,
    other: Option<ExecutionContext>,
}

impl Pair {
    /// The switch to the other context, which comes back at once.
    ///
    /// # Safety
    /// 1. Called from the thread, and not from the other context.
    /// 2. `pair` has been made whole, and nobody has a reference to it.
    unsafe fn switch(pair: *const Pair) {
        // SAFETY: the two contexts take turns.
        unsafe {
            let Pair {
                pool,
                thread,
                other: Some(other),
            } = &*pair
            else {
                return;
            };
            pool.switcher().switch(thread.context(), other.context());
        }
    }

    /// The switch back; not in the caller's loop, for the reason that `pass` has.
    ///
    /// # Safety
    /// 1. As for `switch`, from the other context.
    #[inline(never)]
    unsafe fn switch_back(pair: *const Pair) {
        // SAFETY: as in `switch`.
        unsafe {
            if let Some(other) = &(*pair).other {
                let switcher = (*pair).pool.switcher();
                switcher.switch(other.context(), (*pair).thread.context());
            }
        }
    }
}

/// Goes back to the thread whenever it is entered.
unsafe extern "C" fn go_back(pair: *mut ()) -> *const Context {
    loop {
        // SAFETY: the creator passes a pair, which is whole when this is entered, and is parked meanwhile.
        unsafe { Pair::switch_back(pair.cast()) };
    }
}

fn switch_pair() {
    let pair = pair().unwrap_or_else(|why| panic!("no contexts: {why}"));
    let pair: *const Pair = Box::leak(Box::new(pair));
    // SAFETY: never freed; the context gets what it expects, and is entered only by the probe.
    let other = unsafe {
        let context = (*pair).pool.create(go_back, pair.cast_mut().cast());
        context.unwrap_or_else(|why| panic!("no context: {why}"))
    };
    // SAFETY: nobody else knows the pair yet.
    unsafe { (*pair.cast_mut()).other = Some(other) };
    // SAFETY: this is the thread.
    repeat(|| (), |()| unsafe { Pair::switch(pair) }, |()| ());
}

fn pair() -> Result<Pair, Box<dyn std::error::Error>> {
    Ok(Pair {
        pool: ContextPool::new(
            gostack::os::Linux::default(),
            StackClass::DEFAULT,
            ThreadLocals::per_context()?,
            Layout::new::<()>(),
        )?,
        thread: ExecutionContext::adopt_thread()?,
        other: None,
    })
}

#[derive(Trace)]
struct Node {
    cell: GcCell<Option<Gc<Node>>>,
    pointer: GcPtr<Node>,
}

fn node() -> Gc<Node> {
    Gc::new(Node {
        cell: GcCell::new(None),
        pointer: GcPtr::null(),
    })
}

fn gc_new() {
    repeat(|| (), |()| node(), |_| ());
}

fn cell_set() {
    let (one, other) = (node(), node());
    repeat(
        || black_box((one, other)),
        |(one, other)| one.cell.set(Some(other)),
        |()| (),
    );
}

fn pointer_store() {
    let (one, other) = (node(), node());
    let store = |(one, other): (Gc<Node>, _)| one.pointer.store(Some(other));
    repeat(|| black_box((one, other)), store, |()| ());
}

fn weak_upgrade() {
    let weak = node().downgrade();
    repeat(|| black_box(weak), |weak| weak.upgrade(), drop);
}

fn weak_downgrade() {
    let one = node();
    let weak = one.downgrade();
    repeat(
        || black_box(one),
        |one| one.downgrade(),
        |again| assert_eq!(again, weak),
    );
}

/// Not in the caller's loop, for the reason that `pass` has.
#[inline(never)]
fn give_way() {
    yield_now();
}

fn yield_pair() {
    go(|| {
        loop {
            give_way();
        }
    });
    repeat(|| (), |()| yield_now(), |()| ());
}

fn spawn_join() {
    repeat(
        || (),
        |()| go(|| ()).join(),
        |result| assert!(result.is_ok()),
    );
}

fn channel_pair() {
    let (question, questions) = chan::unbuffered::<u64>();
    let (answer, answers) = chan::unbuffered::<u64>();
    go(move || questions.iter().try_for_each(|n| answer.send(n)).is_ok());
    let ask = |n| {
        let sent = question.send(n);
        sent.is_ok() && answers.recv().is_ok()
    };
    repeat(|| black_box(7), ask, |is_answered| assert!(is_answered));
}

fn mutex() {
    let mutex = sync::Mutex::new(0u64);
    repeat(|| black_box(&mutex), |mutex| *mutex.lock() += 1, |()| ());
}

fn rw_lock_write() {
    let lock = sync::RwLock::new(0u64);
    repeat(|| black_box(&lock), |lock| *lock.write() += 1, |()| ());
}
