//! may as the workloads see it.
//!
//! Starting a coroutine is unsafe in may because it may move between threads while a thread-local is borrowed, and because its
//! stack of 32 KiB is small; the workloads use no thread-locals and a few hundred bytes of stack.

use bench::workloads::sched::runtime::Runtime;
use may::coroutine::{self, JoinHandle};
use may::go;
use may::sync::mpsc::{self, Receiver, Sender};
use may::sync::{Mutex, RwLock};
use std::panic::resume_unwind;
use std::sync::PoisonError;
use std::time::Duration;

/// may.
pub struct May;

impl Runtime for May {
    type Handle<T: Send + 'static> = JoinHandle<T>;
    type Sender<T: Send + 'static> = Sender<T>;
    type Receiver<T: Send + 'static> = Receiver<T>;
    type Mutex<T: Send + 'static> = Mutex<T>;
    type RwLock<T: Send + Sync + 'static> = RwLock<T>;

    fn spawn<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        go!(body)
    }

    fn join<T: Send + 'static>(handle: JoinHandle<T>) -> T {
        handle.join().unwrap_or_else(|panic| resume_unwind(panic))
    }

    fn yield_now() {
        coroutine::yield_now();
    }

    fn sleep(time: Duration) {
        coroutine::sleep(time);
    }

    fn channel<T: Send + 'static>(_: usize) -> (Sender<T>, Receiver<T>) {
        mpsc::channel()
    }

    fn send<T: Send + 'static>(sender: &Sender<T>, value: T) {
        sender.send(value).expect("somebody receives");
    }

    fn receive<T: Send + 'static>(receiver: &Receiver<T>) -> Option<T> {
        receiver.recv().ok()
    }

    fn receive_within<T: Send + 'static>(receiver: &Receiver<T>, time: Duration) -> Option<T> {
        receiver.recv_timeout(time).ok()
    }

    fn mutex<T: Send + 'static>(value: T) -> Mutex<T> {
        Mutex::new(value)
    }

    fn lock<T: Send + 'static, U>(mutex: &Mutex<T>, f: impl FnOnce(&mut T) -> U) -> U {
        f(&mut mutex.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn rw_lock<T: Send + Sync + 'static>(value: T) -> RwLock<T> {
        RwLock::new(value)
    }

    fn read<T: Send + Sync + 'static, U>(lock: &RwLock<T>, f: impl FnOnce(&T) -> U) -> U {
        f(&lock.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T: Send + Sync + 'static, U>(lock: &RwLock<T>, f: impl FnOnce(&mut T) -> U) -> U {
        f(&mut lock.write().unwrap_or_else(PoisonError::into_inner))
    }
}
