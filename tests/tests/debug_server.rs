//! The server of `/debug/` and `/metrics`: that it keeps to its bounds, that Prometheus reads the figures, and that the page works in a browser.

use goruntime::{chan, debug, go, profile};
use goruntime_tests::keeps_memory;
use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
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
    profile::start_heap();
    let memory = keeps_memory();
    let (sender, receiver) = chan::unbuffered::<u32>();
    let waiting = go(move || receiver.recv());
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
    drop((sender, memory));
    assert!(waiting.join().unwrap().is_err());
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
        "tests/debug_server.rs",
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
            // With a timeout a signal ends the call, whatever its handler says; and there are collections in this process.
            let n = match stream.read(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                n => n.unwrap(),
            };
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
