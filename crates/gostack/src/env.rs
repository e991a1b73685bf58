//! The port to the operating system: what this crate asks of memory, as a trait that the embedder may implement.
//!
//! [`Os`] is small and takes `&self`, so that a test can count calls and refuse the n-th one. The
//! implementation for Linux is [`crate::os::Linux`]; the refusing one is [`crate::testing::Refusing`].

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
///    must cost about one page.
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
}
