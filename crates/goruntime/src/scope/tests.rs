//! What tests of `std::thread::scope` ask, on goroutines and on threads, and under many schedules.

use super::*;
use crate::{chan, go, simulation, time, yield_now};
use std::cell::Cell;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// On a goroutine, on a plain thread, and under so many schedules.
fn everywhere(f: fn()) {
    f();
    go(f).join().unwrap();
    simulation::check(100, f);
}

fn panics(f: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(f)).is_err()
}

#[test]
fn goroutines_borrow_and_change_what_is_outside() {
    everywhere(|| {
        let numbers: Vec<u64> = (1..=100).collect();
        let mut sums = [0; 4];
        scope(|s| {
            for (sum, part) in sums.iter_mut().zip(numbers.chunks(25)) {
                s.go(|| *sum = part.iter().sum());
            }
        });
        assert_eq!(sums.iter().sum::<u64>(), 5050);
    });
}

#[test]
fn all_are_waited_for_whatever_becomes_of_the_handles() {
    everywhere(|| {
        let ended = AtomicUsize::new(0);
        let late = || {
            time::sleep(Duration::from_millis(3));
            ended.fetch_add(1, Relaxed);
        };
        scope(|s| {
            drop(s.go(late));
            std::mem::forget(s.go(late));
            s.go(late).join().unwrap();
            // Children of children.
            s.go(|| _ = s.go(late));
        });
        assert_eq!(ended.load(Relaxed), 4);
    });
}

#[test]
fn a_panic_of_the_scope_waits_for_all_first() {
    everywhere(|| {
        let ended = AtomicBool::new(false);
        let why = catch_unwind(AssertUnwindSafe(|| {
            scope(|s| {
                s.go(|| {
                    time::sleep(Duration::from_millis(3));
                    ended.store(true, Relaxed);
                });
                panic!("of the scope");
            })
        }));
        assert!(ended.load(Relaxed));
        let payload = why.unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&"of the scope"));
    });
}

#[test]
fn a_panic_that_is_joined_is_an_error_and_one_that_is_not_is_a_panic() {
    let both = || {
        scope(|s| {
            let panics = s.go(|| panic!("of a goroutine"));
            let panic: Result<(), Panic> = panics.join();
            assert_eq!(panic.unwrap_err().message(), Some("of a goroutine"));
        });
        assert!(panics(|| scope(|s| {
            s.go(|| panic!("unseen"));
        })));
        // In a simulation a panic that nobody has joined is a failure, so not there.
    };
    both();
    go(both).join().unwrap();
}

#[test]
fn a_result_is_dropped_before_the_scope_ends() {
    struct Marks<'a>(&'a AtomicBool);
    impl Drop for Marks<'_> {
        fn drop(&mut self) {
            yield_now();
            self.0.store(true, Relaxed);
        }
    }
    everywhere(|| {
        let dropped = AtomicBool::new(false);
        scope(|s| {
            s.go(|| Marks(&dropped));
        });
        assert!(dropped.load(Relaxed));
        let leaked = AtomicBool::new(false);
        scope(|s| std::mem::forget(s.go(|| Marks(&leaked))));
        assert!(!leaked.load(Relaxed), "nobody may drop what was leaked");
    });
}

#[test]
fn captures_are_dropped_before_the_scope_ends_also_when_the_closure_panics() {
    struct Looks<'a>(&'a Cell<u32>);
    // SAFETY: one goroutine has it, and the scope orders that before who looks next.
    unsafe impl Send for Looks<'_> {}
    impl Drop for Looks<'_> {
        fn drop(&mut self) {
            yield_now();
            self.0.set(self.0.get() + 1);
        }
    }
    let count = Cell::new(0);
    let looks = Looks(&count);
    assert!(panics(|| scope(|s| {
        s.go(move || {
            let _looks = looks;
            panic!("with something borrowed");
        });
    })));
    assert_eq!(count.get(), 1);
}

#[test]
fn handles_move_to_other_goroutines_of_the_scope() {
    everywhere(|| {
        let data = String::from("data");
        let length = scope(|s| {
            let length = s.go(|| data.len());
            let joins = s.go(move || length.join().unwrap() + 1);
            joins.join().unwrap()
        });
        assert_eq!(length, 5);
    });
}

#[test]
fn a_handle_says_when_its_goroutine_has_ended() {
    everywhere(|| {
        let (tx, rx) = chan::unbuffered::<()>();
        scope(|s| {
            let waits = s.go(|| rx.recv().is_err());
            assert!(!waits.is_finished());
            let waits = waits.try_join().unwrap_err();
            tx.close();
            assert!(waits.join().unwrap());
        });
    });
}

#[test]
fn goroutines_of_a_scope_may_have_names() {
    scope(|s| {
        let name = Builder::new()
            .name("borrower")
            .spawn_scoped(s, || crate::goroutines::current().unwrap().name)
            .unwrap();
        assert_eq!(name.join().unwrap().as_deref(), Some("borrower"));
    });
}
