//! `/proc/self/maps`: which mapping an address lies in.
//!
//! Needed for the stacks of threads that are not goroutines: the mapping bounds the conservative scan. Asked with plain
//! system calls, for the world is stopped: for one address at a time where the kernel answers that (`PROCMAP_QUERY`, since 6.11), which takes a microsecond; otherwise
//! all of the text is read, which takes a hundred and more.

use super::kept::Kept;
use super::threads::{Fd, ioctl_number};
use std::ops::Range;

/// The kernel's `struct procmap_query`.
#[repr(C)]
#[derive(Default)]
struct Query {
    size: u64,
    flags: u64,
    address: u64,
    start: u64,
    end: u64,
    vma_flags: u64,
    page_size: u64,
    offset: u64,
    inode: u64,
    device: [u32; 2],
    name_size: u32,
    build_id_size: u32,
    name: u64,
    build_id: u64,
}

const PROCMAP_QUERY: libc::c_ulong = ioctl_number::<Query>(b'f', 17);
const READABLE_AND_WRITABLE: u64 = 1 | 2;

/// The mappings, for questions about single addresses.
pub struct Maps(Option<Fd>);

impl Maps {
    /// Opens the file, and finds out whether the kernel answers.
    pub fn open() -> Maps {
        let local = 0u8;
        let maps = Maps(Fd::open(c"/proc/self/maps", libc::O_RDONLY).ok());
        match maps.writable(&raw const local as usize) {
            Some(Some(_)) => maps,
            _ => Maps(None),
        }
    }

    /// Whether the kernel answers.
    pub fn answers(&self) -> bool {
        self.0.is_some()
    }

    /// The readable and writable mapping that the address lies in, if there is one. `None` if the kernel does not answer.
    pub fn writable(&self, address: usize) -> Option<Option<Range<usize>>> {
        let mut query = Query {
            size: size_of::<Query>() as u64,
            flags: READABLE_AND_WRITABLE,
            address: address as u64,
            ..Query::default()
        };
        match self.0.as_ref()?.ioctl(PROCMAP_QUERY, &mut query) {
            Ok(()) => Some(Some(query.start as usize..query.end as usize)),
            Err(libc::ENOENT) => Some(None),
            Err(_) => None,
        }
    }
}

/// Calls `each` with every readable and writable mapping, in order of address.
///
/// # Errors
/// The `errno` of opening or reading the file.
pub fn for_each_writable(each: impl FnMut(Range<usize>)) -> Result<(), i32> {
    TEXT.with(|file| scan(|buf| file.read(buf), each))?
}

/// The text about all mappings.
pub(super) static TEXT: Kept = Kept::new(c"/proc/self/maps", libc::O_RDONLY);

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

    #[test]
    fn the_kernel_says_of_an_address_what_the_file_says() {
        let maps = Maps::open();
        let local = 0u8;
        let addr = &raw const local as usize;
        let Some(found) = maps.writable(addr) else {
            eprintln!("not answered here");
            return;
        };
        let found = found.unwrap();
        let mut listed = None;
        for_each_writable(|r| {
            if r.contains(&addr) {
                listed = Some(r);
            }
        })
        .unwrap();
        assert_eq!(
            listed.unwrap().end,
            found.end,
            "a stack grows downwards only"
        );
        let code = the_kernel_says_of_an_address_what_the_file_says as *const () as usize;
        assert_eq!(maps.writable(code), Some(None));
        assert_eq!(maps.writable(8), Some(None));
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
