//! The jobs that run the key-value server under load from a second process: the whole runtime, end to end.
//!
//! A trial asks a fixed list of questions, each of which counts as one test. The load generator checks that it reads
//! what it wrote; the rest is asked here, of the server and of the `gctrace` lines that it prints.

use super::results::Tally;
use crate::kv::figures::{Progress, Runtime};
use crate::kv::resp::Client;
use crate::kv::{self, Generator, Load, Programs, Server};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// How the server is tried.
pub struct Trial {
    load: Load,
    /// `GOGC` of the server: low, so that collections are many.
    gogc: u32,
    /// By how much resident memory may grow over the second half, in percent; `None` where the load is too short
    /// to tell.
    growth: Option<u64>,
}

/// Some seconds.
pub const SMOKE: Trial = Trial {
    load: Load {
        connections: 50,
        pipeline: 16,
        value_size: 64,
        keys: None,
        seconds: 8,
        verify: true,
    },
    gogc: 20,
    growth: None,
};

/// Three minutes.
pub const SOAK: Trial = Trial {
    load: Load {
        connections: 50,
        pipeline: 16,
        value_size: 64,
        // So few that lists and sets have reached their size when the first memory is compared.
        keys: Some(500),
        seconds: 180,
        verify: true,
    },
    gogc: 20,
    growth: Some(20),
};

/// How long a single answer may take while the server is under load.
const PATIENCE: Duration = Duration::from_secs(10);

/// How much longer than it was told the load generator may take.
const OVERTIME: Duration = Duration::from_secs(60);

/// The lines that `GODEBUG=gctrace=1` has the server print.
#[derive(Default)]
struct Trace {
    lines: u64,
    first_wrong: Option<String>,
}

/// The questions of a trial and their answers.
#[derive(Default)]
struct Answers {
    tally: Tally,
    account: String,
}

impl Answers {
    fn ask(&mut self, question: &str, answer: Result<(), String>) {
        match answer {
            Ok(()) => self.tally.passed += 1,
            Err(why) => {
                self.tally.failed += 1;
                self.account.push_str(&format!("{question}: no; {why}\n"));
            }
        }
    }
}

/// Runs a trial; `watch` is called with the time since the start several times a second. Returns the tally and, of
/// what failed, an account.
///
/// # Errors
/// When the programs cannot be built or started, or this tool is interrupted.
pub fn run(trial: &Trial, mut watch: impl FnMut(Duration)) -> Result<(Tally, String), String> {
    let begin = Instant::now();
    let programs = kv::build_quietly(&mut watch)?;
    let trace = Arc::new(Mutex::new(Trace::default()));
    let variables = [
        ("GOGC", trial.gogc.to_string()),
        ("GODEBUG", "gctrace=1".to_owned()),
    ];
    let mut server = Server::start(&programs, 0, &variables, {
        let trace = trace.clone();
        move |line| {
            let mut trace = trace.lock().unwrap_or_else(PoisonError::into_inner);
            trace.note(line);
        }
    })?;
    let mut client = Client::connect(server.address(), PATIENCE)?;
    let mut answers = Answers::default();
    answers.ask("does it read what it wrote", set_and_get(&mut client));
    let course = drive(trial, &programs, &mut server, &mut client, || {
        watch(begin.elapsed())
    });
    answers.ask(
        "does it serve the load",
        course.as_ref().map(|_| ()).map_err(String::clone),
    );
    if let (Ok(course), Some(percent)) = (&course, trial.growth) {
        answers.ask("does its memory stay flat", flat(course, percent));
    }
    answers.ask("did it collect meanwhile", collected(&mut client));
    answers.ask(
        "is it alive afterwards",
        set_and_get(&mut client).and_then(|()| server.check()),
    );
    let trace = trace.lock().unwrap_or_else(PoisonError::into_inner);
    answers.ask("does it trace its collections as Go does", trace.judge());
    Ok((answers.tally, answers.account))
}

fn set_and_get(client: &mut Client) -> Result<(), String> {
    client.text(&["SET", "xtask", "said"])?;
    match client.text(&["GET", "xtask"])?.as_str() {
        "said" => Ok(()),
        other => Err(format!("it read `{other}`")),
    }
}

/// Drives the server until the load generator has ended, and returns the resident memory at each second.
fn drive(
    trial: &Trial,
    programs: &Programs,
    server: &mut Server,
    client: &mut Client,
    mut watch: impl FnMut(),
) -> Result<Vec<u64>, String> {
    let mut generator = Generator::start(programs, server.address(), &trial.load)?;
    let limit = Duration::from_secs(trial.load.seconds.into()) + OVERTIME;
    let begin = Instant::now();
    let (mut course, mut said, mut served) = (Vec::new(), String::new(), 0.0);
    loop {
        if let Some(signal) = crate::interrupt::pending() {
            return Err(format!("interrupted by signal {signal}"));
        }
        watch();
        server.check()?;
        if begin.elapsed() > limit {
            return Err(format!("the load generator hangs; it said:\n{said}"));
        }
        if begin.elapsed().as_secs() >= course.len() as u64 {
            let figures = Runtime::parse(&client.text(&["INFO", "goruntime"])?);
            course.push(figures.rss.ok_or("INFO goruntime does not report rss")?);
        }
        match generator.lines.recv_timeout(Duration::from_millis(100)) {
            Ok(line) => match Progress::parse(&line) {
                Some(progress) => served += progress.requests_per_second,
                None => said.extend([line.as_str(), "\n"]),
            },
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => match generator.ended()? {
                Some(true) if served > 0.0 => return Ok(course),
                Some(true) => return Err("the load generator reports no request".to_owned()),
                Some(false) => return Err(format!("the load generator found errors:\n{said}")),
                None => std::thread::sleep(Duration::from_millis(10)),
            },
        }
    }
}

