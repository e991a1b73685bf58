//! The malloc suite on mimalloc 2.

use bench::workloads::malloc;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    malloc::main()
}
