//! Goals, limits and settings.

use proptest::prelude::*;

use super::*;

fn heap(collected: Bytes) -> HeapUsage {
    HeapUsage {
        collected,
        mapped: collected,
        ..HeapUsage::default()
    }
}

fn config(percent: u32, limit: Option<Bytes>) -> Config {
    Config {
        percent: GcPercent::Percent(percent),
        memory_limit: limit,
    }
}

fn cycle(pacer: &mut Pacer, reason: Reason, at: u64, took: u64, live: Bytes, roots: Bytes) {
    pacer.finish_cycle(&CycleReport {
        reason,
        started: Nanos(at),
        ended: Nanos(at + took),
        usage: heap(live),
        roots,
        concurrent: None,
    });
}

#[test]
fn the_first_goal_is_the_minimum_heap() {
    assert_eq!(
        Pacer::new(config(100, None), &heap(Bytes(0))).goal(),
        Bytes::mib(4)
    );
    assert_eq!(
        Pacer::new(config(50, None), &heap(Bytes(0))).goal(),
        Bytes::mib(2)
    );
    assert_eq!(
        Pacer::new(config(0, None), &heap(Bytes(0))).goal(),
        MIN_RUNWAY
    );
}

#[test]
fn a_steady_heap_doubles_between_cycles() {
    let mut pacer = Pacer::new(Config::default(), &heap(Bytes(0)));
    let mut heap_size = Bytes(0);
    let mut cycles = 0;
    for step in 0..10_000 {
        heap_size += Bytes::kib(64);
        if let Some(reason) = pacer.due(&heap(heap_size), Nanos(step)) {
            assert_eq!(reason, Reason::HeapGoal);
            cycles += 1;
            heap_size = Bytes::mib(10);
            cycle(&mut pacer, reason, step, 1, heap_size, Bytes(0));
            assert_eq!(pacer.goal(), Bytes::mib(20));
        }
    }
    // 4 MiB, then 10 MiB of allocation per cycle, out of 625 MiB in all.
    assert_eq!(cycles, 1 + (625 - 4) / 10);
}

#[test]
fn stacks_and_statics_earn_growth_too() {
    let mut pacer = Pacer::new(Config::default(), &heap(Bytes(0)));
    cycle(
        &mut pacer,
        Reason::HeapGoal,
        0,
        1,
        Bytes::mib(10),
        Bytes::mib(6),
    );
    assert_eq!(pacer.goal(), Bytes::mib(26));
}

#[test]
fn nothing_collected_nothing_due() {
    let pacer = Pacer::new(Config::default(), &heap(Bytes(0)));
    let usage = HeapUsage {
        external: Bytes::mib(1000),
        ..HeapUsage::default()
    };
    assert_eq!(pacer.due(&usage, Nanos(0)), None);
}

#[test]
fn off_means_off_but_for_the_limit() {
    let off = Config {
        percent: GcPercent::Off,
        memory_limit: None,
    };
    assert_eq!(
        Pacer::new(off, &heap(Bytes(0))).due(&heap(Bytes(1 << 50)), Nanos(0)),
        None
    );
    let limited = Config {
        memory_limit: Some(Bytes::mib(100)),
        ..off
    };
    let pacer = Pacer::new(limited, &heap(Bytes(0)));
    assert_eq!(
        pacer.goal(),
        Bytes(Bytes::mib(100).0 - Bytes::mib(100).0 / 100 * 3)
    );
    assert_eq!(
        pacer.due(&heap(Bytes::mib(98)), Nanos(0)),
        Some(Reason::MemoryLimit)
    );
}

#[test]
fn memory_that_is_not_heap_is_taken_off_the_limit() {
    let usage = HeapUsage {
        collected: Bytes::mib(20),
        external: Bytes::mib(10),
        mapped: Bytes::mib(60),
        idle: Bytes::mib(10),
    };
    let pacer = Pacer::new(config(1000, Some(Bytes::mib(50))), &usage);
    // 20 MiB are neither heap nor idle, and the limit is exceeded by 10: 20 MiB are left, less 1 of
    // headroom.
    assert_eq!(pacer.limit_goal, Bytes::mib(19));
}

