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
//!   buffer -> gray  spans           grey objects and spans with such: shared buffers, one marker's queues
//!   termination                     when marking is over
//!   barrier  seen -> mark           what a store must do while marking; blackening
//!   specials                        weak handles and cleanups
//!   pacer  assist  gctrace          when to collect; what mutators owe meanwhile; a cycle in Go's words
//!   collector -> turn -> mark_sweep the seam between methods; marking with the world stopped and beside mutators
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
pub mod env;
#[cfg(all(test, explore))]
mod explore;
pub mod gather;
pub mod gctrace;
mod gray;
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
pub use env::{
    Background, Event, HeapUsage, HeapView, Hooks, ObjectAddr, Processor, RootKind, RootSink,
    Roots, SpanId, Stop, SweepStep, Wait, WordSink, World,
};
pub use gctrace::GcTrace;
pub use mark_sweep::{BuildError, MarkSweep, Method};
pub use pacer::{Config, ConfigError, GcPercent, Pacer};
pub use pointer_map::PointerMap;
pub use specials::Specials;
pub use stats::{CycleStats, Phase, Reason};
pub use trace::{Field, Trace, TraceMustNotImplementDrop};
pub use units::{Bytes, Nanos};
