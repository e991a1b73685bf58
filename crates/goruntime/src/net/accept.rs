//! Accepting connections, TCP or Unix.
//!
//! A connection that cannot be accepted for want of descriptors or memory stays in the queue, so the next try fails at once too, and a server that tries again
//! for ever would burn a processor until somebody else closes something. So such a failure is reported late: after a delay that doubles from 5 ms to 1 s while they go on
//! (the figures of Go's HTTP server, which does the same one level up). A server may then simply go on after an error.

use crate::watched::Watched;
use gosched::poll::Direction;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering::*};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_secs(1);

/// Failures in a row for want of something.
#[derive(Default)]
pub(super) struct Shortage(AtomicU32);

impl Shortage {
    /// The next connection, by way of `accept`.
    pub(super) fn accept<S: AsFd, R>(
        &self,
        listener: &Watched<S>,
        accept: impl Fn(&S) -> io::Result<R>,
    ) -> io::Result<R> {
        let accepted = listener.read(|socket| {
            loop {
                match accept(socket) {
                    Err(error) if died_in_queue(&error) => {}
                    result => return result,
                }
            }
        });
        match &accepted {
            Ok(_) => self.0.store(0, Relaxed),
            Err(error) if is_shortage(error) => {
                let before = self.0.fetch_add(1, Relaxed);
                wait(listener, delay(before));
            }
            Err(_) => {}
        }
        accepted
    }
}

/// The connection is gone; the one behind it may be well. accept(2) names these errors as those of the new socket rather than of the call.
fn died_in_queue(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNABORTED
                | libc::EPROTO
                | libc::ENETDOWN
                | libc::ENETUNREACH
                | libc::EHOSTDOWN
                | libc::EHOSTUNREACH
                | libc::ENONET
        )
    )
}

fn is_shortage(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}

fn delay(failures: u32) -> Duration {
    FIRST.saturating_mul(1 << failures.min(16)).min(LONGEST)
}

/// Waits that long, or until the listener is closed: it never becomes writable, but whoever waits for that is woken by a close.
fn wait<S: AsFd>(listener: &Watched<S>, delay: Duration) {
    let until = gosched::now() + delay;
    while listener
        .registration()
        .wait(Direction::Write, Some(until))
        .is_ok()
    {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_second() {
        let millis = |failures| delay(failures).as_millis();
        assert_eq!([0, 1, 2, 7].map(millis), [5, 10, 20, 640]);
        assert_eq!([8, 40, u32::MAX].map(millis), [1000; 3]);
    }

    #[test]
    fn the_kernels_errors_are_told_apart() {
        let of = io::Error::from_raw_os_error;
        assert!(died_in_queue(&of(libc::ECONNABORTED)) && !is_shortage(&of(libc::ECONNABORTED)));
        assert!(is_shortage(&of(libc::EMFILE)) && !died_in_queue(&of(libc::EMFILE)));
        assert!(!is_shortage(&of(libc::EBADF)) && !died_in_queue(&of(libc::EBADF)));
    }
}
