//! The form of a trace: what a program asked its allocator, call by call, in two or three bytes each.
//!
//! Blocks are known by *slots*. A new block takes the slot that was freed last, or else the next number; so who reads can work it out, and only calls that end
//! a block or change it name one. Slots stay few, and the table of a replay small.
//!
//! A trace is the number of slots that are needed at most, then the calls. Each begins with a byte: the kind in its three low bits, a number in the
//! five others; 31 there says that the rest of the number follows. Such numbers are sent seven bits a byte, the lowest first. The number is
//! the size for the kinds that allocate, the slot for those that name one, a thread's for a change of thread. A call that needs a second
//! number has it behind: the size for a realloc, the power of two for an alignment.

/// A call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `malloc`: slot and size.
    Alloc(usize, usize),
    /// `calloc`: slot and size.
    Zeroed(usize, usize),
    /// `memalign` and the like: slot, size and alignment.
    Aligned(usize, usize, usize),
    /// `realloc` of a block, which keeps its slot: slot and new size.
    Realloc(usize, usize),
    /// `free`: slot.
    Free(usize),
    /// The calls that follow are of the thread with this number.
    Thread(usize),
}

const ALLOC: u8 = 0;
const ZEROED: u8 = 1;
const ALIGNED: u8 = 2;
const REALLOC: u8 = 3;
const FREE: u8 = 4;
const THREAD: u8 = 5;

/// The largest number that fits the first byte is one below this.
const FOLLOWS: usize = 31;

/// Gives out slots.
#[derive(Clone, Debug, Default)]
struct Slots {
    free: Vec<u32>,
    /// The most that were needed at once.
    number: usize,
}

impl Slots {
    #[inline]
    fn take(&mut self) -> usize {
        self.free.pop().map_or_else(
            || {
                self.number += 1;
                self.number - 1
            },
            |slot| slot as usize,
        )
    }

    #[inline]
    fn give(&mut self, slot: usize) {
        self.free.push(slot as u32);
    }
}

/// Makes a trace.
#[derive(Debug, Default)]
pub struct Writer {
    slots: Slots,
    calls: Vec<u8>,
}

impl Writer {
    fn put(&mut self, kind: u8, number: usize) {
        let short = number.min(FOLLOWS);
        self.calls.push(kind | (short as u8) << 3);
        if short == FOLLOWS {
            number_into(&mut self.calls, number - FOLLOWS);
        }
    }

    /// `malloc`; returns the block's slot.
    pub fn alloc(&mut self, size: usize) -> usize {
        self.put(ALLOC, size);
        self.slots.take()
    }

    /// `calloc`; returns the block's slot.
    pub fn zeroed(&mut self, size: usize) -> usize {
        self.put(ZEROED, size);
        self.slots.take()
    }

    /// `memalign` with a power of two; returns the block's slot.
    pub fn aligned(&mut self, size: usize, align: usize) -> usize {
        self.put(ALIGNED, size);
        number_into(&mut self.calls, align.trailing_zeros() as usize);
        self.slots.take()
    }

    /// `realloc`.
    pub fn realloc(&mut self, slot: usize, size: usize) {
        self.put(REALLOC, slot);
        number_into(&mut self.calls, size);
    }

    /// `free`.
    pub fn free(&mut self, slot: usize) {
        self.put(FREE, slot);
        self.slots.give(slot);
    }

    /// What follows is another thread's.
    pub fn thread(&mut self, number: usize) {
        self.put(THREAD, number);
    }

    /// The trace.
    pub fn finish(self) -> Vec<u8> {
        let mut trace = Vec::new();
        number_into(&mut trace, self.slots.number);
        trace.extend(self.calls);
        trace
    }
}

fn number_into(bytes: &mut Vec<u8>, mut number: usize) {
    while number > 0x7f {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Reads a trace, call by call.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    slots: Slots,
    most: usize,
}

impl<'a> Reader<'a> {
    /// At the beginning of a trace. Reading allocates nothing more.
    pub fn new(trace: &'a [u8]) -> Reader<'a> {
        let mut reader = Reader {
            rest: trace,
            slots: Slots::default(),
            most: 0,
        };
        reader.most = reader.number().unwrap_or(0);
        reader.slots.free = Vec::with_capacity(reader.most);
        reader
    }

    /// How many slots there are at most.
    pub fn slots(&self) -> usize {
        self.most
    }

    #[inline]
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    #[inline]
    fn number(&mut self) -> Option<usize> {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = self.byte()?;
            number |= (usize::from(byte) & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
            shift += 7;
        }
    }
}

impl Iterator for Reader<'_> {
    type Item = Call;

    #[inline]
    fn next(&mut self) -> Option<Call> {
        let first = self.byte()?;
        let mut number = usize::from(first >> 3);
        if number == FOLLOWS {
            number += self.number()?;
        }
        Some(match first & 7 {
            ALLOC => Call::Alloc(self.slots.take(), number),
            ZEROED => Call::Zeroed(self.slots.take(), number),
            ALIGNED => {
                let align = 1 << self.number()?;
                Call::Aligned(self.slots.take(), number, align)
            }
            REALLOC => Call::Realloc(number, self.number()?),
            FREE => {
                self.slots.give(number);
                Call::Free(number)
            }
            THREAD => Call::Thread(number),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::default();
        let a = writer.alloc(16);
        let b = writer.zeroed(100_000);
        writer.thread(3);
        writer.free(a);
        let c = writer.aligned(31, 4096);
        writer.realloc(b, 7);
        writer.free(c);
        writer.free(b);
        assert_eq!((a, b, c), (0, 1, 0));
        let trace = writer.finish();
        let reader = Reader::new(&trace);
        assert_eq!(reader.slots(), 2);
        let calls: Vec<Call> = reader.collect();
        let expected = [
            Call::Alloc(0, 16),
            Call::Zeroed(1, 100_000),
            Call::Thread(3),
            Call::Free(0),
            Call::Aligned(0, 31, 4096),
            Call::Realloc(1, 7),
            Call::Free(0),
            Call::Free(1),
        ];
        assert_eq!(calls, expected);
    }

    #[test]
    fn a_trace_that_is_cut_off_ends() {
        let mut writer = Writer::default();
        writer.alloc(1 << 20);
        let trace = writer.finish();
        assert_eq!(Reader::new(&trace[..trace.len() - 1]).count(), 0);
        assert_eq!(Reader::new(&[]).count(), 0);
    }
}
