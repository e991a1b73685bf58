//! The helper thread: memory falls while the program sleeps, and there is no thread where none is wanted.
//!
//! Each scenario is a process of its own, which runs this program again.

// Miri has no threads that the standard library does not know.
#![cfg(not(miri))]

use std::process::Command;
use std::time::{Duration, Instant};

#[global_allocator]
static GLOBAL: gomem::GoMalloc = gomem::GoMalloc::new();

const MIB: usize = 1 << 20;

fn rss() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Whether the kernel lists a thread of that name.
fn has_helper() -> bool {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks.flatten().any(|task| {
        let name = std::fs::read_to_string(task.path().join("comm"));
        name.is_ok_and(|name| name.trim() == "gomem")
    })
}

fn cpu_time() -> Duration {
    // SAFETY: a place for the answer.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let time = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
    time(usage.ru_utime) + time(usage.ru_stime)
}

/// Allocates blocks of 16 to 4096 bytes, writes them, and frees them. Returns how much memory the process had in between.
fn rise_and_fall(bytes: usize) -> usize {
    let mut blocks: Vec<Vec<u8>> = Vec::with_capacity(bytes / 1024);
    let (mut live, mut size) = (0, 16);
    while live < bytes {
        blocks.push(vec![1; size]);
        live += size;
        size = 16 + (size * 7 + 13) % 4081;
    }
    let peak = rss();
    drop(blocks);
    peak
}

fn until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    while !done() {
        if begun.elapsed() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    true
}

/// Frees so much, sleeps for ten seconds, and looks.
fn falls_while_asleep(bytes: usize) {
    let peak = rise_and_fall(bytes);
    let before = cpu_time();
    std::thread::sleep(Duration::from_secs(10));
    let (after, spent) = (rss(), cpu_time() - before);
    println!("{} MiB of {} MiB left; {spent:?}", after / MIB, peak / MIB);
    assert!(after < peak / 20, "{after} of {peak} left");
    // Half a microsecond for each page that the kernel takes back, and a hundredth of the time.
    let allowed = Duration::from_millis(100) + Duration::from_nanos(500) * (peak / 4096) as u32;
    assert!(spent < allowed, "{spent:?}, not {allowed:?}");
    assert!(!has_helper(), "it has had nothing to do for long");
}

fn comes_and_goes() {
    assert!(!has_helper() && !gomem::background::is_running());
    for _ in 0..2 {
        let peak = rise_and_fall(100 * MIB);
        assert!(until(Duration::from_secs(2), has_helper));
        assert!(until(Duration::from_secs(10), || rss() < peak / 4));
        assert!(until(Duration::from_secs(10), || !has_helper()));
        assert!(!gomem::background::is_running());
    }
}

fn is_ended_by_disabling() {
    let peak = rise_and_fall(200 * MIB);
    assert!(gomem::background::is_running());
    gomem::background::disable();
    assert!(!has_helper() && !gomem::background::is_running());
    rise_and_fall(200 * MIB);
    std::thread::sleep(Duration::from_millis(300));
    assert!(!has_helper());
    gomem::heap().release_all();
    assert!(rss() < peak / 4);
}

fn is_off() {
    rise_and_fall(100 * MIB);
    std::thread::sleep(Duration::from_millis(1500));
    assert!(!has_helper() && rss() > 50 * MIB);
}

fn small_programs_have_none() {
    rise_and_fall(6 * MIB);
    std::thread::sleep(Duration::from_millis(300));
    assert!(!has_helper());
}

fn child_has_its_own() {
    rise_and_fall(100 * MIB);
    assert!(until(Duration::from_secs(2), has_helper));
    // SAFETY: the child uses what it may, and leaves without unwinding.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let none = !has_helper() && !gomem::background::is_running();
        let peak = rise_and_fall(200 * MIB);
        let well = none
            && until(Duration::from_secs(2), has_helper)
            && until(Duration::from_secs(10), || rss() < peak / 4);
        // SAFETY: ends the child.
        unsafe { libc::_exit(if well { 0 } else { 1 }) };
    }
    let mut status = -1;
    // SAFETY: the child, and a place for its status.
    unsafe { libc::waitpid(child, &mut status, 0) };
    assert_eq!(status, 0);
    assert!(until(Duration::from_secs(10), || !has_helper()));
}

