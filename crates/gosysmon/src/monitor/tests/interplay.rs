//! All rules at once: a scheduler that does at random what schedulers do, for thousands of steps and for hours, and the invariants that hold meanwhile.

use proptest::prelude::*;

use super::{observation, p};
use crate::monitor::*;
use crate::pressure::Memory;

/// A scheduler that does at random what schedulers do.
#[derive(Clone, Copy, Debug)]
enum Change {
    Run(usize),
    Call(usize),
    Release(usize),
    Queue(usize, bool),
    Poll(bool),
    Collected,
    Stop(bool),
    /// A timer, so many milliseconds from now.
    Timer(Option<u64>),
    /// So many percent of the memory limit are in use.
    Memory(u64),
    Scavenge(bool),
    Nothing,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => (0usize..4).prop_map(Change::Run),
        3 => (0usize..4).prop_map(Change::Call),
        2 => (0usize..4).prop_map(Change::Release),
        2 => (0usize..4, any::<bool>()).prop_map(|(p, work)| Change::Queue(p, work)),
        1 => any::<bool>().prop_map(Change::Poll),
        1 => Just(Change::Collected),
        1 => prop::bool::weighted(0.2).prop_map(Change::Stop),
        1 => prop::option::of(0u64..500).prop_map(Change::Timer),
        1 => (0u64..100).prop_map(Change::Memory),
        1 => any::<bool>().prop_map(Change::Scavenge),
        20 => Just(Change::Nothing),
    ]
}

#[derive(Default)]
struct Model {
    ps: [PObservation; 4],
    /// With which tick each P was asked for last, and when.
    asked: [Option<(u32, Nanos)>; 4],
    relieved: Option<Nanos>,
    looked_at_locks: Option<Nanos>,
    done: Done,
}

/// How often each thing was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Done {
    polls: u64,
    calls_taken: u64,
    slices_taken: u64,
    collections: u64,
    scavenges: u64,
    reliefs: u64,
    looks_at_locks: u64,
    deep_sleeps: u64,
}

impl Model {
    fn apply(&mut self, change: Change, observation: &mut Observation) {
        match change {
            Change::Run(p) => {
                self.ps[p].state = PState::Running;
                self.ps[p].tick += 1;
            }
            Change::Call(p) => {
                if self.ps[p].state != PState::Idle {
                    self.ps[p].state = PState::Syscall;
                    self.ps[p].syscall_tick += 1;
                }
            }
            Change::Release(p) => self.ps[p].state = PState::Idle,
            Change::Queue(p, work) => self.ps[p].has_work = work,
            Change::Poll(waited_for) => {
                observation.last_poll = waited_for.then_some(observation.now)
            }
            Change::Collected => observation.last_gc = observation.now,
            Change::Stop(stop) => observation.stopping = stop,
            Change::Timer(millis) => {
                observation.next_timer = millis.map(|m| observation.now + Nanos::millis(m));
            }
            Change::Memory(percent) => {
                observation.memory = Some(Memory {
                    used: percent << 20,
                    limit: 100 << 20,
                    stalled: Nanos(0),
                });
            }
            Change::Scavenge(wanted) => observation.scavenge = wanted,
            Change::Nothing => {}
        }
        observation.set_ps(self.ps);
    }

    fn count(&mut self, actions: &Actions) {
        let taken = |reason| {
            let all = actions.retake.iter();
            all.filter(|retake| retake.reason == reason).count() as u64
        };
        let done = &mut self.done;
        done.polls += u64::from(actions.poll_network);
        done.calls_taken += taken(RetakeReason::Syscall);
        done.slices_taken += taken(RetakeReason::Slice);
        done.collections += u64::from(actions.force_gc);
        done.scavenges += u64::from(actions.wake_scavenger);
        done.reliefs += u64::from(actions.relieve_memory);
        done.looks_at_locks += u64::from(actions.look_at_locks);
    }

