//! `libgomem.so`: C's and C++'s allocation functions over the process's heap, to be put under any program with `LD_PRELOAD`.
//!
//! A thin layer. What C adds to [`gomem`]: alignment of 16 for everything, `errno`, null pointers, sizes of zero, products that overflow. What C++
//! adds: the new-handler and `std::bad_alloc`.
//!
//! Invariant: every block comes from [`gomem::heap`], so that `free` need not ask. The dynamic linker's own early blocks never get
//! here: it frees those by itself. For the same reason every name under which the C library hands blocks out is defined here, be it ever so
//! old: one that was left out would hand out blocks that this `free` does not know.
//!
//! # Layers
//!
//! Each module uses only those above it.
//!
//! | module | what it has |
//! | --- | --- |
//! | `block` | a block of the heap as C wants it, and how failure is told |
//! | `malloc` | `malloc`, `free` and their kin |
//! | `aligned` | blocks with an alignment |
//! | `inspect` | what a program may ask of its heap, and ask it to do |
//! | `report` | the heap in words |
//! | `operators` | `new` and `delete` |
//! | `names` | the C library's other names for the same |

mod aligned;
mod block;
mod inspect;
mod malloc;
mod names;
mod operators;
mod report;
