//! Profiles: that they name the program's functions, that Go opens them, and that samples may be taken at any instruction.

use flate2::read::GzDecoder;
use goruntime::{Builder, chan, debug, go, profile, sync};
#[cfg(not(any(feature = "system-allocator", feature = "thread-engine")))]
use goruntime_tests::apart;
use goruntime_tests::protobuf::{Message, varint};
use goruntime_tests::{find_go, go_tool, keeps_memory};
use std::collections::BTreeSet;
use std::hint::black_box;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[cfg(not(feature = "system-allocator"))]
#[global_allocator]
static GLOBAL: goruntime::GoMalloc = goruntime::GoMalloc::new();

/// The status and the body.
fn get(target: &str) -> (u16, Vec<u8>) {
    let response = debug::respond(debug::Request::get(target));
    (response.status, response.body)
}

fn text(target: &str) -> String {
    let (status, body) = get(target);
    let body = String::from_utf8(body).unwrap();
    assert_eq!(status, 200, "{target}: {body}");
    body
}

/// For who takes a profile of processor time: a process has one at a time.
fn one_profile_at_a_time() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[inline(never)]
fn burns_processor_time(stop: &AtomicBool) -> u64 {
    let mut x = 1u64;
    while !stop.load(Relaxed) {
        for _ in 0..1 << 20 {
            x = black_box(x.wrapping_mul(6364136223846793005).wrapping_add(1));
        }
        goruntime::yield_now();
    }
    x
}

#[inline(never)]
fn waits_for_a_message(receiver: &chan::Receiver<u32>) {
    while let Ok(message) = receiver.recv() {
        black_box(message);
    }
}

#[cfg(not(any(feature = "system-allocator", feature = "thread-engine")))]
#[inline(never)]
fn waits_for_nobody() {
    let (sender, receiver) = chan::unbuffered::<u32>();
    black_box(receiver.recv()).unwrap();
    drop(sender);
}

#[inline(never)]
fn holds_a_lock(lock: &sync::Mutex<u64>) {
    let mut held = lock.lock();
    *held += 1;
    goruntime::time::sleep(Duration::from_millis(2));
    black_box(&mut held);
}

/// Something of everything, until it is dropped.
struct Workload {
    stop: Arc<AtomicBool>,
    _memory: Vec<Vec<u8>>,
}

impl Workload {
    fn begin() -> Workload {
        profile::start_heap();
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, receiver) = chan::unbuffered();
        let lock = Arc::new(sync::Mutex::new(0));
        let stopped = stop.clone();
        let burn = Builder::new().name("burns");
        burn.spawn(move || {
            profile::with_labels(&[("work", "burning")], || burns_processor_time(&stopped))
        })
        .unwrap();
        go(move || waits_for_a_message(&receiver));
        let stopped = stop.clone();
        go(move || {
            while !stopped.load(Relaxed) && sender.send(7).is_ok() {
                goruntime::time::sleep(Duration::from_millis(1));
            }
        });
        for _ in 0..3 {
            let (stopped, lock) = (stop.clone(), lock.clone());
            go(move || {
                while !stopped.load(Relaxed) {
                    holds_a_lock(&lock);
                }
            });
        }
        Workload {
            stop,
            _memory: keeps_memory(),
        }
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

/// What a profile knows: its functions, its labels' values, and the sums of its samples' values.
struct Known {
    strings: BTreeSet<String>,
    sums: Vec<u64>,
}

fn known(profile: &[u8]) -> Known {
    let mut bytes = Vec::new();
    GzDecoder::new(profile).read_to_end(&mut bytes).unwrap();
    let profile = Message::read(&bytes);
    let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).unwrap();
    let strings = profile.bytes(6).iter().map(text).collect();
    let mut sums = vec![0; profile.bytes(1).len()];
    let number = |location: Message| location.number(1).unwrap();
    let locations: BTreeSet<u64> = profile.parts(4).map(number).collect();
    for sample in profile.parts(2) {
        let mut values = &sample.bytes(2)[0][..];
        for sum in &mut sums {
            *sum += varint(&mut values);
        }
        let mut calls = sample.bytes(1).first().map_or(&[][..], |calls| calls);
        while !calls.is_empty() {
            let location = varint(&mut calls);
            assert!(locations.contains(&location), "a call without a location");
        }
    }
    Known { strings, sums }
}

