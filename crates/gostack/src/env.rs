//! The ports: what this crate asks of its surroundings, as traits that the embedder may implement.
//!
//! [`Os`] is what native stacks need. It is small and takes `&self`, so that a test can count calls and refuse the n-th one. The
//! implementation for Linux is [`crate::os::Linux`]; the refusing one is [`crate::testing::Refusing`].
//!
//! [`StackMemory`] and [`FrameMap`] are what [managed stacks](crate::managed) need: spans of memory, and an account of
//! where a frame keeps addresses.

use core::fmt;
use core::ptr::NonNull;

/// Bytes in a page of memory. x86-64 Linux has no other base page size.
pub const PAGE: usize = 4096;

/// A refusal by the operating system: what was tried, what it said, and what can be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OsError {
    /// What was tried, as a phrase that follows "cannot".
    pub operation: &'static str,
    /// The error number that the kernel returned.
    pub errno: i32,
    /// What the operator can do.
    pub advice: &'static str,
}

impl fmt::Display for OsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = std::io::Error::from_raw_os_error(self.errno);
        write!(f, "cannot {}: {reason}; {}", self.operation, self.advice)
    }
}

impl std::error::Error for OsError {}

/// Address space and guards.
///
/// # Safety
///
/// An implementation must keep these promises, on which the memory safety of every context rests:
///
/// 1. `map` returns memory that nothing else uses, page-aligned, readable and writable, reading as zero,
///    which stays so until `unmap` is called on it.
/// 2. After `install_guard` has returned `Ok`, every access to that range faults with SIGSEGV or SIGBUS, until the
///    region is unmapped. `release` does not remove a guard.
/// 3. After `release` the range still reads (as zero) and can be written, except where a guard is.
/// 4. `map` never places memory where huge pages would back a single touched stack: one touched page
///    must cost about one page, except where [`prefer_huge_pages`](Self::prefer_huge_pages) was called.
pub unsafe trait Os: Send + Sync {
    /// Maps `len` bytes of zeroed private memory, of which only touched pages count. `len` is a multiple
    /// of [`PAGE`].
    fn map(&self, len: usize) -> Result<NonNull<u8>, OsError>;

    /// Gives back a region.
    ///
    /// # Safety
    ///
    /// 1. `addr` and `len` are those of one call of `map`.
    /// 2. Nothing uses the region any more.
    unsafe fn unmap(&self, addr: NonNull<u8>, len: usize);

    /// Makes `[addr, addr + len)` fault on every access.
    ///
    /// # Safety
    ///
    /// 1. The range is page-aligned and lies in a mapped region.
    /// 2. Nothing that is still needed is stored there.
    unsafe fn install_guard(&self, addr: NonNull<u8>, len: usize) -> Result<(), OsError>;

    /// Gives the physical pages of `[addr, addr + len)` back; the contents are lost.
    ///
    /// # Safety
    ///
    /// 1. The range is page-aligned and lies in a mapped region.
    /// 2. Nothing that is still needed is stored there.
    unsafe fn release(&self, addr: NonNull<u8>, len: usize) -> Result<(), OsError>;

    /// Says that `[addr, addr + len)`, page-aligned in a mapped region, had better be touched in large pieces. A hint; by default
    /// nothing happens.
    fn prefer_huge_pages(&self, addr: NonNull<u8>, len: usize) {
        let _ = (addr, len);
    }
}

/// A word of a managed stack: an address, or a number, which then has no provenance.
pub type Word = *mut u8;

/// Where managed stacks get their memory from: a heap's spans, or the global allocator.
///
/// # Safety
///
/// An implementation must keep these promises:
///
/// 1. `allocate` returns `bytes` bytes, aligned to [`PAGE`], that nothing else uses until `free` is called on them. Their
///    contents are arbitrary.
/// 2. It does not unwind, and neither does `free`.
pub unsafe trait StackMemory: Send + Sync {
    /// A span of `bytes` bytes, a multiple of 32 KiB; `None` if there is no memory.
    fn allocate(&self, bytes: usize) -> Option<NonNull<u8>>;

    /// Takes a span back.
    ///
    /// # Safety
    ///
    /// 1. `span` and `bytes` are those of one call of [`allocate`](Self::allocate).
    /// 2. Nothing uses the span any more.
    unsafe fn free(&self, span: NonNull<u8>, bytes: usize);
}

/// What is known of a frame at some place in the code.
#[derive(Debug, Clone, Copy)]
pub struct FrameShape<'a> {
    /// Words that the function may come to use below its frame pointer, wherever it stands now.
    pub words: u32,
    /// The slots that hold addresses inside the stack now.
    pub pointers: &'a [i32],
}

/// What an interpreter or a compiler knows of its frames and of whatever points into them: enough to move a stack.
///
/// A place in the code is a [`Word`] of the embedder's choosing: an address, an index. Slots are counted in words from the
/// frame pointer: locals are at -1 and below, the arguments at 2 and above, the [record](crate::managed) between them.
///
/// # Safety
///
/// An implementation must keep these promises, on which the validity of every pointer into a stack rests:
///
/// 1. For a function that waits at `at` (that will go on there when its callee returns), `frame` names every slot among its
///    locals and arguments that holds an address inside the stack. For a function that is entered at `at` it names the
///    arguments that do. The arguments are the callee's from its entry on: the caller does not name them.
/// 2. Each slot that is named lies in the part of the frame that is in use, has been written since the frame was entered, and holds an
///    address or a word without provenance that is not one of the stack's addresses.
/// 3. `words` is at least what the function was entered with.
/// 4. `outside` calls its argument on every word outside of the stack that holds an address inside, and keeps what that
///    returns in its place. Nobody else reads or writes through such a word meanwhile.
/// 5. Where a frame cannot be described, `frame` returns `None`. Neither method unwinds.
pub unsafe trait FrameMap {
    /// The frame of a function at `at`; `None` if it is not known, and so the stack may not move.
    fn frame(&self, at: Word) -> Option<FrameShape<'_>>;

    /// Replaces each address into the stack that is kept outside of it - in entries of waiting queues, in deferred calls - by
    /// what `adjust` says.
    fn outside(&self, adjust: &mut dyn FnMut(Word) -> Word);
}
