//! The context switch on x86-64, inlined where it is called: two registers and an address are saved, thread pointer and stack pointer
//! exchanged.
//!
//! **What is saved.** The block of assembly says that it destroys every register, so the compiler saves exactly those that are in
//! use there, and a switch in a function that holds little costs little. Two it cannot be told about, `rbx` and `rbp`; they are
//! saved here, on the stack, where a collector that scans it finds them. Of the floating-point environment neither the
//! rounding mode nor the exception flags (mxcsr, x87 control word) are saved: the calling convention makes them the callee's to keep (psABI,
//! 3.2.1), Rust code may not change them, and C code that does must change them back before it calls anything that may switch.
//!
//! **The stack pointer does not move** until it is exchanged: the three words are written below it, in the red zone, which signal
//! handlers leave alone, and which the compiler does not use in a function with such a block. So what the compiler tells
//! unwinders about the function holds at every instruction of the block, and at the place where a parked context goes on, with
//! `rbx`, `rbp` and the stack pointer restored, as anywhere else in the function.
//!
//! **Order.** All that is needed is in registers before anything changes; then the thread pointer is written and
//! the stack pointer next, so there is exactly one instruction boundary at which a signal handler can find the new
//! context's thread-locals on the old context's stack. That is harmless: both contexts belong to this thread at
//! that moment (the old one is published by the new one, afterwards), and a handler without `SA_ONSTACK` pushes
//! its frame below the red zone of the old one, where nothing lives. Whoever asks in a handler which context runs must
//! accept either answer there; the overflow handler asks both pointers. The opposite order would be as good.
//!
//! **A jump, and no call.** Where the switch is inlined there is neither a call nor a return for the processor's return predictor to lose
//! count of. The jump goes where the context entered left off: for contexts that all park in one place that is always the same
//! address, and for a pair that takes turns one for each of the two jumps.

use core::arch::{asm, naked_asm};
use core::mem::offset_of;

use crate::context::{Context, Saved, Start};

/// The first function of a context. What it returns is the successor: the context to switch to for good.
///
/// It must not unwind (that aborts), and it must be done with its stack and its thread-locals when it returns.
pub type Entry = unsafe extern "C" fn(arg: *mut ()) -> *const Context;

/// How the thread pointer is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Means {
    /// `wrfsbase`, where the kernel allows it to programs (Linux 5.9, `HWCAP2_FSGSBASE`).
    Instruction,
    /// `arch_prctl(ARCH_SET_FS)`, a system call, where it does not.
    SystemCall,
    /// Not at all: contexts share the thread-locals of the thread that runs them.
    None,
}

/// Switches between contexts, in the one way that was chosen for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switcher {
    means: Means,
}

/// The switch, given how to load and to write the thread pointer. `rdx` holds the new stack pointer all the way.
macro_rules! switch_asm {
    ($from:expr, $to:expr, load: [$($load:literal),*], write: [$($write:literal),*], $($operands:tt)*) => {
        asm!(
            "lea rax, [rip + 2f]",
            "mov [rsp - {saved} + {resume_at}], rax",
            "mov [rsp - {saved} + {rbx}], rbx",
            "mov [rsp - {saved} + {rbp}], rbp",
            "mov rdx, [rsi + {sp}]",
            "mov [rdi + {sp}], rsp",
            $($load,)*
            "mov r8, [rdx - {saved} + {resume_at}]",
            "mov rbx, [rdx - {saved} + {rbx}]",
            "mov rbp, [rdx - {saved} + {rbp}]",
            $($write,)*
            "mov rsp, rdx",
            "jmp r8",
            "2:",
            sp = const offset_of!(Context, sp),
            resume_at = const offset_of!(Saved, resume_at),
            rbx = const offset_of!(Saved, rbx),
            rbp = const offset_of!(Saved, rbp),
            saved = const size_of::<Saved>(),
            $($operands)*
            inout("rdi") $from => _,
            inout("rsi") $to => _,
            out("r12") _,
            out("r13") _,
            out("r14") _,
            out("r15") _,
            clobber_abi("sysv64"),
        )
    };
}

