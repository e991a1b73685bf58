//! Bytes that go from one descriptor to another without coming to this process.
//!
//! | from | to | |
//! | --- | --- | --- |
//! | a regular file | a regular file | `copy_file_range` |
//! | a regular file | anything else | `sendfile` |
//! | a socket, a pipe | anything | `splice`, by way of a pipe |
//!
//! Where the source or the target of `splice` is a pipe itself, one of ours lies between them nonetheless: a single `splice` that cannot go on does not say which side it waits for.
//!
//! Invariant: between two steps nothing is in flight, and no pipe is held. So a proxied connection on which nothing happens costs no pipe, and every step may find out that the kernel does not
//! do it, and leave the rest to somebody else.

use crate::watched::Descriptor;
use rustix::fs::{FileType, copy_file_range, fstat, sendfile};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

/// Most that one call moves between files or from a file: a goroutine keeps its thread for that long.
const STEP: usize = 4 << 20;

/// What a pipe is asked to hold, which is as much as a process may ask for by default. The system limits the sum; then a pipe keeps its 64 KiB.
const PIPE: usize = 1 << 20;

/// Pipes kept for the next step.
const KEPT: usize = 32;

/// Why it went no further.
pub(super) enum Stopped {
    /// The source is at its end, or all that was asked for is done.
    AtEnd,
    /// The kernel does not do this. These bytes were taken from the source already.
    Unable(Vec<u8>),
}

/// Copies at most `limit` bytes and counts them in `copied`.
///
/// # Errors
/// Of the descriptors.
pub(super) fn copy(
    from: Descriptor<'_>,
    to: Descriptor<'_>,
    limit: u64,
    copied: &mut u64,
) -> io::Result<Stopped> {
    let unable = Ok(Stopped::Unable(Vec::new()));
    let (Some(source), Some(target)) = (kind(from), kind(to)) else {
        return unable;
    };
    let step = match (source, target) {
        (FileType::RegularFile, FileType::RegularFile) => range,
        (FileType::RegularFile, _) => file,
        (FileType::Socket | FileType::Fifo, _) => stream,
        _ => return unable,
    };
    while *copied < limit {
        let most = usize::try_from(limit - *copied).unwrap_or(usize::MAX);
        match step(from, to, most)? {
            Step::Moved(0) => break,
            Step::Moved(n) => *copied += n as u64,
            Step::Unable(in_flight) => return Ok(Stopped::Unable(in_flight)),
        }
    }
    // Of files that are made up as they are read the kernel's calls say that they are empty.
    if *copied == 0 && limit > 0 && source == FileType::RegularFile {
        return unable;
    }
    Ok(Stopped::AtEnd)
}

/// What it is; `None` for one that the calls below would not wait for: a pipe or the like in blocking mode.
fn kind(descriptor: Descriptor<'_>) -> Option<FileType> {
    let stat = fstat(descriptor.fd()).ok()?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    (kind == FileType::RegularFile || descriptor.is_watched()).then_some(kind)
}

enum Step {
    Moved(usize),
    Unable(Vec<u8>),
}

/// What a call that moves bytes says; `WouldBlock` and the like are the descriptor's, and come from further down.
fn judge(moved: io::Result<usize>) -> io::Result<Step> {
    match moved {
        Ok(n) => Ok(Step::Moved(n)),
        Err(error) if is_refusal(&error) => Ok(Step::Unable(Vec::new())),
        Err(error) => Err(error),
    }
}

/// It is the call that is refused, or a pipe for it, and not reading or writing as such. If that fails too, it will say so itself.
fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::EINVAL
                | libc::ENOSYS
                | libc::EOPNOTSUPP
                | libc::EXDEV
                | libc::EPERM
                | libc::EBADF
                | libc::EMFILE
                | libc::ENFILE
        )
    )
}

fn range(from: Descriptor<'_>, to: Descriptor<'_>, most: usize) -> io::Result<Step> {
    judge(to.write(|| {
        let moved = copy_file_range(from.fd(), None, to.fd(), None, most.min(STEP))?;
        Ok(moved)
    }))
}

