//! The clock: in builds with `--cfg explore` the explorer's takes its place.

/// Nanoseconds of `CLOCK_MONOTONIC`, which is also what `std::time::Instant` reads.
#[inline]
pub(crate) fn monotonic() -> u64 {
    let mut spec = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `spec` is writable; CLOCK_MONOTONIC exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut spec) };
    spec.tv_sec as u64 * 1_000_000_000 + spec.tv_nsec as u64
}
