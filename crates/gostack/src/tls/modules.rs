//! The loaded objects with thread-locals: where each one's segment lies in a block, and what it starts out as.
//!
//! `dl_iterate_phdr` tells for each object the initial image and where the *calling* thread's instance is. An instance within
//! the static area of the calling thread's block is at the same distance from the thread pointer in every block; one
//! elsewhere was allocated by the dynamic loader on first use, and a new block starts without it.

use core::ffi::{c_int, c_void};

use crate::context::thread_pointer;

/// One object's static thread-locals.
#[derive(Debug, Clone, Copy)]
pub(super) struct Module {
    /// From the thread pointer to the segment; negative on x86-64.
    pub(super) offset: isize,
    /// Bytes of the segment, of which the image initialises the first.
    pub(super) bytes: usize,
    /// The initial image, immutable once the object is loaded.
    pub(super) image: *const u8,
    /// Bytes of the image; the rest starts as zero.
    pub(super) image_bytes: usize,
    /// The object's writable segments, as addresses: start of the lowest, end of the highest.
    pub(super) writable: (usize, usize),
}

impl Module {
    pub(super) fn contains(&self, offset: isize) -> bool {
        self.offset <= offset && offset < self.offset + self.bytes as isize
    }

    /// Puts the segment of the block at `thread_pointer` back to its initial state.
    ///
    /// # Safety
    ///
    /// 1. `thread_pointer` is that of a block laid out for this process, in which nothing runs.
    pub(super) unsafe fn reset(&self, thread_pointer: *mut u8) {
        // SAFETY: by the obligation the segment lies in the block; the image is part of a loaded object, which static
        // thread-locals keep from being unloaded.
        unsafe {
            let segment = thread_pointer.offset(self.offset);
            core::ptr::copy_nonoverlapping(self.image, segment, self.image_bytes);
            core::ptr::write_bytes(
                segment.add(self.image_bytes),
                0,
                self.bytes - self.image_bytes,
            );
        }
    }
}

struct Collection {
    below: usize,
    thread_pointer: usize,
    modules: Vec<Module>,
}

/// The objects whose thread-locals lie within `below` bytes under the thread pointer.
pub(super) fn with_static_thread_locals(below: usize) -> Vec<Module> {
    let mut collection = Collection {
        below,
        thread_pointer: thread_pointer() as usize,
        modules: Vec::new(),
    };
    // SAFETY: the callback has the declared type and does not unwind; the data outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(collect), (&raw mut collection).cast()) };
    collection.modules
}

unsafe extern "C" fn collect(
    info: *mut libc::dl_phdr_info,
    _: libc::size_t,
    data: *mut c_void,
) -> c_int {
    // SAFETY: the loader passes a valid record, and `data` as it was given.
    let (info, collection) = unsafe { (&*info, &mut *data.cast::<Collection>()) };
    // SAFETY: the record's program headers are those of a loaded object.
    let headers =
        unsafe { core::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    let Some(tls) = headers.iter().find(|header| header.p_type == libc::PT_TLS) else {
        return 0;
    };
    let instance = info.dlpi_tls_data as usize;
    let lowest = collection.thread_pointer - collection.below;
    if instance < lowest || instance >= collection.thread_pointer {
        return 0;
    }
    let writable = headers
        .iter()
        .filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W != 0)
        .map(|header| {
            let start = info.dlpi_addr.wrapping_add(header.p_vaddr) as usize;
            (start, start + header.p_memsz as usize)
        })
        .reduce(|all, one| (all.0.min(one.0), all.1.max(one.1)))
        .unwrap_or((0, 0));
    collection.modules.push(Module {
        offset: instance as isize - collection.thread_pointer as isize,
        bytes: tls.p_memsz as usize,
        image: core::ptr::with_exposed_provenance(info.dlpi_addr.wrapping_add(tls.p_vaddr) as usize),
        image_bytes: tls.p_filesz as usize,
        writable,
    });
    0
}
