//! Files and folders, with std's functions.
//!
//! The kernel has no way to wait for a file: reading one that is cached takes a microsecond, and reading one that is not holds the thread until the disk answers. So a call here keeps its P and
//! says that it is in the kernel; if it stays there, the monitor takes the P away, mostly within half a millisecond, and other goroutines go on with it (Go's way). Giving the P up before each call, as
//! [`blocking`](crate::blocking) does, is dearer than most of them are when others want to run; the book has the figures.
//!
//! Pipes with a name (FIFOs) and terminals can be waited for: [`File`] parks the goroutine that reads one.
//!
//! Types that do nothing are std's own: [`Metadata`], [`Permissions`], [`FileType`], [`FileTimes`], [`DirEntry`].

mod file;
mod options;

pub use file::File;
pub use options::OpenOptions;
pub use std::fs::{DirEntry, FileTimes, FileType, Metadata, Permissions};

use gosched::syscall;
use std::io;
use std::path::{Path, PathBuf};

/// The whole of a file; see [`std::fs::read`].
///
/// # Errors
/// The system's; so for all that follow.
pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    syscall(|| std::fs::read(path))
}

/// The whole of a file as text; see [`std::fs::read_to_string`].
///
/// # Errors
/// The system's; `InvalidData` for what is not UTF-8.
pub fn read_to_string(path: impl AsRef<Path>) -> io::Result<String> {
    syscall(|| std::fs::read_to_string(path))
}

/// Replaces the content of a file, or makes one; see [`std::fs::write`].
///
/// # Errors
/// The system's.
pub fn write(path: impl AsRef<Path>, contents: impl AsRef<[u8]>) -> io::Result<()> {
    syscall(|| std::fs::write(path, contents))
}

/// Copies a file with its permissions; see [`std::fs::copy`].
///
/// # Errors
/// The system's.
pub fn copy(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<u64> {
    syscall(|| std::fs::copy(from, to))
}

/// What the system says of a file, or of what a link leads to; see [`std::fs::metadata`].
///
/// # Errors
/// The system's.
pub fn metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
    syscall(|| std::fs::metadata(path))
}

/// The same of a link itself; see [`std::fs::symlink_metadata`].
///
/// # Errors
/// The system's.
pub fn symlink_metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
    syscall(|| std::fs::symlink_metadata(path))
}

/// Whether there is something at a path; see [`std::fs::exists`].
///
/// # Errors
/// The system's, when that cannot be known.
pub fn exists(path: impl AsRef<Path>) -> io::Result<bool> {
    syscall(|| std::fs::exists(path))
}

/// The path without links; see [`std::fs::canonicalize`].
///
/// # Errors
/// The system's.
pub fn canonicalize(path: impl AsRef<Path>) -> io::Result<PathBuf> {
    syscall(|| std::fs::canonicalize(path))
}

/// Where a link leads; see [`std::fs::read_link`].
///
/// # Errors
/// The system's.
pub fn read_link(path: impl AsRef<Path>) -> io::Result<PathBuf> {
    syscall(|| std::fs::read_link(path))
}

/// Gives a file a second name; see [`std::fs::hard_link`].
///
/// # Errors
/// The system's.
pub fn hard_link(original: impl AsRef<Path>, link: impl AsRef<Path>) -> io::Result<()> {
    syscall(|| std::fs::hard_link(original, link))
}

/// Makes a link; see [`std::os::unix::fs::symlink`].
///
/// # Errors
/// The system's.
pub fn symlink(original: impl AsRef<Path>, link: impl AsRef<Path>) -> io::Result<()> {
    syscall(|| std::os::unix::fs::symlink(original, link))
}

/// Gives a file another name; see [`std::fs::rename`].
///
/// # Errors
/// The system's.
pub fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    syscall(|| std::fs::rename(from, to))
}

/// Changes what may be done with a file; see [`std::fs::set_permissions`].
///
/// # Errors
/// The system's.
pub fn set_permissions(path: impl AsRef<Path>, permissions: Permissions) -> io::Result<()> {
    syscall(|| std::fs::set_permissions(path, permissions))
}

/// Removes a file; see [`std::fs::remove_file`].
///
/// # Errors
/// The system's.
pub fn remove_file(path: impl AsRef<Path>) -> io::Result<()> {
    syscall(|| std::fs::remove_file(path))
}

/// Makes a folder; see [`std::fs::create_dir`].
///
/// # Errors
/// The system's.
pub fn create_dir(path: impl AsRef<Path>) -> io::Result<()> {
    syscall(|| std::fs::create_dir(path))
}

/// Makes a folder and those above it; see [`std::fs::create_dir_all`].
///
/// # Errors
/// The system's.
pub fn create_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    syscall(|| std::fs::create_dir_all(path))
}

/// Removes an empty folder; see [`std::fs::remove_dir`].
///
/// # Errors
/// The system's.
pub fn remove_dir(path: impl AsRef<Path>) -> io::Result<()> {
    syscall(|| std::fs::remove_dir(path))
}

/// Removes a folder with everything in it; see [`std::fs::remove_dir_all`].
///
/// # Errors
/// The system's.
pub fn remove_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    syscall(|| std::fs::remove_dir_all(path))
}

/// What is in a folder; see [`std::fs::read_dir`].
///
/// ```
/// use goruntime::fs;
///
/// let names = fs::read_dir("/proc/self")?
///     .map(|entry| Ok(entry?.file_name()))
///     .collect::<std::io::Result<Vec<_>>>()?;
/// assert!(names.iter().any(|name| name == "status"));
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// The system's.
pub fn read_dir(path: impl AsRef<Path>) -> io::Result<ReadDir> {
    Ok(ReadDir(syscall(|| std::fs::read_dir(path))?))
}

/// An iterator over what is in a folder; see [`read_dir`].
#[derive(Debug)]
pub struct ReadDir(std::fs::ReadDir);

impl Iterator for ReadDir {
    type Item = io::Result<DirEntry>;

    fn next(&mut self) -> Option<io::Result<DirEntry>> {
        syscall(|| self.0.next())
    }
}
