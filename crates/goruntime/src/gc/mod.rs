//! Garbage-collected objects for ordinary Rust code.
//!
//! [`Gc<T>`] is a copyable pointer to an object of the collected heap. It may be kept anywhere that the program
//! owns: on stacks, in statics and thread-locals, in `Box`, `Vec` and channels, and inside other collected objects. An object lives
//! as long as a pointer to it, or into it, is found in one of those places.
//!
//! ```
//! # #[global_allocator] static A: goruntime::GoMalloc = goruntime::GoMalloc::new();
//! use goruntime::gc::{Gc, GcPtr, Trace};
//!
//! #[derive(Trace)]
//! struct Node {
//!     value: u32,
//!     next: GcPtr<Node>,
//! }
//!
//! let first = Gc::new(Node { value: 1, next: GcPtr::null() });
//! let second = Gc::new(Node { value: 2, next: GcPtr::new(Some(first)) });
//! first.next.store(Some(second)); // a cycle is no problem
//! assert_eq!(second.next.load().unwrap().value, 1);
//! ```
//!
//! # What is required
//! - `goruntime::GoMalloc` is the global allocator (`#[goruntime::main]` sees to it): the collector looks for pointers in the
//!   memory that it hands out. Without it, creating an object panics with a message that says so.
//! - Memory that the program gets elsewhere (`mmap`, a C library) is not searched. Keep a [`Root`] for what is referenced only from
//!   there.
//! - The same of stacks that the program makes itself, for coroutines say: of one that is not running nothing is known.
//! - A thread that is not the runtime's and blocks `SIGURG` must not hold collected objects: it cannot be stopped. The runtime's own threads let the signal through,
//!   whatever mask the program was started with; if one of them is made to block it, collections fail, and say so.
//!
//! # What keeps an object alive
//! Inside collected objects the collector knows which words are pointers. Everywhere else any word that looks like the address of an object, or of a
//! place inside one, counts as a pointer. So a stale word, in the frame of a function that runs for long for instance, can keep an object, and all that it
//! leads to, for as long as the word stands there. A large structure that has to go at a certain moment is better emptied
//! (its fields set to null) than only dropped.
//!
//! # What happens when an object dies
//! Nothing that the program sees, until a collection finds it unreachable. From then on [weak pointers](Weak) lead nowhere; its fields are dropped, and [cleanups](add_cleanup) run,
//! on goroutines of the runtime's, in no particular order. A destructor that panics is reported, and keeps neither the other fields nor the other elements of an array from being dropped. Its type has no destructor of its own ([`Trace`](derive@Trace) refuses one), and cannot be brought back.
//!
//! # What is not collected
//! A cycle that passes through the Rust heap (`Gc` -> `Vec` -> the same `Gc`): whatever the Rust heap holds is alive. Use
//! [`Array`] and [`GcPtr`] for structures with cycles.

mod array;
mod cell;
mod cleanup;
mod dump;
mod object;
mod path;
mod ptr;
mod root;
mod weak;

pub use array::Array;
pub use cell::{GcCell, GcPtr};
pub use cleanup::{Cleanup, add_cleanup};
pub use dump::heap_dump;
pub use gogc::trace::{Field, PointerMap, Trace};
pub use goruntime_macros::Trace;
pub use path::{HeldBy, Path, Step, why_alive};
pub use ptr::Gc;
pub use root::Root;
pub use weak::Weak;

pub(crate) use object::{Header, Tag, TypeInfo, has_allocator};
pub(crate) use weak::Handle;

/// Runs a whole collection now and returns when it is done, as Go's `runtime.GC`.
///
/// Objects that were unreachable when it was called are freed, or queued for their drop glue.
pub fn collect() {
    crate::collector::collect();
}

/// Keeps the object alive up to here (Go's `runtime.KeepAlive`).
///
/// The collector sees what the compiler leaves of the program: an object may be dead as soon as its pointer is not used any more, though the variable is still in scope. That
/// matters where something else depends on it: a [cleanup](add_cleanup) that closes a descriptor, or a [weak pointer](Weak) that is to be good for a while.
#[inline]
pub fn keep_alive<T: ?Sized + 'static>(object: Gc<T>) {
    cell::keep(object.as_ptr().addr());
}
