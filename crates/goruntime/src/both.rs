//! Two functions at once, of which one runs on a goroutine of its own.
//!
//! Invariant: the call does not return, nor unwind, before the goroutine has ended. So what the function borrows outlives it, though goroutines are made for what borrows nothing.

use gosched::JoinHandle;
use std::io;

/// Runs `first` on a goroutine and `second` on the caller's, and returns what both return.
///
/// # Errors
/// When no goroutine can be made; then neither has run.
///
/// # Panics
/// As the functions do, after both have ended.
pub(crate) fn both<A: Send, B>(
    first: impl FnOnce() -> A + Send,
    second: impl FnOnce() -> B,
) -> io::Result<(A, B)> {
    let mut result = None;
    let place = &mut result;
    let run: Box<dyn FnOnce() + Send + '_> = Box::new(move || *place = Some(first()));
    // SAFETY: only the lifetime changes. The goroutine that runs it is joined below, or while this frame is unwound, before anything that it borrows ends.
    let run: Box<dyn FnOnce() + Send + 'static> = unsafe { std::mem::transmute(run) };
    let handle = crate::Builder::new().spawn(run).map_err(io::Error::other)?;
    let joining = Joining(Some(handle));
    let of_second = second();
    joining.join();
    let of_first = result.expect("it has run to its end");
    Ok((of_first, of_second))
}

struct Joining(Option<JoinHandle<()>>);

impl Joining {
    fn join(mut self) {
        let handle = self.0.take().expect("not joined yet");
        if let Err(panic) = handle.join() {
            panic.resume();
        }
    }
}

impl Drop for Joining {
    fn drop(&mut self) {
        if let Some(handle) = self.0.take() {
            // A panic is under way already.
            let _ = handle.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn both_borrow_and_return() {
        let text = String::from("borrowed");
        let (a, b) = both(|| text.len(), || text.to_uppercase()).unwrap();
        assert_eq!((a, b.as_str()), (8, "BORROWED"));
    }

    #[test]
    fn a_panic_waits_for_the_other() {
        let ended = std::sync::atomic::AtomicBool::new(false);
        let relaxed = std::sync::atomic::Ordering::Relaxed;
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            both(
                || {
                    crate::time::sleep(std::time::Duration::from_millis(20));
                    ended.store(true, relaxed);
                },
                || panic!("in the second"),
            )
        }));
        assert!(panicked.is_err() && ended.load(relaxed));
        let panicked = catch_unwind(AssertUnwindSafe(|| both(|| panic!("in the first"), || 1)));
        let payload = panicked.unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&"in the first"));
    }
}
