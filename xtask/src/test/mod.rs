//! `cargo xtask test`: every suite of the workspace, job by job, with one number at the end.
//!
//! A job fails when its command fails, when it takes too long, and when it ran no test: a suite that silently shrinks
//! to nothing is a failure and not a success. A failure that is no failed test (it did not compile, it hung) counts as
//! one, so that the last line, `N passed, N failed`, is the whole truth.

mod jobs;
mod results;
mod server;

use crate::console::{Region, Row, Style};
use crate::failure::{Failure, Outcome};
use crate::nearest::unknown;
use crate::tools::SKIPPED;
use crate::{interrupt, process, workspace};
use jobs::{JOBS, Job, Work};
use lexopt::prelude::*;
pub use results::Tally;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// An ordinary job that takes longer hangs; the whole of them should take less than 40 minutes on two cores.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// The same for a long job.
const LONG_LIMIT: Duration = Duration::from_secs(75 * 60);

/// How often a job that runs says so where there is no terminal to redraw.
const HEARTBEAT: Duration = Duration::from_secs(60);

/// Lines that are shown of a failed job.
const SHOWN: usize = 200;

/// Runs the command.
pub fn run(mut arguments: lexopt::Parser) -> Outcome {
    let (mut names, mut with_long, mut list) = (Vec::new(), false, false);
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("help") | Short('h') => {
                print!("{}", help());
                return Ok(ExitCode::SUCCESS);
            }
            Long("long") => with_long = true,
            Long("list") => list = true,
            Value(name) => names.push(name.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let chosen = choose(&names, with_long).map_err(Failure::Usage)?;
    if list {
        for job in chosen {
            println!("{}", line_of_help(job));
        }
        return Ok(ExitCode::SUCCESS);
    }
    interrupt::watch();
    run_all(&chosen)
}

fn help() -> String {
    let mut text = String::from(
        "Usage: cargo xtask test [--long] [--list] [job...]\n\n\
         Options:\n  --long   the long jobs too\n  --list   name the jobs instead of running them\n\nJobs:\n",
    );
    for job in JOBS {
        text.push_str(&format!("  {}\n", line_of_help(job)));
    }
    text.push_str("\nA name that is no job's stands for every job that begins with it.\n");
    text
}

fn line_of_help(job: &Job) -> String {
    let note = if job.is_long { " (long)" } else { "" };
    format!("{:<19}{}{note}", job.name, job.help)
}

/// The jobs that `names` ask for: those with that name, or else those that begin with it; without names all,
/// the long ones only `with_long`.
fn choose(names: &[String], with_long: bool) -> Result<Vec<&'static Job>, String> {
    if names.is_empty() {
        return Ok(JOBS
            .iter()
            .filter(|job| with_long || !job.is_long)
            .collect());
    }
    let mut chosen: Vec<&Job> = Vec::new();
    for name in names {
        let exact = |job: &&Job| job.name == name;
        let begins = |job: &&Job| job.name.starts_with(name.as_str());
        let mut found: Vec<&Job> = JOBS.iter().filter(exact).collect();
        if found.is_empty() {
            found = JOBS.iter().filter(begins).collect();
        }
        if found.is_empty() {
            return Err(unknown("job", name, JOBS.iter().map(|job| job.name)));
        }
        chosen.extend(found);
    }
    Ok(chosen)
}

/// How a job went.
struct Done {
    tally: Tally,
    /// Why it failed; empty when it did not.
    account: Vec<String>,
    /// What it would have needed, if it was not run for want of that.
    skipped: Option<String>,
}

fn run_all(jobs: &[&Job]) -> Outcome {
    let begin = Instant::now();
    let mut total = Tally::default();
    for (number, job) in (1..).zip(jobs) {
        let title = format!("{number:>2}/{:<2} {:<19}", jobs.len(), job.name);
        let job_begin = Instant::now();
        let ran = {
            let mut progress = Progress::begin(&title);
            run_one(job, |elapsed| progress.show(elapsed))
        };
        if let Some(signal) = interrupt::pending() {
            return Ok(ExitCode::from(interrupt::exit_code(signal)));
        }
        let done = judge(ran);
        show(&title, &done, job_begin.elapsed())?;
        total = total.plus(done.tally);
    }
    println!("took {}", clock(begin.elapsed()));
    println!("{} passed, {} failed", total.passed, total.failed);
    Ok(ExitCode::from(u8::from(
        total.failed > 0 || total.passed == 0,
    )))
}

