//! The end of a process whose heap is being misused: a message without allocating, then `abort`.

use std::fmt::{self, Write};

/// What the program did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misuse {
    /// The address is in no block of the heap, or its block is free.
    NotOurs,
    /// The address lies inside a block.
    Inside,
    /// The block is of another kind.
    OtherKind,
    /// The block was the last to be freed, and is freed again.
    Twice,
}

impl Misuse {
    fn text(self) -> &'static str {
        match self {
            Misuse::NotOurs => {
                "is not a block of this heap (freed already, or from another allocator)"
            }
            Misuse::Inside => "is not the start of a block",
            Misuse::OtherKind => "was not allocated with malloc",
            Misuse::Twice => "was freed already",
        }
    }
}

/// Text in a fixed buffer; what does not fit is cut off.
struct Line {
    bytes: [u8; 160],
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

/// Reports that `addr` was freed, or asked about, wrongly, and aborts.
#[cold]
#[inline(never)]
pub(crate) fn misuse(addr: usize, misuse: Misuse) -> ! {
    let mut line = Line {
        bytes: [0; 160],
        len: 0,
    };
    // Writing to a `Line` does not fail.
    let _ = writeln!(line, "gomem: free({addr:#x}): {}", misuse.text());
    // An exploration goes on to say how it came to this.
    #[cfg(explore)]
    panic!("{}", misuse.text());
    // SAFETY: the buffer's initialised part.
    #[cfg(not(explore))]
    unsafe {
        libc::write(2, line.bytes.as_ptr().cast(), line.len)
    };
    #[cfg(not(explore))]
    std::process::abort()
}
