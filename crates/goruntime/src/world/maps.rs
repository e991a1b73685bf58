//! `/proc/self/maps`: which mapping an address lies in.
//!
//! Needed for the stacks of threads that are not goroutines: the mapping bounds the conservative scan. Read with plain
//! system calls into a fixed buffer, for the world is stopped when it is asked.

use super::threads::Fd;
use std::ops::Range;

/// Calls `each` with every readable and writable mapping, in order of address.
///
/// # Errors
/// The `errno` of opening or reading the file.
pub fn for_each_writable(each: impl FnMut(Range<usize>)) -> Result<(), i32> {
    let file = Fd::open(c"/proc/self/maps", libc::O_RDONLY)?;
    scan(|buf| file.read(buf), each)
}

/// Calls `each` with every readable and writable mapping in a text that `read` gives in pieces, as the system call does: the
/// number of bytes put into the buffer, 0 at the end.
///
/// # Errors
/// Those of `read`.
pub fn scan(
    mut read: impl FnMut(&mut [u8]) -> Result<usize, i32>,
    mut each: impl FnMut(Range<usize>),
) -> Result<(), i32> {
    let mut buf = [0u8; 4096];
    let mut len = 0;
    // In the rest of a line that is longer than the buffer: its head was enough.
    let mut skipping = false;
    loop {
        let n = read(&mut buf[len..])?;
        len += n;
        let mut at = 0;
        while let Some(end) = buf[at..len].iter().position(|&b| b == b'\n') {
            if !skipping && let Some(range) = parse(&buf[at..at + end]) {
                each(range);
            }
            skipping = false;
            at += end + 1;
        }
        if n == 0 {
            return Ok(());
        }
        if at == 0 && len == buf.len() {
            if !skipping && let Some(range) = parse(&buf) {
                each(range);
            }
            skipping = true;
            len = 0;
            continue;
        }
        buf.copy_within(at..len, 0);
        len -= at;
    }
}

/// `start-end rw.. ...`, hexadecimal.
fn parse(line: &[u8]) -> Option<Range<usize>> {
    let dash = line.iter().position(|&b| b == b'-')?;
    let space = dash + line[dash..].iter().position(|&b| b == b' ')?;
    if line.get(space + 1..space + 3)? != b"rw" {
        return None;
    }
    let number = |digits| usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
    Some(number(&line[..dash])?..number(&line[dash + 1..space])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_stack_and_skips_read_only_mappings() {
        let local = 0u8;
        let addr = &raw const local as usize;
        let code = finds_the_stack_and_skips_read_only_mappings as *const () as usize;
        let (mut stack, mut text) = (false, false);
        for_each_writable(|r| {
            stack |= r.contains(&addr);
            text |= r.contains(&code);
        })
        .unwrap();
        assert!(stack);
        assert!(!text);
    }

    /// The ranges found in `text`, given in pieces of at most `piece` bytes.
    fn scanned(mut text: &[u8], piece: usize) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        let read = |buf: &mut [u8]| {
            let n = text.len().min(piece).min(buf.len());
            buf[..n].copy_from_slice(&text[..n]);
            text = &text[n..];
            Ok(n)
        };
        scan(read, |range| found.push(range)).unwrap();
        found
    }

    #[test]
    fn the_path_of_a_long_line_is_no_line() {
        let head = "10-20 rw-p 00000000 00:00 0 /";
        let mut text = format!("{head}{}", "x".repeat(4096 - head.len()));
        text.push_str("a-b rw\n30-40 rw-p 0\n");
        for piece in [1, 7, 4096, usize::MAX] {
            assert_eq!(scanned(text.as_bytes(), piece), [0x10..0x20, 0x30..0x40]);
        }
    }

    #[test]
    fn parses_only_writable_lines() {
        assert_eq!(
            parse(b"7f00-7fff rw-p 00000000 00:00 0  [heap]"),
            Some(0x7f00..0x7fff)
        );
        assert_eq!(parse(b"7f00-7fff r--p 00000000 00:00 0"), None);
        assert_eq!(parse(b"nonsense"), None);
    }
}
