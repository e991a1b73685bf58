//! An alternate signal stack for the calling thread, without which an overflow could not be reported: the handler needs
//! a stack, and the one in use is full.
//!
//! Signal stacks belong to operating-system threads, not to contexts, so each thread that runs contexts installs one.

use core::marker::PhantomData;
use core::ptr::NonNull;

use crate::env::{Os, OsError, PAGE};
use crate::os::Linux;

/// Room for a handler that formats text.
const LEAST_BYTES: usize = 64 << 10;

/// An alternate signal stack, in place until it is dropped, on the thread that installed it.
#[derive(Debug)]
pub struct AltStack<O: Os = Linux> {
    os: O,
    base: NonNull<u8>,
    bytes: usize,
    previous: libc::stack_t,
    _of_this_thread: PhantomData<*const ()>,
}

impl AltStack<Linux> {
    /// Installs one on the calling thread.
    ///
    /// # Errors
    ///
    /// When memory is refused, or the calling thread runs on its alternate stack right now.
    pub fn install() -> Result<Self, OsError> {
        Self::install_with(Linux::default())
    }
}

impl<O: Os> AltStack<O> {
    /// Installs one on the calling thread, its memory from `os`.
    ///
    /// # Errors
    ///
    /// As [`AltStack::install`].
    pub fn install_with(os: O) -> Result<Self, OsError> {
        let bytes = usable_bytes() + PAGE;
        let base = os.map(bytes)?;
        // SAFETY: the lowest page of the fresh mapping.
        let installed = unsafe { os.install_guard(base, PAGE) }.and_then(|()| {
            let stack = libc::stack_t {
                ss_sp: base.as_ptr().wrapping_add(PAGE).cast(),
                ss_flags: 0,
                ss_size: bytes - PAGE,
            };
            exchange(&stack)
        });
        match installed {
            Ok(previous) => Ok(Self {
                os,
                base,
                bytes,
                previous,
                _of_this_thread: PhantomData,
            }),
            Err(refusal) => {
                // SAFETY: mapped above and not installed.
                unsafe { os.unmap(base, bytes) };
                Err(refusal)
            }
        }
    }

    /// The addresses of the stack, without its guard.
    pub fn addresses(&self) -> core::ops::Range<usize> {
        let low = self.base.as_ptr() as usize;
        low + PAGE..low + self.bytes
    }
}

impl<O: Os> Drop for AltStack<O> {
    /// Puts the previous signal stack back. Where that is refused, the memory stays mapped.
    fn drop(&mut self) {
        if exchange(&self.previous).is_ok() {
            // SAFETY: the thread has another signal stack now, or none, and does not run on this one (`sigaltstack`
            // would have refused).
            unsafe { self.os.unmap(self.base, self.bytes) };
        }
    }
}

/// Some processors save more state per signal than 64 KiB leave room for; the kernel says how much.
fn usable_bytes() -> usize {
    // SAFETY: `getauxval` reads a table, and answers 0 for what is not in it.
    let frame = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) } as usize;
    (LEAST_BYTES.max(frame + LEAST_BYTES / 2)).next_multiple_of(PAGE)
}

fn exchange(stack: &libc::stack_t) -> Result<libc::stack_t, OsError> {
    let mut previous = libc::stack_t {
        ss_sp: core::ptr::null_mut(),
        ss_flags: libc::SS_DISABLE,
        ss_size: 0,
    };
    // SAFETY: both point to records; the memory of `stack` outlives its being installed (see `Drop`).
    if unsafe { libc::sigaltstack(stack, &mut previous) } == 0 {
        return Ok(previous);
    }
    Err(OsError {
        operation: "install an alternate signal stack",
        errno: std::io::Error::last_os_error().raw_os_error().unwrap_or(0),
        advice: "it must not be done from a signal handler that runs on one",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Refusing;

    fn current() -> libc::stack_t {
        let mut current = libc::stack_t {
            ss_sp: core::ptr::null_mut(),
            ss_flags: 0,
            ss_size: 0,
        };
        // SAFETY: asks only.
        unsafe { libc::sigaltstack(core::ptr::null(), &mut current) };
        current
    }

    #[test]
    fn it_is_large_and_puts_the_previous_one_back() {
        let before = current();
        {
            let stack = AltStack::install().unwrap();
            assert!(stack.addresses().len() >= LEAST_BYTES);
            assert_eq!(current().ss_sp as usize, stack.addresses().start);
        }
        assert_eq!(current().ss_sp, before.ss_sp);
        assert_eq!(current().ss_size, before.ss_size);
    }

    #[test]
    fn a_refusal_leaves_the_thread_as_it_was() {
        let before = current();
        for nth in 1..=2 {
            let os = Refusing::default();
            os.refuse(nth);
            assert_eq!(AltStack::install_with(os).unwrap_err().errno, libc::ENOMEM);
            assert_eq!(current().ss_sp, before.ss_sp);
        }
    }
}