/// Runs `cargo test`.
fn run_cargo(
    arguments: &[&str],
    limit: Duration,
    watch: impl FnMut(Duration),
) -> Result<Done, String> {
    let mut command = workspace::cargo(["test", "--no-fail-fast"]);
    // Tests that panic on purpose would bury what is to be read under their backtraces.
    command.args(arguments).env_remove("RUST_BACKTRACE");
    let ran = process::capture(command, limit, watch)?;
    let tally = Tally::read(&ran.output);
    let mut account: Vec<String> = Vec::new();
    if !ran.success() {
        account.extend(results::essence(&ran.output).into_iter().map(str::to_owned));
    }
    match ran.status {
        None => account.push(format!("killed after {}", clock(ran.took))),
        Some(status) if !status.success() => account.push(format!("cargo test: {status}")),
        Some(_) => {}
    }
    let skipped = None;
    Ok(Done {
        tally,
        account,
        skipped,
    })
}

fn run_one(job: &Job, watch: impl FnMut(Duration)) -> Result<Done, String> {
    let limit = if job.is_long { LONG_LIMIT } else { LIMIT };
    match job.work {
        Work::Cargo(arguments) => run_cargo(arguments, limit, watch),
        Work::Ignored(suite) => {
            let tests = ["--release", "-p", "goruntime-tests", "--test", suite];
            let which = ["--", "--ignored", "--test-threads=1"];
            run_cargo(&[&tests[..], &which].concat(), limit, watch)
        }
        Work::Own(arguments) => {
            let program =
                std::env::current_exe().map_err(|why| format!("no path of this tool: {why}"))?;
            let mut command = std::process::Command::new(program);
            command.current_dir(workspace::root()).args(arguments);
            let ran = process::capture(command, limit, watch)?;
            let tally = Tally::read_last_line(&ran.output);
            let mut account: Vec<String> = Vec::new();
            if !ran.success() {
                account.extend(ran.output.lines().map(str::to_owned));
            }
            if ran.status.is_none() {
                account.push(format!("killed after {}", clock(ran.took)));
            }
            let wants = ran
                .output
                .lines()
                .find_map(|line| line.strip_prefix(SKIPPED));
            let skipped = wants.filter(|_| ran.success() && tally.passed == 0);
            let skipped = skipped.map(str::to_owned);
            Ok(Done {
                tally,
                account,
                skipped,
            })
        }
        Work::Server(trial) => {
            let (tally, account) = server::run(trial, watch)?;
            let account = account.lines().map(str::to_owned).collect();
            let skipped = None;
            Ok(Done {
                tally,
                account,
                skipped,
            })
        }
    }
}

/// Counts a failure that is no failed test, and a job that ran nothing, as one.
fn judge(ran: Result<Done, String>) -> Done {
    let mut done = ran.unwrap_or_else(|why| Done {
        tally: Tally::default(),
        account: why.lines().map(str::to_owned).collect(),
        skipped: None,
    });
    let ran_nothing = done.tally.passed == 0 && done.tally.failed == 0;
    if done.account.is_empty() && ran_nothing && done.skipped.is_none() {
        done.account.push("it ran no test".to_owned());
    }
    if !done.account.is_empty() && done.tally.failed == 0 {
        done.tally.failed = 1;
    }
    done
}

