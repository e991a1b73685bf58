//! `#[main]` with a runtime of the test's own in place of goruntime.

use std::cell::Cell;
use std::process::{ExitCode, Termination};

/// What the macro expects to find in the crate that it is told.
mod runtime {
    use std::alloc::{GlobalAlloc, Layout, System};

    pub struct GoMalloc;

    impl GoMalloc {
        pub const fn new() -> GoMalloc {
            GoMalloc
        }
    }

    // SAFETY: everything is passed on to the system's allocator.
    unsafe impl GlobalAlloc for GoMalloc {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            super::ALLOCATIONS.set(super::ALLOCATIONS.get() + 1);
            // SAFETY: passed on.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
            // SAFETY: passed on.
            unsafe { System.dealloc(memory, layout) }
        }
    }

    pub fn run_main<T>(body: impl FnOnce() -> T) -> T {
        super::RUNS.set(super::RUNS.get() + 1);
        body()
    }
}

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    static RUNS: Cell<usize> = const { Cell::new(0) };
}

mod with_allocator {
    use super::runtime;

    #[goruntime_macros::main(crate = runtime)]
    pub fn main() {
        let before = super::ALLOCATIONS.get();
        std::hint::black_box(Box::new([0u8; 100]));
        assert!(
            super::ALLOCATIONS.get() > before,
            "the runtime's allocator is not installed"
        );
    }
}

mod without_allocator {
    use super::runtime;

    #[goruntime_macros::main(allocator = none, crate = runtime)]
    pub fn main() -> Result<(), String> {
        Err("an error".to_owned())?;
        Ok(())
    }
}

#[test]
fn the_body_is_run_once_by_the_runtime() {
    with_allocator::main();
    assert_eq!(RUNS.get(), 1);
}

#[test]
fn whatever_main_returns_is_returned() {
    let result = without_allocator::main();
    assert_eq!(RUNS.get(), 1);
    assert_eq!(result.clone(), Err("an error".to_owned()));
    assert_ne!(result.report(), ExitCode::SUCCESS);
}