fn file(from: Descriptor<'_>, to: Descriptor<'_>, most: usize) -> io::Result<Step> {
    judge(to.write(|| {
        // It may wait for the disk.
        let moved = gosched::syscall(|| sendfile(to.fd(), from.fd(), None, most.min(STEP)))?;
        Ok(moved)
    }))
}

fn stream(from: Descriptor<'_>, to: Descriptor<'_>, most: usize) -> io::Result<Step> {
    let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
    let filled = from.read(|| {
        let pipe = Pipe::take()?;
        match splice(
            from.fd(),
            None,
            &pipe.writer,
            None,
            most.min(pipe.capacity),
            flags,
        ) {
            Ok(n) => Ok((pipe, n)),
            Err(error) => {
                pipe.give_back();
                Err(error.into())
            }
        }
    });
    let (pipe, total) = match filled {
        Ok(filled) => filled,
        Err(error) => return judge(Err(error)),
    };
    let mut left = total;
    while left > 0 {
        match to.write(|| Ok(splice(&pipe.reader, None, to.fd(), None, left, flags)?)) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => left -= n,
            Err(error) if is_refusal(&error) && left == total => {
                return Ok(Step::Unable(pipe.take_out(left)?));
            }
            Err(error) => return Err(error),
        }
    }
    pipe.give_back();
    Ok(Step::Moved(total))
}

/// A pipe that nobody else knows.
struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    capacity: usize,
}

static POOL: Mutex<Vec<Pipe>> = Mutex::new(Vec::new());

impl Pipe {
    /// An empty one.
    fn take() -> io::Result<Pipe> {
        let kept = POOL.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(pipe) = kept {
            return Ok(pipe);
        }
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Refused when this user has many large pipes.
        let capacity = fcntl_setpipe_size(&writer, PIPE).unwrap_or(64 << 10);
        Ok(Pipe {
            reader,
            writer,
            capacity,
        })
    }

    /// Keeps it for others. It is empty.
    fn give_back(self) {
        let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        if pool.len() < KEPT {
            pool.push(self);
        }
    }

    /// Takes the `n` bytes out that are in it.
    fn take_out(self, n: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; n];
        let mut got = 0;
        while got < n {
            got += rustix::io::read(&self.reader, &mut bytes[got..])?;
        }
        self.give_back();
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::File;
    use crate::net::UnixStream;
    use crate::watched::AsDescriptor;
    use std::io::{Read, Seek, Write};
    use std::net::Shutdown;

    /// The kernel does it all, and no pipe is left behind.
    #[test]
    fn sockets_and_files_are_copied_by_the_kernel() {
        let (mut source, from) = UnixStream::pair().unwrap();
        let (to, mut sink) = UnixStream::pair().unwrap();
        source.write_all(b"in the kernel").unwrap();
        source.shutdown(Shutdown::Write).unwrap();
        let (mut copied, mut got) = (0, [0; 13]);
        let stopped = copy(from.descriptor(), to.descriptor(), u64::MAX, &mut copied);
        assert!(matches!(stopped, Ok(Stopped::AtEnd)));
        assert_eq!(copied, 13);
        sink.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"in the kernel");

        let path = std::env::temp_dir().join(format!("kernel {}", std::process::id()));
        let mut file = File::create_new(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        file.write_all(b"a file").unwrap();
        file.rewind().unwrap();
        copied = 0;
        let stopped = copy(file.descriptor(), to.descriptor(), 4, &mut copied);
        assert!(matches!(stopped, Ok(Stopped::AtEnd)));
        sink.read_exact(&mut got[..4]).unwrap();
        assert_eq!((copied, &got[..4]), (4, &b"a fi"[..]));
    }

    /// What was taken out of the source before the kernel refused the rest is handed on.
    #[test]
    fn what_is_in_flight_is_not_lost() {
        let (mut source, from) = UnixStream::pair().unwrap();
        source.write_all(b"in flight").unwrap();
        let path = std::env::temp_dir().join(format!("append {}", std::process::id()));
        let mut options = File::options();
        let to = options.append(true).create_new(true).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut copied = 0;
        let stopped = copy(from.descriptor(), to.descriptor(), u64::MAX, &mut copied);
        assert!(matches!(stopped, Ok(Stopped::Unable(bytes)) if bytes == b"in flight"));
        assert_eq!(copied, 0);
    }
}