    /// Changes the world, has the monitor decide, checks what it decided, and sleeps as long as it wants to.
    fn step(&mut self, monitor: &mut Monitor, observation: &mut Observation, change: Change) {
        // A stopped world ends and makes good what it has missed.
        if observation.stopping {
            observation.stopping = false;
            observation.last_gc = observation.now;
            observation.last_poll = observation.last_poll.and(Some(observation.now));
        }
        let now = observation.now;
        observation.next_timer = observation.next_timer.filter(|due| *due > now);
        self.apply(change, observation);
        let (actions, sleep) = monitor.tick(observation);
        let actions = actions.clone();
        self.check(observation, &actions, sleep);
        if actions.look_at_tasks {
            // Goroutines get on, though their Ps may not be seen to.
            monitor.look(observation.now, &mut Tasks::default());
        }
        let (Sleep::For(time) | Sleep::Deep(time)) = sleep;
        observation.now = observation.now + time;
    }

    fn check(&mut self, observation: &mut Observation, actions: &Actions, sleep: Sleep) {
        let (config, now) = (Config::default(), observation.now);
        for retake in &actions.retake {
            let index = retake.p.0;
            let p = self.ps[index];
            assert_ne!(p.state, PState::Idle, "taken from nobody");
            assert_eq!(p.tick, retake.tick);
            if let Some((tick, at)) = self.asked[index] {
                let patience = match retake.reason {
                    RetakeReason::Slice => config.slice,
                    RetakeReason::Syscall => config.min_sleep,
                };
                assert!(tick != p.tick || now - at >= patience, "asked for twice");
            }
            self.asked[index] = Some((p.tick, now));
            // Taken and handed on half of the time, so that some attempts fail.
            if p.tick.is_multiple_of(2) {
                self.ps[index].state = PState::Idle;
            }
        }
        let mut taken: Vec<PIndex> = actions.retake.iter().map(|retake| retake.p).collect();
        taken.dedup();
        assert_eq!(taken.len(), actions.retake.len(), "taken twice in one tick");
        match sleep {
            Sleep::For(time) => assert!(time >= config.min_sleep && time <= config.max_sleep),
            Sleep::Deep(time) => {
                let idle = observation.all_idle() && !observation.scavenge;
                assert!(observation.stopping || idle);
                let timer = observation.next_timer.filter(|due| *due > now);
                assert!(
                    timer.is_none_or(|due| now + time <= due),
                    "sleeps through a timer"
                );
                self.done.deep_sleeps += 1;
            }
        }
        if observation.stopping {
            // Only who stands still for long may be looked at.
            let stalls = Actions {
                look_at_tasks: actions.look_at_tasks,
                ..Actions::default()
            };
            assert_eq!(*actions, stalls);
            return;
        }
        assert_eq!(actions.wake_scavenger, observation.scavenge);
        if actions.relieve_memory {
            let memory = observation.memory.unwrap();
            assert!(memory.used * 100 >= memory.limit * 90);
            let last = self.relieved.replace(now);
            assert!(last.is_none_or(|last| now - last >= config.relief_period));
        }
        if actions.look_at_locks {
            let last = self.looked_at_locks.replace(now);
            assert!(last.is_none_or(|last| now - last >= config.lock_period.unwrap()));
        }
        self.count(actions);
        if actions.force_gc {
            observation.last_gc = now;
        }
        if actions.poll_network {
            observation.last_poll = observation.last_poll.and(Some(now));
        }
        let (Sleep::For(time) | Sleep::Deep(time)) = sleep;
        let deadline = |last: Nanos, period: Nanos| last + period + config.max_sleep;
        assert!(
            now <= deadline(observation.last_gc, Nanos::secs(120)),
            "no collection in time"
        );
        if let Some(last) = observation.last_poll {
            assert!(now <= deadline(last, config.poll_period), "no poll in time");
            assert!(
                now + time <= deadline(last, config.poll_period),
                "sleeps through a poll"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 3 } else { 48 }))]

    #[test]
    fn the_invariants_hold_whatever_the_scheduler_does(
        changes in prop::collection::vec(change(), 1..if cfg!(miri) { 40 } else { 2000 })
    ) {
        let mut monitor = Monitor::new(Config::default(), 4);
        let mut observation = Observation::with_capacity(4);
        observation.gc_possible = true;
        let mut model = Model::default();
        for change in changes {
            model.step(&mut monitor, &mut observation, change);
        }
    }
}

