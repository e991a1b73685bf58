//! Execution traces: that what they say is what happened, that tracks are well formed, and what a flight recorder keeps.

use goruntime::trace::{self, FlightRecorder, Format};
use goruntime::{Builder, chan, debug, go};
use goruntime_tests::protobuf::Message;
use goruntime_tests::{find_go, go_tool};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[cfg(not(feature = "system-allocator"))]
#[global_allocator]
static GLOBAL: goruntime::GoMalloc = goruntime::GoMalloc::new();

/// Traces are of all that the process does: what one test does may be more than another's has room for.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A slice on a track.
#[derive(Clone, Debug)]
struct Slice {
    track: String,
    name: String,
    goroutine: Option<u64>,
    begin: u64,
    end: u64,
    then: Option<String>,
    arrow: Option<u64>,
}

/// What a trace says.
#[derive(Default)]
struct Story {
    slices: Vec<Slice>,
    /// Arrows that begin, by number, with when.
    arrows: BTreeMap<u64, u64>,
    counters: BTreeSet<String>,
    instants: BTreeSet<String>,
}

/// Reads a trace as its readers do, and is strict: times on a track do not go back, every end has a beginning, every number a string, every track a description.
fn read(bytes: &[u8]) -> Story {
    let mut story = Story::default();
    let (mut tracks, mut strings) = (BTreeMap::new(), BTreeMap::new());
    let mut open: BTreeMap<u64, Vec<Slice>> = BTreeMap::new();
    let mut times: BTreeMap<u64, u64> = BTreeMap::new();
    let mut is_first = true;
    for packet in Message::read(bytes).parts(1) {
        assert_eq!(packet.number(10), Some(1), "one sequence");
        let flags = packet.number(13).unwrap_or(0);
        assert_eq!(flags == 1, is_first, "strings are cleared once, first");
        is_first = false;
        for interned in packet.parts(12) {
            for (field, kind) in [(2, "event"), (3, "note")] {
                for entry in interned.parts(field) {
                    let key = (kind, entry.number(1).unwrap());
                    assert!(strings.insert(key, entry.text(2).unwrap()).is_none());
                }
            }
        }
        for track in packet.parts(60) {
            let name = track.text(2).unwrap_or_default();
            assert!(tracks.insert(track.number(1).unwrap(), name).is_none());
        }
        let Some(event) = packet.parts(11).next() else {
            continue;
        };
        assert_eq!(flags, 2);
        let (time, track) = (packet.number(8).unwrap(), event.number(11).unwrap());
        let track_name = tracks
            .get(&track)
            .expect("a track that is described")
            .clone();
        let last = times.entry(track).or_insert(0);
        assert!(*last <= time, "{track_name} goes back");
        *last = time;
        let name = event
            .number(10)
            .map(|name| strings[&("event", name)].clone());
        let mut notes = BTreeMap::new();
        for note in event.parts(4) {
            let key = strings[&("note", note.number(1).unwrap())].clone();
            notes.insert(key, (note.number(3), note.text(6)));
        }
        let goroutine = notes.get("goroutine").and_then(|note| note.0);
        match event.number(9).unwrap() {
            1 => open.entry(track).or_default().push(Slice {
                track: track_name,
                name: name.unwrap(),
                goroutine,
                begin: time,
                end: 0,
                then: None,
                arrow: event.number(48),
            }),
            2 => {
                let mut slice = open
                    .get_mut(&track)
                    .and_then(Vec::pop)
                    .expect("an end without a beginning");
                slice.end = time;
                slice.then = notes.get("then").and_then(|note| note.1.clone());
                story.slices.push(slice);
            }
            3 => {
                if let Some(arrow) = event.number(47) {
                    story.arrows.insert(arrow, time);
                }
                story.instants.insert(name.unwrap());
            }
            4 => {
                assert!(event.number(30).is_some());
                story.counters.insert(track_name);
            }
            other => panic!("an event of kind {other}"),
        }
    }
    assert!(open.values().all(Vec::is_empty), "all that begins ends");
    for slice in &story.slices {
        if let Some(arrow) = slice.arrow {
            assert!(
                story.arrows[&arrow] <= slice.begin,
                "an arrow leads back: {slice:?}"
            );
        }
    }
    story
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Two goroutines that play ping-pong so many times.
fn ping_pong(rounds: u64) {
    let (ping, to_pong) = chan::unbuffered::<u64>();
    let (pong, to_ping) = chan::unbuffered::<u64>();
    let one = Builder::new().name("pinger").spawn(move || {
        for n in 0..rounds {
            ping.send(n).unwrap();
            to_ping.recv().unwrap();
        }
    });
    let other = go(move || {
        while let Ok(n) = to_pong.recv() {
            if pong.send(n).is_err() {
                break;
            }
        }
    });
    one.unwrap().join().unwrap();
    other.join().unwrap();
}

#[test]
fn a_recorder_with_more_room_than_there_is_leaves_others_their_traces() {
    assert!(FlightRecorder::with_room(Duration::from_secs(1), usize::MAX / 8).is_err());
    assert!(FlightRecorder::with_room(Duration::from_secs(1), 1 << 43).is_err());
    trace::start(Format::Perfetto, io::sink())
        .unwrap()
        .stop()
        .unwrap();
}

#[test]
fn a_trace_tells_who_ran_and_who_woke_whom() {
    const ROUNDS: u64 = 200;
    let out = Shared::default();
    let trace = trace::start(Format::Perfetto, out.clone()).unwrap();
    ping_pong(ROUNDS);
    goruntime::gc::collect();
    go(|| goruntime::blocking(|| std::thread::sleep(Duration::from_millis(1))))
        .join()
        .unwrap();
    let summary = trace.stop().unwrap();
    let bytes = out.0.lock().unwrap().clone();
    let story = read(&bytes);
    assert!(
        summary.events > 2 * ROUNDS && summary.lost == 0,
        "{summary:?}"
    );
    let on_ps: Vec<&Slice> = story
        .slices
        .iter()
        .filter(|s| s.track.starts_with('P'))
        .collect();
    // By the place where it was started: its name is not in the event.
    let players: Vec<_> = on_ps
        .iter()
        .filter(|s| s.name.starts_with("traces.rs:"))
        .collect();
    assert!(
        players.len() as u64 >= 2 * ROUNDS,
        "{} of {}",
        players.len(),
        on_ps.len()
    );
    // Whoever comes second finds the other waiting.
    let waits = |s: &Slice| matches!(s.then.as_deref(), Some("chan receive" | "chan send"));
    assert!(players.iter().filter(|s| waits(s)).count() as u64 >= ROUNDS);
    assert!(players.iter().any(|s| s.then.as_deref() == Some("ends")));
    assert!(players.iter().filter(|s| s.arrow.is_some()).count() as u64 >= ROUNDS);
    assert!(
        on_ps
            .iter()
            .any(|s| s.then.as_deref() == Some("blocks its thread"))
    );
    // Nobody runs in two places at a time.
    let mut by_goroutine: BTreeMap<u64, Vec<(u64, u64)>> = BTreeMap::new();
    for slice in &on_ps {
        by_goroutine
            .entry(slice.goroutine.unwrap())
            .or_default()
            .push((slice.begin, slice.end));
    }
    for times in by_goroutine.values_mut() {
        times.sort_unstable();
        for pair in times.windows(2) {
            assert!(pair[0].1 <= pair[1].0, "{pair:?}");
        }
    }
    if !cfg!(feature = "system-allocator") {
        let of = |track: &str| {
            story
                .slices
                .iter()
                .filter(|s| s.track == track)
                .map(|s| s.name.as_str())
                .collect::<BTreeSet<_>>()
        };
        assert!(of("collector").contains("mark"), "{:?}", of("collector"));
        assert!(of("the world stopped").contains("stopped by the collector"));
        assert!(story.counters.contains("heap"), "{:?}", story.counters);
    }
    assert!(
        story.instants.contains("go") && story.instants.contains("ready"),
        "{:?}",
        story.instants
    );
}

#[test]
fn a_recorder_keeps_the_last_while_and_goes_on() {
    let recorder = FlightRecorder::start(Duration::from_secs(60)).unwrap();
    ping_pong(50);
    let mut first = Vec::new();
    let summary = recorder.write(Format::Perfetto, &mut first).unwrap();
    assert!(summary.events > 100, "{summary:?}");
    let story = read(&first);
    assert!(
        story
            .slices
            .iter()
            .any(|s| s.name.starts_with("traces.rs:"))
    );
    ping_pong(50);
    let mut second = Vec::new();
    let more = recorder.write(Format::Perfetto, &mut second).unwrap();
    assert!(more.events > summary.events);
    read(&second);
}

#[test]
fn several_may_be_taken_at_the_same_time() {
    let out = [Shared::default(), Shared::default()];
    let traces = out
        .clone()
        .map(|out| trace::start(Format::Perfetto, out).unwrap());
    ping_pong(20);
    for (trace, out) in traces.into_iter().zip(out) {
        assert!(trace.stop().unwrap().events > 40);
        read(&out.0.lock().unwrap());
    }
}

#[test]
fn a_trace_whose_file_cannot_be_written_says_so() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let trace = trace::start(Format::Perfetto, Full).unwrap();
    ping_pong(5);
    assert_eq!(trace.stop().unwrap_err().kind(), io::ErrorKind::StorageFull);
}

