//! Sleeping until somebody calls, where calls are frequent and sleepers rare.
//!
//! Who sleeps looks at the word ([`seen`](Calls::seen)), then whether there is something to do, notes that it is going to sleep, and sleeps if the word is the same
//! ([`sleep`](Calls::sleep)). Who has something to do makes that visible, changes the word, and looks whether anybody sleeps ([`call`](Calls::call)): if not, that is all.
//!
//! **No call is lost.** The word and the count of sleepers are sequentially consistent. Either the sleeper looked after the caller had made its matter visible; or it read the word
//! before the call changed it. Then, if its note comes before the caller's look in the order of all, it is woken, or finds the word changed; and if it comes after, the
//! change of the word does so as well, and the kernel, which compares when it puts it to sleep, finds that.

use super::futex;
use crate::atomic::{AtomicU32, Ordering::*};
use std::time::Duration;

#[cfg(all(test, explore))]
mod explore;

/// See the module.
pub struct Calls {
    word: AtomicU32,
    asleep: AtomicU32,
}

impl Calls {
    /// One that nobody sleeps on.
    pub const fn new() -> Calls {
        Calls {
            word: AtomicU32::new(0),
            asleep: AtomicU32::new(0),
        }
    }

    /// To be asked before the look for something to do.
    pub fn seen(&self) -> u32 {
        self.word.load(SeqCst)
    }

    /// Wakes whoever sleeps. To be called when what there is to do is visible.
    pub fn call(&self) {
        self.word.fetch_add(1, SeqCst);
        if self.asleep.load(SeqCst) != 0 {
            futex::wake(&self.word, usize::MAX);
        }
    }

    /// Sleeps until there was a call since that was seen, but not for longer than this: false if there was none.
    pub fn sleep(&self, seen: u32, most: Duration) -> bool {
        self.asleep.fetch_add(1, SeqCst);
        let called = futex::wait(&self.word, seen, Some(most));
        self.asleep.fetch_sub(1, SeqCst);
        called
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_call_ends_a_sleep_and_one_that_was_before_prevents_it() {
        const LONG: Duration = Duration::from_secs(100);
        let calls = Calls::new();
        let begin = Instant::now();
        let seen = calls.seen();
        assert!(!calls.sleep(seen, Duration::from_micros(10)));
        calls.call();
        assert!(calls.sleep(seen, LONG));
        std::thread::scope(|scope| {
            let (calls, seen) = (&calls, calls.seen());
            let sleeper = scope.spawn(move || calls.sleep(seen, LONG));
            std::thread::sleep(Duration::from_millis(1));
            calls.call();
            assert!(sleeper.join().unwrap());
        });
        assert!(begin.elapsed() < LONG);
    }
}
