//! What the linker has to know of `libgomem.so`.
//!
//! `nodelete`: threads, `fork` and blocks lead back into it for as long as the process lives, so a program that opened it may not unload it.
//! `soname`: tools that look for an allocator in a process, Valgrind among them, go by that name.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,initfirst");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libgomem.so");
}
