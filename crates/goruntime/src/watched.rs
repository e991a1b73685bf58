//! Descriptors that goroutines wait for: what sockets, pipes, terminals and children are made of.
//!
//! [`Watched`] keeps a descriptor of std's, the right to wait for it, and how long an operation may wait. The types that people see are each one of these; what they have in
//! common is written here once, as macros, because std has a method of its own for each type and not a trait.
//!
//! Invariant: the descriptor is in non-blocking mode and open for as long as it is registered. The fields are dropped in their order, so the registration goes first.

use crate::compose::env::GoEnv;
use crate::runtime::scheduler_here;
use gosched::Scheduler;
use gosched::poll::{Direction, Registration};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering::*};
use std::time::{Duration, Instant};

/// A descriptor under the scheduler's care.
pub(crate) struct Watched<S> {
    registration: Registration,
    inner: S,
    read_timeout: Timeout,
    write_timeout: Timeout,
}

impl<S: AsFd> Watched<S> {
    /// Puts it into non-blocking mode and registers it.
    ///
    /// # Errors
    /// The system's: `EPERM` for a descriptor that cannot be waited for, such as a regular file's.
    pub(crate) fn new(inner: S) -> io::Result<Watched<S>> {
        rustix::io::ioctl_fionbio(&inner, true)?;
        Watched::nonblocking(inner)
    }

    /// Registers one that is in non-blocking mode already.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(crate) fn nonblocking(inner: S) -> io::Result<Watched<S>> {
        Watched::offer(inner).map_err(|(_, error)| error)
    }

    /// The same, and gives it back if the poller does not take it.
    pub(crate) fn offer(inner: S) -> Result<Watched<S>, (S, io::Error)> {
        Watched::offer_to(scheduler_here(), inner)
    }

    /// The same with a scheduler whose goroutines will wait for it.
    pub(crate) fn offer_to(
        scheduler: &'static Scheduler<GoEnv>,
        inner: S,
    ) -> Result<Watched<S>, (S, io::Error)> {
        match scheduler.register(inner.as_fd().as_raw_fd()) {
            Ok(registration) => Ok(Watched {
                registration,
                inner,
                read_timeout: Timeout::default(),
                write_timeout: Timeout::default(),
            }),
            Err(error) => Err((inner, error)),
        }
    }

    /// The descriptor as it was, in blocking mode.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn into_inner(self) -> io::Result<S> {
        let Watched {
            registration,
            inner,
            ..
        } = self;
        drop(registration);
        rustix::io::ioctl_fionbio(&inner, false)?;
        Ok(inner)
    }

    pub(crate) fn get(&self) -> &S {
        &self.inner
    }

    /// Repeats `operation` until it does anything else than fail with `WouldBlock`.
    #[inline]
    pub(crate) fn read<R>(&self, mut operation: impl FnMut(&S) -> io::Result<R>) -> io::Result<R> {
        self.registration
            .io(Direction::Read, self.read_timeout.deadline(), || {
                operation(&self.inner)
            })
    }

    /// The same for an operation that waits for room.
    #[inline]
    pub(crate) fn write<R>(&self, mut operation: impl FnMut(&S) -> io::Result<R>) -> io::Result<R> {
        self.registration
            .io(Direction::Write, self.write_timeout.deadline(), || {
                operation(&self.inner)
            })
    }

    pub(crate) fn registration(&self) -> &Registration {
        &self.registration
    }

    pub(crate) fn timeout(&self, direction: Direction) -> &Timeout {
        match direction {
            Direction::Read => &self.read_timeout,
            Direction::Write => &self.write_timeout,
        }
    }

    /// The same without the type of what is inside.
    pub(crate) fn descriptor(&self) -> Descriptor<'_> {
        Descriptor {
            fd: self.inner.as_fd(),
            wait: Some(Wait {
                registration: &self.registration,
                read_timeout: &self.read_timeout,
                write_timeout: &self.write_timeout,
            }),
        }
    }
}

/// An optional duration, in nanoseconds; 0 for none.
#[derive(Default)]
pub(crate) struct Timeout(AtomicU64);

