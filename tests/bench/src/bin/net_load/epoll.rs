//! epoll, edge-triggered.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// A set of descriptors to wait for.
pub struct Epoll(OwnedFd);

/// Events taken at once.
const BATCH: usize = 256;

/// How long nothing may happen, in milliseconds.
const PATIENCE: i32 = 10_000;

impl Epoll {
    /// An empty set.
    pub fn new() -> io::Result<Epoll> {
        // SAFETY: the call looks at its flag only.
        match unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) } {
            -1 => Err(io::Error::last_os_error()),
            // SAFETY: the descriptor is new, and nobody else's.
            fd => Ok(Epoll(unsafe { OwnedFd::from_raw_fd(fd) })),
        }
    }

    /// Adds a descriptor, under a number by which it is known.
    pub fn add(&self, fd: &impl AsRawFd, number: usize) -> io::Result<()> {
        let events = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;
        let mut event = libc::epoll_event {
            events: events as u32,
            u64: number as u64,
        };
        let add = libc::EPOLL_CTL_ADD;
        // SAFETY: both descriptors are open, and the event is alive during the call.
        match unsafe { libc::epoll_ctl(self.0.as_raw_fd(), add, fd.as_raw_fd(), &raw mut event) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Waits until something happens, and puts the numbers of those to which it did into `ready`.
    ///
    /// # Errors
    /// When nothing happens for long.
    pub fn wait(&self, ready: &mut Vec<usize>) -> io::Result<()> {
        ready.clear();
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; BATCH];
        loop {
            let (fd, start) = (self.0.as_raw_fd(), events.as_mut_ptr());
            // SAFETY: the array has room for that many events.
            match unsafe { libc::epoll_wait(fd, start, BATCH as i32, PATIENCE) } {
                0 => {
                    let why = format!("nothing was answered for {PATIENCE} ms");
                    return Err(io::Error::new(io::ErrorKind::TimedOut, why));
                }
                -1 => {
                    let why = io::Error::last_os_error();
                    if why.kind() != io::ErrorKind::Interrupted {
                        return Err(why);
                    }
                }
                count => {
                    let happened = &events[..count as usize];
                    ready.extend(happened.iter().map(|event| event.u64 as usize));
                    return Ok(());
                }
            }
        }
    }
}
