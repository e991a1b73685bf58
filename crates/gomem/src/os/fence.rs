//! A fence that every thread of the process passes: `membarrier`.

use super::KeepErrno;
use crate::atomic::{AtomicU8, Ordering::*};

const UNKNOWN: u8 = 0;
const REGISTERED: u8 = 1;
const REFUSED: u8 = 2;

/// Makes every thread of the process pass a full fence. False, with nothing done, where the kernel or a sandbox refuses.
pub(crate) fn heavy_fence() -> bool {
    static STATE: AtomicU8 = AtomicU8::new(UNKNOWN);
    let _errno = KeepErrno::new();
    let call = |command: i32| {
        // SAFETY: takes no pointers.
        !cfg!(miri) && unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) } == 0
    };
    if STATE.load(Relaxed) == UNKNOWN {
        let registered = call(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
        STATE.store(if registered { REGISTERED } else { REFUSED }, Relaxed);
    }
    STATE.load(Relaxed) == REGISTERED && call(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED)
}
