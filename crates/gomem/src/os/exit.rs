//! How it is known that a thread exits: a key of thread-specific data, whose destructor the C library calls then.
//!
//! A key and not a Rust thread-local with a destructor, because registering the latter allocates, and because keys are destroyed after all of those, whose
//! destructors still allocate and free.
//!
//! # When it is too late
//!
//! The destructors of keys may allocate and set values again; they are called in up to four rounds (`PTHREAD_DESTRUCTOR_ITERATIONS`), in each in the order of the keys' numbers. A value
//! that is set in the last round behind its key's turn is forgotten. So the key is made at load and is [`LAST`]: the destructors of all keys before it come before it. The values of keys behind
//! it lie in tables that the C library allocates for a thread when it sets the first. Where this heap is the process's `malloc`, the thread has set its value by then; where it is
//! only Rust's, it may be that a thread which has never allocated sets it too late, in the last round, in the destructor of such a key.
//!
//! If the key itself has its value in such a table (there are too many), the value may be lost: to allocate the table sets it, in a table that the other then takes the place of. So
//! it is asked whether a value [is noticed](ExitKey::is_noticed).
//!
//! Behind the last round only the C library goes on, and it only frees. A value that is set then is forgotten, too: see `cache_to_free` in [`process`](crate::process).

use crate::atomic::{AtomicU32, Ordering::*};
use std::ffi::c_void;

/// The highest key whose value needs no table (`PTHREAD_KEY_2NDLEVEL_SIZE` of the GNU C library is 32).
const LAST: libc::pthread_key_t = 31;

/// A key with a destructor, which is made when it is first used.
pub(crate) struct ExitKey {
    /// Plus one; 0 before there is one.
    key: AtomicU32,
    destructor: unsafe extern "C" fn(*mut c_void),
}

impl ExitKey {
    /// A key whose destructor is called with the value that the exiting thread has set last, if that is not null.
    pub(crate) const fn new(destructor: unsafe extern "C" fn(*mut c_void)) -> ExitKey {
        ExitKey {
            key: AtomicU32::new(0),
            destructor,
        }
    }

    /// Sets the calling thread's value, which may allocate. False if there is no key, or no memory for the value.
    pub(crate) fn set(&self, value: *const c_void) -> bool {
        // SAFETY: a key that was created.
        self.get()
            .is_some_and(|key| unsafe { libc::pthread_setspecific(key, value) } == 0)
    }

    /// Whether a thread that has set its value, and that allocates, will come to the destructor.
    pub(crate) fn is_noticed(&self) -> bool {
        self.get().is_some_and(|key| key <= LAST)
    }

    /// The key, which is made if it is not there yet.
    pub(crate) fn get(&self) -> Option<libc::pthread_key_t> {
        let present = self.key.load(Acquire);
        if present != 0 {
            return Some(present - 1);
        }
        let key = self.make()?;
        match self.key.compare_exchange(0, key + 1, AcqRel, Acquire) {
            Ok(_) => Some(key),
            Err(other) => {
                delete(key);
                Some(other - 1)
            }
        }
    }

    /// Makes keys, which get the lowest numbers that are free, until one is [`LAST`] or behind it, and deletes the others.
    fn make(&self) -> Option<libc::pthread_key_t> {
        let mut below = [None; LAST as usize];
        let mut made = None;
        for place in below.iter_mut().map(Some).chain([None]) {
            let mut key = 0;
            // SAFETY: `key` is a place for a key; the destructor takes what `set` sets.
            if unsafe { libc::pthread_key_create(&mut key, Some(self.destructor)) } != 0 {
                break;
            }
            made = Some(key);
            match place {
                Some(place) if key < LAST => *place = made.take(),
                _ => break,
            }
        }
        // The highest is good enough where there are no more.
        let made = made.or_else(|| below.iter_mut().rev().find_map(Option::take));
        below.into_iter().flatten().for_each(delete);
        made
    }
}

fn delete(key: libc::pthread_key_t) {
    // SAFETY: a key that was created, and that nobody knows.
    unsafe { libc::pthread_key_delete(key) };
}
