//! The run queue: every goroutine that goes in comes out once, by whichever way, and with it all that was done before it went in.

use super::weaken;
use crate::gmp::g::{GList, GRef, Header, Ops};
use crate::gmp::p::P;
use crate::gmp::ring::Ring;
use crate::time::Nanos;
use goexplore::sync::Guarded;
use goexplore::{Exploration, Plant, thread};
use std::ptr;
use std::sync::{Arc, OnceLock};

/// Goroutines that are only moved about; number 0 is what a slot holds that was never written to.
fn gs() -> &'static [GRef] {
    static GS: OnceLock<Vec<GRef>> = OnceLock::new();
    GS.get_or_init(|| {
        let new = || Header::new(Ops::unreachable(), ptr::null());
        (0..6).map(|_| &*Box::leak(Box::new(new()))).collect()
    })
}

struct Shared {
    ring: Ring<4>,
    /// What belongs to each goroutine.
    data: [Guarded<u32>; 6],
}

impl Shared {
    fn new() -> Arc<Shared> {
        let shared = Shared {
            ring: Ring::new(),
            data: [const { Guarded::new(0) }; 6],
        };
        // One lap, so that a slot read too early holds a goroutine, though a wrong one.
        for _ in 0..4 {
            // SAFETY: nobody else knows the ring.
            unsafe {
                shared.ring.push(gs()[0], &mut GList::new());
                shared.ring.pop();
            }
        }
        Arc::new(shared)
    }

    fn push(&self, number: usize, overflow: &mut GList) {
        // SAFETY: the goroutine is ours until it is pushed; the caller owns the ring.
        unsafe {
            self.data[number].with_mut(|n| *n = 1);
            self.ring.push(gs()[number], overflow);
        }
    }

    /// Marks what came out.
    fn take(&self, g: GRef) {
        let number = gs().iter().position(|known| ptr::eq(*known, g));
        let number = number.expect("a goroutine of the model");
        // SAFETY: it came out, so it is ours: that is what is explored.
        let before = unsafe { self.data[number].with_mut(|n| std::mem::replace(n, 2)) };
        assert_eq!(
            before, 1,
            "goroutine {number} came out without having gone in"
        );
    }

    fn steal(&self) {
        let mine = Ring::<4>::new();
        // SAFETY: this thread alone knows `mine`.
        unsafe {
            if let Some(g) = self.ring.steal(&mine) {
                self.take(g);
            }
            while let Some(g) = mine.pop() {
                self.take(g);
            }
        }
    }

    fn pop(&self) -> bool {
        // SAFETY: the caller owns the ring.
        let g = unsafe { self.ring.pop() };
        g.map(|g| self.take(g)).is_some()
    }

    fn drain(&self, count: usize, mut overflow: GList) {
        while self.pop() {}
        while let Some(g) = overflow.pop() {
            self.take(g);
        }
        for number in 1..=count {
            // SAFETY: everybody else has ended.
            let state = unsafe { self.data[number].with(|n| *n) };
            assert_eq!(state, 2, "goroutine {number} was lost");
        }
    }
}

/// The owner pushes and pops, beside two thieves or one that comes twice.
fn owner_and_thieves() {
    let shared = Shared::new();
    let mut overflow = GList::new();
    shared.push(1, &mut overflow);
    let others = [(); 2].map(|()| {
        let shared = shared.clone();
        thread::spawn(move || shared.steal())
    });
    shared.push(2, &mut overflow);
    shared.push(3, &mut overflow);
    shared.pop();
    for other in others {
        other.join().unwrap();
    }
    shared.drain(3, overflow);
}

/// The ring is full: half of it moves away while a thief takes from it.
fn overflow_beside_a_thief() {
    let shared = Shared::new();
    let mut overflow = GList::new();
    (1..=4).for_each(|number| shared.push(number, &mut overflow));
    let theirs = shared.clone();
    let thief = thread::spawn(move || {
        theirs.steal();
        theirs.steal();
    });
    shared.push(5, &mut overflow);
    thief.join().unwrap();
    shared.drain(5, overflow);
}

#[test]
fn explore_the_run_queue() {
    let exploration = Exploration::exhaustive().preemptions(2);
    exploration.check("gosched: owner and thieves", owner_and_thieves);
    exploration.check("gosched: overflow beside a thief", overflow_beside_a_thief);
    let file = "src/gmp/ring.rs";
    let plants = vec![
        weaken(
            file,
            "self.tail.store(tail.wrapping_add(1), Ordering::Release)",
        ),
        weaken(
            file,
            "let tail = self.tail.load(Ordering::Acquire);\n            let there",
        ),
    ];
    exploration.catches("gosched: owner and thieves", plants, owner_and_thieves);
}

/// The goroutine to run next is taken once, by its owner or by a thief, who sees what was done before it was put there.
fn run_next() {
    let p = Arc::new(P::new(0));
    let data: Arc<[Guarded<u32>; 3]> = Arc::new([const { Guarded::new(0) }; 3]);
    let take = |g: Option<GRef>, data: &[Guarded<u32>; 3]| {
        if let Some(g) = g {
            let number = gs().iter().position(|known| ptr::eq(*known, g)).unwrap();
            // SAFETY: it came out, so it is ours: that is what is explored.
            unsafe { data[number].with_mut(|n| *n += 1) };
        }
    };
    let push = |number: usize| {
        // SAFETY: this thread is the owner, and the goroutine is its own until it is pushed.
        unsafe {
            data[number].with_mut(|n| *n = 10);
            p.push_next(gs()[number], &mut GList::new());
        }
    };
    push(1);
    let (theirs, its) = (p.clone(), data.clone());
    let thief = thread::spawn(move || take(theirs.take_next(), &its));
    // SAFETY: this thread is the owner.
    let mine = unsafe { p.pop(Nanos::ZERO, || Nanos::ZERO) };
    let again = mine.is_some();
    take(mine, &data);
    if again {
        // The same one is there again, with something new: a thief that looked before must see that.
        push(1);
    }
    thief.join().unwrap();
    // SAFETY: as above; everybody else has ended.
    unsafe {
        take(p.pop(Nanos::ZERO, || Nanos::ZERO), &data);
        assert_eq!(data[1].with(|n| *n), 11, "it was not taken once");
    }
}

#[test]
fn explore_the_goroutine_to_run_next() {
    let exploration = Exploration::exhaustive().preemptions(3);
    exploration.check("gosched: run_next", run_next);
    let plants = vec![
        Plant::named("run_next is taken without an exchange"),
        weaken(
            "src/gmp/p.rs",
            "self.run_next\n            .compare_exchange(",
        ),
    ];
    exploration.catches("gosched: run_next", plants, run_next);
}
