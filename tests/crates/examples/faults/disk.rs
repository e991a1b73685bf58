//! The journal's disk: a FIFO, which a thread reads and remembers, unless it is told to stall.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What the kernel holds for a reader: little, so that a stall is felt at once.
const PIPE: i32 = 4096;

/// The disk.
pub struct Disk {
    shared: Arc<Mutex<Shared>>,
    path: PathBuf,
}

struct Shared {
    stalls_until: Instant,
    /// The latest version of each key.
    versions: HashMap<u64, u64>,
}

impl Disk {
    /// Makes the FIFO, and has it read as soon as somebody writes.
    pub fn new() -> io::Result<Disk> {
        let path = std::env::temp_dir().join(format!("goruntime-journal-{}", std::process::id()));
        let name = std::ffi::CString::new(path.as_os_str().as_encoded_bytes())?;
        // SAFETY: a string that ends with a zero.
        if unsafe { libc::mkfifo(name.as_ptr(), 0o600) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let shared = Arc::new(Mutex::new(Shared {
            stalls_until: Instant::now(),
            versions: HashMap::new(),
        }));
        let (to, from) = (shared.clone(), path.clone());
        std::thread::spawn(move || {
            if let Err(error) = read(&from, &to) {
                eprintln!("the journal: {error}");
            }
        });
        Ok(Disk { shared, path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads nothing for some time.
    pub fn stall(&self, time: Duration) {
        lock(&self.shared).stalls_until = Instant::now() + time;
    }

    /// The latest version of the key.
    pub fn version(&self, key: u64) -> u64 {
        lock(&self.shared).versions.get(&key).copied().unwrap_or(0)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn lock(shared: &Mutex<Shared>) -> std::sync::MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read(path: &Path, shared: &Mutex<Shared>) -> io::Result<()> {
    let file = File::open(path)?;
    // SAFETY: a descriptor that is open. A larger pipe will do where this is refused.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETPIPE_SZ, PIPE) };
    let mut lines = BufReader::with_capacity(1024, file);
    let mut line = String::new();
    loop {
        let stall = lock(shared)
            .stalls_until
            .saturating_duration_since(Instant::now());
        std::thread::sleep(stall);
        line.clear();
        if lines.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut numbers = line.split_whitespace().map(str::parse);
        if let (Some(Ok(key)), Some(Ok(version))) = (numbers.next(), numbers.next()) {
            let mut shared = lock(shared);
            let latest = shared.versions.entry(key).or_insert(0);
            *latest = version.max(*latest);
        }
    }
}
