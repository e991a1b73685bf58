//! Text to a file descriptor without a heap: by way of a buffer on the stack.
//!
//! Invariant: nothing here allocates. What cannot be written is lost: there is nobody to tell.

use std::fmt;

/// Writes to a descriptor, the last of it when dropped.
pub(crate) struct Output {
    fd: i32,
    is_ours: bool,
    len: usize,
    bytes: [u8; 1024],
}

impl Output {
    pub(crate) fn stderr() -> Output {
        Output {
            fd: libc::STDERR_FILENO,
            is_ours: false,
            len: 0,
            bytes: [0; 1024],
        }
    }

    /// A file, made or made empty. `None` if that is refused, or if the path is that of a symbolic link: whoever can write to its directory could have any file
    /// of the process's owner emptied.
    pub(crate) fn create(path: &std::ffi::CStr) -> Option<Output> {
        let flags =
            libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_CLOEXEC | libc::O_NOFOLLOW;
        // SAFETY: a path with its zero.
        let fd = unsafe { libc::open(path.as_ptr(), flags, 0o666) };
        (fd >= 0).then_some(Output {
            fd,
            is_ours: true,
            len: 0,
            bytes: [0; 1024],
        })
    }

    pub(crate) fn write_bytes(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = &mut self.bytes[self.len..];
            let n = room.len().min(bytes.len());
            room[..n].copy_from_slice(&bytes[..n]);
            self.len += n;
            bytes = &bytes[n..];
            if self.len == self.bytes.len() {
                self.flush();
            }
        }
    }

    fn flush(&mut self) {
        let mut rest = &self.bytes[..self.len];
        while !rest.is_empty() {
            // SAFETY: bytes of the buffer.
            let n = unsafe { libc::write(self.fd, rest.as_ptr().cast(), rest.len()) };
            match usize::try_from(n) {
                Ok(n @ 1..) => rest = &rest[n..],
                _ if std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted => {}
                _ => break,
            }
        }
        self.len = 0;
    }
}

impl fmt::Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.write_bytes(text.as_bytes());
        Ok(())
    }
}

impl std::io::Write for Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.write_bytes(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Output::flush(self);
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.flush();
        if self.is_ours {
            // SAFETY: opened by `create`, and used by nobody else.
            unsafe { libc::close(self.fd) };
        }
    }
}
