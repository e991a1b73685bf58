//! What the kernel says of this process, and of others: memory, processor time, context switches.

use std::io;
use std::time::Duration;

/// Resident memory now, in bytes.
///
/// # Errors
/// When /proc is not readable.
pub fn resident() -> Result<u64, String> {
    let statm = read("/proc/self/statm")?;
    let pages = statm.split_whitespace().nth(1);
    let pages: Option<u64> = pages.and_then(|pages| pages.parse().ok());
    // x86-64 Linux has no other base page size.
    let pages = pages.ok_or("/proc/self/statm does not have the form known")?;
    Ok(pages * 4096)
}

/// What the process has used so far.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Processor time of all threads, user and kernel.
    pub cpu: Duration,
    /// Context switches of all threads, voluntary and not.
    pub switches: u64,
}

/// What the process has used so far.
pub fn usage() -> Usage {
    // SAFETY: all zeroes is a value of this plain structure.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live structure. The call cannot fail with these arguments.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
    let time = |t: libc::timeval| {
        Duration::from_secs(t.tv_sec as u64) + Duration::from_micros(t.tv_usec as u64)
    };
    Usage {
        cpu: time(usage.ru_utime) + time(usage.ru_stime),
        switches: (usage.ru_nvcsw + usage.ru_nivcsw) as u64,
    }
}

/// Processor time that all threads of a process have used so far.
///
/// # Errors
/// When there is no such process.
pub fn cpu_time_of(process: u32) -> io::Result<Duration> {
    let mut clock = 0;
    // SAFETY: the pointer is to a live number.
    let error = unsafe { libc::clock_getcpuclockid(process as i32, &raw mut clock) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a live structure.
    match unsafe { libc::clock_gettime(clock, &raw mut time) } {
        0 => Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Processor time that each live thread has used so far, by its id.
///
/// # Errors
/// When /proc is not readable.
pub fn threads() -> Result<Vec<(u32, Duration)>, String> {
    let directory = std::fs::read_dir("/proc/self/task")
        .map_err(|why| format!("cannot list /proc/self/task: {why}"))?;
    let mut threads = Vec::new();
    for entry in directory.flatten() {
        let name = entry.file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A thread may end while they are listed; what it used is of no interest then.
        let Ok(text) = read(&format!("/proc/self/task/{id}/schedstat")) else {
            continue;
        };
        let nanos = text.split_whitespace().next().and_then(|n| n.parse().ok());
        let nanos = nanos.ok_or("schedstat does not have the form known")?;
        threads.push((id, Duration::from_nanos(nanos)));
    }
    Ok(threads)
}

fn read(path: &str) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|why| format!("cannot read {path}: {why}"))
}
