//! Tri-colour garbage collectors over a heap and a world that the embedder supplies.
//!
//! This crate knows how to find what is reachable; it owns no memory and no threads. The heap (addresses to
//! objects, mark bits, sweeping) is a [`HeapView`], the mutator (stopping it, its roots, threads to mark
//! with) is a [`World`]. Both are traits of this crate, implemented on values, and everything is
//! monomorphised.
//!
//! Modules, each using only those above it:
//!
//! ```text
//!   units  word -> gather  backoff  newtypes; the load of a word that somebody may be writing; many of them
//!   pointer_map -> trace            which words of a value may be collected pointers
//!   stats -> env                    a cycle as plain data; the ports: HeapView, World, Roots, Hooks
//!   each                            words one by one, for what need not be fast
//!   buffer -> gray  spans           grey objects and spans with such: shared buffers, one marker's queues
//!   list                            words to be remembered, in memory from the world
//!   termination                     when marking is over
//!   barrier  seen -> mark           what a store must do while marking; blackening
//!   specials                        weak handles and cleanups
//!   pacer  assist  gctrace          when to collect; what mutators owe meanwhile; a cycle in Go's words
//!   collector -> turn               the seam between methods; one cycle at a time
//!   mark_sweep                      marking with the world stopped, beside mutators, and by generations
//!   counting                        reference counting
//! ```

#[cfg(all(doctest, feature = "testing"))]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
compile_error!(
    "gogc supports Linux on x86-64 only: words are read with an x86-64 instruction that tolerates concurrent writers"
);

mod assist;
mod atomic;
mod backoff;
pub mod barrier;
mod buffer;
pub mod collector;
pub mod counting;
mod each;
pub mod env;
#[cfg(all(test, explore))]
mod explore;
pub mod gather;
pub mod gctrace;
mod gray;
mod list;
pub mod mark;
pub mod mark_sweep;
pub mod pacer;
pub mod pointer_map;
mod seen;
mod spans;
pub mod specials;
pub mod stats;
pub mod termination;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod trace;
mod turn;
pub mod units;
pub mod word;

pub use barrier::{Barrier, BarrierBuffer};
pub use collector::{Collector, CycleError};
pub use counting::{Counting, Cycles};
pub use env::{
    Age, AgedHeap, Background, CountedHeap, Event, HeapUsage, HeapView, Hooks, ObjectAddr,
    Processor, RootKind, RootSink, Roots, SpanId, Stop, SweepStep, Wait, WordSink, World,
};
pub use gctrace::GcTrace;
pub use mark_sweep::{BuildError, Generational, MarkSweep, Method, Thresholds};
pub use pacer::{Config, ConfigError, GcPercent, Pacer};
pub use pointer_map::PointerMap;
pub use specials::Specials;
pub use stats::{CycleStats, Phase, Reason};
pub use trace::{Field, Trace};
pub use units::{Bytes, Nanos};
