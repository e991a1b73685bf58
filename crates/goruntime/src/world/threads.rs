//! The threads of this process, as the kernel lists them.
//!
//! The collector has to find threads that never called the runtime, so it asks the kernel (`/proc/self/task`) rather
//! than keep a registry. Everything here may run while other threads are stopped at arbitrary instructions:
//! no libc call that takes a lock (`opendir` allocates), only system calls into buffers of our own.

use super::kept::Kept;
use std::ffi::CStr;

/// A kernel thread id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tid(pub i32);

impl Tid {
    /// The calling thread's id, asked of the kernel: a goroutine's thread control block does not hold it.
    #[inline]
    pub fn current() -> Tid {
        // SAFETY: gettid has no arguments and cannot fail.
        Tid(unsafe { libc::syscall(libc::SYS_gettid) } as i32)
    }
}

/// The process's own number, asked of the kernel each time: a child that was forked has another.
pub(super) fn process() -> i32 {
    // SAFETY: getpid has no arguments and cannot fail.
    unsafe { libc::getpid() }
}

/// Calls `each` with every thread of the process, the calling one included.
///
/// Threads that start or end during the walk may or may not be seen.
///
/// # Errors
/// The `errno` of opening or reading `/proc/self/task`.
pub fn for_each(mut each: impl FnMut(Tid)) -> Result<(), i32> {
    LIST.with(|dir| read_list(dir, &mut each))?
}

/// The list of threads.
pub(super) static LIST: Kept = Kept::new(c"/proc/self/task", libc::O_RDONLY | libc::O_DIRECTORY);

fn read_list(dir: &Fd, each: &mut impl FnMut(Tid)) -> Result<(), i32> {
    let mut buf = Aligned([0u8; 4096]);
    loop {
        // SAFETY: the buffer is ours, writable and of the length given; alignment is that of linux_dirent64.
        let n =
            unsafe { libc::syscall(libc::SYS_getdents64, dir.0, buf.0.as_mut_ptr(), buf.0.len()) };
        if n < 0 {
            return Err(errno());
        }
        if n == 0 {
            return Ok(());
        }
        let mut at = 0;
        while at < n as usize {
            // linux_dirent64: u64 inode, i64 offset, u16 record length, u8 type, name.
            let record = u16::from_ne_bytes([buf.0[at + 16], buf.0[at + 17]]) as usize;
            let name = &buf.0[at + 19..at + record];
            if let Some(tid) = parse_decimal(name) {
                each(Tid(tid as i32));
            }
            at += record;
        }
    }
}

/// What `/proc` says of a thread that does not answer the stop signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unresponsive {
    /// It has exited, or is a zombie: it runs no more code.
    Gone,
    /// It sleeps in the kernel with the signal blocked. One that is not of this runtime holds no collected object then: whoever blocks the signal takes that on.
    Blocks,
    /// It sleeps in the C library, which has blocked all signals, its own too, as a program cannot: a thread that has not begun yet, or has ended but for that. What it waits for may be
    /// in the hands of one that stands still.
    InLibrary,
    /// It has merely not got round to it; or that is all that can be found out.
    Slow,
}

/// Why `tid` has not answered `signal`.
pub fn why_unresponsive(tid: Tid, signal: i32) -> Unresponsive {
    let mut path = [0u8; 48];
    let mut buf = [0u8; 4096];
    let n = match read_file(task_path(&mut path, tid, b"/status\0"), &mut buf) {
        Ok(n) => n,
        Err(libc::ENOENT | libc::ESRCH) => return Unresponsive::Gone,
        // For want of descriptors, say: then nothing is known, and whoever was not seen to be gone may run.
        Err(_) => return Unresponsive::Slow,
    };
    judge(&buf[..n], signal)
}

