//! goruntime as the workloads see it.

use bench::workloads::sched::runtime::Runtime;
use goruntime::JoinHandle;
use goruntime::chan::{self, Receiver, Sender};
use goruntime::sync::{Mutex, RwLock};
use std::time::{Duration, Instant};

/// goruntime.
pub struct Ours;

impl Runtime for Ours {
    type Handle<T: Send + 'static> = JoinHandle<T>;
    type Sender<T: Send + 'static> = Sender<T>;
    type Receiver<T: Send + 'static> = Receiver<T>;
    type Mutex<T: Send + 'static> = Mutex<T>;
    type RwLock<T: Send + Sync + 'static> = RwLock<T>;

    fn spawn<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        goruntime::go(body)
    }

    fn join<T: Send + 'static>(handle: JoinHandle<T>) -> T {
        handle.join().unwrap_or_else(|panic| panic.resume())
    }

    fn yield_now() {
        goruntime::yield_now();
    }

    fn sleep(time: Duration) {
        goruntime::time::sleep(time);
    }

    fn channel<T: Send + 'static>(capacity: usize) -> (Sender<T>, Receiver<T>) {
        match capacity {
            0 => chan::unbuffered(),
            _ => chan::bounded(capacity),
        }
    }

    fn send<T: Send + 'static>(sender: &Sender<T>, value: T) {
        sender.send(value).expect("somebody receives");
    }

    fn receive<T: Send + 'static>(receiver: &Receiver<T>) -> Option<T> {
        receiver.recv().ok()
    }

    fn receive_within<T: Send + 'static>(receiver: &Receiver<T>, time: Duration) -> Option<T> {
        receiver.recv_until(Instant::now() + time).ok()
    }

    fn mutex<T: Send + 'static>(value: T) -> Mutex<T> {
        Mutex::new(value)
    }

    fn lock<T: Send + 'static, U>(mutex: &Mutex<T>, f: impl FnOnce(&mut T) -> U) -> U {
        f(&mut mutex.lock())
    }

    fn rw_lock<T: Send + Sync + 'static>(value: T) -> RwLock<T> {
        RwLock::new(value)
    }

    fn read<T: Send + Sync + 'static, U>(lock: &RwLock<T>, f: impl FnOnce(&T) -> U) -> U {
        f(&lock.read())
    }

    fn write<T: Send + Sync + 'static, U>(lock: &RwLock<T>, f: impl FnOnce(&mut T) -> U) -> U {
        f(&mut lock.write())
    }
}
