//! The sched and net suites on may. Its channels hold any number of messages, so senders never wait.

mod groups;
mod net;
mod runtime;

use bench::Workload;
use bench::workloads::sched;
use std::panic::resume_unwind;
use std::process::ExitCode;

/// Words of the stack that runs a workload: it formats, which may's 32 KiB might be too small for.
const STACK: usize = 256 << 10 >> 3;

fn main() -> ExitCode {
    let mut workloads: Vec<Workload> = sched::workloads::<runtime::May>();
    workloads.extend(groups::WORKLOADS);
    workloads.extend(net::WORKLOADS);
    let run = move || bench::main_of(&workloads);
    let chosen = std::env::args().nth(1);
    if net::WORKLOADS
        .iter()
        .any(|(name, _)| chosen.as_deref() == Some(name))
    {
        // Waits for the generator, which would keep a worker from its work.
        return run();
    }
    let coroutine = may::coroutine::Builder::new().stack_size(STACK);
    // SAFETY: the workload uses no thread-local across a point where it may be moved, and has stack enough.
    let started = unsafe { coroutine.spawn(run) };
    started
        .expect("memory for a stack")
        .join()
        .unwrap_or_else(|panic| resume_unwind(panic))
}