/// `HWCAP2_FSGSBASE`, in the kernel's `arch/x86/include/uapi/asm/hwcap2.h`.
const HWCAP2_FSGSBASE: u64 = 1 << 1;
/// `ARCH_SET_FS`, in the kernel's `arch/x86/include/uapi/asm/prctl.h`.
const ARCH_SET_FS: u32 = 0x1002;

/// `ARCH_SHSTK_STATUS`, in the same header, since Linux 6.6; it writes a mask whose lowest bit is the shadow stack.
const ARCH_SHSTK_STATUS: u32 = 0x5005;

/// Whether the processor checks returns against a shadow stack, which a switch of the ordinary one does not change.
pub(crate) fn shadow_stack_enabled() -> bool {
    let mut features = 0u64;
    // SAFETY: the call writes one word, or fails on a kernel that has no shadow stacks.
    let answer =
        unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_SHSTK_STATUS, &raw mut features) };
    answer == 0 && features & 1 != 0
}

impl Switcher {
    /// Leaves the thread pointer alone.
    pub const fn shared() -> Self {
        Self { means: Means::None }
    }

    /// Changes the thread pointer by the fastest means that the kernel allows.
    pub fn per_context() -> Self {
        // SAFETY: `getauxval` only reads a table that the kernel left in the process.
        let capabilities = unsafe { libc::getauxval(libc::AT_HWCAP2) };
        if capabilities & HWCAP2_FSGSBASE != 0 {
            Self {
                means: Means::Instruction,
            }
        } else {
            Self::per_context_by_system_call()
        }
    }

    /// Changes the thread pointer by a system call; for kernels without FSGSBASE, and for testing that path.
    pub const fn per_context_by_system_call() -> Self {
        Self {
            means: Means::SystemCall,
        }
    }

    /// Whether contexts have thread-locals of their own.
    pub const fn is_per_context(self) -> bool {
        !matches!(self.means, Means::None)
    }

    /// Saves the running context in `from` and goes on with `to`. Returns when something switches back to `from`,
    /// possibly on another thread.
    ///
    /// # Safety
    ///
    /// 1. `from` is the context that runs here: the one last switched to on this thread, or adopted from it.
    /// 2. `to` has a saved stack pointer, does not run, and nobody else switches to it: it is fresh, or has been
    ///    switched away from, and not switched to since.
    /// 3. The switch away from `to`, if any, happened before this call: a release store by the context entered then,
    ///    and an acquire load here, or the like.
    /// 4. Each is valid until it is next left, and so are its stack and its thread-locals. They are pointers, not references,
    ///    because by the time this returns `to` may have ended and been freed.
    /// 5. Both are of the kind that this switcher is for (per context or shared), adopted ones included: an adopted
    ///    context is entered only on its own thread.
    /// 6. With [`shared`](Self::shared), no code above this call relies on thread-locals staying the same across
    ///    it if `from` may go on on another thread: not the compiler's cached addresses, not std, not libc.
    #[inline(always)]
    pub unsafe fn switch(self, from: *const Context, to: *const Context) {
        // SAFETY: the caller's obligations are what the three ways need.
        unsafe {
            match self.means {
                Means::Instruction => switch_asm!(
                    from, to,
                    load: ["mov rcx, [rsi + {tp}]"],
                    write: ["wrfsbase rcx"],
                    tp = const offset_of!(Context, thread_pointer),
                ),
                Means::None => switch_asm!(from, to, load: [], write: [],),
                Means::SystemCall => switch_by_system_call(from, to),
            }
        }
    }

    fn resume_function(self) -> usize {
        let function: unsafe extern "C" fn(*const Context) -> ! = match self.means {
            Means::Instruction => resume_by_instruction,
            Means::SystemCall => resume_by_system_call,
            Means::None => resume_shared,
        };
        function as usize
    }
}

