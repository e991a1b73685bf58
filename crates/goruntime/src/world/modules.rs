//! The loaded objects of the process: their segments, their thread-local storage, and where it is written how to unwind their stacks.
//!
//! The loader's lock is held while the list is walked. The collector stops the world *inside* that walk
//! ([`with_modules`]): then no stopped thread can hold the lock, and no object can come or go before the world starts again.

use std::ffi::{CStr, c_void};
use std::ops::Range;

/// One loaded object.
#[derive(Clone, Debug, Default)]
pub struct Module {
    /// Its file; empty for the program itself.
    pub name: String,
    /// Writable segments: statics.
    pub data: Vec<Range<usize>>,
    /// The loader's number for its thread-local storage, and the size of that; `None` if it has none.
    pub tls: Option<(usize, usize)>,
    /// Executable segments.
    pub code: Vec<Range<usize>>,
    /// Other readable segments: tables and constants.
    pub tables: Vec<Range<usize>>,
    /// Its `.eh_frame_hdr`, in one of those.
    pub unwind: Option<Range<usize>>,
}

/// Collects the list of modules and calls `f` with it while the loader's lock is held.
pub fn with_modules<R>(f: impl FnOnce(&[Module]) -> R) -> R {
    struct Walk<F, R> {
        modules: Vec<Module>,
        total: usize,
        f: Option<F>,
        result: Option<R>,
    }

    unsafe extern "C" fn visit<F: FnOnce(&[Module]) -> R, R>(
        info: *mut libc::dl_phdr_info,
        _size: usize,
        data: *mut c_void,
    ) -> i32 {
        // SAFETY: `data` is the Walk passed below, used by this thread alone; `info` is valid for this call.
        let (walk, info) = unsafe { (&mut *data.cast::<Walk<F, R>>(), &*info) };
        walk.modules.push(describe(info));
        // Only the last callback knows the whole list. It runs `f` with the lock still held.
        if walk.modules.len() == walk.total
            && let Some(f) = walk.f.take()
        {
            walk.result = Some(f(&walk.modules));
        }
        0
    }

    unsafe extern "C" fn count(_: *mut libc::dl_phdr_info, _: usize, data: *mut c_void) -> i32 {
        // SAFETY: `data` is the counter passed below.
        unsafe { *data.cast::<usize>() += 1 };
        0
    }

    unsafe extern "C" fn outer<F: FnOnce(&[Module]) -> R, R>(
        _: *mut libc::dl_phdr_info,
        _: usize,
        data: *mut c_void,
    ) -> i32 {
        // SAFETY: `data` is the Walk passed below. The loader's lock is recursive, and held by the outer walk: the
        // number of objects cannot change between counting and visiting.
        unsafe {
            let walk = data.cast::<Walk<F, R>>();
            let mut total = 0usize;
            libc::dl_iterate_phdr(Some(count), (&raw mut total).cast());
            (*walk).total = total;
            (*walk).modules.reserve(total);
            libc::dl_iterate_phdr(Some(visit::<F, R>), data);
        }
        1 // no need to go on
    }

    fn start<F: FnOnce(&[Module]) -> R, R>(walk: &mut Walk<F, R>) {
        let data = (walk as *mut Walk<F, R>).cast();
        // SAFETY: the callback matches the data passed; a panic in `f` cannot cross the C frames: it aborts there.
        unsafe { libc::dl_iterate_phdr(Some(outer::<F, R>), data) };
    }

    let mut walk = Walk {
        modules: Vec::new(),
        total: 0,
        f: Some(f),
        result: None,
    };
    start(&mut walk);
    walk.result
        .expect("every process has at least one loaded object")
}

fn describe(info: &libc::dl_phdr_info) -> Module {
    let mut module = Module::default();
    if !info.dlpi_name.is_null() {
        // SAFETY: a string of the loader's, valid for this call.
        let name = unsafe { CStr::from_ptr(info.dlpi_name) };
        module.name = name.to_string_lossy().into_owned();
    }
    for i in 0..info.dlpi_phnum as usize {
        // SAFETY: the loader guarantees dlpi_phnum headers at dlpi_phdr.
        let header = unsafe { &*info.dlpi_phdr.add(i) };
        let start = (info.dlpi_addr + header.p_vaddr) as usize;
        let range = start..start + header.p_memsz as usize;
        match header.p_type {
            libc::PT_LOAD if header.p_flags & libc::PF_W != 0 => module.data.push(range),
            libc::PT_LOAD if header.p_flags & libc::PF_X != 0 => module.code.push(range),
            libc::PT_LOAD => module.tables.push(range),
            libc::PT_TLS => module.tls = Some((info.dlpi_tls_modid, header.p_memsz as usize)),
            libc::PT_GNU_EH_FRAME => module.unwind = Some(range),
            _ => {}
        }
    }
    module
}

#[cfg(test)]
mod tests {
    use super::*;

    static mut SOME_STATIC: usize = 1;

    #[test]
    fn finds_the_statics_of_this_program_and_of_libc() {
        let ours = &raw const SOME_STATIC as usize;
        let (found, modules) = with_modules(|modules| {
            let found = modules
                .iter()
                .any(|m| m.data.iter().any(|r| r.contains(&ours)));
            (found, modules.len())
        });
        assert!(found);
        assert!(modules >= 2, "the program and its libc at least");
    }
}
