//! Helpers shared by the suites that cross crates.

pub mod dying;
pub mod protobuf;
pub mod refuse;
pub mod still;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// What children may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs the test `name` of the calling test binary again in a process of its own, with `GORUNTIME_CHILD` set, and
/// returns what became of it. For tests whose subject ends the process.
///
/// The test itself asks [`is_child`] which of the two it is.
///
/// # Panics
/// When the process cannot be started, or has not ended within a minute (it is killed then).
pub fn child(name: &str, envs: &[(&str, &str)]) -> Output {
    child_within(LIMIT, name, envs)
}

/// The same for one that may take so long.
///
/// # Panics
/// As [`child`].
pub fn child_within(limit: Duration, name: &str, envs: &[(&str, &str)]) -> Output {
    finish(start(name, envs), limit)
}

/// Starts the child of [`child`].
fn start(name: &str, envs: &[(&str, &str)]) -> Child {
    let alone = ["--include-ignored", "--nocapture", "--test-threads=1"];
    let arguments = [&["--exact", name][..], &alone].concat();
    let envs = [&[("GORUNTIME_CHILD", "1")], envs].concat();
    start_with(&arguments, &envs)
}

/// Starts the calling test binary again.
fn start_with(arguments: &[&str], envs: &[(&str, &str)]) -> Child {
    let exe = std::env::current_exe().expect("the path of this test");
    let mut command = Command::new(exe);
    command
        .args(arguments)
        .envs(envs.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().expect("start a child process")
}

/// Waits for its end.
fn finish(child: Child, limit: Duration) -> Output {
    let pid = child.id();
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        if wait.recv_timeout(limit) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            // SAFETY: kill of our own child, which has not been waited for yet.
            unsafe { libc::kill(pid as i32, libc::SIGKILL) };
            true
        } else {
            false
        }
    });
    let output = child
        .wait_with_output()
        .expect("wait for the child process");
    drop(done);
    let killed = watchdog.join().expect("the watchdog");
    assert!(
        !killed,
        "the child did not end within {limit:?}; it said:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Is this process one that [`child`] started?
pub fn is_child() -> bool {
    std::env::var_os("GORUNTIME_CHILD").is_some()
}

/// Has the test `name` run in a process of its own, as [`child`] does: true in that process, which goes on with it; false in this one, when that has passed.
///
/// # Panics
/// When the test has failed there, with all that it said.
pub fn apart(name: &str, envs: &[(&str, &str)]) -> bool {
    if is_child() {
        return true;
    }
    said_when_passed(child(name, envs));
    false
}

/// All that a process said which has passed.
fn said_when_passed(output: Output) -> String {
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{}: {said}", output.status);
    said
}

/// Runs all tests of the calling test binary but `name`, which calls this, in a process with these variables.
///
/// # Panics
/// When one has failed there, with all that was said; when the process has not ended within a minute.
pub fn all_but(name: &str, envs: &[(&str, &str)]) {
    let said = said_when_passed(finish(start_with(&["--skip", name], envs), LIMIT));
    assert!(!said.contains(" 0 passed"), "nothing was run: {said}");
}

/// Waits until `condition` holds.
///
/// # Panics
/// When it does not within `limit`; `what` says what was waited for.
pub fn eventually(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition() {
        assert!(
            Instant::now() < deadline,
            "waited {limit:?} in vain for {what}"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Allocates some twenty megabytes, for profiles to find.
#[inline(never)]
pub fn keeps_memory() -> Vec<Vec<u8>> {
    let mut memory = Vec::new();
    for _ in 0..2000 {
        memory.push(black_box(vec![1; 10_000]));
    }
    black_box(&memory);
    memory
}

/// The Go that `cargo xtask bench` installs, the one that `GORUNTIME_GO` names, or one that is there anyway.
pub fn find_go() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    let installed = root.join("target/bench/go/environment/bin/go");
    let given = std::env::var_os("GORUNTIME_GO").map(PathBuf::from);
    let known = given.into_iter().chain([installed, PathBuf::from("go")]);
    known.into_iter().find(|go| {
        let version = Command::new(go).arg("version").output();
        version.is_ok_and(|said| said.status.success())
    })
}

/// A command of Go's that fetches nothing, and keeps what it builds in `folder`.
pub fn go_tool(go: &Path, folder: &Path) -> Command {
    let mut command = Command::new(go);
    command
        .env("GOCACHE", folder.join("go-cache"))
        .env("GOTOOLCHAIN", "local")
        .env("GOPROXY", "off")
        .env("GOFLAGS", "")
        .env("HOME", folder)
        .env("PPROF_TMPDIR", folder);
    command
}
