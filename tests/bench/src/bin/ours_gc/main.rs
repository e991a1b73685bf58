//! The gc suite on goruntime.

mod allocate;
mod heap;
mod parked;

use bench::workloads::gc;
use std::process::ExitCode;

#[goruntime::main]
fn main() -> ExitCode {
    let workloads = [gc::ALONE, gc::TOGETHER, &["allocate", "goroutine_stacks"]].concat();
    bench::contestant(&workloads, |workload, arguments| match workload {
        "allocate" => allocate::run(arguments),
        "goroutine_stacks" => parked::run(arguments),
        _ => gc::run_shared(&mut heap::Ours, workload, arguments),
    })
}
