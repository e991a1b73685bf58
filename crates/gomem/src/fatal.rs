//! The end of a process whose heap is being misused: a message without allocating, then `abort`.

use std::fmt::{self, Write};

/// A block, to be told of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    pub(crate) start: usize,
    pub(crate) size: usize,
}

/// Who freed a block, and how long ago.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Freed {
    /// The kernel's number of the thread.
    pub(crate) thread: u32,
    pub(crate) milliseconds: u32,
}

/// What the program did wrong.
#[derive(Clone, Copy)]
pub(crate) enum Misuse {
    /// The address is in no block of the heap, or its block is free.
    NotOurs,
    /// The address lies inside a block, or in none but in the heap.
    Inside(Option<Block>),
    /// The block is of another kind.
    OtherKind,
    /// The block was freed, and is freed again.
    Twice(Block, Option<Freed>),
    /// The block was written to after it was freed, at this many bytes from its start.
    Written(Block, Freed, usize),
}

impl fmt::Display for Freed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "freed by thread {} {} ms ago",
            self.thread, self.milliseconds
        )
    }
}

impl Misuse {
    /// Says it of the address.
    fn write(self, out: &mut Line, addr: usize) -> fmt::Result {
        match self {
            Misuse::Written(block, freed, at) => {
                let (start, size) = (block.start, block.size);
                return writeln!(
                    out,
                    "gomem: the block of {size} bytes at {start:#x}, {freed}, was written to since, at byte {at}"
                );
            }
            _ => write!(out, "gomem: free({addr:#x}): ")?,
        }
        match self {
            Misuse::NotOurs => out.write_str(
                "is not a block of this heap (freed already, or from another allocator)",
            ),
            Misuse::Inside(None) => out.write_str("is not the start of a block"),
            Misuse::Inside(Some(Block { start, size })) => {
                let at = addr - start;
                write!(
                    out,
                    "is not the start of a block (byte {at} of the one of {size} bytes at {start:#x})"
                )
            }
            Misuse::OtherKind => out.write_str("was not allocated with malloc"),
            Misuse::Twice(Block { size, .. }, None) => {
                write!(out, "was freed already (a block of {size} bytes)")
            }
            Misuse::Twice(Block { size, .. }, Some(freed)) => {
                write!(out, "was freed already (a block of {size} bytes, {freed})")
            }
            Misuse::Written(..) => Ok(()),
        }?;
        out.write_str("\n")
    }
}

/// Text in a fixed buffer; what does not fit is cut off.
struct Line {
    bytes: [u8; 240],
    len: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            if let Some(slot) = self.bytes.get_mut(self.len) {
                *slot = byte;
                self.len += 1;
            }
        }
        Ok(())
    }
}

/// Reports that `addr` was freed, asked about, or used, wrongly, and aborts.
#[cold]
#[inline(never)]
pub(crate) fn misuse(addr: usize, misuse: Misuse) -> ! {
    let mut line = Line {
        bytes: [0; 240],
        len: 0,
    };
    // Writing to a `Line` does not fail.
    let _ = misuse.write(&mut line, addr);
    // An exploration goes on to say how it came to this.
    #[cfg(explore)]
    panic!("{}", String::from_utf8_lossy(&line.bytes[..line.len]));
    // SAFETY: the buffer's initialised part.
    #[cfg(not(explore))]
    unsafe {
        libc::write(2, line.bytes.as_ptr().cast(), line.len)
    };
    #[cfg(not(explore))]
    std::process::abort()
}
