//! Locks and meeting points, for goroutines and plain threads. A goroutine that waits parks; its
//! thread goes on.
//!
//! None of them poisons: a panic unlocks and leaves the data as they are, because a goroutine's
//! panic is handed to whoever joins it, who can judge better.

mod cond;
mod mutex;
mod once;
pub(crate) mod raw;
mod raw_rw;
mod rw_lock;
mod semaphore;
mod wait_group;

pub use cond::Cond;
pub use mutex::{Mutex, MutexGuard};
pub use once::Once;
pub use rw_lock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use semaphore::Semaphore;
pub use wait_group::WaitGroup;
