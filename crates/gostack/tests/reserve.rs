//! Contexts whose frames lie where the libc reserves room for thread-locals of later libraries. Alone in its process, because from then on no such library
//! can be opened, and because it counts pages.

use std::alloc::Layout;
use std::cell::Cell;
use std::ffi::{CStr, CString};
use std::path::{Path, PathBuf};
use std::process::Command;

use gostack::context::Context;
use gostack::execution::{ContextPool, ExecutionContext};
use gostack::os::Linux;
use gostack::stack::StackClass;
use gostack::tls::{ThreadLocals, TlsLayout};

const PAGE: usize = 4096;

/// A library with a thread-local of one word that must be static (psABI, initial-exec), or that is reached by the loader's function.
fn library(directory: &Path, is_static: bool) -> PathBuf {
    let body = if is_static {
        "movq word@gottpoff(%rip), %rax\n addq %fs:0, %rax\n ret"
    } else {
        "subq $8, %rsp\n .byte 0x66\n leaq word@tlsgd(%rip), %rdi\n .value 0x6666\n rex64\n call __tls_get_addr@PLT\n addq $8, %rsp\n ret"
    };
    let text = format!(
        ".globl local\n.type local, @function\nlocal:\n {body}\n\
         .section .tdata, \"awT\", @progbits\n.p2align 3\n.type word, @object\n.size word, 8\nword: .quad 7\n\
         .section .note.GNU-stack, \"\", @progbits\n"
    );
    let name = if is_static { "static" } else { "dynamic" };
    let (source, library) = (
        directory.join(format!("{name}.s")),
        directory.join(format!("lib{name}.so")),
    );
    std::fs::write(&source, text).unwrap();
    let built = Command::new("cc")
        .args(["-shared", "-nostdlib", "-o"])
        .arg(&library)
        .arg(&source)
        .status();
    assert!(built.expect("cc, the linker that Rust needs").success());
    library
}

/// Opens it, or says what the loader says.
fn open(library: &Path) -> Result<extern "C" fn() -> *mut usize, String> {
    let path = CString::new(library.to_str().unwrap()).unwrap();
    // SAFETY: the library has no constructors; `local` has the declared type.
    unsafe {
        let handle = libc::dlopen(path.as_ptr(), libc::RTLD_NOW);
        if handle.is_null() {
            return Err(CStr::from_ptr(libc::dlerror()).to_str().unwrap().to_owned());
        }
        let symbol = libc::dlsym(handle, c"local".as_ptr());
        assert!(!symbol.is_null());
        Ok(std::mem::transmute::<
            *mut libc::c_void,
            extern "C" fn() -> *mut usize,
        >(symbol))
    }
}

thread_local!(static WORD: Cell<usize> = const { Cell::new(3) });

/// What contexts and their thread share.
struct Scene {
    pool: ContextPool<Linux>,
    thread: ExecutionContext,
    own: Cell<*const ExecutionContext>,
    /// How deep to call, in frames of 64 bytes or so, before parking.
    depth: usize,
    local: extern "C" fn() -> *mut usize,
}

impl Scene {
    fn park(&self) {
        let own = ExecutionContext::context_ptr(self.own.get());
        // SAFETY: the context that runs here, and the thread, which waits.
        unsafe { self.pool.switcher().switch(own, self.thread.context()) };
    }
}

/// Parks at the bottom, and checks each frame on the way back.
#[inline(never)]
fn descend(scene: &Scene, depth: usize) -> usize {
    let frame = std::hint::black_box([depth; 4]);
    if depth == 0 {
        scene.park();
    } else {
        descend(scene, depth - 1);
    }
    assert_eq!(std::hint::black_box(frame), [depth; 4]);
    depth
}

