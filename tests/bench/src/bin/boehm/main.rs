//! The gc suite on the Boehm-Demers-Weiser collector, with its default settings.

mod heap;

use bench::workloads::gc;
use std::process::ExitCode;

fn main() -> ExitCode {
    let workloads = [gc::ALONE, gc::TOGETHER].concat();
    bench::contestant(&workloads, |workload, arguments| {
        gc::run_shared(&mut heap::Boehm::start_collector(), workload, arguments)
    })
}
