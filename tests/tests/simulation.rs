//! Simulations of the whole runtime: seeds that are found and replayed, virtual time, collected objects.

use goruntime::sync::{Mutex, WaitGroup};
use goruntime::{chan, go, select, simulation, time};
use goruntime_tests::{child, is_child};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[cfg(not(feature = "system-allocator"))]
#[global_allocator]
static GLOBAL: goruntime::GoMalloc = goruntime::GoMalloc::new();

/// Two that take from an account after having looked whether there is enough.
fn overdraw() {
    let account = Arc::new(Mutex::new(10i64));
    let group = Arc::new(WaitGroup::new());
    for _ in 0..2 {
        group.add(1);
        let (account, group) = (account.clone(), group.clone());
        go(move || {
            let enough = *account.lock() >= 10;
            if enough {
                *account.lock() -= 10;
            }
            group.done();
        });
    }
    group.wait();
    assert!(*account.lock() >= 0, "overdrawn");
}

#[test]
fn a_race_is_found_by_seed_and_replayed() {
    let failed = simulation::search(1..=500, overdraw).unwrap_err();
    assert!(failed.to_string().contains("overdrawn"), "{failed}");
    for _ in 0..5 {
        let again = simulation::search([failed.seed], overdraw).unwrap_err();
        assert_eq!(again.to_string(), failed.to_string());
    }
}

#[test]
fn check_names_the_seed_and_takes_it_from_the_environment() {
    if is_child() {
        return simulation::check(500, overdraw);
    }
    let name = "check_names_the_seed_and_takes_it_from_the_environment";
    let said = |envs: &[(&str, &str)]| {
        let output = child(name, envs);
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let text = said(&[]);
    let (_, seed) = text.split_once("GOSEED=").expect(&text);
    let seed = seed.split_whitespace().next().unwrap();
    let again = said(&[("GOSEED", seed)]);
    assert!(
        again.contains(&format!("simulation with seed {seed}:")),
        "{again}"
    );
    assert!(said(&[("GOSEED", "often")]).contains("is not a number"));
}

#[test]
fn a_day_takes_no_time() {
    let begin = Instant::now();
    simulation::check(20, || {
        let start = time::now();
        let (tx, rx) = chan::unbuffered();
        go(move || {
            for hour in 0..24 {
                time::sleep(Duration::from_secs(3600));
                tx.send(hour).unwrap();
            }
        });
        let mut timeouts = 0;
        loop {
            select! {
                recv(rx) -> hour => if hour.is_err() { break },
                default(Duration::from_secs(1000)) => timeouts += 1,
            }
        }
        assert_eq!(time::now() - start, Duration::from_secs(24 * 3600));
        assert_eq!(timeouts, 24 * 3);
    });
    assert!(begin.elapsed() < Duration::from_secs(30));
}

#[test]
fn simulations_run_side_by_side_and_beside_goroutines() {
    let outside = go(|| {
        simulation::check(20, || go(|| 5).join().unwrap());
        go(|| 6).join().unwrap()
    });
    let threads: Vec<_> = (0..3)
        .map(|_| std::thread::spawn(|| simulation::search(1..=300, overdraw).unwrap_err().seed))
        .collect();
    let seeds: Vec<u64> = threads.into_iter().map(|t| t.join().unwrap()).collect();
    assert!(seeds.iter().all(|&seed| seed == seeds[0]), "{seeds:?}");
    assert_eq!(outside.join().unwrap(), 6);
}

/// What a goroutine of a simulation keeps on its stack while it waits is found by the collector.
#[test]
#[cfg(not(feature = "system-allocator"))]
fn collected_objects_live_on_stacks_of_simulations() {
    use goruntime::gc::{self, Gc};
    simulation::check(3, || {
        let (tx, rx) = chan::unbuffered::<()>();
        let keepers: Vec<_> = (0..20u64)
            .map(|i| {
                let rx = rx.clone();
                go(move || {
                    let object = Gc::new(i);
                    let _ = rx.recv();
                    *object
                })
            })
            .collect();
        simulation::wait();
        for _ in 0..3 {
            gc::collect();
            (0..1000u64).for_each(|_| _ = Gc::new(u64::MAX));
        }
        drop(tx);
        let sum: u64 = keepers.into_iter().map(|k| k.join().unwrap()).sum();
        assert_eq!(sum, 190);
    });
}

#[test]
fn an_accepted_connection_is_no_rest() {
    use goruntime::net::{TcpListener, TcpStream};
    use std::io::{Read, Write};
    simulation::check(3, || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = go(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        });
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"hello").unwrap();
        drop(stream);
        assert_eq!(server.join().unwrap(), "hello");
    });
}
