//! Thread-locals per context.
//!
//! To the compiler a context *is* a thread: LLVM may keep a thread-local's address across a call, std keeps the panic
//! count and the owner of re-entrant locks in thread-locals, and a program may switch inside `LocalKey::with`. A context
//! that goes on on another thread with that thread's thread-locals breaks all of them. So each context has a block of its
//! own - static thread-locals and the libc's thread descriptor - and the switch changes the thread pointer.
//!
//! A block is laid out from facts that the libc tells at run time (`symbols`, `modules`, `template`, `keys`), and a
//! trial context has to find everything in place (`trial`) before the layout is handed out. Otherwise
//! [`Unsupported`] says what is missing.
//!
//! What a context cannot have, since the kernel knows only threads: a priority-inheriting mutex held over a switch, the
//! kernel's clean-up of robust mutexes, what the libc asks the kernel about a thread by its number (`pthread_kill`,
//! `pthread_cancel`, `pthread_getattr_np`, `pthread_setschedparam`: ESRCH), and `setuid` and its kin through the libc while
//! contexts run on other threads (the libc waits for an answer from each thread's own descriptor). A library that is opened
//! later and demands static thread-locals finds them initialised only in blocks made after that, and what one context leaves
//! there the next one to use the block finds.

mod block;
mod keys;
mod modules;
mod reserve;
mod symbols;
mod template;
mod trial;
mod unsupported;
mod vector;

use std::sync::{Mutex, OnceLock, PoisonError};

pub(crate) use block::TlsBlock;
pub use unsupported::Unsupported;

use crate::context::{TlsOffset, thread_pointer};
use crate::switch::{Switcher, shadow_stack_enabled};
use keys::Keys;
use modules::Module;
use symbols::Symbols;
use template::Template;

/// How a thread-local block is laid out in this process.
#[derive(Debug)]
pub struct TlsLayout {
    symbols: Symbols,
    template: Template,
    keys: Keys,
    /// Bytes of a block under the thread pointer: static thread-locals, and the reserve for those of later libraries unless it is taken up.
    below: usize,
    /// The objects whose segments are put back to their initial state between two uses of a block: all but the libc.
    reset_modules: Box<[Module]>,
    libc_module: Module,
    /// From the thread pointer to errno.
    errno: isize,
}

/// Found once, and the same for the rest of the process.
static FOUND: OnceLock<TlsLayout> = OnceLock::new();

// SAFETY: what the pointers inside point to - code, images of loaded objects, the table of keys - is the process's, not a
// thread's, and is only read.
unsafe impl Send for TlsLayout {}
// SAFETY: as above.
unsafe impl Sync for TlsLayout {}