impl Timeout {
    pub(crate) fn set(&self, timeout: Option<Duration>) -> io::Result<()> {
        if timeout.is_some_and(|t| t.is_zero()) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a timeout of zero would always have passed; use None for no timeout",
            ));
        }
        let nanos = timeout.map_or(0, |t| u64::try_from(t.as_nanos()).unwrap_or(u64::MAX));
        self.0.store(nanos, Relaxed);
        Ok(())
    }

    pub(crate) fn get(&self) -> Option<Duration> {
        match self.0.load(Relaxed) {
            0 => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }

    /// For an operation that begins now.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.get().and_then(|t| gosched::now().checked_add(t))
    }
}

/// Any descriptor, watched or not, for calls that take whatever there is.
#[derive(Clone, Copy)]
pub(crate) struct Descriptor<'a> {
    fd: BorrowedFd<'a>,
    wait: Option<Wait<'a>>,
}

#[derive(Clone, Copy)]
struct Wait<'a> {
    registration: &'a Registration,
    read_timeout: &'a Timeout,
    write_timeout: &'a Timeout,
}

impl<'a> Descriptor<'a> {
    /// Whether operations that would block fail, and are waited for.
    pub(crate) fn is_watched(&self) -> bool {
        self.wait.is_some()
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'a> {
        self.fd
    }

    /// As [`Watched::read`].
    pub(crate) fn read<R>(&self, operation: impl FnMut() -> io::Result<R>) -> io::Result<R> {
        match self.wait {
            Some(wait) => {
                wait.registration
                    .io(Direction::Read, wait.read_timeout.deadline(), operation)
            }
            None => uninterrupted(operation),
        }
    }

    /// As [`Watched::write`].
    pub(crate) fn write<R>(&self, operation: impl FnMut() -> io::Result<R>) -> io::Result<R> {
        match self.wait {
            Some(wait) => {
                wait.registration
                    .io(Direction::Write, wait.write_timeout.deadline(), operation)
            }
            None => uninterrupted(operation),
        }
    }
}

/// What is a descriptor, watched or not.
pub(crate) trait AsDescriptor {
    fn descriptor(&self) -> Descriptor<'_>;
}

impl AsDescriptor for std::fs::File {
    fn descriptor(&self) -> Descriptor<'_> {
        Descriptor {
            fd: self.as_fd(),
            wait: None,
        }
    }
}

/// Calls that may block a thread, in which the monitor takes the P away soon.
fn uninterrupted<R>(mut operation: impl FnMut() -> io::Result<R>) -> io::Result<R> {
    gosched::syscall(|| {
        loop {
            match operation() {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    })
}

/// For a type that is `struct $type(Watched<$inner>)`, with more fields for which values are given here: what it was, and what it says of itself.
macro_rules! is_descriptor {
    ($type:ident, $inner:ty $(, $more:expr)?) => {
        impl $type {
            /// Takes over what std made.
            ///
            /// # Errors
            /// The system's, when the descriptor cannot be watched.
            pub fn from_std(inner: $inner) -> std::io::Result<$type> {
                Ok($type(crate::watched::Watched::new(inner)? $(, $more)?))
            }

            /// Gives it to std, in blocking mode. The mode is that of all its clones: those that are left here would block their threads.
            ///
            /// # Errors
            /// The system's.
            pub fn into_std(self) -> std::io::Result<$inner> {
                self.0.into_inner()
            }

            /// Another handle on the same descriptor, with timeouts and deadlines of its own.
            ///
            /// # Errors
            /// The system's: `EMFILE`.
            pub fn try_clone(&self) -> std::io::Result<$type> {
                let inner = self.0.get().try_clone()?;
                Ok($type(crate::watched::Watched::nonblocking(inner)? $(, $more)?))
            }

            /// Makes every call that waits on this handle, now or later, fail with `NotConnected`. The descriptor stays open until the handle is dropped.
            pub fn close(&self) {
                self.0.registration().close();
            }
        }

        impl crate::watched::AsDescriptor for $type {
            fn descriptor(&self) -> crate::watched::Descriptor<'_> {
                self.0.descriptor()
            }
        }

        impl TryFrom<$inner> for $type {
            type Error = std::io::Error;

            fn try_from(inner: $inner) -> std::io::Result<$type> {
                $type::from_std(inner)
            }
        }

        impl std::os::fd::AsFd for $type {
            fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
                self.0.get().as_fd()
            }
        }

        impl std::os::fd::AsRawFd for $type {
            fn as_raw_fd(&self) -> std::os::fd::RawFd {
                self.0.get().as_raw_fd()
            }
        }

        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.get().fmt(f)
            }
        }
    };
}

