//! The monitor's thread allocates nothing once it runs, whatever it finds.

use gosysmon::{
    Actions, Config, Driver, Memory, Nanos, Observation, PObservation, PState, Stall, Target, Task,
    Tasks,
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

thread_local! {
    /// Allocations of this thread are counted.
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

struct Counting;

impl Counting {
    fn count(&self) {
        if COUNTED.get() {
            ALLOCATIONS.fetch_add(1, Relaxed);
        }
    }
}

// SAFETY: hands everything on to the system's, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.count();
        // SAFETY: the caller's obligations are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        self.count();
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static GLOBAL: Counting = Counting;

const PS: usize = 64;

/// Held Ps and idle ones, calls and hogs, by turns; and one worker that never gets on.
struct Changing {
    start: Instant,
    observations: AtomicU64,
    acted: [AtomicU64; 4],
}

struct Seen(Arc<Changing>);

impl Target for Seen {
    fn observe(&self, into: &mut Observation) {
        let n = self.0.observations.fetch_add(1, Relaxed);
        into.now = Nanos(self.0.start.elapsed().as_nanos() as u64);
        into.last_poll = Some(Nanos(0));
        into.memory = Some(Memory {
            used: 99,
            limit: 100,
            stalled: Nanos(0),
        });
        into.set_ps((0..PS).map(|p| PObservation {
            state: [PState::Running, PState::Syscall][p % 2],
            tick: (n / 100) as u32,
            syscall_tick: (n / 100) as u32,
            has_work: true,
        }));
        COUNTED.set(n > 10);
    }

    fn act(&self, actions: &Actions) {
        let all = [
            actions.retake.len() as u64,
            u64::from(actions.poll_network),
            u64::from(actions.relieve_memory),
        ];
        for (sum, count) in self.0.acted.iter().zip(all) {
            sum.fetch_add(count, Relaxed);
        }
    }

    fn tasks(&self, into: &mut Tasks) {
        into.push(Task {
            worker: 1,
            task: 1,
            stamp: 1,
        });
    }

    fn stalled(&self, stalls: &[Stall]) {
        self.0.acted[3].fetch_add(stalls.len() as u64, Relaxed);
    }
}

#[test]
fn the_thread_allocates_nothing() {
    let target = Arc::new(Changing {
        start: Instant::now(),
        observations: AtomicU64::new(0),
        acted: Default::default(),
    });
    let config = Config {
        stall: Some(Nanos::millis(100)),
        slice: Nanos::millis(1),
        ..Config::default()
    };
    let driver = Driver::start(config, PS, Seen(Arc::clone(&target))).unwrap();
    let all_done = || target.acted.iter().all(|count| count.load(Relaxed) > 0);
    let deadline = Instant::now() + Duration::from_secs(20);
    while !all_done() || target.observations.load(Relaxed) < 500 {
        assert!(
            Instant::now() < deadline,
            "not everything has happened: {:?}",
            target.acted
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(ALLOCATIONS.load(Relaxed), 0);
    drop(driver);
}
