//! What the handler of the profiling signal writes down: registers, and a copy of the stack's upper part.
//!
//! The calls are not walked here. To walk a stack the tables of loaded objects have to be found, which takes the loader's lock, and read, while another
//! thread may be unloading them; profilers that unwind in the handler die of it. So the handler copies words, and the calls are walked later, on a
//! thread, with the loader's lock held and nothing but the copy to read ([`collect`](super::collect)).
//!
//! Invariant: what runs in the handler is async-signal-safe. It reads statics and the thread-locals of the context that it interrupted, makes at most one
//! system call, writes to the slot that it has been given, and keeps errno. It uses little stack: the slot is not a local variable.

use crate::compose::engine::stack_of;
use std::cell::Cell;
use std::ffi::c_void;
use std::panic::Location;
use std::ptr::null;

/// Words that are kept of a stack: 32 KiB with what else a sample has. Outer calls beyond that are missing.
pub(super) const WORDS: usize = 4096 - 16;

/// A sample. All zero is a valid one.
#[repr(C)]
pub(super) struct Sample {
    /// Timer periods that it stands for.
    pub(super) weight: u64,
    pub(super) ip: usize,
    pub(super) sp: usize,
    pub(super) fp: usize,
    /// `rbx`, and `r12` to `r15`.
    pub(super) others: [usize; 5],
    /// Where the goroutine was started; null on plain threads.
    pub(super) site: *const Location<'static>,
    pub(super) labels: *const Labels,
    /// Words that are there.
    pub(super) len: usize,
    /// From the stack pointer on, rounded down to a whole word.
    pub(super) words: [u64; WORDS],
}

// SAFETY: its pointers are to what is never freed.
unsafe impl Send for Sample {}

/// What a part of the program wants its samples to be labelled with. Never freed.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Labels(pub(super) Vec<(String, String)>);

thread_local! {
    /// The labels in force for this goroutine or thread.
    pub(super) static LABELS: Cell<*const Labels> = const { Cell::new(null()) };
}

/// Writes what the signal interrupted to `at`. Async-signal-safe.
///
/// # Safety
/// 1. `context` is what the kernel passed to the handler that calls.
/// 2. `at` is a sample of the caller's own.
pub(super) unsafe fn take(at: *mut Sample, weight: u64, context: *const libc::ucontext_t) {
    // SAFETY: the obligations. Nobody else refers to the sample.
    let (sample, registers) = unsafe { (&mut *at, &(*context).uc_mcontext.gregs) };
    let register = |number: i32| registers[number as usize] as usize;
    sample.weight = weight;
    sample.ip = register(libc::REG_RIP);
    sample.sp = register(libc::REG_RSP);
    sample.fp = register(libc::REG_RBP);
    sample.others = [
        libc::REG_RBX,
        libc::REG_R12,
        libc::REG_R13,
        libc::REG_R14,
        libc::REG_R15,
    ]
    .map(register);
    sample.site = gosched::current_site().map_or(null(), |site| site);
    sample.labels = LABELS.get();
    let start = sample.sp & !7;
    sample.len = match stack_of(start) {
        Some(stack) => copy(start, stack.end, &mut sample.words),
        None => copy_unknown(start, &mut sample.words),
    };
}

/// Copies from a stack that is known to be there up to `end`.
fn copy(start: usize, end: usize, words: &mut [u64; WORDS]) -> usize {
    let len = ((end - start) / 8).min(WORDS);
    for (n, word) in words[..len].iter_mut().enumerate() {
        let at = std::ptr::with_exposed_provenance(start + 8 * n);
        // SAFETY: from the stack pointer to its end a stack is mapped; the word is aligned.
        *word = unsafe { gogc::word::load(at) } as u64;
    }
    len
}

/// Copies from a stack of which nothing is known but its pointer: that of a thread, or of another library's coroutine. The kernel does it, page by page,
/// because it can tell where memory ends. Where it must not (`process_vm_readv` is refused by some sandboxes) there are no outer calls.
fn copy_unknown(start: usize, words: &mut [u64; WORDS]) -> usize {
    const PAGE: usize = 4096;
    const PIECES: usize = WORDS * 8 / PAGE + 2;
    let end = start.saturating_add(WORDS * 8);
    let mut pieces = [libc::iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 0,
    }; PIECES];
    let (mut at, mut count) = (start, 0);
    while at < end {
        let next = (at / PAGE + 1).saturating_mul(PAGE).min(end);
        pieces[count] = libc::iovec {
            iov_base: std::ptr::without_provenance_mut(at),
            iov_len: next - at,
        };
        count += 1;
        at = next;
    }
    let to = libc::iovec {
        iov_base: words.as_mut_ptr().cast::<c_void>(),
        iov_len: WORDS * 8,
    };
    // SAFETY: the kernel writes to the words, and reads what it finds to be readable. A call of the C library's that is the bare system call.
    let copied =
        unsafe { libc::process_vm_readv(libc::getpid(), &to, 1, pieces.as_ptr(), count as u64, 0) };
    usize::try_from(copied).unwrap_or(0) / 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_stack_is_copied_as_far_as_it_goes() {
        const PAGE: usize = 4096;
        // SAFETY: a mapping of our own, whose last page is then taken away.
        let base = unsafe {
            let base = libc::mmap(
                std::ptr::null_mut(),
                3 * PAGE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert_ne!(base, libc::MAP_FAILED);
            libc::munmap(base.byte_add(2 * PAGE), PAGE);
            base.byte_add(PAGE - 8).cast::<u64>().write(77);
            base.byte_add(2 * PAGE - 8).cast::<u64>().write(78);
            base as usize
        };
        let mut words = [0; WORDS];
        let len = copy_unknown(base + PAGE - 8, &mut words);
        if len == 0 {
            println!("process_vm_readv is refused here: nothing to test");
        } else {
            assert_eq!((len, words[0], words[len - 1]), (1 + PAGE / 8, 77, 78));
        }
        // SAFETY: mapped above.
        unsafe { libc::munmap(base as *mut c_void, 2 * PAGE) };
    }

    #[test]
    fn a_known_stack_is_copied_to_its_end() {
        let stack: Vec<u64> = (0..100).collect();
        let start = stack.as_ptr() as usize;
        let mut words = [0; WORDS];
        assert_eq!(copy(start + 16, start + 800, &mut words), 98);
        assert_eq!((words[0], words[97], words[98]), (2, 99, 0));
    }
}