impl Known {
    fn names(&self, function: &str) -> bool {
        self.strings.iter().any(|name| name.contains(function))
    }
}

/// What `go tool pprof -top` says of a profile in a file.
fn top(go: &Path, profile: &Path) -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let output = go_tool(go, folder)
        .args(["tool", "pprof", "-top", "-nodefraction=0"])
        .arg("-nodecount=2000")
        .arg(profile)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complaints}");
    assert!(!complaints.contains("rror"), "{complaints}");
    said
}

#[test]
fn profiles_name_the_programs_functions_and_go_opens_them() {
    let _alone = one_profile_at_a_time();
    let workload = Workload::begin();
    let expected: &[(&str, &[&str])] = &[
        ("profile?seconds=1", &["burns_processor_time"]),
        (
            "heap?gc=1",
            if cfg!(feature = "system-allocator") {
                &[]
            } else {
                &["keeps_memory"]
            },
        ),
        (
            "allocs",
            if cfg!(feature = "system-allocator") {
                &[]
            } else {
                &["keeps_memory"]
            },
        ),
        (
            "goroutine",
            // Where goroutines are threads their calls are not walked.
            if cfg!(feature = "thread-engine") {
                &[]
            } else {
                &["waits_for_a_message", "burns_processor_time"]
            },
        ),
        ("block?seconds=1", &["waits_for_a_message", "holds_a_lock"]),
        ("mutex?seconds=1", &["holds_a_lock"]),
        ("threadcreate", &[]),
    ];
    let go = find_go();
    if go.is_none() {
        println!(
            "skipped: `go tool pprof` opening the profiles, for there is no Go here (`cargo xtask bench sched` installs one)"
        );
    }
    for (target, functions) in expected {
        let (status, body) = get(&format!("/debug/pprof/{target}"));
        assert_eq!(status, 200, "{target}: {}", String::from_utf8_lossy(&body));
        let known = known(&body);
        for function in *functions {
            assert!(
                known.names(function),
                "{target} without {function}: {:?}",
                known.strings
            );
        }
        if !functions.is_empty() {
            assert!(known.names("profiles.rs"), "{target}: {:?}", known.strings);
            assert!(
                known.sums.iter().all(|&sum| sum > 0),
                "{target}: {:?}",
                known.sums
            );
        }
        let Some(go) = &go else { continue };
        let name = target.split('?').next().unwrap();
        let file = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("{name}-{}.pb.gz", std::process::id()));
        std::fs::write(&file, &body).unwrap();
        let said = top(go, &file);
        for function in *functions {
            assert!(
                said.contains(function),
                "{target} without {function}: {said}"
            );
        }
        std::fs::remove_file(&file).unwrap();
    }
    drop(workload);
}

