//! The policy on a virtual clock.

use super::*;

mod interplay;

fn p(state: PState, tick: u32, syscall_tick: u32, has_work: bool) -> PObservation {
    PObservation {
        state,
        tick,
        syscall_tick,
        has_work,
    }
}

fn observation(ps: &[PObservation]) -> Observation {
    let mut observation = Observation::with_capacity(ps.len());
    observation.set_ps(ps.iter().copied());
    observation
}

/// Ticks until `until`, sleeping as told; `world` sees every decision and makes what it likes of the next
/// observation.
fn simulate(
    monitor: &mut Monitor,
    observation: &mut Observation,
    until: Nanos,
    mut world: impl FnMut(&mut Observation, &Actions, Sleep),
) {
    while observation.now < until {
        let (actions, sleep) = monitor.tick(observation);
        world(observation, actions, sleep);
        let (Sleep::For(time) | Sleep::Deep(time)) = sleep;
        observation.now = observation.now + time;
    }
}

#[test]
fn sleeps_double_after_fifty_idle_rounds_up_to_ten_milliseconds() {
    let mut monitor = Monitor::new(Config::default(), 1);
    let mut tick = 0;
    let mut sleeps = Vec::new();
    let mut observation = observation(&[p(PState::Running, 0, 0, false)]);
    simulate(
        &mut monitor,
        &mut observation,
        Nanos::millis(100),
        |observation, actions, sleep| {
            assert!(actions.retake.is_empty());
            sleeps.push(sleep);
            tick += 1;
            observation.set_ps([p(PState::Running, tick, 0, false)]);
        },
    );
    assert!(
        sleeps[..50]
            .iter()
            .all(|&sleep| sleep == Sleep::For(Nanos::micros(20)))
    );
    let micros = [40, 80, 160, 320, 640, 1280, 2560, 5120, 10_000, 10_000];
    for (sleep, micros) in sleeps[50..].iter().zip(micros) {
        assert_eq!(*sleep, Sleep::For(Nanos::micros(micros)));
    }
}

#[test]
fn waiters_for_locks_are_looked_at_every_period_while_anything_runs() {
    let mut monitor = Monitor::new(Config::default(), 1);
    let mut observation = observation(&[p(PState::Running, 0, 0, false)]);
    let mut looks = Vec::new();
    let until = Nanos::secs(60);
    simulate(
        &mut monitor,
        &mut observation,
        until,
        |observation, actions, _| {
            if actions.look_at_locks {
                looks.push(observation.now);
            }
        },
    );
    let period = Config::default().lock_period.unwrap();
    assert_eq!(looks.len() as u64, until.0 / period.0 - 1);
    for pair in looks.windows(2) {
        let passed = pair[1].saturating_sub(pair[0]);
        assert!(
            period <= passed && passed <= period + Nanos::millis(11),
            "{passed:?}"
        );
    }
    let never = Config {
        lock_period: None,
        ..Config::default()
    };
    let mut monitor = Monitor::new(never, 1);
    simulate(
        &mut monitor,
        &mut observation,
        Nanos::secs(120),
        |_, actions, _| assert!(!actions.look_at_locks),
    );
}

#[test]
fn a_goroutine_that_runs_on_loses_its_p_after_a_slice() {
    let mut monitor = Monitor::new(Config::default(), 2);
    let mut observation = observation(&[
        p(PState::Running, 7, 0, false),
        p(PState::Idle, 0, 0, false),
    ]);
    let mut taken = Vec::new();
    simulate(
        &mut monitor,
        &mut observation,
        Nanos::millis(100),
        |observation, actions, _| {
            for retake in &actions.retake {
                let expected = Retake {
                    p: PIndex(0),
                    tick: 7,
                    reason: RetakeReason::Slice,
                };
                assert_eq!(*retake, expected);
                taken.push(observation.now);
            }
        },
    );
    // Nobody takes it, so it is asked for again and again, but not more often than once a slice.
    assert!(taken[0] >= Nanos::millis(10) && taken[0] < Nanos::millis(20));
    assert!(
        taken
            .windows(2)
            .all(|pair| pair[1] - pair[0] >= Nanos::millis(10))
    );
    assert!(taken.len() >= 5);
}

