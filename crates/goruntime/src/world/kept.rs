//! Files of `/proc` that a collection cannot do without.
//!
//! They are opened each time: a descriptor of one's own has a position of its own, and a process that was forked reads what is its own. But a server at its limit of descriptors still allocates,
//! and if nothing were collected until it has one to spare, its memory would grow meanwhile. So each file is also kept open from the start, for when no descriptor is to be had.
//!
//! Invariant: whoever has `taken` is the only user of the kept descriptor, and has looked that it still is what was opened, by this process: programs close descriptors that are not theirs, when they
//! become daemons say, and the number is then another file's. Nobody waits for `taken`, since who has it may be stopped.

use super::threads::{Fd, process};
use std::ffi::CStr;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::*};

/// A file that can be read also when there are no descriptors.
pub(super) struct Kept {
    path: &'static CStr,
    flags: i32,
    taken: AtomicBool,
    /// The descriptor, or -1; what it was when it was opened, and by which process.
    descriptor: AtomicI32,
    device: AtomicU64,
    inode: AtomicU64,
    process: AtomicI32,
}

impl Kept {
    pub(super) const fn new(path: &'static CStr, flags: i32) -> Kept {
        Kept {
            path,
            flags,
            taken: AtomicBool::new(false),
            descriptor: AtomicI32::new(-1),
            device: AtomicU64::new(0),
            inode: AtomicU64::new(0),
            process: AtomicI32::new(0),
        }
    }

    /// Keeps it open from now on, if it can be opened.
    pub(super) fn keep(&self) {
        if self.taken.swap(true, Acquire) {
            return;
        }
        if !self.is_what_was_opened()
            && let Ok(file) = Fd::open(self.path, self.flags)
            && let Some(status) = status_of(&file)
        {
            self.device.store(status.st_dev, Relaxed);
            self.inode.store(status.st_ino, Relaxed);
            self.process.store(process(), Relaxed);
            self.descriptor
                .store(ManuallyDrop::new(file).number(), Relaxed);
        }
        self.taken.store(false, Release);
    }

    /// Calls `read` with the file at its beginning.
    ///
    /// # Errors
    /// The `errno` of opening it; for want of descriptors only if it is not kept, or somebody reads what is.
    pub(super) fn with<R>(&self, read: impl FnOnce(&Fd) -> R) -> Result<R, i32> {
        match Fd::open(self.path, self.flags) {
            Ok(file) => Ok(read(&file)),
            Err(why @ (libc::EMFILE | libc::ENFILE)) => self.with_kept(read).ok_or(why),
            Err(why) => Err(why),
        }
    }

    fn with_kept<R>(&self, read: impl FnOnce(&Fd) -> R) -> Option<R> {
        if self.taken.swap(true, Acquire) {
            return None;
        }
        let file = self.file();
        let result = (self.is_what_was_opened() && file.rewind()).then(|| read(&file));
        self.taken.store(false, Release);
        result
    }

    /// The kept descriptor, which is not closed.
    fn file(&self) -> ManuallyDrop<Fd> {
        ManuallyDrop::new(Fd::own(self.descriptor.load(Relaxed)))
    }

    fn is_what_was_opened(&self) -> bool {
        self.process.load(Relaxed) == process()
            && status_of(&self.file()).is_some_and(|status| {
                (status.st_dev, status.st_ino)
                    == (self.device.load(Relaxed), self.inode.load(Relaxed))
            })
    }
}

fn status_of(file: &Fd) -> Option<libc::stat> {
    let mut status = MaybeUninit::uninit();
    // SAFETY: there is room for the structure.
    let result = unsafe { libc::fstat(file.number(), status.as_mut_ptr()) };
    // SAFETY: it was filled.
    (result == 0).then(|| unsafe { status.assume_init() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: &Fd) -> Vec<u8> {
        let mut text = [0; 64];
        let n = file.read(&mut text).unwrap();
        text[..n].to_vec()
    }

    #[test]
    fn what_is_kept_is_read_from_its_beginning_each_time() {
        static KEPT: Kept = Kept::new(c"/proc/self/cmdline", libc::O_RDONLY);
        assert!(KEPT.with_kept(read).is_none());
        KEPT.keep();
        let text = KEPT.with(read).unwrap();
        assert!(!text.is_empty());
        for _ in 0..2 {
            assert_eq!(KEPT.with_kept(read).unwrap(), text);
        }
        // One reader at a time.
        assert!(KEPT.with_kept(|_| KEPT.with_kept(read)).unwrap().is_none());
        assert_eq!(KEPT.with_kept(read).unwrap(), text);
    }

    #[test]
    fn a_number_that_is_another_file_by_now_is_not_believed() {
        static KEPT: Kept = Kept::new(c"/proc/self/cmdline", libc::O_RDONLY);
        KEPT.keep();
        let other = Fd::open(c"/dev/null", libc::O_RDONLY).unwrap();
        // SAFETY: both are open, and the first is this test's.
        unsafe { libc::dup2(other.number(), KEPT.descriptor.load(Relaxed)) };
        assert!(KEPT.with_kept(read).is_none());
        assert!(!KEPT.with(read).unwrap().is_empty());
    }
}
