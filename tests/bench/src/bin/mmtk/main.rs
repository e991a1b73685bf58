//! The gc suite on MMTk, with one mutator. `plan=` chooses the collector: Immix if not given.

mod binding;
mod heap;
mod object;
mod pacing;
mod roots;

use bench::workloads::gc;
use std::process::ExitCode;

fn main() -> ExitCode {
    bench::contestant(gc::ALONE, |workload, arguments| {
        let mut heap = heap::Mmtk::start_collector(arguments.text("plan", "Immix"))?;
        gc::run(&mut heap, workload, arguments)
    })
}
