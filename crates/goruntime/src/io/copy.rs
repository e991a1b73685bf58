//! From any reader to any writer.
//!
//! Where both turn out to be descriptors of this crate or files of std's, the kernel is asked to move the bytes (`kernel.rs`); everything else, and what the kernel refuses,
//! goes through a buffer. Which it is, is seen from the types, without anything that they have to implement: a `Read` that somebody else wrote is as good a
//! reader as a socket.

use super::kernel::{self, Stopped};
use crate::fs::File;
use crate::net::{TcpStream, UnixStream};
use crate::pipe::{PipeReader, PipeWriter};
use crate::watched::{AsDescriptor, Descriptor};
use std::any::TypeId;
use std::io::{self, Read, Write};

/// Copies from `reader` to `writer` until the reader's end (Go's `io.Copy`). Returns the number of bytes.
///
/// Between sockets, pipes and files, given as such or by reference, the bytes do not come to this process: `splice`, `sendfile` or `copy_file_range` moves them in the kernel. Wrapped in
/// something else - a `BufReader`, a TLS stream - they go through a buffer, as with [`std::io::copy`].
///
/// ```
/// use goruntime::{fs, io, net::TcpListener, net::TcpStream};
/// use std::io::Read;
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let address = listener.local_addr()?;
/// goruntime::go(move || {
///     let (mut stream, _) = listener.accept()?;
///     io::copy(&mut fs::File::open("/proc/self/exe")?, &mut stream)
/// });
/// let mut image = Vec::new();
/// TcpStream::connect(address)?.read_to_end(&mut image)?;
/// assert_eq!(image, fs::read("/proc/self/exe")?);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// As reading and writing have. What was read and could not be written is lost, as in any copying.
pub fn copy<R, W>(reader: &mut R, writer: &mut W) -> io::Result<u64>
where
    R: Read + ?Sized,
    W: Write + ?Sized,
{
    copy_n(reader, writer, u64::MAX)
}

/// Copies at most `n` bytes; fewer only if the reader ends before (Go's `io.CopyN`). Returns how many. No more than that is taken from the reader.
///
/// # Errors
/// As [`copy`].
pub fn copy_n<R, W>(reader: &mut R, writer: &mut W, n: u64) -> io::Result<u64>
where
    R: Read + ?Sized,
    W: Write + ?Sized,
{
    let mut copied = 0;
    if let (Some(from), Some(to)) = (descriptor(reader), descriptor(writer)) {
        match kernel::copy(from, to, n, &mut copied)? {
            Stopped::AtEnd => return Ok(copied),
            Stopped::Unable(in_flight) => {
                writer.write_all(&in_flight)?;
                copied += in_flight.len() as u64;
            }
        }
    }
    if n == u64::MAX {
        return Ok(copied + io::copy(reader, writer)?);
    }
    Ok(copied + io::copy(&mut reader.take(n - copied), writer)?)
}

/// The descriptor that a value is, if it is one or a reference to one.
fn descriptor<T: ?Sized>(it: &T) -> Option<Descriptor<'_>> {
    find::<T, TcpStream>(it)
        .or_else(|| find::<T, UnixStream>(it))
        .or_else(|| find::<T, File>(it))
        .or_else(|| find::<T, PipeReader>(it))
        .or_else(|| find::<T, PipeWriter>(it))
        .or_else(|| find::<T, std::fs::File>(it))
}

fn find<T: ?Sized, X: AsDescriptor + 'static>(it: &T) -> Option<Descriptor<'_>> {
    view::<T, X>(it).map(X::descriptor)
}

/// `it` as an `X`, if that is its type or it is a reference to one.
fn view<T: ?Sized, X: 'static>(it: &T) -> Option<&X> {
    let (type_of_it, place) = (typeid::of::<T>(), std::ptr::from_ref(it));
    if type_of_it == TypeId::of::<X>() {
        // SAFETY: X has no lifetime parameters, so T is X.
        return Some(unsafe { &*place.cast::<X>() });
    }
    if type_of_it == TypeId::of::<&X>() || type_of_it == typeid::of::<&mut X>() {
        // SAFETY: but for its lifetime T is a reference to X, and what it refers to lives and is not changed for as long as `it` is borrowed, shared or
        // exclusive as the reference may be.
        return Some(unsafe { *place.cast::<&X>() });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_found<T: ?Sized>(it: &T) -> bool {
        descriptor(it).is_some()
    }

    #[test]
    fn descriptors_are_found_by_value_and_by_reference() {
        let mut file = std::fs::File::open("/proc/self/exe").unwrap();
        assert!(is_found(&file) && is_found(&&file) && is_found(&&mut file));
        let (mut socket, other) = UnixStream::pair().unwrap();
        assert!(is_found(&socket) && is_found(&&other) && is_found(&&mut socket));
    }

    #[test]
    fn nothing_else_is_taken_for_one() {
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        assert!(!is_found(&b"bytes"[..]) && !is_found(&io::empty()) && !is_found("text"));
        assert!(!is_found(&&&file) && !is_found(&io::BufReader::new(&file)));
        let dynamic: &dyn Read = &file;
        assert!(!is_found(dynamic));
    }
}
