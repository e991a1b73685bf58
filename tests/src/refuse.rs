//! A kernel that refuses: chosen system calls of a child process are answered with an error.
//!
//! The child puts itself under a seccomp filter ([`begin`]) that hands each call of one kind to a supervisor, which is the
//! test that started it. The supervisor counts the calls of all its threads, refuses those it was told to and lets
//! the others pass, until the child says that it has seen enough ([`end`]). So the refusal happens where real ones do, below
//! libc, whoever makes the call, and nothing in the runtime has to know of it.
//!
//! The filter binds the thread that calls `begin` and all that it starts from then on; libtest's own thread goes free.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::Output;
use std::time::Duration;

/// A kind of system call, and the error that a refusal is.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// What the kernel calls it.
    pub name: &'static str,
    /// Its number.
    pub number: libc::c_long,
    /// What the caller is told.
    pub errno: i32,
}

/// What became of a child.
#[derive(Debug)]
pub struct Ran {
    /// Its end and what it said.
    pub output: Output,
    /// Calls of the kind between [`begin`] and [`end`].
    pub calls: u32,
    /// Those of them that were refused.
    pub refused: u32,
}

/// Tells the child which call to watch.
const VARIABLE: &str = "GORUNTIME_REFUSE";

/// Where the child leaves the filter's descriptor for the supervisor to fetch.
const LISTENER: i32 = 500;

/// Nothing else asks for the priority of this: it says that the child has seen enough.
const ENOUGH: libc::c_long = 0x676f;

/// Runs the test `name` of this binary in a child in which `times` calls are refused, from the `nth` on, counted from 1.
///
/// # Panics
/// When the child hangs, or never called [`begin`].
pub fn run(name: &str, call: Call, nth: u32, times: u32) -> Ran {
    // std takes a lock to print a backtrace, and in there waits for itself when memory for it is refused.
    let envs = [
        (VARIABLE, &*call.number.to_string()),
        ("RUST_BACKTRACE", "0"),
    ];
    let child = crate::start(name, &envs);
    let pid = child.id();
    let supervisor =
        std::thread::spawn(move || supervise(pid, call, nth..nth.saturating_add(times)));
    let output = crate::finish(child, crate::LIMIT);
    let counted = supervisor.join().expect("the supervisor");
    let (calls, refused) = counted.unwrap_or_else(|why| {
        let said = String::from_utf8_lossy(&output.stderr);
        panic!("cannot supervise the child: {why}; it said:\n{said}")
    });
    Ran {
        output,
        calls,
        refused,
    }
}

/// Refuses in turn the first call of the kind, the second, and so on, `times` at a time, each in a child of its own, until a child got by without
/// a refusal; `check` looks at each. Returns how many children were refused something.
///
/// # Panics
/// As [`run`].
pub fn each(name: &str, call: Call, times: u32, mut check: impl FnMut(u32, &Ran)) -> u32 {
    for nth in 1.. {
        let ran = run(name, call, nth, times);
        check(nth, &ran);
        if ran.refused == 0 {
            return nth - 1;
        }
    }
    unreachable!("there are fewer calls than numbers")
}

/// In the child: from here on the calls are watched. Does nothing where no supervisor asked for it.
///
/// # Panics
/// When the kernel has no such filters.
pub fn begin() {
    let Some(number) = std::env::var(VARIABLE).ok().and_then(|n| n.parse().ok()) else {
        return;
    };
    install(number).expect("a seccomp filter with a listener");
}

/// In the child: no more refusals from here on.
pub fn end() {
    // SAFETY: takes integers only, and changes nothing.
    unsafe { libc::syscall(libc::SYS_getpriority, ENOUGH, 0) };
}

fn check(result: libc::c_long) -> io::Result<i32> {
    match i32::try_from(result) {
        Ok(result) if result >= 0 => Ok(result),
        _ => Err(io::Error::last_os_error()),
    }
}

