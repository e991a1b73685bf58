//! What a pair of switches costs here - to a context and back - and what a context costs that is made, runs to its end and is retired.
//! `cargo run --release -p gostack --example switch_cost`.

use std::alloc::Layout;
use std::cell::Cell;
use std::time::{Duration, Instant};

use gostack::cache::ContextCache;
use gostack::context::Context;
use gostack::execution::{ContextPool, ExecutionContext};
use gostack::os::Linux;
use gostack::stack::StackClass;
use gostack::switch::Switcher;
use gostack::tls::ThreadLocals;

struct Pair {
    switcher: Switcher,
    pool: *const ContextPool<Linux>,
    thread: ExecutionContext,
    context: *const ExecutionContext,
    stop: Cell<bool>,
}

unsafe extern "C" fn bounce(pair: *mut ()) -> *const Context {
    let pair = pair.cast::<Pair>();
    // SAFETY: `measure` passes its pair, which it looks at only while this context does not run.
    unsafe {
        while !(*pair).stop.get() {
            go(pair, false);
        }
        (*pair).thread.context()
    }
}

unsafe extern "C" fn end(pair: *mut ()) -> *const Context {
    let pair = pair.cast::<Pair>();
    // SAFETY: `measure` passes its pair, and waits; nothing here uses thread-locals.
    unsafe {
        (*(*pair).pool).finish();
        (*pair).thread.context()
    }
}

#[inline(always)]
unsafe fn go(pair: *mut Pair, there: bool) {
    // SAFETY: one of the two runs here and the other one is parked.
    unsafe {
        let context = ExecutionContext::context_ptr((*pair).context);
        let thread = ExecutionContext::context_ptr(&raw const (*pair).thread);
        let (from, to) = if there {
            (thread, context)
        } else {
            (context, thread)
        };
        (*pair).switcher.switch(from, to);
    }
}

fn measure(name: &str, locals: ThreadLocals) {
    const PAIRS: u32 = 20_000;
    let pool = ContextPool::new(
        Linux::default(),
        StackClass::DEFAULT,
        locals,
        Layout::new::<()>(),
    )
    .unwrap();
    let mut pair = Pair {
        switcher: pool.switcher(),
        pool: &raw const pool,
        thread: ExecutionContext::adopt_thread().unwrap(),
        context: std::ptr::null(),
        stop: Cell::new(false),
    };
    let pair = &raw mut pair;
    // SAFETY: `bounce` gets what it expects and ends with this thread as its successor.
    let best = unsafe {
        let context = pool.create(bounce, pair.cast()).unwrap();
        (*pair).context = &raw const context;
        let mut best = Duration::MAX;
        for _ in 0..100 {
            let start = Instant::now();
            for _ in 0..PAIRS {
                go(pair, true);
            }
            best = best.min(start.elapsed());
        }
        (*pair).stop.set(true);
        go(pair, true);
        pool.retire(context);
        let mut cache = ContextCache::new(&pool);
        let mut life = Duration::MAX;
        for _ in 0..100 {
            let start = Instant::now();
            for _ in 0..PAIRS {
                let mut context = cache.take().unwrap();
                pool.rearm(&mut context, end, pair.cast());
                (*pair)
                    .switcher
                    .switch((*pair).thread.context(), context.context());
                cache.retire(context);
            }
            life = life.min(start.elapsed());
        }
        println!(
            "{name}: {:.1} ns to create, enter, end and retire",
            life.as_nanos() as f64 / f64::from(PAIRS)
        );
        best
    };
    println!(
        "{name}: {:.1} ns per pair of switches",
        best.as_nanos() as f64 / f64::from(PAIRS)
    );
}

fn main() {
    measure(
        "thread-locals per context",
        ThreadLocals::per_context().unwrap(),
    );
    measure(
        "the same by system call",
        ThreadLocals::per_context_by_system_call().unwrap(),
    );
    // SAFETY: one thread runs the context.
    measure(
        "shared thread-locals",
        unsafe { ThreadLocals::shared() }.unwrap(),
    );
    let start = Instant::now();
    let pool = ContextPool::new(
        Linux::default(),
        StackClass::DEFAULT,
        ThreadLocals::per_context().unwrap(),
        Layout::new::<()>(),
    )
    .unwrap();
    let made: Vec<_> = (0..10_000)
        // SAFETY: never entered.
        .map(|_| unsafe { pool.create(bounce, std::ptr::null_mut()) }.unwrap())
        .collect();
    println!(
        "make a context: {:.0} ns",
        start.elapsed().as_nanos() as f64 / made.len() as f64
    );
}
