//! One run of the probes' program, single-stepped between its markers.
//!
//! ```text
//! program, measuring thread                      here
//! the other threads stand still (its own doing)
//! ptrace(TRACEME)                                its parent is the thread that started it
//! int3                                           stopped: begin a repetition, step
//! the probe                                      one stop for each instruction
//! int3                                           the next instruction is the marker: skip it, let run
//! ... and so on ...
//! _exit(0)                                       the end of the process is waited for
//! ```
//!
//! Only the measuring thread is traced: the stops of several threads can be reported in any order, and a program of which some threads
//! are stopped and others not waits for itself sooner or later.
//!
//! **It cannot hang.** The tracing thread waits for children and for nothing else; a second thread watches the clock, and at the limit kills
//! the program, by a descriptor, so it cannot be a stranger with the same number. A kill ends every stop, and the wait with it. Were that not
//! so (a process stuck in the kernel), the tracing thread would be left behind.
//!
//! Invariant: no request is made of a thread that is not stopped, for one that was just killed answers "no such process", and that is
//! taken for what it is: its death is reported next.

use super::decode::{self, Kind};
use super::golden::Figure;
use crate::{interrupt, process};
use std::collections::HashMap;
use std::fs::File;
use std::io::{Error, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// The exit code by which the program says that it may not be traced; why, it says on standard error.
const REFUSED: i32 = 77;

/// How long the kernel may take to end a killed process.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often the watching thread looks up.
const PERIOD: Duration = Duration::from_millis(50);

/// Why there are no figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Tracing is not allowed here.
    Refused(String),
    /// The program hung, or was killed by somebody; another attempt may do better.
    Ended(String),
    /// It makes no sense to try again.
    Broken(String),
}

/// One pass of a probe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repetition {
    /// What it took.
    pub figure: Figure,
    /// The addresses of its instructions, and whether each is an indirect call or jump.
    pub path: Vec<(u64, bool)>,
}

/// A run of the program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// Those that no signal disturbed.
    pub repetitions: Vec<Repetition>,
    /// Where its files are mapped, as the kernel says it.
    pub maps: String,
}

/// Runs `command` and returns what each repetition took.
///
/// # Errors
/// When the program cannot be started or traced, does not end in time, or ends by other than its own will.
pub fn run(mut command: Command, limit: Duration) -> Result<Run, Trouble> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0);
    process::die_with_starter(&mut command);
    let (send, events) = mpsc::channel();
    // The program's tracer is the thread that starts it, and only that thread's children are waited for.
    let tracer = std::thread::spawn(move || {
        let outcome = trace(command, |descriptor| {
            let _ = send.send(descriptor);
        });
        drop(send);
        outcome
    });
    let Ok(program) = events.recv() else {
        return ended(tracer);
    };
    let begin = Instant::now();
    let mut why = None;
    loop {
        match events.recv_timeout(PERIOD) {
            Ok(_) => {}
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                if why.is_none() {
                    why = match interrupt::pending() {
                        Some(signal) => {
                            Some(Trouble::Broken(format!("interrupted by signal {signal}")))
                        }
                        None if begin.elapsed() > limit => Some(Trouble::Ended(format!(
                            "it did not end within {} s",
                            limit.as_secs()
                        ))),
                        None => None,
                    };
                    if why.is_some() {
                        kill(&program);
                    }
                } else if begin.elapsed() > limit + PATIENCE {
                    return Err(Trouble::Broken("it was killed and does not end".to_owned()));
                }
            }
        }
    }
    let outcome = ended(tracer);
    match why {
        Some(why) => Err(why),
        None => outcome,
    }
}

fn ended(tracer: std::thread::JoinHandle<Result<Run, Trouble>>) -> Result<Run, Trouble> {
    match tracer.join() {
        Ok(outcome) => outcome,
        Err(_) => Err(Trouble::Broken("the tracing thread panicked".to_owned())),
    }
}

fn kill(program: &OwnedFd) {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor stands for the program, whatever became of it; no information is passed.
    unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            program.as_raw_fd(),
            libc::SIGKILL,
            none,
            0,
        )
    };
}

/// A descriptor for a child that has not been waited for.
fn descriptor_of(pid: libc::pid_t) -> Result<OwnedFd, Trouble> {
    // SAFETY: plain arguments; a descriptor that is returned is ours.
    unsafe {
        match RawFd::try_from(libc::syscall(libc::SYS_pidfd_open, pid, 0)) {
            Ok(descriptor) if descriptor >= 0 => Ok(OwnedFd::from_raw_fd(descriptor)),
            _ => Err(broken("no descriptor for the program")),
        }
    }
}