fn show(title: &str, done: &Done, took: Duration) -> std::io::Result<()> {
    let Tally {
        passed,
        failed,
        ignored,
    } = done.tally;
    let mut numbers = format!("{passed} passed");
    if failed > 0 {
        numbers.push_str(&format!(", {failed} failed"));
    }
    if ignored > 0 {
        numbers.push_str(&format!(", {ignored} ignored"));
    }
    if let Some(wants) = &done.skipped {
        numbers = wants.clone();
    }
    let (style, verdict) = match failed {
        0 if done.skipped.is_some() => (Style::Dim, "skipped"),
        0 => (Style::Good, "ok    "),
        _ => (Style::Bad, "failed"),
    };
    Row::new()
        .with(Style::Plain, format!("{title} "))
        .with(style, verdict)
        .with(Style::Plain, format!("  {numbers:<34}"))
        .with(Style::Dim, clock(took))
        .print()?;
    // The end of a long account is what says most: the list of failures comes last.
    let left_out = done.account.len().saturating_sub(SHOWN);
    if left_out > 0 {
        println!("        ... {left_out} lines left out");
    }
    for line in &done.account[left_out..] {
        println!("        {line}");
    }
    Ok(())
}

/// What is shown of a job while it runs: a line that is redrawn, or a line a minute.
struct Progress<'a> {
    title: &'a str,
    region: Option<Region>,
    next: Duration,
}

impl Progress<'_> {
    fn begin(title: &str) -> Progress<'_> {
        let region = Region::begin();
        let next = if region.is_some() {
            Duration::ZERO
        } else {
            HEARTBEAT
        };
        Progress {
            title,
            region,
            next,
        }
    }

    fn show(&mut self, elapsed: Duration) {
        if elapsed < self.next {
            return;
        }
        match &mut self.region {
            Some(region) => {
                let row = Row::new()
                    .with(Style::Plain, format!("{} ", self.title))
                    .with(Style::Dim, format!("running {}", clock(elapsed)));
                // Progress that cannot be shown is no reason to stop the tests.
                let _ = region.draw(&[row]);
                self.next = elapsed + Duration::from_secs(1);
            }
            None => {
                println!("{} still running after {}", self.title, clock(elapsed));
                self.next = elapsed + HEARTBEAT;
            }
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if let Some(region) = &mut self.region {
            let _ = region.clear();
        }
    }
}

fn clock(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds < 60 => format!("{:.1} s", time.as_secs_f64()),
        seconds => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(jobs: &[&Job]) -> Vec<&'static str> {
        jobs.iter().map(|job| job.name).collect()
    }

    #[test]
    fn jobs_are_chosen_by_name() {
        let choose = |name: &str| choose(&[name.to_owned()], false).map(|jobs| names(&jobs));
        assert_eq!(choose("gomem").unwrap(), ["gomem"]);
        assert_eq!(
            choose("soundness-").unwrap(),
            ["soundness-release", "soundness-threads"]
        );
        assert_eq!(choose("kv-soak").unwrap(), ["kv-soak"]);
        assert!(choose("gosceh").unwrap_err().contains("`gosched`"));
    }

    #[test]
    fn long_jobs_are_left_out_unless_asked_for() {
        let without = choose(&[], false).unwrap();
        assert!(!without.is_empty() && without.iter().all(|job| !job.is_long));
        assert_eq!(choose(&[], true).unwrap().len(), JOBS.len());
    }

    #[test]
    fn what_ran_nothing_or_did_not_run_counts_as_a_failure() {
        let done = |passed, failed, account: &[&str]| Done {
            tally: Tally {
                passed,
                failed,
                ignored: 0,
            },
            account: account.iter().map(|line| (*line).to_owned()).collect(),
            skipped: None,
        };
        assert_eq!(judge(Ok(done(0, 0, &[]))).tally.failed, 1);
        let skipped = Done {
            skipped: Some("no such tool".to_owned()),
            ..done(0, 0, &[])
        };
        assert_eq!(judge(Ok(skipped)).tally.failed, 0);
        assert_eq!(
            judge(Ok(done(5, 0, &["cargo test: exit status: 101"])))
                .tally
                .failed,
            1
        );
        assert_eq!(
            judge(Ok(done(5, 2, &["cargo test: exit status: 101"])))
                .tally
                .failed,
            2
        );
        assert_eq!(judge(Ok(done(5, 0, &[]))).tally.failed, 0);
        assert_eq!(judge(Err("no cargo".to_owned())).tally.failed, 1);
    }
}
