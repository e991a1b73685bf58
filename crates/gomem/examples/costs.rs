//! What the system's part costs where you are: the figures on which the chapter on memory builds. `cargo run --release -p gomem --example costs`.
//!
//! Each line is the least of some runs. Memory that was mapped just now has no pages, and the first touch of each is a page fault.

use std::hint::black_box;
use std::ptr::{NonNull, null_mut};
use std::time::Instant;

#[global_allocator]
static GLOBAL: gomem::GoMalloc = gomem::GoMalloc::new();

const PAGE: usize = 4096;
const MIB: usize = 1 << 20;
const RUNS: usize = 7;

/// Nanoseconds that `body` takes, the least of some runs. `prepare` is not timed.
fn least<T>(mut prepare: impl FnMut() -> T, mut body: impl FnMut(&mut T)) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..RUNS {
        let mut state = prepare();
        let start = Instant::now();
        body(&mut state);
        best = best.min(start.elapsed().as_secs_f64() * 1e9);
    }
    best
}

/// Memory of the system's, given back when dropped.
struct Mapping {
    start: *mut u8,
    bytes: usize,
}

impl Mapping {
    fn new(bytes: usize) -> Mapping {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, at a place of the kernel's choice.
        let start = unsafe { libc::mmap(null_mut(), bytes, access, flags, -1, 0) };
        assert_ne!(start, libc::MAP_FAILED, "no memory");
        let start = start.cast();
        Mapping { start, bytes }
    }

    /// Writes a byte to each page.
    fn touch(&self) {
        for at in (0..self.bytes).step_by(PAGE) {
            // SAFETY: within the mapping.
            unsafe { black_box(self.start.add(at)).write_volatile(1) };
        }
    }

    /// Writes all of it.
    fn fill(&self, byte: u8) {
        // SAFETY: all of the mapping.
        unsafe { self.start.write_bytes(byte, self.bytes) };
    }

    /// Has the kernel provide pages, in pieces of so many bytes; false if it cannot.
    fn populate(&self, piece: usize) -> bool {
        const MADV_POPULATE_WRITE: i32 = 23;
        (0..self.bytes).step_by(piece).all(|at| {
            // SAFETY: within the mapping.
            unsafe { libc::madvise(self.start.add(at).cast(), piece, MADV_POPULATE_WRITE) == 0 }
        })
    }

    fn release(&self) {
        // SAFETY: all of the mapping, whose contents nobody needs.
        unsafe { libc::madvise(self.start.cast(), self.bytes, libc::MADV_DONTNEED) };
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this size.
        unsafe { libc::munmap(self.start.cast(), self.bytes) };
    }
}

fn pages() {
    let bytes = 16 * MIB;
    let count = (bytes / PAGE) as f64;
    let touched = || {
        let mapping = Mapping::new(bytes);
        mapping.touch();
        mapping
    };
    let fault = least(|| Mapping::new(bytes), |mapping| mapping.touch());
    println!("{:>10.0} ns  a page by a fault", fault / count);
    for piece in [8 << 10, 64 << 10, 256 << 10] {
        let mut is_there = true;
        let populate = least(
            || Mapping::new(bytes),
            |mapping| is_there &= mapping.populate(piece),
        );
        if is_there {
            let (each, kib) = (populate / count, piece >> 10);
            println!("{each:>10.0} ns  a page asked for in pieces of {kib} KiB");
        }
    }
    let release = least(touched, |mapping| mapping.release());
    println!("{:>10.0} ns  a page given back", release / count);
    let small = || {
        let mapping = Mapping::new(32 * PAGE);
        mapping.fill(1);
        mapping
    };
    let write = least(small, |mapping| mapping.fill(0));
    let each = write / 32.0;
    println!("{each:>10.0} ns  a page written that is in the processor's cache");
}

/// A block with something behind it, so that it has to move when it grows.
struct Enclosed {
    block: NonNull<u8>,
    behind: NonNull<u8>,
    bytes: usize,
}

impl Enclosed {
    fn new(bytes: usize) -> Enclosed {
        let heap = gomem::heap();
        let block = heap.malloc(bytes, 16).expect("memory");
        // SAFETY: all of the block.
        unsafe { block.write_bytes(1, bytes) };
        let behind = heap.malloc(MIB, 16).expect("memory");
        Enclosed {
            block,
            behind,
            bytes,
        }
    }
}

impl Drop for Enclosed {
    fn drop(&mut self) {
        for block in [self.block, self.behind] {
            // SAFETY: blocks of this heap, not used any more.
            unsafe { gomem::heap().free(block) };
        }
    }
}

fn growing() {
    let heap = gomem::heap();
    for bytes in [64 * MIB, 256 * MIB] {
        // What was used before is given back first, for it is fresh pages that a block is moved to without being copied.
        let enclosed = || {
            heap.release_all();
            Enclosed::new(bytes)
        };
        let moved = least(enclosed, |old| {
            // SAFETY: a block of this heap; the old one is forgotten.
            let new = unsafe { heap.realloc_sized(old.block, old.bytes + MIB, 16) };
            old.block = new.expect("memory");
        });
        let copied = least(enclosed, |old| {
            let new = heap.malloc(old.bytes + MIB, 16).expect("memory");
            // SAFETY: two blocks that hold so many bytes; the old one is freed and forgotten.
            unsafe {
                new.copy_from_nonoverlapping(old.block, old.bytes);
                heap.free(old.block);
            }
            old.block = new;
        });
        let (mib, ms) = (bytes / MIB, 1e-6);
        println!(
            "{:>10.2} ms  {mib} MiB grow by realloc, and have to move",
            moved * ms
        );
        println!(
            "{:>10.2} ms  {mib} MiB are copied to a larger block",
            copied * ms
        );
    }
}

fn main() {
    pages();
    growing();
}
