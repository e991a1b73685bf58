//! The controller in a loop with a program: synthetic cycles, over the situations that Go tests its pacer with.
//!
//! A [`Program`] says, cycle by cycle, what the mutators are like; [`Simulation`] plays a cycle as the collector would run it, in small steps of time: background workers take a
//! quarter of the processors, mutators allocate with the rest, and mark instead as far as the assist ratio demands. Nothing sleeps, nothing is random.

use super::*;

/// Processors.
const PROCS: f64 = 8.0;

/// What the mutators do in one cycle.
#[derive(Clone, Copy)]
struct Load {
    /// Bytes allocated per second of processor time.
    rate: f64,
    /// Bytes looked through per second of processor time.
    scan_rate: f64,
    /// The part of the heap that survives, of what was allocated since the last cycle.
    survives: f64,
    /// The most that lives.
    live_max: f64,
    stacks: f64,
    globals: f64,
    /// Of the Rust heap.
    external: f64,
}

const STEADY: Load = Load {
    rate: 33e6,
    scan_rate: 1e9,
    survives: 0.3,
    live_max: 256e6,
    stacks: 8e3,
    globals: 32e3,
    external: 0.0,
};

/// What a cycle was like.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    goal: f64,
    trigger: f64,
    /// The heap when marking was over.
    peak: f64,
    /// The part of processor time that marking took of the mutators, from the beginning to the end of the cycle.
    utilisation: f64,
    live: f64,
    /// What the next goal is computed from: that, and what was allocated while it was marked.
    kept: f64,
    /// The part of all time in which the cycle was marking.
    busy: f64,
}

struct Simulation {
    pacer: Pacer,
    now: f64,
    /// Collected objects found live.
    live: f64,
    heap: f64,
}

impl Simulation {
    fn new(config: Config) -> Simulation {
        Simulation {
            pacer: Pacer::concurrent(config, &HeapUsage::default()),
            now: 0.0,
            live: 0.0,
            heap: 0.0,
        }
    }

    fn usage(&self, load: &Load) -> HeapUsage {
        let bytes = |n: f64| Bytes(n as u64);
        HeapUsage {
            collected: bytes(self.heap),
            external: bytes(load.external),
            mapped: bytes(self.heap + load.external + load.stacks + load.globals),
            idle: Bytes(0),
        }
    }

    fn nanos(&self) -> Nanos {
        Nanos((self.now * 1e9) as u64)
    }

    fn cycle(&mut self, load: &Load) -> Outcome {
        let began = self.now;
        let mut step = 0.0;
        let reason = loop {
            self.pacer.revise(&self.usage(load));
            if let Some(reason) = self.pacer.due(&self.usage(load), self.nanos()) {
                break reason;
            }
            step = (step * 1.5_f64).clamp(1e-6, 1e-3);
            self.now += step;
            self.heap += load.rate * PROCS * step;
        };
        let (goal, trigger, started) = (self.pacer.goal().0 as f64, self.heap, self.now);
        let usage_then = self.usage(load);
        let allocated = (self.heap - self.live).max(0.0);
        let survivors = (self.live + allocated * load.survives).min(load.live_max);
        let work = survivors + load.stacks + load.globals + load.external;
        let (mut scanned, mut taken) = (0.0, 0.0);
        while scanned < work {
            let step = 2e-5;
            self.now += step;
            let background = UTILISATION * PROCS * step;
            scanned += background * load.scan_rate;
            // With a ratio of r, a second of mutators allocates x and marks r * x.
            let ratio = self
                .pacer
                .assist_ratio(&self.usage(load), Bytes(scanned as u64));
            let time = (1.0 - UTILISATION) * PROCS * step;
            let owed_rate = (ratio - background * load.scan_rate / (load.rate * time)).max(0.0);
            let allocating = time / (1.0 + owed_rate * load.rate / load.scan_rate);
            self.heap += load.rate * allocating;
            scanned += (time - allocating) * load.scan_rate;
            let collection = background + time - allocating;
            taken += collection;
            let spent = Nanos((collection * 1e9) as u64);
            self.pacer.note_time(self.nanos(), spent, PROCS as usize);
        }
        let (peak, took) = (self.heap, self.now - started);
        let utilisation = taken / (took * PROCS);
        self.live = survivors;
        self.heap = survivors + (peak - trigger);
        let report = CycleReport {
            reason,
            started: Nanos((started * 1e9) as u64),
            ended: self.nanos(),
            usage: self.usage(load),
            roots: Bytes((load.stacks + load.globals) as u64),
            concurrent: Some(ConcurrentReport {
                heap_at_start: usage_then.collected + usage_then.external,
                heap_at_end: Bytes((peak + load.external) as u64),
                scanned: Bytes(work as u64),
                utilisation,
                idle: 0.0,
            }),
        };
        self.pacer.finish_cycle(&report);
        Outcome {
            goal,
            trigger: trigger + load.external,
            peak: peak + load.external,
            utilisation,
            live: survivors,
            kept: self.heap,
            busy: took / (self.now - began),
        }
    }

