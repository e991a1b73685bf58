//! The real poller: edge-triggered `epoll`, with an `eventfd` to interrupt it.
//!
//! The eventfd is level-triggered, and read only by a `wait` that may sleep: a `wait` with timeout
//! zero on another thread, which sees it too, must not swallow a wake-up meant for the sleeper.
//! `waking` keeps wakers from writing again while one wake-up is under way.

use crate::atomic::{AtomicBool, Ordering};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::env::{Poller, Readiness, Token};
use crate::rest;
use crate::time::Nanos;

/// Never a descriptor's token: tokens are indices.
const WAKE: u64 = u64::MAX;

/// Reports taken from the kernel at a time, on the caller's stack: 12 bytes each.
const BATCH: usize = 64;

/// See the module.
#[derive(Debug)]
pub struct Epoll {
    epoll: OwnedFd,
    event: OwnedFd,
    waking: AtomicBool,
}

impl Epoll {
    /// # Errors
    /// `EMFILE` or `ENFILE` when no descriptors are left (two are needed), `ENOMEM`.
    pub fn new() -> io::Result<Epoll> {
        // SAFETY: plain system calls; the results are checked and owned.
        let (epoll, event) = unsafe {
            (
                owned(libc::epoll_create1(libc::EPOLL_CLOEXEC))?,
                owned(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK))?,
            )
        };
        let poller = Epoll {
            epoll,
            event,
            waking: AtomicBool::new(false),
        };
        poller.control(
            libc::EPOLL_CTL_ADD,
            poller.event.as_raw_fd(),
            libc::EPOLLIN as u32,
            WAKE,
        )?;
        Ok(poller)
    }

    fn control(&self, operation: i32, fd: RawFd, events: u32, data: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events, u64: data };
        // SAFETY: the event outlives the call.
        let result = unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), operation, fd, &mut event) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    fn consume_wake(&self) {
        let mut count = [0u8; 8];
        // SAFETY: the buffer is writable and of the length given.
        unsafe { libc::read(self.event.as_raw_fd(), count.as_mut_ptr().cast(), 8) };
        self.waking.store(false, Ordering::SeqCst);
    }
}

unsafe fn owned(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the caller has just got it from the kernel.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sleeps with nanosecond precision (`epoll_pwait2`, Linux 5.11), or where a sandbox refuses that
/// call, with milliseconds rounded up.
fn epoll_wait(epoll: RawFd, events: &mut [libc::epoll_event], timeout: Option<Nanos>) -> i32 {
    let spec = timeout.map(Nanos::to_timespec);
    let spec = spec
        .as_ref()
        .map_or(std::ptr::null(), |s| s as *const libc::timespec);
    let capacity = events.len() as i32;
    // SAFETY: the array has the capacity given, and `spec` outlives the call.
    unsafe {
        if timeout != Some(Nanos::ZERO) {
            let n = libc::syscall(
                libc::SYS_epoll_pwait2,
                epoll,
                events.as_mut_ptr(),
                capacity,
                spec,
                std::ptr::null::<libc::sigset_t>(),
                0usize,
            );
            let refused = matches!(
                io::Error::last_os_error().raw_os_error(),
                Some(libc::ENOSYS | libc::EPERM)
            );
            if n >= 0 || !refused {
                return n as i32;
            }
        }
        let ms = timeout.map_or(-1, |t| {
            i32::try_from(t.0.div_ceil(1_000_000)).unwrap_or(i32::MAX)
        });
        libc::epoll_wait(epoll, events.as_mut_ptr(), capacity, ms)
    }
}

impl Poller for Epoll {
    fn register(&self, fd: RawFd, token: Token) -> io::Result<()> {
        let events =
            libc::EPOLLIN | libc::EPOLLPRI | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;
        self.control(libc::EPOLL_CTL_ADD, fd, events as u32, token.0 as u64)
    }

    fn deregister(&self, fd: RawFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, 0, 0)
    }

    fn wait(&self, timeout: Option<Nanos>, ready: &mut [Readiness]) -> io::Result<usize> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; BATCH];
        let capacity = BATCH.min(ready.len());
        let mut wait = || epoll_wait(self.epoll.as_raw_fd(), &mut events[..capacity], timeout);
        let n = match timeout {
            Some(Nanos::ZERO) => wait(),
            _ => rest::at_rest(wait),
        };
        if n < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::Interrupted => Ok(0),
                _ => Err(error),
            };
        }
        let mut filled = 0;
        for event in &events[..n as usize] {
            let (bits, data) = (event.events as i32, event.u64);
            if data == WAKE {
                if timeout != Some(Nanos::ZERO) {
                    self.consume_wake();
                }
                continue;
            }
            let failed = bits & (libc::EPOLLERR | libc::EPOLLHUP) != 0;
            ready[filled] = Readiness {
                token: Token(data as usize),
                readable: failed || bits & (libc::EPOLLIN | libc::EPOLLRDHUP) != 0,
                writable: failed || bits & libc::EPOLLOUT != 0,
                // A read ends where urgent data are.
                is_last: failed || bits & (libc::EPOLLRDHUP | libc::EPOLLPRI) != 0,
            };
            filled += 1;
        }
        Ok(filled)
    }

    fn wake(&self) {
        if self.waking.swap(true, Ordering::SeqCst) {
            return;
        }
        let one = 1u64.to_ne_bytes();
        // SAFETY: the buffer is readable and of the length given. It cannot fail for want of room:
        // the count is 0 or 1.
        unsafe { libc::write(self.event.as_raw_fd(), one.as_ptr().cast(), 8) };
    }
}

// Miri wants other flags of epoll.
#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    #[test]
    fn reports_edges_once() {
        let poller = Epoll::new().unwrap();
        let (mut a, b) = UnixStream::pair().unwrap();
        poller.register(b.as_raw_fd(), Token(5)).unwrap();
        let mut ready = [Readiness::NONE; 4];
        let first = poller.wait(Some(Nanos::ZERO), &mut ready).unwrap();
        assert_eq!(first, 1);
        assert!(ready[0].writable && !ready[0].readable);
        assert_eq!(poller.wait(Some(Nanos::ZERO), &mut ready).unwrap(), 0);
        a.write_all(b"x").unwrap();
        assert_eq!(poller.wait(None, &mut ready).unwrap(), 1);
        assert!(ready[0].readable && ready[0].token == Token(5));
        poller.deregister(b.as_raw_fd()).unwrap();
        a.write_all(b"x").unwrap();
        assert_eq!(poller.wait(Some(Nanos::ZERO), &mut ready).unwrap(), 0);
    }

    #[test]
    fn a_wake_is_kept_for_the_next_sleeper_and_not_taken_by_a_glance() {
        let poller = Epoll::new().unwrap();
        poller.wake();
        poller.wake();
        let mut ready = [Readiness::NONE; 4];
        assert_eq!(poller.wait(Some(Nanos::ZERO), &mut ready).unwrap(), 0);
        assert_eq!(poller.wait(None, &mut ready).unwrap(), 0);
        let start = Nanos::now();
        let timeout = Nanos::from_millis(2);
        assert_eq!(poller.wait(Some(timeout), &mut ready).unwrap(), 0);
        assert!(Nanos::now() - start >= timeout, "one wake, one return");
    }

    #[test]
    fn regular_files_are_refused() {
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        let error = Epoll::new()
            .unwrap()
            .register(file.as_raw_fd(), Token(1))
            .unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    }
}
