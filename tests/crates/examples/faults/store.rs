//! What is stored, in collected objects, and the journal that makes it last.

use goruntime::chan;
use goruntime::gc::{Array, Gc, GcPtr, Trace};
use goruntime::go;
use goruntime::sync::Mutex;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};

/// Versions that are kept of each key.
const KEPT: usize = 8;

/// Writes that are journalled at once, at most.
const BATCH: usize = 64;

/// A version of a value.
#[derive(Trace)]
pub struct Entry {
    pub version: u64,
    pub bytes: Gc<Array<u8>>,
    before: GcPtr<Entry>,
}

/// All values, each with the versions before it.
#[derive(Default)]
pub struct Store(Mutex<HashMap<u64, Gc<Entry>>>);

impl Store {
    pub fn get(&self, key: u64) -> Option<Gc<Entry>> {
        self.0.lock().get(&key).copied()
    }

    /// Stores a version, unless there is a later one: a connection that was reset may still have a write on its way when the next connection brings another.
    pub fn set(&self, key: u64, version: u64, bytes: &[u8]) {
        let bytes = Gc::bytes(bytes);
        let mut all = self.0.lock();
        let before = all.get(&key).copied();
        if before.is_some_and(|before| before.version > version) {
            return;
        }
        let entry = Gc::new(Entry {
            version,
            bytes,
            before: GcPtr::new(before),
        });
        let mut last = entry;
        for _ in 0..KEPT {
            let Some(before) = last.before.load() else {
                break;
            };
            last = before;
        }
        last.before.store(None);
        all.insert(key, entry);
    }
}

/// A write, and whom to tell when it is on the disk.
type Record = (u64, u64, chan::Sender<()>);

/// Where writes are noted before they are acknowledged.
#[derive(Clone)]
pub struct Journal(chan::Sender<Record>);

impl Journal {
    /// Waits for somebody to read it.
    pub fn open(path: &str) -> io::Result<Journal> {
        let file = File::options().write(true).open(path)?;
        let (records, queue) = chan::bounded(BATCH);
        go(move || keep(file, &queue));
        Ok(Journal(records))
    }

    /// Returns when the write is in the journal; false if it cannot be.
    pub fn note(&self, key: u64, version: u64) -> bool {
        let (done, wait) = chan::bounded(1);
        self.0.send((key, version, done)).is_ok() && wait.recv().is_ok()
    }
}

/// Writes what is there, at once, by calls that block the thread and of which the runtime is not told.
fn keep(mut file: File, queue: &chan::Receiver<Record>) {
    let (mut text, mut waiting) = (String::new(), Vec::new());
    while let Ok(first) = queue.recv() {
        let more = std::iter::from_fn(|| queue.try_recv().ok());
        for (key, version, done) in std::iter::once(first).chain(more).take(BATCH) {
            let _ = writeln!(text, "{key} {version}");
            waiting.push(done);
        }
        if file.write_all(text.as_bytes()).is_err() {
            return;
        }
        text.clear();
        for done in waiting.drain(..) {
            let _ = done.send(());
        }
    }
}
