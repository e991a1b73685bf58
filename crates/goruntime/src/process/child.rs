//! A child that was started.
//!
//! The kernel reports the end of a process through a descriptor for it (a pidfd), which the poller watches. Where there is none to be had - a sandbox that refuses it, no descriptors left - a thread
//! waits instead.
//!
//! Signals are sent by that descriptor too, so they never go to another process that got the child's number. Where there is none this rests on an
//! invariant: the child is waited for, and signals are sent to it, under one lock, which is never held while anybody waits. (Whoever has the kernel reap children, by ignoring
//! `SIGCHLD`, breaks it.)

use crate::both::both;
use crate::pipe::{PipeReader, PipeWriter};
use crate::signal::Signal;
use crate::watched::Watched;
use gosched::poll::Direction;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};
use std::fmt;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{ExitStatus, Output};
use std::ptr::null;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A child process. Dropping it lets the child run on.
#[derive(Debug)]
pub struct Child {
    /// What it reads, if that was piped.
    pub stdin: Option<PipeWriter>,
    /// What it writes, if that was piped.
    pub stdout: Option<PipeReader>,
    /// What it complains of, if that was piped.
    pub stderr: Option<PipeReader>,
    process: Process,
}

/// A child process without its pipes, to be shared: one may wait for it while another ends it.
#[derive(Clone)]
pub struct Process(Arc<Inner>);

struct Inner {
    id: u32,
    child: Mutex<std::process::Child>,
    /// Readable when it has ended.
    end: Option<Watched<OwnedFd>>,
}

impl Child {
    pub(super) fn new(mut child: std::process::Child) -> io::Result<Child> {
        let pipes = pipes(&mut child);
        let (stdin, stdout, stderr) = match pipes {
            Ok(pipes) => pipes,
            Err(error) => {
                // Nobody would ever know of it.
                let _ = child.kill();
                let _ = crate::blocking(|| child.wait());
                return Err(error);
            }
        };
        let id = child.id();
        Ok(Child {
            stdin,
            stdout,
            stderr,
            process: Process(Arc::new(Inner {
                id,
                end: end_of(id).ok(),
                child: Mutex::new(child),
            })),
        })
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The process alone, for somebody else to wait for or to end.
    pub fn process(&self) -> Process {
        self.process.clone()
    }

    /// Waits until it has ended. Its standard input is closed first, if it is still here.
    ///
    /// # Errors
    /// The system's: `ECHILD` when somebody else has waited for it.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        drop(self.stdin.take());
        self.process.wait()
    }

    /// The same for a limited time; `None` if it has not ended then.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(&mut self, timeout: Duration) -> io::Result<Option<ExitStatus>> {
        drop(self.stdin.take());
        self.process.wait_timeout(timeout)
    }

    /// Whether it has ended, and how.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.process.try_wait()
    }

    /// Waits until it has ended, and collects what it writes to those pipes that are still here.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_with_output(mut self) -> io::Result<Output> {
        drop(self.stdin.take());
        let (stdout, stderr) = (self.stdout.take(), self.stderr.take());
        let (stdout, stderr) = match (stdout, stderr) {
            (Some(stdout), Some(stderr)) => both(|| all(Some(stdout)), || all(Some(stderr)))?,
            (stdout, stderr) => (all(stdout), all(stderr)),
        };
        Ok(Output {
            status: self.wait()?,
            stdout: stdout?,
            stderr: stderr?,
        })
    }

    /// Ends it (`SIGKILL`). One that has ended already is no error.
    ///
    /// # Errors
    /// The system's.
    pub fn kill(&mut self) -> io::Result<()> {
        self.process.kill()
    }
}

