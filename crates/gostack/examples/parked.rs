//! What a parked context costs in resident memory and page tables, and when it pays to give back the pages under its stack pointer.
//! `cargo run --release -p gostack --example parked [contexts] [no-reserve]` (default 100,000); with `no-reserve` frames lie in the libc's reserve for
//! thread-locals of later libraries.
//!
//! Each context calls to some depth, comes back, and parks: what it touched on the way stays resident until it is given back.

use std::alloc::Layout;
use std::hint::black_box;
use std::time::Instant;

use gostack::cache::ContextCache;
use gostack::context::Context;
use gostack::execution::{ContextPool, ExecutionContext};
use gostack::os::Linux;
use gostack::stack::StackClass;
use gostack::tls::{ThreadLocals, TlsLayout};

/// What a context shares with the thread that resumes it, in its control area.
struct Shared {
    thread: *const ExecutionContext,
    own: *const ExecutionContext,
    pool: *const ContextPool<Linux>,
    pages: usize,
}

/// Touches a page of stack for each call.
#[inline(never)]
fn descend(pages: usize) -> u8 {
    let mut page = [0u8; 4000];
    let page = black_box(&mut page);
    page[0] = 1;
    match pages {
        0 => page[0],
        _ => descend(pages - 1) + page[0],
    }
}

unsafe extern "C" fn entry(shared: *mut ()) -> *const Context {
    let shared = shared.cast::<Shared>();
    // SAFETY: `park` writes this and waits whenever the context runs; the thread is parked meanwhile.
    unsafe {
        let switcher = (*(*shared).pool).switcher();
        for _ in 0..2 {
            if (*shared).pages > 0 {
                black_box(descend((*shared).pages));
            }
            switcher.switch(
                ExecutionContext::context_ptr((*shared).own),
                ExecutionContext::context_ptr((*shared).thread),
            );
        }
        (*(*shared).pool).finish();
        ExecutionContext::context_ptr((*shared).thread)
    }
}

/// Bytes of a line of `/proc/self/status`.
fn status(name: &str) -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("/proc is there");
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kilobytes = line.and_then(|rest| rest.split_whitespace().nth(1)?.parse::<f64>().ok());
    kilobytes.expect("the kernel tells it") * 1024.0
}

struct Measured {
    resident: f64,
    tables: f64,
    each: f64,
}

/// Does something for each context, and says what it changed and took for each.
fn measure(name: &str, contexts: usize, work: impl FnOnce()) -> Measured {
    let before = (status("VmRSS"), status("VmPTE"));
    let start = Instant::now();
    work();
    let each = start.elapsed().as_secs_f64() * 1e9 / contexts as f64;
    let per = |now: f64, before: f64| (now - before) / contexts as f64;
    let measured = Measured {
        resident: per(status("VmRSS"), before.0),
        tables: per(status("VmPTE"), before.1),
        each,
    };
    println!(
        "  {name:<34} {:>8.0} B resident {:>6.0} B page tables {:>8.0} ns each",
        measured.resident, measured.tables, measured.each
    );
    measured
}

fn park(name: &str, class: StackClass, locals: ThreadLocals, contexts: usize, pages: usize) {
    println!(
        "{name}, stacks of {} KiB, {pages} pages touched and left:",
        class.bytes() >> 10
    );
    let pool = ContextPool::new(Linux::default(), class, locals, Layout::new::<Shared>());
    let pool = pool.expect("room for a context");
    let thread = ExecutionContext::adopt_thread().expect("this thread's stack");
    let mut cache = ContextCache::new(&pool);
    let mut parked = Vec::with_capacity(contexts);
    let resume = |context: &ExecutionContext| {
        // SAFETY: the context is fresh or parked, and this thread runs.
        unsafe { pool.switcher().switch(thread.context(), context.context()) };
    };
    let made = measure("made and parked", contexts, || {
        for _ in 0..contexts {
            parked.push(cache.take().expect("memory"));
            let context = parked.last_mut().expect("just pushed");
            let own = &raw const *context;
            let shared = pool
                .control_area(context)
                .expect("made here")
                .cast::<Shared>();
            // SAFETY: the area is laid out for it; the vector does not grow, so the context stays where it is.
            unsafe {
                shared.write(Shared {
                    thread: &raw const thread,
                    own,
                    pool: &raw const pool,
                    pages,
                });
                pool.rearm(context, entry, shared.as_ptr().cast());
            }
            resume(context);
        }
    });
    println!("  {:<34} {:>8.0} B", "all in", made.resident + made.tables);
    measure("given back under the stack pointer", contexts, || {
        for context in &parked {
            // SAFETY: the context is parked.
            unsafe { pool.release_unused(context) }.expect("memory that is not locked");
        }
    });
    measure("resumed, the same depth again", contexts, || {
        parked.iter().for_each(resume)
    });
    measure("ended and retired", contexts, || {
        for context in parked.drain(..) {
            resume(&context);
            // SAFETY: it has ended.
            unsafe { cache.retire(context) };
        }
    });
}

fn main() {
    let contexts = std::env::args()
        .nth(1)
        .map_or(100_000, |count| count.parse().expect("a number"));
    if std::env::args()
        .nth(2)
        .is_some_and(|arg| arg == "no-reserve")
    {
        TlsLayout::discover_without_reserve().expect("a reserve that can be taken up");
    }
    let own = || ThreadLocals::per_context().expect("a libc that is understood");
    // SAFETY: one thread runs the contexts.
    let shared = unsafe { ThreadLocals::shared() }.expect("no shadow stack");
    for class in [StackClass::MIN, StackClass::DEFAULT] {
        park("thread-locals of their own", class, own(), contexts, 0);
        park("shared thread-locals", class, shared, contexts, 0);
    }
    park(
        "thread-locals of their own",
        StackClass::DEFAULT,
        own(),
        contexts,
        4,
    );
    park(
        "thread-locals of their own",
        StackClass::DEFAULT,
        own(),
        contexts / 4,
        16,
    );
}
