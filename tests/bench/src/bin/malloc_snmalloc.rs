//! The malloc suite on snmalloc.

use bench::workloads::malloc;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: snmalloc_rs::SnMalloc = snmalloc_rs::SnMalloc;

fn main() -> ExitCode {
    malloc::main()
}