fn broken(what: &str) -> Trouble {
    Trouble::Broken(format!("{what}: {}", Error::last_os_error()))
}

/// The tracing thread: starts the program, tells `started` its descriptor, and traces it to its end.
fn trace(mut command: Command, started: impl FnOnce(OwnedFd)) -> Result<Run, Trouble> {
    let mut child = command.spawn().map_err(|why| {
        let name = command.get_program().to_string_lossy();
        Trouble::Broken(format!("cannot start {name}: {why}"))
    })?;
    let pid = child.id().cast_signed();
    let program = descriptor_of(pid)?;
    started(
        program
            .try_clone()
            .map_err(|why| Trouble::Broken(why.to_string()))?,
    );
    let mut tracing = Tracing::default();
    let mut trouble = None;
    let status = loop {
        let (who, status) = wait()?;
        if libc::WIFSTOPPED(status) {
            if let Err(why) = tracing.stopped(who, status) {
                // Its end is waited for nonetheless, so that no zombie stays.
                trouble.get_or_insert(why);
                kill(&program);
            }
        } else if who == pid {
            break status;
        }
    };
    // The process is gone, so this ends.
    let mut said = String::new();
    if let Some(mut errors) = child.stderr.take() {
        let _ = errors.read_to_string(&mut said);
    }
    if let Some(why) = trouble {
        return Err(why);
    }
    let said = said.trim();
    match (libc::WIFEXITED(status), libc::WEXITSTATUS(status)) {
        (true, 0) => Ok(tracing.run),
        (true, REFUSED) => Err(Trouble::Refused(said.to_owned())),
        (true, code) => Err(Trouble::Broken(format!("exit code {code}; {said}"))),
        (false, _) => {
            let signal = libc::WTERMSIG(status);
            Err(Trouble::Ended(format!("ended by signal {signal}; {said}")))
        }
    }
}

/// Waits until a child of this thread, or the thread that it traces, stops or ends.
fn wait() -> Result<(libc::pid_t, libc::c_int), Trouble> {
    loop {
        let mut status = 0;
        // SAFETY: `status` is a place for a status. Children of other threads of this tool are not touched.
        let who = unsafe { libc::waitpid(-1, &mut status, libc::__WALL | libc::__WNOTHREAD) };
        if who > 0 {
            return Ok((who, status));
        }
        if Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
            return Err(broken("cannot wait for the program"));
        }
    }
}

impl Repetition {
    /// Counts the instruction that is about to be executed.
    fn count(&mut self, at: u64, kind: Kind) {
        let is_indirect = kind == Kind::Indirect;
        let last = self.path.last().map(|(last, _)| *last);
        if kind == Kind::Repeats && last == Some(at) {
            return;
        }
        self.figure.instructions += 1;
        self.figure.indirect += u64::from(is_indirect);
        self.path.push((at, is_indirect));
    }
}

/// How the thread goes on from a stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Pace {
    /// To the next marker.
    #[default]
    Run,
    /// By one instruction.
    Step,
}

/// The traced thread.
#[derive(Default)]
struct Tracing {
    /// Its memory; absent before its first stop.
    memory: Option<File>,
    pace: Pace,
    /// What was counted of the repetition under way.
    now: Repetition,
    /// A signal came meanwhile, whose handler was counted as well.
    is_disturbed: bool,
    /// Kinds of the instructions seen so far, by address: code does not change.
    kinds: HashMap<u64, Kind>,
    run: Run,
}

