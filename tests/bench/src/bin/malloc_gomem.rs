//! The malloc suite on gomem.

use bench::workloads::malloc;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: gomem::GoMalloc = gomem::GoMalloc::new();

fn main() -> ExitCode {
    malloc::main()
}
