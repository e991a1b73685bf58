//! Many contexts, many threads, signals at every instruction.

use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::task::{Task, pool};
use gostack::execution::{ContextPool, ExecutionContext};
use gostack::stack::StackClass;
use gostack::testing::Refusing;
use gostack::tls::ThreadLocals;

thread_local!(static OWNER: Cell<usize> = const { Cell::new(usize::MAX) });

#[test]
fn a_hundred_thousand_contexts_are_alive_at_once() {
    const COUNT: usize = 100_000;
    let pool = pool();
    let ended = AtomicUsize::new(0);
    let mut tasks: Vec<_> = (0..COUNT)
        .map(|id| {
            let ended = &ended;
            Task::new(&pool, move |suspender| {
                OWNER.set(id);
                suspender.suspend();
                assert_eq!(OWNER.get(), id);
                ended.fetch_add(1, Ordering::Relaxed);
            })
        })
        .collect();
    for task in &mut tasks {
        assert!(!task.resume());
    }
    for task in &mut tasks {
        assert!(task.resume());
    }
    assert_eq!(ended.load(Ordering::Relaxed), COUNT);
}

#[test]
fn contexts_wander_between_threads() {
    const TASKS: usize = 64;
    const STEPS: usize = 400;
    let pool = pool();
    let queue = Mutex::new(Vec::new());
    let left = AtomicUsize::new(TASKS);
    for id in 0..TASKS {
        queue
            .lock()
            .unwrap()
            .push(Task::new(&pool, move |suspender| {
                OWNER.set(id);
                let mut text = String::new();
                for step in 0..STEPS {
                    // Values in registers and on the stack, thread-locals, allocations and formatting, across each switch.
                    text.push_str(&format!("{step} "));
                    // SAFETY: the address of the context's errno.
                    unsafe { *libc::__errno_location() = id as i32 };
                    suspender.suspend();
                    // SAFETY: as above.
                    assert_eq!(unsafe { *libc::__errno_location() }, id as i32);
                    assert_eq!(OWNER.get(), id);
                }
                assert_eq!(text.split_whitespace().count(), STEPS);
            }));
    }
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while left.load(Ordering::Relaxed) > 0 {
                    let Some(mut task) = take_any(&queue) else {
                        thread::yield_now();
                        continue;
                    };
                    if task.resume() {
                        left.fetch_sub(1, Ordering::Relaxed);
                    } else {
                        queue.lock().unwrap().insert(0, task);
                    }
                }
            });
        }
    });
}

fn take_any<'p>(queue: &Mutex<Vec<Task<'p>>>) -> Option<Task<'p>> {
    queue.lock().unwrap().pop()
}

#[test]
fn signals_may_arrive_at_any_instruction_of_a_switch() {
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn count(_: libc::c_int) {
        // A handler that uses thread-locals, as a profiler's would.
        // SAFETY: the address of the errno of whichever context runs.
        let errno = unsafe { libc::__errno_location() };
        // SAFETY: as above.
        let kept = unsafe { *errno };
        SEEN.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { *errno = kept };
    }
    // SAFETY: the handler is async-signal-safe.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = count as extern "C" fn(libc::c_int) as usize;
        action.sa_flags = libc::SA_RESTART;
        assert_eq!(
            libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()),
            0
        );
    }
    let pool = pool();
    let stop = AtomicBool::new(false);
    // SAFETY: asks for this thread's handle.
    let switching = unsafe { libc::pthread_self() };
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                // SAFETY: the thread lives until `stop` is set.
                unsafe { libc::pthread_kill(switching, libc::SIGUSR1) };
            }
        });
        let mut task = Task::new(&pool, |suspender| {
            OWNER.set(1);
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(OWNER.get(), 1);
                suspender.suspend();
            }
        });
        OWNER.set(2);
        let mut rounds = 0u32;
        while rounds < 200_000 || SEEN.load(Ordering::Relaxed) < 1000 {
            assert!(!task.resume());
            assert_eq!(OWNER.get(), 2);
            rounds += 1;
        }
        stop.store(true, Ordering::Relaxed);
        task.finish();
    });
}

#[test]
fn each_refusal_while_making_a_context_is_an_error_that_loses_nothing() {
    unsafe extern "C" fn never(_: *mut ()) -> *const gostack::context::Context {
        unreachable!("these contexts are not entered")
    }
    let locals = ThreadLocals::per_context().unwrap();
    for nth in 1..=4 {
        let pool = ContextPool::new(
            Refusing::default(),
            StackClass::DEFAULT,
            locals,
            std::alloc::Layout::new::<()>(),
        )
        .unwrap();
        pool.os().refuse(nth);
        let mut made = Vec::new();
        let mut refused = 0;
        for _ in 0..5 {
            // SAFETY: the entry would only panic, and is not called.
            match unsafe { pool.create(never, std::ptr::null_mut()) } {
                Ok(context) => made.push(context),
                Err(refusal) => {
                    refused += 1;
                    assert_eq!(refusal.errno, libc::ENOMEM);
                }
            }
        }
        // A refused mapping is tried again at half the size; a refused guard is an error.
        assert_eq!(refused, usize::from(nth > 1), "call {nth}");
        for context in made {
            // SAFETY: it never ran.
            unsafe { pool.retire(context) };
        }
        pool.trim().unwrap();
    }
}