unsafe extern "C" fn entry(scene: *mut ()) -> *const Context {
    // SAFETY: the test passes its scene, and waits.
    let scene = unsafe { &*scene.cast_const().cast::<Scene>() };
    assert_eq!(WORD.replace(scene.depth), 3);
    // SAFETY: the context's own instance.
    unsafe { assert_eq!((scene.local)().replace(9), 7) };
    descend(scene, scene.depth);
    assert_eq!(WORD.get(), scene.depth);
    // SAFETY: as above; and the context ends.
    unsafe {
        assert_eq!((scene.local)().read(), 9);
        scene.pool.finish();
    }
    scene.thread.context()
}

/// Pages of the stack at `top` that are in memory.
fn resident(bottom: usize, top: usize) -> usize {
    let mut pages = vec![0u8; (top - bottom) / PAGE];
    // SAFETY: the range is mapped, and there is a byte for each page.
    let told = unsafe { libc::mincore(bottom as *mut _, top - bottom, pages.as_mut_ptr()) };
    assert_eq!(told, 0);
    pages.iter().filter(|&page| page & 1 == 1).count()
}

#[test]
fn frames_lie_in_the_reserve_and_no_library_is_given_it() {
    let directory = std::env::temp_dir().join(format!("gostack-reserve-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let (is_static, dynamic) = (library(&directory, true), library(&directory, false));

    let layout = TlsLayout::discover_without_reserve().unwrap();
    // Again, and as everybody else asks.
    for again in [TlsLayout::discover_without_reserve(), TlsLayout::discover()] {
        assert!(std::ptr::eq(layout, again.unwrap()));
    }
    let block = layout.block_bytes();
    assert!(block < PAGE - 1024, "a block of {block} bytes");

    let refusal = open(&is_static).map(drop).unwrap_err();
    assert!(refusal.contains("static TLS"), "{refusal}");
    let local = open(&dynamic).unwrap();
    std::fs::remove_dir_all(&directory).unwrap();

    let locals = ThreadLocals::per_context().unwrap();
    let pool = ContextPool::new(
        Linux::default(),
        StackClass::DEFAULT,
        locals,
        Layout::new::<()>(),
    );
    let mut scene = Scene {
        pool: pool.unwrap(),
        thread: ExecutionContext::adopt_thread().unwrap(),
        own: Cell::new(std::ptr::null()),
        depth: 0,
        local,
    };
    // Twice each, so that used contexts are used again.
    for depth in [0, 0, 100, 100, 1, 1000, 0] {
        scene.depth = depth;
        let arg = (&raw const scene).cast_mut().cast();
        // SAFETY: the entry gets the scene, and goes on with this thread, which waits; the contexts stay where they are.
        unsafe {
            let one = scene.pool.create(entry, arg).unwrap();
            let two = scene.pool.create(entry, arg).unwrap();
            let switch = |to: &ExecutionContext| {
                scene.own.set(to);
                scene
                    .pool
                    .switcher()
                    .switch(scene.thread.context(), to.context());
            };
            switch(&one);
            switch(&two);
            switch(&one);
            switch(&two);
            scene.pool.retire(one);
            scene.pool.retire(two);
        }
        // A new thread's block is laid out by the libc, and not touched by what lies in ours.
        std::thread::spawn(|| assert_eq!(WORD.get(), 3))
            .join()
            .unwrap();
    }

    // A fresh one that does not go deep is one page.
    unsafe extern "C" fn shallow(scene: *mut ()) -> *const Context {
        // SAFETY: as in `entry`.
        let scene = unsafe { &*scene.cast_const().cast::<Scene>() };
        scene.park();
        scene.thread.context()
    }
    let arg = (&raw const scene).cast_mut().cast();
    // SAFETY: as above.
    unsafe {
        let mut idle = Vec::new();
        scene.pool.take_idle(usize::MAX, &mut idle);
        let fresh = scene.pool.create(shallow, arg).unwrap();
        scene.own.set(&fresh);
        let switcher = scene.pool.switcher();
        switcher.switch(scene.thread.context(), fresh.context());
        let range = fresh.stack_range();
        assert_eq!(resident(range.limit, range.top), 1);
        switcher.switch(scene.thread.context(), fresh.context());
        scene.pool.retire(fresh);
        scene.pool.retire_many(idle);
    }
}
