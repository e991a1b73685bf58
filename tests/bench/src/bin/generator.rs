//! The stack suite on generator. A generator that has ended is given another body, which uses its stack again.

use bench::Arguments;
use bench::workloads::stack::{self, Coroutines};
use generator::{Generator, Gn, Scope};
use std::process::ExitCode;

fn main() -> ExitCode {
    bench::main_of(&stack::workloads::<Generators>())
}

/// Generators that have ended, and the words of stack that each has.
struct Generators {
    free: Vec<Generator<'static, (), ()>>,
    words: usize,
}

impl Coroutines for Generators {
    type Coroutine = Generator<'static, (), ()>;
    type Suspender<'a> = Scope<'a, 'static, (), ()>;

    fn new(arguments: &Arguments, size: usize) -> Result<Generators, String> {
        stack::without_locals(arguments);
        let (free, words) = (Vec::new(), size / size_of::<usize>());
        Ok(Generators { free, words })
    }

    fn create(
        &mut self,
        body: impl FnOnce(&mut Scope<'_, 'static, (), ()>) + Send + 'static,
    ) -> Result<Self::Coroutine, String> {
        let run = |mut scope: Scope<'_, 'static, (), ()>| body(&mut scope);
        Ok(match self.free.pop() {
            Some(mut ended) => {
                ended.scoped_init(run);
                ended
            }
            None => Gn::new_scoped_opt(self.words, run),
        })
    }

    #[inline]
    fn suspend(scope: &mut Scope<'_, 'static, (), ()>) {
        scope.yield_(());
    }

    #[inline]
    fn resume(&mut self, coroutine: &mut Self::Coroutine) -> bool {
        coroutine.resume();
        !coroutine.is_done()
    }

    fn retire(&mut self, coroutine: Self::Coroutine) {
        self.free.push(coroutine);
    }
}