#[test]
fn a_system_call_loses_its_p_at_once_if_somebody_could_use_it() {
    let config = Config::default();
    for (has_work, others, spinning, patience) in [
        (true, PState::Idle, 1, config.min_sleep),
        (false, PState::Running, 0, config.min_sleep),
        (false, PState::Idle, 0, config.idle_syscall),
        (false, PState::Running, 1, config.idle_syscall),
    ] {
        let mut monitor = Monitor::new(config, 2);
        let mut observation =
            observation(&[p(PState::Syscall, 1, 1, has_work), p(others, 0, 0, false)]);
        observation.spinning = spinning;
        let mut first = None;
        simulate(
            &mut monitor,
            &mut observation,
            config.idle_syscall + config.idle_syscall + config.min_sleep,
            |observation, actions, _| {
                if actions.retake.iter().any(|retake| retake.p == PIndex(0)) {
                    first.get_or_insert(observation.now);
                }
            },
        );
        let first = first.expect("the system call never ends");
        assert!(
            first >= patience && first <= patience + patience + config.min_sleep,
            "{first:?}"
        );
    }
}

#[test]
fn short_system_calls_keep_their_p() {
    let mut monitor = Monitor::new(Config::default(), 1);
    let mut calls = 0;
    let mut observation = observation(&[p(PState::Syscall, 0, 0, true)]);
    simulate(
        &mut monitor,
        &mut observation,
        Nanos::millis(9),
        |observation, actions, _| {
            assert!(actions.retake.is_empty());
            calls += 2;
            observation.set_ps([p(PState::Syscall, 0, calls, true)]);
        },
    );
}

#[test]
fn a_p_that_was_idle_in_between_begins_anew() {
    let mut monitor = Monitor::new(Config::default(), 1);
    let mut observation = observation(&[p(PState::Running, 3, 0, false)]);
    for (millis, state, taken) in [
        (0, PState::Running, false),
        (9, PState::Idle, false),
        (11, PState::Running, false),
        (20, PState::Running, false),
        (21, PState::Running, true),
    ] {
        observation.now = Nanos::millis(millis);
        observation.set_ps([p(state, 3, 0, false)]);
        let (actions, _) = monitor.tick(&observation);
        assert_eq!(!actions.retake.is_empty(), taken, "at {millis} ms");
    }
}

#[test]
fn nothing_held_nothing_watched() {
    let mut monitor = Monitor::new(Config::default(), 2);
    let mut observation = observation(&[PObservation::default(); 2]);
    observation.gc_possible = true;
    let (_, sleep) = monitor.tick(&observation);
    assert_eq!(sleep, Sleep::Deep(Nanos::secs(60)));
    observation.next_timer = Some(Nanos::millis(5));
    assert_eq!(monitor.tick(&observation).1, Sleep::Deep(Nanos::millis(5)));
    observation.last_poll = Some(Nanos(0));
    observation.next_timer = None;
    assert_eq!(monitor.tick(&observation).1, Sleep::Deep(Nanos::millis(10)));
    observation.next_timer = Some(Nanos(0));
    assert_eq!(monitor.tick(&observation).1, Sleep::For(Nanos::micros(20)));
}

#[test]
fn a_stopped_world_is_left_alone() {
    let mut monitor = Monitor::new(Config::default(), 1);
    let mut observation = observation(&[p(PState::Running, 1, 1, true)]);
    monitor.tick(&observation);
    observation.now = Nanos::secs(1000);
    observation.stopping = true;
    observation.gc_possible = true;
    observation.last_poll = Some(Nanos(0));
    let (actions, _) = monitor.tick(&observation);
    assert_eq!(*actions, Actions::default());
    observation.last_poll = None;
    observation.last_gc = observation.now;
    assert!(matches!(monitor.tick(&observation).1, Sleep::Deep(_)));
}

#[test]
fn tracing_keeps_its_period_and_the_monitor_awake() {
    let seconds = if cfg!(miri) { 5 } else { 60 };
    let config = Config {
        trace_period: Some(Nanos::secs(1)),
        ..Config::default()
    };
    let mut monitor = Monitor::new(config, 1);
    let mut observation = observation(&[PObservation::default()]);
    let mut traces = 0u64;
    simulate(
        &mut monitor,
        &mut observation,
        Nanos::secs(seconds),
        |_, actions, sleep| {
            traces += u64::from(actions.trace);
            assert!(matches!(sleep, Sleep::For(_)));
        },
    );
    assert!(traces.abs_diff(seconds) <= 1, "{traces}");
}

#[test]
fn the_scavenger_is_woken_while_it_has_work() {
    let mut monitor = Monitor::new(Config::default(), 1);
    let mut observation = observation(&[PObservation::default()]);
    assert!(!monitor.tick(&observation).0.wake_scavenger);
    observation.scavenge = true;
    assert!(monitor.tick(&observation).0.wake_scavenger);
}

