//! A thread-local block: what the compiler, std and the libc take for a thread.
//!
//! ```text
//!      low addresses                                                            high addresses
//!      ├──── reserve ────┬── libc ──┬── libraries ──┬─ program ─┼──── thread descriptor ────┤
//!      │ for libraries   │ errno    │               │ thread_   │ tcb, dtv, self, guards,   │
//!      │ opened later    │ locale   │               │ local!    │ tid, specific values, ... │
//!      └─────────────────┴──────────┴───────────────┴───────────┴───────────────────────────┘
//!                                                               ▲ thread pointer (fs base)
//! ```
//!
//! Invariant: a block that exists is complete: its descriptor points to itself, its dynamic thread vector to its segments,
//! and its number is unlike any thread's and any other block's, so that what the libc keys by thread number (the owner
//! of a recursive mutex, the loader's lock) tells contexts apart wherever they run.
//!
//! The images and the vector are made by the dynamic loader's own function, the one that `pthread_create` calls, as for a thread; but elsewhere, in a pattern,
//! from which the block gets what belongs to it. For where the [reserve](super::reserve) is taken up the loader's notion of a block is larger, and it would fill the
//! difference with zeros: a page more to be touched. When a block is used again, only the images are copied, without lock or
//! allocation; of the libc's own segment errno alone is reset. It holds the allocator's cache for the thread,
//! which would leak if it were wiped, since the libc frees it only at the end of a thread, by a function that it does not
//! export.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};

use super::TlsLayout;
use super::symbols::Symbols;
use super::vector::Vector;
use crate::env::OsError;

/// Linux numbers threads below `PID_MAX_LIMIT`, 2^22.
const FIRST_NUMBER: u32 = 1 << 22;
/// Futex words hold thread numbers in the low 30 bits (`FUTEX_TID_MASK`).
const LAST_NUMBER: u32 = (1 << 30) - 1;

/// The next block's number. Process-wide, as thread numbers are.
static NEXT_NUMBER: AtomicU32 = AtomicU32::new(FIRST_NUMBER);

fn next_number() -> Option<u32> {
    NEXT_NUMBER
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |number| {
            (number <= LAST_NUMBER).then_some(number + 1)
        })
        .ok()
}

/// `RSEQ_CPU_ID_UNINITIALIZED`, by which `sched_getcpu` knows that it must ask the kernel.
const RSEQ_UNINITIALIZED: i32 = -1;
/// Where in `struct rseq` the CPU's number is.
const RSEQ_CPU_ID: usize = 4;
/// A thread-local block, named by its thread pointer.
#[derive(Debug)]
pub(crate) struct TlsBlock {
    thread_pointer: NonNull<u8>,
}

// SAFETY: the block is memory; the value names it, and nothing about it is bound to a thread while nothing runs in it.
unsafe impl Send for TlsBlock {}

impl TlsBlock {
    /// Makes a block whose highest byte is below `top`.
    ///
    /// # Safety
    ///
    /// 1. [`TlsLayout::block_bytes`] below `top` are writable, not in use, and stay so until [`destroy`](Self::destroy).
    /// 2. `top` is a multiple of a page, or of the alignment of the thread pointer.
    pub(crate) unsafe fn build(layout: &TlsLayout, top: NonNull<u8>) -> Result<Self, OsError> {
        let symbols = &layout.symbols;
        let number = next_number().ok_or(OsError {
            operation: "number another thread-local block",
            errno: libc::EAGAIN,
            advice: "a process can make a thousand million of them; use contexts again instead of making new ones",
        })?;
        let mut pattern = Pattern::new(symbols)?;
        // SAFETY: obligations 1 and 2, and `block_bytes` covers descriptor and thread-locals. The pattern is as large as the loader takes a block to be.
        unsafe {
            let thread_pointer = top.as_ptr().wrapping_sub(
                top.as_ptr() as usize - layout.thread_pointer_below(top.as_ptr() as usize),
            );
            let made = pattern.thread_pointer(symbols);
            if (symbols.allocate_tls)(made).is_null() {
                return Err(OsError {
                    operation: "allocate the dynamic thread vector of a context",
                    errno: libc::ENOMEM,
                    advice: "the process is out of memory",
                });
            }
            let below = layout.below;
            core::ptr::copy_nonoverlapping(made.sub(below), thread_pointer.sub(below), below);
            layout.template.write_descriptor(thread_pointer);
            let mut vector = Vector::at(made.add(symbols.dtv));
            let block = made as usize - symbols.below()..made as usize;
            let by = thread_pointer as isize - made as isize;
            vector.relocate(&block, made as usize - below, by);
            vector.shrink().install(thread_pointer.add(symbols.dtv));
            layout.template.write_resolver_pointer(thread_pointer);
            thread_pointer.add(symbols.tid).cast::<u32>().write(number);
            // A list of one: `fork` unlinks the thread that called it.
            let links = thread_pointer.add(symbols.list).cast::<[*mut u8; 2]>();
            links.write([links.cast(); 2]);
            if let Some((offset, bytes)) = symbols.rseq {
                // The kernel writes to the area of the thread, wherever the thread pointer is; this one it never sees.
                let area = thread_pointer.offset(offset);
                core::ptr::write_bytes(area, 0, bytes);
                area.add(RSEQ_CPU_ID)
                    .cast::<i32>()
                    .write(RSEQ_UNINITIALIZED);
            }
            Ok(Self {
                thread_pointer: NonNull::new_unchecked(thread_pointer),
            })
        }
    }

