//! Objects that are to die, for tests of what comes of it.
//!
//! They are made on goroutines of their own and by the hundred: a conservative collector may keep a few for a word that looks like a pointer.

use crate::eventually;
use goruntime::gc;
use std::hint::black_box;
use std::time::Duration;

/// Longer than anything takes that is waited for.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Objects of a test.
pub const MANY: usize = 300;

/// How many of them have to die.
pub const MOST: usize = MANY - MANY / 20;

/// Collects until the condition holds. What was freed is allocated again meanwhile, by `make` with numbers, so that who still uses it notices.
///
/// # Panics
/// When it does not in all that time; `what` says what was waited for.
pub fn collect_until<T>(what: &str, make: impl Fn(usize) -> T, mut holds: impl FnMut() -> bool) {
    eventually(what, PATIENCE, || {
        gc::collect();
        (0..5000).for_each(|n| drop(black_box(make(n))));
        holds()
    });
}
