//! Destructors of `pthread_setspecific` values, for contexts that end without a thread ending.
//!
//! The libc runs them when a thread exits, in a function that it does not export. The values are found through the field
//! descriptors. The destructors are in a table that has no exported name; it is found by making keys with
//! destructors that are known and looking for those among the libc's variables.

use core::ffi::c_void;
use core::mem::size_of;

use super::modules::Module;
use super::symbols::{KeyLayout, Symbols};
use super::unsupported::Unsupported;

/// A destructor as `pthread_key_create` takes it.
type Destructor = unsafe extern "C" fn(*mut c_void);

/// Times that destructors are run again for values that destructors have set (`PTHREAD_DESTRUCTOR_ITERATIONS`).
const ROUNDS: usize = 4;

/// Where the destructors of keys are.
#[derive(Debug)]
pub(super) struct Keys {
    layout: KeyLayout,
    /// From the thread pointer to the first-level table.
    specific: usize,
    /// The process-wide table.
    table: *const u8,
}

unsafe extern "C" fn first_marker(value: *mut c_void) {
    core::hint::black_box((value, 1));
}

unsafe extern "C" fn second_marker(value: *mut c_void) {
    core::hint::black_box((value, 2));
}

/// A key that is deleted when it goes out of scope.
struct MarkedKey(libc::pthread_key_t);

impl MarkedKey {
    fn new(marker: Destructor) -> Result<Self, Unsupported> {
        let mut key = 0;
        // SAFETY: `key` may be written, and the destructor has the declared type.
        match unsafe { libc::pthread_key_create(&mut key, Some(marker)) } {
            0 => Ok(Self(key)),
            errno => Err(Unsupported::Refused {
                operation: "make a key for thread-specific values",
                errno,
            }),
        }
    }
}

impl Drop for MarkedKey {
    fn drop(&mut self) {
        // SAFETY: the key was made by `new` and is deleted once.
        unsafe { libc::pthread_key_delete(self.0) };
    }
}

impl Keys {
    /// Finds the table among the variables of the libc.
    pub(super) fn find(symbols: &Symbols, libc_module: &Module) -> Result<Self, Unsupported> {
        let layout = symbols.keys;
        let markers: [Destructor; 2] = [first_marker, second_marker];
        let keys = [MarkedKey::new(markers[0])?, MarkedKey::new(markers[1])?];
        let (start, end) = libc_module.writable;
        let entry = |table: usize, which: usize| {
            table + keys[which].0 as usize * layout.key_bytes + layout.destructor
        };
        let is_marked = |address: usize, which: usize| {
            // SAFETY: called for aligned addresses within the libc's writable segments only. A relaxed, word-sized,
            // volatile load, since other threads may be writing their variables there.
            let word =
                unsafe { core::ptr::with_exposed_provenance::<usize>(address).read_volatile() };
            word == markers[which] as usize
        };
        let last = end.saturating_sub(size_of::<usize>());
        let mut tables = (start.next_multiple_of(size_of::<usize>())..=last)
            .step_by(size_of::<usize>())
            .filter(|&address| is_marked(address, 0))
            .filter_map(|address| address.checked_sub(entry(0, 0)))
            .filter(|&table| {
                (start..=last).contains(&entry(table, 1)) && is_marked(entry(table, 1), 1)
            });
        match (tables.next(), tables.next()) {
            (Some(table), None) => Ok(Self {
                layout,
                specific: symbols.specific,
                table: core::ptr::with_exposed_provenance(table),
            }),
            _ => Err(Unsupported::UnknownLayout {
                fact: "one table of keys among the libc's variables",
            }),
        }
    }

    /// Runs the destructors of the values in the block at `thread_pointer`, and clears them.
    ///
    /// # Safety
    ///
    /// 1. The block is the one that runs here.
    /// 2. Code that relies on the values does not run in this block afterwards.
    pub(super) unsafe fn run_destructors(&self, thread_pointer: *mut u8) {
        for round in 0..=ROUNDS {
            // The last round only clears: the next user of the block must not find values of this one.
            let run = round < ROUNDS;
            // SAFETY: the caller's obligations.
            if !unsafe { self.run_once(thread_pointer, run) } {
                return;
            }
        }
    }

