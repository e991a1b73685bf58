//! Thread-locals of a library that is opened at run time: each context gets its own on first use, and they are freed when
//! its block is used again. Alone in its process, because it watches the process's address space.

use std::alloc::Layout;
use std::cell::Cell;
use std::ffi::CString;
use std::process::Command;

use gostack::context::Context;
use gostack::execution::{ContextPool, ExecutionContext};
use gostack::os::Linux;
use gostack::stack::StackClass;
use gostack::tls::ThreadLocals;

/// Large enough to have no place among the static thread-locals, and to be missed if it leaks.
const LOCAL_BYTES: usize = 4 << 20;
const INITIAL: usize = 7;

/// `usize *local(void)`, returning the address of a thread-local of the general-dynamic model (psABI, 3.6 of the TLS
/// supplement).
const SOURCE: &str = "
    .globl local
    .type local, @function
local:
    subq $8, %rsp
    .byte 0x66
    leaq words@tlsgd(%rip), %rdi
    .value 0x6666
    rex64
    call __tls_get_addr@PLT
    addq $8, %rsp
    ret
    .section .tdata, \"awT\", @progbits
    .p2align 4
    .type words, @object
    .size words, 4194304
words:
    .quad 7
    .zero 4194296
    .section .note.GNU-stack, \"\", @progbits
";

fn open_library() -> extern "C" fn() -> *mut usize {
    let directory = std::env::temp_dir().join(format!("gostack-dynamic-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let (source, library) = (directory.join("local.s"), directory.join("liblocal.so"));
    std::fs::write(&source, SOURCE).unwrap();
    let built = Command::new("cc")
        .args(["-shared", "-nostdlib", "-o"])
        .arg(&library)
        .arg(&source)
        .status();
    assert!(
        built
            .expect("cc, the linker that Rust needs, can be run")
            .success()
    );
    let path = CString::new(library.to_str().unwrap()).unwrap();
    // SAFETY: the library has no constructors; `local` has the declared type.
    unsafe {
        let handle = libc::dlopen(path.as_ptr(), libc::RTLD_NOW);
        assert!(!handle.is_null());
        std::fs::remove_dir_all(&directory).unwrap();
        let symbol = libc::dlsym(handle, c"local".as_ptr());
        assert!(!symbol.is_null());
        std::mem::transmute::<*mut libc::c_void, extern "C" fn() -> *mut usize>(symbol)
    }
}

/// What the contexts use and fill in; all on one thread.
struct Scene {
    pool: ContextPool<Linux>,
    local: extern "C" fn() -> *mut usize,
    thread: ExecutionContext,
    address: Cell<usize>,
    found: Cell<usize>,
}

unsafe extern "C" fn use_local(scene: *mut ()) -> *const Context {
    // SAFETY: the test passes its scene, and waits.
    let scene = unsafe { &*scene.cast_const().cast::<Scene>() };
    let word = (scene.local)();
    scene.address.set(word as usize);
    // SAFETY: the context's own instance.
    unsafe {
        scene.found.set(word.replace(99));
        scene.pool.finish();
    }
    scene.thread.context()
}

fn address_space() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').next().unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn they_belong_to_the_context_and_are_freed_after_it() {
    // The pool first, so that the layout was found before the library was there.
    let pool = ContextPool::new(
        Linux::default(),
        StackClass::DEFAULT,
        ThreadLocals::per_context().unwrap(),
        Layout::new::<()>(),
    )
    .unwrap();
    let scene = Scene {
        pool,
        local: open_library(),
        thread: ExecutionContext::adopt_thread().unwrap(),
        address: Cell::new(0),
        found: Cell::new(0),
    };
    let arg = (&raw const scene).cast_mut().cast();
    let threads_own = (scene.local)();
    let mut before = 0;
    for round in 0..200 {
        // SAFETY: the entry gets the scene, and goes on with this thread, which waits.
        unsafe {
            let context = scene.pool.create(use_local, arg).unwrap();
            scene
                .pool
                .switcher()
                .switch(scene.thread.context(), context.context());
            scene.pool.retire(context);
            assert_eq!(threads_own.read(), INITIAL);
        }
        assert_eq!(scene.found.get(), INITIAL, "round {round}");
        assert_ne!(scene.address.get(), threads_own as usize);
        if round == 10 {
            before = address_space();
        }
    }
    assert!(address_space() < before + 16 * LOCAL_BYTES);
}