#[test]
fn a_trace_can_be_had_over_http() {
    let playing = go(|| ping_pong(2000));
    let response = debug::respond(debug::Request::get(
        "/debug/pprof/trace?seconds=0.1&format=perfetto",
    ));
    assert_eq!(response.status, 200);
    assert_eq!(
        response.header("Content-Disposition"),
        Some("attachment; filename=\"trace.pftrace\"")
    );
    assert!(!read(&response.body).slices.is_empty());
    playing.join().unwrap();
}

/// What Go's own reader makes of a trace in its format: each event on a line.
fn told_by_go(name: &str, trace: &[u8]) -> Option<String> {
    let Some(go) = find_go() else {
        println!(
            "skipped: `go tool trace` reading it, for there is no Go here (`cargo xtask bench sched` installs one)"
        );
        return None;
    };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let file = folder.join(format!("{name}-{}.trace", std::process::id()));
    std::fs::write(&file, trace).unwrap();
    let output = go_tool(&go, folder)
        .args(["tool", "trace", "-d=parsed"])
        .arg(&file)
        .output()
        .unwrap();
    std::fs::remove_file(&file).unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaints}\n{said}");
    assert_eq!(complaints, "");
    Some(said)
}

#[test]
fn go_reads_a_trace_in_its_format() {
    const ROUNDS: u64 = 200;
    let _alone = alone();
    let out = Shared::default();
    let trace = trace::start(Format::Go, out.clone()).unwrap();
    ping_pong(ROUNDS);
    goruntime::gc::collect();
    go(|| goruntime::blocking(|| std::thread::sleep(Duration::from_millis(1))))
        .join()
        .unwrap();
    // Goroutines that lose their P, wait on plain threads, and give way.
    let computing: Vec<_> = (0..4)
        .map(|_| {
            go(|| {
                let begin = Instant::now();
                while begin.elapsed() < Duration::from_millis(60) {
                    std::hint::spin_loop();
                }
                goruntime::yield_now();
            })
        })
        .collect();
    std::thread::spawn(|| ping_pong(3)).join().unwrap();
    computing.into_iter().for_each(|g| g.join().unwrap());
    let summary = trace.stop().unwrap();
    assert_eq!(summary.lost, 0);
    let bytes = out.0.lock().unwrap().clone();
    assert!(bytes.starts_with(b"go 1.23 trace\0\0\0"));
    let Some(said) = told_by_go("whole", &bytes) else {
        return;
    };
    let count = |part: &str| said.lines().filter(|line| line.contains(part)).count() as u64;
    assert!(count("StateTransition") > 4 * ROUNDS, "{said}");
    assert!(count("Runnable->Running") > 2 * ROUNDS, "{said}");
    assert!(count("Reason=\"chan ") > ROUNDS, "{said}");
    assert!(
        said.contains("traces.rs:"),
        "where goroutines were started: {said}"
    );
    if !cfg!(feature = "system-allocator") {
        assert!(
            said.contains("GC concurrent mark phase") || said.contains("GC "),
            "{said}"
        );
        assert!(said.contains("stop-the-world (collection)"), "{said}");
    }
}

#[test]
fn go_reads_what_a_recorder_has_left_of_it() {
    let _alone = alone();
    let recorder = FlightRecorder::with_room(Duration::from_secs(60), 1 << 16).unwrap();
    std::thread::scope(|scope| {
        let playing = scope.spawn(|| ping_pong(60_000));
        std::thread::sleep(Duration::from_millis(50));
        for n in 0..5 {
            let mut trace = Vec::new();
            recorder.write(Format::Go, &mut trace).unwrap();
            told_by_go(&format!("part{n}"), &trace);
        }
        playing.join().unwrap();
    });
}
