//! A native stack: a range of addresses with a guard at its low end.
//!
//! ```text
//!   base          limit                                             top
//!    │   guard     │   usable, grows downwards                       │
//!    ▼ (no access) ▼                                                 ▼
//!    ├─────────────┼─────────────────────────────────────────────────┤
//! ```
//!
//! "Growing" costs nothing but the page faults of the pages touched, since the whole range is address space from the
//! start. Sizes come in classes, powers of two, so that a stack can be found from any address inside it by one
//! division.

use core::ptr::NonNull;

use crate::env::PAGE;

/// The size of a stack, guard included: a power of two from 16 KiB to 1 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StackClass {
    bytes: usize,
}

impl StackClass {
    /// The smallest class, 16 KiB. Its stacks hold a thread-local block and a few frames.
    pub const MIN: Self = Self { bytes: 16 << 10 };
    /// A size that suits ordinary Rust code which formats, logs and unwinds: 256 KiB.
    pub const DEFAULT: Self = Self { bytes: 256 << 10 };
    /// The largest class, 1 GiB: Go's default limit for a goroutine's stack on 64-bit machines.
    pub const MAX: Self = Self { bytes: 1 << 30 };

    /// The smallest class with at least `bytes`, or `None` above [`MAX`](Self::MAX).
    pub const fn holding(bytes: usize) -> Option<Self> {
        if bytes > Self::MAX.bytes {
            return None;
        }
        let bytes = bytes.next_power_of_two();
        if bytes < Self::MIN.bytes {
            return Some(Self::MIN);
        }
        Some(Self { bytes })
    }

    /// Bytes of address space per stack, guard included.
    pub const fn bytes(self) -> usize {
        self.bytes
    }

    /// Bytes of the guard: a sixteenth of the stack, at least a page and at most 64 KiB.
    ///
    /// Rust code probes each page of a large frame, so one page would do for it. C code compiled without
    /// `-fstack-clash-protection` may step over the guard with a frame that is larger than the guard; 64 KiB is the
    /// most that glibc itself puts on a stack at once (`__MAX_ALLOCA_CUTOFF`). A class of 1 MiB has such a guard.
    pub const fn guard_bytes(self) -> usize {
        let sixteenth = self.bytes / 16;
        if sixteenth < PAGE {
            PAGE
        } else if sixteenth > 64 << 10 {
            64 << 10
        } else {
            sixteenth
        }
    }
}

/// The addresses of one stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StackRange {
    /// Lowest address of the guard.
    pub base: usize,
    /// Lowest usable address; the guard ends here.
    pub limit: usize,
    /// One past the highest address.
    pub top: usize,
}

impl StackRange {
    /// Whether `addr` is in the stack or its guard.
    pub const fn contains(&self, addr: usize) -> bool {
        self.base <= addr && addr < self.top
    }

    /// Whether `addr` is in the guard.
    pub const fn in_guard(&self, addr: usize) -> bool {
        self.base <= addr && addr < self.limit
    }

    /// Bytes, guard included.
    pub const fn bytes(&self) -> usize {
        self.top - self.base
    }

    /// The stack that the operating system gave the calling thread.
    ///
    /// # Errors
    ///
    /// What `pthread_getattr_np` reports: ENOMEM; for the main thread a failure to read `/proc/self/maps`; in a context with
    /// thread-locals of its own ESRCH, since that is no thread. (Its stack is
    /// [`ExecutionContext::stack_range`](crate::execution::ExecutionContext::stack_range).)
    pub fn of_current_thread() -> std::io::Result<Self> {
        // SAFETY: an all-zero attribute object is only a place to write to.
        let mut attributes: libc::pthread_attr_t = unsafe { core::mem::zeroed() };
        // SAFETY: the calling thread is alive, and `attributes` may be written.
        let refusal = unsafe { libc::pthread_getattr_np(libc::pthread_self(), &mut attributes) };
        if refusal != 0 {
            return Err(std::io::Error::from_raw_os_error(refusal));
        }
        let (mut low, mut bytes, mut guard) = (core::ptr::null_mut(), 0, 0);
        // SAFETY: `pthread_getattr_np` succeeded, so the object is initialised; it is destroyed once, last.
        unsafe {
            libc::pthread_attr_getstack(&attributes, &mut low, &mut bytes);
            libc::pthread_attr_getguardsize(&attributes, &mut guard);
            libc::pthread_attr_destroy(&mut attributes);
        }
        let limit = low as usize;
        Ok(Self {
            base: limit.saturating_sub(guard),
            limit,
            top: limit + bytes,
        })
    }
}

/// Ownership of one stack of a [`StackPool`](crate::pool::StackPool).
///
/// Dropping it leaks the stack's addresses, which is safe; [`StackPool::put`](crate::pool::StackPool::put) is how it goes
/// back.
#[derive(Debug)]
#[must_use = "a stack that is dropped is never used again; give it back with `StackPool::put`"]
pub struct NativeStack {
    base: NonNull<u8>,
    class: StackClass,
}

// SAFETY: a stack is memory that this value owns alone, and memory belongs to no thread.
unsafe impl Send for NativeStack {}

impl NativeStack {
    /// # Safety
    ///
    /// 1. The class's bytes from `base` are mapped, guarded at the low end, and owned by nobody else.
    pub(crate) const unsafe fn from_base(base: NonNull<u8>, class: StackClass) -> Self {
        Self { base, class }
    }

    /// The size class.
    pub const fn class(&self) -> StackClass {
        self.class
    }

    /// Where it lies.
    pub fn range(&self) -> StackRange {
        let base = self.base.as_ptr() as usize;
        StackRange {
            base,
            limit: base + self.class.guard_bytes(),
            top: base + self.class.bytes(),
        }
    }

    /// Lowest address, guard included.
    pub const fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// One past the highest address.
    pub const fn top(&self) -> NonNull<u8> {
        // SAFETY: one past the end of the stack's memory, which `from_base` requires to be mapped.
        unsafe { self.base.add(self.class.bytes()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_powers_of_two_within_bounds() {
        assert_eq!(StackClass::holding(1), Some(StackClass::MIN));
        assert_eq!(StackClass::holding(16 << 10), Some(StackClass::MIN));
        assert_eq!(
            StackClass::holding((16 << 10) + 1).unwrap().bytes(),
            32 << 10
        );
        assert_eq!(StackClass::holding(1 << 30), Some(StackClass::MAX));
        assert_eq!(StackClass::holding((1 << 30) + 1), None);
    }

    #[test]
    fn guards_grow_with_the_stack_up_to_64_kib() {
        assert_eq!(StackClass::MIN.guard_bytes(), PAGE);
        assert_eq!(StackClass::DEFAULT.guard_bytes(), 16 << 10);
        assert_eq!(StackClass::MAX.guard_bytes(), 64 << 10);
    }

    #[test]
    fn the_stack_of_this_thread_holds_its_locals() {
        let local = 0u8;
        let range = StackRange::of_current_thread().unwrap();
        assert!(range.contains(&raw const local as usize));
        assert!(!range.in_guard(&raw const local as usize));
    }
}
