//! Children: their pipes, their end, and what they inherit.

use goruntime::go;
use goruntime::goroutines::{self, GoroutineStack};
use goruntime::io::{copy, pipe};
use goruntime::process::{Command, Stdio};
use goruntime::signal::Signal;
use goruntime_tests::refuse::{self, Call};
use goruntime_tests::{apart, is_child};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

#[test]
fn two_hundred_children_at_once() {
    let goroutines: Vec<_> = (0..200)
        .map(|i| {
            go(move || {
                let script = format!("cat; echo said {i} >&2; exit {}", i % 100);
                let mut child = shell(&script)
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()
                    .unwrap();
                // More than a pipe holds, both ways.
                let text = format!("{i} ").repeat(30_000);
                let mut stdin = child.stdin.take().unwrap();
                let sent = text.clone();
                let writer = go(move || stdin.write_all(sent.as_bytes()).unwrap());
                let output = child.wait_with_output().unwrap();
                writer.join().unwrap();
                assert!(output.stdout == text.as_bytes());
                assert_eq!(output.stderr, format!("said {i}\n").as_bytes());
                assert_eq!(output.status.code(), Some(i % 100));
            })
        })
        .collect();
    goroutines.into_iter().for_each(|g| g.join().unwrap());
}

/// Those who wait hold no threads.
#[test]
fn waiting_parks() {
    let mut children: Vec<_> = (0..100)
        .map(|_| Command::new("sleep").arg("60").spawn().unwrap())
        .collect();
    let processes: Vec<_> = children.iter().map(|child| child.process()).collect();
    let waiters: Vec<_> = children
        .drain(..)
        .map(|mut child| go(move || child.wait().unwrap()))
        .collect();
    go(|| goruntime::time::sleep(Duration::from_millis(30)))
        .join()
        .unwrap();
    let parked = |goroutine: &GoroutineStack| {
        let at = goroutine.created_at();
        at.is_some_and(|at| at.file() == file!()) && goroutine.state() == "IO wait"
    };
    let parked = goroutines::all().unwrap().into_iter().filter(parked);
    assert!(parked.count() >= 100);
    for process in processes {
        process.kill().unwrap();
    }
    for waiter in waiters {
        assert_eq!(waiter.join().unwrap().signal(), Some(libc::SIGKILL));
    }
}

#[test]
fn waiting_for_a_while() {
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    assert_eq!(child.try_wait().unwrap(), None);
    let begin = Instant::now();
    let waited = child.wait_timeout(Duration::from_millis(30)).unwrap();
    assert_eq!(waited, None);
    assert!(begin.elapsed() >= Duration::from_millis(30));
    let process = child.process();
    process.signal(Signal::TERMINATE).unwrap();
    let status = child.wait_timeout(Duration::from_secs(60)).unwrap();
    assert_eq!(status.unwrap().signal(), Some(libc::SIGTERM));
    // The end is known for good, and nobody is hit by mistake.
    assert_eq!(process.wait().unwrap().signal(), Some(libc::SIGTERM));
    assert_eq!(child.try_wait().unwrap(), status);
    let error = process.signal(Signal::TERMINATE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    process.kill().unwrap();
}

#[test]
fn programs_that_cannot_be_run() {
    let error = Command::new("no such program").spawn().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let error = Command::new("/").status().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    let mut elsewhere = Command::new("true");
    assert!(elsewhere.current_dir("/no such folder").status().is_err());
}

#[test]
fn what_is_set_is_what_the_child_has() {
    let output = shell("echo $0 $A $B; pwd; ulimit -Sn >/dev/null; cat")
        .env_clear()
        .env("A", "1")
        .envs([("B", "2"), ("C", "3")])
        .env_remove("C")
        .current_dir("/")
        .arg0("called")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "called 1 2\n/\n");
    let group = shell("ps -o pgid= -p $$ || echo $$")
        .process_group(0)
        .output()
        .unwrap();
    assert!(group.status.success());
    assert!(shell("exit 3").status().unwrap().code() == Some(3));
}

