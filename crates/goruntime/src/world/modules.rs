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
    /// Its thread-local storage; `None` if it has none.
    pub tls: Option<ThreadLocals>,
    /// Executable segments.
    pub code: Vec<Range<usize>>,
    /// Other readable segments: tables and constants.
    pub tables: Vec<Range<usize>>,
    /// Its `.eh_frame_hdr`, in one of those.
    pub unwind: Option<Range<usize>>,
}

/// The thread-local storage of a loaded object.
#[derive(Clone, Copy, Debug)]
pub struct ThreadLocals {
    /// The loader's number for it.
    pub id: usize,
    /// Its size.
    pub size: usize,
    /// Where the thread that made the list has it; 0 if it has none yet.
    pub own: usize,
}

/// What is remembered of the modules from one look to the next.
#[derive(Default)]
pub struct Known {
    modules: Vec<Module>,
    /// How many objects were ever loaded, and unloaded, when they were listed.
    changes: Option<(u64, u64)>,
}

/// Collects the list of modules and calls `f` with it while the loader's lock is held.
pub fn with_modules<R>(f: impl FnOnce(&[Module]) -> R) -> R {
    with_known_modules(&mut Known::default(), |modules, _| f(modules))
}

/// The same for who asks again and again: the list is made anew only if it has changed. `f` is told whether it was.
pub fn with_known_modules<R>(known: &mut Known, f: impl FnOnce(&[Module], bool) -> R) -> R {
    struct Walk<'k, F, R> {
        known: &'k mut Known,
        f: Option<F>,
        result: Option<R>,
    }

    unsafe extern "C" fn list(
        info: *mut libc::dl_phdr_info,
        _size: usize,
        data: *mut c_void,
    ) -> i32 {
        // SAFETY: `data` is the list passed below, used by this thread alone; `info` is valid for this call.
        let (modules, info) = unsafe { (&mut *data.cast::<Vec<Module>>(), &*info) };
        modules.push(describe(info));
        0
    }

    unsafe extern "C" fn outer<F: FnOnce(&[Module], bool) -> R, R>(
        info: *mut libc::dl_phdr_info,
        size: usize,
        data: *mut c_void,
    ) -> i32 {
        // SAFETY: `data` is the Walk passed below, used by this thread alone; `info` is valid for this call.
        let (walk, info) = unsafe { (&mut *data.cast::<Walk<'_, F, R>>(), &*info) };
        // A libc from before these counters has a shorter structure.
        let changes =
            (size >= size_of::<libc::dl_phdr_info>()).then_some((info.dlpi_adds, info.dlpi_subs));
        let changed = changes.is_none() || changes != walk.known.changes;
        if changed {
            walk.known.modules.clear();
            walk.known.changes = changes;
            let modules = (&raw mut walk.known.modules).cast();
            // SAFETY: the loader's lock is recursive, and held by the outer walk; the callback matches the data passed.
            unsafe { libc::dl_iterate_phdr(Some(list), modules) };
        }
        // Runs with the lock still held.
        if let Some(f) = walk.f.take() {
            walk.result = Some(f(&walk.known.modules, changed));
        }
        1 // no need to go on
    }

    fn start<F: FnOnce(&[Module], bool) -> R, R>(walk: &mut Walk<'_, F, R>) {
        let data = (walk as *mut Walk<'_, F, R>).cast();
        // SAFETY: the callback matches the data passed; a panic in `f` cannot cross the C frames: it aborts there.
        unsafe { libc::dl_iterate_phdr(Some(outer::<F, R>), data) };
    }

    let mut walk = Walk {
        known,
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
            libc::PT_TLS => {
                module.tls = Some(ThreadLocals {
                    id: info.dlpi_tls_modid,
                    size: header.p_memsz as usize,
                    own: info.dlpi_tls_data as usize,
                });
            }
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

    #[test]
    fn the_list_is_made_anew_when_an_object_was_loaded() {
        let mut known = Known::default();
        let mut look = || with_known_modules(&mut known, |modules, new| (modules.len(), new));
        let (before, new) = look();
        assert!(new);
        assert_eq!(look(), (before, false));
        // SAFETY: a library of the system, whose initialisers do no harm.
        let library = unsafe { libc::dlopen(c"libutil.so.1".as_ptr(), libc::RTLD_NOW) };
        if library.is_null() {
            return eprintln!("there is nothing to load here");
        }
        let (after, new) = look();
        assert!(new && after >= before);
        assert_eq!(look(), (after, false));
        // SAFETY: loaded above; nothing of it is used.
        unsafe { libc::dlclose(library) };
        assert!(look().1);
    }
}
