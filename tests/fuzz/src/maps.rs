//! What the kernel says in `/proc`: mappings given in pieces against the lines of the whole text, and a thread's status.

use crate::bytes::Bytes;
use goruntime::fuzzing::{maps, threads};
use std::ops::Range;

pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let (Some(piece), Some(signal)) = (bytes.byte(), bytes.byte()) else {
        return;
    };
    let text = bytes.0;
    threads::judge(text, 1 + i32::from(signal) % 64);
    // A line may be longer than the buffer; the fuzzer's inputs are not, so some are made so.
    let long;
    let text = if signal & 128 != 0 {
        let filler = vec![b'x'; 4096];
        long = text
            .split_inclusive(|&byte| byte == b'!')
            .collect::<Vec<_>>()
            .join(&filler[..]);
        &long
    } else {
        text
    };
    assert_eq!(in_pieces(text, 1 + usize::from(piece)), by_lines(text));
}

fn in_pieces(mut text: &[u8], piece: usize) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let read = |buffer: &mut [u8]| {
        let n = text.len().min(piece).min(buffer.len());
        buffer[..n].copy_from_slice(&text[..n]);
        text = &text[n..];
        Ok(n)
    };
    maps::scan(read, |range| found.push(range)).expect("reading from memory does not fail");
    found
}

/// The bytes of a line that count.
const LINE: usize = 4096;

fn by_lines(text: &[u8]) -> Vec<Range<usize>> {
    let mut lines: Vec<&[u8]> = text.split(|&byte| byte == b'\n').collect();
    // What the last line feed is not yet behind is no line, unless it fills the buffer.
    if lines.last().is_some_and(|last| last.len() < LINE) {
        lines.pop();
    }
    lines
        .into_iter()
        .filter_map(|line| {
            let line = String::from_utf8_lossy(&line[..line.len().min(LINE)]);
            let (start, rest) = line.split_once('-')?;
            let (end, rest) = rest.split_once(' ')?;
            let number = |digits: &str| usize::from_str_radix(digits, 16).ok();
            let range = number(start)?..number(end)?;
            rest.starts_with("rw").then_some(range)
        })
        .collect()
}
