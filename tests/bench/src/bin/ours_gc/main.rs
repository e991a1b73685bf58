//! The gc suite on goruntime.

mod heap;
mod parked;

use bench::workloads::gc;
use std::process::ExitCode;

#[goruntime::main]
fn main() -> ExitCode {
    let workloads = [gc::ALONE, gc::TOGETHER, &["goroutine_stacks"]].concat();
    bench::contestant(&workloads, |workload, arguments| match workload {
        "goroutine_stacks" => parked::run(arguments),
        _ => gc::run_shared(&mut heap::Ours, workload, arguments),
    })
}