/// Threads are forbidden to the whole process by a filter of system calls.
fn threads_are_refused() {
    let filter = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut program = [
        // The number of the system call; 56 is `clone`.
        filter(0x20, 0, 0, 0),
        filter(0x15, 0, 1, libc::SYS_clone as u32),
        filter(0x06, 0, 0, 0x0005_0000 | libc::EAGAIN as u32),
        filter(0x06, 0, 0, 0x7fff_0000),
    ];
    let program = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: a filter for this thread and its children.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, 2, &raw const program), 0);
    }
    for _ in 0..3 {
        let peak = rise_and_fall(100 * MIB);
        assert!(!has_helper() && !gomem::background::is_running());
        gomem::heap().release_all();
        assert!(rss() < peak / 4);
    }
}

/// Threads that fork, start threads and free memory while helpers come and go.
fn beside_everything() {
    let deadline = Instant::now() + Duration::from_secs(8);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while Instant::now() < deadline {
                    rise_and_fall(30 * MIB);
                    std::thread::spawn(|| rise_and_fall(MIB)).join().unwrap();
                    let output = Command::new("/bin/true").status().unwrap();
                    assert!(output.success());
                }
            });
        }
    });
    assert!(until(Duration::from_secs(10), || rss() < 60 * MIB));
}

/// A scenario and what is in its environment.
type Scenario = (&'static str, fn(), Option<(&'static str, &'static str)>);

const SCENARIOS: [Scenario; 9] = [
    ("falls while asleep", || falls_while_asleep(512 * MIB), None),
    ("comes and goes", comes_and_goes, None),
    ("is ended by disabling", is_ended_by_disabling, None),
    ("is off", is_off, Some(("GOMEM_OPTIONS", "background=0"))),
    ("small programs have none", small_programs_have_none, None),
    ("a child has its own", child_has_its_own, None),
    ("threads are refused", threads_are_refused, None),
    ("beside everything", beside_everything, None),
    ("two gigabytes", || falls_while_asleep(2048 * MIB), None),
];

fn scenario(name: &str) {
    if let Ok(wanted) = std::env::var("SCENARIO") {
        let found = SCENARIOS.iter().find(|scenario| scenario.0 == wanted);
        return found.unwrap().1();
    }
    let (_, _, environment) = SCENARIOS
        .iter()
        .find(|scenario| scenario.0 == name)
        .unwrap();
    let thread = std::thread::current();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            thread.name().unwrap(),
            "--exact",
            "--nocapture",
            "--include-ignored",
        ])
        .env("SCENARIO", name)
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&output.stdout) + &text(&output.stderr);
    print!("{said}");
    assert!(output.status.success(), "{name}: {}", output.status);
}

#[test]
fn memory_falls_while_the_program_sleeps() {
    scenario("falls while asleep");
}

#[test]
#[ignore = "two gigabytes of memory"]
fn memory_falls_after_two_gigabytes() {
    scenario("two gigabytes");
}

#[test]
fn a_helper_comes_and_goes() {
    scenario("comes and goes");
}

#[test]
fn disabling_ends_the_helper() {
    scenario("is ended by disabling");
}

#[test]
fn the_environment_can_say_no() {
    scenario("is off");
}

#[test]
fn a_small_program_has_no_helper() {
    scenario("small programs have none");
}

#[test]
fn a_forked_child_has_a_helper_of_its_own() {
    scenario("a child has its own");
}

#[test]
fn a_program_that_may_have_no_threads_has_no_helper() {
    scenario("threads are refused");
}

#[test]
fn helpers_come_and_go_beside_everything_else() {
    scenario("beside everything");
}
