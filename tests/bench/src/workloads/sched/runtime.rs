//! What a runtime whose tasks block offers, as far as the workloads use it.
//!
//! A task may be started and joined, may yield and sleep; channels and locks are the runtime's own. Functions rather than objects,
//! since each of these runtimes is one to a process.

use std::time::Duration;

/// A runtime whose tasks block.
pub trait Runtime: 'static {
    /// A task that was started.
    type Handle<T: Send + 'static>: Send;
    /// The end of a channel that values go into.
    type Sender<T: Send + 'static>: Clone + Send + 'static;
    /// The end of a channel that values come out of.
    type Receiver<T: Send + 'static>: Send + 'static;
    /// Exclusive access.
    type Mutex<T: Send + 'static>: Send + Sync + 'static;
    /// Shared or exclusive access.
    type RwLock<T: Send + Sync + 'static>: Send + Sync + 'static;

    /// Starts a task.
    fn spawn<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> Self::Handle<T>;
    /// Waits for a task; what it returned.
    fn join<T: Send + 'static>(handle: Self::Handle<T>) -> T;
    /// Lets others run.
    fn yield_now();
    /// Waits.
    fn sleep(time: Duration);

    /// A channel of that capacity, or of the nearest that the runtime has.
    fn channel<T: Send + 'static>(capacity: usize) -> (Self::Sender<T>, Self::Receiver<T>);
    /// Puts a value in. Nobody receiving any more is a broken workload.
    fn send<T: Send + 'static>(sender: &Self::Sender<T>, value: T);
    /// Takes a value out; `None` when all senders are gone.
    fn receive<T: Send + 'static>(receiver: &Self::Receiver<T>) -> Option<T>;
    /// The same, `None` also when none came in time.
    fn receive_within<T: Send + 'static>(receiver: &Self::Receiver<T>, time: Duration)
    -> Option<T>;

    /// A mutex around a value.
    fn mutex<T: Send + 'static>(value: T) -> Self::Mutex<T>;
    /// Access to what it protects.
    fn lock<T: Send + 'static, U>(mutex: &Self::Mutex<T>, f: impl FnOnce(&mut T) -> U) -> U;
    /// A lock around a value.
    fn rw_lock<T: Send + Sync + 'static>(value: T) -> Self::RwLock<T>;
    /// Shared access to what it protects.
    fn read<T: Send + Sync + 'static, U>(lock: &Self::RwLock<T>, f: impl FnOnce(&T) -> U) -> U;
    /// Exclusive access to what it protects.
    fn write<T: Send + Sync + 'static, U>(lock: &Self::RwLock<T>, f: impl FnOnce(&mut T) -> U)
    -> U;
}
