//! What happens when a stack overflows, and when something else faults: in child processes, since they die of it.

use std::alloc::Layout;
use std::fmt::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};
use std::sync::LazyLock;

use gostack::altstack::AltStack;
use gostack::context::Context;
use gostack::execution::{ContextPool, ExecutionContext};
use gostack::os::{GuardMethod, Linux};
use gostack::overflow::{self, Overflow};
use gostack::stack::{StackClass, StackRange};
use gostack::tls::ThreadLocals;

/// Set in a child to what it should do.
const SCENE: &str = "GOSTACK_TEST_SCENE";

static POOL: LazyLock<ContextPool<Linux>> = LazyLock::new(|| {
    let scene = std::env::var(SCENE).unwrap();
    let guard_method = if scene.ends_with("protected") {
        GuardMethod::Protection
    } else {
        GuardMethod::Marker
    };
    let locals = if scene.starts_with("shared") {
        // SAFETY: one thread runs the contexts.
        unsafe { ThreadLocals::shared() }
    } else {
        ThreadLocals::per_context()
    };
    ContextPool::new(
        Linux { guard_method },
        StackClass::DEFAULT,
        locals.unwrap(),
        Layout::new::<()>(),
    )
    .unwrap()
});

fn find(addr: usize) -> Option<StackRange> {
    POOL.find(addr)
}

thread_local!(static NAME: std::cell::Cell<u32> = const { std::cell::Cell::new(0) });

fn report(overflow: &Overflow, out: &mut dyn Write) {
    let _ = writeln!(
        out,
        "goroutine {}, {:#x} below its top",
        NAME.get(),
        overflow.stack.top - overflow.address
    );
}

#[inline(never)]
fn recurse(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 16]);
    if depth == u64::MAX {
        0
    } else {
        recurse(depth + 1) + frame[3]
    }
}

#[inline(never)]
fn large_frame() -> u8 {
    let frame = std::hint::black_box([1u8; 1 << 20]);
    frame[77]
}

fn consume(value: u64) {
    std::hint::black_box(value);
}

fn null_dereference() {
    // SAFETY: none: it faults, which is the point.
    unsafe { std::hint::black_box(std::ptr::without_provenance_mut::<u64>(8)).write_volatile(1) };
}

/// Touches the guard of a stack that does not run.
fn stray_pointer() {
    unsafe extern "C" fn never(_: *mut ()) -> *const Context {
        std::process::abort()
    }
    // SAFETY: never entered.
    let other = unsafe { POOL.create(never, std::ptr::null_mut()) }.unwrap();
    let guard = std::ptr::with_exposed_provenance_mut::<u64>(other.stack_range().base + 64);
    // SAFETY: none: it faults.
    unsafe { guard.write_volatile(1) };
}

/// Touches the last byte of the guard, one below the stack.
fn one_byte_over() {
    let local = 0u8;
    let stack = POOL.find(&raw const local as usize).unwrap();
    let below = std::ptr::with_exposed_provenance_mut::<u8>(stack.limit - 1);
    // SAFETY: none: it faults.
    unsafe { below.write_volatile(1) };
}