/// One child's output is the next one's input; the kernel moves it.
#[test]
fn a_pipeline() {
    let (mut source, mut sink) = pipe().unwrap();
    let mut first = shell("seq 1 100000")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (reader, writer) = pipe().unwrap();
    let writer: Stdio = writer.try_into().unwrap();
    let mut second = shell("tail -n 1")
        .stdin(Stdio::piped())
        .stdout(writer)
        .spawn()
        .unwrap();
    let mut to = second.stdin.take().unwrap();
    let mut from = first.stdout.take().unwrap();
    let moved = go(move || copy(&mut from, &mut to).unwrap());
    let mut third = shell("cat")
        .stdin(Stdio::try_from(reader).unwrap())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = third.stdout.take().unwrap();
    let last = go(move || copy(&mut out, &mut sink));
    let mut text = String::new();
    source.read_to_string(&mut text).unwrap();
    assert_eq!(text, "100000\n");
    assert_eq!(moved.join().unwrap(), 588_895);
    last.join().unwrap().unwrap();
    for child in [&mut first, &mut second, &mut third] {
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn children_have_the_limit_that_this_program_had() {
    if !apart(
        "children::children_have_the_limit_that_this_program_had",
        &[],
    ) {
        return;
    }
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the structure is writable, then readable.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = 100;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
    }
    let ask = || shell("ulimit -Sn");
    let now = || ask().keep_file_limit().output().unwrap().stdout;
    assert_eq!(ask().output().unwrap().stdout, b"100\n");
    assert_eq!(now(), format!("{}\n", limit.rlim_max).as_bytes());
    // No signal is held back, either way of starting it.
    let held = || {
        let mut grep = Command::new("grep");
        grep.args(["SigBlk", "/proc/self/status"]);
        grep
    };
    let none = b"SigBlk:\t0000000000000000\n";
    assert_eq!(held().output().unwrap().stdout, none);
    assert_eq!(held().keep_file_limit().output().unwrap().stdout, none);
}

/// Where the kernel gives no descriptor for a process, a thread waits.
#[test]
fn without_descriptors_for_processes() {
    const NAME: &str = "children::without_descriptors_for_processes";
    const PIDFD_OPEN: Call = Call {
        name: "pidfd_open",
        number: libc::SYS_pidfd_open,
        errno: libc::ENOSYS,
    };
    if !is_child() {
        let ran = refuse::run(NAME, PIDFD_OPEN, 1, u32::MAX);
        let said = String::from_utf8_lossy(&ran.output.stderr).into_owned();
        assert!(ran.output.status.success(), "{said}");
        assert!(ran.refused >= 3, "{ran:?}");
        return;
    }
    refuse::begin();
    let output = shell("echo out; echo err >&2").output().unwrap();
    assert_eq!(
        (&*output.stdout, &*output.stderr),
        (&b"out\n"[..], &b"err\n"[..])
    );
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    let waited = child.wait_timeout(Duration::from_millis(10)).unwrap();
    assert_eq!(waited, None);
    let process = child.process();
    let waiter = go(move || child.wait().unwrap());
    std::thread::sleep(Duration::from_millis(10));
    process.kill().unwrap();
    assert_eq!(waiter.join().unwrap().signal(), Some(libc::SIGKILL));
    let mut child = shell("sleep 0.05; exit 7").spawn().unwrap();
    let status = child.wait_timeout(Duration::from_secs(60)).unwrap();
    assert_eq!(status.unwrap().code(), Some(7));
    refuse::end();
}

/// std has writes to closed pipes end the process before it tries to become another.
#[test]
fn a_program_that_is_not_there_leaves_this_one_as_it_was() {
    if !apart(
        "children::a_program_that_is_not_there_leaves_this_one_as_it_was",
        &[],
    ) {
        return;
    }
    let why = Command::new("/no/such/program").exec();
    assert_eq!(why.kind(), ErrorKind::NotFound);
    let (reader, mut writer) = pipe().unwrap();
    drop(reader);
    assert_eq!(
        writer.write(b"x").unwrap_err().kind(),
        ErrorKind::BrokenPipe
    );
}