#[test]
fn ended_contexts_are_used_again_without_the_operating_system() {
    unsafe extern "C" fn never(_: *mut ()) -> *const gostack::context::Context {
        unreachable!("these contexts are not entered")
    }
    let locals = ThreadLocals::per_context().unwrap();
    let pool = ContextPool::new(
        Refusing::default(),
        StackClass::DEFAULT,
        locals,
        std::alloc::Layout::new::<()>(),
    )
    .unwrap();
    // SAFETY: never entered.
    let first = unsafe { pool.create(never, std::ptr::null_mut()) }.unwrap();
    let range = first.stack_range();
    // SAFETY: it never ran.
    unsafe { pool.retire(first) };
    pool.os().refuse(1);
    for _ in 0..100 {
        // SAFETY: never entered.
        let again = unsafe { pool.create(never, std::ptr::null_mut()) }.unwrap();
        assert_eq!(again.stack_range(), range);
        // SAFETY: it never ran.
        unsafe { pool.retire(again) };
    }
    assert_eq!(pool.os().calls(), 0);
}

#[test]
fn private_caches_are_filled_from_the_pool_and_emptied_into_it() {
    static ENTERED: AtomicUsize = AtomicUsize::new(0);
    unsafe extern "C" fn enter(thread: *mut ()) -> *const gostack::context::Context {
        ENTERED.fetch_add(1, Ordering::Relaxed);
        ExecutionContext::context_ptr(thread.cast())
    }
    let pool = pool();
    let thread = ExecutionContext::adopt_thread().unwrap();
    let arg = (&raw const thread).cast_mut().cast();
    let mut cache = Vec::new();
    for round in 1..=3 {
        // SAFETY: `enter` gets this thread's context, which is its successor and waits for it.
        unsafe {
            pool.take_idle(8, &mut cache);
            while cache.len() < 8 {
                cache.push(pool.create(enter, arg).unwrap());
            }
            for context in &mut cache {
                pool.rearm(context, enter, arg);
                pool.switcher().switch(thread.context(), context.context());
            }
            pool.retire_many(cache.drain(..));
        }
        assert_eq!(ENTERED.load(Ordering::Relaxed), 8 * round);
    }
    pool.take_idle(100, &mut cache);
    assert_eq!(cache.len(), 8, "the contexts of the first round served all");
    // SAFETY: they have ended.
    unsafe { pool.retire_many(cache) };
}

#[test]
fn a_stack_without_room_is_refused_by_name() {
    let locals = ThreadLocals::per_context().unwrap();
    let too_large = std::alloc::Layout::new::<[u8; 64 << 10]>();
    let refusal = ContextPool::new(Refusing::default(), StackClass::MIN, locals, too_large)
        .err()
        .unwrap();
    assert!(refusal.needed > refusal.have);
    assert!(refusal.to_string().contains("at least"));
}

#[test]
fn a_cache_uses_its_own_contexts_first_and_gives_back_what_is_too_much() {
    unsafe extern "C" fn never(_: *mut ()) -> *const gostack::context::Context {
        std::process::abort()
    }
    let pool = crate::task::pool();
    let mut cache = gostack::cache::ContextCache::new(&pool);
    let mut contexts: Vec<_> = (0..200).map(|_| cache.take().unwrap()).collect();
    let address = |context: &ExecutionContext| context.stack_range().base;
    let mut all: Vec<usize> = contexts.iter().map(address).collect();
    all.sort_unstable();
    let last = contexts.pop().unwrap();
    let expected = address(&last);
    // SAFETY: none of them was entered.
    unsafe {
        contexts
            .into_iter()
            .for_each(|context| cache.retire(context));
        cache.retire(last);
    }
    let again = cache.take().unwrap();
    assert_eq!(address(&again), expected, "the warmest first");
    // SAFETY: as above; `never` is not reached.
    unsafe {
        cache.retire(again);
        drop(cache);
        let mut found: Vec<usize> = (0..200)
            .map(|_| address(&pool.create(never, std::ptr::null_mut()).unwrap()))
            .collect();
        found.sort_unstable();
        assert_eq!(
            found, all,
            "the pool has every one of them, and nothing new was made"
        );
    }
}

#[test]
#[should_panic(expected = "not its own")]
fn a_cache_refuses_a_context_of_another_pool() {
    let (pool, other) = (crate::task::pool(), crate::task::pool());
    let context = other.take().unwrap();
    // SAFETY: it was not entered.
    unsafe { gostack::cache::ContextCache::new(&pool).retire(context) };
}
