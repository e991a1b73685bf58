//! An engine of stacks that share their thread's thread-locals, over `swapcontext`.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ops::Range;

use gosched::env::{Engine, EngineError, Entry, StackSpec, ThreadLocals};

const STACK: usize = 256 * 1024;

/// A saved context and its stack, none for a thread's own.
pub struct UcontextContext {
    /// Boxed, because it points into itself.
    saved: Box<UnsafeCell<MaybeUninit<libc::ucontext_t>>>,
    stack: Option<Box<[MaybeUninit<u8>]>>,
    start: Box<Start>,
}

// SAFETY: a saved context may be resumed on any thread; `Start` is read by the entry only.
unsafe impl Send for UcontextContext {}

struct Start {
    entry: Entry<UcontextContext>,
    arg: *mut (),
}

/// See the module.
pub struct UcontextEngine;

unsafe fn nothing(_: *mut ()) -> *mut UcontextContext {
    unreachable!("a thread's own context has no entry")
}

extern "C" fn trampoline(high: u32, low: u32) {
    let start = (((high as usize) << 32) | low as usize) as *const Start;
    // SAFETY: the address is that of the context's start block, and what its entry returns may be
    // resumed.
    unsafe {
        let successor = ((*start).entry)((*start).arg);
        libc::setcontext((*successor).saved.get().cast());
    }
    unreachable!("a finished context does not go on");
}

fn arm(context: &mut UcontextContext, entry: Entry<UcontextContext>, arg: *mut ()) {
    *context.start = Start { entry, arg };
    let stack = context
        .stack
        .as_mut()
        .expect("only contexts with a stack are armed");
    let start = &raw const *context.start as usize;
    // SAFETY: the structure and the stack outlive the context's use; the trampoline takes the two
    // halves of an address.
    unsafe {
        let saved: *mut libc::ucontext_t = context.saved.get().cast();
        libc::getcontext(saved);
        (*saved).uc_stack.ss_sp = stack.as_mut_ptr().cast();
        (*saved).uc_stack.ss_size = stack.len();
        (*saved).uc_link = std::ptr::null_mut();
        let entry: extern "C" fn() = std::mem::transmute(trampoline as extern "C" fn(u32, u32));
        libc::makecontext(saved, entry, 2, (start >> 32) as u32, start as u32);
    }
}

// SAFETY: `swapcontext` saves everything before it resumes the other, and touches the left context
// no more. Thread-locals are the thread's.
unsafe impl Engine for UcontextEngine {
    type Context = UcontextContext;
    const THREAD_LOCALS: ThreadLocals = ThreadLocals::Shared;

    fn create(
        &self,
        spec: StackSpec,
        entry: Entry<UcontextContext>,
        arg: *mut (),
    ) -> Result<UcontextContext, EngineError> {
        let mut context = self.adopt_thread()?;
        context.stack = Some(Box::new_uninit_slice(spec.size.unwrap_or(STACK)));
        arm(&mut context, entry, arg);
        Ok(context)
    }

    unsafe fn rearm(
        &self,
        context: &mut UcontextContext,
        entry: Entry<UcontextContext>,
        arg: *mut (),
    ) -> Result<(), EngineError> {
        arm(context, entry, arg);
        Ok(())
    }

    fn adopt_thread(&self) -> Result<UcontextContext, EngineError> {
        Ok(UcontextContext {
            saved: Box::new(UnsafeCell::new(MaybeUninit::zeroed())),
            stack: None,
            start: Box::new(Start {
                entry: nothing,
                arg: std::ptr::null_mut(),
            }),
        })
    }

    unsafe fn switch(&self, from: *mut UcontextContext, to: *mut UcontextContext) {
        // SAFETY: the contract of `switch`.
        unsafe { libc::swapcontext((*from).saved.get().cast(), (*to).saved.get().cast()) };
    }

    unsafe fn finish(&self) {}

    unsafe fn retire(&self, _context: UcontextContext) {}

    fn stack_range(&self, context: &UcontextContext) -> Option<Range<usize>> {
        context.stack.as_ref().map(|stack| {
            let range = stack.as_ptr_range();
            range.start as usize..range.end as usize
        })
    }

    fn saved_sp(&self, context: &UcontextContext) -> Option<usize> {
        // SAFETY: of a context that does not run, which is what the caller is told to ask for; a
        // number in any case.
        context.stack.as_ref().map(|_| unsafe {
            (*context.saved.get().cast::<libc::ucontext_t>())
                .uc_mcontext
                .gregs[libc::REG_RSP as usize] as usize
        })
    }
}