/// Compares the most memory of the last quarter with the most of the second: the first is warming up.
fn flat(course: &[u64], percent: u64) -> Result<(), String> {
    let quarter = course.len() / 4;
    let most = |part: &[u64]| part.iter().copied().max().ok_or("the course is too short");
    let before = most(&course[quarter..2 * quarter])?;
    let after = most(&course[course.len() - quarter..])?;
    match after <= before + before * percent / 100 {
        true => Ok(()),
        false => Err(format!(
            "it had {before} bytes in the second quarter and {after} in the last"
        )),
    }
}

fn collected(client: &mut Client) -> Result<(), String> {
    match Runtime::parse(&client.text(&["INFO", "goruntime"])?).gc_cycles {
        Some(cycles) if cycles > 0 => Ok(()),
        Some(_) => Err("not once".to_owned()),
        None => Err("INFO goruntime does not report gc_cycles".to_owned()),
    }
}

impl Trace {
    fn note(&mut self, line: &str) {
        if line.starts_with("gc ") {
            self.lines += 1;
            if !is_gctrace(line) && self.first_wrong.is_none() {
                self.first_wrong = Some(line.to_owned());
            }
        }
    }

    fn judge(&self) -> Result<(), String> {
        match (&self.first_wrong, self.lines) {
            (Some(line), _) => Err(format!("`{line}` is not in Go's format")),
            (None, 0) => Err("it printed no such line".to_owned()),
            (None, _) => Ok(()),
        }
    }
}

/// Is this a line as Go documents it in package runtime, under `gctrace`?
///
/// `gc 1 @0.012s 2%: 0.026+0.39+0.10 ms clock, 0.21+0.88/0.52/0+0.83 ms cpu, 4->4->0 MB, 4 MB goal, 0 MB stacks,
/// 0 MB globals, 8 P`, and `(forced)` after a collection that was asked for.
fn is_gctrace(line: &str) -> bool {
    let line = line.strip_suffix(" (forced)").unwrap_or(line);
    let Some((head, body)) = line.split_once(": ") else {
        return false;
    };
    let head: Vec<&str> = head.split_whitespace().collect();
    let ["gc", number, at, percent] = head[..] else {
        return false;
    };
    let is_number = |text: &str| text.parse::<f64>().is_ok_and(f64::is_finite);
    let all = |text: &str, separators: &[char], count: usize| {
        text.split(separators).count() == count && text.split(separators).all(is_number)
    };
    let parts: Vec<&str> = body.split(", ").collect();
    let [clock, cpu, sizes, goal, stacks, globals, procs] = parts[..] else {
        return false;
    };
    let sizes = sizes.replace("->", "/");
    number.parse::<u64>().is_ok()
        && at
            .strip_prefix('@')
            .and_then(|at| at.strip_suffix('s'))
            .is_some_and(is_number)
        && percent.strip_suffix('%').is_some_and(is_number)
        && clock
            .strip_suffix(" ms clock")
            .is_some_and(|times| all(times, &['+'], 3))
        && cpu
            .strip_suffix(" ms cpu")
            .is_some_and(|times| all(times, &['+', '/'], 5))
        && sizes
            .strip_suffix(" MB")
            .is_some_and(|sizes| all(sizes, &['/'], 3))
        && goal.strip_suffix(" MB goal").is_some_and(is_number)
        && stacks.strip_suffix(" MB stacks").is_some_and(is_number)
        && globals.strip_suffix(" MB globals").is_some_and(is_number)
        && procs.strip_suffix(" P").is_some_and(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "gc 3 @0.012s 2%: 0.026+0.39+0.10 ms clock, 0.21+0.88/0.52/0+0.83 ms cpu, 4->5->1 MB, 4 MB goal, 0 MB stacks, 0 MB globals, 8 P";

    #[test]
    fn knows_gos_format() {
        assert!(is_gctrace(LINE));
        assert!(is_gctrace(&format!("{LINE} (forced)")));
        for wrong in [
            LINE.replace("gc 3", "gc x"),
            LINE.replace("->", "-"),
            LINE.replace(", 0 MB globals", ""),
            LINE.replace("0.88/0.52/0", "0.88/0.52"),
            LINE.replace("@", ""),
            "gc 1".to_owned(),
        ] {
            assert!(!is_gctrace(&wrong), "{wrong}");
        }
    }

    #[test]
    fn one_wrong_line_or_none_at_all_fails() {
        let mut trace = Trace::default();
        assert!(trace.judge().is_err());
        trace.note("listening");
        assert!(trace.judge().is_err());
        trace.note(LINE);
        assert_eq!(trace.judge(), Ok(()));
        trace.note("gc 2 whatever");
        assert!(trace.judge().is_err());
    }

    #[test]
    fn memory_that_grows_is_seen() {
        let steady: Vec<u64> = (0..40).map(|second| 1000 + second % 3).collect();
        assert_eq!(flat(&steady, 20), Ok(()));
        let growing: Vec<u64> = (0..40).map(|second| 1000 + 50 * second).collect();
        assert!(flat(&growing, 20).is_err());
        assert!(flat(&[], 20).is_err());
    }
}
