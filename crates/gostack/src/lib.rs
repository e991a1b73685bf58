//! Execution contexts for goroutines, fibers and coroutines: native stacks with guards, a thread-local block per
//! context, and the switch between them.
//!
//! A context here is a *thread* in the eyes of the compiler, of std and of the libc. It has a stack of its own, and at the top of
//! that a thread-local block of its own, so `thread_local!`, errno, the panic count and re-entrant locks belong to it and
//! travel with it when it is parked on one operating-system thread and goes on on another. A switch is a dozen
//! instructions in user space.
//!
//! The modules, each of which uses only those above it:
//!
//! | module | what |
//! | --- | --- |
//! | [`mod@env`] | the ports: what is asked of the operating system, and of whoever has managed frames |
//! | [`managed`] | contiguous and segmented stacks, for interpreters and compilers that can describe their frames |
//! | [`os`], [`testing`] | Linux; and one that refuses the n-th call |
//! | [`stack`], [`pool`] | stacks by size class, carved from large regions, found from any address |
//! | [`context`], [`switch`] | a saved context; the switch in assembly |
//! | [`tls`] | thread-local blocks, laid out from what the libc says at run time |
//! | [`execution`], [`cache`] | stack, block and context together, pooled; and a part of the pool for each P |
//! | [`altstack`], [`overflow`] | a stack overflow reported by name |
//!
//! # Example
//!
//! ```
//! use gostack::context::Context;
//! use gostack::execution::{ContextPool, ExecutionContext};
//! use gostack::{os::Linux, stack::StackClass, tls::ThreadLocals};
//!
//! struct Shared { thread: ExecutionContext, sum: u32 }
//!
//! unsafe extern "C" fn entry(shared: *mut ()) -> *const Context {
//!     // SAFETY: the creator passes this and waits.
//!     let shared = unsafe { &mut *shared.cast::<Shared>() };
//!     shared.sum += 42;
//!     shared.thread.context() // the successor
//! }
//!
//! let pool = ContextPool::new(
//!     Linux::default(), StackClass::DEFAULT, ThreadLocals::per_context()?, std::alloc::Layout::new::<()>(),
//! )?;
//! let mut shared = Shared { thread: ExecutionContext::adopt_thread()?, sum: 0 };
//! let shared_pointer = &raw mut shared;
//! // SAFETY: `entry` gets what it expects, and its successor is this thread, which is parked meanwhile.
//! unsafe {
//!     let context = pool.create(entry, shared_pointer.cast())?;
//!     pool.switcher().switch((*shared_pointer).thread.context(), context.context());
//!     pool.retire(context);
//! }
//! assert_eq!(shared.sum, 42);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(not(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu")))]
compile_error!(
    "gostack knows the stacks, thread-locals and registers of x86-64 Linux with glibc only"
);

pub mod altstack;
pub mod cache;
pub mod context;
pub mod env;
pub mod execution;
pub mod managed;
pub mod os;
pub mod overflow;
pub mod pool;
pub mod stack;
pub mod switch;
pub mod testing;
pub mod tls;