impl Context {
    /// Writes the frame of a fresh context below `stack_top` and saves its address: the next switch to this context
    /// calls `entry(arg)`.
    ///
    /// # Safety
    ///
    /// 1. The context does not run, and nothing on its stack below `stack_top` is needed any more.
    /// 2. `stack_top` is a multiple of 16, and at least
    ///    [`FRESH_FRAME`](crate::context::FRESH_FRAME) bytes below it are writable.
    /// 3. `entry(arg)` may be called on that stack, on any thread that switches to it; the successor that it returns meets
    ///    obligations 2 to 5 of [`Switcher::switch`].
    pub(crate) unsafe fn write_fresh_frame(
        &self,
        switcher: Switcher,
        stack_top: *mut u8,
        entry: Entry,
        arg: *mut (),
    ) {
        debug_assert!((stack_top as usize).is_multiple_of(16));
        let prepare: unsafe extern "C" fn(libc::locale_t) -> libc::locale_t = libc::uselocale;
        let start = Start {
            entry: entry as usize,
            arg: arg.expose_provenance(),
            resume: switcher.resume_function(),
            prepare: if switcher.is_per_context() {
                prepare as usize
            } else {
                0
            },
        };
        let saved = Saved {
            resume_at: trampoline as unsafe extern "C" fn() -> ! as usize,
            rbx: 0,
            rbp: 0,
        };
        // SAFETY: obligation 2.
        unsafe {
            let above = stack_top.cast::<Start>().sub(1);
            above.write(start);
            above.cast::<Saved>().sub(1).write(saved);
            self.sp.get().write_volatile(above.cast());
        }
    }
}

/// Where a fresh context begins: sets the locale of its thread-locals to the process's, calls the entry function and goes
/// on with its successor.
///
/// `uselocale(LC_GLOBAL_LOCALE)` fills in the character tables that `isalpha` and the like read from the thread-local
/// block, as the libc does for a new thread, and undoes what an earlier user of the block chose.
#[unsafe(naked)]
unsafe extern "C" fn trampoline() -> ! {
    naked_asm!(
        // There is no caller: unwinding and backtraces end here.
        ".cfi_startproc",
        ".cfi_undefined rip",
        // A misaligned stack would fail only later, in the first spill of a vector register.
        "test rsp, 15",
        "jnz 3f",
        "mov rax, [rsp + {prepare}]",
        "test rax, rax",
        "jz 2f",
        "mov rdi, -1", // LC_GLOBAL_LOCALE
        "call rax",
        "2:",
        "mov rdi, [rsp + {arg}]",
        "call [rsp + {entry}]",
        "mov rdi, rax",
        "jmp [rsp + {resume}]",
        "3:",
        "ud2",
        ".cfi_endproc",
        prepare = const offset_of!(Start, prepare),
        arg = const offset_of!(Start, arg),
        entry = const offset_of!(Start, entry),
        resume = const offset_of!(Start, resume),
    )
}

/// Off the hot path, and not worth its room in every caller. `rax`, `rcx` and `r11` are lost to the system call, which cannot fail: it
/// refuses only addresses outside of the program's half.
#[cold]
#[inline(never)]
unsafe fn switch_by_system_call(from: *const Context, to: *const Context) {
    // SAFETY: the caller's obligations.
    unsafe {
        switch_asm!(
            from, to,
            load: ["mov rsi, [rsi + {tp}]"],
            write: ["mov edi, {set_fs}", "mov eax, {arch_prctl}", "syscall"],
            tp = const offset_of!(Context, thread_pointer),
            set_fs = const ARCH_SET_FS,
            arch_prctl = const libc::SYS_arch_prctl,
        );
    }
}

/// Goes on with the context in `rdi` without saving anything. The registers that the context entered does not expect anything in are
/// cleared: they hold what the ended one held, which the next functions would push on the stack, where a collector that scans it
/// would take it for a use.
macro_rules! resume_asm {
    ($($write_thread_pointer:literal),* ; $($operands:tt)*) => {
        naked_asm!(
            ".cfi_startproc",
            ".cfi_undefined rip",
            "mov rsi, rdi",
            "mov rdx, [rsi + {sp}]",
            $($write_thread_pointer,)*
            "mov rbx, [rdx - {saved} + {rbx}]",
            "mov rbp, [rdx - {saved} + {rbp}]",
            "xor r12d, r12d",
            "xor r13d, r13d",
            "xor r14d, r14d",
            "xor r15d, r15d",
            "mov rsp, rdx",
            "jmp [rdx - {saved} + {resume_at}]",
            ".cfi_endproc",
            sp = const offset_of!(Context, sp),
            rbx = const offset_of!(Saved, rbx),
            rbp = const offset_of!(Saved, rbp),
            saved = const size_of::<Saved>(),
            resume_at = const offset_of!(Saved, resume_at),
            $($operands)*
        )
    };
}

