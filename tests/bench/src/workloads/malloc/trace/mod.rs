//! Traces of real programs, played to the allocator.
//!
//! All calls are made by one thread, in the order in which they were recorded, as in the programs of the kept traces: their other threads, where
//! they have some, allocate nothing. (Of a trace with several threads the order would be kept, and not the threads: a hand-over for a call
//! costs more than the call.) What a program gets it writes to, so the replay does: a byte in
//! each cache line of the first page, and one in each page beyond. The first byte is checked when the block goes.
//!
//! The traces are kept in the repository (`tests/bench/traces`) and not recorded when they are wanted, so that the rows mean the same on every machine
//! and from one release to the next. `cargo run --bin record` in `tests/bench` makes them.

pub mod format;

use super::time_each;
use crate::Arguments;
use format::{Call, Reader};
use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, realloc};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// What C programs may expect of any block.
const ALIGN: usize = 16;

const REDIS: &[u8] = include_bytes!("../../../../traces/redis.trace");
const GCC: &[u8] = include_bytes!("../../../../traces/gcc.trace");

/// A trace is played several times, each time from the beginning with all blocks freed before.
pub fn run(arguments: &Arguments) -> Result<(), String> {
    let trace = match arguments.text("of", "redis") {
        "redis" => REDIS,
        "gcc" => GCC,
        other => return Err(format!("of={other} is none of redis, gcc")),
    };
    let times = arguments.scaled("times", 10);
    let (mut elapsed, mut calls) = (Duration::ZERO, 0);
    let mut table = vec![Entry::NONE; Reader::new(trace).slots()];
    for _ in 0..times {
        let reader = Reader::new(trace);
        let begin = Instant::now();
        calls += play(reader, &mut table)?;
        elapsed += begin.elapsed();
        for entry in &mut table {
            entry.free()?;
        }
    }
    time_each(elapsed, calls);
    Ok(())
}

/// What a slot holds.
#[derive(Clone, Copy)]
struct Entry {
    at: *mut u8,
    layout: Layout,
}

impl Entry {
    const NONE: Entry = Entry {
        at: std::ptr::null_mut(),
        layout: Layout::new::<u8>(),
    };

    /// Fills the slot by `get`, and writes to the block.
    #[inline]
    fn fill(
        &mut self,
        size: usize,
        align: usize,
        get: unsafe fn(Layout) -> *mut u8,
    ) -> Result<(), String> {
        // A block of no bytes is a block of its own to C.
        let layout = Layout::from_size_align(size.max(1), align).map_err(|e| e.to_string())?;
        // SAFETY: the size is not zero.
        let at = black_box(unsafe { get(layout) });
        if at.is_null() {
            return Err("out of memory".to_owned());
        }
        *self = Entry { at, layout };
        self.write(0);
        Ok(())
    }

    /// The byte that the block begins with.
    #[inline]
    fn tag(&self) -> u8 {
        self.layout.size() as u8 ^ 0x5a
    }

    /// Writes to the block, of which `known` bytes were written before, and tags it.
    #[inline]
    fn write(&mut self, known: usize) {
        let tag = self.tag();
        let lines = (0..self.layout.size().min(4096)).step_by(64);
        let pages = (4096..self.layout.size()).step_by(4096);
        for offset in lines.chain(pages).filter(|&offset| offset >= known) {
            // SAFETY: the offset is below the block's size.
            unsafe { self.at.add(offset).write(tag) };
        }
        // SAFETY: a block has at least one byte.
        unsafe { self.at.write(tag) };
    }

    #[inline]
    fn check(&self) -> Result<(), String> {
        // SAFETY: only called for slots that hold a block, which has at least one byte.
        if unsafe { self.at.read() } == self.tag() {
            return Ok(());
        }
        Err(format!(
            "a block of {} bytes was overwritten",
            self.layout.size()
        ))
    }

    #[inline]
    fn resize(&mut self, size: usize) -> Result<(), String> {
        self.check()?;
        let known = self.layout.size();
        let layout =
            Layout::from_size_align(size.max(1), self.layout.align()).map_err(|e| e.to_string())?;
        // SAFETY: the block was allocated with this layout, and the new size is not zero.
        let at = black_box(unsafe { realloc(self.at, self.layout, layout.size()) });
        if at.is_null() {
            return Err("out of memory".to_owned());
        }
        self.at = at;
        self.check()?;
        self.layout = layout;
        self.write(known);
        Ok(())
    }

    #[inline]
    fn free(&mut self) -> Result<(), String> {
        if !self.at.is_null() {
            self.check()?;
            // SAFETY: the block was allocated with this layout, and the slot forgets it here.
            unsafe { dealloc(self.at, self.layout) };
            self.at = std::ptr::null_mut();
        }
        Ok(())
    }
}

/// Plays a trace from its beginning; returns the number of calls.
fn play(reader: Reader<'_>, table: &mut [Entry]) -> Result<usize, String> {
    let mut calls = 0;
    for call in reader {
        match call {
            Call::Alloc(slot, size) => table[slot].fill(size, ALIGN, alloc)?,
            Call::Zeroed(slot, size) => table[slot].fill(size, ALIGN, alloc_zeroed)?,
            Call::Aligned(slot, size, align) => table[slot].fill(size, align.max(ALIGN), alloc)?,
            Call::Realloc(slot, size) => table[slot].resize(size)?,
            Call::Free(slot) => table[slot].free()?,
            Call::Thread(_) => continue,
        }
        calls += 1;
    }
    Ok(calls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_traces_are_of_a_size_that_tells_something() {
        for trace in [REDIS, GCC] {
            let calls = Reader::new(trace).count();
            assert!((100_000..1_000_000).contains(&calls), "{calls}");
            assert!(trace.len() < 2 << 20);
        }
    }

    #[test]
    fn a_block_that_was_overwritten_is_seen() {
        let mut writer = format::Writer::default();
        let slot = writer.alloc(40);
        writer.realloc(slot, 9000);
        let trace = writer.finish();
        let mut table = vec![Entry::NONE; 1];
        assert_eq!(play(Reader::new(&trace), &mut table), Ok(2));
        // SAFETY: the block is alive and has 9000 bytes.
        unsafe { *table[0].at ^= 1 };
        assert!(table[0].free().unwrap_err().contains("9000"));
        // SAFETY: as above; put right, so that the block can be freed.
        unsafe { *table[0].at ^= 1 };
        assert_eq!(table[0].free(), Ok(()));
    }
}
