//! What happens to the subject.
//!
//! Each fault says whether it was felt: one that nothing came of tests nothing.

use crate::load::{self, Shared};
use goruntime::net::TcpStream;
use goruntime::time::{Duration, sleep};
use std::io;
use std::sync::atomic::Ordering::Relaxed;

/// How long a fault lasts.
const WHILE: Duration = Duration::from_millis(700);

/// Connections beyond those that there are descriptors for.
const CROWD: usize = 64;

/// Memory that is left when no more may be had, in bytes.
const SLACK: u64 = 64 << 20;

/// A fault: its name, and what brings it about for a while, and says whether it was felt.
pub type Fault = (&'static str, fn(&Shared, pid: i32) -> io::Result<bool>);

/// All of them.
pub const FAULTS: [Fault; 4] = [
    ("descriptors", descriptors),
    ("memory", memory),
    ("disk", disk),
    ("stop", stop),
];

/// No descriptors: as many as it has, and two.
fn descriptors(shared: &Shared, pid: i32) -> io::Result<bool> {
    let limit = descriptors_of(pid)? + 2;
    let before = limited(pid, libc::RLIMIT_NOFILE, limit)?;
    // Whom nobody accepts waits in the kernel's queue.
    let crowd: Vec<_> = (0..CROWD)
        .map(|_| TcpStream::connect(shared.addresses[0]))
        .collect();
    sleep(WHILE);
    let felt = descriptors_of(pid)? >= limit - 1;
    drop(crowd);
    set_limit(pid, libc::RLIMIT_NOFILE, &before)?;
    Ok(felt)
}

/// No memory: what it has, and a little that ordinary work can do with. Large blocks and large stacks are refused.
fn memory(shared: &Shared, pid: i32) -> io::Result<bool> {
    let has = status_of(pid, "VmData:")? * 1024;
    let before = limited(pid, libc::RLIMIT_DATA, has + SLACK)?;
    let said = ["/large", "/stack"].map(|path| load::ask(shared, path));
    sleep(WHILE);
    set_limit(pid, libc::RLIMIT_DATA, &before)?;
    Ok(said
        .iter()
        .all(|answer| answer.as_ref().is_ok_and(|said| said == "refused")))
}

/// Memory is back. Asked once, at the end: what the subject has had it may have again.
pub fn memory_is_back(shared: &Shared) -> io::Result<()> {
    for path in ["/large", "/stack"] {
        let said = load::ask(shared, path)?;
        if said != "there" {
            return Err(io::Error::other(format!(
                "memory is back, and {path} is {said}"
            )));
        }
    }
    Ok(())
}

/// A disk that does nothing.
fn disk(shared: &Shared, _: i32) -> io::Result<bool> {
    shared.disk.stall(WHILE * 2);
    sleep(WHILE);
    let before = shared.acknowledged.load(Relaxed);
    sleep(WHILE / 2);
    Ok(shared.acknowledged.load(Relaxed) == before)
}

/// No processors.
fn stop(shared: &Shared, pid: i32) -> io::Result<bool> {
    signal(pid, libc::SIGSTOP)?;
    sleep(WHILE / 4);
    let before = shared.done.load(Relaxed);
    sleep(WHILE);
    let felt = shared.done.load(Relaxed) == before;
    signal(pid, libc::SIGCONT)?;
    Ok(felt)
}

/// Descriptors that a process has.
pub fn descriptors_of(pid: i32) -> io::Result<u64> {
    Ok(std::fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64)
}

/// A line of what the kernel says of a process, as a number.
pub fn status_of(pid: i32, line: &str) -> io::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let number = status.lines().find_map(|text| {
        text.strip_prefix(line)?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    });
    number.ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn signal(pid: i32, number: i32) -> io::Result<()> {
    // SAFETY: sends a signal to our child, which has not been waited for.
    match unsafe { libc::kill(pid, number) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

type Resource = libc::__rlimit_resource_t;

/// Lowers a limit; returns what it was.
fn limited(pid: i32, resource: Resource, to: u64) -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: asks for a limit of our child's, into a place for one.
    if unsafe { libc::prlimit(pid, resource, std::ptr::null(), &mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let lower = libc::rlimit {
        rlim_cur: to,
        ..limit
    };
    set_limit(pid, resource, &lower)?;
    Ok(limit)
}

fn set_limit(pid: i32, resource: Resource, limit: &libc::rlimit) -> io::Result<()> {
    // SAFETY: sets a limit of our child's.
    match unsafe { libc::prlimit(pid, resource, limit, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
