//! An open file.
//!
//! Which of the two kinds it is, the poller decides: what it takes can be waited for. Of files that were opened here, FIFOs and devices are offered to it; others have only one answer to expect. One that std has
//! opened may share its mode with other processes, as standard input does, so it is left as it is, and offered only if it is in non-blocking mode already.

use super::{FileTimes, Metadata, OpenOptions, Permissions};
use crate::watched::{AsDescriptor, Descriptor, Watched};
use gosched::poll::Direction;
use gosched::syscall;
use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat};
use rustix::io::ioctl_fionbio;
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

/// An open file, with the methods of [`std::fs::File`].
///
/// ```
/// use goruntime::fs::{self, File};
/// use std::io::{Read, Seek, Write};
///
/// let path = std::env::temp_dir().join(format!("a file of {}", std::process::id()));
/// let mut file = File::create_new(&path)?;
/// file.write_all(b"some bytes")?;
/// file.rewind()?;
/// let mut text = String::new();
/// File::open(&path)?.read_to_string(&mut text)?;
/// assert_eq!((text.as_str(), file.metadata()?.len()), ("some bytes", 10));
/// fs::remove_file(&path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct File(Kind);

enum Kind {
    /// A file on a disk, or what passes for one.
    Plain(std::fs::File),
    /// A FIFO, a terminal, another device.
    Watched(Watched<std::fs::File>),
}

impl File {
    /// Opens a file to read it.
    ///
    /// # Errors
    /// The system's: `ENOENT`, `EACCES`, `EMFILE`, ...
    pub fn open(path: impl AsRef<Path>) -> io::Result<File> {
        File::options().read(true).open(path)
    }

    /// Opens a file to write it; it is made if it is not there, and emptied if it is.
    ///
    /// # Errors
    /// The system's.
    pub fn create(path: impl AsRef<Path>) -> io::Result<File> {
        let mut options = File::options();
        options.write(true).create(true).truncate(true).open(path)
    }

    /// Makes a file to read and write.
    ///
    /// # Errors
    /// The system's: `EEXIST` if there is one.
    pub fn create_new(path: impl AsRef<Path>) -> io::Result<File> {
        let mut options = File::options();
        options.read(true).write(true).create_new(true).open(path)
    }

    /// Other ways to open one.
    pub fn options() -> OpenOptions {
        OpenOptions::new()
    }

    /// Takes over one that nobody else has.
    pub(super) fn opened(file: std::fs::File) -> io::Result<File> {
        match FileType::from_raw_mode(fstat(&file)?.st_mode) {
            FileType::Fifo | FileType::CharacterDevice => {}
            _ => return Ok(File(Kind::Plain(file))),
        }
        let file = File::offered(file);
        if let Kind::Watched(watched) = &file.0 {
            ioctl_fionbio(watched.get(), true)?;
        }
        Ok(file)
    }

    /// Takes over a file of std's. Goroutines wait for it only if it is in non-blocking mode and can be waited for.
    ///
    /// # Errors
    /// The system's.
    pub fn from_std(file: std::fs::File) -> io::Result<File> {
        if fcntl_getfl(&file)?.contains(OFlags::NONBLOCK) {
            Ok(File::offered(file))
        } else {
            Ok(File(Kind::Plain(file)))
        }
    }

    fn offered(file: std::fs::File) -> File {
        File(match Watched::offer(file) {
            Ok(watched) => Kind::Watched(watched),
            Err((file, _)) => Kind::Plain(file),
        })
    }

    /// Gives it to std, in blocking mode if it is a FIFO or a device.
    ///
    /// # Errors
    /// The system's.
    pub fn into_std(self) -> io::Result<std::fs::File> {
        match self.0 {
            Kind::Plain(file) => Ok(file),
            Kind::Watched(watched) => watched.into_inner(),
        }
    }

    /// Another handle on the same open file, which shares its position.
    ///
    /// # Errors
    /// The system's: `EMFILE`.
    pub fn try_clone(&self) -> io::Result<File> {
        let clone = self.std().try_clone()?;
        Ok(match &self.0 {
            Kind::Plain(_) => File(Kind::Plain(clone)),
            Kind::Watched(_) => File(Kind::Watched(Watched::nonblocking(clone)?)),
        })
    }

    /// Writes everything to the disk, with what the system knows of the file.
    ///
    /// # Errors
    /// The system's: what could not be written before is told here.
    pub fn sync_all(&self) -> io::Result<()> {
        crate::blocking(|| self.std().sync_all())
    }