impl TlsLayout {
    /// Reads the layout from the libc, tries it, and keeps it for the rest of the process.
    ///
    /// The first call starts a thread and runs a context; later calls return what it found. Call it early: a library with static thread-locals that is opened afterwards is not known to it.
    ///
    /// # Errors
    ///
    /// When something that is needed is missing, or the trial fails.
    pub fn discover() -> Result<&'static Self, Unsupported> {
        match FOUND.get() {
            Some(found) => Ok(found),
            None => Self::discover_once(false),
        }
    }

    /// As [`discover`](Self::discover), but takes the room up that the libc keeps for libraries that are opened later and demand static thread-locals
    /// (`-ftls-model=initial-exec`). Blocks are smaller by that, some 1,700 bytes, so that a context whose frames are small is one page and not two. Such a library
    /// is refused afterwards by `dlopen`, for plain threads as well: "cannot allocate memory in static TLS block". Those that are there already, and
    /// all whose thread-locals are dynamic, are not concerned.
    ///
    /// # Errors
    ///
    /// As `discover`; if the reserve cannot be taken up; if the layout was discovered before with the reserve, which contexts then have (EALREADY). In all these cases
    /// `discover` is what is left.
    pub fn discover_without_reserve() -> Result<&'static Self, Unsupported> {
        let found = Self::discover_once(true)?;
        if found.below == found.symbols.below() && found.used() < found.below {
            return Err(Unsupported::Refused {
                operation: "take up the reserve for thread-locals of later libraries when there are contexts with it",
                errno: libc::EALREADY,
            });
        }
        Ok(found)
    }

    fn discover_once(takes_reserve: bool) -> Result<&'static Self, Unsupported> {
        static SEARCH: Mutex<()> = Mutex::new(());
        let _one_at_a_time = SEARCH.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = FOUND.get() {
            return Ok(found);
        }
        let mut layout = Self::examine()?;
        if takes_reserve {
            let used = layout.used();
            reserve::take(layout.below, used)?;
            layout.below = used;
        }
        trial::run(&layout)?;
        Ok(FOUND.get_or_init(|| layout))
    }

    /// Bytes under the thread pointer that the thread-locals of libc, libraries and program take.
    fn used(&self) -> usize {
        let modules = self.reset_modules.iter().chain([&self.libc_module]);
        let lowest = modules.map(|module| module.offset);
        let lowest = lowest
            .chain(self.symbols.rseq.map(|(offset, _)| offset))
            .min();
        let used = lowest.map_or(0, |offset| usize::try_from(-offset).unwrap_or(0));
        used.min(self.below)
    }

    fn examine() -> Result<Self, Unsupported> {
        let symbols = Symbols::find()?;
        let template = Template::take(&symbols)?;
        let mut modules = modules::with_static_thread_locals(symbols.below());
        // SAFETY: the libc returns the address of a static thread-local of its own.
        let errno = unsafe { libc::__errno_location() } as isize - thread_pointer() as isize;
        let of_libc = modules
            .iter()
            .position(|module| module.contains(errno))
            .ok_or(Unsupported::UnknownLayout {
                fact: "errno among the static thread-locals",
            })?;
        let libc_module = modules.swap_remove(of_libc);
        if !libc_module.contains(template.resolver_pointer) {
            return Err(Unsupported::UnknownLayout {
                fact: "the resolver's pointer among the libc's thread-locals",
            });
        }
        let keys = Keys::find(&symbols, &libc_module)?;
        Ok(Self {
            symbols,
            template,
            keys,
            below: symbols.below(),
            libc_module,
            reset_modules: modules.into_boxed_slice(),
            errno,
        })
    }

    /// Bytes that a block takes at the top of a stack.
    pub fn block_bytes(&self) -> usize {
        self.below + self.above()
    }

    /// Bytes of a block from the thread pointer on.
    fn above(&self) -> usize {
        let symbols = &self.symbols;
        symbols.descriptor_bytes.next_multiple_of(symbols.alignment)
    }

    /// The thread pointer of the context whose stack ends at `top`, which is a multiple of a page.
    pub fn thread_pointer_below(&self, top: usize) -> usize {
        top - self.above()
    }

    /// Whether that is the address of a static thread-local of the context with this thread pointer.
    pub fn is_static(&self, address: usize, thread_pointer: usize) -> bool {
        (thread_pointer - self.below..thread_pointer).contains(&address)
    }

    /// How far the thread-local at `address`, *of the context that runs here*, is from the thread pointer. With
    /// [`Context::local`](crate::context::Context::local) that finds the same variable of another context.
    ///
    /// `None` if it is not a static thread-local: not one at all, or of a library opened at run time.
    pub fn offset_of(&self, address: *const u8) -> Option<TlsOffset> {
        let offset = (address as isize).wrapping_sub(thread_pointer() as isize);
        let below = self.below as isize;
        (-below..0).contains(&offset).then_some(TlsOffset(offset))
    }

    /// Does, in the context that runs here, what the libc does when a thread ends: runs the destructors of `thread_local!`
    /// and C++ variables, then those of `pthread_setspecific` values, and drops a message that `dlerror` has not told.
    ///
    /// # Safety
    ///
    /// 1. A context with a block runs here, not a thread's own.
    /// 2. It does not use thread-locals with destructors afterwards, so it has nothing left to do but to name its
    ///    successor.
    pub unsafe fn finish_current(&self) {
        // SAFETY: the obligations; destructors were registered in this block.
        unsafe {
            (self.symbols.call_tls_dtors)();
            self.keys.run_destructors(thread_pointer());
            // The pending message lies in the libc's own segment, which is not reset; taking it clears it.
            libc::dlerror();
        }
    }
}

/// Whose thread-locals a context has.
#[derive(Debug, Clone, Copy)]
pub struct ThreadLocals {
    layout: Option<&'static TlsLayout>,
    switcher: Switcher,
}

impl ThreadLocals {
    /// Each context has its own, which travel with it from thread to thread.
    ///
    /// # Errors
    ///
    /// When this libc does not allow it; the error says why.
    pub fn per_context() -> Result<Self, Unsupported> {
        refuse_shadow_stack()?;
        Ok(Self {
            layout: Some(TlsLayout::discover()?),
            switcher: Switcher::per_context(),
        })
    }

    /// As [`per_context`](Self::per_context), changing the thread pointer by a system call: what kernels before 5.9 get.
    ///
    /// # Errors
    ///
    /// As [`per_context`](Self::per_context).
    pub fn per_context_by_system_call() -> Result<Self, Unsupported> {
        Ok(Self {
            switcher: Switcher::per_context_by_system_call(),
            ..Self::per_context()?
        })
    }

    /// Contexts use the thread-locals of whichever thread runs them.
    ///
    /// # Errors
    ///
    /// When contexts are impossible altogether, because of a shadow stack.
    ///
    /// # Safety
    ///
    /// One of these holds for everything that runs in such a context:
    ///
    /// 1. The context is only ever run by one thread; or
    /// 2. no code that is active when it switches relies on thread-locals before and after: it neither unwinds, nor holds
    ///    a lock of std's stdout or stderr, nor is inside `LocalKey::with`, nor was compiled so that the
    ///    address of a thread-local is kept across the call - which a compiler does not promise for any code.
    pub unsafe fn shared() -> Result<Self, Unsupported> {
        refuse_shadow_stack()?;
        Ok(Self {
            layout: None,
            switcher: Switcher::shared(),
        })
    }

    /// The layout of blocks, if contexts have their own.
    pub fn layout(&self) -> Option<&'static TlsLayout> {
        self.layout
    }

    /// The switch that goes with it.
    pub fn switcher(&self) -> Switcher {
        self.switcher
    }
}

fn refuse_shadow_stack() -> Result<(), Unsupported> {
    if shadow_stack_enabled() {
        Err(Unsupported::ShadowStack)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_libc_is_understood() {
        let layout = TlsLayout::discover().unwrap();
        assert!(std::ptr::eq(layout, TlsLayout::discover().unwrap()));
    }
}
