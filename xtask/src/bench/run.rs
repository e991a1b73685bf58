//! One run of a contestant: how it is started, and what it says.

use super::contestants::Contestant;
use super::options::Options;
use super::prepare;
use super::row::{Pin, Row, Suite};
use crate::process;
use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

/// A run that takes longer hangs.
const RUN_LIMIT: Duration = Duration::from_secs(90);

/// Variables that would change what is measured.
const UNWANTED: &[&str] = &[
    "GOGC",
    "GOMAXPROCS",
    "GOMEMLIMIT",
    "GODEBUG",
    "GOMEM_OPTIONS",
    "TOKIO_WORKER_THREADS",
    "MALLOC_CONF",
    "LD_PRELOAD",
];

/// What one run reported, by name of the figure: value and unit.
pub type Figures = BTreeMap<String, (f64, String)>;

/// How a contestant is started.
pub fn command(suite: &Suite, row: &Row, contestant: &Contestant, options: &Options) -> Command {
    let mut command = Command::new(prepare::program(contestant, suite.name));
    command.arg(row.workload).args(row.arguments);
    if options.scale != 1.0 {
        command.arg(format!("scale={}", options.scale));
    }
    for name in UNWANTED {
        command.env_remove(name);
    }
    command.envs(row.environment.iter().copied());
    // Servers that are not found beside the clients have to be told where those are.
    command.env("NET_LOAD", prepare::clients());
    if let Some(library) = contestant.preload().and_then(prepare::library) {
        command.env("LD_PRELOAD", library);
    }
    if row.pin == Pin::One {
        // SAFETY: between fork and exec only two bare system calls are made, on a set of the child's own.
        unsafe { command.pre_exec(keep_one_processor) };
    }
    command
}

/// Restricts the calling process to the last of the processors that it may use; the first gets most of the system's own work.
fn keep_one_processor() -> std::io::Result<()> {
    // SAFETY: the calls read and write a set that is ours, for which zero is valid.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        let size = size_of::<libc::cpu_set_t>();
        if libc::sched_getaffinity(0, size, &mut set) != 0 {
            return Err(std::io::Error::last_os_error());
        }
        let last = (0..libc::CPU_SETSIZE as usize)
            .rev()
            .find(|&cpu| libc::CPU_ISSET(cpu, &set));
        libc::CPU_ZERO(&mut set);
        libc::CPU_SET(last.unwrap_or(0), &mut set);
        match libc::sched_setaffinity(0, size, &set) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    }
}

/// One run: its figures, or what went wrong in it.
///
/// # Errors
/// When this tool is asked to end, or the program cannot be started at all.
pub fn run(command: Command) -> Result<Result<Figures, String>, String> {
    let ran = process::capture(command, RUN_LIMIT, |_| ())?;
    if !ran.success() {
        let is_word = |line: &&str| !line.trim().is_empty() && !line.starts_with("figure ");
        let last = ran.output.lines().rfind(is_word);
        let how = match ran.status {
            None => format!("no end within {} s", RUN_LIMIT.as_secs()),
            Some(status) => status.to_string(),
        };
        return Ok(Err(match last {
            Some(line) => format!("{how}: {}", line.trim()),
            None => how,
        }));
    }
    Ok(figures(&ran.stdout))
}

/// The figures in what a contestant printed.
fn figures(said: &str) -> Result<Figures, String> {
    let mut figures = Figures::new();
    for line in said.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["figure", name, value, unit] = words[..] {
            let value: f64 = value
                .parse()
                .ok()
                .filter(|v| f64::is_finite(*v))
                .ok_or_else(|| format!("not a number: {line:?}"))?;
            figures.insert(name.to_owned(), (value, unit.to_owned()));
        }
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn figures_are_read_and_other_lines_are_not() {
        let read =
            figures("warming up\nfigure time 41.5 ns\nfigure peak_rss 3 MB\nfigure odd\n").unwrap();
        assert_eq!(read["time"], (41.5, "ns".to_owned()));
        assert_eq!(read.len(), 2);
        assert!(figures("figure time NaN ns").is_err());
    }

    #[test]
    fn a_failed_run_says_what_its_program_said() {
        let why = run(shell("echo figure time 1 ns; echo wrong sum >&2; exit 1"))
            .unwrap()
            .unwrap_err();
        assert!(why.contains("wrong sum") && why.contains('1'), "{why}");
    }

    #[test]
    fn one_processor_is_one() {
        let mut command = shell("nproc");
        // SAFETY: as in `command`.
        unsafe { command.pre_exec(keep_one_processor) };
        let ran = process::capture(command, RUN_LIMIT, |_| ()).unwrap();
        assert_eq!(ran.stdout.trim(), "1");
    }
}
