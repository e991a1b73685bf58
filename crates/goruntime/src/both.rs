//! Two functions at once, of which one runs on a goroutine of its own.

use crate::runtime::Builder;
use crate::scope::scope;
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
    scope(|s| {
        let first = Builder::new()
            .spawn_scoped(s, first)
            .map_err(io::Error::other)?;
        let second = second();
        match first.join() {
            Ok(first) => Ok((first, second)),
            Err(panic) => panic.resume(),
        }
    })
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
    fn a_panic_is_the_callers() {
        let panicked = catch_unwind(AssertUnwindSafe(|| both(|| panic!("in the first"), || 1)));
        let payload = panicked.unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&"in the first"));
    }
}