    fn cycles(&mut self, n: usize, load: impl Fn(usize) -> Load) -> Vec<Outcome> {
        (0..n).map(|i| self.cycle(&load(i))).collect()
    }
}

fn percent(percent: u32) -> Config {
    Config {
        percent: GcPercent::Percent(percent),
        memory_limit: None,
    }
}

fn limited(mib: u64) -> Config {
    Config {
        percent: GcPercent::Off,
        memory_limit: Some(Bytes::mib(mib)),
    }
}

/// The heap at the end is near the goal: not over it by more than a tenth, and not so far below that a cycle was in vain.
fn assert_on_goal(outcomes: &[Outcome]) {
    for outcome in outcomes {
        let ratio = outcome.peak / outcome.goal;
        assert!(
            (0.9..1.1).contains(&ratio),
            "{ratio} of the goal: {outcome:?}"
        );
        assert!(outcome.trigger < outcome.goal);
    }
}

fn assert_utilisation(outcomes: &[Outcome], near: f64) {
    for outcome in outcomes {
        let off = (outcome.utilisation - near).abs();
        assert!(
            off < 0.08,
            "utilisation {}: {outcome:?}",
            outcome.utilisation
        );
    }
}

#[test]
fn steady() {
    let mut sim = Simulation::new(percent(100));
    let outcomes = sim.cycles(50, |_| STEADY);
    assert_on_goal(&outcomes[25..]);
    assert_utilisation(&outcomes[25..], UTILISATION);
    let [before, last] = [outcomes[48], outcomes[49]];
    assert!((last.goal / before.kept - 2.0).abs() < 0.01, "{last:?}");
}

#[test]
fn big_stacks_and_big_globals_earn_room() {
    for (stacks, globals) in [(128e6, 32e3), (8e3, 128e6)] {
        let load = Load {
            stacks,
            globals,
            ..STEADY
        };
        let mut sim = Simulation::new(percent(100));
        let outcomes = sim.cycles(50, |_| load);
        assert_on_goal(&outcomes[25..]);
        assert_utilisation(&outcomes[25..], UTILISATION);
        let [before, last] = [outcomes[48], outcomes[49]];
        let expected = 2.0 * before.kept + stacks + globals;
        assert!((last.goal / expected - 1.0).abs() < 0.01, "{last:?}");
    }
}

#[test]
fn a_big_rust_heap_is_work_and_room_at_once() {
    let load = Load {
        external: 200e6,
        ..STEADY
    };
    let mut sim = Simulation::new(percent(100));
    let outcomes = sim.cycles(50, |_| load);
    assert_on_goal(&outcomes[25..]);
    assert_utilisation(&outcomes[25..], UTILISATION);
}

#[test]
fn a_step_in_the_rate_of_allocation_is_learned() {
    for factor in [4.0, 0.2] {
        let mut sim = Simulation::new(percent(100));
        let outcomes = sim.cycles(100, |i| Load {
            rate: if i < 50 {
                STEADY.rate
            } else {
                STEADY.rate * factor
            },
            ..STEADY
        });
        assert_on_goal(&outcomes[25..50]);
        assert_on_goal(&outcomes[75..]);
        // The first cycle after the step has to assist, and is on goal all the same.
        assert!(
            outcomes[50].peak < 1.1 * outcomes[50].goal,
            "{:?}",
            outcomes[50]
        );
    }
}

