//! The heap in words: for people on standard error, for programs as XML.
//!
//! Invariant: nothing here allocates. Text is made in a buffer on the stack, which is written out when it is full.

use crate::inspect::Figures;
use std::ffi::{CStr, c_int};
use std::fmt::{self, Write};

/// What `put` does with text, by way of a buffer.
struct Lines<P: FnMut(&Text)> {
    text: Text,
    put: P,
}

impl<P: FnMut(&Text)> Lines<P> {
    fn new(put: P) -> Self {
        Lines {
            text: Text::new(),
            put,
        }
    }

    /// Puts what is left in the buffer.
    fn flush(&mut self) {
        (self.put)(&self.text);
        self.text = Text::new();
    }
}

impl<P: FnMut(&Text)> Write for Lines<P> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.len() >= self.text.bytes.len() - self.text.len {
            self.flush();
        }
        self.text.write_str(text)
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
    let mut lines = Lines::new(Text::print);
    // Writing to `Lines` does not fail.
    let _ = write!(
        lines,
        "gomem\nsystem bytes     = {:>10}\nin use bytes     = {:>10}\nidle bytes       = {:>10}\n",
        figures.mapped, figures.used, figures.idle
    );
    let _ = gomem::heap().write_table(&mut lines);
    lines.flush();
}

/// `malloc_info(3)`: the figures as XML. `options` must be zero.
///
/// The elements are the C library's, with one `heap` as of a program with one arena: a `size` for each class that has free blocks, with their bytes and their
/// number, and totals, twice, of the heap and of the process. To `size` is added what the C library does not know: blocks in the program's hands (`live`) and bytes of
/// the spans (`spans`).
///
/// # Safety
/// 1. `stream` is an open stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn malloc_info(options: c_int, stream: *mut libc::FILE) -> c_int {
    if options != 0 {
        return libc::EINVAL;
    }
    let figures = Figures::now();
    let mut failed = false;
    let mut lines = Lines::new(|text: &Text| {
        // SAFETY: a string with its zero; (1).
        failed |= unsafe { libc::fputs(text.as_c_str().as_ptr(), stream) } == libc::EOF;
    });
    // Writing to `Lines` does not fail.
    let _ = write_xml(&figures, &mut lines);
    lines.flush();
    if failed { -1 } else { 0 }
}

fn write_xml(figures: &Figures, out: &mut impl Write) -> fmt::Result {
    out.write_str("<malloc version=\"1\">\n<heap nr=\"0\">\n<sizes>\n")?;
    let mut smaller = 0;
    for class in &figures.by_size[1..] {
        let (from, to) = (smaller + 1, class.size);
        smaller = to;
        let free = class.free + class.cached;
        if free == 0 && class.live == 0 {
            continue;
        }
        writeln!(
            out,
            "<size from=\"{from}\" to=\"{to}\" total=\"{}\" count=\"{free}\" live=\"{}\" spans=\"{}\"/>",
            free * to as u64,
            class.live,
            class.inuse
        )?;
    }
    out.write_str("</sizes>\n")?;
    write_totals(figures, out)?;
    out.write_str("</heap>\n")?;
    write_totals(figures, out)?;
    out.write_str("</malloc>\n")
}

fn write_totals(figures: &Figures, out: &mut impl Write) -> fmt::Result {
    let (large, large_bytes) = figures.large();
    let small = figures.mapped - large_bytes;
    write!(
        out,
        "<total type=\"fast\" count=\"0\" size=\"0\"/>\n\
         <total type=\"rest\" count=\"{}\" size=\"{}\"/>\n\
         <total type=\"mmap\" count=\"{large}\" size=\"{large_bytes}\"/>\n\
         <system type=\"current\" size=\"{small}\"/>\n\
         <system type=\"max\" size=\"{}\"/>\n\
         <aspace type=\"total\" size=\"{}\"/>\n\
         <aspace type=\"mprotect\" size=\"{}\"/>\n",
        figures.free_blocks(),
        figures.mapped - figures.used,
        figures.obtained,
        figures.obtained,
        figures.obtained,
    )
}
