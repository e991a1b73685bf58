//! The heap in words: for people on standard error, for programs as XML.
//!
//! Invariant: nothing here allocates. Text is made in a buffer on the stack, which is written out when it is full.

use crate::inspect::Figures;
use std::ffi::{CStr, c_int};
use std::fmt::{self, Write};

/// Standard error, by way of a buffer.
struct Lines(Text);

impl Write for Lines {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.len() >= self.0.bytes.len() - self.0.len {
            self.0.print();
            self.0 = Text::new();
        }
        self.0.write_str(text)
    }
}

/// Text in a fixed buffer, with a zero after it; what does not fit is cut off.
pub(crate) struct Text {
    bytes: [u8; 1024],
    len: usize,
}

impl Text {
    pub(crate) fn new() -> Text {
        Text {
            bytes: [0; 1024],
            len: 0,
        }
    }

    /// Puts it on standard error. There is nobody to tell if that fails.
    pub(crate) fn print(&self) {
        // SAFETY: the buffer's bytes are valid for reads.
        unsafe { libc::write(libc::STDERR_FILENO, self.bytes.as_ptr().cast(), self.len) };
    }

    fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or_default()
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.len() - 1 - self.len;
        let fits = &text.as_bytes()[..text.len().min(room)];
        self.bytes[self.len..self.len + fits.len()].copy_from_slice(fits);
        self.len += fits.len();
        Ok(())
    }
}

/// `malloc_stats(3)`: the figures on standard error, and the table by size class.
#[unsafe(no_mangle)]
pub extern "C" fn malloc_stats() {
    let figures = Figures::now();
    let mut lines = Lines(Text::new());
    // Writing to `Lines` does not fail.
    let _ = write!(
        lines,
        "gomem\nsystem bytes     = {:>10}\nin use bytes     = {:>10}\nidle bytes       = {:>10}\n",
        figures.mapped, figures.used, figures.idle
    );
    let _ = gomem::heap().write_table(&mut lines);
    lines.0.print();
}

/// `malloc_info(3)`: the figures as XML, with the elements that the C library has for the whole process. `options` must be zero.
///
/// # Safety
/// 1. `stream` is an open stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn malloc_info(options: c_int, stream: *mut libc::FILE) -> c_int {
    if options != 0 {
        return libc::EINVAL;
    }
    let figures = Figures::now();
    let mut text = Text::new();
    // Writing to a `Text` does not fail.
    let _ = write!(
        text,
        "<malloc version=\"1\">\n\
         <total type=\"fast\" count=\"0\" size=\"0\"/>\n\
         <total type=\"rest\" count=\"0\" size=\"{}\"/>\n\
         <total type=\"mmap\" count=\"0\" size=\"0\"/>\n\
         <total type=\"used\" count=\"0\" size=\"{}\"/>\n\
         <system type=\"current\" size=\"{}\"/>\n\
         <system type=\"max\" size=\"{}\"/>\n\
         <aspace type=\"total\" size=\"{}\"/>\n\
         <aspace type=\"mprotect\" size=\"{}\"/>\n\
         </malloc>\n",
        figures.mapped - figures.used,
        figures.used,
        figures.mapped,
        figures.obtained,
        figures.obtained,
        figures.obtained,
    );
    // SAFETY: a string with its zero; (1).
    match unsafe { libc::fputs(text.as_c_str().as_ptr(), stream) } {
        libc::EOF => -1,
        _ => 0,
    }
}