impl Tracing {
    /// Looks why the thread has stopped, and lets it go on.
    fn stopped(&mut self, thread: libc::pid_t, status: libc::c_int) -> Result<(), Trouble> {
        if self.memory.is_none() {
            // Should this tool die, so does the program.
            let option = libc::PTRACE_O_EXITKILL as usize;
            ask(libc::PTRACE_SETOPTIONS, thread, 0, option)?;
            let memory = File::open(format!("/proc/{thread}/mem"));
            self.memory = Some(memory.map_err(|why| Trouble::Broken(why.to_string()))?);
            let maps = std::fs::read_to_string(format!("/proc/{thread}/maps"));
            self.run.maps = maps.map_err(|why| Trouble::Broken(why.to_string()))?;
        }
        let signal = libc::WSTOPSIG(status);
        if status >> 16 != 0 || is_group_stop(thread, signal) {
            return self.go_on(thread, 0);
        }
        if signal != libc::SIGTRAP {
            self.is_disturbed = true;
            return self.go_on(thread, signal);
        }
        let Some(mut at) = instruction_pointer(thread)? else {
            return Ok(());
        };
        if self.pace == Pace::Run {
            // A breakpoint is reported when it is behind; any other trap is the program's own, and kills it.
            if self.kind(at.wrapping_sub(1)) != Kind::Marker {
                return self.go_on(thread, signal);
            }
            self.pace = Pace::Step;
            self.is_disturbed = false;
        }
        match self.kind(at) {
            Kind::Marker => {
                at += 1;
                ask(libc::PTRACE_POKEUSER, thread, POINTER, at as usize)?;
                self.pace = Pace::Run;
                let done = std::mem::take(&mut self.now);
                if !self.is_disturbed {
                    self.run.repetitions.push(done);
                }
            }
            kind => self.now.count(at, kind),
        }
        self.go_on(thread, 0)
    }

    fn go_on(&self, thread: libc::pid_t, signal: libc::c_int) -> Result<(), Trouble> {
        let request = match self.pace {
            Pace::Run => libc::PTRACE_CONT,
            Pace::Step => libc::PTRACE_SINGLESTEP,
        };
        ask(request, thread, 0, signal as usize)
    }

    /// The kind of the instruction at an address.
    fn kind(&mut self, at: u64) -> Kind {
        if let Some(kind) = self.kinds.get(&at) {
            return *kind;
        }
        let mut code = [0; decode::ENOUGH];
        let memory = self.memory.as_ref();
        // Fewer bytes at the end of a mapping. None where there is no memory to read: the old page of system calls, which the kernel emulates.
        let read = memory.map_or(0, |memory| memory.read_at(&mut code, at).unwrap_or(0));
        let kind = decode::kind(&code[..read]);
        self.kinds.insert(at, kind);
        kind
    }
}

/// Where the instruction pointer lies in what the kernel shows of a thread.
const POINTER: usize =
    std::mem::offset_of!(libc::user, regs) + std::mem::offset_of!(libc::user_regs_struct, rip);

/// The stopped thread's instruction pointer; nothing if it was killed.
fn instruction_pointer(thread: libc::pid_t) -> Result<Option<u64>, Trouble> {
    // SAFETY: reads a word of the registers of a thread that is stopped; every value is a possible answer, so errno says whether it is one.
    let word = unsafe {
        *libc::__errno_location() = 0;
        libc::ptrace(libc::PTRACE_PEEKUSER, thread, POINTER, 0)
    };
    match Error::last_os_error().raw_os_error() {
        Some(0) => Ok(Some(word.cast_unsigned())),
        Some(libc::ESRCH) => Ok(None),
        _ => Err(broken("cannot read the instruction pointer")),
    }
}

/// A stop of the whole process, as opposed to one before the delivery of a signal: nothing is known of its cause.
fn is_group_stop(thread: libc::pid_t, signal: libc::c_int) -> bool {
    if !matches!(
        signal,
        libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU
    ) {
        return false;
    }
    // SAFETY: zero is a valid value; the kernel writes at most one of them.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        libc::ptrace(libc::PTRACE_GETSIGINFO, thread, 0, &raw mut info) != 0
    }
}

