//! The malloc suite on the C library's malloc, or what is preloaded in its place.

use bench::workloads::malloc;
use std::process::ExitCode;

fn main() -> ExitCode {
    malloc::main()
}
