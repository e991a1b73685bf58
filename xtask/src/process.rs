//! Child processes that cannot outlive their purpose.
//!
//! A [`Supervised`] child leads a process group of its own. When the value is dropped, by whatever way out, the whole
//! group is asked to end and then killed; when this tool itself is killed, the kernel kills the child. A child that
//! has ended stays a zombie until its group was killed too, so the group's number cannot have passed to a stranger.

use crate::interrupt;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long a child that was asked to end may take before it is killed.
const GRACE: Duration = Duration::from_secs(3);

/// A child process that leads its own group, which ends with this value.
pub struct Supervised {
    child: Child,
    status: Option<ExitStatus>,
}

impl Supervised {
    /// Starts `command`, without standard input.
    ///
    /// # Errors
    /// When it cannot be started; the text says what, why, and for a missing program that it is missing.
    pub fn start(mut command: Command) -> Result<Supervised, String> {
        command.stdin(Stdio::null()).process_group(0);
        die_with_starter(&mut command);
        match command.spawn() {
            Ok(child) => Ok(Supervised {
                child,
                status: None,
            }),
            Err(why) => Err(format!(
                "cannot start {}: {why}",
                command.get_program().to_string_lossy()
            )),
        }
    }

    /// The child itself, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// How it ended, if it has ended. What it had started is killed then.
    ///
    /// # Errors
    /// When the kernel refuses to wait for it.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, String> {
        if self.status.is_none() && self.is_zombie() {
            self.signal(libc::SIGKILL);
            let status = self.child.wait();
            self.status = Some(status.map_err(|why| format!("cannot wait for a child: {why}"))?);
        }
        Ok(self.status)
    }

    fn is_zombie(&self) -> bool {
        // SAFETY: `info` is a plain struct for which zero is valid; WNOWAIT leaves the child waitable, so its number
        // stays its own.
        unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
            libc::waitid(libc::P_PID, self.child.id(), &mut info, options) == 0
                && info.si_pid() != 0
        }
    }

    fn signal(&self, signal: libc::c_int) {
        if self.status.is_none() {
            // SAFETY: the child has not been waited for, so the group is still the one that it leads.
            unsafe { libc::kill(-self.child.id().cast_signed(), signal) };
        }
    }

    /// Asks the group to end, and kills it when it does not within a few seconds.
    pub fn stop(&mut self) {
        self.signal(libc::SIGTERM);
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            if !matches!(self.ended(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.signal(libc::SIGKILL);
        self.status = self.child.wait().ok();
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        if self.status.is_none() {
            self.stop();
        }
    }
}

/// Has the kernel kill the child that `command` will be when the thread that starts it ends.
pub fn die_with_starter(command: &mut Command) {
    // SAFETY: between fork and exec only prctl is called, which is a bare system call.
    unsafe {
        command.pre_exec(
            || match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            },
        );
    }
}

/// Calls `each` with every line that `from` yields, on a thread of its own, until the end or until `each` is not
/// interested any more. Bytes that are no UTF-8 are replaced, so that no output is lost to one bad byte.
pub fn for_each_line(
    from: impl Read + Send + 'static,
    mut each: impl FnMut(String) -> bool + Send + 'static,
) {
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while matches!(from.read_until(b'\n', &mut line), Ok(n) if n > 0) {
            let text = String::from_utf8_lossy(&line);
            if !each(text.trim_end_matches(['\n', '\r']).to_owned()) {
                break;
            }
            line.clear();
        }
    });
}

/// What became of a command that [`capture`] ran.
pub struct Captured {
    /// How it ended; `None` when it was killed because its time was up.
    pub status: Option<ExitStatus>,
    /// Its standard output alone.
    pub stdout: String,
    /// Both of its outputs, by line, in the order in which they arrived.
    pub output: String,
    /// How long it took.
    pub took: Duration,
}

impl Captured {
    /// Did it end by itself, with exit code 0?
    pub fn success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }
}

/// Runs a command of cargo's that builds a program, and keeps what it printed.
///
/// # Errors
/// When the program does not compile; otherwise as [`capture`].
pub fn compile(command: Command, limit: Duration) -> Result<Captured, String> {
    let built = capture(command, limit, |_| ())?;
    match built.success() {
        true => Ok(built),
        false => Err(format!("the program does not compile:\n{}", built.output)),
    }
}