fn install(number: u32) -> io::Result<()> {
    let statement = |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let is = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let answer = libc::BPF_RET | libc::BPF_K;
    let mut filter = [
        // The first word of `seccomp_data` is the number.
        statement(load, 0, 0, 0),
        statement(is, number, 1, 0),
        statement(is, libc::SYS_getpriority as u32, 0, 1),
        statement(answer, libc::SECCOMP_RET_USER_NOTIF, 0, 0),
        statement(answer, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: the program outlives the call; the descriptor is new, and moved to its place before anybody looks there.
    unsafe {
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).into())?;
        let listener = check(libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        ))?;
        let listener = OwnedFd::from_raw_fd(listener);
        check(libc::syscall(
            libc::SYS_dup3,
            listener.as_raw_fd(),
            LISTENER,
            libc::O_CLOEXEC,
        ))?;
    }
    Ok(())
}

/// The kernel's `struct seccomp_notif`.
#[repr(C)]
struct Notice {
    id: u64,
    pid: u32,
    flags: u32,
    data: libc::seccomp_data,
}

/// The kernel's `struct seccomp_notif_resp`.
#[repr(C)]
struct Answer {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

/// `SECCOMP_IOCTL_NOTIF_RECV`: `_IOWR('!', 0, struct seccomp_notif)`.
const RECEIVE: libc::c_ulong = 0xc000_2100 | (size_of::<Notice>() as libc::c_ulong) << 16;
/// `SECCOMP_IOCTL_NOTIF_SEND`: `_IOWR('!', 1, struct seccomp_notif_resp)`.
const SEND: libc::c_ulong = 0xc000_2101 | (size_of::<Answer>() as libc::c_ulong) << 16;
/// `SECCOMP_USER_NOTIF_FLAG_CONTINUE`: the kernel goes on with the call.
const CONTINUE: u32 = 1;

/// Answers the child's calls until it ends; how many there were and how many were refused.
fn supervise(pid: u32, call: Call, refused: std::ops::Range<u32>) -> io::Result<(u32, u32)> {
    // SAFETY: takes integers only; the descriptor is new.
    let process = unsafe { File::from_raw_fd(check(libc::syscall(libc::SYS_pidfd_open, pid, 0))?) };
    let listener = fetch(&process)?;
    let (mut calls, mut refusals, mut enough) = (0, 0, false);
    loop {
        let mut wait = [poll(&listener), poll(&process)];
        // SAFETY: the array outlives the call.
        if unsafe { libc::poll(wait.as_mut_ptr(), 2, -1) } < 0 {
            continue; // a collection in this process has interrupted it
        }
        if wait[0].revents & libc::POLLIN == 0 {
            return Ok((calls, refusals));
        }
        // SAFETY: an all-zero notice is valid, and what the kernel asks for; it outlives the call.
        let notice = unsafe {
            let mut notice: Notice = std::mem::zeroed();
            if libc::ioctl(listener.as_raw_fd(), RECEIVE, &raw mut notice) < 0 {
                continue; // the caller was killed meanwhile
            }
            notice
        };
        let watched = libc::c_long::from(notice.data.nr) == call.number && !enough;
        enough |= libc::c_long::from(notice.data.nr) == libc::SYS_getpriority
            && notice.data.args[0] == ENOUGH as u64;
        calls += u32::from(watched);
        let refuse = watched && refused.contains(&calls);
        refusals += u32::from(refuse);
        let answer = Answer {
            id: notice.id,
            value: 0,
            error: if refuse { -call.errno } else { 0 },
            flags: if refuse { 0 } else { CONTINUE },
        };
        // SAFETY: the answer outlives the call. A caller that was killed meanwhile needs none.
        unsafe { libc::ioctl(listener.as_raw_fd(), SEND, &raw const answer) };
    }
}

fn poll(file: &File) -> libc::pollfd {
    libc::pollfd {
        fd: file.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    }
}

/// The filter's descriptor, as soon as the child has put it in its place.
fn fetch(process: &File) -> io::Result<File> {
    loop {
        // SAFETY: takes integers only; the descriptor is new.
        let found = unsafe {
            check(libc::syscall(
                libc::SYS_pidfd_getfd,
                process.as_raw_fd(),
                LISTENER,
                0,
            ))
            .map(|fd| File::from_raw_fd(fd))
        };
        match found {
            Err(why) if why.raw_os_error() == Some(libc::EBADF) => {
                std::thread::sleep(Duration::from_millis(1));
            }
            found => return found,
        }
    }
}
