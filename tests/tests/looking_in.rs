//! Looking in over HTTP: profiles that other programs open and that name the program's functions, figures that Prometheus reads, and a server that keeps to its
//! bounds.
//!
//! Length: all of it looks into one program, which is expensive to start with a profiler beside it.

use flate2::read::GzDecoder;
use goruntime::{Builder, chan, debug, go, profile, sync};
use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

#[cfg(not(feature = "system-allocator"))]
#[global_allocator]
static GLOBAL: goruntime::GoMalloc = goruntime::GoMalloc::new();

fn server() -> SocketAddr {
    static SERVER: OnceLock<debug::Server> = OnceLock::new();
    let serve = || debug::serve("127.0.0.1:0").expect("a server");
    SERVER.get_or_init(serve).local_addr()
}

/// Sends a request as it stands, and returns all that comes until the connection is closed.
fn raw(request: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(server()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).unwrap();
    response
}

/// The status and the body.
fn get(target: &str) -> (u16, Vec<u8>) {
    let response = raw(&format!(
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    ));
    let end = response.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&response[..end]);
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, response[end + 4..].to_vec())
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
fn keeps_memory() -> Vec<Vec<u8>> {
    let mut memory = Vec::new();
    for _ in 0..2000 {
        memory.push(black_box(vec![1; 10_000]));
    }
    black_box(&memory);
    memory
}

#[inline(never)]
fn waits_for_a_message(receiver: &chan::Receiver<u32>) {
    while let Ok(message) = receiver.recv() {
        black_box(message);
    }
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

/// A message of protocol buffers: its numbers and its parts, by field.
#[derive(Default)]
struct Message {
    numbers: BTreeMap<u64, Vec<u64>>,
    parts: BTreeMap<u64, Vec<Vec<u8>>>,
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= u64::from(byte & 127) << shift;
        shift += 7;
        if byte < 128 {
            return value;
        }
    }
}

impl Message {
    fn read(mut bytes: &[u8]) -> Message {
        let mut message = Message::default();
        while !bytes.is_empty() {
            let key = varint(&mut bytes);
            let value = varint(&mut bytes);
            if key & 7 == 0 {
                message.numbers.entry(key >> 3).or_default().push(value);
            } else {
                assert_eq!(key & 7, 2, "numbers and strings only");
                let (part, rest) = bytes.split_at(value as usize);
                message
                    .parts
                    .entry(key >> 3)
                    .or_default()
                    .push(part.to_vec());
                bytes = rest;
            }
        }
        message
    }

    fn parts(&self, field: u64) -> &[Vec<u8>] {
        self.parts.get(&field).map_or(&[], Vec::as_slice)
    }

    fn number(&self, field: u64) -> u64 {
        self.numbers.get(&field).map_or(0, |numbers| numbers[0])
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
    let strings = profile
        .parts(6)
        .iter()
        .map(|s| String::from_utf8(s.clone()).unwrap());
    let mut sums = vec![0; profile.parts(1).len()];
    let locations: BTreeSet<u64> = profile
        .parts(4)
        .iter()
        .map(|l| Message::read(l).number(1))
        .collect();
    for sample in profile.parts(2) {
        let sample = Message::read(sample);
        let mut values = &sample.parts(2)[0][..];
        for sum in &mut sums {
            *sum += varint(&mut values);
        }
        let mut calls = sample.parts(1).first().map_or(&[][..], |calls| calls);
        while !calls.is_empty() {
            assert!(
                locations.contains(&varint(&mut calls)),
                "a call without a location"
            );
        }
    }
    let strings: BTreeSet<String> = strings.collect();
    Known { strings, sums }
}

impl Known {
    fn names(&self, function: &str) -> bool {
        self.strings.iter().any(|name| name.contains(function))
    }
}

/// The Go that `cargo xtask bench` installs, or one that is there.
fn find_go() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let installed = root.join("target/bench/go/environment/bin/go");
    let given = std::env::var_os("GORUNTIME_GO").map(PathBuf::from);
    let known = given.into_iter().chain([installed, PathBuf::from("go")]);
    known.into_iter().find(|go| {
        let version = Command::new(go).arg("version").output();
        version.is_ok_and(|said| said.status.success())
    })
}

