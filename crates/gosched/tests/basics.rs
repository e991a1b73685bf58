//! Starting, joining, yielding, sleeping, panicking.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{TestEnv, go, times};

on_both_engines!(
    main_returns_its_result,
    goroutines_join_goroutines,
    a_panic_ends_its_goroutine_only,
    a_result_is_there_when_the_goroutine_has_ended_and_not_before,
    yielding_goroutines_take_turns,
    sleepers_wake_in_order_and_not_early,
    a_goroutine_knows_itself,
    a_finished_goroutine_is_reused,
    other_stacks_are_not_kept,
);

fn main_returns_its_result<E: TestEnv>() {
    let s = E::scheduler(2);
    assert_eq!(s.run_main(|| 6 * 7).unwrap(), 42);
    assert_eq!(s.run_main(|| "again").unwrap(), "again");
}

fn goroutines_join_goroutines<E: TestEnv>() {
    for procs in 1..=4 {
        let s = E::scheduler(procs);
        let sum = s
            .run_main(move || {
                let handles: Vec<_> = (0..50u64).map(|i| go(s, move || i * i)).collect();
                handles.into_iter().map(|h| h.join().unwrap()).sum::<u64>()
            })
            .unwrap();
        assert_eq!(sum, (0..50).map(|i| i * i).sum());
        assert_eq!(s.goroutines(), 0);
    }
}

fn a_panic_ends_its_goroutine_only<E: TestEnv>() {
    let s = E::scheduler(2);
    let message = s
        .run_main(move || {
            let bad = go(s, || panic!("number {}", 7));
            let good = go(s, || 1);
            assert_eq!(good.join().unwrap(), 1);
            let panic = bad.join().unwrap_err();
            panic.message().unwrap().to_owned()
        })
        .unwrap();
    assert_eq!(message, "number 7");
    assert!(matches!(
        s.run_main(|| panic!("main")),
        Err(gosched::RunError::Panic(_))
    ));
}

fn a_result_is_there_when_the_goroutine_has_ended_and_not_before<E: TestEnv>() {
    let s = E::scheduler(2);
    s.run_main(move || {
        let (tx, rx) = gosched::chan::unbuffered::<()>();
        let waits = go(s, move || rx.recv().is_err());
        let mut waits = waits.try_join().unwrap_err();
        drop(tx);
        let result = loop {
            match waits.try_join() {
                Ok(result) => break result,
                Err(not_yet) => waits = not_yet,
            }
            gosched::yield_now();
        };
        assert!(result.unwrap());
        let bad = go(s, || panic!("on purpose"));
        while !bad.is_finished() {
            gosched::yield_now();
        }
        let panic: Result<(), _> = bad.try_join().unwrap();
        assert_eq!(panic.unwrap_err().message(), Some("on purpose"));
    })
    .unwrap();
}

fn yielding_goroutines_take_turns<E: TestEnv>() {
    let s = E::scheduler(1);
    let order = s
        .run_main(move || {
            let order = Arc::new(std::sync::Mutex::new(Vec::new()));
            let handles: Vec<_> = (0..3)
                .map(|id| {
                    let order = order.clone();
                    go(s, move || {
                        for _ in 0..20 {
                            order.lock().unwrap().push(id);
                            gosched::yield_now();
                        }
                    })
                })
                .collect();
            for h in handles {
                h.join().unwrap();
            }
            Arc::into_inner(order).unwrap().into_inner().unwrap()
        })
        .unwrap();
    // With one P nobody gets two turns while another waits.
    for three in order.chunks(3).take(19) {
        let mut three = three.to_vec();
        three.sort_unstable();
        assert_eq!(three, [0, 1, 2], "{order:?}");
    }
}

fn sleepers_wake_in_order_and_not_early<E: TestEnv>() {
    for procs in [1, 2] {
        let s = E::scheduler(procs);
        s.run_main(move || {
            let start = Instant::now();
            let woken = Arc::new(AtomicUsize::new(0));
            // Starting them all takes less than the difference.
            let unit = if cfg!(miri) { 300 } else { 20 };
            let handles: Vec<_> = [3u64, 1, 2]
                .map(|units| {
                    let ms = units * unit;
                    let woken = woken.clone();
                    go(s, move || {
                        gosched::sleep(Duration::from_millis(ms));
                        (ms, start.elapsed(), woken.fetch_add(1, Ordering::Relaxed))
                    })
                })
                .into();
            for h in handles {
                let (ms, slept, place) = h.join().unwrap();
                assert!(slept >= Duration::from_millis(ms), "{slept:?} for {ms}");
                assert!(
                    slept < Duration::from_millis(ms + 1000),
                    "{slept:?} for {ms}"
                );
                assert_eq!(place as u64, ms / unit - 1);
            }
        })
        .unwrap();
    }
}

fn a_goroutine_knows_itself<E: TestEnv>() {
    let s = E::scheduler(1);
    assert!(gosched::current_id().is_none());
    let options = gosched::SpawnOptions {
        name: Some("worker".into()),
        stack: None,
        ..gosched::SpawnOptions::default()
    };
    let line = line!() + 2;
    let (id, name, at) = s
        .spawn_with(options, || {
            gosched::with_current(|id, name, site| {
                (id, name.map(str::to_owned), site.unwrap().line())
            })
            .unwrap()
        })
        .unwrap()
        .join()
        .unwrap();
    assert_eq!(name.as_deref(), Some("worker"));
    assert!(id.0 >= 1);
    assert_eq!(at, line);
    let name = go(s, || {
        gosched::with_current(|_, name, _| name.map(str::to_owned)).unwrap()
    });
    assert_eq!(
        name.join().unwrap(),
        None,
        "names do not stick to a reused goroutine"
    );
}

fn a_finished_goroutine_is_reused<E: TestEnv>() {
    let s = E::scheduler(1);
    s.run_main(move || {
        for _ in 0..times(200) {
            go(s, || ()).join().unwrap();
        }
        let mut snapshot = gosched::Snapshot::default();
        s.observe(&mut snapshot);
        assert!(snapshot.procs[0].free_gs <= 2, "{snapshot:?}");
        assert!(s.goroutines() <= 2);
    })
    .unwrap();
}

fn other_stacks_are_not_kept<E: TestEnv>() {
    let s = E::scheduler(1);
    s.run_main(move || {
        for kib in [64, 512, 64] {
            let options = gosched::SpawnOptions {
                name: None,
                stack: Some(gosched::env::StackSpec {
                    size: Some(kib * 1024),
                }),
                ..gosched::SpawnOptions::default()
            };
            let value = s.spawn_with(options, move || kib).unwrap().join();
            assert_eq!(value.unwrap(), kib);
            go(s, || ()).join().unwrap();
        }
    })
    .unwrap();
}