/// A request that reads nothing. That the thread was killed meanwhile is no trouble: its end is reported next.
fn ask(
    request: libc::c_uint,
    thread: libc::pid_t,
    address: usize,
    data: usize,
) -> Result<(), Trouble> {
    // SAFETY: the requests used here take plain numbers and change the traced thread only.
    let answer = unsafe { libc::ptrace(request, thread, address, data) };
    if answer == 0 || Error::last_os_error().raw_os_error() == Some(libc::ESRCH) {
        return Ok(());
    }
    Err(broken(&format!("ptrace request {request}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tells the test that is the program what to do.
    const PART: &str = "XTASK_FASTPATH_PART";

    /// Long enough on any machine.
    const LONG: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    /// This test program again, as the one that is traced.
    fn part(name: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "fastpath::trace::tests::the_traced_program"])
            .env(PART, name);
        command
    }

    fn figures(outcome: Result<Run, Trouble>) -> Result<Vec<Figure>, Trouble> {
        let figures = |run: Run| run.repetitions.iter().map(|one| one.figure).collect();
        outcome.map(figures)
    }

    /// The figures, unless tracing is not allowed here.
    fn traced(name: &str, limit: Duration) -> Option<Result<Vec<Figure>, Trouble>> {
        match figures(run(part(name), limit)) {
            Err(Trouble::Refused(why)) => {
                eprintln!("not tested: {why}");
                None
            }
            outcome => Some(outcome),
        }
    }

    /// Not a test unless one of the others starts it: what runs under the tracer, on a thread that is not the process's first.
    #[test]
    fn the_traced_program() {
        let Ok(part) = std::env::var(PART) else {
            return;
        };
        // SAFETY: a request without arguments; the exit skips locks.
        unsafe {
            if libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) != 0 {
                libc::_exit(REFUSED);
            }
        }
        for _ in 0..3 {
            match part.as_str() {
                "nine" => nine(),
                "signals" => signals(),
                "waits" => waits(),
                _ => forever(),
            }
        }
        // SAFETY: ends the process without its exit handlers.
        unsafe { libc::_exit(0) };
    }

    /// Nine instructions, one of them an indirect call, one a repeated one, one a system call.
    fn nine() {
        let mut bytes = [0u8; 100];
        // SAFETY: writes the array and the named registers; the call returns to where it came from.
        unsafe {
            std::arch::asm!(
                "int3",
                "nop",
                "cld",
                "rep stosb",
                "lea {target}, [rip + 2f]",
                "call {target}",
                "jmp 3f",
                "2:",
                "ret",
                "3:",
                "mov eax, 39", // getpid
                "syscall",
                "int3",
                target = out(reg) _,
                inout("rdi") bytes.as_mut_ptr() => _,
                inout("rcx") bytes.len() => _,
                inout("eax") 7 => _,
                out("r11") _,
            );
        }
        assert_eq!(bytes, [7; 100]);
    }

    /// A signal that is ignored, sent to itself: a stop like others, and the repetition does not count.
    fn signals() {
        // SAFETY: plain arguments; a breakpoint is the tracer's.
        unsafe {
            libc::signal(libc::SIGWINCH, libc::SIG_IGN);
            std::arch::asm!("int3");
            libc::raise(libc::SIGWINCH);
            std::arch::asm!("int3");
        }
    }

    /// For something that never comes, in the kernel.
    fn waits() {
        // SAFETY: a breakpoint is the tracer's; the call has no arguments.
        unsafe {
            std::arch::asm!("int3");
            libc::pause();
        }
    }

    fn forever() {
        // SAFETY: a breakpoint is the tracer's.
        unsafe { std::arch::asm!("int3", "2:", "pause", "jmp 2b") };
    }

    #[test]
    fn counts_to_the_instruction() {
        let Some(outcome) = traced("nine", LONG) else {
            return;
        };
        let expected = Figure {
            instructions: 9,
            indirect: 1,
        };
        assert_eq!(outcome, Ok(vec![expected; 3]));
    }

    #[test]
    fn a_repetition_with_a_signal_is_left_out() {
        if let Some(outcome) = traced("signals", LONG) {
            assert_eq!(outcome, Ok(Vec::new()));
        }
    }

    #[test]
    fn what_never_ends_is_killed() {
        for part in ["forever", "waits"] {
            let begin = Instant::now();
            let Some(outcome) = traced(part, Duration::from_millis(500)) else {
                return;
            };
            assert!(matches!(outcome, Err(Trouble::Ended(_))), "{outcome:?}");
            assert!(begin.elapsed() < LONG);
        }
    }

    #[test]
    fn a_program_that_is_not_traced_is_waited_for_and_judged() {
        let short = Duration::from_millis(300);
        let ended = |script| figures(run(shell(script), LONG));
        assert_eq!(ended("exit 0"), Ok(Vec::new()));
        let broken = ended("echo why >&2; exit 3");
        assert_eq!(broken, Err(Trouble::Broken("exit code 3; why".to_owned())));
        let refused = ended("echo no >&2; exit 77");
        assert_eq!(refused, Err(Trouble::Refused("no".to_owned())));
        assert!(matches!(ended("kill -9 $$"), Err(Trouble::Ended(_))));
        assert!(matches!(
            run(shell("exec sleep 100"), short),
            Err(Trouble::Ended(_))
        ));
        let missing = run(Command::new("no-such-program"), LONG).unwrap_err();
        assert!(matches!(missing, Trouble::Broken(why) if why.contains("no-such-program")));
    }
}