/// What a thread's `status` file says of why it does not answer `signal`.
pub fn judge(status: &[u8], signal: i32) -> Unresponsive {
    let state = field(status, b"State:").and_then(|v| v.first().copied());
    match state {
        None | Some(b'Z' | b'X' | b'x') => return Unresponsive::Gone,
        Some(b'S') => {}
        Some(_) => return Unresponsive::Slow,
    }
    let blocked = field(status, b"SigBlk:").and_then(parse_hex).unwrap_or(0);
    /// The first of the signals that the C library keeps for itself, which `pthread_sigmask` does not block.
    const LIBRARY: i32 = 32;
    let blocks = |signal: i32| blocked & 1 << (signal - 1) != 0;
    match (blocks(signal), blocks(LIBRARY)) {
        (true, true) => Unresponsive::InLibrary,
        (true, false) => Unresponsive::Blocks,
        (false, _) => Unresponsive::Slow,
    }
}

/// The name of a thread as `top -H` shows it, into `buf`; empty when it is gone.
pub fn name_of(tid: Tid, buf: &mut [u8; 32]) -> &str {
    let mut path = [0u8; 48];
    let n = read_file(task_path(&mut path, tid, b"/comm\0"), buf).unwrap_or(0);
    let text = &buf[..n];
    let end = text.iter().position(|&b| b == b'\n').unwrap_or(n);
    std::str::from_utf8(&text[..end]).unwrap_or("?")
}

/// Reads a small file whole (or as much as fits); returns the number of bytes.
pub(super) fn read_file(path: &CStr, buf: &mut [u8]) -> Result<usize, i32> {
    let file = Fd::open(path, libc::O_RDONLY)?;
    let mut len = 0;
    while len < buf.len() {
        match file.read(&mut buf[len..])? {
            0 => break,
            n => len += n,
        }
    }
    Ok(len)
}

/// `_IOWR(kind, number, T)`: the number of a request that takes a `T` both ways.
pub(super) const fn ioctl_number<T>(kind: u8, number: u8) -> libc::c_ulong {
    let size = size_of::<T>() as libc::c_ulong;
    3 << 30 | size << 16 | (kind as libc::c_ulong) << 8 | number as libc::c_ulong
}

/// An open descriptor, closed when dropped.
pub(super) struct Fd(i32);

impl Fd {
    pub(super) fn open(path: &CStr, flags: i32) -> Result<Fd, i32> {
        // SAFETY: the path is a C string; open takes no lock in libc.
        let fd = unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC) };
        if fd < 0 { Err(errno()) } else { Ok(Fd(fd)) }
    }

    /// Takes over a descriptor that is nobody else's.
    pub(super) fn own(fd: i32) -> Fd {
        Fd(fd)
    }

    pub(super) fn number(&self) -> i32 {
        self.0
    }

    /// Has it read from its beginning again; false if it cannot be.
    pub(super) fn rewind(&self) -> bool {
        // SAFETY: has no pointers.
        unsafe { libc::lseek(self.0, 0, libc::SEEK_SET) == 0 }
    }

    /// An `ioctl` that takes a pointer to its argument.
    pub(super) fn ioctl<T>(&self, request: libc::c_ulong, argument: &mut T) -> Result<(), i32> {
        self.ioctl_for(request, argument).map(drop)
    }

    /// The same of one that answers with a number.
    pub(super) fn ioctl_for<T>(
        &self,
        request: libc::c_ulong,
        argument: &mut T,
    ) -> Result<usize, i32> {
        loop {
            // SAFETY: the caller passes the structure that the request is about; its size is part of the request's number.
            let n = unsafe { libc::ioctl(self.0, request, std::ptr::from_mut(argument)) };
            if n >= 0 {
                return Ok(n as usize);
            }
            if errno() != libc::EINTR {
                return Err(errno());
            }
        }
    }

    pub(super) fn read(&self, buf: &mut [u8]) -> Result<usize, i32> {
        loop {
            // SAFETY: the buffer is ours and of the length given.
            let n = unsafe { libc::read(self.0, buf.as_mut_ptr().cast(), buf.len()) };
            if n >= 0 {
                return Ok(n as usize);
            }
            if errno() != libc::EINTR {
                return Err(errno());
            }
        }
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        // SAFETY: the descriptor is ours and closed once.
        unsafe { libc::close(self.0) };
    }
}

#[repr(align(8))]
struct Aligned([u8; 4096]);

