//! The thread descriptor of a new thread, as a pattern for those of contexts.
//!
//! Rather than filling in the fields of `struct pthread` that this version of the libc happens to have, a thread is
//! started that copies its own descriptor first thing. Words that point into its own block (its self pointers,
//! the robust-mutex list, the first table of specific values) are noted and moved along when the pattern is used; words that
//! point into its stack are cleared; what is unlike in every thread (number, list links, dynamic thread vector, area of
//! the kernel) is set by [`block`](super::block).

use core::ffi::c_void;
use core::mem::size_of;
use core::ptr::null_mut;

use super::symbols::Symbols;
use super::unsupported::Unsupported;
use crate::context::thread_pointer;
use crate::env::{Os, PAGE};
use crate::os::Linux;

/// A descriptor to copy from.
#[derive(Debug)]
pub(super) struct Template {
    /// The descriptor, with pointers into its block replaced by their distance from the thread pointer.
    words: Box<[usize]>,
    /// Which words those are.
    relocated: Box<[usize]>,
    /// From the thread pointer to the libc's pointer to the resolver's state.
    pub(super) resolver_pointer: isize,
    /// From the thread pointer to that state.
    resolver_state: isize,
}

/// What the thread leaves for its creator. All of it is plain memory: the thread must not allocate before it has copied.
struct Sample {
    words: Box<[usize]>,
    thread_pointer: usize,
    resolver_pointer: isize,
    resolver_state: usize,
}

extern "C" fn copy_own_descriptor(sample: *mut c_void) -> *mut c_void {
    let own = thread_pointer();
    // SAFETY: the creator waits in `pthread_join` until this thread has ended, and the descriptor starts at the thread
    // pointer and is as long as `words`.
    unsafe {
        let sample = &mut *sample.cast::<Sample>();
        core::ptr::copy_nonoverlapping(
            own.cast::<usize>(),
            sample.words.as_mut_ptr(),
            sample.words.len(),
        );
        sample.thread_pointer = own as usize;
        sample.resolver_state = own.offset(sample.resolver_pointer).cast::<usize>().read();
    }
    null_mut()
}

impl Template {
    /// Starts a thread and takes its descriptor.
    pub(super) fn take(symbols: &Symbols) -> Result<Self, Unsupported> {
        let refused = |operation, errno| Unsupported::Refused { operation, errno };
        let stack_bytes = (symbols.static_bytes + (64 << 10)).next_multiple_of(PAGE);
        let stack = Linux::default()
            .map(stack_bytes)
            .map_err(|refusal| refused(refusal.operation, refusal.errno))?;
        let mut sample = Sample {
            words: vec![0; symbols.descriptor_bytes / size_of::<usize>()].into_boxed_slice(),
            thread_pointer: 0,
            resolver_pointer: symbols.resolver_pointer as isize - thread_pointer() as isize,
            resolver_state: 0,
        };
        let outcome = run_on(stack.as_ptr().cast(), stack_bytes, &mut sample);
        let low = stack.as_ptr() as usize;
        // SAFETY: mapped above; the only thread that ran on it has been joined, or was never started.
        unsafe { Linux::default().unmap(stack, stack_bytes) };
        match outcome {
            0 => Self::from_sample(symbols, sample, low, stack_bytes),
            errno => Err(refused(
                "start the thread whose descriptor is the pattern",
                errno,
            )),
        }
    }

    fn from_sample(
        symbols: &Symbols,
        sample: Sample,
        stack: usize,
        stack_bytes: usize,
    ) -> Result<Self, Unsupported> {
        let mut words = sample.words;
        let own = sample.thread_pointer;
        let block = own - symbols.below()..own + symbols.descriptor_bytes;
        let mut relocated = Vec::new();
        for (index, word) in words.iter_mut().enumerate() {
            if block.contains(word) {
                *word = word.wrapping_sub(own);
                relocated.push(index);
            } else if (stack..stack + stack_bytes).contains(word) {
                *word = 0;
            }
        }
        // The ABI's two self pointers must be among them, or this is not a descriptor.
        if !relocated.contains(&0) || !relocated.contains(&2) {
            return Err(Unsupported::UnknownLayout {
                fact: "a thread descriptor that points to itself",
            });
        }
        let first_table = symbols.specific / size_of::<usize>();
        if !relocated.contains(&first_table) {
            return Err(Unsupported::UnknownLayout {
                fact: "the first table of thread-specific values inside the descriptor",
            });
        }
        if !block.contains(&sample.resolver_state) {
            return Err(Unsupported::UnknownLayout {
                fact: "the resolver's state inside the thread block",
            });
        }
        Ok(Self {
            words,
            relocated: relocated.into_boxed_slice(),
            resolver_pointer: sample.resolver_pointer,
            resolver_state: sample.resolver_state.wrapping_sub(own) as isize,
        })
    }

    /// Writes a descriptor for the block at `thread_pointer`.
    ///
    /// # Safety
    ///
    /// 1. The descriptor's bytes from `thread_pointer` are writable and not in use.
    pub(super) unsafe fn write_descriptor(&self, thread_pointer: *mut u8) {
        let base = thread_pointer.cast::<usize>();
        // SAFETY: the obligation; indices are below `words.len()`.
        unsafe {
            core::ptr::copy_nonoverlapping(self.words.as_ptr(), base, self.words.len());
            for &index in &self.relocated {
                let word = base.add(index);
                word.write(word.read().wrapping_add(thread_pointer as usize));
            }
        }
    }

    /// Points the resolver at the block's own state; without it name lookup crashes.
    ///
    /// # Safety
    ///
    /// 1. The block at `thread_pointer` has its descriptor and its images, and nothing runs in it.
    pub(super) unsafe fn write_resolver_pointer(&self, thread_pointer: *mut u8) {
        // SAFETY: the pointer is a static thread-local of the libc, so it lies in the block.
        unsafe {
            let state = thread_pointer.offset(self.resolver_state);
            thread_pointer
                .offset(self.resolver_pointer)
                .cast::<*mut u8>()
                .write(state);
        }
    }
}

/// Runs [`copy_own_descriptor`] on a thread with the given stack and waits for its end. Returns an error number.
fn run_on(stack: *mut c_void, bytes: usize, sample: &mut Sample) -> i32 {
    // SAFETY: the attributes are initialised before use and destroyed after; the stack outlives the thread, which is joined.
    unsafe {
        let mut attributes: libc::pthread_attr_t = core::mem::zeroed();
        let mut failed = libc::pthread_attr_init(&mut attributes);
        if failed != 0 {
            return failed;
        }
        failed = libc::pthread_attr_setstack(&mut attributes, stack, bytes);
        let mut thread = 0;
        if failed == 0 {
            let sample = (&raw mut *sample).cast();
            failed = libc::pthread_create(&mut thread, &attributes, copy_own_descriptor, sample);
        }
        libc::pthread_attr_destroy(&mut attributes);
        if failed == 0 {
            failed = libc::pthread_join(thread, null_mut());
        }
        failed
    }
}