/// A live heap above the limit: cycles take at most half of the time.
#[test]
fn a_hopeless_limit_does_not_stall_the_program() {
    let mut pacer = Pacer::new(config(5000, Some(Bytes::mib(10))), &heap(Bytes(0)));
    let (mut now, mut collecting) = (0, 0);
    while now < 1_000_000 {
        match pacer.due(&heap(Bytes::mib(50)), Nanos(now)) {
            Some(reason) => {
                assert_eq!(reason, Reason::MemoryLimit);
                cycle(&mut pacer, reason, now, 700, Bytes::mib(50), Bytes(0));
                now += 700;
                collecting += 700;
            }
            None => now += 10,
        }
    }
    assert!(collecting <= now / 2 + 700, "{collecting} of {now}");
    assert!(collecting >= now / 3, "the limit is given up too easily");
}

#[test]
fn a_failed_attempt_is_not_repeated_at_once() {
    let mut pacer = Pacer::new(Config::default(), &heap(Bytes(0)));
    let usage = heap(Bytes::mib(8));
    pacer.attempt_failed(Nanos(5));
    assert_eq!(pacer.due(&usage, Nanos(6)), None);
    assert!(pacer.due(&usage, Nanos(5) + RETRY_AFTER).is_some());
}

#[test]
fn settings_are_read_as_go_reads_them() {
    let percent = |text| Config::parse(Some(text), None).unwrap().percent;
    assert_eq!(percent("off"), GcPercent::Off);
    assert_eq!(percent("-1"), GcPercent::Off);
    assert_eq!(percent("20"), GcPercent::Percent(20));
    assert_eq!(percent("many"), GcPercent::Percent(100));
    let limit = |text| Config::parse(None, Some(text)).map(|config| config.memory_limit);
    assert_eq!(limit("off"), Ok(None));
    assert_eq!(limit("1024"), Ok(Some(Bytes::kib(1))));
    assert_eq!(limit("3B"), Ok(Some(Bytes(3))));
    assert_eq!(limit("512MiB"), Ok(Some(Bytes::mib(512))));
    assert_eq!(limit("2TiB"), Ok(Some(Bytes(2 << 40))));
    for bad in [
        "5GB",
        "MiB",
        "-5MiB",
        "+5",
        "1.5GiB",
        "99999999TiB",
        "5 MiB",
    ] {
        assert!(
            limit(bad)
                .unwrap_err()
                .to_string()
                .contains("GOMEMLIMIT=512MiB"),
            "{bad}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 3 } else { 256 }))]

    #[test]
    fn goals_are_bounded_by_what_they_should_be(
        percent in 0u32..5000, limit in prop::option::of(0u64..1 << 40), live in 0u64..1 << 40,
        roots in 0u64..1 << 30, external in 0u64..1 << 40, mapped in 0u64..1 << 41, idle in 0u64..1 << 40,
    ) {
        let mut pacer = Pacer::new(config(percent, limit.map(Bytes)), &heap(Bytes(0)));
        let usage = HeapUsage {
            collected: Bytes(live),
            external: Bytes(external),
            mapped: Bytes(mapped),
            idle: Bytes(idle),
        };
        let report = CycleReport {
            reason: Reason::HeapGoal,
            started: Nanos(0),
            ended: Nanos(1),
            usage,
            roots: Bytes(roots),
            concurrent: None,
        };
        pacer.finish_cycle(&report);
        prop_assert!(pacer.goal() >= Bytes(live + external), "a goal below the live heap");
        if let Some(limit) = limit {
            prop_assert!(pacer.goal() <= Bytes(limit.max(live + external)));
        } else {
            prop_assert!(pacer.goal() >= Bytes(live + external) + MIN_RUNWAY);
            let more = Pacer { config: config(percent + 1, None), ..pacer.clone() }.goal_by_percent();
            prop_assert!(more >= pacer.goal(), "a larger GOGC gives no smaller goal");
        }
    }
}