/// What `go tool pprof -top` says of a profile in a file.
fn top(go: &Path, profile: &Path) -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let output = Command::new(go)
        .args([
            "tool",
            "pprof",
            "-top",
            "-nodefraction=0",
            "-nodecount=2000",
        ])
        .arg(profile)
        .env("GOCACHE", folder.join("go-cache"))
        .env("GOTOOLCHAIN", "local")
        .env("GOPROXY", "off")
        .env("GOFLAGS", "")
        .env("HOME", folder)
        .env("PPROF_TMPDIR", folder)
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
            assert!(
                known.names("looking_in.rs"),
                "{target}: {:?}",
                known.strings
            );
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

/// The page, in a browser that has no window: it draws what the program says, and complains of nothing.
#[test]
fn the_page_works_in_a_browser() {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let is_there = |name: &&&str| {
        let version = Command::new(name).arg("--version").output();
        version.is_ok_and(|said| said.status.success())
    };
    let Some(browser) = names.iter().find(is_there) else {
        println!("skipped: the page in a browser, for there is no chromium here");
        return;
    };
    let workload = Workload::begin();
    let folder =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("browser-{}", std::process::id()));
    let output = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
        ])
        .args(["--virtual-time-budget=8000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", folder.display()))
        .arg(format!("http://{}/debug/", server()))
        .output()
        .unwrap();
    drop(workload);
    let _ = std::fs::remove_dir_all(&folder);
    let (page, said) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{said}");
    // What a page says on its console is logged so.
    assert!(!said.contains("CONSOLE"), "{said}");
    for part in [
        "goroutines on ",
        "class=\"proc",
        "stroke-width=\"1.8\"",
        "chan receive",
        "tests/looking_in.rs",
    ] {
        assert!(page.contains(part), "no {part:?} in {page}");
    }
    if !cfg!(feature = "system-allocator") {
        assert!(page.contains("keeps_memory"), "no keeps_memory in {page}");
    }
}

/// A sample: its name, labels, and value.
type Sample = (String, BTreeMap<String, String>, f64);

/// Reads Prometheus' text format, version 0.0.4, and is strict: each family has one HELP, one TYPE before its samples, which stand together, and samples of names that belong to it.
fn exposition(text: &str) -> BTreeMap<String, (String, Vec<Sample>)> {
    let mut families: BTreeMap<String, (String, Vec<Sample>)> = BTreeMap::new();
    let (mut helped, mut current) = (BTreeSet::new(), String::new());
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, _) = rest.split_once(' ').unwrap();
            assert!(helped.insert(name.to_owned()), "{name} has two HELP lines");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(
                ["counter", "gauge", "histogram", "summary"].contains(&kind),
                "{line}"
            );
            current = name.to_owned();
            let family = (kind.to_owned(), Vec::new());
            assert!(
                families.insert(current.clone(), family).is_none(),
                "{name} twice"
            );
        } else {
            assert!(!line.starts_with('#') && !line.is_empty(), "{line:?}");
            let (id, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = id.split_once('{').unwrap_or((id, "}"));
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
            assert!(name.chars().all(is_name), "{line}");
            let mut found = BTreeMap::new();
            for label in labels
                .strip_suffix('}')
                .unwrap()
                .split(',')
                .filter(|l| !l.is_empty())
            {
                let (key, value) = label.split_once('=').unwrap();
                let value = value
                    .strip_prefix('"')
                    .and_then(|v| v.strip_suffix('"'))
                    .unwrap();
                found.insert(key.to_owned(), value.to_owned());
            }
            let (kind, samples) = families.get_mut(&current).expect(line);
            let rest = name.strip_prefix(&*current).expect(line);
            match kind.as_str() {
                "histogram" => assert!(["_bucket", "_sum", "_count"].contains(&rest), "{line}"),
                "summary" => assert!(["", "_sum", "_count"].contains(&rest), "{line}"),
                _ => assert_eq!(rest, "", "{line}"),
            }
            samples.push((name.to_owned(), found, value.parse().expect(line)));
        }
    }
    families
}

