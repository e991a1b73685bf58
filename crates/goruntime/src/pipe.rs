//! Pipes of the system.

use crate::watched::{Watched, is_descriptor, reads, waits_to_read, waits_to_write, writes};
use rustix::pipe::PipeFlags;
use std::io;
use std::process::Stdio;

/// The end of a pipe that is read.
pub struct PipeReader(Watched<io::PipeReader>);

is_descriptor!(PipeReader, io::PipeReader);
waits_to_read!(PipeReader);
reads!(PipeReader);

/// The end of a pipe that is written.
pub struct PipeWriter(Watched<io::PipeWriter>);

is_descriptor!(PipeWriter, io::PipeWriter);
waits_to_write!(PipeWriter);
writes!(PipeWriter);

/// Makes a pipe. What is written comes out at the other end; the system keeps 64 KiB meanwhile. The reader sees the end when every writer is gone, and writing fails with
/// `BrokenPipe` when every reader is.
///
/// ```
/// use std::io::{Read, Write};
///
/// let (mut reader, mut writer) = goruntime::io::pipe()?;
/// let lines = goruntime::go(move || {
///     let mut text = String::new();
///     reader.read_to_string(&mut text).map(|_| text)
/// });
/// writer.write_all(b"down the pipe")?;
/// drop(writer);
/// assert_eq!(lines.join().unwrap()?, "down the pipe");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// The system's: `EMFILE`.
pub fn pipe() -> io::Result<(PipeReader, PipeWriter)> {
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    Ok((
        PipeReader(Watched::nonblocking(reader.into())?),
        PipeWriter(Watched::nonblocking(writer.into())?),
    ))
}

impl TryFrom<PipeReader> for Stdio {
    type Error = io::Error;

    /// For a child to read from.
    fn try_from(reader: PipeReader) -> io::Result<Stdio> {
        Ok(reader.into_std()?.into())
    }
}

impl TryFrom<PipeWriter> for Stdio {
    type Error = io::Error;

    /// For a child to write to.
    fn try_from(writer: PipeWriter) -> io::Result<Stdio> {
        Ok(writer.into_std()?.into())
    }
}
