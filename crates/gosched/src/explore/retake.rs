//! Taking a P from an M in user code: it is never with both, never with nobody, and whoever has it sees what the other did with it.

use super::{remove, weaken};
use crate::atomic::{AtomicBool, Ordering, spin_loop};
use crate::gmp::m::M;
use crate::gmp::p::P;
use crate::sched::Retake;
use crate::sched::retake::take;
use crate::sys::AsymmetricFence;
use goexplore::sync::Guarded;
use goexplore::{Exploration, thread};
use std::sync::Arc;

struct Shared {
    m: *mut M,
    p: *mut P,
    /// What belongs to the owner of the P.
    data: Guarded<u32>,
    handed_back: AtomicBool,
}

// SAFETY: the pointers are to shared things that live as long as this.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: from `into_raw`, and nobody else is left.
        unsafe {
            drop(Box::from_raw(self.m));
            drop(Box::from_raw(self.p));
        }
    }
}

impl Shared {
    fn new() -> Arc<Shared> {
        let shared = Shared {
            m: Box::into_raw(Box::new(M::new(0))),
            p: Box::into_raw(Box::new(P::new(0))),
            data: Guarded::new(0),
            handed_back: AtomicBool::new(false),
        };
        // SAFETY: both are alive, the M is in the runtime, and the P is free.
        unsafe {
            shared.m().acquire(shared.p());
            shared.m().leave();
        }
        Arc::new(shared)
    }

    fn m(&self) -> &'static M {
        // SAFETY: alive until `self` is dropped, and used no longer.
        unsafe { &*self.m }
    }

    fn p(&self) -> &'static P {
        // SAFETY: as above.
        unsafe { &*self.p }
    }

    fn use_p(&self) {
        // SAFETY: the caller has the P: that is what is explored.
        unsafe { self.data.with_mut(|n| *n += 1) };
    }

    /// The M goes in and out of the runtime, and waits for its P when it was taken.
    fn run(&self, fence: AsymmetricFence) {
        for _ in 0..2 {
            // SAFETY: this thread is the M; what was handed back is in its hands.
            unsafe {
                if self.m().enter(fence).is_none() {
                    while !self.handed_back.swap(false, Ordering::Acquire) {
                        spin_loop();
                    }
                    self.m().acquire(self.p());
                }
                self.use_p();
                self.m().leave();
            }
        }
    }

    /// The monitor takes the P twice, if it can, and hands it back.
    fn watch(&self, fence: AsymmetricFence) {
        for _ in 0..2 {
            if take(self.p(), || fence.heavy()) == Retake::Taken {
                self.use_p();
                self.handed_back.store(true, Ordering::Release);
            }
        }
    }
}

fn contend(fence: AsymmetricFence) {
    let shared = Shared::new();
    let theirs = shared.clone();
    let monitor = thread::spawn(move || theirs.watch(fence));
    shared.run(fence);
    monitor.join().unwrap();
}

#[test]
fn explore_taking_a_p() {
    let exploration = Exploration::exhaustive().preemptions(3).stale_reads(2);
    let with_membarrier = || contend(AsymmetricFence::Membarrier);
    let without = || contend(AsymmetricFence::Symmetric);
    exploration.check("gosched: taking a P", with_membarrier);
    exploration.check("gosched: taking a P, without membarrier", without);
    let plants = vec![
        remove("src/explore/retake.rs", concat!("fence.heavy()", ") ==")),
        weaken(
            "src/gmp/m.rs",
            "self.in_runtime.store(false, Ordering::Release)",
        ),
        weaken(
            "src/sched/retake.rs",
            "m.in_runtime.load(Ordering::Acquire)",
        ),
    ];
    exploration.catches("gosched: taking a P", plants, with_membarrier);
    let light = vec![remove(
        "src/explore/sys.rs",
        "AsymmetricFence::Symmetric => fence(Ordering::SeqCst),",
    )];
    exploration.catches("gosched: taking a P, without membarrier", light, without);
}
