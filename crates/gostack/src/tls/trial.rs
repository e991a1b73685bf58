//! A context that checks its own block, once, before any block is relied on.
//!
//! The layout was read from the libc, not assumed; but a version that moved some state elsewhere would go unnoticed. So code
//! runs in a first block and looks at it through the doors that programs use.

use core::cell::Cell;
use core::ptr::NonNull;

use super::TlsLayout;
use super::block::TlsBlock;
use super::unsupported::Unsupported;
use crate::context::{Context, thread_pointer};
use crate::env::{Os, PAGE};
use crate::os::Linux;
use crate::switch::Switcher;

thread_local! {
    /// One with an initial value, to see whether images are copied.
    static INITIALISED: Cell<u64> = const { Cell::new(INITIAL) };
}

const INITIAL: u64 = 0x5eed;
/// Room for the checks, some of which call into the libc.
const STACK_BYTES: usize = 256 << 10;

struct Trial {
    thread: Context,
    context: Context,
    block: (usize, usize),
    failed: Option<&'static str>,
}

/// Runs the trial.
pub(super) fn run(layout: &TlsLayout) -> Result<(), Unsupported> {
    let bytes = STACK_BYTES + layout.block_bytes().next_multiple_of(PAGE);
    let refused = |refusal: crate::env::OsError| Unsupported::Refused {
        operation: refusal.operation,
        errno: refusal.errno,
    };
    let stack = Linux::default().map(bytes).map_err(refused)?;
    let outcome = run_on(layout, stack, bytes);
    // SAFETY: mapped above, and the context that ran on it has ended.
    unsafe { Linux::default().unmap(stack, bytes) };
    match outcome.map_err(refused)? {
        None => Ok(()),
        Some(check) => Err(Unsupported::Trial { check }),
    }
}

fn run_on(
    layout: &TlsLayout,
    stack: NonNull<u8>,
    bytes: usize,
) -> Result<Option<&'static str>, crate::env::OsError> {
    let top = stack.as_ptr() as usize + bytes;
    // SAFETY: the mapping is fresh, and longer than a block.
    let block = unsafe { TlsBlock::build(layout, stack.add(bytes))? };
    // Changed here, so that the check there sees its own.
    INITIALISED.set(!INITIAL);
    let own_errno = set_errno(libc::EDOM);
    let mut trial = Trial {
        thread: Context::adopt_thread(),
        context: Context::new(core::ptr::null_mut(), block.thread_pointer()),
        block: (top - layout.block_bytes(), top),
        failed: None,
    };
    let switcher = Switcher::per_context();
    let trial_pointer = &raw mut trial;
    // SAFETY: the stack below the block is fresh; the checks return this thread's context; this thread waits for them.
    unsafe {
        let stack_top = stack.as_ptr().add(bytes - layout.block_bytes());
        let stack_top = stack_top.sub(stack_top as usize % 16);
        (*trial_pointer).context.write_fresh_frame(
            switcher,
            stack_top,
            check_own_block,
            trial_pointer.cast(),
        );
        switcher.switch(&(*trial_pointer).thread, &(*trial_pointer).context);
        block.destroy(layout);
    }
    let kept = set_errno(own_errno) == libc::EDOM && INITIALISED.replace(INITIAL) == !INITIAL;
    Ok(trial
        .failed
        .or((!kept).then_some("the thread that started the context kept its thread-locals")))
}

fn set_errno(value: i32) -> i32 {
    // SAFETY: the libc returns the address of the running context's errno.
    unsafe { core::mem::replace(&mut *libc::__errno_location(), value) }
}

unsafe extern "C" fn check_own_block(trial: *mut ()) -> *const Context {
    // SAFETY: `run_on` passes its trial and waits.
    let trial = unsafe { &mut *trial.cast::<Trial>() };
    trial.failed = first_failure(trial.block);
    &trial.thread
}

/// The first check that fails in the block that runs here.
fn first_failure(block: (usize, usize)) -> Option<&'static str> {
    let inside = |address: usize| (block.0..block.1).contains(&address);
    let mut key = 0;
    let mut value = 0u8;
    let mut attributes_of_mutex = core::mem::MaybeUninit::<libc::pthread_mutexattr_t>::zeroed();
    let mut mutex = core::mem::MaybeUninit::<libc::pthread_mutex_t>::zeroed();
    // SAFETY: plain calls into the libc with memory of this function; the key and the mutex are released again.
    let checks = unsafe {
        let own = thread_pointer() as usize;
        let errno = libc::__errno_location();
        let specific = {
            let value: *mut core::ffi::c_void = (&raw mut value).cast();
            libc::pthread_key_create(&mut key, None) == 0
                && libc::pthread_getspecific(key).is_null()
                && libc::pthread_setspecific(key, value) == 0
                && libc::pthread_getspecific(key) == value
                && libc::pthread_key_delete(key) == 0
        };
        let recursive = {
            libc::pthread_mutexattr_init(attributes_of_mutex.as_mut_ptr());
            libc::pthread_mutexattr_settype(
                attributes_of_mutex.as_mut_ptr(),
                libc::PTHREAD_MUTEX_RECURSIVE,
            );
            libc::pthread_mutex_init(mutex.as_mut_ptr(), attributes_of_mutex.as_ptr());
            libc::pthread_mutex_lock(mutex.as_mut_ptr()) == 0
                && libc::pthread_mutex_trylock(mutex.as_mut_ptr()) == 0
                && libc::pthread_mutex_unlock(mutex.as_mut_ptr()) == 0
                && libc::pthread_mutex_unlock(mutex.as_mut_ptr()) == 0
        };
        let resolver = libc::dlsym(libc::RTLD_DEFAULT, c"__resp".as_ptr()).cast::<usize>();
        let allocation = libc::malloc(64);
        let allocated = !allocation.is_null();
        libc::free(allocation);
        [
            (
                inside(own) && libc::pthread_self() as usize == own,
                "pthread_self() is the block",
            ),
            (
                inside(errno as usize) && *errno == 0,
                "errno is in the block, and zero",
            ),
            (
                INITIALISED.with(|local| inside(local.as_ptr() as usize))
                    && INITIALISED.get() == INITIAL,
                "thread_local! is in the block, with its initial value",
            ),
            (
                libc::isalpha(i32::from(b'a')) != 0 && libc::isalpha(i32::from(b'1')) == 0,
                "isalpha() has its tables",
            ),
            (specific, "thread-specific values can be set and read"),
            (recursive, "a recursive mutex can be locked twice"),
            (
                inside(resolver as usize) && inside(*resolver),
                "the resolver's state is in the block",
            ),
            (allocated, "malloc() works"),
            (libc::sched_getcpu() >= 0, "sched_getcpu() works"),
        ]
    };
    checks
        .into_iter()
        .find_map(|(passed, check)| (!passed).then_some(check))
}
