//! A memory allocator after Go's: size classes, spans, a cache per thread, a page heap that gives memory back; for `malloc` and for collected
//! objects alike.
//!
//! It is used in three ways:
//!
//! - as the global allocator of a Rust program: [`GoMalloc`];
//! - as the heap of a garbage collector: [`ProcessHeap::alloc_collected`], [`Heap::find`], [`Object::try_mark`], [`Heap::start_sweep`], with the live blocks
//!   of the global allocator as roots ([`Heap::malloc_shares`]) and [`critical`] sections in which a thread is not to be stopped;
//! - as a heap of its own over any [`Os`]: [`Heap::new`] and [`Mutator`].
//!
//! ```
//! use gomem::{CollectedKind, heap};
//!
//! let object = heap().alloc_collected(40, CollectedKind::NoScan).unwrap();
//! let inside = object.as_ptr() as usize + 39;
//! assert_eq!(heap().find(inside).unwrap().base(), object);
//! ```
//!
//! # Layers
//!
//! Each module uses only those above it.
//!
//! | module | what it knows |
//! | --- | --- |
//! | `env`, `os`, `lock`, `fatal`, `text`, `options`, `page`, `size_class` | the system, and the units |
//! | `meta`, `page_alloc` | memory for records; free pages |
//! | `span`, `sort`, `span_map`, `spare` | a run of pages, its blocks, and how an address leads to it |
//! | `cache`, `local`, `critical` | what a thread has of its own |
//! | `samples`, `hardening` | what the heap profile knows; what hardened mode does |
//! | `central`, `pages`, `heap` | what all threads share |
//! | `large`, `malloc`, `object`, `unborn`, `collect`, `roots`, `manual`, `reclaim`, `scavenge`, `stats`, `report`, `background` | what the heap is used for |
//! | `hardened`, `mutator`, `process`, `resize`, `fork`, `load`, `profile`, `global` | who uses it |

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(not(all(
    target_os = "linux",
    target_arch = "x86_64",
    target_pointer_width = "64"
)))]
compile_error!("gomem runs on Linux on x86-64 only");

mod atomic;
pub mod background;
mod cache;
mod central;
mod collect;
pub mod critical;
mod env;
#[cfg(all(test, explore))]
mod explore;
mod fatal;
mod fork;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod global;
mod hardened;
mod hardening;
mod heap;
mod large;
mod load;
mod local;
mod lock;
mod malloc;
mod manual;
mod meta;
mod mutator;
mod object;
mod options;
mod os;
mod page;
mod page_alloc;
mod pages;
mod process;
pub mod profile;
mod reclaim;
mod report;
mod resize;
mod roots;
mod samples;
mod scavenge;
mod size_class;
mod sort;
mod span;
mod span_map;
mod spare;
mod stats;
pub mod testing;
mod text;
mod unborn;

pub use cache::Cache;
pub use collect::SweepProgress;
pub use env::{Os, Refused, Unmoved};
pub use global::{ClearedMalloc, GoMalloc, HardenedMalloc};
pub use heap::Heap;
pub use mutator::Mutator;
pub use object::Object;
pub use os::LinuxOs;
pub use page::{ARENA_SIZE, PAGE_SIZE};
pub use process::{ProcessHeap, attach_thread, cache_slot, detach_thread, empty_thread, heap};
pub use roots::MallocShare;
pub use size_class::SMALL_MAX;
pub use sort::{CollectedKind, Sort};
pub use span::waiting::{Neighbours, WaitingSpan};
pub use stats::{BySize, ClassStats, Stats, Usage};
pub use unborn::Unborn;
