//! Copying between descriptors, and pipes.
//!
//! | | |
//! | --- | --- |
//! | [`copy()`], [`copy_n`] | from any reader to any writer; inside the kernel where both are descriptors |
//! | [`copy_bidirectional`] | both ways between two connections, as a proxy does it |
//! | [`pipe`] | a pipe of the system's, whose ends wait as sockets do |
//! | [`memory_pipe`] | a pipe between goroutines, without the system |

mod copy;
mod kernel;
mod memory;
mod proxy;

pub use crate::pipe::{PipeReader, PipeWriter, pipe};
pub use copy::{copy, copy_n};
pub use memory::{MemoryReader, MemoryWriter, memory_pipe};
pub use proxy::{Connection, copy_bidirectional};
