//! The stack suite on gostack alone: coroutines made of its contexts. `locals=shared` leaves thread-locals to the thread, as its peers do.

mod coroutine;

use bench::workloads::stack;
use std::process::ExitCode;

fn main() -> ExitCode {
    bench::main_of(&stack::workloads::<coroutine::Contexts>())
}
