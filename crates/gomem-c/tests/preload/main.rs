//! The shared library under programs that know nothing of it: those of every system, and small ones in C and C++ of the kinds that allocators are known
//! to fail under. Larger programs are in `cargo xtask preload --check`.

mod harness;
mod programs;
mod shell;