/// Processor time, in seconds, of this process (`RUSAGE_SELF`), or of its children that have ended (`RUSAGE_CHILDREN`).
pub fn processor_time(who: libc::c_int) -> f64 {
    // SAFETY: getrusage fills the struct, for which zero is valid.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(who, &mut usage);
        usage
    };
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// Runs `command` to its end and keeps what it printed, calling `watch` with the time since the start several times a
/// second. When `limit` is over, it is killed with all that it started.
///
/// # Errors
/// When it cannot be started, or when this tool is asked to end meanwhile (the command is stopped then).
pub fn capture(
    mut command: Command,
    limit: Duration,
    mut watch: impl FnMut(Duration),
) -> Result<Captured, String> {
    let begin = Instant::now();
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Supervised::start(command)?;
    let (send, lines) = mpsc::channel();
    if let Some(out) = child.child().stdout.take() {
        let send = send.clone();
        for_each_line(out, move |line| send.send((true, line)).is_ok());
    }
    if let Some(err) = child.child().stderr.take() {
        for_each_line(err, move |line| send.send((false, line)).is_ok());
    }
    let (mut stdout, mut output) = (String::new(), String::new());
    let mut keep = |(is_stdout, line): (bool, String)| {
        output.extend([line.as_str(), "\n"]);
        if is_stdout {
            stdout.extend([line.as_str(), "\n"]);
        }
    };
    let status = loop {
        if let Some(signal) = interrupt::pending() {
            return Err(format!("interrupted by signal {signal}"));
        }
        watch(begin.elapsed());
        if let Some(status) = child.ended()? {
            break Some(status);
        }
        if begin.elapsed() > limit {
            child.stop();
            break None;
        }
        match lines.recv_timeout(Duration::from_millis(100)) {
            Ok(line) => keep(line),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            // Both pipes are at their end, but the child may take a moment longer.
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    };
    // The group is dead, so the pipes end; a process that left the group and kept them open is not waited for.
    while let Ok(line) = lines.recv_timeout(Duration::from_secs(1)) {
        keep(line);
    }
    Ok(Captured {
        status,
        stdout,
        output,
        took: begin.elapsed(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn captures_both_outputs_and_the_exit_code() {
        let ran = capture(shell("echo one; echo two >&2; exit 3"), LONG, |_| ()).unwrap();
        assert_eq!(ran.status.and_then(|s| s.code()), Some(3));
        assert_eq!(ran.stdout, "one\n");
        assert!(ran.output.contains("two"));
        assert!(!ran.success());
    }

    #[test]
    fn what_takes_too_long_is_killed_with_its_children() {
        let begin = Instant::now();
        let script = "sleep 100 & echo $!; wait";
        let ran = capture(shell(script), Duration::from_millis(300), |_| ()).unwrap();
        assert!(ran.status.is_none());
        assert!(
            begin.elapsed() < GRACE,
            "a process that obeys SIGTERM needs no killing"
        );
        let grandchild: i32 = ran.stdout.trim().parse().unwrap();
        let gone = || {
            // It is nobody's child of ours: it is gone, or a zombie until init reaps it.
            let stat = std::fs::read_to_string(format!("/proc/{grandchild}/stat"));
            stat.map_or(true, |stat| stat.contains(") Z "))
        };
        while !gone() {
            assert!(begin.elapsed() < LONG, "the grandchild lives");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn what_ignores_the_request_is_killed() {
        let script = "trap '' TERM; echo ready; while :; do sleep 0.1; done";
        let begin = Instant::now();
        let ran = capture(shell(script), Duration::from_millis(300), |_| ()).unwrap();
        assert!(ran.status.is_none() && ran.stdout == "ready\n");
        assert!(begin.elapsed() >= GRACE && begin.elapsed() < LONG);
    }

    #[test]
    fn a_missing_program_is_named() {
        let why = Supervised::start(Command::new("no-such-program"))
            .err()
            .unwrap();
        assert!(why.contains("no-such-program"), "{why}");
    }

    #[test]
    fn a_grandchild_that_keeps_the_pipe_open_does_not_hang_us() {
        let begin = Instant::now();
        let ran = capture(shell("sleep 100 & echo done"), LONG, |_| ()).unwrap();
        assert!(ran.success() && ran.stdout == "done\n");
        assert!(begin.elapsed() < Duration::from_secs(20));
    }
}