#[test]
fn a_step_in_what_lives_is_survived() {
    let mut sim = Simulation::new(percent(100));
    let outcomes = sim.cycles(100, |i| Load {
        live_max: if i < 50 { 64e6 } else { 256e6 },
        survives: if i < 50 { 0.3 } else { 0.9 },
        ..STEADY
    });
    assert_on_goal(&outcomes[25..50]);
    assert_on_goal(&outcomes[80..]);
    assert!(outcomes[50..].iter().all(|o| o.peak < 1.25 * o.goal));
}

#[test]
fn jagged_loads_do_not_make_it_swing() {
    let mut sim = Simulation::new(percent(100));
    let outcomes = sim.cycles(200, |i| Load {
        rate: STEADY.rate * if i % 2 == 0 { 0.4 } else { 2.0 },
        scan_rate: STEADY.scan_rate * if i % 3 == 0 { 0.6 } else { 1.0 },
        ..STEADY
    });
    for outcome in &outcomes[25..] {
        assert!(outcome.peak < 1.1 * outcome.goal, "{outcome:?}");
        assert!(outcome.utilisation < 0.6, "{outcome:?}");
    }
}

#[test]
fn a_high_gogc_leaves_the_goal_to_be_reached() {
    let mut sim = Simulation::new(percent(1500));
    let outcomes = sim.cycles(50, |_| Load {
        live_max: 64e6,
        ..STEADY
    });
    for outcome in &outcomes[10..] {
        assert!(
            outcome.peak < 1.1 * outcome.goal && outcome.peak > 0.7 * outcome.goal,
            "{outcome:?}"
        );
    }
    assert_utilisation(&outcomes[25..], UTILISATION);
}

#[test]
fn a_heap_below_the_minimum_is_collected_at_the_minimum() {
    let mut sim = Simulation::new(percent(100));
    let outcomes = sim.cycles(50, |_| Load {
        live_max: 1e6,
        rate: 8e6,
        ..STEADY
    });
    for outcome in &outcomes[10..] {
        assert_eq!(outcome.goal, MIN_HEAP.0 as f64);
        assert!(
            outcome.trigger >= 0.6 * outcome.goal && outcome.peak < 1.1 * outcome.goal,
            "{outcome:?}"
        );
    }
}

#[test]
fn a_memory_limit_is_kept() {
    let mut sim = Simulation::new(limited(512));
    let outcomes = sim.cycles(50, |_| Load {
        live_max: 150e6,
        ..STEADY
    });
    for outcome in &outcomes[5..] {
        assert!(outcome.peak <= Bytes::mib(512).0 as f64, "{outcome:?}");
        assert!(
            outcome.peak >= 0.8 * Bytes::mib(512).0 as f64,
            "collected too early: {outcome:?}"
        );
    }
}

#[test]
fn a_limit_and_a_percentage_together_are_the_smaller_of_the_two() {
    let config = Config {
        percent: GcPercent::Percent(100),
        memory_limit: Some(Bytes::mib(384)),
    };
    let mut sim = Simulation::new(config);
    let outcomes = sim.cycles(60, |i| Load {
        live_max: if i < 30 { 64e6 } else { 256e6 },
        survives: 0.6,
        ..STEADY
    });
    assert!(outcomes[29].goal < 2.2 * 64e6);
    for outcome in &outcomes[40..] {
        assert!(outcome.peak <= Bytes::mib(384).0 as f64, "{outcome:?}");
    }
}

/// What lives does not fit: collection takes half of the time and no more, and the heap grows over the limit instead.
#[test]
fn an_unreachable_limit_does_not_stop_the_program() {
    let mut sim = Simulation::new(limited(64));
    let load = Load {
        live_max: 200e6,
        survives: 0.9,
        ..STEADY
    };
    let outcomes = sim.cycles(300, |_| load);
    let allocated: f64 = outcomes[100..].iter().map(|o| o.peak - o.live).sum();
    assert!(allocated > 0.0);
    let busy = outcomes[100..].iter().map(|o| o.busy).sum::<f64>() / 200.0;
    assert!(busy < 0.6, "marking for {busy} of the time");
}