#[unsafe(naked)]
unsafe extern "C" fn resume_by_instruction(to: *const Context) -> ! {
    resume_asm!("mov rax, [rsi + {tp}]", "wrfsbase rax"; tp = const offset_of!(Context, thread_pointer))
}

#[unsafe(naked)]
unsafe extern "C" fn resume_by_system_call(to: *const Context) -> ! {
    resume_asm!(
        "mov rsi, [rsi + {tp}]", "mov edi, {set_fs}", "mov eax, {arch_prctl}", "syscall";
        tp = const offset_of!(Context, thread_pointer),
        set_fs = const ARCH_SET_FS,
        arch_prctl = const libc::SYS_arch_prctl,
    )
}

#[unsafe(naked)]
unsafe extern "C" fn resume_shared(to: *const Context) -> ! {
    resume_asm!(;)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// A stack of its own for a context that shares the thread's thread-locals.
    struct Bench {
        stack: Vec<u128>,
        thread: Context,
        context: Context,
        log: Cell<u64>,
    }

    impl Bench {
        fn new(entry: Entry) -> Box<Self> {
            let bench = Box::new(Self {
                stack: vec![0; 4096],
                thread: Context::adopt_thread(),
                context: Context::new(core::ptr::null_mut(), core::ptr::null_mut()),
                log: Cell::new(0),
            });
            let top = bench.stack.as_ptr_range().end as *mut u8;
            let arg = (&raw const *bench) as *mut ();
            // SAFETY: the stack is fresh and aligned; the entries below return the thread's context.
            unsafe {
                bench
                    .context
                    .write_fresh_frame(Switcher::shared(), top, entry, arg)
            };
            bench
        }

        fn enter(&self) {
            // SAFETY: the thread's context runs here, the other one is fresh or parked, both share this thread.
            unsafe { Switcher::shared().switch(&self.thread, &self.context) };
        }

        fn leave(&self) {
            // SAFETY: called on the context's stack, while the thread is parked in `enter`.
            unsafe { Switcher::shared().switch(&self.context, &self.thread) };
        }
    }

    unsafe extern "C" fn count(arg: *mut ()) -> *const Context {
        // SAFETY: `Bench::new` passes itself, which outlives the context.
        let bench = unsafe { &*arg.cast_const().cast::<Bench>() };
        // Values in callee-saved registers and on the stack must survive each switch.
        let mut sum = std::hint::black_box(0u64);
        for step in 1..=1000u64 {
            sum += std::hint::black_box(step);
            bench.log.set(sum);
            bench.leave();
        }
        &bench.thread
    }

    #[test]
    fn two_contexts_take_turns() {
        let bench = Bench::new(count);
        let mut sum = 0;
        for step in 1..=1000u64 {
            bench.enter();
            sum += step;
            assert_eq!(bench.log.get(), sum);
        }
        // The last entry ends the context, which goes on with its successor: this thread.
        bench.enter();
        assert_eq!(bench.log.get(), sum);
    }

    #[test]
    fn a_parked_context_tells_where_it_will_go_on() {
        let bench = Bench::new(count);
        // SAFETY: the context is fresh.
        let fresh = unsafe { bench.context.resume_point() };
        assert_eq!(
            fresh.instruction,
            trampoline as unsafe extern "C" fn() -> ! as usize
        );
        bench.enter();
        // SAFETY: the context is parked.
        let parked = unsafe { bench.context.resume_point() };
        assert_ne!(parked.instruction, fresh.instruction);
        assert!(parked.stack < fresh.stack);
        assert!(bench.stack.as_ptr() as usize <= parked.stack);
    }
}
