//! The gc suite on goruntime.

mod allocate;
mod heap;
mod parked;
mod still;

use bench::workloads::gc;
use std::process::ExitCode;

#[goruntime::main]
fn main() -> ExitCode {
    let own = ["allocate", "goroutine_stacks", "still"];
    let workloads = [gc::ALONE, gc::TOGETHER, &own].concat();
    bench::contestant(&workloads, |workload, arguments| match workload {
        "allocate" => allocate::run(arguments),
        "goroutine_stacks" => parked::run(arguments),
        "still" => still::run(arguments),
        _ => gc::run_shared(&mut heap::Ours, workload, arguments),
    })
}