#[test]
fn prometheus_reads_the_figures() {
    let kept = black_box(vec![1u8; 1 << 20]);
    goruntime::gc::collect();
    let families = exposition(&text("/metrics"));
    drop(kept);
    let value = |name: &str| families[name].1[0].2;
    assert!(value("go_goroutines") >= 1.0);
    assert!(value("go_threads") >= 1.0);
    assert!(value("go_sched_gomaxprocs_threads") >= 1.0);
    assert!(value("process_resident_memory_bytes") > 1e6);
    assert!(value("process_start_time_seconds") > 1e9);
    assert!(value("go_gc_cycles_forced_gc_cycles_total") >= 1.0);
    if !cfg!(feature = "system-allocator") {
        assert!(value("go_memstats_alloc_bytes") >= f64::from(1 << 20));
        assert!(value("go_memstats_heap_sys_bytes") >= value("go_memstats_heap_inuse_bytes"));
    }
    assert_eq!(families["go_memstats_alloc_bytes_total"].0, "counter");
    let (kind, pauses) = &families["go_sched_pauses_total_gc_seconds"];
    assert_eq!(kind, "histogram");
    let buckets: Vec<_> = pauses
        .iter()
        .filter(|(name, ..)| name.ends_with("_bucket"))
        .collect();
    assert!(
        buckets.windows(2).all(|pair| pair[0].2 <= pair[1].2),
        "{buckets:?}"
    );
    let bound = |sample: &&Sample| sample.1["le"].parse::<f64>().unwrap();
    assert!(
        buckets
            .windows(2)
            .all(|pair| bound(&pair[0]) < bound(&pair[1])),
        "{buckets:?}"
    );
    let count = pauses
        .iter()
        .find(|(name, ..)| name.ends_with("_count"))
        .unwrap()
        .2;
    assert!(
        count >= 2.0 && buckets.last().unwrap().2 == count,
        "a collection stops twice"
    );
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

#[test]
fn a_connection_serves_one_request_after_the_other() {
    let mut stream = TcpStream::connect(server()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let mut input = Vec::new();
    for method in ["GET", "HEAD", "GET"] {
        // In two pieces.
        write!(stream, "{method} /debug/pprof/cmdline HTTP/1.1\r\nHo").unwrap();
        std::thread::sleep(Duration::from_millis(20));
        stream.write_all(b"st: 127.0.0.1\r\n\r\n").unwrap();
        let head = loop {
            if let Some(at) = input.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            let mut buffer = [0; 1024];
            let n = stream.read(&mut buffer).unwrap();
            assert!(n > 0);
            input.extend_from_slice(&buffer[..n]);
        };
        let text = String::from_utf8(input.drain(..head).collect()).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        let (_, length) = text.split_once("Content-Length: ").unwrap();
        let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
        assert!(length > 0);
        if method == "GET" {
            while input.len() < length {
                let mut buffer = [0; 1024];
                let n = stream.read(&mut buffer).unwrap();
                assert!(n > 0);
                input.extend_from_slice(&buffer[..n]);
            }
            input.drain(..length);
        }
    }
    assert_eq!(input, b"");
}

fn status(request: &str) -> String {
    String::from_utf8_lossy(&raw(request))
        .split(' ')
        .nth(1)
        .unwrap()
        .to_owned()
}

#[test]
fn others_than_this_machine_get_nothing() {
    assert_eq!(
        status("GET /debug/vars HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"),
        "403"
    );
    let foreign = "GET /debug/vars HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Dest: empty\r\nConnection: close\r\n\r\n";
    assert_eq!(status(foreign), "403");
    let why = debug::serve("0.0.0.0:0").unwrap_err();
    assert_eq!(why.kind(), ErrorKind::InvalidInput);
    assert!(why.to_string().contains("serve_anyone"), "{why}");
}

#[test]
fn what_is_no_request_is_refused() {
    assert_eq!(status("nonsense\r\n\r\n"), "400");
    assert_eq!(
        status(&format!(
            "GET / HTTP/1.1\r\nA: {}\r\n\r\n",
            "x".repeat(20_000)
        )),
        "431"
    );
    assert_eq!(
        status("POST /debug/pprof/symbol HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n"),
        "413"
    );
    assert_eq!(
        status("PUT /debug/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
        "405"
    );
    assert_eq!(get("/nothing").0, 404);
}

#[test]
fn a_server_that_is_closed_takes_no_more() {
    let server = debug::serve("127.0.0.1:0").unwrap();
    let address = server.local_addr();
    assert!(TcpStream::connect(address).is_ok());
    server.close();
    drop(server);
    let begin = Instant::now();
    while TcpStream::connect(address).is_ok() {
        assert!(begin.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(10));
    }
}
