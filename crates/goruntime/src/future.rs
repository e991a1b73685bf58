//! Between goroutines and futures, both ways: an asynchronous library used from blocking code, and blocking code from an asynchronous program.
//!
//! [`block_on`] polls a future on the calling goroutine and parks it in between; the future's waker readies it. Nothing else of an asynchronous runtime is provided: a
//! future that needs the reactor of tokio, say, has to be polled where that is in force (`Handle::enter`).
//!
//! [`go`] is a goroutine whose end can be awaited.
//!
//! Invariant of [`block_on`]: the permit of the semaphore stands for "woken since the last poll began". A wake-up before the goroutine parks leaves the permit, and parking takes
//! it at once; so none is lost. More than one permit is never kept.

use gosched::sync::Semaphore;
use gosched::{JoinHandle, Panic};
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Wakes whoever polls.
struct Parker {
    woken: AtomicBool,
    permit: Semaphore,
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, AcqRel) {
            self.permit.release(1);
        }
    }
}

/// Runs a future to its end on the calling goroutine or thread, which waits in between.
///
/// ```
/// let answer = goruntime::future::block_on(async { 6 * 7 });
/// assert_eq!(answer, 42);
/// ```
///
/// # Panics
/// As the future does.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let parker = Arc::new(Parker {
        woken: AtomicBool::new(false),
        permit: Semaphore::new(0),
    });
    let waker = Waker::from(Arc::clone(&parker));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        parker.permit.acquire(1);
        // Who finds the flag still set gives no permit; the exchange sees what he did before, and the poll that follows is for him too.
        parker.woken.swap(false, AcqRel);
    }
}

/// Starts a goroutine whose result is a future. Dropping the future lets the goroutine run on.
///
/// ```
/// # goruntime::future::block_on(async {
/// let sum = goruntime::future::go(|| 1 + 1);
/// assert_eq!(sum.await.unwrap(), 2);
/// # });
/// ```
///
/// # Panics
/// When there is no memory for its stack.
#[track_caller]
pub fn go<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> Goroutine<T> {
    let end = Arc::new(End::default());
    let announce = Announce(Arc::clone(&end));
    let handle = crate::go(move || {
        let _announce = announce;
        f()
    });
    Goroutine {
        handle: Some(handle),
        end,
    }
}

/// A goroutine as a future: of what it returns, or of its panic.
#[must_use = "the goroutine runs anyway, but its result is lost"]
pub struct Goroutine<T> {
    /// Until the future is ready.
    handle: Option<JoinHandle<T>>,
    end: Arc<End>,
}

/// What the goroutine and the future share.
#[derive(Default)]
struct End {
    reached: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

/// Announces the end of the goroutine's function, also when that panics.
struct Announce(Arc<End>);

impl Drop for Announce {
    fn drop(&mut self) {
        self.0.reached.store(true, Release);
        let waker = self
            .0
            .waker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Future for Goroutine<T> {
    type Output = Result<T, Panic>;

    /// # Panics
    /// When polled again after it was ready.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if !self.end.reached.load(Acquire) {
            let mut waker = self
                .end
                .waker
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            // Looked at again under the lock: whoever sets it takes the waker after.
            if !self.end.reached.load(Acquire) {
                waker.clone_from(&Some(context.waker().clone()));
                return Poll::Pending;
            }
        }
        let handle = self
            .handle
            .take()
            .expect("a future is not polled after it was ready");
        // What is left of the goroutine is handing over its result, so this does not wait for long.
        Poll::Ready(handle.join())
    }
}

impl<T> Unpin for Goroutine<T> {}

impl<T> fmt::Debug for Goroutine<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let finished = self.end.reached.load(Acquire);
        f.debug_struct("Goroutine")
            .field("finished", &finished)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Ready when polled for the `n`th time; woken from another thread or at once.
    struct Later {
        polls: u32,
        elsewhere: bool,
    }

    impl Future for Later {
        type Output = &'static str;

        fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<&'static str> {
            if self.polls == 0 {
                return Poll::Ready("done");
            }
            self.polls -= 1;
            let waker = context.waker().clone();
            if self.elsewhere {
                std::thread::spawn(move || {
                    waker.wake_by_ref();
                    waker.wake();
                });
            } else {
                waker.wake();
            }
            Poll::Pending
        }
    }

    #[test]
    fn futures_run_on_goroutines_and_threads() {
        for elsewhere in [false, true] {
            let later = move || Later {
                polls: 200,
                elsewhere,
            };
            assert_eq!(block_on(later()), "done");
            let on_goroutine = crate::go(move || block_on(later()));
            assert_eq!(on_goroutine.join().unwrap(), "done");
        }
    }

    #[test]
    fn goroutines_are_awaited() {
        let sum = block_on(async {
            let a = go(|| {
                crate::time::sleep(Duration::from_millis(5));
                1
            });
            let b = go(|| 2);
            a.await.unwrap() + b.await.unwrap()
        });
        assert_eq!(sum, 3);
        for n in 0..500 {
            assert_eq!(block_on(go(move || n)).unwrap(), n);
        }
    }

    #[test]
    fn a_panic_is_a_result() {
        let panicked = block_on(go(|| {
            if true {
                panic!("on purpose");
            }
        }));
        assert_eq!(panicked.unwrap_err().message(), Some("on purpose"));
    }
}
