//! A simulated heap and world, on which this crate's tests run and on which an embedder can try its own code.
//!
//! Nothing here is memory in the machine's sense: addresses are numbers, objects are entries of a table, and
//! "stopping the world" is a lock. So the tests run anywhere, under an interpreter as well, and can refuse
//! anything at will.

mod heap;
mod world;

pub use heap::{Scanning, Shape, SimHeap};
pub use world::{SimRoots, SimWorld, StopRefused};
