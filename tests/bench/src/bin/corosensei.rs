//! The stack suite on corosensei. It leaves the reuse of stacks to its user, who keeps those that are free.

use bench::Arguments;
use bench::workloads::stack::{self, Coroutines};
use corosensei::stack::DefaultStack;
use corosensei::{CoroutineResult, Yielder};
use std::process::ExitCode;

fn main() -> ExitCode {
    bench::main_of(&stack::workloads::<Corosensei>())
}

/// The stacks that are free.
struct Corosensei {
    free: Vec<DefaultStack>,
    size: usize,
}

type Coroutine = corosensei::Coroutine<(), (), (), DefaultStack>;

impl Coroutines for Corosensei {
    type Coroutine = Coroutine;
    type Suspender<'a> = &'a Yielder<(), ()>;

    fn new(arguments: &Arguments, size: usize) -> Result<Corosensei, String> {
        stack::without_locals(arguments);
        let free = Vec::new();
        Ok(Corosensei { free, size })
    }

    fn create(
        &mut self,
        body: impl FnOnce(&mut &Yielder<(), ()>) + Send + 'static,
    ) -> Result<Coroutine, String> {
        let stack = match self.free.pop() {
            Some(stack) => stack,
            None => DefaultStack::new(self.size).map_err(|why| why.to_string())?,
        };
        Ok(Coroutine::with_stack(stack, move |mut yielder, ()| {
            body(&mut yielder);
        }))
    }

    #[inline]
    fn suspend(yielder: &mut &Yielder<(), ()>) {
        yielder.suspend(());
    }

    #[inline]
    fn resume(&mut self, coroutine: &mut Coroutine) -> bool {
        matches!(coroutine.resume(()), CoroutineResult::Yield(()))
    }

    fn retire(&mut self, coroutine: Coroutine) {
        self.free.push(coroutine.into_stack());
    }
}
