//! Locks and counters for goroutines, and what is built on them. A goroutine that waits parks, and its thread goes on; all work from plain threads too.
//!
//! | | |
//! | --- | --- |
//! | [`Mutex`], [`RwLock`], [`Semaphore`], [`Cond`], [`WaitGroup`], [`Once`] | the locks |
//! | [`OnceLock`], [`LazyLock`] | a value made once |
//! | [`Map`] | a map for many goroutines |
//! | [`Pool`] | values to be used again |
//! | [`errgroup`] | goroutines of which the first error counts |
//! | [`singleflight`] | one call for all who ask the same |

pub mod errgroup;
mod map;
mod once_lock;
mod pool;
pub mod singleflight;

pub use gosched::sync::*;
pub use map::Map;
pub use once_lock::{LazyLock, OnceLock};
pub use pool::Pool;