/// For one that can be read, or accepted from: how long that may wait.
macro_rules! waits_to_read {
    ($type:ident) => {
        impl $type {
            /// How long each read may wait; `None` for ever.
            ///
            /// # Errors
            /// `InvalidInput` for a duration of zero.
            pub fn set_read_timeout(
                &self,
                timeout: Option<std::time::Duration>,
            ) -> std::io::Result<()> {
                self.0.timeout(gosched::poll::Direction::Read).set(timeout)
            }

            /// See [`set_read_timeout`](Self::set_read_timeout).
            ///
            /// # Errors
            /// None; std's has some.
            pub fn read_timeout(&self) -> std::io::Result<Option<std::time::Duration>> {
                Ok(self.0.timeout(gosched::poll::Direction::Read).get())
            }

            /// From when on reads fail with `TimedOut`, those that wait now too; `None` for never. Unlike a timeout it does not begin anew with each
            /// read (Go's `SetReadDeadline`).
            pub fn set_read_deadline(&self, deadline: Option<std::time::Instant>) {
                self.0
                    .registration()
                    .set_deadline(gosched::poll::Direction::Read, deadline);
            }
        }
    };
}

/// For one that can be written: how long that may wait.
macro_rules! waits_to_write {
    ($type:ident) => {
        impl $type {
            /// How long each write may wait; `None` for ever.
            ///
            /// # Errors
            /// `InvalidInput` for a duration of zero.
            pub fn set_write_timeout(
                &self,
                timeout: Option<std::time::Duration>,
            ) -> std::io::Result<()> {
                self.0.timeout(gosched::poll::Direction::Write).set(timeout)
            }

            /// See [`set_write_timeout`](Self::set_write_timeout).
            ///
            /// # Errors
            /// None; std's has some.
            pub fn write_timeout(&self) -> std::io::Result<Option<std::time::Duration>> {
                Ok(self.0.timeout(gosched::poll::Direction::Write).get())
            }

            /// From when on writes fail with `TimedOut`, those that wait now too; `None` for never. Unlike a timeout it does not begin anew with each
            /// write (Go's `SetWriteDeadline`).
            pub fn set_write_deadline(&self, deadline: Option<std::time::Instant>) {
                self.0
                    .registration()
                    .set_deadline(gosched::poll::Direction::Write, deadline);
            }
        }
    };
}

/// For one whose inner type can be read through a reference.
macro_rules! reads {
    ($type:ident) => {
        impl std::io::Read for &$type {
            #[inline]
            fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
                self.0
                    .read(|mut inner| std::io::Read::read(&mut inner, buf))
            }

            fn read_vectored(
                &mut self,
                bufs: &mut [std::io::IoSliceMut<'_>],
            ) -> std::io::Result<usize> {
                self.0
                    .read(|mut inner| std::io::Read::read_vectored(&mut inner, bufs))
            }
        }

        impl std::io::Read for $type {
            #[inline]
            fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
                std::io::Read::read(&mut &*self, buf)
            }

            fn read_vectored(
                &mut self,
                bufs: &mut [std::io::IoSliceMut<'_>],
            ) -> std::io::Result<usize> {
                std::io::Read::read_vectored(&mut &*self, bufs)
            }
        }
    };
}

/// The same for writing.
macro_rules! writes {
    ($type:ident) => {
        impl std::io::Write for &$type {
            #[inline]
            fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
                self.0
                    .write(|mut inner| std::io::Write::write(&mut inner, buf))
            }

            fn write_vectored(&mut self, bufs: &[std::io::IoSlice<'_>]) -> std::io::Result<usize> {
                self.0
                    .write(|mut inner| std::io::Write::write_vectored(&mut inner, bufs))
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }

        impl std::io::Write for $type {
            #[inline]
            fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
                std::io::Write::write(&mut &*self, buf)
            }

            fn write_vectored(&mut self, bufs: &[std::io::IoSlice<'_>]) -> std::io::Result<usize> {
                std::io::Write::write_vectored(&mut &*self, bufs)
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
    };
}

pub(crate) use {is_descriptor, reads, waits_to_read, waits_to_write, writes};
