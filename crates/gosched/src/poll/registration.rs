//! A descriptor under the scheduler's care.

use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::time::Instant;

use crate::critical;
use crate::gmp::g::current;
use crate::poll::desc::{Direction, PollDesc, wait_thread};
use crate::simulated;
use crate::time::Nanos;

/// The scheduler's side: forgets a descriptor. Called once per descriptor, hence not on a path
/// where the indirect call counts.
pub(crate) trait Registrar: Sync {
    /// Wakes all who wait; they fail.
    fn close(&self, desc: &'static PollDesc);
    /// Ceases to watch `fd` and takes the slots back.
    fn deregister(&self, fd: RawFd, desc: &'static PollDesc, index: u32);
}

/// The right to wait for a descriptor. Does not own it: drop the registration first, then close the
/// descriptor.
///
/// The descriptor must be in non-blocking mode.
pub struct Registration {
    fd: RawFd,
    desc: &'static PollDesc,
    index: u32,
    registrar: &'static dyn Registrar,
}

impl Registration {
    pub(crate) fn new(
        fd: RawFd,
        desc: &'static PollDesc,
        index: u32,
        registrar: &'static dyn Registrar,
    ) -> Registration {
        Registration {
            fd,
            desc,
            index,
            registrar,
        }
    }

    /// Tries `operation` until it does anything else than fail with `WouldBlock`, waiting in
    /// between. From goroutines and from plain threads.
    ///
    /// Callers in the same direction take turns, so one that waits makes the next wait too.
    /// `operation` may run more often than the descriptor is ready. It runs at least once, unless
    /// the deadline of the direction ([`set_deadline`](Self::set_deadline)) has passed before.
    ///
    /// # Errors
    /// As `operation`; `TimedOut` when `deadline` or the direction's passes first; `NotConnected`
    /// after [`close`](Self::close).
    pub fn io<R>(
        &self,
        direction: Direction,
        deadline: Option<Instant>,
        mut operation: impl FnMut() -> io::Result<R>,
    ) -> io::Result<R> {
        let own = deadline.map_or(Nanos::NEVER, simulated::point_in_time);
        let _turn = self.turn(direction, own)?;
        loop {
            if self.desc.is_closed() {
                return Err(closed());
            }
            in_time(self.desc.deadline(direction))?;
            self.desc.prepare(direction);
            let common = self.desc.deadline(direction);
            match operation() {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                result => return result,
            }
            self.wait_once(direction, own.min(common))?;
        }
    }

    /// Waits for the next edge that comes after the operation that the caller has just seen fail
    /// with `WouldBlock`; also returns for an edge that came before it, or for none.
    ///
    /// # Errors
    /// As [`io`](Self::io).
    pub fn wait(&self, direction: Direction, deadline: Option<Instant>) -> io::Result<()> {
        let own = deadline.map_or(Nanos::NEVER, simulated::point_in_time);
        let _turn = self.turn(direction, own)?;
        self.wait_once(direction, own.min(self.desc.deadline(direction)))?;
        if self.desc.is_closed() {
            return Err(closed());
        }
        Ok(())
    }

    /// Sets the point in time from which on every operation in this direction fails with
    /// `TimedOut`, those that wait too; `None` for never (Go's `SetReadDeadline`).
    pub fn set_deadline(&self, direction: Direction, deadline: Option<Instant>) {
        let deadline = deadline.map_or(Nanos::NEVER, simulated::point_in_time);
        let inside = critical::enter();
        if let Some(g) = self.desc.set_deadline(direction, deadline) {
            // SAFETY: it was taken out of its slot, notified and saved.
            unsafe { (g.ops.make_runnable)(g, &inside) }
        }
    }

    /// Whether the deadline of the direction has passed.
    pub fn is_past(&self, direction: Direction) -> bool {
        in_time(self.desc.deadline(direction)).is_err()
    }

    /// Makes all who wait, now or later, fail with `NotConnected`. The descriptor stays open.
    pub fn close(&self) {
        self.registrar.close(self.desc);
    }

    /// Whether [`close`](Self::close) was called.
    pub fn is_closed(&self) -> bool {
        self.desc.is_closed()
    }

    fn wait_once(&self, direction: Direction, deadline: Nanos) -> io::Result<()> {
        in_time(deadline)?;
        match current() {
            Some(g) => {
                self.desc.wait(g, direction, deadline);
                Ok(())
            }
            None => wait_thread(self.fd, direction, deadline),
        }
    }

    fn turn(&self, direction: Direction, own: Nanos) -> io::Result<Turn> {
        loop {
            let deadline = own.min(self.desc.deadline(direction));
            if self.desc.take_turn(direction, deadline) {
                return Ok(Turn(self.desc, direction));
            }
            // The direction's may have been set anew. Who has the turn heard of it.
            in_time(own.min(self.desc.deadline(direction)))?;
        }
    }
}

fn in_time(deadline: Nanos) -> io::Result<()> {
    if deadline != Nanos::NEVER && simulated::now() >= deadline {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(())
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the descriptor was closed")
}

struct Turn(&'static PollDesc, Direction);

impl Drop for Turn {
    fn drop(&mut self) {
        // SAFETY: made only when the turn was taken.
        unsafe { self.0.end_turn(self.1) }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.registrar.deregister(self.fd, self.desc, self.index);
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("fd", &self.fd)
            .field("closed", &self.is_closed())
            .finish()
    }
}