/// Six hours of a program that computes, calls, waits, presses against its limit and rests, by turns of some seconds: the invariants hold all the time, and everything that the
/// monitor is there for happens.
#[test]
fn hours_of_everything() {
    let hours = if cfg!(miri) { 0 } else { 6 };
    let mut monitor = Monitor::new(Config::default(), 4);
    let mut observation = Observation::with_capacity(4);
    observation.gc_possible = true;
    let mut model = Model::default();
    let mut state = 1u64;
    let mut random = |below: u64| {
        // Knuth's MMIX generator.
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 33) % below
    };
    let mut rests_until = Nanos(0);
    while observation.now < Nanos::secs(hours * 3600) {
        let p = random(4) as usize;
        let rests = observation.now < rests_until;
        let change = match random(400) {
            0..20 if rests => Change::Release(p),
            _ if rests => Change::Nothing,
            0..10 => Change::Run(p),
            10..20 => Change::Call(p),
            20..24 => Change::Release(p),
            24..28 => Change::Queue(p, random(2) == 0),
            28..32 => Change::Poll(random(2) == 0),
            32 => Change::Stop(true),
            33 => Change::Timer((random(2) == 0).then(|| random(2000))),
            34 => Change::Memory(random(100)),
            35 => Change::Scavenge(random(4) == 0),
            36 if random(10) == 0 => {
                (observation.scavenge, observation.last_poll) = (false, None);
                rests_until = observation.now + Nanos::secs(random(600));
                Change::Nothing
            }
            _ => Change::Nothing,
        };
        model.step(&mut monitor, &mut observation, change);
    }
    if hours > 0 {
        let done = model.done;
        let all = [
            done.polls,
            done.calls_taken,
            done.slices_taken,
            done.collections,
            done.scavenges,
            done.reliefs,
            done.looks_at_locks,
            done.deep_sleeps,
        ];
        assert!(all.iter().all(|&count| count > 10), "{done:?}");
    }
}

/// A machine was suspended, or its clock set on: between two ticks an hour goes by, in which nobody ran. What is due is asked for once, and nobody is reported.
#[test]
fn an_hour_that_nobody_saw() {
    let mut monitor = Monitor::new(Config::default(), 2);
    let ps = [
        p(PState::Running, 5, 0, true),
        p(PState::Syscall, 6, 1, false),
    ];
    let mut observation = observation(&ps);
    observation.gc_possible = true;
    let mut tasks = Tasks::default();
    let (mut jumps, mut asked) = (0, Vec::new());
    while jumps < 5 {
        observation.last_poll = Some(observation.now);
        let (actions, sleep) = monitor.tick(&observation);
        let (actions, Sleep::For(time) | Sleep::Deep(time)) = (actions.clone(), sleep);
        if actions.force_gc {
            asked.push(observation.now);
            observation.last_gc = observation.now;
        }
        assert!(actions.retake.len() <= 2);
        if actions.look_at_tasks {
            tasks.clear();
            for worker in 0..2 {
                tasks.push(crate::stall::Task {
                    worker,
                    task: 1,
                    stamp: 1,
                });
            }
            assert_eq!(monitor.look(observation.now, &mut tasks), []);
        }
        observation.now = observation.now + time;
        // Before they have been seen for the threshold of stalls, awake.
        if observation.now - Nanos::secs(3600 * jumps) > Nanos::secs(1) {
            jumps += 1;
            observation.now = Nanos::secs(3600 * jumps);
        }
    }
    assert_eq!(asked.len(), 4, "one for each hour: {asked:?}");
}
