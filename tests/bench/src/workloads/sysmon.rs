//! The sysmon suite: sizes, and how readings of the kernel become figures.

use super::process::{self, Usage};
use crate::figure;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr::null_mut;
use std::time::Duration;

/// Goroutines that are parked while the process is idle.
pub const PARKED: u64 = 1_000;
/// Time for the process to come to rest, or into its stride.
pub const SETTLING: Duration = Duration::from_millis(100);
/// Time that is watched.
pub const IDLE_FOR: Duration = Duration::from_secs(1);
/// How long a goroutine beside hogs sleeps. Counted from when it woke, so that once late is not late ever after.
pub const TICK: Duration = Duration::from_millis(5);
/// Times that it sleeps.
pub const TICKS: u64 = 100;
/// Times that a declared blocking call is made on each processor while another goroutine could run.
pub const HANDOFFS: u64 = 100;
/// How long each blocks.
pub const BLOCKED: Duration = Duration::from_millis(5);
/// Times that an undeclared one is made.
pub const UNDECLARED: u64 = 25;
/// How long each blocks: longer than a goroutine may run on while others wait.
pub const BLOCKED_UNDECLARED: Duration = Duration::from_millis(30);

/// Kilobyte objects of which the heap consists at its peak.
pub const PEAK: u64 = 256 << 10;
/// Readings of the memory that is resident after the peak, one a second.
pub const AFTER_PEAK: u64 = 5;

/// What a second of idling after the peak has come to: bytes that are resident, and collections that have ended since the peak.
pub type AfterPeak = (u64, u64);

/// Prints the memory that was `resident` at the peak and each second after it: a figure `peak`, and `rss_N` after N seconds; and when it was first seen
/// that there had been a collection.
pub fn report_after_peak(peak: u64, seconds: &[AfterPeak]) {
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    figure("peak", megabytes(peak), "MB");
    for (second, (resident, _)) in (1..).zip(seconds) {
        figure(&format!("rss_{second}"), megabytes(*resident), "MB");
    }
    if let Some(at) = seconds.iter().position(|(_, collections)| *collections > 0) {
        figure("collected", (at + 1) as f64, "s");
    }
}

/// A timer of the kernel's that can be read when it has run out: like a connection, and unlike a timer of the runtime's, it is heard of by asking the kernel.
///
/// # Errors
/// The system's.
pub fn alarm() -> io::Result<File> {
    // SAFETY: a plain call; the descriptor is nobody else's.
    unsafe {
        match libc::timerfd_create(
            libc::CLOCK_MONOTONIC,
            libc::TFD_NONBLOCK | libc::TFD_CLOEXEC,
        ) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(File::from_raw_fd(fd)),
        }
    }
}

/// Has the alarm run out so much later than now.
///
/// # Errors
/// The system's.
pub fn set_alarm(alarm: &File, after: Duration) -> io::Result<()> {
    let time = |time: Duration| libc::timespec {
        tv_sec: time.as_secs().cast_signed(),
        tv_nsec: time.subsec_nanos().into(),
    };
    let setting = libc::itimerspec {
        it_interval: time(Duration::ZERO),
        it_value: time(after),
    };
    // SAFETY: the descriptor is borrowed, and the setting outlives the call.
    match unsafe { libc::timerfd_settime(alarm.as_raw_fd(), 0, &setting, null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Prints what an idle process used since `before`, `elapsed` ago: `cpu` and `switches`, both to the second.
pub fn report_idle(before: Usage, elapsed: Duration) {
    let after = process::usage();
    let seconds = elapsed.as_secs_f64();
    let cpu = (after.cpu - before.cpu).as_secs_f64() * 1e3;
    figure("cpu", cpu / seconds, "ms/s");
    let switches = (after.switches - before.switches) as f64;
    figure("switches", switches / seconds, "1/s");
}

/// Processor time that all threads used except the `useful` that used most: those run the program, and the others run the
/// runtime beside it. Needs one busy goroutine for each of those.
pub fn overhead(before: &[(u32, Duration)], after: &[(u32, Duration)], useful: usize) -> Duration {
    let before: HashMap<_, _> = before.iter().copied().collect();
    let since = |(id, time): &(u32, Duration)| *time - before.get(id).copied().unwrap_or_default();
    let mut used: Vec<Duration> = after.iter().map(since).collect();
    used.sort_unstable_by(|a, b| b.cmp(a));
    used.iter().skip(useful).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overhead_is_what_the_busiest_did_not_use() {
        let at = |id, ms| (id, Duration::from_millis(ms));
        let before = [at(1, 500), at(2, 0), at(3, 7)];
        let after = [at(1, 600), at(2, 90), at(3, 10), at(4, 2)];
        assert_eq!(overhead(&before, &after, 2), Duration::from_millis(5));
    }
}