    /// The value that the thread pointer has while this block's context runs.
    pub(crate) const fn thread_pointer(&self) -> *mut u8 {
        self.thread_pointer.as_ptr()
    }

    /// Puts the thread-locals back to their initial state for the next context.
    ///
    /// # Safety
    ///
    /// 1. Nothing runs in the block; [`TlsLayout::finish_current`] was the last that did.
    pub(crate) unsafe fn reset(&self, layout: &TlsLayout) {
        let thread_pointer = self.thread_pointer();
        // SAFETY: the obligation; the block was laid out by `build` for this process.
        unsafe {
            for module in &layout.reset_modules {
                module.reset(thread_pointer);
            }
            thread_pointer.offset(layout.errno).cast::<i32>().write(0);
            Vector::at(thread_pointer.add(layout.symbols.dtv)).reset();
        }
    }

    /// Frees what belongs to the block but its own memory. The libc's allocator cache for it stays allocated.
    ///
    /// # Safety
    ///
    /// 1. Nothing runs in the block, nor will.
    pub(crate) unsafe fn destroy(self, layout: &TlsLayout) {
        // SAFETY: the obligation.
        unsafe {
            layout.keys.free_tables(self.thread_pointer());
            (layout.symbols.deallocate_tls)(self.thread_pointer(), false);
        }
    }
}

/// Memory for a block as the loader sees it.
struct Pattern(Vec<u64>);

impl Pattern {
    fn new(symbols: &Symbols) -> Result<Pattern, OsError> {
        let words = (symbols.static_bytes + symbols.alignment).div_ceil(size_of::<u64>());
        let mut memory = Vec::new();
        memory.try_reserve_exact(words).map_err(|_| OsError {
            operation: "lay out the thread-locals of a context",
            errno: libc::ENOMEM,
            advice: "the process is out of memory",
        })?;
        memory.resize(words, 0);
        Ok(Pattern(memory))
    }

    fn thread_pointer(&mut self, symbols: &Symbols) -> *mut u8 {
        let least = self
            .0
            .as_mut_ptr()
            .cast::<u8>()
            .wrapping_add(symbols.below());
        least.wrapping_add(least.align_offset(symbols.alignment))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_names_itself_and_nothing_of_the_thread_it_was_copied_from() {
        let layout = TlsLayout::discover().unwrap();
        let symbols = &layout.symbols;
        let bytes = layout.block_bytes() + symbols.alignment;
        let mut memory = vec![u128::MAX; bytes.div_ceil(16)];
        let range = memory.as_mut_ptr_range();
        let unaligned = range.end.cast::<u8>();
        let top =
            NonNull::new(unaligned.wrapping_sub(unaligned as usize % symbols.alignment)).unwrap();
        // SAFETY: the memory is as large as a block, and outlives it.
        let block = unsafe { TlsBlock::build(layout, top) }.unwrap();
        let own = block.thread_pointer();
        let inside = |address: usize| (range.start as usize..range.end as usize).contains(&address);
        // SAFETY: the described fields lie in the block.
        unsafe {
            let word = |at: usize| own.add(at).cast::<usize>().read();
            assert_eq!((word(0), word(16)), (own as usize, own as usize));
            let links = own as usize + symbols.list;
            assert_eq!((word(symbols.list), word(symbols.list + 8)), (links, links));
            assert!(inside(word(symbols.specific)));
            assert!((1..symbols.keys.tables).all(|table| word(symbols.specific + 8 * table) == 0));
            let number = own.add(symbols.tid).cast::<u32>().read();
            assert!((FIRST_NUMBER..=LAST_NUMBER).contains(&number));
            // Guards against smashed stacks and overwritten pointers are the process's.
            let thread = crate::context::thread_pointer();
            for guard in [0x28, 0x30] {
                assert_eq!(word(guard), thread.add(guard).cast::<usize>().read());
            }
            let resolver = own.offset(layout.template.resolver_pointer).cast::<usize>();
            assert!(inside(resolver.read()));
            if let Some((offset, _)) = symbols.rseq {
                let cpu = own.offset(offset).add(RSEQ_CPU_ID).cast::<i32>().read();
                assert_eq!(cpu, RSEQ_UNINITIALIZED);
            }
            block.destroy(layout);
        }
    }

    #[test]
    fn numbers_are_unlike_each_other_and_any_thread() {
        let numbers: Vec<u32> = (0..100).map(|_| next_number().unwrap()).collect();
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(
            numbers
                .iter()
                .all(|number| (FIRST_NUMBER..=LAST_NUMBER).contains(number))
        );
    }
}