    /// One pass over all values; whether there were any.
    ///
    /// # Safety
    ///
    /// As [`run_destructors`](Self::run_destructors).
    unsafe fn run_once(&self, thread_pointer: *mut u8, run: bool) -> bool {
        let layout = self.layout;
        let mut any = false;
        // SAFETY: the first-level table lies in the descriptor.
        let tables =
            unsafe { core::slice::from_raw_parts(self.first_level(thread_pointer), layout.tables) };
        // SAFETY: its first entry is the table in the descriptor.
        if tables[1..].iter().all(|table| table.is_null()) && unsafe { self.is_empty(tables[0]) } {
            return false;
        }
        for index in 0..layout.tables {
            // SAFETY: `Symbols::check` has seen that the first-level table lies in the descriptor; a
            // second-level table that exists has `values_per_table` values.
            let values = unsafe { self.first_level(thread_pointer).add(index).read() };
            if values.is_null() {
                continue;
            }
            for slot in 0..layout.values_per_table {
                // SAFETY: as above.
                let value = unsafe {
                    values
                        .add(slot * layout.value_bytes + layout.value)
                        .cast::<*mut c_void>()
                };
                // SAFETY: as above.
                if unsafe { value.read() }.is_null() {
                    continue;
                }
                any = true;
                let key = index * layout.values_per_table + slot;
                // SAFETY: any number may be asked for. The libc answers null for a value whose key was deleted.
                let current = unsafe { libc::pthread_getspecific(key as libc::pthread_key_t) };
                // SAFETY: as above; the destructor must find the value cleared.
                unsafe { value.write(core::ptr::null_mut()) };
                if run && !current.is_null() {
                    // SAFETY: as above.
                    unsafe { self.destroy(key, current) };
                }
            }
        }
        any
    }

    /// Whether a table has no values: the usual case, looked at without a branch for each.
    ///
    /// # Safety
    ///
    /// 1. `table` is a second-level table that nothing writes to.
    unsafe fn is_empty(&self, table: *const u8) -> bool {
        let layout = self.layout;
        let pair = size_of::<[usize; 2]>();
        if layout.value_bytes != pair {
            return false;
        }
        // SAFETY: the table has that many values, each of two words.
        let values = unsafe {
            core::slice::from_raw_parts(table.cast::<[usize; 2]>(), layout.values_per_table)
        };
        let all = values
            .iter()
            .fold([0; 2], |all, value| [all[0] | value[0], all[1] | value[1]]);
        all[layout.value / size_of::<usize>() % 2] == 0
    }

    /// Calls the destructor of a key, if it has one.
    ///
    /// # Safety
    ///
    /// 1. `key` is below the number of value slots.
    /// 2. `value` was set for it in the block that runs here, and has been cleared.
    unsafe fn destroy(&self, key: usize, value: *mut c_void) {
        // SAFETY: the process-wide table has an entry for each value slot.
        let entry = unsafe {
            self.table
                .add(key * self.layout.key_bytes + self.layout.destructor)
        };
        // SAFETY: the entry holds null or what was given to `pthread_key_create`.
        let destructor = unsafe { entry.cast::<Option<Destructor>>().read_volatile() };
        if let Some(destructor) = destructor {
            // SAFETY: this is the end of the "thread" that the value belongs to.
            unsafe { destructor(value) };
        }
    }

    /// Frees the second-level tables of a block that will not be used again.
    ///
    /// # Safety
    ///
    /// 1. Nothing runs in the block, nor will.
    pub(super) unsafe fn free_tables(&self, thread_pointer: *mut u8) {
        // The first table is part of the descriptor.
        for index in 1..self.layout.tables {
            // SAFETY: tables but the first come from the libc's `calloc`, or are null.
            unsafe {
                let table = self.first_level(thread_pointer).add(index);
                libc::free(table.read().cast());
                table.write(core::ptr::null_mut());
            }
        }
    }

    fn first_level(&self, thread_pointer: *mut u8) -> *mut *mut u8 {
        thread_pointer.wrapping_add(self.specific).cast()
    }
}