#[test]
fn a_cpu_profile_counts_time_and_knows_whose_it_was() {
    let _alone = one_profile_at_a_time();
    let workload = Workload::begin();
    let profile = profile::cpu(Duration::from_millis(700)).unwrap();
    let busy = profile::CpuProfiler::start().and_then(|_other| profile::CpuProfiler::start());
    assert_eq!(busy.unwrap_err().kind(), ErrorKind::ResourceBusy);
    drop(workload);
    let mut bytes = Vec::new();
    profile.write_pprof(&mut bytes).unwrap();
    let known = known(&bytes);
    let (samples, nanos) = (known.sums[0], known.sums[1]);
    assert_eq!(nanos, samples * 10_000_000);
    // On a loaded machine it may get little of the time, but not none.
    assert!(samples >= 3, "{samples} samples");
    assert!(
        known.names("burning") && known.names("created"),
        "{:?}",
        known.strings
    );
    let text = {
        let mut text = Vec::new();
        profile.write_text(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    };
    assert!(text.starts_with("cpu profile: "), "{text}");
    assert!(text.contains("burns_processor_time"), "{text}");
}

/// The signal is sent to all threads as fast as it can be, while goroutines switch, objects are collected and libraries' code runs: it must not matter where it comes.
#[test]
fn samples_may_be_taken_at_any_instruction() {
    let _alone = one_profile_at_a_time();
    let profiler = profile::CpuProfiler::start().unwrap();
    let workload = Workload::begin();
    let over = Arc::new(AtomicBool::new(false));
    let switching: Vec<_> = (0..4)
        .map(|_| {
            let over = over.clone();
            go(move || {
                let mut sum = 0usize;
                while !over.load(Relaxed) {
                    goruntime::yield_now();
                    sum += format!("{:?}", black_box([sum; 3])).len();
                    let (sender, receiver) = chan::bounded(1);
                    sender.send(vec![sum; 10]).unwrap();
                    sum += receiver.recv().unwrap().len();
                }
                sum
            })
        })
        .collect();
    let end = Instant::now() + Duration::from_millis(1500);
    let mut sent = 0u64;
    while Instant::now() < end {
        for task in std::fs::read_dir("/proc/self/task").unwrap() {
            let tid: i32 = task.unwrap().file_name().to_str().unwrap().parse().unwrap();
            // SAFETY: a signal whose handler is installed, to a thread of this process, or to none any more.
            unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, libc::SIGPROF) };
            sent += 1;
        }
        if sent.is_multiple_of(64) {
            goruntime::gc::collect();
        }
    }
    over.store(true, Relaxed);
    assert!(switching.into_iter().all(|g| g.join().unwrap() > 0));
    drop(workload);
    let profile = profiler.stop();
    assert!(profile.total()[0] > 100, "{:?} of {sent}", profile.total());
}

#[test]
fn goroutines_are_listed_with_their_calls() {
    let (sender, receiver) = chan::unbuffered();
    let spawned = Builder::new()
        .name("listed")
        .spawn(move || waits_for_a_message(&receiver));
    let found = |text: &str| {
        text.contains("{name: listed}")
            && (cfg!(feature = "thread-engine") || text.contains("waits_for_a_message(...)"))
    };
    let begin = Instant::now();
    while !found(&text("/debug/pprof/goroutine?debug=2")) {
        assert!(begin.elapsed() < Duration::from_secs(30));
    }
    let counts = text("/debug/pprof/goroutine?debug=1");
    assert!(counts.starts_with("goroutine profile: total "), "{counts}");
    drop(sender);
    spawned.unwrap().join().unwrap();
}

/// In a process of its own, in whose memory no other test has left words that look like ways to what is waited for.
#[cfg(not(any(feature = "system-allocator", feature = "thread-engine")))]
#[test]
fn leaked_goroutines_are_listed_with_their_calls_and_no_others() {
    if !apart(
        "leaked_goroutines_are_listed_with_their_calls_and_no_others",
        &[],
    ) {
        return;
    }
    let (sender, receiver) = chan::unbuffered();
    let waits = go(move || waits_for_a_message(&receiver));
    go(|| (0..4).for_each(|_| drop(go(waits_for_nobody))))
        .join()
        .unwrap();
    let begin = Instant::now();
    let listed = loop {
        let listed = text("/debug/pprof/goroutineleak?debug=2");
        if listed.contains("waits_for_nobody(...)") {
            break listed;
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "{listed}");
    };
    assert!(listed.contains("[chan receive"), "{listed}");
    assert!(!listed.contains("waits_for_a_message"), "{listed}");
    let counts = text("/debug/pprof/goroutineleak?debug=1");
    let head = "goroutineleak profile: total ";
    assert!(counts.starts_with(head), "{counts}");
    let (status, body) = get("/debug/pprof/goroutineleak");
    assert_eq!(status, 200);
    let known = known(&body);
    assert!(known.names("waits_for_nobody") && known.names("goroutineleak"));
    assert!(!known.names("waits_for_a_message"), "{:?}", known.strings);
    assert!((1..=4).contains(&known.sums[0]), "{:?}", known.sums);
    // Where there is no Go, the test of the other profiles says so.
    if let Some(go) = find_go() {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("goroutineleak.pb.gz");
        std::fs::write(&file, &body).unwrap();
        let said = top(&go, &file);
        assert!(said.contains("Type: goroutineleak"), "{said}");
        assert!(said.contains("waits_for_nobody"), "{said}");
    }
    drop(sender);
    waits.join().unwrap();
}