/// Calls itself in C, which was compiled without stack probes.
fn c_recursion() {
    const SOURCE: &str = "
        int deep(int n) {
            volatile char frame[3000];
            frame[n % 3000] = 1;
            return n < 0 ? 0 : deep(n + 1) + frame[0];
        }";
    let directory = std::env::temp_dir().join(format!("gostack-overflow-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let (source, library) = (directory.join("deep.c"), directory.join("libdeep.so"));
    std::fs::write(&source, SOURCE).unwrap();
    let built = Command::new("cc")
        .args([
            "-O0",
            "-fno-stack-clash-protection",
            "-shared",
            "-fPIC",
            "-o",
        ])
        .arg(&library)
        .arg(&source)
        .status();
    assert!(built.expect("cc, the linker that Rust needs").success());
    let path = std::ffi::CString::new(library.to_str().unwrap()).unwrap();
    // SAFETY: the library has no constructors, and `deep` has the type that is given.
    unsafe {
        let handle = libc::dlopen(path.as_ptr(), libc::RTLD_NOW);
        assert!(!handle.is_null());
        std::fs::remove_dir_all(&directory).unwrap();
        let deep = libc::dlsym(handle, c"deep".as_ptr());
        assert!(!deep.is_null());
        let deep = std::mem::transmute::<*mut libc::c_void, extern "C" fn(i32) -> i32>(deep);
        consume(deep(0) as u64);
    }
}

/// The program's own handler, there before ours.
extern "C" fn earlier(_: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: says so, and ends the process.
    unsafe {
        let said = b"the program's own handler";
        libc::write(2, said.as_ptr().cast(), said.len());
        libc::_exit(42);
    }
}

unsafe extern "C" fn act(scene: *mut ()) -> *const Context {
    NAME.set(17);
    // SAFETY: `stage` passes these, and waits.
    let (scene, thread) = unsafe { &*scene.cast_const().cast::<(String, ExecutionContext)>() };
    match scene.as_str() {
        "recursion" | "recursion protected" | "shared recursion" => consume(recurse(0)),
        "large frame" => consume(large_frame().into()),
        "null" | "null by default" | "null, handled" => null_dereference(),
        "one byte" => one_byte_over(),
        "c function" => c_recursion(),
        "recursion, handled" => consume(recurse(0)),
        "stray" => stray_pointer(),
        other => panic!("no scene {other}"),
    }
    thread.context()
}

/// The child's part: does as the environment says.
#[test]
fn stage() {
    let Ok(scene) = std::env::var(SCENE) else {
        return;
    };
    // A core file per scene would be of no use.
    // SAFETY: lowers a limit of this process.
    unsafe {
        libc::setrlimit(
            libc::RLIMIT_CORE,
            &libc::rlimit {
                rlim_cur: 0,
                rlim_max: 0,
            },
        )
    };
    LazyLock::force(&POOL);
    if scene.ends_with("by default") {
        // std has put its own handler there.
        // SAFETY: restores the default action.
        unsafe { libc::signal(libc::SIGSEGV, libc::SIG_DFL) };
    }
    if scene.ends_with("handled") {
        let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) = earlier;
        // SAFETY: the handler has the type that SA_SIGINFO asks for; the rest is zero.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            assert_eq!(
                libc::sigaction(libc::SIGSEGV, &action, std::ptr::null_mut()),
                0
            );
        }
    }
    // SAFETY: `find` and `report` do loads and formatting only.
    unsafe { overflow::install(find, report) }.unwrap();
    // SAFETY: as above.
    let again = unsafe { overflow::install(find, report) };
    assert_eq!(again.unwrap_err().errno, libc::EALREADY);
    let _stack = AltStack::install().unwrap();
    match scene.as_str() {
        "plain thread" => consume(recurse(0)),
        "sent by default" => {
            // SAFETY: sends this process a signal.
            unsafe { libc::raise(libc::SIGSEGV) };
        }
        _ => {
            let mut stage = (scene, ExecutionContext::adopt_thread().unwrap());
            let arg = (&raw mut stage).cast();
            // SAFETY: `act` gets what it expects and returns this thread's context, which waits for it.
            unsafe {
                let context = POOL.create(act, arg).unwrap();
                POOL.switcher().switch(stage.1.context(), context.context());
                POOL.retire(context);
            }
        }
    }
}

fn play(scene: &str) -> (Output, String) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["stage", "--exact", "--nocapture", "--test-threads=1"])
        .env(SCENE, scene)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, errors)
}

fn assert_reported(scene: &str, name: &str) {
    let (output, errors) = play(scene);
    assert_eq!(
        output.status.signal(),
        Some(libc::SIGABRT),
        "{scene}: {errors}"
    );
    assert!(
        errors.contains("fatal error: stack overflow"),
        "{scene}: {errors}"
    );
    assert!(
        errors.contains("stack of 245760 bytes [0x"),
        "{scene}: {errors}"
    );
    assert!(errors.contains(name), "{scene}: {errors}");
}

#[test]
fn deep_recursion_is_named() {
    assert_reported("recursion", "goroutine 17");
}

#[test]
fn deep_recursion_is_named_with_guards_by_protection() {
    assert_reported("recursion protected", "goroutine 17");
}

#[test]
fn deep_recursion_is_named_where_thread_locals_are_shared() {
    assert_reported("shared recursion", "goroutine 17");
}

#[test]
fn a_frame_larger_than_the_stack_is_named() {
    assert_reported("large frame", "goroutine 17");
}

#[test]
fn one_byte_too_many_is_named() {
    assert_reported("one byte", "goroutine 17, 0x3c001 below its top");
}

#[test]
fn a_c_function_that_outgrows_the_stack_is_named() {
    assert_reported("c function", "goroutine 17");
}

#[test]
fn a_handler_that_was_there_before_is_called_for_the_rest() {
    assert_reported("recursion, handled", "goroutine 17");
    let (output, errors) = play("null, handled");
    assert_eq!(output.status.code(), Some(42), "{errors}");
    assert!(errors.contains("the program's own handler"), "{errors}");
    assert!(!errors.contains("stack overflow"), "{errors}");
}

#[test]
fn other_faults_keep_their_meaning() {
    for scene in ["null", "null by default", "stray", "sent by default"] {
        let (output, errors) = play(scene);
        assert_eq!(
            output.status.signal(),
            Some(libc::SIGSEGV),
            "{scene}: {errors}"
        );
        assert!(!errors.contains("stack overflow"), "{scene}: {errors}");
    }
}

#[test]
fn std_still_reports_the_overflow_of_a_plain_thread() {
    let (output, errors) = play("plain thread");
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{errors}");
    assert!(errors.contains("has overflowed its stack"), "{errors}");
    assert!(!errors.contains("is in its guard"), "{errors}");
}