#[test]
fn an_idle_process_is_looked_after_until_its_memory_is_given_back() {
    let mut monitor = Monitor::new(Config::default(), 2);
    let mut observation = observation(&[PObservation::default(); 2]);
    observation.scavenge = true;
    for _ in 0..1000 {
        let (actions, sleep) = monitor.tick(&observation);
        assert!(actions.wake_scavenger && matches!(sleep, Sleep::For(_)));
        assert!(!monitor.may_sleep_deeply(&observation));
        observation.now = observation.now + Nanos::millis(10);
    }
    observation.scavenge = false;
    assert!(matches!(monitor.tick(&observation).1, Sleep::Deep(_)));
}

#[test]
fn ten_idle_hours_have_a_collection_every_two_minutes_and_little_else() {
    let mut monitor = Monitor::new(Config::default(), 4);
    let mut observation = observation(&[PObservation::default(); 4]);
    observation.gc_possible = true;
    let mut collections = 0;
    let mut ticks = 0u32;
    simulate(
        &mut monitor,
        &mut observation,
        Nanos::secs(36_000),
        |observation, actions, _| {
            ticks += 1;
            if actions.force_gc {
                observation.last_gc = observation.now;
                collections += 1;
            }
        },
    );
    assert_eq!(collections, 299);
    assert!(ticks < 1000, "{ticks} ticks with nothing to do");
}

#[test]
fn a_collection_that_does_not_come_is_asked_for_again_but_not_at_every_tick() {
    let mut monitor = Monitor::new(Config::default(), 1);
    let mut observation = observation(&[PObservation::default()]);
    observation.gc_possible = true;
    let mut asked = Vec::new();
    simulate(
        &mut monitor,
        &mut observation,
        Nanos::secs(200),
        |observation, actions, _| {
            if actions.force_gc {
                asked.push(observation.now);
            }
        },
    );
    assert_eq!(asked[0], Nanos::secs(120));
    assert_eq!(asked.len(), 8);
}

#[test]
#[should_panic(expected = "more Ps than the monitor was made for")]
fn too_many_ps_are_refused() {
    Monitor::new(Config::default(), 1).tick(&observation(&[PObservation::default(); 2]));
}

/// Counts looks at tasks over an hour in which the world does as told.
fn looks(mut world: impl FnMut(&mut Observation, u64)) -> (Monitor, Vec<Nanos>) {
    let mut monitor = Monitor::new(Config::default(), 1);
    let mut observation = observation(&[p(PState::Idle, 0, 0, false)]);
    let (mut looks, mut round) = (Vec::new(), 0);
    simulate(
        &mut monitor,
        &mut observation,
        Nanos::secs(3600),
        |observation, actions, _| {
            if actions.look_at_tasks {
                looks.push(observation.now);
            }
            round += 1;
            world(observation, round);
        },
    );
    (monitor, looks)
}

#[test]
fn nobody_is_looked_at_while_all_is_well() {
    assert_eq!(looks(|_, _| ()).1, [], "an idle process");
    let busy = |observation: &mut Observation, round| {
        observation.set_ps([p(PState::Running, round as u32, 0, true)]);
    };
    assert_eq!(looks(busy).1, [], "a scheduler that gets on");
}

/// The P is taken from the goroutine, and then all Ps are idle: the monitor sleeps deeply, but not for longer than until the next look.
#[test]
fn a_task_without_a_p_is_looked_at_until_it_is_reported() {
    let threshold = Config::default().stall.unwrap();
    let mut monitor = Monitor::new(Config::default(), 1);
    let mut observation = observation(&[p(PState::Running, 1, 0, false)]);
    let mut tasks = Tasks::default();
    let (mut reported, mut after) = (None, 0);
    while observation.now < Nanos::secs(3600) {
        let (actions, sleep) = monitor.tick(&observation);
        if !actions.retake.is_empty() {
            observation.set_ps([p(PState::Idle, 0, 0, false)]);
        }
        if actions.look_at_tasks {
            tasks.clear();
            tasks.push(crate::stall::Task {
                worker: 3,
                task: 7,
                stamp: 1,
            });
            let stalls = monitor.look(observation.now, &mut tasks);
            match (stalls, reported) {
                ([], None) => {}
                ([], Some(_)) => after += 1,
                ([stall], None) => reported = Some((observation.now, stall.lasted)),
                _ => panic!("reported again: {stalls:?}"),
            }
        }
        let (Sleep::For(time) | Sleep::Deep(time)) = sleep;
        observation.now = observation.now + time;
    }
    let (at, lasted) = reported.expect("it is reported");
    assert!(lasted >= threshold, "{lasted:?}");
    assert!(
        at <= Nanos(threshold.0 * 5 / 4) + Nanos::millis(100),
        "{at:?}"
    );
    assert!(after <= 1, "then nobody looks any more: {after} looks");
}