/// Calls `f` and leaves errno as it was: for code that a signal puts between two lines of a program.
pub(crate) fn keeping_errno(f: impl FnOnce()) {
    let before = errno();
    f();
    // SAFETY: the location is the calling context's own.
    unsafe { *libc::__errno_location() = before };
}

fn errno() -> i32 {
    // SAFETY: the location is the calling context's own.
    unsafe { *libc::__errno_location() }
}

fn task_path<'a>(buf: &'a mut [u8; 48], tid: Tid, tail: &[u8]) -> &'a CStr {
    let prefix = b"/proc/self/task/";
    buf[..prefix.len()].copy_from_slice(prefix);
    let mut digits = [0u8; 10];
    let mut n = tid.0 as u32;
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    let number = &digits[start..];
    let mid = prefix.len() + number.len();
    buf[prefix.len()..mid].copy_from_slice(number);
    buf[mid..mid + tail.len()].copy_from_slice(tail);
    CStr::from_bytes_until_nul(&buf[..]).unwrap_or(c"/dev/null")
}

fn parse_decimal(name: &[u8]) -> Option<u32> {
    let end = name.iter().position(|&b| b == 0)?;
    std::str::from_utf8(&name[..end]).ok()?.parse().ok()
}

fn parse_hex(value: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(value).ok()?, 16).ok()
}

/// The value of a `Key:\tvalue` line, trimmed.
fn field<'a>(text: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    text.split(|&b| b == b'\n')
        .find_map(|line| line.strip_prefix(key))
        .map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_this_thread_and_another() {
        let (tx, rx) = std::sync::mpsc::channel();
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || {
            tx.send(Tid::current()).unwrap();
            let _ = wait.recv();
        });
        let other_tid = rx.recv().unwrap();
        let mut seen = Vec::new();
        for_each(|tid| seen.push(tid)).unwrap();
        assert!(seen.contains(&Tid::current()));
        assert!(seen.contains(&other_tid));
        drop(done);
        other.join().unwrap();
    }

    #[test]
    fn tells_gone_from_slow() {
        let gone = std::thread::spawn(Tid::current).join().unwrap();
        // The kernel may take a moment to unlink the thread after join returns.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while why_unresponsive(gone, libc::SIGURG) != Unresponsive::Gone {
            assert!(std::time::Instant::now() < deadline);
            std::thread::yield_now();
        }
        assert_eq!(
            why_unresponsive(Tid::current(), libc::SIGURG),
            Unresponsive::Slow
        );
    }

    #[test]
    fn tells_whose_block_it_is() {
        let why = |state: &str, blocked: &str| {
            judge(
                format!("Name:\tx\nState:\t{state}\nSigBlk:\t{blocked}\n").as_bytes(),
                libc::SIGURG,
            )
        };
        assert_eq!(why("S (sleeping)", "0000000000000000"), Unresponsive::Slow);
        // SIGURG alone; all that a program can block; all.
        assert_eq!(
            why("S (sleeping)", "0000000000400000"),
            Unresponsive::Blocks
        );
        assert_eq!(
            why("S (sleeping)", "fffffffe7ffbfeff"),
            Unresponsive::Blocks
        );
        assert_eq!(
            why("S (sleeping)", "ffffffffffffffff"),
            Unresponsive::InLibrary
        );
        assert_eq!(why("R (running)", "ffffffffffffffff"), Unresponsive::Slow);
        assert_eq!(why("Z (zombie)", "0000000000000000"), Unresponsive::Gone);
    }

    #[test]
    fn knows_a_thread_that_blocks_the_signal() {
        let (tx, rx) = std::sync::mpsc::channel();
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || {
            // SAFETY: plain signal-set calls on a local set; affects this thread only.
            unsafe {
                let mut set = std::mem::zeroed();
                libc::sigemptyset(&mut set);
                libc::sigaddset(&mut set, libc::SIGURG);
                libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
            }
            tx.send(Tid::current()).unwrap();
            let _ = wait.recv();
        });
        let tid = rx.recv().unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while why_unresponsive(tid, libc::SIGURG) != Unresponsive::Blocks {
            assert!(std::time::Instant::now() < deadline);
            std::thread::yield_now();
        }
        drop(done);
        other.join().unwrap();
    }
}
