//! Linux: regions by `mmap`, guards by `MADV_GUARD_INSTALL`, release by `MADV_DONTNEED`.
//!
//! A guard set by `mprotect(PROT_NONE)` splits the mapping in two, and a process may have only
//! `vm.max_map_count` mappings (65,530 unless raised): some 32,000 stacks. `MADV_GUARD_INSTALL` (Linux 6.13)
//! puts the guard in the page table instead and splits nothing. On an older kernel, which answers EINVAL,
//! `mprotect` is used, and when the kernel runs out of mappings the error says which setting to raise.

use core::ptr::NonNull;

use crate::env::{Os, OsError};

/// `MADV_GUARD_INSTALL`, in the kernel's `include/uapi/asm-generic/mman-common.h` since 6.13.
const MADV_GUARD_INSTALL: i32 = 102;

/// How guards are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GuardMethod {
    /// `MADV_GUARD_INSTALL`, or page protection where the kernel does not know it.
    #[default]
    Marker,
    /// Page protection always: what kernels before 6.13 get.
    Protection,
}

/// The operating system itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Linux {
    /// How guards are made.
    pub guard_method: GuardMethod,
}

fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

// SAFETY: 1: anonymous private mappings are zeroed, page-aligned and belong to the caller. 2: both kinds of guard
// fault on every access; MADV_DONTNEED keeps guard markers (madvise(2)) and protection. 3: DONTNEED on private
// anonymous memory reads as zero afterwards. 4: MADV_NOHUGEPAGE is set on each region.
unsafe impl Os for Linux {
    fn map(&self, len: usize) -> Result<NonNull<u8>, OsError> {
        // SAFETY: a new anonymous mapping at an address that the kernel chooses aliases nothing.
        let addr = unsafe {
            libc::mmap(
                core::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if addr == libc::MAP_FAILED {
            return Err(OsError {
                operation: "reserve address space for stacks",
                errno: errno(),
                advice: "raise the address space limit (ulimit -v, vm.overcommit_memory, vm.max_map_count) or use smaller stacks",
            });
        }
        // SAFETY: the range was just mapped. A kernel without huge pages refuses with EINVAL, and then
        // there is nothing to forbid.
        unsafe { libc::madvise(addr, len, libc::MADV_NOHUGEPAGE) };
        NonNull::new(addr.cast()).ok_or(OsError {
            operation: "reserve address space for stacks",
            errno: libc::EINVAL,
            advice: "the kernel mapped the null page; set vm.mmap_min_addr above zero",
        })
    }

    unsafe fn unmap(&self, addr: NonNull<u8>, len: usize) {
        // SAFETY: obligations 1 and 2 of the trait's method. A refusal leaves the region mapped, which
        // costs address space and nothing else.
        unsafe { libc::munmap(addr.as_ptr().cast(), len) };
    }

    unsafe fn install_guard(&self, addr: NonNull<u8>, len: usize) -> Result<(), OsError> {
        if self.guard_method == GuardMethod::Marker {
            // SAFETY: obligations 1 and 2 of the trait's method.
            if unsafe { libc::madvise(addr.as_ptr().cast(), len, MADV_GUARD_INSTALL) } == 0 {
                return Ok(());
            }
            if errno() != libc::EINVAL {
                return Err(OsError {
                    operation: "install the guard of a stack",
                    errno: errno(),
                    advice: "the kernel refused MADV_GUARD_INSTALL; check memory limits of the process and its cgroup",
                });
            }
        }
        // SAFETY: as above; taking away access is what is wanted.
        if unsafe { libc::mprotect(addr.as_ptr().cast(), len, libc::PROT_NONE) } == 0 {
            return Ok(());
        }
        Err(OsError {
            operation: "protect the guard of a stack",
            errno: errno(),
            advice: "each stack needs two mappings on a kernel before 6.13: raise vm.max_map_count or have fewer stacks",
        })
    }

    unsafe fn release(&self, addr: NonNull<u8>, len: usize) -> Result<(), OsError> {
        // SAFETY: obligations 1 and 2 of the trait's method.
        if unsafe { libc::madvise(addr.as_ptr().cast(), len, libc::MADV_DONTNEED) } == 0 {
            return Ok(());
        }
        Err(OsError {
            operation: "give back the pages of a stack",
            errno: errno(),
            advice: "pages locked by mlockall cannot be given back; leave the stack as it is",
        })
    }

    fn prefer_huge_pages(&self, addr: NonNull<u8>, len: usize) {
        // SAFETY: changes how faults in the range are served, and no contents. A refusal leaves small pages.
        unsafe { libc::madvise(addr.as_ptr().cast(), len, libc::MADV_HUGEPAGE) };
    }
}
