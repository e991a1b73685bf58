//! The composition: the only place where two subsystems meet.
//!
//! | file | puts together |
//! | --- | --- |
//! | `native_engine` | gosched's contexts, out of gostack's stacks and gomem's cache word |
//! | `thread_engine` | the same out of OS threads, with the feature `thread-engine` |
//! | `env` | gosched's choice of ports |
//! | `heap` | gogc's heap, out of gomem's spans and the object headers |
//! | `world`, `roots` | gogc's world, out of the stop signal and gosched's list of goroutines |
//! | `graph` | what leads to what, out of the same, gomem's blocks and the objects' pointers |
//! | `simulated` | the schedulers of simulations, for the collector to walk |
//! | `background` | how much of gosched's processors marking may have |
//! | `barrier` | gogc's barrier buffers, shared among threads under gomem's critical sections |
//! | `stacks` | gosched's goroutines as roots, by what gostack says of their stacks |
//! | `rust_heap` | gomem's malloc spans as roots, by what the kernel knows of written pages |
//! | `gates` | the stop signal's questions, answered by gosched, gomem and gostack |
//! | `monitor` | gosysmon's target, out of gosched's figures and gomem's scavenger |

pub(crate) mod background;
pub(crate) mod barrier;
pub(crate) mod env;
pub(crate) mod gates;
pub(crate) mod graph;
pub(crate) mod heap;
pub(crate) mod monitor;
#[cfg(not(feature = "thread-engine"))]
pub(crate) mod native_engine;
mod roots;
mod rust_heap;
#[cfg(not(feature = "thread-engine"))]
pub(crate) mod simulated;
mod stacks;
#[cfg(feature = "thread-engine")]
pub(crate) mod thread_engine;
pub(crate) mod world;

#[cfg(not(feature = "thread-engine"))]
pub(crate) use native_engine as engine;
#[cfg(feature = "thread-engine")]
pub(crate) use thread_engine as engine;
