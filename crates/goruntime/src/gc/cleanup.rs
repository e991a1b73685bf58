//! What is to be done when an object is dead.
//!
//! Invariant: nothing here keeps the object alive. Its address is kept only where, or in a form in which, the collector does not take it for one; what the
//! cleanup itself has of it is looked at when it is added.

use super::{Gc, keep_alive};
use crate::collector;
use crate::finalizer::Task;
use gogc::specials::CleanupId;

/// Has `cleanup(argument)` called once, on a goroutine, when `object` has become unreachable (Go's `runtime.AddCleanup`).
///
/// ```
/// # #[global_allocator] static A: goruntime::GoMalloc = goruntime::GoMalloc::new();
/// use goruntime::gc::{self, Gc, Trace};
/// use std::os::fd::{FromRawFd, OwnedFd, RawFd};
///
/// #[derive(Trace)]
/// struct Device {
///     descriptor: RawFd,
/// }
///
/// # let fd = std::os::fd::IntoRawFd::into_raw_fd(std::fs::File::open("/dev/null")?);
/// let device = Gc::new(Device { descriptor: fd });
/// // SAFETY: nobody else closes it.
/// gc::add_cleanup(device, |fd| drop(unsafe { OwnedFd::from_raw_fd(fd) }), device.descriptor);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// What needs nothing but to be dropped needs no cleanup: the fields of a dead object are dropped by themselves.
///
/// # When, and in which order
/// - After a collection has found the object unreachable. There may be none before the program ends, and its end runs no cleanup.
/// - An object may have several. They run in no particular order, and some may run at the same time, those of one object too. Cycles make no
///   difference: all that died together are cleaned up.
/// - [Weak pointers](super::Weak) to the object lead nowhere by then. Its fields may have been dropped or not, if there is something to drop.
/// - A cleanup that panics is reported like any goroutine, and holds up no other; nor does an argument, or what a panic was raised with, that panics while it is dropped. One that
///   blocks holds up the others for some milliseconds at most.
///
/// # What keeps the object alive
/// - The cleanup and its argument, if they lead to it: then it never runs. An argument that is, or a closure that captures, a pointer to
///   the object is refused; one that leads there in several steps cannot be told.
/// - Not the use of something that was read out of it. If the cleanup closes a descriptor, say, whoever uses that has to hold on to the object until then,
///   with [`keep_alive`] at the end.
///
/// # No finalizers
/// A finalizer, which gets the object itself and may bring it back to life, is not offered (Go advises against its own). Put what has to survive into an object of its own,
/// which the one with the cleanup points to, and pass that as the argument.
///
/// # Panics
/// If `argument` or `cleanup` is, or has within itself, a pointer to the object or into it.
#[track_caller]
pub fn add_cleanup<T: 'static, A: Send + 'static>(
    object: Gc<T>,
    cleanup: impl FnOnce(A) + Send + 'static,
    argument: A,
) -> Cleanup {
    let address = object.as_ptr().addr();
    assert!(
        !points_to(&argument, address),
        "the argument of the cleanup points to the object: it would never run"
    );
    assert!(
        !points_to(&cleanup, address),
        "the cleanup has captured a pointer to the object: it would never run"
    );
    let task = Task::Cleanup(Box::new(move || cleanup(argument)));
    let section = gomem::critical::enter();
    let id = collector::specials().attach_cleanup(address, task);
    // As is required of who attaches something.
    if collector::barrier_on() {
        collector::shade(address, 0);
    }
    drop(section);
    keep_alive(object);
    Cleanup {
        hidden: !address,
        id,
    }
}

/// A cleanup that was added. Does not keep its object alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cleanup {
    /// The address of the object, in a form in which it is none.
    hidden: usize,
    id: CleanupId,
}

impl Cleanup {
    /// Takes the cleanup back; its argument is dropped here. False if it was too late for that: it has run or is about to, or was taken back before.
    ///
    /// As long as the object is reachable it is not too late.
    pub fn stop(self) -> bool {
        let section = gomem::critical::enter();
        let task = collector::specials().detach_cleanup(!self.hidden, self.id);
        drop(section);
        task.is_some()
    }
}

/// Is any word of the value an address within the object at `address`?
fn points_to<V>(value: &V, address: usize) -> bool {
    const WORD: usize = size_of::<usize>();
    let Some(object) = gomem::heap().find(address) else {
        return false;
    };
    let base = object.base().addr().get();
    let start = std::ptr::from_ref(value).addr();
    let words = start.next_multiple_of(WORD)..(start + size_of::<V>()) & !(WORD - 1);
    words.step_by(WORD).any(|at| {
        let at = std::ptr::from_ref(value).with_addr(at).cast::<usize>();
        // SAFETY: a whole word of the value, which may be uninitialised.
        let word = unsafe { gogc::word::load(at) };
        (base..base + object.size()).contains(&word)
    })
}
