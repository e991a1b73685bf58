//! A pipe between goroutines, in memory: what one writes another reads, without the system.
//!
//! For code that wants to write somewhere, and other code that wants to read it from somewhere: a serializer and the body of a request, say.
//!
//! Invariant: a reader waits only while the buffer is empty and the writer's end open; a writer waits only while the buffer is full and the reader's end open. Whoever changes one of
//! these under the lock wakes those who wait for it.

use gosched::sync::{Cond, Mutex, MutexGuard};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::Arc;

struct Pipe {
    state: Mutex<State>,
    /// There is something to read, or will never be.
    filled: Cond,
    /// There is room, or will never be needed.
    emptied: Cond,
}

struct State {
    buffer: VecDeque<u8>,
    capacity: usize,
    is_read: bool,
    /// What the reader gets after the last byte, once the writer has ended.
    end: Option<io::Result<()>>,
}

/// Makes a pipe that holds up to `capacity` bytes: writing waits while it is full, reading while it is empty. Dropping the writer ends what is read; dropping the reader makes writing
/// fail with `BrokenPipe`.
///
/// Like a channel it is a buffer under a lock: no descriptor, no system call but to wake.
///
/// ```
/// use std::io::{Read, Write};
///
/// let (mut reader, mut writer) = goruntime::io::memory_pipe(4096);
/// goruntime::go(move || {
///     for line in 1..=1000 {
///         writeln!(writer, "line {line}")?;
///     }
///     Ok::<(), std::io::Error>(())
/// });
/// let mut text = String::new();
/// reader.read_to_string(&mut text)?;
/// assert_eq!(text.lines().count(), 1000);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Panics
/// When `capacity` is 0.
pub fn memory_pipe(capacity: usize) -> (MemoryReader, MemoryWriter) {
    assert!(capacity > 0, "nothing would ever fit into the pipe");
    let pipe = Arc::new(Pipe {
        state: Mutex::new(State {
            buffer: VecDeque::with_capacity(capacity),
            capacity,
            is_read: true,
            end: None,
        }),
        filled: Cond::new(),
        emptied: Cond::new(),
    });
    (MemoryReader(pipe.clone()), MemoryWriter(pipe))
}

/// The end that is read; see [`memory_pipe`].
pub struct MemoryReader(Arc<Pipe>);

/// The end that is written; see [`memory_pipe`].
pub struct MemoryWriter(Arc<Pipe>);

impl Read for MemoryReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let mut state = self.0.state.lock();
        while state.buffer.is_empty() {
            match &mut state.end {
                None => state = self.0.filled.wait(state),
                // An error is told once.
                Some(end) => return std::mem::replace(end, Ok(())).map(|()| 0),
            }
        }
        let n = state.buffer.read(buf)?;
        self.0.wake_writer(state);
        Ok(n)
    }
}

impl Write for MemoryWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let mut state = self.0.state.lock();
        loop {
            if !state.is_read {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let room = state.capacity - state.buffer.len();
            if room > 0 {
                let n = buf.len().min(room);
                state.buffer.extend(&buf[..n]);
                drop(state);
                self.0.filled.notify_all();
                return Ok(n);
            }
            state = self.0.emptied.wait(state);
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Pipe {
    fn wake_writer(&self, state: MutexGuard<'_, State>) {
        drop(state);
        self.emptied.notify_all();
    }

    fn end(&self, how: io::Result<()>) {
        let mut state = self.state.lock();
        state.end.get_or_insert(how);
        drop(state);
        self.filled.notify_all();
    }
}

impl MemoryWriter {
    /// Ends the pipe with an error, which the reader gets after what was written before (Go's `CloseWithError`).
    pub fn fail(self, error: io::Error) {
        self.0.end(Err(error));
    }
}

impl Drop for MemoryWriter {
    fn drop(&mut self) {
        self.0.end(Ok(()));
    }
}

impl Drop for MemoryReader {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.is_read = false;
        self.0.wake_writer(state);
    }
}

impl std::fmt::Debug for MemoryReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemoryReader")
    }
}

impl std::fmt::Debug for MemoryWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemoryWriter")
    }
}