/// Everything that comes out of a pipe.
fn all(pipe: Option<PipeReader>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        pipe.read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

type Pipes = (Option<PipeWriter>, Option<PipeReader>, Option<PipeReader>);

fn pipes(child: &mut std::process::Child) -> io::Result<Pipes> {
    let reader = |fd: OwnedFd| PipeReader::from_std(fd.into());
    let stdin = child.stdin.take().map(OwnedFd::from);
    let stdout = child.stdout.take().map(OwnedFd::from);
    let stderr = child.stderr.take().map(OwnedFd::from);
    Ok((
        stdin
            .map(|fd| PipeWriter::from_std(fd.into()))
            .transpose()?,
        stdout.map(reader).transpose()?,
        stderr.map(reader).transpose()?,
    ))
}

fn pid(id: u32) -> io::Result<Pid> {
    let raw = i32::try_from(id).ok().and_then(Pid::from_raw);
    raw.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// Sends a signal by the descriptor, which no other process ever has.
fn send(process: &OwnedFd, signal: i32) -> io::Result<()> {
    let fd = process.as_raw_fd();
    // SAFETY: the descriptor is open while it is borrowed; no information is passed on.
    match unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, null::<()>(), 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The descriptor that tells of the end of a child that has not been waited for.
fn end_of(id: u32) -> io::Result<Watched<OwnedFd>> {
    Watched::nonblocking(pidfd_open(pid(id)?, PidfdFlags::empty())?)
}

impl Process {
    /// Its number.
    pub fn id(&self) -> u32 {
        self.0.id
    }

    fn child(&self) -> MutexGuard<'_, std::process::Child> {
        self.0.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it has ended, and how.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn try_wait(&self) -> io::Result<Option<ExitStatus>> {
        self.child().try_wait()
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// The system's: `ECHILD` when somebody else has waited for it.
    pub fn wait(&self) -> io::Result<ExitStatus> {
        match &self.0.end {
            Some(end) => self.wait_until(end, None),
            None => loop {
                if let Some(status) = self.try_wait()? {
                    return Ok(status);
                }
                // Without taking the status, so that the number stays the child's.
                let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
                let pid = WaitId::Pid(pid(self.0.id)?);
                match crate::blocking(|| waitid(pid, look)) {
                    Err(Errno::INTR) => {}
                    // Perhaps another goroutine has taken the status meanwhile.
                    Err(Errno::CHILD) => {
                        let status = self.try_wait()?;
                        return status.ok_or_else(|| Errno::CHILD.into());
                    }
                    result => drop(result?),
                }
            },
        }
    }

    /// The same for a limited time; `None` if it has not ended then.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> io::Result<Option<ExitStatus>> {
        let Some(deadline) = gosched::now().checked_add(timeout) else {
            return self.wait().map(Some);
        };
        if let Some(end) = &self.0.end {
            return match self.wait_until(end, Some(deadline)) {
                Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(None),
                result => result.map(Some),
            };
        }
        let mut delay = Duration::from_millis(1);
        loop {
            let status = self.try_wait()?;
            let left = deadline.saturating_duration_since(gosched::now());
            if status.is_some() || left.is_zero() {
                return Ok(status);
            }
            crate::time::sleep(delay.min(left));
            delay = (2 * delay).min(Duration::from_millis(20));
        }
    }

    fn wait_until(
        &self,
        end: &Watched<OwnedFd>,
        deadline: Option<Instant>,
    ) -> io::Result<ExitStatus> {
        end.registration().io(Direction::Read, deadline, || {
            let status = self.child().try_wait()?;
            status.ok_or_else(|| io::ErrorKind::WouldBlock.into())
        })
    }

    /// Ends it (`SIGKILL`). One that has ended already is no error.
    ///
    /// # Errors
    /// The system's.
    pub fn kill(&self) -> io::Result<()> {
        match &self.0.end {
            Some(end) => match send(end.get(), libc::SIGKILL) {
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
                result => result,
            },
            None => self.child().kill(),
        }
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// The system's; `InvalidInput` if it has ended already.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let mut child = self.child();
        if child.try_wait()?.is_some() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the process has ended already",
            ));
        }
        if let Some(end) = &self.0.end {
            return send(end.get(), signal.as_raw());
        }
        // SAFETY: sends a signal to a child that has not been waited for, and is not while the lock is held.
        match unsafe { libc::kill(child.id() as i32, signal.as_raw()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Process").field(&self.0.id).finish()
    }
}