    /// Writes the content to the disk.
    ///
    /// # Errors
    /// As [`sync_all`](Self::sync_all).
    pub fn sync_data(&self) -> io::Result<()> {
        crate::blocking(|| self.std().sync_data())
    }

    /// Cuts the file off, or fills it up with zeros.
    ///
    /// # Errors
    /// The system's; so for those that follow.
    pub fn set_len(&self, size: u64) -> io::Result<()> {
        syscall(|| self.std().set_len(size))
    }

    /// What the system knows of the file.
    ///
    /// # Errors
    /// The system's.
    pub fn metadata(&self) -> io::Result<Metadata> {
        syscall(|| self.std().metadata())
    }

    /// Changes what may be done with the file.
    ///
    /// # Errors
    /// The system's.
    pub fn set_permissions(&self, permissions: Permissions) -> io::Result<()> {
        syscall(|| self.std().set_permissions(permissions))
    }

    /// Changes when the file was last used and changed.
    ///
    /// # Errors
    /// The system's.
    pub fn set_times(&self, times: FileTimes) -> io::Result<()> {
        syscall(|| self.std().set_times(times))
    }

    /// From when on reads of a FIFO or device fail with `TimedOut`, those that wait now too; `None` for never (Go's `SetReadDeadline`).
    ///
    /// # Errors
    /// `Unsupported` for a file that cannot be waited for.
    pub fn set_read_deadline(&self, deadline: Option<Instant>) -> io::Result<()> {
        self.set_deadline(Direction::Read, deadline)
    }

    /// The same for writes.
    ///
    /// # Errors
    /// As [`set_read_deadline`](Self::set_read_deadline).
    pub fn set_write_deadline(&self, deadline: Option<Instant>) -> io::Result<()> {
        self.set_deadline(Direction::Write, deadline)
    }

    fn set_deadline(&self, direction: Direction, deadline: Option<Instant>) -> io::Result<()> {
        match &self.0 {
            Kind::Plain(_) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "operations on this file cannot be waited for, so they have no deadline",
            )),
            Kind::Watched(watched) => {
                watched.registration().set_deadline(direction, deadline);
                Ok(())
            }
        }
    }

    /// Makes every call that waits for a FIFO or device, now or later, fail with `NotConnected`. The file stays open until the handle is dropped.
    pub fn close(&self) {
        if let Kind::Watched(watched) = &self.0 {
            watched.registration().close();
        }
    }

    fn std(&self) -> &std::fs::File {
        match &self.0 {
            Kind::Plain(file) => file,
            Kind::Watched(watched) => watched.get(),
        }
    }

    fn reading(&self, mut f: impl FnMut(&std::fs::File) -> io::Result<usize>) -> io::Result<usize> {
        match &self.0 {
            Kind::Plain(file) => syscall(|| f(file)),
            Kind::Watched(watched) => watched.read(f),
        }
    }

    fn writing(&self, mut f: impl FnMut(&std::fs::File) -> io::Result<usize>) -> io::Result<usize> {
        match &self.0 {
            Kind::Plain(file) => syscall(|| f(file)),
            Kind::Watched(watched) => watched.write(f),
        }
    }
}

impl Read for &File {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.reading(|mut file| file.read(buf))
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.reading(|mut file| file.read_vectored(bufs))
    }

    fn read_to_end(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
        match &self.0 {
            // One that knows how long it is.
            Kind::Plain(file) => syscall(|| (&mut &*file).read_to_end(buf)),
            Kind::Watched(_) => self.take(u64::MAX).read_to_end(buf),
        }
    }
}

impl Write for &File {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.writing(|mut file| file.write(buf))
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.writing(|mut file| file.write_vectored(bufs))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for &File {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.std().seek(position)
    }
}

impl Read for File {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(bufs)
    }

    fn read_to_end(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
        (&*self).read_to_end(buf)
    }
}

impl Write for File {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for File {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        (&*self).seek(position)
    }
}

impl FileExt for File {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.reading(|file| file.read_at(buf, offset))
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.writing(|file| file.write_at(buf, offset))
    }
}

impl AsDescriptor for File {
    fn descriptor(&self) -> Descriptor<'_> {
        match &self.0 {
            Kind::Plain(file) => file.descriptor(),
            Kind::Watched(watched) => watched.descriptor(),
        }
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.std().as_fd()
    }
}

impl AsRawFd for File {
    fn as_raw_fd(&self) -> RawFd {
        self.std().as_raw_fd()
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.std().fmt(f)
    }
}
